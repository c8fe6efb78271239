/* The public header: its layout, which never changes, and its helpers. */
#include "tests/plugins/expect.h"

#include <stdlib.h>
#include <string.h>

/* What plugins that were built before rely on (64-bit machines). A change here breaks every one of them:
 * append members instead. */
_Static_assert(sizeof(void *) != 8 || sizeof(hermes_str) == 16, "hermes_str");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_host, write) == 8, "hermes_host.write");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_host, remaining_ms) == 32, "hermes_host.remaining_ms");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_host, finish) == 64, "hermes_host.finish");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_host, extension) == 72, "hermes_host.extension");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_tool, name) == 8, "hermes_tool.name");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_tool, timeout_ms) == 40, "hermes_tool.timeout_ms");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_tool, max_concurrency) == 48,
               "hermes_tool.max_concurrency");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_tool, invoke) == 56, "hermes_tool.invoke");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_tool, cancel) == 72, "hermes_tool.cancel");
_Static_assert(offsetof(hermes_plugin, magic) == 0 && offsetof(hermes_plugin, abi_major) == 4,
               "hermes_plugin's stamps");
_Static_assert(offsetof(hermes_plugin, size) == 8, "hermes_plugin.size");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_plugin, name) == 16, "hermes_plugin.name");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_plugin, tools) == 32, "hermes_plugin.tools");
_Static_assert(sizeof(void *) != 8 || offsetof(hermes_plugin, fini) == 48, "hermes_plugin.fini");
_Static_assert(HERMES_T_READ_ONLY == 1 && HERMES_T_IDEMPOTENT == 2 && HERMES_T_ADDITIVE == 4 &&
                   HERMES_T_CLOSED_WORLD == 8,
               "flags");
_Static_assert(HERMES_T_NET == 0x100 && HERMES_T_EXEC == 0x800 && HERMES_T_APPROVAL == 0x10000, "flags");
_Static_assert(HERMES_E_TOOL == 1 && HERMES_E_UNKNOWN == 4 && HERMES_E_INTERNAL == 8, "statuses");

static void test_member(void **state) {
    hermes_str object =
        hermes_str_of(" { \"a\" : 1 , \"b\\u0062\": [1, {\"a\": 2}, \"]\"], \"c\": \"x\\\"}\", \"d\":{}} ");
    hermes_str value = hermes_json_member(object, "a");
    (void)state;
    assert_int_equal(value.n, 1);
    assert_memory_equal(value.p, "1", 1);
    value = hermes_json_member(object, "bb");
    assert_int_equal(value.n, strlen("[1, {\"a\": 2}, \"]\"]"));
    assert_memory_equal(value.p, "[1, {\"a\": 2}, \"]\"]", value.n);
    value = hermes_json_member(object, "c");
    assert_int_equal(value.n, 6);
    value = hermes_json_member(object, "d");
    assert_int_equal(value.n, 2);
    assert_null(hermes_json_member(object, "e").p);
    assert_null(hermes_json_member(hermes_str_of("{}"), "a").p);
    assert_null(hermes_json_member(hermes_str_of("[\"a\", 1]"), "a").p);
    assert_null(hermes_json_member(hermes_str_of(""), "a").p);
}

static void test_string(void **state) {
    char out[16];
    hermes_str args = hermes_str_of(
        "{\"plain\": \"Ada\", \"escapes\": \"\\\"\\\\\\/\\b\\f\\n\\r\\t\", \"unicode\": "
        "\"\\u00e9\\u20AC\\ud83d\\ude00\", "
        "\"half\": \"\\ud83d!\", \"nul\": \"a\\u0000b\", \"number\": 3, \"long\": \"0123456789abcdef\", "
        "\"fits\": \"0123456789abcde\", \"bad\": \"\\x\"}");
    (void)state;
    assert_string_equal(hermes_arg_string(args, "plain", out, sizeof out), "Ada");
    assert_string_equal(hermes_arg_string(args, "escapes", out, sizeof out), "\"\\/\b\f\n\r\t");
    assert_string_equal(hermes_arg_string(args, "unicode", out, sizeof out),
                        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_string_equal(hermes_arg_string(args, "half", out, sizeof out), "\xef\xbf\xbd!");
    assert_string_equal(hermes_arg_string(args, "fits", out, sizeof out), "0123456789abcde");
    assert_null(hermes_arg_string(args, "long", out, sizeof out));
    assert_null(hermes_arg_string(args, "nul", out, sizeof out));
    assert_null(hermes_arg_string(args, "number", out, sizeof out));
    assert_null(hermes_arg_string(args, "bad", out, sizeof out));
    assert_null(hermes_arg_string(args, "absent", out, sizeof out));
    assert_null(hermes_arg_string(args, "plain", out, 0));
}

static void test_numbers(void **state) {
    hermes_str args = hermes_str_of(
        "{\"i\": -42, \"f\": 2.5e1, \"half\": 0.5, \"big\": 1e300, \"s\": \"1\", \"t\": true, \"n\": false}");
    int64_t whole = 7;
    double number = 7;
    int flag = 7;
    (void)state;
    assert_int_equal(hermes_arg_int(args, "i", &whole), 1);
    assert_int_equal(whole, -42);
    assert_int_equal(hermes_arg_int(args, "f", &whole), 1);
    assert_int_equal(whole, 25);
    assert_int_equal(hermes_arg_int(args, "half", &whole), 0);
    assert_int_equal(hermes_arg_int(args, "big", &whole), 0);
    assert_int_equal(hermes_arg_int(args, "s", &whole), 0);
    assert_int_equal(whole, 25);
    assert_int_equal(hermes_arg_number(args, "half", &number), 1);
    assert_true(number > 0.49 && number < 0.51);
    assert_int_equal(hermes_arg_number(args, "t", &number), 0);
    assert_int_equal(hermes_arg_bool(args, "t", &flag), 1);
    assert_int_equal(flag, 1);
    assert_int_equal(hermes_arg_bool(args, "n", &flag), 1);
    assert_int_equal(flag, 0);
    assert_int_equal(hermes_arg_bool(args, "i", &flag), 0);
}

/* Arguments that were cut anywhere, from a copy of just that size: a sanitizer sees a step too far. */
static void test_cut_short(void **state) {
    const char *whole =
        "{\"a\\u00e9\": [1, {\"b\": \"\\ud83d\\ude00\"}], \"name\": \"x\\u0041\\\\\", \"n\": -1.5e3}";
    (void)state;
    for (size_t len = 0; len <= strlen(whole); len++) {
        char *cut = malloc(len > 0 ? len : 1), out[64];
        int64_t number;
        assert_non_null(cut);
        memcpy(cut, whole, len);
        hermes_str args = {cut, len};
        (void)hermes_arg_string(args, "name", out, sizeof out);
        (void)hermes_arg_int(args, "n", &number);
        (void)hermes_arg_string(args, "zz", out, sizeof out);
        free(cut);
    }
}

static const hermes_host *test_host;

static int format(void *state, hermes_call *call, hermes_str args_json) {
    (void)state, (void)args_json;
    return hermes_reply_json(test_host, call,
                             "{\"s\": \"%s\", \"d\": %d, \"l\": %lld, \"g\": %g, \"p\": \"%%\", \"nan\": %g}",
                             "a\"\\\n\x01\xe2\x82\xac", -5, 1234567890123LL, 0.1, strtod("nan", NULL));
}

static int refuse(void *state, hermes_call *call, hermes_str args_json) {
    (void)state, (void)args_json;
    return hermes_refuse(test_host, call, HERMES_E_ARGS, "%s must be %d", "x", 3);
}

static int init(const hermes_host *host, hermes_str config_json, void **state) {
    test_host = host;
    return hermes_init_host(host, config_json, state);
}

static const hermes_tool tool_format = {.size = HERMES_TOOL_SIZE, .name = "format", .invoke = format};
static const hermes_tool tool_refuse = {.size = HERMES_TOOL_SIZE, .name = "refuse", .invoke = refuse};
static const hermes_tool *const tools[] = {&tool_format, &tool_refuse, NULL};
static const hermes_plugin plugin = {HERMES_PLUGIN_INIT, .name = "test", .version = "1", .tools = tools,
                                     .init = init};

static void test_replies(void **state) {
    struct hermes_test t;
    (void)state;
    assert_int_equal(hermes_test_start(&t, &plugin, "{}"), HERMES_OK);
    expect_result(&t, "format", "{}",
                  "{\"s\": \"a\\u0022\\u005c\\u000a\\u0001\xe2\x82\xac\", \"d\": -5, \"l\": 1234567890123, "
                  "\"g\": 0.1, \"p\": \"%\", "
                  "\"nan\": null}");
    expect_failure(&t, "refuse", "{}", HERMES_E_ARGS, "x must be 3");
    t.max_result_bytes = 10;
    assert_int_equal(HERMES_TEST_CALL(&t, "format", "{}"), HERMES_E_LIMIT);
    hermes_test_finish(&t);
}

static void test_hello(void **state) {
    struct hermes_test t;
    (void)state;
    hermes_test_start(&t, hermes_plugin_v1(), "{}");
    expect_declared(t.plugin, "hello",
                    HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_CLOSED_WORLD,
                    "Say hello to a person.",
                    "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\"}}, "
                    "\"required\": [\"name\"], "
                    "\"additionalProperties\": false}");
    expect_result(&t, "hello", "{\"name\": \"Ada\"}", "{\"greeting\": \"Hello, Ada\"}");
    expect_result(&t, "hello", "{\"name\": \"\\\"Bob\\\"\"}", "{\"greeting\": \"Hello, \\u0022Bob\\u0022\"}");
    char args[600] = "{\"name\": \"";
    memset(args + 10, 'x', 300);
    memcpy(args + 310, "\"}", 3);
    expect_failure(&t, "hello", args, HERMES_E_ARGS, "name must be a text of at most 255 bytes");
    hermes_test_finish(&t);
}

static void test_has(void **state) {
    hermes_host host = {.size = (uint32_t)offsetof(hermes_host, extension)};
    (void)state;
    assert_true(HERMES_HAS(&host, hermes_host, finish));
    assert_false(HERMES_HAS(&host, hermes_host, extension));
    assert_string_equal(HERMES_SCHEMA([ "a", 1 ]), "[ \"a\", 1 ]");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_member),    cmocka_unit_test(test_string),  cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_cut_short), cmocka_unit_test(test_replies), cmocka_unit_test(test_hello),
        cmocka_unit_test(test_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
