/* Calls that must not come again: no spelling of theirs passes, all other calls do. */
#include "agent/constrain.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static uint32_t seed = 1;

static unsigned draw(unsigned n) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 16) % n;
}

static struct schema *compile(const char *text) {
    struct schema *s = NULL;
    char err[300] = "";
    if (schema_compile(text, strlen(text), &s, err, sizeof err) != 0)
        fail_msg("%s: %s", text, err);
    return s;
}

/* The calls of a tool "t" with this schema, less these arguments. NULL: none is left. */
static struct grammar *make(const struct schema *schema, const char *const *forbidden, size_t n, bool turn,
                            bool *left_out) {
    struct grammar *g = NULL;
    struct constrain_report report;
    char err[300] = "";
    *left_out = false;
    const struct constrain_tool tool = {
        .name = "t", .schema = schema, .forbidden = forbidden, .n_forbidden = n, .left_out = left_out};
    int rc = (turn ? constrain_turn : constrain_call)(&tool, 1, &g, &report, err, sizeof err);
    if (rc != 0)
        assert_string_equal(err, "No text matches the grammar.");
    return g;
}

static bool passes_text(struct grammar *g, const char *text) {
    struct grammar_matcher m;
    if (g == NULL)
        return false;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    int rc = grammar_matcher_bytes(&m, text, strlen(text));
    assert_in_range(rc, 0, 1);
    bool whole = rc == 1 && grammar_matcher_is_complete(&m);
    grammar_matcher_finish(&m);
    return whole;
}

static bool passes(struct grammar *g, const char *arguments) {
    size_t size = strlen(arguments) + 100;
    char *text = malloc(size);
    assert_non_null(text);
    (void)snprintf(text, size, "\n{\"name\": \"t\", \"arguments\": %s}\n</tool_call>", arguments);
    bool whole = passes_text(g, text);
    free(text);
    return whole;
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static size_t count(const char *const *list) {
    size_t n = 0;
    while (list[n] != NULL)
        n++;
    return n;
}

static void expect(const char *schema, const char *const *forbidden, const char *const *yes,
                   const char *const *no) {
    bool left_out;
    struct schema *s = compile(schema);
    struct grammar *g = make(s, forbidden, count(forbidden), false, &left_out);
    assert_false(left_out);
    for (; *yes != NULL; yes++)
        if (!passes(g, *yes))
            fail_msg("%s less %s refuses %s", schema, forbidden[0], *yes);
    for (; *no != NULL; no++)
        if (passes(g, *no))
            fail_msg("%s less %s accepts %s", schema, forbidden[0], *no);
    for (; *forbidden != NULL; forbidden++)
        if (passes(g, *forbidden))
            fail_msg("%s is accepted", *forbidden);
    grammar_unref(g);
    schema_destroy(s);
}

#define OBJECT(properties) "{\"type\": \"object\", \"properties\": {" properties "}}"

static void test_spellings(void **state) {
    (void)state;
    expect(OBJECT("\"x\": {\"type\": \"string\"}"), LIST("{\"x\": \"ab\"}"),
           LIST("{}", "{\"x\": \"\"}", "{\"x\": \"a\"}", "{\"x\": \"abc\"}", "{\"x\": \"a\\nb\"}",
                "{\"x\": \"a\\u0001\"}", "{\"x\": \"ab\\u0041\"}", "{\"x\": \"b\\u0041\"}",
                "{\"x\": \"\\u000b\"}"),
           LIST("{\"x\": \"a\\u0062\"}", "{\"x\": \"\\u0061b\"}", "{\"x\": \"\\u0061\\u0062\"}"));
    expect(OBJECT("\"x\": {\"type\": \"string\"}"),
           LIST("{\"x\": \"/\\n\\u0001\\\"\\u00e9\\ud83d\\ude00\\b\"}"),
           LIST("{\"x\": \"/\\n\\u0001\\\"\xC3\xA9\xF0\x9F\x98\x81\\b\"}", "{\"x\": \"/\\r\"}",
                "{\"x\": \"/\\n\\u0002\"}", "{\"x\": \"/\\n\\u0001\\\"\xC3\xA8\"}"),
           LIST("{\"x\": \"\\/\\n\\u0001\\\"\xC3\xA9\xF0\x9F\x98\x80\\b\"}",
                "{\"x\": \"/\\u000a\\u0001\\\"\xC3\xA9\xF0\x9F\x98\x80\\b\"}",
                "{\"x\": \"/\\n\\u0001\\u0022\xC3\xA9\xF0\x9F\x98\x80\\b\"}",
                "{\"x\": \"/\\n\\u0001\\\"\\u00E9\xF0\x9F\x98\x80\\b\"}",
                "{\"x\": \"/\\n\\u0001\\\"\xC3\xA9\\uD83D\\uDE00\\b\"}",
                "{\"x\": \"/\\n\\u0001\\\"\xC3\xA9\xF0\x9F\x98\x80\\u0008\"}"));
    expect(OBJECT("\"x\": {\"type\": \"number\"}"), LIST("{\"x\": 12}"),
           LIST("{\"x\": 1}", "{\"x\": 121}", "{\"x\": 12.01}", "{\"x\": -12}", "{\"x\": 13}", "{\"x\": 1.2}",
                "{\"x\": 120}", "{\"x\": 0.12}"),
           LIST("{\"x\": 12.0}", "{\"x\": 12.000}", "{\"x\": 1.2e1}", "{\"x\": 1.20E+01}", "{\"x\": 120e-1}",
                "{\"x\": 0.012e3}", "{\"x\": 12e0}", "{\"x\": 12.0e-0}", "{\"x\": 1200000.00e-05}"));
    expect(OBJECT("\"x\": {\"type\": \"number\"}"), LIST("{\"x\": 0}", "{\"x\": -0.05}"),
           LIST("{\"x\": 0.05}", "{\"x\": -0.5}", "{\"x\": 0.01}"),
           LIST("{\"x\": -0}", "{\"x\": 0.00}", "{\"x\": -0.0e17}", "{\"x\": -5e-2}", "{\"x\": -0.0500}",
                "{\"x\": -50E-3}"));
    expect(OBJECT("\"x\": {\"type\": \"integer\", \"minimum\": 2, \"maximum\": 4}"), LIST("{\"x\": 3.0}"),
           LIST("{\"x\": 2}", "{\"x\": 4}", "{}"), LIST("{\"x\": 3}", "{\"x\": 5}"));
}

static void test_shapes(void **state) {
    (void)state;
    /* whatever order and how often, where the schema names no members */
    expect("{\"type\": \"object\"}", LIST("{\"a\": 1, \"b\": [true, null]}"),
           LIST("{}", "{\"a\": 1}", "{\"b\": [true, null]}", "{\"a\": 1, \"b\": [true]}",
                "{\"a\": 1, \"b\": [true, null], \"c\": 1}", "{\"a\": 1, \"b\": [null, true]}"),
           LIST("{\"b\": [true, null], \"a\": 1.0}", "{\"a\": 1, \"b\": [true, null], \"a\": 1}",
                "{\"\\u0061\": 1, \"b\": [true, null]}"));
    /* what is left of an enumeration, and of two */
    expect(OBJECT("\"u\": {\"enum\": [\"c\", \"f\", \"cc\"]}, \"n\": {\"enum\": [1, 2]}"),
           LIST("{\"u\": \"c\"}"),
           LIST("{}", "{\"u\": \"f\"}", "{\"u\": \"cc\"}", "{\"u\": \"c\", \"n\": 1}"),
           LIST("{\"u\": \"k\"}"));
    /* patterns and lengths */
    expect(OBJECT("\"x\": {\"type\": \"string\", \"pattern\": \"^[ab]+$\"}"),
           LIST("{\"x\": \"ab\"}", "{\"x\": \"a\"}"),
           LIST("{\"x\": \"b\"}", "{\"x\": \"aa\"}", "{\"x\": \"aba\"}"),
           LIST("{\"x\": \"c\"}", "{\"x\": \"\"}"));
    expect(OBJECT("\"x\": {\"type\": \"string\", \"minLength\": 2, \"maxLength\": 2}"),
           LIST("{\"x\": \"ab\"}"), LIST("{\"x\": \"aa\"}", "{\"x\": \"bb\"}"),
           LIST("{\"x\": \"a\"}", "{\"x\": \"abc\"}"));
    /* members of members, and forms */
    expect(OBJECT("\"o\": " OBJECT("\"x\": {\"type\": \"integer\"}, \"y\": {\"type\": \"integer\"}")),
           LIST("{\"o\": {\"x\": 1, \"y\": 2}}", "{\"o\": {\"x\": 1}}"),
           LIST("{\"o\": {\"y\": 2}}", "{\"o\": {\"x\": 2, \"y\": 2}}", "{\"o\": {\"x\": 1, \"y\": 22}}",
                "{\"o\": {}}"),
           LIST("{\"o\": {\"x\": 01}}"));
    expect(
        "{\"type\": \"object\", \"anyOf\": [" OBJECT(
            "\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": "
            "\"integer\"}") ", " OBJECT("\"b\": {\"type\": \"integer\"}, \"a\": {\"type\": \"integer\"}") "]"
                                                                                                          "}",
        LIST("{\"a\": 1, \"b\": 2}"), LIST("{\"a\": 2, \"b\": 1}", "{\"b\": 1, \"a\": 1}", "{\"b\": 2}"),
        LIST("{\"b\": 2, \"a\": 1}"));
}

static void test_nothing_is_left(void **state) {
    (void)state;
    bool left_out;
    static const char *const nothing[] = {"{}"}, *const both[] = {"{\"b\": true}", "{\"b\": false}"};
    struct schema *none =
        compile("{\"type\": \"object\", \"properties\": {}, \"additionalProperties\": false}");
    struct schema *one =
        compile("{\"type\": \"object\", \"properties\": {\"b\": {\"type\": \"boolean\"}}, \"required\": "
                "[\"b\"], \"additionalProperties\": false}");
    assert_null(make(none, nothing, 1, false, &left_out));
    assert_null(make(one, both, 2, false, &left_out));
    struct grammar *g = make(one, both, 1, false, &left_out);
    assert_true(passes(g, both[1]));
    grammar_unref(g);
    /* a turn can still be text, and not even begin a call */
    g = make(none, nothing, 1, true, &left_out);
    assert_true(passes_text(g, "That is all I know <tool"));
    assert_false(passes_text(g, "<tool_call>"));
    grammar_unref(g);
    /* the other tool is still there */
    struct constrain_report report;
    const struct constrain_tool tools[] = {
        {.name = "gone", .schema = none, .forbidden = nothing, .n_forbidden = 1},
        {.name = "t", .schema = one}};
    assert_int_equal(constrain_turn(tools, 2, &g, &report, NULL, 0), 0);
    assert_true(
        passes_text(g, "Now <tool_call>\n{\"name\": \"t\", \"arguments\": {\"b\": true}}\n</tool_call> and"));
    assert_false(passes_text(g, "<tool_call>\n{\"name\": \"g"));
    grammar_unref(g);
    schema_destroy(none);
    schema_destroy(one);
}

/* What cannot be said costs the tool; what is long, all with the same beginning. */
static void test_ceilings(void **state) {
    (void)state;
    bool left_out;
    struct schema *any = compile("{\"type\": \"object\"}");
    const char *many =
        "{\"a\": 1, \"b\": 1, \"c\": 1, \"d\": 1, \"e\": 1, \"f\": 1, \"g\": 1, \"h\": 1, \"i\": 1, "
        "\"j\": 1, \"k\": 1}";
    assert_null(make(any, &many, 1, false, &left_out));
    assert_true(left_out);
    const char *no_json = "x";
    assert_null(make(any, &no_json, 1, false, &left_out));
    assert_true(left_out);
    char *text = malloc(20100);
    (void)snprintf(text, 20100, "{\"x\": \"%020000d\"}", 0);
    const char *const one[] = {text};
    struct schema *s = compile(OBJECT("\"x\": {\"type\": \"string\"}"));
    struct grammar *g = make(s, one, 1, false, &left_out);
    assert_false(left_out);
    assert_false(passes(g, text));
    text[19000] = '1';
    assert_false(passes(g, text));
    text[1000] = '1';
    assert_true(passes(g, text));
    grammar_unref(g);
    free(text);
    schema_destroy(s);
    schema_destroy(any);
}

/* ---- against equality: many values, each in many spellings ---- */

static void spell_string(struct buf *out, const char *s) {
    assert_int_equal(buf_putc(out, '"'), 0);
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        const char *shorts = "\"\\/\b\f\n\r\t", *at = strchr(shorts, c);
        int rc = 0;
        if (c < 0x80 && draw(4) == 0)
            rc = buf_printf(out, draw(2) ? "\\u%04x" : "\\u%04X", c);
        else if (at != NULL && (c != '/' || draw(2)))
            rc = buf_printf(out, "\\%c", "\"\\/bfnrt"[at - shorts]);
        else if (c < 0x20)
            rc = buf_printf(out, "\\u%04x", c);
        else
            rc = buf_putc(out, (char)c);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(buf_putc(out, '"'), 0);
}

static void spell_number(struct buf *out, const struct value *v) {
    int shift = (int)draw(7) - 3;
    double number = strtod(v->text, NULL);
    char digits[40];
    if (draw(2)) {
        (void)snprintf(digits, sizeof digits, "%.*f", (int)draw(6), number);
        assert_int_equal(buf_puts(out, strtod(digits, NULL) == number ? digits : v->text), 0);
        return;
    }
    for (int i = 0; i < abs(shift); i++)
        number = shift > 0 ? number * 10 : number / 10;
    (void)snprintf(digits, sizeof digits, "%.6f", number);
    assert_int_equal(buf_printf(out, "%s%s%s%d", digits, draw(2) ? "e" : "E",
                                shift > 0 ? "-"
                                : draw(2) ? ""
                                          : "+",
                                abs(shift)),
                     0);
}

/* One of the many ways to write the value; members turned round. */
static void spell(struct buf *out, const struct value *v) {
    const struct value *items[16];
    size_t n = 0, from;
    for (const struct value *i = v->child; i != NULL; i = i->next)
        items[n++] = i;
    from = n > 0 && v->kind == VALUE_OBJECT ? draw((unsigned)n) : 0;
    switch (v->kind) {
    case VALUE_STRING:
        spell_string(out, v->text);
        return;
    case VALUE_NUMBER:
        spell_number(out, v);
        return;
    case VALUE_ARRAY:
    case VALUE_OBJECT:
        assert_int_equal(buf_putc(out, v->kind == VALUE_ARRAY ? '[' : '{'), 0);
        for (size_t i = 0; i < n; i++) {
            const struct value *item = items[(from + i) % n];
            if (i > 0)
                assert_int_equal(buf_puts(out, ", "), 0);
            if (v->kind == VALUE_OBJECT) {
                spell_string(out, item->name);
                assert_int_equal(buf_puts(out, ": "), 0);
            }
            spell(out, item);
        }
        assert_int_equal(buf_putc(out, v->kind == VALUE_ARRAY ? ']' : '}'), 0);
        return;
    default:
        assert_int_equal(value_print(v, out), 0);
    }
}

static const char *const schemas[] = {
    "{\"type\": \"object\"}",
    OBJECT("\"s\": {\"type\": \"string\"}, \"n\": {\"type\": \"number\"}"),
    OBJECT(
        "\"s\": {\"type\": \"string\", \"maxLength\": 4}, \"n\": {\"type\": \"integer\"}, \"l\": {\"type\": "
        "\"array\", \"items\": {\"type\": [\"string\", \"number\"]}}"),
    "{\"type\": \"object\", \"properties\": {\"n\": {\"type\": \"number\"}}, \"additionalProperties\": true}",
    "{\"type\": \"object\", \"additionalProperties\": {\"anyOf\": [{\"type\": \"string\"}, {\"type\": "
    "\"number\"}, "
    "{\"$ref\": \"#\"}]}}",
};

static const char *const values[] = {
    "{}",
    "{\"n\": 0}",
    "{\"n\": 1}",
    "{\"n\": 10}",
    "{\"n\": 1.5}",
    "{\"n\": -1.5}",
    "{\"n\": 250}",
    "{\"n\": 0.025}",
    "{\"s\": \"\"}",
    "{\"s\": \"a\"}",
    "{\"s\": \"a/b\"}",
    "{\"s\": \"a\\n\"}",
    "{\"s\": \"a\\u0001\"}",
    "{\"s\": \"a\\u001f\\u007f\"}",
    "{\"s\": \"\\b\\f\\\"\\\\\"}",
    "{\"s\": \"\xC3\xA9\"}",
    "{\"s\": \"\xC3\xA8\"}",
    "{\"s\": \"a\xF0\x9F\x98\x80\"}",
    "{\"s\": \"a\", \"n\": 1}",
    "{\"s\": \"a\", \"n\": 2}",
    "{\"s\": \"b\", \"n\": 1}",
    "{\"s\": \"a\", \"n\": 1, \"l\": [\"a\", 1]}",
    "{\"s\": \"a\", \"n\": 1, \"l\": [\"a\", 1, 1]}",
    "{\"s\": \"a\", \"n\": 1, \"l\": [1, \"a\"]}",
    "{\"s\": \"a\", \"x\": {\"n\": 1, \"m\": {\"n\": 1}}}",
    "{\"s\": \"a\", \"x\": {\"n\": 1, \"m\": {\"n\": 2}}}",
    "{\"\\u0001\\b\": \"\\u0001\"}",
};
#define N_VALUES (sizeof values / sizeof *values)

static size_t n_same, n_other, n_needless;

/* Spellings of value `at` where the values of `forbidden` are left out. */
static void compare(struct grammar *all, struct grammar *left, const struct schema *schema, size_t at,
                    bool is_forbidden) {
    struct value_document *d = NULL;
    struct buf text;
    buf_init(&text, 1u << 16);
    assert_int_equal(value_parse(values[at], strlen(values[at]), &json_limits_default, &d, NULL, 0), 0);
    for (int i = 0; i < 12; i++) {
        buf_clear(&text);
        if (i == 0)
            assert_int_equal(constrain_spell(schema, value_root(d), &text), 0);
        else
            spell(&text, value_root(d));
        assert_int_equal(buf_putc(&text, '\0'), 0);
        if (!passes(all, text.data))
            continue;
        bool is = passes(left, text.data);
        if (is && is_forbidden)
            fail_msg("%s is forbidden, and %s passes", values[at], text.data);
        /* only an escape that is not needed, or an exponent, may cost a spelling */
        bool needless = strstr(text.data, "\\u") != NULL || strpbrk(text.data, "eE") != NULL;
        if (!is && !is_forbidden && (i == 0 || !needless))
            fail_msg("%s is lost", text.data);
        n_same += is_forbidden;
        n_other += is;
        n_needless += !is && !is_forbidden;
    }
    buf_finish(&text);
    value_destroy(d);
}

static void test_against_equality(void **state) {
    (void)state;
    for (size_t s = 0; s < sizeof schemas / sizeof *schemas; s++) {
        bool left_out;
        struct schema *schema = compile(schemas[s]);
        struct grammar *all = make(schema, NULL, 0, false, &left_out);
        for (size_t round = 0; round < 12; round++) {
            const char *forbidden[3];
            size_t numbers[3], n = 1 + draw(3);
            for (size_t i = 0; i < n; i++)
                forbidden[i] = values[numbers[i] = draw(N_VALUES)];
            struct grammar *left = make(schema, forbidden, n, false, &left_out);
            assert_false(left_out);
            for (size_t v = 0; v < N_VALUES; v++) {
                bool is_forbidden = false;
                for (size_t i = 0; i < n; i++)
                    is_forbidden = is_forbidden || numbers[i] == v;
                compare(all, left, schema, v, is_forbidden);
            }
            grammar_unref(left);
        }
        grammar_unref(all);
        schema_destroy(schema);
    }
    (void)printf("%zu spellings refused, %zu of other values accepted, %zu not for what is needless\n",
                 n_same, n_other, n_needless);
    assert_true(n_same > 300 && n_other > 3000 && n_needless < n_other / 2);
}

/* How long it takes for calls as they are. */
static void test_time(void **state) {
    (void)state;
    bool left_out;
    struct schema *s =
        compile(OBJECT("\"path\": {\"type\": \"string\"}, \"text\": {\"type\": \"string\"}, \"line\": "
                       "{\"type\": \"number\"}"));
    char *all[3];
    for (int i = 0; i < 3; i++) {
        all[i] = malloc(4000);
        (void)snprintf(all[i], 4000, "{\"path\": \"src/main.c\", \"text\": \"%d%01000d\", \"line\": %d}", i,
                       0, i);
    }
    struct timespec from, to;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    struct grammar *g = make(s, (const char *const *)all, 3, false, &left_out);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    struct grammar_info info;
    grammar_info(g, &info);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    (void)printf("three calls of 1,000 bytes: %.1f ms, %zu instructions\n", ms, info.n_instructions);
    assert_true(ms < 2000);
    grammar_unref(g);
    schema_destroy(s);
    for (int i = 0; i < 3; i++)
        free(all[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spellings),        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_nothing_is_left),  cmocka_unit_test(test_ceilings),
        cmocka_unit_test(test_against_equality), cmocka_unit_test(test_time),
    };
    return cmocka_run_group_tests_name("constrain except", tests, NULL, NULL);
}
