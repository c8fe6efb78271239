/* Grammars of schemas: what passes is what the validator lets pass, in one spelling; what cannot be said is
 * named; and the turn around the calls. */
#include "agent/constrain.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct schema *compile(const char *text) {
    static const struct schema_options options = {.any_value = true};
    struct schema *s = NULL;
    char err[300] = "";
    if (schema_compile_with(text, strlen(text), &options, &s, NULL, err, sizeof err) != 0)
        fail_msg("%s: %s", text, err);
    return s;
}

static struct grammar *make(const char *text, bool whole, struct constrain_report *report) {
    struct schema *s = compile(text);
    struct grammar *g = NULL;
    char err[300] = "";
    if (constrain_value(s, whole, &g, report, err, sizeof err) != 0)
        fail_msg("%s: %s", text, err);
    schema_destroy(s);
    return g;
}

static bool passes(struct grammar *g, const char *text) {
    struct grammar_matcher m;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    int rc = grammar_matcher_bytes(&m, text, strlen(text));
    assert_in_range(rc, 0, 1);
    bool whole = rc == 1 && grammar_matcher_is_complete(&m);
    grammar_matcher_finish(&m);
    return whole;
}

static void expect(const char *schema, bool whole, const char *const *yes, const char *const *no) {
    struct constrain_report report;
    struct grammar *g = make(schema, whole, &report);
    if (!report.exact)
        fail_msg("%s is not exact: %s", schema, report.why);
    for (; *yes != NULL; yes++)
        if (!passes(g, *yes))
            fail_msg("%s refuses %s", schema, *yes);
    for (; *no != NULL; no++)
        if (passes(g, *no))
            fail_msg("%s accepts %s", schema, *no);
    grammar_unref(g);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Every number of at most three digits before and two behind the point, against the validator. */
static void test_bounds(void **state) {
    (void)state;
    static const char *const bounds[] = {
        "\"minimum\": 0",
        "\"minimum\": 7, \"maximum\": 400",
        "\"maximum\": 400",
        "\"minimum\": -12, \"maximum\": 105",
        "\"exclusiveMinimum\": 0",
        "\"exclusiveMinimum\": 0, \"exclusiveMaximum\": 1",
        "\"minimum\": 0.5, \"maximum\": 99.25",
        "\"exclusiveMinimum\": -1.5, \"exclusiveMaximum\": 2.05",
        "\"maximum\": -3",
        "\"exclusiveMaximum\": 0",
        "\"minimum\": 100, \"maximum\": 100",
        "\"minimum\": 3, \"maximum\": 2",
        "\"minimum\": 9.99, \"exclusiveMaximum\": 10",
        "\"multipleOf\": 0.1, \"minimum\": 0, \"maximum\": 1",
        "\"multipleOf\": 1, \"exclusiveMinimum\": 9",
    };
    for (size_t i = 0; i < 2 * sizeof bounds / sizeof *bounds; i++) {
        char text[200], number[32], err[200];
        (void)snprintf(text, sizeof text, "{\"type\": \"%s\", %s}", i % 2 == 0 ? "number" : "integer",
                       bounds[i / 2]);
        struct schema *s = compile(text);
        struct constrain_report report;
        struct grammar *g = NULL;
        bool some = constrain_value(s, i % 4 < 2, &g, &report, err, sizeof err) == 0;
        for (int n = -99999; n <= 99999; n += n % 100 == 0 || n > -2000 ? 1 : 1 + (n & 15)) {
            int size = abs(n), whole = size / 100, part = size % 100;
            const char *sign = n < 0 ? "-" : "";
            if (part == 0)
                (void)snprintf(number, sizeof number, "%s%d", sign, whole);
            else if (part % 10 == 0)
                (void)snprintf(number, sizeof number, "%s%d.%d", sign, whole, part / 10);
            else
                (void)snprintf(number, sizeof number, "%s%d.%02d", sign, whole, part);
            struct value_document *d = NULL;
            assert_int_equal(value_parse(number, strlen(number), &schema_value_limits, &d, NULL, 0), 0);
            bool valid = schema_check(s, value_root(d), NULL, 0) == 0;
            value_destroy(d);
            if (valid != (some && passes(g, number)))
                fail_msg("%s: %s is %s", text, number,
                         valid ? "valid, and refused" : "invalid, and accepted");
        }
        static const char *const wrong[] = {"00", "07", "007", "0400", "-01", "1.", ".5", "-", "01.5", "+1"};
        for (size_t k = 0; some && k < sizeof wrong / sizeof *wrong; k++)
            assert_false(passes(g, wrong[k]));
        grammar_unref(g);
        schema_destroy(s);
    }
}

static void test_scalars(void **state) {
    (void)state;
    expect("{\"type\": \"integer\"}", true, LIST("0", "-5", "12345678901234567890"),
           LIST("1.5", "01", "1e3", ""));
    expect("{\"type\": \"integer\"}", false, LIST("0", "-5", "123456789012345"),
           LIST("1234567890123456", "1.0"));
    expect("{\"type\": \"number\"}", true, LIST("0.10", "-1.5e-300", "2E+5"), LIST("1.", "1e", "00.1"));
    expect("{\"type\": [\"boolean\", \"null\"]}", true, LIST("true", "false", "null"),
           LIST("0", "\"\"", "nul"));
    expect("{\"enum\": [1, \"a b\", {\"k\": [2]}, null]}", true, LIST("1", "\"a b\"", "{\"k\": [2]}", "null"),
           LIST("2", "\"a\"", "{}"));
    expect("{\"enum\": [2.0, 2.50, [1.0, 1e2], {\"k\": 10e-1}]}", true,
           LIST("2", "2.5", "[1, 100]", "{\"k\": 1}"), LIST("2.0", "2.50", "[1.0, 1e2]"));
    expect("{\"enum\": [1, 5, 9], \"minimum\": 4, \"not\": {\"const\": 9}}", true, LIST("5"), LIST("1", "9"));
}

static void test_strings(void **state) {
    (void)state;
    expect("{\"type\": \"string\", \"minLength\": 1, \"maxLength\": 3}", true,
           LIST("\"a\"", "\"\xC3\xA4\\n\xF0\x9F\x98\x80\""), LIST("\"\"", "\"abcd\"", "\"a", "a"));
    expect("{\"type\": \"string\", \"pattern\": \"^[a-z]+(-[0-9]{2})?$\"}", true, LIST("\"ab\"", "\"x-07\""),
           LIST("\"\"", "\"x-7\"", "\"A\""));
    expect("{\"type\": \"string\", \"pattern\": \"b\\\\\\\\\"}", true, LIST("\"ab\\\\c\""),
           LIST("\"b\"", "\"\""));
    expect("{\"type\": \"string\", \"pattern\": \"^a|b$\"}", true, LIST("\"ax\"", "\"xb\""),
           LIST("\"xa\"", "\"bx\""));
    expect("{\"type\": \"string\", \"pattern\": \"^[a-z]*$\", \"maxLength\": 2, \"minLength\": 1}", true,
           LIST("\"a\"", "\"ab\""), LIST("\"\"", "\"abc\""));
    expect("{\"type\": \"string\", \"pattern\": \"^[\\\"\\n\\u0001]$\"}", true,
           LIST("\"\\\"\"", "\"\\n\"", "\"\\u0001\""), LIST("\"a\""));
    expect("{\"type\": \"string\", \"format\": \"date\"}", true, LIST("\"2024-02-29\"", "\"1999-12-31\""),
           LIST("\"2023-02-29\"", "\"1900-02-29\"", "\"2024-13-01\"", "\"2024-04-31\""));
    expect("{\"type\": \"string\", \"format\": \"date-time\"}", true,
           LIST("\"2024-01-01T00:00:00Z\"", "\"2024-01-01t23:59:59.5+01:30\""),
           LIST("\"2024-01-01\"", "\"2024-01-01T24:00:00Z\"", "\"2024-01-01T00:00:00\""));
    expect("{\"type\": \"string\", \"format\": \"ipv6\"}", true,
           LIST("\"::\"", "\"1:2:3:4:5:6:7:8\"", "\"fe80::1.2.3.4\""),
           LIST("\":::\"", "\"1::2::3\"", "\"1:2\"", "\"1:2:3:4:5:6:7::8:9\""));
    expect("{\"type\": \"string\", \"format\": \"email\"}", false, LIST("\"a.b@c.de\""),
           LIST("\"a\"", "\"a..b@c\"", "\"@c\""));
    expect("{\"type\": \"string\", \"format\": \"uri\"}", true,
           LIST("\"https://a.b:8/c?d=e#f\"", "\"urn:x:y\""), LIST("\"a b\"", "\"/x\"", "\"http://[::g]/\""));
}

static void test_arrays(void **state) {
    (void)state;
    expect("{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 1, \"maxItems\": 3}",
           true, LIST("[1]", "[1, 2, 3]"), LIST("[]", "[1, 2, 3, 4]", "[1,2]", "[1, ]", "[\"a\"]", "[ 1]"));
    expect("{\"type\": \"array\", \"prefixItems\": [{\"const\": 1}, {\"type\": \"string\"}], \"items\": "
           "{\"type\": "
           "\"null\"}}",
           true, LIST("[]", "[1]", "[1, \"\"]", "[1, \"\", null, null]"),
           LIST("[2]", "[1, 2]", "[1, \"\", 1]"));
    expect("{\"type\": \"array\", \"prefixItems\": [true, true], \"items\": false, \"minItems\": 2}", true,
           LIST("[{}, []]"), LIST("[1]", "[1, 2, 3]"));
}

static void test_objects(void **state) {
    (void)state;
    const char *three =
        "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": "
        "\"integer\"}, \"c\": {\"type\": \"integer\"}}, \"required\": [\"b\"], "
        "\"additionalProperties\": false}";
    expect(
        three, true,
        LIST("{\"b\": 1}", "{\"a\": 1, \"b\": 2}", "{\"b\": 1, \"c\": 2}", "{\"a\": 1, \"b\": 2, \"c\": 3}"),
        LIST("{}", "{\"a\": 1}", "{\"b\": 1, \"a\": 2}", "{\"b\": 1, \"b\": 2}", "{\"b\":1}",
             "{\"b\": 1, \"d\": 1}", "{\"b\": 1, }", "{, \"b\": 1}"));
    expect("{\"type\": \"object\", \"properties\": {\"ab\": {\"type\": \"null\"}, \"ac\": {\"type\": "
           "\"null\"}}}",
           true,
           LIST("{}", "{\"ab\": null, \"ad\": 1}", "{\"a\": 1}", "{\"\": 1}", "{\"abc\": [], \"x\": {}}"),
           LIST("{\"ab\": 1}", "{\"ad\": 1, \"ab\": 1}", "{\"ac\": null, \"ab\": null}"));
    /* Also where the first character that tells it from a declared one is an escape, in either spelling. */
    expect(
        "{\"type\": \"object\", \"properties\": {\"ab\": {\"type\": \"null\"}}}", true,
        LIST("{\"\\b\": 1}", "{\"\\u0008\": 1}", "{\"a\\u000cb\": 1}", "{\"\\u007fx\": 1}", "{\"a\\n\": 1}"),
        LIST("{\"\\u0008\": }", "{\"\\v\": 1}"));
    expect("{\"type\": \"string\", \"pattern\": \"^[\\u0008\\u007f]$\"}", true,
           LIST("\"\\b\"", "\"\\u0008\"", "\"\\u007f\"", "\"\x7f\""), LIST("\"\\u0009\"", "\"\\f\""));
    /* Models write no members that nobody declared. */
    expect("{\"type\": \"object\", \"properties\": {\"ab\": {\"type\": \"null\"}}}", false,
           LIST("{}", "{\"ab\": null}"), LIST("{\"x\": 1}", "{\"ab\": null, \"x\": 1}"));
    expect("{\"type\": \"object\"}", false, LIST("{}", "{\"x\": [1, {\"y\": null}]}"),
           LIST("{\"\": 1}", "[]"));
    expect("{\"type\": \"object\", \"additionalProperties\": {\"type\": \"integer\"}, \"minProperties\": 1, "
           "\"maxProperties\": 2}",
           true, LIST("{\"a\": 1}", "{\"a\": 1, \"b\": 2}"),
           LIST("{}", "{\"a\": 1, \"b\": 2, \"c\": 3}", "{\"a\": \"\"}"));
    /* The schema of the names allows any. */
    expect("{\"type\": \"object\", \"propertyNames\": {\"title\": \"name\"}, \"properties\": {\"ab\": "
           "{\"type\": "
           "\"null\"}}}",
           true, LIST("{}", "{\"ab\": null, \"ad\": 1}", "{\"x\": 1}"), LIST("{\"ab\": 1}", "{x\": 1}"));
    expect("{\"type\": \"object\", \"patternProperties\": {\"^x-\": {\"type\": \"integer\"}}, "
           "\"additionalProperties\": false}",
           true, LIST("{}", "{\"x-a\": 1}"), LIST("{\"a\": 1}", "{\"x-a\": \"\"}"));
    expect("{\"allOf\": [{\"type\": \"object\", \"properties\": {\"a\": {\"minimum\": 3}}, \"required\": "
           "[\"a\"]}, "
           "{\"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": \"null\"}}}]}",
           false, LIST("{\"a\": 3}", "{\"a\": 30, \"b\": null}"), LIST("{\"a\": 2}", "{\"a\": 3.5}", "{}"));
}

static void test_forms_and_recursion(void **state) {
    (void)state;
    expect("{\"anyOf\": [{\"type\": \"integer\"}, {\"type\": \"string\", \"maxLength\": 1}]}", true,
           LIST("5", "\"a\""), LIST("\"ab\"", "null"));
    expect("{\"oneOf\": [{\"type\": \"object\", \"properties\": {\"k\": {\"const\": 1}}, \"required\": "
           "[\"k\"]}, "
           "{\"type\": \"object\", \"properties\": {\"k\": {\"const\": 2}, \"v\": {\"type\": \"null\"}}, "
           "\"required\": "
           "[\"k\", \"v\"]}]}",
           false, LIST("{\"k\": 1}", "{\"k\": 2, \"v\": null}"), LIST("{\"k\": 2}", "{\"k\": 3}"));
    const char *tree =
        "{\"$defs\": {\"t\": {\"type\": \"object\", \"properties\": {\"v\": {\"type\": \"integer\"}, "
        "\"c\": {\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/t\"}}}, \"required\": [\"v\"], "
        "\"additionalProperties\": false}}, \"$ref\": \"#/$defs/t\"}";
    expect(tree, true, LIST("{\"v\": 1}", "{\"v\": 1, \"c\": [{\"v\": 2, \"c\": []}, {\"v\": 3}]}"),
           LIST("{\"v\": 1, \"c\": [{}]}", "{\"c\": []}"));
}

/* What cannot be said is named by its place, and the grammar lets it pass. */
static void test_what_is_not_exact(void **state) {
    (void)state;
    static const struct {
        const char *schema, *why, *passes;
    } cases[] = {
        {"{\"properties\": {\"x\": {\"type\": \"array\", \"uniqueItems\": true}}}",
         "/properties/x: uniqueItems", "{\"x\": [1, 1]}"},
        {"{\"type\": \"integer\", \"multipleOf\": 3}", "/: multipleOf", "4"},
        {"{\"type\": \"string\", \"pattern\": \"a\", \"format\": \"date\"}",
         "a pattern together with a format", "\"a\""},
        {"{\"type\": \"integer\", \"not\": {\"minimum\": 3}}", "/: not", "4"},
        {"{\"oneOf\": [{\"minimum\": 3}, {\"maximum\": 5}]}", "/: oneOf", "4"},
        {"{\"type\": \"string\", \"pattern\": \"a\\\\b\"}", "/: pattern", "\"x\""},
        {"{\"if\": {\"type\": \"string\"}, \"then\": {\"maxLength\": 1}}", "/: if", "\"abc\""},
        {"{\"type\": \"object\", \"dependentRequired\": {\"a\": [\"b\"]}}", "/: dependentRequired",
         "{\"a\": 1}"},
        /* A name comes again where no other begins like it. */
        {"{\"type\": \"object\", \"patternProperties\": {\"^[xy]$\": {}}, \"additionalProperties\": false}",
         "/: patternProperties whose names an object can use up", "{\"x\": 1, \"x\": 2}"},
        {"{\"type\": \"object\", \"patternProperties\": {\"^a+$|^b$\": {}}, \"additionalProperties\": false}",
         "/: patternProperties whose names", "{\"b\": 1, \"b\": 2}"},
        {"{\"type\": \"object\", \"patternProperties\": {\"^[a-z]\\\\+$\": {}}, \"additionalProperties\": "
         "false}",
         "/: patternProperties whose names", "{\"a+\": 1, \"a+\": 2}"},
        {"{\"type\": \"object\", \"propertyNames\": {\"pattern\": \"^()*$\"}}",
         "/: propertyNames that an object can use up", "{\"\": 1, \"\": 2}"},
        {"{\"type\": \"object\", \"propertyNames\": {\"maxLength\": 1}}",
         "/: propertyNames that an object can use up", "{\"x\": 1, \"x\": 2}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct constrain_report report;
        struct grammar *g = make(cases[i].schema, true, &report);
        assert_false(report.exact);
        if (strstr(report.why, cases[i].why) == NULL)
            fail_msg("%s: '%s'", cases[i].schema, report.why);
        assert_true(passes(g, cases[i].passes));
        grammar_unref(g);
    }
}

static void test_turn(void **state) {
    (void)state;
    struct schema *read =
        compile("{\"type\": \"object\", \"properties\": {\"path\": {\"type\": \"string\"}}, "
                "\"required\": [\"path\"]}");
    struct schema *none =
        compile("{\"type\": \"object\", \"properties\": {}, \"additionalProperties\": false}");
    const struct constrain_tool tools[] = {{.name = "read", .schema = read},
                                           {.name = "read_all", .schema = none}};
    struct constrain_report report;
    struct grammar *g = NULL;
    char err[200];
    assert_int_equal(constrain_turn(tools, 2, &g, &report, err, sizeof err), 0);
    assert_true(report.exact);
#define OPEN  "<tool_call>\n{\"name\": \""
#define CLOSE "}\n</tool_call>"
    assert_true(passes(g, ""));
    assert_true(passes(g, "I think <tool and </tool_call>."));
    assert_true(passes(g, "Let me see. " OPEN "read\", \"arguments\": {\"path\": \"<tool_call>\"}" CLOSE));
    assert_true(passes(g, OPEN "read_all\", \"arguments\": {}" CLOSE "\n" OPEN
                               "read\", \"arguments\": {\"path\": \"\"}" CLOSE " Done."));
    assert_false(passes(g, OPEN "read\", \"arguments\": {}" CLOSE));
    assert_false(passes(g, OPEN "read_all\", \"arguments\": {\"path\": \"\"}" CLOSE));
    assert_false(passes(g, OPEN "write\", \"arguments\": {}" CLOSE));
    assert_false(passes(g, "a <tool_call> b"));
    assert_false(passes(g, OPEN "read_all\", \"arguments\": {}}"));
    grammar_unref(g);
    assert_int_equal(constrain_turn(tools, 0, &g, &report, err, sizeof err), -EINVAL);
    assert_int_equal(constrain_call(tools, 2, &g, &report, err, sizeof err), 0);
    assert_true(passes(g, "\n{\"name\": \"read_all\", \"arguments\": {}" CLOSE));
    assert_false(passes(g, "\n{\"name\": \"read_all\", \"arguments\": {}" CLOSE "x"));
    grammar_unref(g);
    schema_destroy(read);
    schema_destroy(none);
}

static void test_spelling(void **state) {
    (void)state;
    struct schema *s =
        compile("{\"properties\": {\"b\": {\"properties\": {\"y\": {}, \"x\": {}}}, \"a\": {}}}");
    static const char text[] = "{\"c\":1.50e1,\"a\":[1,\"\\u00e4\\u0001\"],\"b\":{\"x\":1e2,\"y\":-0.0}}";
    struct value_document *d = NULL;
    struct buf out;
    buf_init(&out, 1000);
    assert_int_equal(value_parse(text, sizeof text - 1, &schema_value_limits, &d, NULL, 0), 0);
    assert_int_equal(constrain_spell(s, value_root(d), &out), 0);
    assert_string_equal(out.data,
                        "{\"b\": {\"y\": 0, \"x\": 100}, \"a\": [1, \"\xC3\xA4\\u0001\"], \"c\": 15}");
    buf_finish(&out);
    value_destroy(d);
    schema_destroy(s);
}

/* Of a list of tens of thousands each value passes, and only those; of two lists what is in both. */
static void test_long_lists(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, 1u << 19);
    assert_int_equal(buf_puts(&text, "{\"allOf\": [{\"enum\": [-1"), 0);
    for (int i = 0; i < 18000; i++)
        assert_int_equal(buf_printf(&text, ",%d", i), 0);
    assert_int_equal(buf_puts(&text, "]}, {\"enum\": [-2"), 0);
    for (int i = 9000; i < 27000; i++)
        assert_int_equal(buf_printf(&text, ",%d", i), 0);
    assert_int_equal(buf_puts(&text, "]}]}"), 0);
    expect(text.data, true, LIST("9000", "17999", "12345"), LIST("8999", "18000", "-1", "-2", "123456"));
    buf_finish(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_forms_and_recursion),
        cmocka_unit_test(test_what_is_not_exact),
        cmocka_unit_test(test_turn),
        cmocka_unit_test(test_spelling),
        cmocka_unit_test(test_long_lists),
    };
    return cmocka_run_group_tests_name("constrain", tests, NULL, NULL);
}
