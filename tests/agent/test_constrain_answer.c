/* The grammar of turns whose answer is JSON: what they may be made of, and in which order. */
#include "agent/constrain.h"
#include "agent/tags.h"

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

/* 1 it is a whole turn, 0 it is the beginning of one, -1 it is none. */
static int verdict(struct grammar *g, const char *text) {
    struct grammar_matcher m;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    int rc = grammar_matcher_bytes(&m, text, strlen(text));
    assert_in_range(rc, 0, 1);
    int whole = rc == 1 ? grammar_matcher_is_complete(&m) : -1;
    grammar_matcher_finish(&m);
    return whole;
}

static struct grammar *make_with(size_t n_tools, const char *answer, const struct tags_more *more,
                                 const char *section, bool exact) {
    struct schema *args = compile("{\"type\": \"object\", \"properties\": {\"n\": {\"type\": \"integer\"}}, "
                                  "\"required\": [\"n\"], \"additionalProperties\": false}");
    struct schema *schema = compile(answer);
    const struct constrain_tool tools[] = {{.name = "add", .schema = args}, {.name = "sub", .schema = args}};
    struct constrain_report report;
    struct grammar *g = NULL;
    char err[300] = "";
    if (constrain_answer(tools, n_tools, schema, more, section, &g, &report, err, sizeof err) != 0)
        fail_msg("%s: %s", answer, err);
    assert_true(report.exact == exact);
    schema_destroy(schema);
    schema_destroy(args);
    return g;
}

static struct grammar *make(size_t n_tools, const char *answer, const char *section, bool exact) {
    return make_with(n_tools, answer, NULL, section, exact);
}

#define ANSWER                                                                                               \
    "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"boolean\"}}, \"required\": [\"a\"], "       \
    "\"additionalProperties\": false}"
#define CALL  "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"n\": 1}}\n</tool_call>"
#define VALUE "{\"a\": true}"

static void expect(struct grammar *g, const char *const *whole, const char *const *part,
                   const char *const *none) {
    for (; *whole != NULL; whole++)
        if (verdict(g, *whole) != 1)
            fail_msg("refused or not whole: %s", *whole);
    for (; *part != NULL; part++)
        if (verdict(g, *part) != 0)
            fail_msg("refused or whole: %s", *part);
    for (; *none != NULL; none++)
        if (verdict(g, *none) != -1)
            fail_msg("accepted: %s", *none);
    grammar_unref(g);
}
#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void without_tools_the_value_alone(void **state) {
    (void)state;
    expect(make(0, ANSWER, NULL, true), LIST(VALUE, "{\"a\": false}"), LIST("", "{", "{\"a\": t"),
           LIST(" {", VALUE "\n", "<PLAN>", "<tool_call>", "{\"a\": 1", "x", "```"));
    expect(make(0, "{\"type\": \"object\"}", NULL, true),
           LIST("{}", "{\"x\": [1, {\"<PLAN>\": null}], \"y\": \"<tool_call>\"}"), LIST("{\"x\": "),
           LIST("[", "1", "{}{"));
    expect(make(0, "{\"type\": [\"integer\", \"array\"]}", NULL, true), LIST("1", "-20", "[]"), LIST("-"),
           LIST("{", "\""));
}

static void with_tools_sections_then_calls_or_the_value(void **state) {
    (void)state;
    expect(make(2, ANSWER, NULL, true),
           LIST(VALUE, CALL, CALL "\n" CALL, CALL CALL "\n", "<PLAN>\n1. add\n</PLAN>\n" CALL,
                "<PLAN>a</PLAN>\n<SCRATCHPAD>{ <tool_call> </SCRATCHPAD>" VALUE,
                "<think>x</think>\n\n" VALUE),
           LIST("", "<PLAN>any text", "<PLAN>a</PLAN>\n", "<tool_call>\n{\"name\": \"sub\", "),
           LIST("I ", VALUE CALL, VALUE "\n", CALL "\n" VALUE, CALL "<PLAN>", "<tool_call>\n{\"name\": \"mul",
                "<PLAN>a</PLAN>x", "<tool_response>", "</PLAN>",
                "<tool_call>\n{\"name\": \"add\", \"arguments\": {}"));
}

/* Every section that is read as one may be written. */
static void all_sections_may_come(void **state) {
    (void)state;
    struct tags_more more;
    const char *name, *bad;
    size_t n = 0;
    assert_int_equal(tags_more_read(&more, "analysis,Notes,c,d,e,f,g,h,i,j,k,l,m,n,o,p", &bad), 0);
    assert_int_equal(more.n, 2 * TAGS_MORE_MAX);
    struct grammar *g = make_with(1, ANSWER, &more, NULL, true);
    for (; (name = tags_section_at(&more, n)) != NULL; n++) {
        char text[200];
        (void)snprintf(text, sizeof text, "<%s>\nso\n</%s>\n" VALUE, name, name);
        if (verdict(g, text) != 1)
            fail_msg("refused: %s", text);
    }
    assert_true(n > 10 && verdict(g, "<other>") == -1);
    /* but not for ever */
    char many[400] = "";
    for (int i = 0; i < 8; i++)
        strncat(many, "<PLAN>x</PLAN>", sizeof many - strlen(many) - 1);
    assert_int_equal(verdict(g, many), 0);
    strncat(many, "<PLAN>", sizeof many - strlen(many) - 1);
    assert_int_equal(verdict(g, many), -1);
    grammar_unref(g);
}

static void a_section_that_the_prompt_opened(void **state) {
    (void)state;
    expect(make(0, ANSWER, "think", true),
           LIST("so</think>" VALUE, "</think>\n" VALUE, "{\"a\": true}</think>" VALUE),
           LIST("", VALUE, "so</think>"), LIST("so</think><PLAN>", "so</think>x"));
    expect(make(1, ANSWER, "think", true), LIST("so</think>" VALUE, "</think><PLAN>x</PLAN>" CALL),
           LIST(VALUE), LIST("so</think>x"));
}

/* Nothing is left of the tools: then nothing may begin like a call. */
static void tools_that_cannot_be_called(void **state) {
    (void)state;
    struct schema *none =
        compile("{\"type\": \"object\", \"properties\": {\"n\": false}, \"required\": [\"n\"]}");
    struct schema *answer = compile(ANSWER);
    const struct constrain_tool tool = {.name = "add", .schema = none};
    struct constrain_report report;
    struct grammar *g = NULL;
    assert_int_equal(constrain_answer(&tool, 1, answer, NULL, NULL, &g, &report, NULL, 0), 0);
    expect(g, LIST(VALUE, "<PLAN>x</PLAN>" VALUE), LIST("<PLAN>x</PLAN>", "<"), LIST("<to", "<tool_call>"));
    schema_destroy(answer);
    schema_destroy(none);
}

static void what_is_not_exact_is_said(void **state) {
    (void)state;
    grammar_unref(make(0, "{\"type\": \"array\", \"uniqueItems\": true}", NULL, false));
    struct schema *none = compile("{\"type\": \"integer\", \"minimum\": 3, \"maximum\": 2}");
    struct constrain_report report;
    struct grammar *g = NULL;
    char err[300] = "";
    assert_int_equal(constrain_answer(NULL, 0, none, NULL, NULL, &g, &report, err, sizeof err), -EINVAL);
    assert_true(strlen(err) > 10);
    schema_destroy(none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_tools_the_value_alone),
        cmocka_unit_test(with_tools_sections_then_calls_or_the_value),
        cmocka_unit_test(all_sections_may_come),
        cmocka_unit_test(a_section_that_the_prompt_opened),
        cmocka_unit_test(tools_that_cannot_be_called),
        cmocka_unit_test(what_is_not_exact_is_said),
    };
    return cmocka_run_group_tests_name("constrain_answer", tests, NULL, NULL);
}
