#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/tools/schema_cases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct schema_options any = {.any_value = true};

struct schema *case_compiled(const char *text, const struct schema_options *options) {
    struct schema *schema = NULL;
    char err[600] = "";
    if (schema_compile_with(text, strlen(text), options != NULL ? options : &any, &schema, NULL, err,
                            sizeof err) != 0)
        fail_msg("%s: %s", text, err);
    return schema;
}

/* 0 or -EINVAL; the sentence goes to err. */
static int verdict(const char *schema_text, const char *value_text, char *err, size_t errlen) {
    struct schema *schema = case_compiled(schema_text, NULL);
    struct value_document *document = NULL;
    err[0] = '\0';
    if (value_parse(value_text, strlen(value_text), &schema_value_limits, &document, err, errlen) != 0)
        fail_msg("%s: %s", value_text, err);
    int rc = schema_check(schema, value_root(document), err, errlen);
    value_destroy(document);
    schema_destroy(schema);
    return rc;
}

void case_value(const char *schema, const char *value, const char *why) {
    char err[600];
    int rc = verdict(schema, value, err, sizeof err);
    if (rc != (why[0] == '\0' ? 0 : -EINVAL) || strcmp(err, why) != 0)
        fail_msg("%s with %s gave %d\n  got:    %s\n  wanted: %s", schema, value, rc, err, why);
}

void case_valid(const char *schema, const char *value) {
    case_value(schema, value, "");
}

void case_invalid(const char *schema, const char *value) {
    char err[600];
    int rc = verdict(schema, value, err, sizeof err);
    if (rc != -EINVAL || err[0] == '\0')
        fail_msg("%s with %s gave %d: %s", schema, value, rc, err);
}

void case_refused(const char *schema_text, const char *keyword, const char *why) {
    struct schema *schema = NULL;
    char err[600] = "", named[SCHEMA_KEYWORD_MAX] = "";
    int rc = schema_compile_with(schema_text, strlen(schema_text), &any, &schema, named, err, sizeof err);
    if (rc != -EINVAL || strcmp(err, why) != 0 || strcmp(named, keyword) != 0)
        fail_msg("%s gave %d, '%s'\n  got:    %s\n  wanted: %s", schema_text, rc, named, err, why);
    assert_null(schema);
}
