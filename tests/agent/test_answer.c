/* JSON mode: what becomes of an answer that must be JSON, and the conversation around it. */
#include "agent/answer.h"
#include "agent/repair.h"
#include "tests/agent/script.h"
#include "tools/schema.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SCHEMA                                                                                               \
    "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\", \"maximum\": 9}, \"t\": "        \
    "{\"type\": \"string\"}}, \"required\": [\"a\"], \"additionalProperties\": false}"
#define AGAIN " Answer again, with the JSON and nothing else."

static struct schema *compile(const char *text) {
    static const struct schema_options options = {.any_value = true};
    struct schema *s = NULL;
    char err[300] = "";
    if (schema_compile_with(text, strlen(text), &options, &s, NULL, err, sizeof err) != 0)
        fail_msg("%s: %s", text, err);
    return s;
}

/* ---- reading ---- */

static void an_answer_becomes_one_line_of_json(void **state) {
    (void)state;
    static const struct {
        const char *text, *json, *repaired;
    } all[] = {
        {"{\"a\":1,\"t\":\"x\"}", "{\"a\": 1, \"t\": \"x\"}", ""},
        {" {\"a\":\n 1.50e0 }\n", "{\"a\": 1.50e0}", ""},
        {"[1,\r\n[ ]]", "[1, []]", ""},
        {"\"a\\u00e4<PLAN>\"", "\"a\\u00e4<PLAN>\"", ""},
        {"-0.5", "-0.5", ""},
        {"null", "null", ""},
        {"```json\n{\"a\": 1}\n```", "{\"a\": 1}", "fenced_json"},
        {"Here it is: {\"a\": 1}. Done.", "{\"a\": 1}", "fenced_json"},
        {"{'a': True, 'b': None,}", "{\"a\": true, \"b\": null}", "python_literal, trailing_comma"},
        {"```\n{a: 1} // one\n```", "{\"a\": 1}", "keys_and_comments, fenced_json"},
        {"{\"a\": \"x\ny\"}", "{\"a\": \"x\\ny\"}", "raw_control"},
        {"{\"a\": 1, \"a\": 1}", "{\"a\": 1}", "duplicate_keys"},
    };
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "The turn was empty."},
        {"Hello.", "The answer is not valid JSON (a value was expected at byte 0)."},
        {"{\"a\": 1", "The JSON of the answer is not complete."},
        {"{\"a\": 1} {\"a\": 2}", "Something stands behind the JSON of the answer."},
        {"{\"a\": 1, \"a\": 2}", "The answer has the key \"a\" twice with different values."},
        {"{\"a\": \"b\"c\"}", NULL},
        {"[NaN]", NULL},
        {"{1, 2}", NULL},
        {"[12345678901234567890]", NULL},
    };
    struct schema *any = compile("true");
    struct answer a;
    assert_int_equal(answer_init(&a, &(struct agent_answer){.schema = any}, NULL, 0), 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (answer_read(&a, all[i].text, strlen(all[i].text)) != 0)
            fail_msg("%s: %s", all[i].text, a.why);
        assert_string_equal(a.json.data, all[i].json);
        assert_string_equal(a.repaired, all[i].repaired);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (answer_read(&a, bad[i].text, strlen(bad[i].text)) != -EINVAL)
            fail_msg("%s was taken", bad[i].text);
        assert_true(strlen(a.why) > 10);
        if (bad[i].why != NULL)
            assert_string_equal(a.why, bad[i].why);
    }
    answer_finish(&a);
    schema_destroy(any);
}

/* What a client may not be able to read inside the job object is no answer. */
static void answers_have_ceilings(void **state) {
    (void)state;
    struct schema *any = compile("true");
    struct answer a;
    assert_int_equal(answer_init(&a, &(struct agent_answer){.schema = any}, NULL, 0), 0);
    for (int depth = ANSWER_DEPTH_MAX; depth <= ANSWER_DEPTH_MAX + 1; depth++) {
        char text[200];
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        assert_int_equal(answer_read(&a, text, 2 * (size_t)depth), depth > ANSWER_DEPTH_MAX ? -EINVAL : 0);
    }
    size_t len = ANSWER_BYTES_MAX + 10;
    char *text = malloc(len);
    memset(text, 'x', len);
    text[0] = text[len - 1] = '"';
    assert_int_equal(answer_read(&a, text, len), -EINVAL);
    text[ANSWER_BYTES_MAX - 1] = '"';
    assert_int_equal(answer_read(&a, text, ANSWER_BYTES_MAX), 0);
    free(text);
    answer_finish(&a);
    schema_destroy(any);
}

static void an_answer_that_does_not_fit_is_explained(void **state) {
    (void)state;
    static const struct {
        const char *text, *why;
    } all[] = {
        {"{\"a\": 10}", "The answer does not fit its JSON schema: answer.a must be at most 9, not 10"},
        {"[1]", "The answer does not fit its JSON schema: answer must be an object, not an array"},
        {"{}", "answer"},
        {"{\"a\": 1, \"b\": 2}", "answer"},
    };
    struct schema *s = compile(SCHEMA);
    struct answer a;
    struct buf said;
    int status = 0;
    buf_init(&said, 4096);
    assert_int_equal(answer_init(&a, &(struct agent_answer){.prompt_schema = SCHEMA, .schema = s}, NULL, 0),
                     0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_int_equal(answer_read(&a, all[i].text, strlen(all[i].text)), -EINVAL);
        if (strstr(a.why, all[i].why) == NULL || strstr(a.why, "arguments") != NULL)
            fail_msg("%s: %s", all[i].text, a.why);
    }
    for (int i = 1; i < ANSWER_TRIES; i++) {
        buf_clear(&said);
        assert_true(answer_again(&a, &said, &status));
        assert_int_equal(status, 0);
        assert_true(strstr(said.data, a.why) == said.data && strstr(said.data, "." AGAIN) != NULL);
        assert_null(strstr(said.data, ".." AGAIN));
    }
    assert_false(answer_again(&a, &said, &status));
    buf_finish(&said);
    answer_finish(&a);
    schema_destroy(s);
}

/* ---- the conversation ---- */

static struct agent *json_agent(const struct schema *schema, const char *section) {
    const struct agent_answer answer = {.prompt_schema = SCHEMA, .schema = schema};
    const struct agent_config config = {.tools = script_tools,
                                        .n_tools = 3,
                                        .limits = agent_limits_default,
                                        .lenient_calls = true,
                                        .open_section = section,
                                        .answer = &answer};
    const struct agent_message hi = {AGENT_ROLE_USER, "Hi"};
    struct agent *a = NULL;
    assert_int_equal(agent_create(&config, &a, NULL, 0), 0);
    assert_int_equal(agent_start(a, &hi, 1, NULL, 0), 0);
    return a;
}

static void expect(const char *section, const struct script_op *ops, const char *steps, const char *events) {
    static const size_t pieces[] = {0, 1, 3, 7};
    struct schema *s = compile(SCHEMA);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct buf got_steps, got_events;
        struct agent *a = json_agent(s, section);
        script_play(a, ops, pieces[i], &got_steps, &got_events);
        assert_string_equal(got_steps.data, steps);
        if (events != NULL)
            assert_string_equal(got_events.data != NULL ? got_events.data : "", events);
        buf_finish(&got_steps);
        buf_finish(&got_events);
        agent_destroy(a);
    }
    schema_destroy(s);
}

#define START "GENERATE 0 4096\n"
#define NUDGE(turn, tokens, why)                                                                             \
    "GENERATE " turn " " tokens "\n<|im_end|>\n<|im_start|>user\n" why AGAIN                                 \
    "<|im_end|>\n<|im_start|>assistant\n\n"
#define NO_FIT "The answer does not fit its JSON schema: answer.a must be at most 9, not "

static void json_is_the_answer(void **state) {
    (void)state;
    expect(NULL, (struct script_op[]){SAY("{\"a\":1}"), END(STOP), {0}}, START "DONE {\"a\": 1}\n",
           "MESSAGE 0.0 {\"a\":1}\n");
    /* tags in its strings are data, whatever they would mean elsewhere */
    expect(NULL,
           (struct script_op[]){
               SAY("<PLAN>\nx {\n</PLAN>\n{\"a\": 2, \"t\": \"<PLAN> \\\"<tool_call>{}</tool_call>"
                   "<tool_response><|im_end|></PLAN>\"}"),
               END(STOP),
               {0}},
           START "DONE {\"a\": 2, \"t\": \"<PLAN> "
                 "\\\"<tool_call>{}</tool_call><tool_response><|im_end|></PLAN>\"}\n",
           "REASONING 0.0 PLAN x {\nMESSAGE 0.1 {\"a\": 2, \"t\": \"<PLAN> "
           "\\\"<tool_call>{}</tool_call><tool_response><|im_end|></PLAN>\"}\n");
    /* a fence comes off, and JSON that looks like a call is an answer */
    expect(NULL, (struct script_op[]){SAY("```json\n{\"a\": 3, \"t\": \"<think>\"}\n```"), END(STOP), {0}},
           START "DONE {\"a\": 3, \"t\": \"<think>\"}\n", NULL);
    expect("think", (struct script_op[]){SAY("so.</think>\n{\"a\": 4}"), END(STOP), {0}},
           START "DONE {\"a\": 4}\n", "REASONING 0.0 think so.\nMESSAGE 0.1 {\"a\": 4}\n");
}

static void calls_come_first(void **state) {
    (void)state;
    expect(
        NULL,
        (struct script_op[]){SAY("<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>"),
                             END(STOP),
                             RESULT(0, OK, "1"),
                             SAY("{\"a\": 1}"),
                             END(STOP),
                             {0}},
        START
        "CALL 0.0 add {\"a\": 1}\n"
        "GENERATE 1 4096\n<|im_end|>\n<|im_start|>tool\n<tool_response>\n{\"name\": \"add\", \"content\": "
        "1}\n</tool_response>\n<|im_end|>\n<|im_start|>assistant\n\nDONE {\"a\": 1}\n",
        NULL);
}

/* One that was announced and not made is asked for once, beside the tries. */
static void an_announced_call_is_no_answer(void **state) {
    (void)state;
    static const struct script_op ops[] = {SAY("I will use `add` now."),
                                           END(STOP),
                                           SAY("I will use `add` now."),
                                           END(STOP),
                                           SAY("{\"a\": 10}"),
                                           END(STOP),
                                           SAY("{\"a\": 1}"),
                                           END(STOP),
                                           {0}};
    expect(NULL, ops,
           START
           "GENERATE 1 4096\n<|im_end|>\n<|im_start|>user\nYou wrote about a call but made none. Make the "
           "call now, or write the final answer.<|im_end|>\n<|im_start|>assistant\n\n" NUDGE(
               "2", "4096", "The answer is not valid JSON (a value was expected at byte 0).")
               NUDGE("3", "4096", NO_FIT "10.") "DONE {\"a\": 1}\n",
           NULL);
}

static void a_misfit_is_asked_for_again(void **state) {
    (void)state;
    expect(
        NULL,
        (struct script_op[]){
            SAY("{\"a\": 10}"), END(STOP), SAY("{\"a\": 11}"), END(STOP), SAY("{\"a\": 9}"), END(STOP), {0}},
        START NUDGE("1", "4096", NO_FIT "10.") NUDGE("2", "4096", NO_FIT "11.") "DONE {\"a\": 9}\n", NULL);
    expect(
        NULL,
        (struct script_op[]){
            SAY("{\"a\": 10}"), END(STOP), SAY("{\"a\": 11}"), END(STOP), SAY("{\"a\": 12}"), END(STOP), {0}},
        START NUDGE("1", "4096", NO_FIT "10.") NUDGE("2", "4096", NO_FIT "11.") "FAILED invalid_answer\n",
        NULL);
    /* an empty turn is one of them */
    expect(
        NULL,
        (struct script_op[]){SAY(""), END(STOP), SAY(" "), END(STOP), SAY("<PLAN>x</PLAN>"), END(STOP), {0}},
        START NUDGE("1", "4096", "The turn was empty.")
            NUDGE("2", "4096", "The turn was empty.") "FAILED empty_answer\n",
        NULL);
    /* a new message of the user gives it new tries */
    expect(NULL,
           (struct script_op[]){SAY("x y"),
                                END(STOP),
                                SAY("x y"),
                                END(STOP),
                                SAY("{\"a\": 1}"),
                                END(STOP),
                                MESSAGE("More."),
                                SAY("{\"a\": 10}"),
                                END(STOP),
                                SAY("{\"a\": 2}"),
                                END(STOP),
                                {0}},
           START NUDGE("1", "4096", "The answer is not valid JSON (a value was expected at byte 0).")
               NUDGE("2", "4096",
                     "The answer is not valid JSON (a value was expected at byte "
                     "0).") "DONE {\"a\": 1}\nGENERATE 3 "
                            "4096\n<|im_end|>\n<|im_start|>user\nMore.<|im_end|>\n"
                            "<|im_start|>assistant\n\n" NUDGE("4", "4096", NO_FIT "10.") "DONE {\"a\": 2}\n",
           NULL);
}

/* The tokens may run out behind the last bracket: then nothing is missing. */
static void a_whole_answer_needs_no_end(void **state) {
    (void)state;
    expect(NULL, (struct script_op[]){SAY("{\"a\": 1}"), END(LENGTH), {0}}, START "DONE {\"a\": 1}\n", NULL);
    expect(NULL, (struct script_op[]){SAY("{\"a\": 1}"), END(CONTEXT), {0}}, START "DONE {\"a\": 1}\n", NULL);
    expect(NULL, (struct script_op[]){SAY("{\"a\": 1"), END(LENGTH), {0}}, START "FAILED turn_too_long\n",
           NULL);
    expect(NULL, (struct script_op[]){SAY("1"), END(LENGTH), {0}}, START "FAILED turn_too_long\n", NULL);
    expect(NULL, (struct script_op[]){SAY("{'a': 1}"), END(LENGTH), {0}}, START "FAILED turn_too_long\n",
           NULL);
    expect(NULL, (struct script_op[]){SAY("{\"a\": 10}"), END(CONTEXT), {0}}, START "FAILED context_full\n",
           NULL);
    expect(NULL, (struct script_op[]){SAY("{\"a\": 1}"), END(CANCELLED), {0}}, START "FAILED cancelled\n",
           NULL);
}

static void only_a_number_may_go_on(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool whole;
    } all[] = {{"\"a\"", true}, {"true", true}, {"[]", true},   {"12", false},
               {"-1.5", false}, {"\"a", false}, {"True", false}};
    struct schema *any = compile("true");
    const struct agent_answer answer = {.schema = any};
    const struct agent_config config = {.answer = &answer};
    const struct agent_message hi = {AGENT_ROLE_USER, "Hi"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct agent *a = NULL;
        struct agent_step step;
        assert_int_equal(agent_create(&config, &a, NULL, 0), 0);
        assert_int_equal(agent_start(a, &hi, 1, NULL, 0), 0);
        agent_next(a, &step);
        assert_int_equal(agent_feed_text(a, all[i].text, strlen(all[i].text), 1), 0);
        assert_int_equal(agent_feed_end(a, AGENT_FINISH_LENGTH), 0);
        agent_next(a, &step);
        assert_int_equal(step.type, all[i].whole ? AGENT_STEP_DONE : AGENT_STEP_FAILED);
        agent_destroy(a);
    }
    schema_destroy(any);
}

static void what_was_repaired_is_said(void **state) {
    (void)state;
    struct schema *s = compile(SCHEMA);
    static const char *const texts[] = {"{\"a\": 1}", "```\n{\"a\": 1}\n```"};
    for (int i = 0; i < 2; i++) {
        struct agent *a = json_agent(s, NULL);
        struct agent_step step;
        agent_next(a, &step);
        assert_int_equal(agent_feed_text(a, texts[i], strlen(texts[i]), 1), 0);
        assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), 0);
        agent_next(a, &step);
        assert_int_equal(step.type, AGENT_STEP_DONE);
        assert_string_equal(step.repaired, i == 0 ? "" : "fenced_json");
        agent_destroy(a);
    }
    schema_destroy(s);
    struct agent *a = script_agent(NULL);
    struct agent_step step;
    agent_next(a, &step);
    assert_int_equal(agent_feed_text(a, "Hi", 2, 1), 0);
    assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), 0);
    agent_next(a, &step);
    assert_null(step.repaired);
    agent_destroy(a);
}

static void a_schema_that_is_no_json_is_refused(void **state) {
    (void)state;
    const struct agent_answer answer = {.prompt_schema = "{"};
    const struct agent_config config = {.answer = &answer};
    struct agent *a = NULL;
    char err[200] = "";
    assert_int_equal(agent_create(&config, &a, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "schema of the answer"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_becomes_one_line_of_json),
        cmocka_unit_test(answers_have_ceilings),
        cmocka_unit_test(an_answer_that_does_not_fit_is_explained),
        cmocka_unit_test(json_is_the_answer),
        cmocka_unit_test(calls_come_first),
        cmocka_unit_test(an_announced_call_is_no_answer),
        cmocka_unit_test(a_misfit_is_asked_for_again),
        cmocka_unit_test(a_whole_answer_needs_no_end),
        cmocka_unit_test(only_a_number_may_go_on),
        cmocka_unit_test(what_was_repaired_is_said),
        cmocka_unit_test(a_schema_that_is_no_json_is_refused),
    };
    return cmocka_run_group_tests_name("answer", tests, NULL, NULL);
}
