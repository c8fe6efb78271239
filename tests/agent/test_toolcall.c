/* What a call's JSON says, and the raw reading of JSON behind it. */
#include "agent/rawjson.h"
#include "agent/toolcall.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void calls_are_read_as_written(void **state) {
    (void)state;
    static const struct {
        const char *json, *name, *arguments;
    } all[] = {
        {"{\"name\": \"f\", \"arguments\": {\"a\": 1.50, \"b\":[ ]}}", "f", "{\"a\": 1.50, \"b\":[ ]}"},
        {" \n{\"arguments\":{\"name\": \"x\", \"arguments\": 1},\"name\":\"f\"}\n", "f",
         "{\"name\": \"x\", \"arguments\": 1}"},
        {"{\"n\\u0061me\": \"f\\u0041\", \"arguments\": {}}", "fA", "{}"},
        {"{\"name\": \"f\"}", "f", "{}"},
        {"{\"name\": \"f\", \"arguments\": null}", "f", "{}"},
        {"{\"name\": \"f\", \"arguments\": {\"s\": \"}\\\"{\"}, \"id\": [1, {\"x\": 2}]}", "f",
         "{\"s\": \"}\\\"{\"}"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct toolcall call;
        assert_int_equal(toolcall_read(all[i].json, strlen(all[i].json), &call, NULL, 0), 0);
        assert_string_equal(call.name, all[i].name);
        assert_string_equal(call.arguments, all[i].arguments);
        toolcall_finish(&call);
    }
}

static void what_is_no_call_is_explained(void **state) {
    (void)state;
    static const struct {
        const char *json, *name, *part;
    } all[] = {
        {"", "", "not valid JSON"},
        {"{\"name\": \"f\", \"arguments\": {\"a\": NaN}}", "", "not valid JSON"},
        {"{\"name\": \"f\", \"arguments\": {\"a\": 1,}}", "", "not valid JSON"},
        {"{\"name\": \"f\", \"arguments\": {\"a\": \"1\n2\"}}", "", "control character"},
        {"{\"name\": \"f\", \"name\": \"g\"}", "", "twice"},
        {"[{\"name\": \"f\"}]", "", "one JSON object"},
        {"{}", "", "no \"name\""},
        {"{\"tool_name\": \"f\", \"arguments\": {}}", "", "is \"name\""},
        {"{\"type\": \"function\", \"function\": {\"name\": \"f\"}}", "", "is \"name\""},
        {"{\"name\": 3}", "", "must be a string"},
        {"{\"name\": \"\"}", "", "is empty"},
        {"{\"name\": \"f\", \"arguments\": \"{}\"}", "f", "must be a JSON object"},
        {"{\"name\": \"f\", \"arguments\": [1]}", "f", "must be a JSON object"},
        {"{\"name\": \"f\", \"parameters\": {}}", "f", "is \"arguments\""},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct toolcall call;
        char err[400] = "";
        assert_int_equal(toolcall_read(all[i].json, strlen(all[i].json), &call, err, sizeof err), -EINVAL);
        assert_string_equal(call.name, all[i].name);
        assert_null(call.arguments);
        if (strstr(err, all[i].part) == NULL)
            fail_msg("'%s' does not say '%s'", err, all[i].part);
        toolcall_finish(&call);
    }
}

static void deep_and_long_calls_are_refused(void **state) {
    (void)state;
    char deep[4096] = "{\"name\": \"f\", \"arguments\": {\"a\": ";
    size_t n = strlen(deep);
    memset(deep + n, '[', 1000);
    memset(deep + n + 1000, ']', 1000);
    memcpy(deep + n + 2000, "}}", 3);
    struct toolcall call;
    char err[400];
    assert_int_equal(toolcall_read(deep, strlen(deep), &call, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "nested deeper"));
    toolcall_finish(&call);
}

static void raw_members_and_elements(void **state) {
    (void)state;
    const char *text = " { \"a\" : -1.0e5 , \"b\":\"x,}\",\"c\":[ 1 ,{\"d\":[]}, null ] , \"e\":true} ";
    struct rawjson object = rawjson_of(text, strlen(text)), item, key;
    char out[200] = "";
    size_t at = 0;
    while (rawjson_next(object, &at, &key, &item)) {
        size_t n = strlen(out);
        snprintf(out + n, sizeof out - n, "%.*s=%.*s;", (int)key.len, key.text, (int)item.len, item.text);
    }
    assert_string_equal(out, "\"a\"=-1.0e5;\"b\"=\"x,}\";\"c\"=[ 1 ,{\"d\":[]}, null ];\"e\"=true;");
    assert_true(rawjson_get(object, "c", &item));
    at = 0;
    out[0] = '\0';
    while (rawjson_next(item, &at, NULL, &key)) {
        size_t n = strlen(out);
        snprintf(out + n, sizeof out - n, "%c%.*s;", rawjson_type(key), (int)key.len, key.text);
    }
    assert_string_equal(out, "d1;{{\"d\":[]};nnull;");
    assert_false(rawjson_get(object, "d", &item));
    const char *escaped = "{\"\\u00e9\\ud83d\\ude00\\n\\\"\\u20AC\": 7}";
    object = rawjson_of(escaped, strlen(escaped));
    assert_true(rawjson_get(object, "\xC3\xA9\xF0\x9F\x98\x80\n\"\xE2\x82\xAC", &item));
    assert_int_equal(item.text[0], '7');
    assert_false(rawjson_get(object, "\xC3\xA9\xF0\x9F\x98\x80\n\"\xE2\x82", &item));
    assert_false(rawjson_get(object, "\xC3\xA9", &item));
    assert_false(rawjson_get(rawjson_of("[]", 2), "d", &item));
    at = 0;
    assert_false(rawjson_next(rawjson_of("{ }", 3), &at, NULL, &item));
    assert_false(rawjson_next(rawjson_of("3", 1), &at, NULL, &item));
    assert_int_equal(rawjson_type(rawjson_of(" ", 1)), 0);
    assert_null(rawjson_string(rawjson_of("3", 1)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_read_as_written),
        cmocka_unit_test(what_is_no_call_is_explained),
        cmocka_unit_test(deep_and_long_calls_are_refused),
        cmocka_unit_test(raw_members_and_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
