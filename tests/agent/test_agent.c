/* The agent as a script of turns: what it asks for, what it tells, what the model reads back. */
#include "tests/agent/script.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ADD(x)     "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": " x "}}\n</tool_call>"
#define ECHO(x)    "<tool_call>\n{\"name\": \"echo\", \"arguments\": {\"text\": \"" x "\"}}\n</tool_call>"
#define TOOL_TURN  "<|im_end|>\n<|im_start|>tool\n"
#define BODY(text) "<tool_response>\n" text "\n</tool_response>\n"
#define AGAIN      "<|im_end|>\n<|im_start|>assistant\n\n"

static void an_answer_is_the_trimmed_text(void **state) {
    (void)state;
    script_expect(NULL, (struct script_op[]){SAY(" \n Hello there. \n"), END(STOP), {0}},
                  "GENERATE 0 4096\nDONE Hello there.\n", "MESSAGE 0.0 Hello there.\n");
    script_expect(
        NULL, (struct script_op[]){SAY("<PLAN>\n1. greet\n</PLAN>\nHello <co>there</co>."), END(STOP), {0}},
        "GENERATE 0 4096\nDONE Hello <co>there</co>.\n",
        "REASONING 0.0 PLAN 1. greet\nMESSAGE 0.1 Hello <co>there</co>.\n");
    script_expect(NULL, (struct script_op[]){SAY("One.<think>no</think>Two."), END(STOP), {0}},
                  "GENERATE 0 4096\nDONE Two.\n",
                  "MESSAGE 0.0 One.\nREASONING 0.1 think no\nMESSAGE 0.2 Two.\n");
}

static void a_turn_without_an_answer_fails(void **state) {
    (void)state;
    static const char *const empty[] = {"", " \n", "<PLAN>x</PLAN>\n", "<PLAN>x", "<tool_response>"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        struct buf steps, events;
        struct agent *a = script_agent(NULL);
        script_play(a, (struct script_op[]){SAY(empty[i]), END(STOP), {0}}, 1, &steps, &events);
        const char *end = "FAILED empty_answer\n";
        assert_string_equal(steps.data + steps.len - strlen(end), end);
        assert_int_equal(agent_feed_message(a, "x", 1), -EINVAL);
        buf_finish(&steps);
        buf_finish(&events);
        agent_destroy(a);
    }
}

static void a_call_and_its_result(void **state) {
    (void)state;
    script_expect(NULL,
                  (struct script_op[]){SAY("I add.\n" ADD("1")),
                                       END(STOP),
                                       RESULT(0, OK, "{\"sum\":3,\"t\":\"<b>&\"}"),
                                       SAY("It is 3."),
                                       END(STOP),
                                       {0}},
                  "GENERATE 0 4096\nCALL 0.0 add {\"a\": 1}\n"
                  "GENERATE 1 4096\n" TOOL_TURN BODY(
                      "{\"name\": \"add\", \"content\": {\"sum\": 3, \"t\": \"\\u003cb\\u003e\\u0026\"}}")
                      AGAIN "DONE It is 3.\n",
                  "MESSAGE 0.0 I add.\nCALL 0.1 0 add {\"a\": 1}\nMESSAGE 1.0 It is 3.\n");
}

static void results_in_any_order_are_told_in_call_order(void **state) {
    (void)state;
    script_expect(
        NULL,
        (struct script_op[]){SAY(ADD("1") "\n" ECHO("x") "\n" ADD("2")),
                             RESULT(2, OK, "22"),
                             RESULT(0, OK, "plain text"),
                             END(STOP),
                             RESULT(1, OK, "\"x\""),
                             SAY("ok"),
                             END(STOP),
                             {0}},
        "GENERATE 0 4096\nCALL 0.0 add {\"a\": 1}\nCALL 0.1 echo {\"text\": \"x\"}\nCALL 0.2 add {\"a\": 2}\n"
        "GENERATE 1 4096\n" TOOL_TURN BODY("{\"name\": \"add\", \"content\": \"plain text\"}")
            BODY("{\"name\": \"echo\", \"content\": \"x\"}") BODY("{\"name\": \"add\", \"content\": 22}")
                AGAIN "DONE ok\n",
        NULL);
}

/* A call starts when it closes, while the model still writes. */
static void calls_start_before_the_turn_ends(void **state) {
    (void)state;
    struct agent *a = script_agent(NULL);
    struct agent_step s;
    const char *first = ADD("1"), *rest = "\nand more";
    agent_next(a, &s);
    assert_int_equal(agent_feed_text(a, first, strlen(first) - 1, 9), 0);
    agent_next(a, &s);
    assert_int_equal(s.type, AGENT_STEP_WAIT);
    assert_int_equal(agent_feed_text(a, first + strlen(first) - 1, 1, 1), 0);
    agent_next(a, &s);
    assert_int_equal(s.type, AGENT_STEP_CALL);
    assert_int_equal(agent_feed_result(a, 0, AGENT_RESULT_OK, "1", 1), 0);
    assert_int_equal(agent_feed_result(a, 0, AGENT_RESULT_OK, "1", 1), -EINVAL); /* once */
    agent_next(a, &s);
    assert_int_equal(s.type, AGENT_STEP_WAIT);
    assert_int_equal(agent_feed_text(a, rest, strlen(rest), 2), 0);
    assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), 0);
    agent_next(a, &s);
    assert_int_equal(s.type, AGENT_STEP_GENERATE);
    agent_destroy(a);
}

/* The spans of a step as text, a bar between them. */
static void expect_step(struct agent *a, enum agent_step_type type, const char *spans) {
    struct agent_step s;
    char text[1000] = "";
    agent_next(a, &s);
    assert_int_equal(s.type, type);
    for (size_t i = 0; i < s.n_spans && type == AGENT_STEP_APPEND; i++) {
        size_t at = strlen(text);
        snprintf(text + at, sizeof text - at, "%s%.*s", i > 0 ? "|" : "", (int)s.spans[i].len,
                 s.spans[i].text);
    }
    assert_string_equal(text, spans);
}

static void feed_result(struct agent *a, int call, const char *text) {
    assert_int_equal(agent_feed_result(a, call, AGENT_RESULT_OK, text, strlen(text)), 0);
}

/* Of the next prompt as much as is known is handed out while calls run: its beginning, then results in call
 * order, each with all that stands behind it in any case. */
static void results_are_handed_out_as_they_come(void **state) {
    (void)state;
    struct agent *a = script_agent(NULL);
    const char *turn = ADD("1") "\n" ADD("2") "\n" ADD("3");
    expect_step(a, AGENT_STEP_GENERATE, "");
    assert_int_equal(agent_feed_text(a, turn, strlen(turn), 30), 0);
    for (int i = 0; i < 3; i++)
        expect_step(a, AGENT_STEP_CALL, "");
    feed_result(a, 1, "22");
    expect_step(a, AGENT_STEP_WAIT, ""); /* the model writes yet */
    assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), 0);
    expect_step(a, AGENT_STEP_APPEND, "<|im_end|>\n<|im_start|>tool\n<tool_response>\n");
    expect_step(a, AGENT_STEP_WAIT, "");
    feed_result(a, 0, "11"); /* and the one behind it, which was there before */
    expect_step(a, AGENT_STEP_APPEND,
                "<|im_end|>\n<|im_start|>tool\n<tool_response>\n|{\"name\": \"add\", \"content\": 11}|"
                "\n</tool_response>\n<tool_response>\n|{\"name\": \"add\", \"content\": 22}|"
                "\n</tool_response>\n<tool_response>\n");
    expect_step(a, AGENT_STEP_WAIT, "");
    feed_result(a, 2, "33");
    expect_step(a, AGENT_STEP_GENERATE, "");
    agent_destroy(a);
}

/* Told to, it does one thing after the other. */
static void sequential(void **state) {
    (void)state;
    const struct agent_config config = {
        .tools = script_tools, .n_tools = 3, .limits = agent_limits_default, .sequential = true};
    const struct agent_message hi = {AGENT_ROLE_USER, "Hi"};
    const char *turn = ADD("1") "\n" ADD("2");
    struct agent *a = NULL;
    assert_int_equal(agent_create(&config, &a, NULL, 0), 0);
    assert_int_equal(agent_start(a, &hi, 1, NULL, 0), 0);
    expect_step(a, AGENT_STEP_GENERATE, "");
    assert_int_equal(agent_feed_text(a, turn, strlen(turn), 20), 0);
    expect_step(a, AGENT_STEP_WAIT, "");
    assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), 0);
    expect_step(a, AGENT_STEP_CALL, "");
    expect_step(a, AGENT_STEP_WAIT, "");
    feed_result(a, 0, "11");
    expect_step(a, AGENT_STEP_CALL, "");
    expect_step(a, AGENT_STEP_WAIT, "");
    feed_result(a, 1, "22");
    expect_step(a, AGENT_STEP_GENERATE, "");
    agent_destroy(a);
}

static void what_went_wrong_is_told_to_the_model(void **state) {
    (void)state;
    script_expect(
        NULL,
        (struct script_op[]){SAY(ADD("0") ADD("1") ADD("2") ADD("3") ADD("4") ADD("5") ADD("6")),
                             END(STOP),
                             RESULT(0, ERROR, "no <file>"),
                             RESULT(1, INVALID, NULL),
                             RESULT(2, TIMEOUT, NULL),
                             RESULT(3, CRASHED, NULL),
                             RESULT(4, UNAVAILABLE, NULL),
                             RESULT(5, UNKNOWN, NULL),
                             RESULT(6, CANCELLED, "stopped"),
                             {0}},
        "GENERATE 0 4096\nCALL 0.0 add {\"a\": 0}\nCALL 0.1 add {\"a\": 1}\nCALL 0.2 add {\"a\": 2}\nCALL "
        "0.3 add {\"a\": 3}\n"
        "CALL 0.4 add {\"a\": 4}\nCALL 0.5 add {\"a\": 5}\nCALL 0.6 add {\"a\": 6}\nGENERATE 1 "
        "4096\n" TOOL_TURN BODY("{\"name\": \"add\", \"error\": \"no \\u003cfile\\u003e\"}")
            BODY("{\"name\": \"add\", \"error\": \"The arguments do not fit the tool's parameters.\"}")
                BODY("{\"name\": \"add\", \"error\": \"The tool did not answer in time.\"}") BODY(
                    "{\"name\": \"add\", \"error\": \"The tool ended unexpectedly and gave no result.\"}")
                    BODY("{\"name\": \"add\", \"error\": \"The tool cannot run now. Try again later.\"}")
                        BODY("{\"name\": \"add\", \"error\": \"The call was interrupted. It is not known "
                             "whether it took "
                             "effect; check before it is repeated.\"}")
                            BODY("{\"name\": \"add\", \"error\": \"stopped\"}") AGAIN,
        NULL);
}

/* Calls that cannot run cost their siblings nothing and need no result. */
static void calls_that_cannot_run_are_answered(void **state) {
    (void)state;
    script_expect(
        NULL,
        (struct script_op[]){SAY("<tool_call>{\"name\": \"sub\", \"arguments\": {}}</tool_call>" ADD(
                                 "1") "<tool_call>prose</tool_call><tool_call>{\"name\": \"\"}</tool_call>"),
                             END(STOP),
                             RESULT(1, OK, "1"),
                             {0}},
        "GENERATE 0 4096\nCALL 0.1 add {\"a\": 1}\nGENERATE 1 4096\n" TOOL_TURN BODY(
            "{\"name\": \"sub\", \"error\": \"The tool 'sub' does not exist. Available tools: add, echo, "
            "poll\"}") BODY("{\"name\": \"add\", \"content\": 1}")
            BODY("{\"error\": \"The call is not a JSON object. Write {\\\"name\\\": "
                 "\\u003cfunction-name\\u003e, "
                 "\\\"arguments\\\": \\u003cargs-dict\\u003e}.\"}")
                BODY("{\"error\": \"\\\"name\\\" is empty.\"}") AGAIN,
        "CALL 0.0 0 sub {} ! The tool 'sub' does not exist. Available tools: add, echo, poll\n"
        "CALL 0.1 1 add {\"a\": 1}\n"
        "CALL 0.2 2  - ! The call is not a JSON object. Write {\"name\": <function-name>, \"arguments\": "
        "<args-dict>}.\n"
        "CALL 0.3 3  - ! \"name\" is empty.\n");
    script_expect(
        NULL, (struct script_op[]){SAY("<tool_call>x</tool_call>"), END(STOP), {0}},
        "GENERATE 0 4096\nGENERATE 1 4096\n" TOOL_TURN BODY(
            "{\"error\": \"The call is not a JSON object. Write {\\\"name\\\": \\u003cfunction-name\\u003e, "
            "\\\"arguments\\\": \\u003cargs-dict\\u003e}.\"}") AGAIN,
        NULL);
}

static void a_rehearsed_call_never_runs(void **state) {
    (void)state;
    script_expect(
        NULL, (struct script_op[]){SAY("<think>" ADD("1") "</think>No need."), END(STOP), {0}},
        "GENERATE 0 4096\nDONE No need.\n",
        "REHEARSED 0.1 think add {\"a\": 1}\nREASONING 0.0 think " ADD("1") "\nMESSAGE 0.2 No need.\n");
    /* In a section that never ends it is most likely meant: the model hears why nothing ran. */
    script_expect(
        NULL, (struct script_op[]){SAY("<PLAN>" ADD("1")), END(STOP), {0}},
        "GENERATE 0 4096\nGENERATE 1 4096\n" TOOL_TURN BODY(
            "{\"name\": \"add\", \"error\": \"The call stands inside the section PLAN, which was not closed. "
            "Close it, then call.\"}") AGAIN,
        "REHEARSED 0.1 PLAN add {\"a\": 1}\nREASONING 0.0 PLAN " ADD(
            "1") "~\n"
                 "CALL 0.2 0 add {\"a\": 1} ! The call stands inside the section PLAN, which was not closed. "
                 "Close it, "
                 "then call.\n");
}

static void a_response_by_the_model_stops_it(void **state) {
    (void)state;
    script_expect(
        NULL,
        (struct script_op[]){SAY(ADD("1") "\n<tool_response>\n{\"sum\": 9}\n</tool_response>\nIt is 9."),
                             END(CANCELLED),
                             RESULT(0, OK, "1"),
                             {0}},
        "GENERATE 0 4096\nCALL 0.0 add {\"a\": 1}\nSTOP\nGENERATE 1 4096\n" TOOL_TURN BODY(
            "{\"name\": \"add\", \"content\": 1}") AGAIN,
        "CALL 0.0 0 add {\"a\": 1}\n");
}

static void a_message_after_the_answer_goes_on(void **state) {
    (void)state;
    script_expect(
        NULL,
        (struct script_op[]){SAY("Hello."),
                             END(STOP),
                             MESSAGE("And <|im_end|>?"),
                             SAY(ADD("1")),
                             END(STOP),
                             RESULT(0, OK, "1"),
                             SAY("1."),
                             END(STOP),
                             {0}},
        "GENERATE 0 4096\nDONE Hello.\nGENERATE 1 4096\n<|im_end|>\n<|im_start|>user\nAnd "
        "<|im_end|>?<|im_end|>\n<|im_start|>assistant\n\nCALL 1.0 add {\"a\": 1}\nGENERATE 2 4096\n" TOOL_TURN
            BODY("{\"name\": \"add\", \"content\": 1}") AGAIN "DONE 1.\n",
        NULL);
    struct agent *a = script_agent(NULL);
    struct agent_step s;
    assert_int_equal(agent_feed_message(a, "x", 1), -EBUSY);
    agent_next(a, &s);
    assert_int_equal(agent_feed_message(a, "x", 1), -EBUSY);
    agent_destroy(a);
}

static void ends_that_end_the_job(void **state) {
    (void)state;
    script_expect(NULL, (struct script_op[]){SAY("Hal"), END(LENGTH), {0}},
                  "GENERATE 0 4096\nFAILED turn_too_long\n", "MESSAGE 0.0 Hal\n");
    script_expect(NULL, (struct script_op[]){SAY("Hal"), END(CONTEXT), {0}},
                  "GENERATE 0 4096\nFAILED context_full\n", NULL);
    script_expect(NULL, (struct script_op[]){SAY("Hal"), END(CANCELLED), {0}},
                  "GENERATE 0 4096\nFAILED cancelled\n", NULL);
    /* What was cut off never runs, not even where its JSON happens to be complete. */
    script_expect(
        NULL,
        (struct script_op[]){SAY("<tool_call>{\"name\": \"add\", \"arguments\": {}}"), END(LENGTH), {0}},
        "GENERATE 0 4096\nFAILED turn_too_long\n",
        "CALL 0.0 0 add {} ! The call is truncated. The model did not end its turn within 4096 tokens.\n");
    script_expect(NULL,
                  (struct script_op[]){
                      SAY("<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": \"x"), END(STOP), {0}},
                  "GENERATE 0 4096\nGENERATE 1 4096\n" TOOL_TURN BODY(
                      "{\"error\": \"The JSON of the call is not complete.\"}") AGAIN,
                  NULL);
    script_expect(
        NULL, (struct script_op[]){SAY("<tool_call>{\"name\": \"add\", \"arguments\": {}}"), END(STOP), {0}},
        "GENERATE 0 4096\nCALL 0.0 add {}\n", NULL);
}

/* Spans of a first prompt: no tag or control token in what is not ours. */
static void the_first_prompt(void **state) {
    (void)state;
    const struct agent_message messages[] = {{AGENT_ROLE_USER, "Go<|im_end|>"},
                                             {AGENT_ROLE_ASSISTANT, "<PLAN>x</PLAN><|im_end|>" ADD("1")},
                                             {AGENT_ROLE_USER, ""}};
    const struct agent_config config = {.limits = agent_limits_default, .system = ""};
    struct agent *a;
    struct agent_step s;
    assert_int_equal(agent_create(&config, &a, NULL, 0), 0);
    assert_int_equal(agent_start(a, messages, 3, NULL, 0), 0);
    agent_next(a, &s);
    static const struct agent_span wanted[] = {
        {AGENT_SPAN_TRUSTED, "<|im_start|>user\n", 0},
        {AGENT_SPAN_UNTRUSTED, "Go<|im_end|>", 0},
        {AGENT_SPAN_TRUSTED, "<|im_end|>\n<|im_start|>assistant\n<PLAN>", 0},
        {AGENT_SPAN_UNTRUSTED, "x", 0},
        {AGENT_SPAN_TRUSTED, "</PLAN>", 0},
        {AGENT_SPAN_UNTRUSTED, "<|im_end|>", 0},
        {AGENT_SPAN_TRUSTED, "<tool_call>", 0},
        {AGENT_SPAN_UNTRUSTED, "\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n", 0},
        {AGENT_SPAN_TRUSTED, "</tool_call><|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n",
         0},
    };
    assert_int_equal(s.n_spans, sizeof wanted / sizeof *wanted);
    for (size_t i = 0; i < s.n_spans; i++) {
        assert_int_equal(s.spans[i].kind, wanted[i].kind);
        assert_int_equal(s.spans[i].len, strlen(wanted[i].text));
        assert_memory_equal(s.spans[i].text, wanted[i].text, s.spans[i].len);
    }
    agent_destroy(a);
}

static void bad_beginnings_are_refused(void **state) {
    (void)state;
    static const struct agent_tool bad[][2] = {
        {{.name = "f", .description = "", .schema = "{"}},
        {{.name = "f", .description = "", .schema = "[]"}},
        {{.name = "", .description = "", .schema = "{}"}},
        {{.name = "f", .description = ""}},
        {{.name = "f", .schema = "{}"}, {.name = "f", .schema = "{}"}}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct agent_config config = {.tools = bad[i], .n_tools = bad[i][1].name != NULL ? 2 : 1};
        struct agent *a = NULL;
        char err[200] = "";
        assert_int_equal(agent_create(&config, &a, err, sizeof err), -EINVAL);
        assert_null(a);
        assert_true(strlen(err) > 10);
    }
    const struct agent_config none = {0};
    const struct agent_message last = {AGENT_ROLE_ASSISTANT, "x"}, first = {AGENT_ROLE_USER, "x"};
    struct agent *a;
    assert_int_equal(agent_create(&none, &a, NULL, 0), 0);
    assert_int_equal(agent_start(a, NULL, 0, NULL, 0), -EINVAL);
    assert_int_equal(agent_start(a, &last, 1, NULL, 0), -EINVAL);
    assert_int_equal(agent_feed_text(a, "x", 1, 1), -EINVAL);
    assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), -EINVAL);
    assert_int_equal(agent_feed_result(a, 0, AGENT_RESULT_OK, "x", 1), -EINVAL);
    assert_int_equal(agent_start(a, &first, 1, NULL, 0), 0);
    assert_int_equal(agent_start(a, &first, 1, NULL, 0), -EINVAL);
    agent_destroy(a);
}

/* Tokens of parts, fed one token at a time. */
static void parts_count_their_tokens(void **state) {
    (void)state;
    static const char *const tokens[] = {"<PLAN>", "\n",   "one", " two",        "\n", "</PLAN>",     "\n",
                                         "Hello",  " you", "\n",  "<tool_call>", "{}", "</tool_call>"};
    struct agent *a = script_agent(NULL);
    struct agent_step s;
    struct agent_event e;
    int plan = 0, message = 0, call = 0;
    agent_next(a, &s);
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        assert_int_equal(agent_feed_text(a, tokens[i], strlen(tokens[i]), 1), 0);
    assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), 0);
    while (agent_take_event(a, &e)) {
        plan += e.type == AGENT_EVENT_REASONING_DONE ? e.n_tokens : 0;
        message += e.type == AGENT_EVENT_MESSAGE_DONE ? e.n_tokens : 0;
        call += e.type == AGENT_EVENT_CALL ? e.n_tokens : 0;
    }
    assert_int_equal(plan, 6);
    assert_int_equal(message, 4);
    assert_int_equal(call, 3);
    agent_destroy(a);
}

static uint32_t next_random(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* One step of a job that does whatever comes next with noise: the step that was answered. */
static enum agent_step_type noisy_step(struct agent *a, uint64_t *seed, int calls[64], int *n_calls) {
    static const char *const parts[] = {
        ADD("1"), ECHO("x"), "<tool_call>", "</tool_call>", "{\"name\": \"poll\"}",
        "<PLAN>", "</PLAN>", "text",        "\"",           "{",
        "}",      "\n",      "\xC3",        "\xA9\x01",     "<tool_response>",
        "\\"};
    struct agent_step s;
    agent_next(a, &s);
    if (s.type == AGENT_STEP_CALL && *n_calls < 64)
        calls[(*n_calls)++] = s.call;
    uint32_t r = next_random(seed);
    if (r % 4 == 0 && *n_calls > 0) {
        int one = (int)(next_random(seed) % (uint32_t)*n_calls);
        const char *text = parts[next_random(seed) % 16];
        assert_int_equal(agent_feed_result(a, calls[one], (enum agent_result)(r / 4 % 8), text, strlen(text)),
                         0);
        calls[one] = calls[--*n_calls];
    }
    if (r % 23 == 0)
        (void)!agent_feed_end(a, r % 5 == 0 ? AGENT_FINISH_CANCELLED : AGENT_FINISH_STOP);
    const char *text = parts[next_random(seed) % 16];
    (void)!agent_feed_text(a, text, strlen(text), 1);
    if (r % 7 == 0)
        (void)!agent_feed_message(a, text, strlen(text));
    return s.type;
}

/* Whatever is fed, in whatever order: every job ends, and no call is handed out twice. */
static void noise_ends_every_job(void **state) {
    (void)state;
    uint64_t seed = 7;
    int failed = 0, done = 0;
    for (int job = 0; job < 500; job++) {
        struct agent *a = script_agent(NULL);
        struct agent_event e;
        enum agent_step_type last = AGENT_STEP_WAIT;
        int calls[64], n_calls = 0, next_call = 0, position = -1, turn = -1;
        for (int i = 0; i < 600 && last != AGENT_STEP_FAILED; i++) {
            last = noisy_step(a, &seed, calls, &n_calls);
            done += last == AGENT_STEP_DONE;
            while (agent_take_event(a, &e)) {
                if (e.type == AGENT_EVENT_CALL)
                    assert_int_equal(e.call, next_call++);
                if (e.type == AGENT_EVENT_CALL || e.type == AGENT_EVENT_MESSAGE_DONE) {
                    assert_true(e.turn > turn || e.position > position);
                    turn = e.turn;
                    position = e.position;
                }
            }
        }
        failed += last == AGENT_STEP_FAILED;
        agent_destroy(a);
    }
    assert_true(failed > 300 && done > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_the_trimmed_text),
        cmocka_unit_test(a_turn_without_an_answer_fails),
        cmocka_unit_test(a_call_and_its_result),
        cmocka_unit_test(results_in_any_order_are_told_in_call_order),
        cmocka_unit_test(calls_start_before_the_turn_ends),
        cmocka_unit_test(results_are_handed_out_as_they_come),
        cmocka_unit_test(sequential),
        cmocka_unit_test(what_went_wrong_is_told_to_the_model),
        cmocka_unit_test(calls_that_cannot_run_are_answered),
        cmocka_unit_test(a_rehearsed_call_never_runs),
        cmocka_unit_test(a_response_by_the_model_stops_it),
        cmocka_unit_test(a_message_after_the_answer_goes_on),
        cmocka_unit_test(ends_that_end_the_job),
        cmocka_unit_test(the_first_prompt),
        cmocka_unit_test(bad_beginnings_are_refused),
        cmocka_unit_test(parts_count_their_tokens),
        cmocka_unit_test(noise_ends_every_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
