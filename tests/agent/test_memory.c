/* Memory that runs out at any one allocation is an error of the job, never a crash, a leak or a wrong answer.
 */
#include "agent/agent.h"
#include "base/buf.h"
#include "tools/schema.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* The linker sends our allocations here (--wrap); the one with number 0 fails. */
static long left = -1;

static bool fails(void) {
    return left >= 0 && left-- == 0;
}

void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);

void *__wrap_calloc(size_t n, size_t size) {
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size) {
    return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *text) {
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t n) {
    return fails() ? NULL : __real_strndup(text, n);
}

#define TURN                                                                                                 \
    "<PLAN>\n1. <tool_call>{\"name\": \"f\"}</tool_call>\n</PLAN>\nNow.\n<tool_call>\n{\"name\": \"f\", "    \
    "\"arguments\": {\"a\": 1}}\n</tool_call><tool_call>{\"name\": \"g\"}</tool_call><tool_call>x"

/* Calls that are not quite JSON, of every kind that takes memory. */
#define CALL(text) "<tool_call>" text "</tool_call>"
#define REPAIRED                                                                                             \
    CALL("{'name': 'f', 'arguments': {'a': True,}}")                                                         \
    CALL("[{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 2}\"}, {\"name\": \"F\", \"parameters\": {\"n\": " \
         "\"3\"}}]")                                                                                         \
    CALL("<function=f><parameter=a>[1, {\"b\": 2}]</parameter></function>")                                  \
    CALL("{\"name\": \"f\", \"arguments\": {\"a\": 4}}{\"name\": \"f\", \"arguments\": {\"a\": 5, \"a\": "   \
         "5}}")                                                                                              \
    "; " CALL("{\"n\\u0061me\": \"f\"") "<tool_call{\"name\": \"f\"}"

#define RESULT "{\"passages\": [{\"id\": \"p\", \"text\": \"<b>\"}]}"

/* Feeds whatever is asked for; the text of a turn, then of the answer. Returns the last step. */
static enum agent_step_type play(struct agent *a, const char *first, struct agent_step *s) {
    int turn = -1;
    struct agent_event e;
    for (int i = 0; i < 50; i++) {
        agent_next(a, s);
        while (agent_take_event(a, &e))
            assert_true(e.text != NULL);
        if (s->type == AGENT_STEP_DONE || s->type == AGENT_STEP_FAILED)
            return s->type;
        if (s->type == AGENT_STEP_CALL) {
            (void)!agent_feed_result(a, s->call, AGENT_RESULT_OK, RESULT, sizeof RESULT - 1);
        } else if (s->type == AGENT_STEP_GENERATE) {
            turn = s->turn;
            const char *text = turn == 0 ? first : "Done.<co>p</co><co>q</co>";
            (void)!agent_feed_text(a, text, strlen(text), 20);
        } else if (turn >= 0) {
            (void)!agent_feed_end(a, s->type == AGENT_STEP_STOP ? AGENT_FINISH_CANCELLED : AGENT_FINISH_STOP);
        }
    }
    fail_msg("the job never ends");
    return AGENT_STEP_WAIT;
}

/* The whole job; false when memory ran out, which must have been said. */
static bool job(enum agent_profile profile, const char *first) {
    static const struct agent_tool tool = {
        .name = "f",
        .description = "d",
        .schema = "{\"properties\": {\"a\": {}, \"n\": {\"type\": \"integer\"}}}"};
    static const struct agent_document document = {"d", "x"};
    const struct agent_config config = {.profile = profile,
                                        .system = "S",
                                        .tools = &tool,
                                        .n_tools = 1,
                                        .documents = &document,
                                        .n_documents = 1,
                                        .lenient_calls = true,
                                        .limits = {.max_turns = 9}};
    const struct agent_message hi[] = {
        {AGENT_ROLE_USER, "Hi"}, {AGENT_ROLE_ASSISTANT, "<PLAN>x</PLAN>y"}, {AGENT_ROLE_USER, "Go"}};
    struct agent *a = NULL;
    struct agent_step s;
    char err[200] = "";
    int rc = agent_create(&config, &a, err, sizeof err);
    rc = rc ? rc : agent_start(a, hi, 3, err, sizeof err);
    bool done = false;
    if (rc < 0) {
        assert_int_equal(rc, -ENOMEM);
        assert_true(strlen(err) > 10);
    } else if (play(a, first, &s) == AGENT_STEP_DONE) {
        size_t n;
        assert_string_equal(s.text, "Done.<co>p</co><co>q</co>");
        assert_non_null(agent_citations(a, &n));
        assert_int_equal(n, 2);
        done = true;
    } else {
        assert_string_equal(s.reason, "out_of_memory");
    }
    agent_destroy(a);
    return done;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    static const char *const turns[] = {TURN, REPAIRED, "<tool>{\"name\": \"f\", \"arguments\": {}}</tool>",
                                        "<think><tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>"};
    for (int i = 0; i < 8; i++) {
        int profile = i % 2;
        long n = 0;
        for (bool all = false; !all; n++) {
            left = n;
            bool done = job((enum agent_profile)profile, turns[i / 2]);
            all = left >= 0; /* more than the job needed */
            left = -1;
            if (done != all)
                fail_msg("turn %d: allocation %ld failed and nobody noticed", i / 2, n);
        }
        assert_true(n > 50);
    }
}

/* JSON mode: an answer that does not fit, then one that is not quite JSON. */
static bool json_job(const struct schema *schema) {
    static const char *const turns[] = {"{\"a\": [1, 2]}", "```json\n{'a': 'b', \"c\": [true,]}\n```"};
    const struct agent_answer answer = {.prompt_schema = "{\"type\": \"object\"}", .schema = schema};
    const struct agent_config config = {.answer = &answer, .limits = {.max_turns = 9}};
    const struct agent_message hi = {AGENT_ROLE_USER, "Hi"};
    struct agent *a = NULL;
    struct agent_step s = {.type = AGENT_STEP_WAIT};
    char err[200] = "";
    int rc = agent_create(&config, &a, err, sizeof err);
    rc = rc ? rc : agent_start(a, &hi, 1, err, sizeof err);
    if (rc < 0) {
        assert_int_equal(rc, -ENOMEM);
        assert_true(strlen(err) > 10);
    }
    for (int i = 0; rc == 0 && i < 10 && s.type != AGENT_STEP_DONE && s.type != AGENT_STEP_FAILED; i++) {
        agent_next(a, &s);
        if (s.type == AGENT_STEP_GENERATE) {
            assert_in_range(s.turn, 0, 1);
            (void)!agent_feed_text(a, turns[s.turn], strlen(turns[s.turn]), 20);
        } else if (s.type == AGENT_STEP_WAIT || s.type == AGENT_STEP_STOP) {
            (void)!agent_feed_end(a, AGENT_FINISH_STOP);
        }
    }
    bool done = rc == 0 && s.type == AGENT_STEP_DONE;
    if (done)
        assert_string_equal(s.text, "{\"a\": \"b\", \"c\": [true]}");
    else if (rc == 0)
        assert_string_equal(s.reason, "out_of_memory");
    agent_destroy(a);
    return done;
}

static void json_mode_too(void **state) {
    (void)state;
    static const struct schema_options options = {.any_value = true};
    static const char text[] = "{\"properties\": {\"a\": {\"type\": \"string\"}}}";
    struct schema *schema = NULL;
    assert_int_equal(schema_compile_with(text, sizeof text - 1, &options, &schema, NULL, NULL, 0), 0);
    long n = 0, failures = 0;
    for (bool all = false; !all; n++) {
        left = n;
        bool done = json_job(schema);
        all = left >= 0;
        left = -1;
        failures += !done;
        assert_true(done || !all);
    }
    assert_true(n > 20 && failures > 20); /* the check does without some memory */
    schema_destroy(schema);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail),
                                       cmocka_unit_test(json_mode_too)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
