#include "base/json.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static int check(const char *text) {
    return json_check(text, strlen(text), NULL, NULL, 0);
}

static void refuses_what_cjson_lets_through(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *sentence;
    } cases[] = {
        {"{\"a\":1,\"a\":2}", "twice"},     {"{\"a\":1,\"\\u0061\":2}", "twice"},
        {"{\"\":1,\"\":2}", "twice"},       {"\"x\\u0000y\"", "U+0000"},
        {"9007199254740993", "exactly"},    {"1e999", "range"},
        {"\"\\ud800\"", "surrogate"},       {"\"\xff\"", "UTF-8"},
        {"{\"a\":1} x", "after the value"}, {"{\"a\":1,}", "key in quotes"},
        {"[1,]", "value was expected"},     {"\"a\nb\"", "control character"},
        {"01", "after the value"},          {"", "text ends"},
        {"{'a':1}", "key in quotes"},       {"nul", "value was expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char err[200] = "";
        assert_int_equal(json_check(cases[i].text, strlen(cases[i].text), NULL, err, sizeof err), -EINVAL);
        if (strstr(err, cases[i].sentence) == NULL)
            fail_msg("%s: %s", cases[i].text, err);
    }
    assert_int_equal(check("{\"a\":1,\"b\":{\"a\":2},\"c\":[{\"a\":3},{\"a\":4}]}"), 0);
    assert_int_equal(check("9007199254740992"), 0);
}

static void limits_hold(void **state) {
    (void)state;
    char deep[200];
    memset(deep, '[', 65);
    memset(deep + 65, ']', 65);
    deep[130] = '\0';
    assert_int_equal(check(deep), -E2BIG);
    assert_int_equal(json_check(deep + 1, 128, NULL, NULL, 0), 0);
    const struct json_limits few = {.max_bytes = 10, .max_nodes = 3, .max_depth = 4};
    assert_int_equal(json_check("[1,2]", 5, &few, NULL, 0), 0);
    assert_int_equal(json_check("[1,2,3]", 7, &few, NULL, 0), -E2BIG);
    assert_int_equal(json_check("[        1]", 11, &few, NULL, 0), -E2BIG);
}

/* nst/JSONTestSuite: y_ must pass but for our stricter rules, n_ must not. */
static void conformance_suite(void **state) {
    (void)state;
    const char *shared = getenv("HERMESD_SHARED");
    char folder[512];
    snprintf(folder, sizeof folder, "%s/json-parsing/test_parsing",
             shared != NULL ? shared : "../shared/data");
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        print_message("skipped: no JSON test suite at %s\n", folder);
        skip();
        return;
    }
    static const char *const stricter[] = {"y_object_duplicated_key.json",
                                           "y_object_duplicated_key_and_value.json",
                                           "y_string_null_escape.json", "y_object_escaped_null_in_key.json"};
    int seen = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strchr("yni", entry->d_name[0]) == NULL || entry->d_name[1] != '_')
            continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        static char text[1 << 20];
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        size_t len = fread(text, 1, sizeof text, f);
        fclose(f);
        int rc = json_check(text, len, NULL, NULL, 0);
        int expected_refusal = 0;
        for (size_t i = 0; i < sizeof stricter / sizeof *stricter; i++)
            expected_refusal |= strcmp(entry->d_name, stricter[i]) == 0;
        if (entry->d_name[0] == 'y' && (rc == 0) == (expected_refusal != 0))
            fail_msg("%s: %d", entry->d_name, rc);
        if (entry->d_name[0] == 'n' && rc == 0)
            fail_msg("%s was accepted", entry->d_name);
        if (rc == 0) {
            cJSON *value = NULL;
            assert_int_equal(json_parse(text, len, NULL, &value, NULL, 0), 0);
            cJSON_Delete(value);
        }
        seen++;
    }
    closedir(dir);
    assert_int_equal(seen, 318);
}

static void respace_keeps_meaning(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"{\"a\":1,\n \"b\" : [1.50,true ,null]}", "{\"a\": 1, \"b\": [1.50, true, null]}"},
        {"\"a<b>&\\\"c\\\\\"", "\"a\\u003cb\\u003e\\u0026\\\"c\\\\\""},
        {"{}", "{}"},
        {"{\"k:,\":\"v , :\"}", "{\"k:,\": \"v , :\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, 1000);
        assert_int_equal(json_respace(&b, cases[i].in, strlen(cases[i].in), true), 0);
        assert_string_equal(b.data, cases[i].out);
        buf_finish(&b);
    }
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(json_respace(&b, "{\"a\":}", 6, true), -EINVAL);
    buf_finish(&b);
}

static void value_span_finds_the_end(void **state) {
    (void)state;
    const char *text = " {\"a\": \"}\\\"]\", \"b\": [1, {}]} tail";
    size_t end = (size_t)(strstr(text, " tail") - text);
    assert_int_equal(json_value_span(text, strlen(text)), end);
    for (size_t n = 0; n < end; n++)
        assert_int_equal(json_value_span(text, n), 0);
    assert_int_equal(json_value_span("x", 1), -EINVAL);
}

static void writer_writes_python_spacing(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    struct json_writer w;
    json_writer_begin(&w, &b);
    json_object_begin(&w);
    json_key(&w, "a\n");
    json_string(&w, "x\"\x01\xff");
    json_key(&w, "list");
    json_array_begin(&w);
    json_int(&w, -5);
    json_number(&w, 0.1);
    json_object_begin(&w);
    json_object_end(&w);
    json_array_end(&w);
    json_key(&w, "n");
    json_string(&w, NULL);
    json_key(&w, "r");
    json_raw(&w, "[1]", 3);
    json_object_end(&w);
    assert_int_equal(json_writer_end(&w), 0);
    assert_string_equal(
        b.data, "{\"a\\n\": \"x\\\"\\u0001\xEF\xBF\xBD\", \"list\": [-5, 0.1, {}], \"n\": null, \"r\": [1]}");
    assert_int_equal(check(b.data), 0);
    buf_finish(&b);

    buf_init(&b, 4);
    json_writer_begin(&w, &b);
    json_string(&w, "too long");
    assert_int_equal(json_writer_end(&w), -ENOBUFS);
    buf_finish(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_cjson_lets_through),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(conformance_suite),
        cmocka_unit_test(respace_keeps_meaning),
        cmocka_unit_test(value_span_finds_the_end),
        cmocka_unit_test(writer_writes_python_spacing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
