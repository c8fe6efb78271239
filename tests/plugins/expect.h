/* What the tests of the plugins say over and over. */
#ifndef TESTS_PLUGINS_EXPECT_H
#define TESTS_PLUGINS_EXPECT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <cjson/cJSON.h>

#include "plugins/plugin_test.h"

#include <stdbool.h>

/* The call succeeds and writes exactly `text`, which is JSON. */
static inline void expect_result(struct hermes_test *t, const char *tool, const char *args,
                                 const char *text) {
    if (HERMES_TEST_CALL(t, tool, args) != HERMES_OK)
        fail_msg("%s %s failed: %s", tool, args, t->text);
    assert_string_equal(t->text, text);
    cJSON *json = cJSON_Parse(t->text);
    assert_non_null(json);
    cJSON_Delete(json);
}

/* The call fails with `code` and writes exactly `text`. */
static inline void expect_failure(struct hermes_test *t, const char *tool, const char *args, int code,
                                  const char *text) {
    if (HERMES_TEST_CALL(t, tool, args) != code)
        fail_msg("%s %s gave status %d: %s", tool, args, t->status, t->text);
    assert_string_equal(t->text, text);
}

/* The call fails with HERMES_E_TOOL and `part` is in what it writes. */
static inline void expect_refusal(struct hermes_test *t, const char *tool, const char *args,
                                  const char *part) {
    if (HERMES_TEST_CALL(t, tool, args) != HERMES_E_TOOL || strstr(t->text, part) == NULL)
        fail_msg("%s %s gave status %d: %s", tool, args, t->status, t->text);
}

/* One argument object with text values, JSON-quoted; the caller frees it. */
static inline char *arguments_of(const char *key, const char *value, const char *key2, const char *value2) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, key, value);
    if (key2 != NULL)
        cJSON_AddStringToObject(object, key2, value2);
    char *text = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    assert_non_null(text);
    return text;
}

/* Appends to a text in an array of `cap` bytes. */
static inline void append(char *text, size_t cap, const char *more) {
    size_t len = strlen(text);
    assert_true(len + strlen(more) < cap);
    memcpy(text + len, more, strlen(more) + 1);
}

/* Whether each tool names itself, describes itself and has an object as its schema. */
static inline void expect_declared(const hermes_plugin *plugin, const char *tool, uint32_t flags,
                                   const char *description, const char *schema) {
    for (const hermes_tool *const *at = plugin->tools; *at != NULL; at++)
        if (strcmp((*at)->name, tool) == 0) {
            assert_string_equal((*at)->description, description);
            assert_string_equal((*at)->args_schema, schema);
            assert_int_equal((*at)->flags, flags);
            assert_true((*at)->timeout_ms > 0);
            return;
        }
    fail_msg("no tool %s", tool);
}

#endif
