/* Each limit ends the job with its own reason, and ceilings hold. */
#include "tests/agent/script.h"

#include "agent/toolcall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ADD(x)  "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": " x "}}\n</tool_call>"
#define POLL    "<tool_call>\n{\"name\": \"poll\", \"arguments\": {}}\n</tool_call>"
#define OK_0(n) RESULT(n, OK, "0")

/* The last line of the steps, and that they hold `part`. */
static void expect_end(const struct agent_limits *limits, const struct script_op *ops, const char *end,
                       const char *part) {
    static const size_t pieces[] = {0, 1, 5};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct buf steps, events;
        struct agent *a = script_agent(limits);
        script_play(a, ops, pieces[i], &steps, &events);
        assert_true(steps.len >= strlen(end));
        assert_string_equal(steps.data + steps.len - strlen(end), end);
        if (part != NULL)
            assert_non_null(strstr(steps.data, part));
        buf_finish(&steps);
        buf_finish(&events);
        agent_destroy(a);
    }
}

static void turns(void **state) {
    (void)state;
    const struct agent_limits two = {.max_turns = 2};
    expect_end(
        &two, (struct script_op[]){SAY(ADD("1")), END(STOP), OK_0(0), SAY(ADD("2")), END(STOP), OK_0(1), {0}},
        "FAILED max_turns\n", "GENERATE 1 ");
    expect_end(&two, (struct script_op[]){SAY(ADD("1")), END(STOP), OK_0(0), SAY("ok"), END(STOP), {0}},
               "DONE ok\n", NULL);
    /* counted from the last user message */
    expect_end(&two,
               (struct script_op[]){SAY(ADD("1")),
                                    END(STOP),
                                    OK_0(0),
                                    SAY("ok"),
                                    END(STOP),
                                    MESSAGE("more"),
                                    SAY(ADD("1")),
                                    END(STOP),
                                    OK_0(1),
                                    SAY("ok"),
                                    END(STOP),
                                    {0}},
               "DONE ok\n", "GENERATE 3 ");
}

static void calls(void **state) {
    (void)state;
    const struct agent_limits two = {.max_calls = 2};
    expect_end(&two, (struct script_op[]){SAY(ADD("1")), SAY(ADD("2")), SAY(ADD("3")), END(CANCELLED), {0}},
               "FAILED max_tool_calls\n", "CALL 0.1 add {\"a\": 2}\nSTOP\nFAILED");
    expect_end(
        &two,
        (struct script_op[]){SAY(ADD("1") ADD("2")), END(STOP), OK_0(1), OK_0(0), SAY("ok"), END(STOP), {0}},
        "DONE ok\n", NULL);
    /* results that come late are taken and change nothing */
    expect_end(&two,
               (struct script_op[]){
                   SAY(ADD("1")), SAY(ADD("2")), SAY(ADD("3")), OK_0(1), END(CANCELLED), OK_0(0), {0}},
               "FAILED max_tool_calls\nFAILED max_tool_calls\n", NULL);
}

static void calls_per_turn(void **state) {
    (void)state;
    const struct agent_limits two = {.max_calls_per_turn = 2};
    expect_end(&two, (struct script_op[]){SAY(ADD("1") ADD("2") ADD("3")), END(STOP), OK_0(0), OK_0(1), {0}},
               "<tool_response>\n{\"name\": \"add\", \"error\": \"Not run: at most 2 calls are allowed in "
               "one turn. Call "
               "again.\"}\n</tool_response>\n<|im_end|>\n<|im_start|>assistant\n\n",
               "CALL 0.1 ");
}

static void tokens(void **state) {
    (void)state;
    const struct agent_limits both = {.max_output_tokens = 100, .max_turn_tokens = 70};
    expect_end(&both, (struct script_op[]){SAY("a"), END(LENGTH), {0}}, "FAILED turn_too_long\n",
               "GENERATE 0 70\n");
    /* "…</tool_call>" is a token a byte here: 66 of them leave 34 */
    expect_end(&both,
               (struct script_op[]){SAY(ADD("1") "   "), END(STOP), OK_0(0), SAY("a"), END(LENGTH), {0}},
               "FAILED max_output_tokens\n", "GENERATE 1 34\n");
    expect_end(&both, (struct script_op[]){SAY(ADD("1")), END(STOP), OK_0(0), SAY("ok"), END(STOP), {0}},
               "DONE ok\n", NULL);
    /* an engine that does not stop by itself is stopped */
    const struct agent_limits ten = {.max_turn_tokens = 10};
    expect_end(&ten, (struct script_op[]){SAY("0123456789"), SAY("0"), END(CANCELLED), {0}},
               "FAILED turn_too_long\n", "STOP\n");
    const struct agent_limits few = {.max_output_tokens = 63};
    expect_end(&few, (struct script_op[]){SAY(ADD("1")), END(STOP), OK_0(0), {0}},
               "CALL 0.0 add {\"a\": 1}\nFAILED max_output_tokens\n", NULL);
    const struct agent_limits none = {0};
    expect_end(&none, (struct script_op[]){SAY("ok"), END(STOP), {0}}, "DONE ok\n", "GENERATE 0 1048576\n");
}

static void identical_calls(void **state) {
    (void)state;
    const struct agent_limits two = {.max_identical_calls = 2};
    const char *spaced = "<tool_call>{\"arguments\":{ \"a\":1.0},\"name\":\"add\"}</tool_call>";
    /* refused twice, then the end */
    expect_end(
        &two,
        (struct script_op[]){
            SAY(ADD("1")), SAY(ADD("1")), SAY(spaced), SAY(ADD("1")), SAY(spaced), END(CANCELLED), {0}},
        "FAILED identical_calls\n", "CALL 0.1 add {\"a\": 1}\nSTOP\n");
    expect_end(&two, (struct script_op[]){SAY(ADD("1") ADD("2") ADD("1") ADD("2")), END(STOP), {0}},
               "CALL 0.3 add {\"a\": 2}\n", NULL);
    expect_end(&two, (struct script_op[]){SAY(POLL POLL POLL POLL), END(STOP), {0}}, "CALL 0.3 poll {}\n",
               NULL);
    /* calls that cannot run count as well */
    expect_end(
        &two,
        (struct script_op[]){SAY("<tool_call>x</tool_call><tool_call>x</tool_call><tool_call>x</tool_call>"),
                             SAY("<tool_call>x</tool_call><tool_call>x</tool_call>"),
                             END(STOP),
                             {0}},
        "FAILED identical_calls\n", NULL);
}

static uint64_t signature(const char *name, const char *arguments) {
    uint64_t value = 0;
    assert_int_equal(toolcall_signature(name, arguments, strlen(arguments), &value), 0);
    return value;
}

static void signatures(void **state) {
    (void)state;
    static const char *const same[][2] = {{"{\"a\": 1, \"b\": [1, 2]}", "{\"b\":[1,2],\"a\":1}"},
                                          {"{\"a\": {\"x\": 1, \"y\": 2}}", "{\"a\": {\"y\": 2, \"x\": 1}}"},
                                          {"{\"a\": \"\\u0041\"}", "{\"a\": \"A\"}"}};
    static const char *const other[][2] = {{"{\"a\": [1, 2]}", "{\"a\": [2, 1]}"},
                                           {"{\"a\": 1}", "{\"a\": \"1\"}"},
                                           {"{\"a\": true}", "{\"a\": false}"},
                                           {"{\"a\": {}}", "{\"a\": []}"},
                                           {"{\"a\": 1, \"b\": 2}", "{\"a\": 2, \"b\": 1}"},
                                           {"x", "y"},
                                           {"{}", "{\"a\": null}"}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_true(signature("f", same[i][0]) == signature("f", same[i][1]));
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_true(signature("f", other[i][0]) != signature("f", other[i][1]));
    assert_true(signature("f", "{}") != signature("g", "{}"));
}

/* What the model reads of one long result. */
static char *told(const char *text, size_t len, size_t max) {
    const struct agent_limits limits = {.max_result_bytes = max};
    struct agent *a = script_agent(&limits);
    struct agent_step s;
    agent_next(a, &s);
    assert_int_equal(agent_feed_text(a, ADD("1"), strlen(ADD("1")), 5), 0);
    agent_next(a, &s);
    assert_int_equal(s.type, AGENT_STEP_CALL);
    assert_int_equal(agent_feed_result(a, 0, AGENT_RESULT_OK, text, len), 0);
    assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), 0);
    agent_next(a, &s);
    assert_int_equal(s.type, AGENT_STEP_GENERATE);
    assert_int_equal(s.n_spans, 3);
    assert_int_equal(s.spans[1].kind, AGENT_SPAN_UNTRUSTED);
    char *body = strndup(s.spans[1].text, s.spans[1].len);
    agent_destroy(a);
    return body;
}

static void long_results_are_cut_and_marked(void **state) {
    (void)state;
    char *body = told("{\"a\": 12345}", 12, 8);
    assert_string_equal(body, "{\"name\": \"add\", \"content\": \"{\\\"a\\\": 12\", \"truncated\": true}");
    free(body);
    body = told("abc\xE2\x82\xAC", 6, 5);
    assert_string_equal(body, "{\"name\": \"add\", \"content\": \"abc\", \"truncated\": true}");
    free(body);
    body = told("abc\xE2\x82\xAC", 6, 6);
    assert_string_equal(body, "{\"name\": \"add\", \"content\": \"abc\xE2\x82\xAC\"}");
    free(body);
    body = told("\xFF\xFE", 2, 0);
    assert_string_equal(body, "{\"name\": \"add\", \"content\": \"\xEF\xBF\xBD\xEF\xBF\xBD\"}");
    free(body);
    body = told("", 0, 0);
    assert_string_equal(body, "{\"name\": \"add\", \"content\": \"\"}");
    free(body);
    char *much = malloc(100000);
    memset(much, '<', 100000); /* six bytes each once escaped */
    body = told(much, 100000, 0);
    assert_int_equal(strlen(body),
                     32 * 1024 * 6 + strlen("{\"name\": \"add\", \"content\": \"\", \"truncated\": true}"));
    free(body);
    free(much);
}

static void errors_are_cut(void **state) {
    (void)state;
    char text[3001];
    memset(text, 'x', 3000);
    text[3000] = '\0';
    struct buf steps, events;
    struct agent *a = script_agent(NULL);
    script_play(a, (struct script_op[]){SAY(ADD("1")), END(STOP), RESULT(0, ERROR, text), {0}}, 0, &steps,
                &events);
    text[2000] = '\0';
    const char *at = strstr(steps.data, text);
    assert_non_null(at);
    assert_int_equal(at[2000], '"');
    buf_finish(&steps);
    buf_finish(&events);
    agent_destroy(a);
}

static void a_turn_of_a_mebibyte_is_too_long(void **state) {
    (void)state;
    const struct agent_limits none = {0};
    struct agent *a = script_agent(&none);
    struct agent_step s;
    struct agent_event e;
    char *piece = malloc(1u << 16);
    memset(piece, 'a', 1u << 16);
    agent_next(a, &s);
    for (int i = 0; i < 16; i++)
        assert_int_equal(agent_feed_text(a, piece, 1u << 16, 100), 0);
    agent_next(a, &s);
    assert_int_equal(s.type, AGENT_STEP_WAIT);
    assert_int_equal(agent_feed_text(a, "a", 1, 1), 0);
    agent_next(a, &s);
    assert_int_equal(s.type, AGENT_STEP_STOP);
    assert_int_equal(agent_feed_text(a, piece, 1u << 16, 100), 0); /* on its way already */
    assert_int_equal(agent_feed_end(a, AGENT_FINISH_CANCELLED), 0);
    agent_next(a, &s);
    assert_int_equal(s.type, AGENT_STEP_FAILED);
    assert_string_equal(s.reason, "turn_too_long");
    while (agent_take_event(a, &e))
        assert_true(e.len <= 1u << 20);
    free(piece);
    agent_destroy(a);
}

static void a_long_catalogue_is_cut(void **state) {
    (void)state;
    struct agent_tool tools[100];
    char names[100][24];
    for (int i = 0; i < 100; i++) {
        snprintf(names[i], sizeof names[i], "tool_number_%d", i);
        tools[i] = (struct agent_tool){.name = names[i], .schema = "{}"};
    }
    const struct agent_config config = {.tools = tools, .n_tools = 100};
    const struct agent_message hi = {AGENT_ROLE_USER, "Hi"};
    const char *call = "<tool_call>{\"name\": \"x\"}</tool_call>";
    struct agent *a;
    struct agent_step s;
    struct agent_event e;
    assert_int_equal(agent_create(&config, &a, NULL, 0), 0);
    assert_int_equal(agent_start(a, &hi, 1, NULL, 0), 0);
    agent_next(a, &s);
    assert_int_equal(agent_feed_text(a, call, strlen(call), 5), 0);
    assert_true(agent_take_event(a, &e));
    assert_int_equal(e.type, AGENT_EVENT_CALL);
    assert_true(strlen(e.error) < 600 && strlen(e.error) > 500);
    assert_string_equal(e.error + strlen(e.error) - 5, ", ...");
    agent_destroy(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns),
        cmocka_unit_test(calls),
        cmocka_unit_test(calls_per_turn),
        cmocka_unit_test(tokens),
        cmocka_unit_test(identical_calls),
        cmocka_unit_test(signatures),
        cmocka_unit_test(long_results_are_cut_and_marked),
        cmocka_unit_test(errors_are_cut),
        cmocka_unit_test(a_turn_of_a_mebibyte_is_too_long),
        cmocka_unit_test(a_long_catalogue_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
