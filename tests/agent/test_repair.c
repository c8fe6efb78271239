/* The reader of slightly wrong JSON: what is right stays byte for byte, what runs is valid JSON, and noise
 * does no harm. The shapes themselves are test_shapes.c. */
#include "agent/repair.h"
#include "agent/nudge.h"
#include "agent/repair_json.h"
#include "base/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct json_limits any_number = {
    .max_bytes = 4u << 20, .max_nodes = 1000000, .max_depth = 64, .any_number = true};

static int read_json(const char *text, struct buf *out, struct shapes_set *repaired, char why[200]) {
    struct repair_json r;
    buf_init(out, 1u << 20);
    *repaired = (struct shapes_set){0};
    assert_int_equal(buf_puts(out, ""), 0);
    repair_json_init(&r, text, strlen(text), out, repaired);
    repair_json_skip(&r);
    int rc = repair_json_value(&r);
    repair_json_skip(&r);
    snprintf(why, 200, "%s", r.why);
    rc = rc == 0 && r.at < r.len ? -ERANGE : rc;
    repair_json_finish(&r);
    return rc;
}

static void strict_json_stays_as_it_is(void **state) {
    (void)state;
    static const char *const all[] = {
        "{}",
        "[ ]",
        "{ \"a\" :\t1.50e+3 ,\n\"b\":[ true,false , null ] }",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00 \xC3\xA9\"",
        "[[[[{\"a\": [{}]}]]]]",
        "-0",
        "123456789012345678901234567890.5E-7",
        "{\"a\": \"it's // no /* comment */, }\"}",
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct buf out;
        struct shapes_set repaired;
        char why[200];
        assert_int_equal(json_check(all[i], strlen(all[i]), &any_number, NULL, 0), 0);
        assert_int_equal(read_json(all[i], &out, &repaired, why), 0);
        assert_string_equal(out.data, all[i]);
        assert_false(shapes_any(&repaired));
        buf_finish(&out);
    }
}

static void wrong_json_is_rewritten(void **state) {
    (void)state;
    static const struct {
        const char *text, *json, *rows;
    } all[] = {
        {"{a: 1, b-c: 2, $d: 3}", "{\"a\": 1, \"b-c\": 2, \"$d\": 3}", "keys_and_comments"},
        {"/* x */ [1, // y\n 2] // z", "[1, \n 2]", "keys_and_comments"},
        {"'a\\\nb\\'\"\\q\\U0001F600\\a\\n'", "\"ab'\\\"\\\\q\\ud83d\\ude00\\u0007\\n\"", "python_literal"},
        {"[True, 'x', None,]", "[true, \"x\", null]", "python_literal, trailing_comma"},
        {"{'a': 1, \"a\": 1, 'b': {'a': 1}}", "{\"a\": 1, \"b\": {\"a\": 1}}",
         "python_literal, duplicate_keys"},
        {"\"\x7F\x1F\r\\.\\\xC3\xA9\"", "\"\x7F\\u001f\\r.\xC3\xA9\"", "raw_control, invalid_escape"},
        {"\"\\ud800\\ud83d\\ude00\\udc00\"", "\"\\ufffd\\ud83d\\ude00\\ufffd\"", "lone_surrogate"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct buf out;
        struct shapes_set repaired;
        char why[200], rows[SHAPES_NAMES_SIZE];
        assert_int_equal(read_json(all[i].text, &out, &repaired, why), 0);
        shapes_names(&repaired, rows, sizeof rows);
        assert_string_equal(out.data, all[i].json);
        assert_string_equal(rows, all[i].rows);
        assert_int_equal(json_check(out.data, out.len, &any_number, NULL, 0), 0);
        buf_finish(&out);
    }
}

static void what_would_be_guessed_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *part;
    } all[] = {
        {"", "not complete"},
        {"{", "not complete"},
        {"{\"a\"", "not complete"},
        {"{\"a\": ", "not complete"},
        {"{\"a\": 1", "not complete"},
        {"{\"a\": 1,", "not complete"},
        {"[1, 2", "not complete"},
        {"\"x", "not complete"},
        {"\"x\\", "not complete"},
        {"tru", "not complete"},
        {"-", "not complete"},
        {"1.", "not complete"},
        {"[1 2]", "',' or ']'"},
        {"[,]", "value was expected"},
        {"{1: 2}", "key was expected"},
        {"{\"a\" 1}", "':' was expected"},
        {"[01]", "not a number"},
        {"[+1]", "value was expected"},
        {"[.5]", "value was expected"},
        {"[0x1]", "not a number"},
        {"[1_0]", "not a number"},
        {"[1e]", "digits"},
        {"[undefined]", "value"},
        {"[\"\\u12g4\"]", "hexadecimal"},
        {"[\"\\s\"]", "backslash"},
        {"['\\x0g']", "no character"},
        {"['\\777']", "not understood"},
        {"[set()]", "are JSON"},
        {"{\"a\": 1, 'a': 2}", "twice"},
        {"[\"a\" \"b\"]", "',' or ']'"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct buf out;
        struct shapes_set repaired;
        char why[200];
        assert_int_equal(read_json(all[i].text, &out, &repaired, why), -EINVAL);
        if (strstr(why, all[i].part) == NULL)
            fail_msg("%s: '%s' does not say '%s'", all[i].text, why, all[i].part);
        buf_finish(&out);
    }
}

static void depth_has_a_limit(void **state) {
    (void)state;
    char deep[4001];
    struct buf out;
    struct shapes_set repaired;
    char why[200];
    memset(deep, '[', 2000);
    memset(deep + 2000, ']', 2000);
    deep[4000] = '\0';
    assert_int_equal(read_json(deep, &out, &repaired, why), -EINVAL);
    assert_string_equal(why, "The call is nested deeper than 64.");
    buf_finish(&out);
}

/* Blocks that are as large as they may be and as slow as they can be: one object of 60,000 members, 64 calls,
 * arguments in arguments. None takes long, none is cut. */
static void large_blocks_take_linear_time(void **state) {
    (void)state;
    struct buf text;
    const struct repair_tools none = {0};
    struct repair_calls calls;
    buf_init(&text, 1u << 20);
    assert_int_equal(buf_puts(&text, "{\"name\": \"f\", \"arguments\": {\"k\": 0"), 0);
    for (int i = 0; text.len < 250000; i++)
        assert_int_equal(buf_printf(&text, ",\"%d\":1", i), 0);
    assert_int_equal(buf_puts(&text, "}}"), 0);
    struct repair_block block = {.raw = text.data, .len = text.len, .closed = true};
    assert_int_equal(repair_read(&block, &none, &calls), 0);
    assert_int_equal(calls.n, 1);
    assert_null(calls.all[0].error);
    assert_int_equal(strlen(calls.all[0].arguments), text.len - 28);
    repair_finish(&calls);
    buf_clear(&text);
    for (int i = 0; i < 65; i++) {
        block = (struct repair_block){.raw = text.data, .len = text.len, .closed = true};
        if (i > 0) {
            assert_int_equal(repair_read(&block, &none, &calls), 0);
            assert_int_equal(calls.n, i);
            repair_finish(&calls);
        }
        assert_int_equal(buf_printf(&text, "{\"name\": \"f%d\", \"arguments\": {}}", i), 0);
    }
    block = (struct repair_block){.raw = text.data, .len = text.len, .closed = true};
    assert_int_equal(repair_read(&block, &none, &calls), 0);
    assert_int_equal(calls.n, 1);
    assert_non_null(strstr(calls.all[0].error, "more than 64"));
    repair_finish(&calls);
    buf_finish(&text);
}

static uint32_t next_random(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* Whatever stands in a block: there is a call or a sentence, arguments are an object, and where nothing is
 * noted the arguments stand in the block as they are. 200,000 blocks of noise near the real thing. */
static void noise_never_runs_something_else(void **state) {
    (void)state;
    static const char *const parts[] = {"{",
                                        "}",
                                        "[",
                                        "]",
                                        ":",
                                        ", ",
                                        "\"",
                                        "'",
                                        "\\",
                                        "\n",
                                        " ",
                                        "name",
                                        "\"name\"",
                                        "\"arguments\"",
                                        "f",
                                        "\"f\"",
                                        "true",
                                        "True",
                                        "1",
                                        "-",
                                        ".5",
                                        "//",
                                        "/*",
                                        "*/",
                                        "<function=",
                                        "<parameter=",
                                        "</parameter>",
                                        ">",
                                        "</function>",
                                        ";",
                                        "{\"name\": \"f\", \"arguments\": {",
                                        "}}",
                                        "\xC3\xA9",
                                        "\xFF",
                                        "\\u",
                                        "d800"};
    const uint32_t n_parts = sizeof parts / sizeof *parts;
    const struct agent_tool tool = {.name = "f",
                                    .schema = "{\"properties\": {\"a\": {\"type\": \"integer\"}}}"};
    const struct repair_tools tools = {&tool, 1};
    uint64_t seed = 5;
    int ran = 0;
    for (int i = 0; i < 200000; i++) {
        struct buf noise;
        buf_init(&noise, 1000);
        size_t n = next_random(&seed) % 14;
        assert_int_equal(buf_puts(&noise, i % 2 == 0 ? "{\"name\": \"f\", \"arguments\": {\"a\": " : ""), 0);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(buf_puts(&noise, parts[next_random(&seed) % n_parts]), 0);
        assert_int_equal(buf_puts(&noise, i % 4 == 0 ? "}}" : i % 4 == 2 ? "}" : ""), 0);
        const char *text = noise.data;
        const struct repair_block block = {.raw = text, .len = strlen(text), .closed = i % 3 == 0};
        struct repair_calls calls;
        assert_int_equal(repair_read(&block, &tools, &calls), 0);
        assert_true(calls.n >= 1);
        for (size_t k = 0; k < calls.n; k++) {
            const struct repair_call *c = &calls.all[k];
            assert_true((c->error != NULL) != (c->arguments != NULL));
            if (c->error != NULL)
                continue;
            ran++;
            assert_int_equal(c->arguments[0], '{');
            assert_int_equal(json_check(c->arguments, strlen(c->arguments), &any_number, NULL, 0), 0);
            if (!shapes_any(&c->repaired) && strstr(text, c->arguments) == NULL)
                fail_msg("%s became %s, and nothing says so", text, c->arguments);
        }
        repair_finish(&calls);
        buf_finish(&noise);
    }
    assert_true(ran > 1000);
}

static void nudges_are_rare(void **state) {
    (void)state;
    const struct agent_tool tools[] = {{.name = "add"}, {.name = "read_file"}};
    static const struct {
        const char *answer;
        int calls;
        bool nudge;
    } all[] = {
        {"", 0, false},
        {"", 2, true},
        {"I'll call `add` now.", 0, true},
        {"Let me use the read_file tool:", 0, true},
        {"I will run add(1, 2).", 0, true},
        {"I will run add(1, 2).", 1, false},
        {"I will add salt.", 0, false},
        {"The add tool is fast.", 0, false},
        {"I will use the adder tool.", 0, false},
        {"I need to unadd( it.", 0, false},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const char *text = nudge_text(all[i].answer, strlen(all[i].answer), tools, 2, all[i].calls);
        if ((text != NULL) != all[i].nudge)
            fail_msg("'%s' after %d calls", all[i].answer, all[i].calls);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_json_stays_as_it_is),
        cmocka_unit_test(wrong_json_is_rewritten),
        cmocka_unit_test(what_would_be_guessed_is_refused),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(large_blocks_take_linear_time),
        cmocka_unit_test(noise_never_runs_something_else),
        cmocka_unit_test(nudges_are_rare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
