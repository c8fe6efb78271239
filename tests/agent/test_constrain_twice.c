/* A model whose only wish is forbidden writes another call, each time a new one, until none is left: random
 * weights without chance, where the next wish is always the same again, and the default model, which wants
 * one certain call for a question. */
#include "agent/agent.h"
#include "agent/constrain.h"
#include "agent/toolcall.h"
#include "tests/engine/fixture.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include "engine/local.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL "models/hermes-tiny.gguf"
#define MOST  24

static struct schema *compile(const char *text) {
    struct schema *s = NULL;
    char err[300] = "";
    if (schema_compile(text, strlen(text), &s, err, sizeof err) != 0)
        fail_msg("%s: %s", text, err);
    return s;
}

/* The calls of tool "t" without these. NULL: none is left. */
static struct grammar *make(const char *name, const struct schema *schema, char *const *forbidden, size_t n,
                            bool turn) {
    struct grammar *g = NULL;
    struct constrain_report report;
    char err[300] = "";
    const struct constrain_tool tool = {
        .name = name, .schema = schema, .forbidden = (const char *const *)forbidden, .n_forbidden = n};
    if ((turn ? constrain_turn : constrain_call)(&tool, 1, &g, &report, err, sizeof err) != 0)
        assert_string_equal(err, "No text matches the grammar.");
    return g;
}

static char *generate(struct harness *h, struct engine_session *s, struct grammar *g, int most) {
    char err[300] = "";
    const struct engine_generate how = {
        .sampling = {.top_p = 1, .repeat_penalty = 1}, .max_tokens = most, .grammar = g};
    if (engine_session_generate(s, &how, err, sizeof err) != 0)
        fail_msg("%s", err);
    struct outcome *o = harness_wait(h, s);
    assert_false(o->failed);
    char *text = strndup(o->text, o->len);
    harness_destroy(h, s);
    return text;
}

/* The arguments of the first call in the text. */
static char *arguments_of(const char *text, const struct schema *schema) {
    const char *from = strstr(text, "\n{"), *to = strstr(text, "\n</tool_call>");
    struct toolcall call;
    struct value_document *d = NULL;
    char err[300] = "";
    assert_true(from != NULL && to != NULL);
    if (toolcall_read(from, (size_t)(to - from), &call, err, sizeof err) != 0)
        fail_msg("%s: %s", err, text);
    assert_int_equal(value_parse(call.arguments, strlen(call.arguments), &json_limits_default, &d, NULL, 0),
                     0);
    if (schema_check(schema, value_root(d), err, sizeof err) != 0)
        fail_msg("%s: %s", err, text);
    value_destroy(d);
    char *arguments = strdup(call.arguments);
    toolcall_finish(&call);
    return arguments;
}

static void expect_new(char *const *calls, size_t n) {
    for (size_t i = 0; i + 1 < n; i++) {
        uint64_t a, b;
        assert_int_equal(toolcall_signature("t", calls[i], strlen(calls[i]), &a), 0);
        assert_int_equal(toolcall_signature("t", calls[n - 1], strlen(calls[n - 1]), &b), 0);
        if (a == b)
            fail_msg("%s is %s again", calls[n - 1], calls[i]);
    }
}

/* ---- random weights ---- */

static struct model *tokenizer;

static void play(const char *schema_text, size_t expected) {
    struct schema *schema = compile(schema_text);
    struct random_shape shape = {.n_layers = 1,
                                 .n_heads = 1,
                                 .n_kv_heads = 1,
                                 .head_dim = 8,
                                 .dim = 8,
                                 .ffn_dim = 8,
                                 .n_vocab = tokenizer->n_vocab,
                                 .type = DTYPE_F32,
                                 .seed = 5};
    struct random_engine r;
    struct harness h;
    char *calls[MOST], err[300] = "";
    size_t n = 0;
    random_engine_init(&r, &shape, 600);
    r.model.tokenizer = tokenizer->tokenizer;
    r.model.eog_ids = tokenizer->eog_ids;
    r.model.n_eog_ids = tokenizer->n_eog_ids;
    harness_init(&h);
    struct engine_config config = {.n_threads = 1, .wake = harness_wake, .wake_arg = &h};
    if (local_open_model(&config, &r.model, false, &h.engine, err, sizeof err) != 0)
        fail_msg("%s", err);
    for (; n < MOST; n++) {
        struct grammar *g = make("t", schema, calls, n, false);
        if (g == NULL)
            break;
        struct engine_session *s = harness_session(&h);
        harness_append_text(s, "call");
        char *text = generate(&h, s, g, 300);
        calls[n] = arguments_of(text, schema);
        expect_new(calls, n + 1);
        free(text);
        grammar_unref(g);
    }
    assert_int_equal(n, expected);
    for (size_t i = 0; i < n; i++)
        free(calls[i]);
    harness_finish(&h);
    random_engine_finish(&r);
    schema_destroy(schema);
}

static void test_random_weights(void **state) {
    (void)state;
    /* two times four, and without the first: all of them, then nothing */
    play("{\"type\": \"object\", \"properties\": {\"unit\": {\"enum\": [\"c\", \"f\", \"celsius\"]}, "
         "\"deep\": {\"type\": "
         "\"boolean\"}}, \"required\": [\"deep\"], \"additionalProperties\": false}",
         8);
    play("{\"type\": \"object\", \"properties\": {\"n\": {\"type\": \"integer\", \"minimum\": 8, "
         "\"maximum\": 13}}, "
         "\"required\": [\"n\"]}",
         6);
    play("{\"type\": \"object\", \"properties\": {\"text\": {\"type\": \"string\"}, \"n\": {\"type\": "
         "\"number\"}}, "
         "\"required\": [\"text\"]}",
         MOST);
    play("{\"type\": \"object\", \"properties\": {\"list\": {\"type\": \"array\", \"items\": {\"type\": "
         "\"string\", "
         "\"maxLength\": 2}, \"maxItems\": 2}}, \"required\": [\"list\"]}",
         MOST);
}

static int open_tokenizer(void **state) {
    (void)state;
    tokenizer = fixture_open("twice.gguf");
    return 0;
}

static int close_tokenizer(void **state) {
    (void)state;
    model_close(tokenizer);
    return 0;
}

/* ---- the default model ---- */

#define CALCULATOR                                                                                           \
    "{\"type\": \"object\", \"properties\": {\"expression\": {\"type\": \"string\"}}, \"required\": "        \
    "[\"expression\"]}"

/* What it writes to the question. */
static char *answer(struct harness *h, struct grammar *g) {
    const struct agent_tool tool = {
        .name = "calculator", .description = "Evaluate an arithmetic expression.", .schema = CALCULATOR};
    const struct agent_config config = {.tools = &tool, .n_tools = 1, .limits = agent_limits_default};
    const struct agent_message question = {AGENT_ROLE_USER, "How much is 12 times 9?"};
    struct agent *a = NULL;
    struct agent_step step;
    struct engine_span spans[64];
    char err[300] = "";
    assert_int_equal(agent_create(&config, &a, err, sizeof err), 0);
    assert_int_equal(agent_start(a, &question, 1, err, sizeof err), 0);
    agent_next(a, &step);
    assert_true(step.type == AGENT_STEP_GENERATE && step.n_spans <= 64);
    for (size_t i = 0; i < step.n_spans; i++)
        spans[i] = (struct engine_span){
            .kind = step.spans[i].kind == AGENT_SPAN_TRUSTED ? ENGINE_SPAN_TEMPLATE : ENGINE_SPAN_TEXT,
            .data = step.spans[i].text,
            .len = step.spans[i].len};
    struct engine_session *s = harness_session(h);
    assert_true(engine_session_append(s, spans, step.n_spans, err, sizeof err) >= 0);
    agent_destroy(a);
    return generate(h, s, g, 400);
}

static void test_the_default_model(void **state) {
    (void)state;
    if (access(MODEL, R_OK) != 0) {
        (void)printf("skipped: there is no %s\n", MODEL);
        skip();
    }
    struct schema *schema = compile(CALCULATOR);
    struct harness h;
    char *calls[4], err[300] = "";
    harness_init(&h);
    struct engine_config config = {.model_path = MODEL, .n_threads = 1, .wake = harness_wake, .wake_arg = &h};
    if (local_open(&config, &h.engine, err, sizeof err) != 0)
        fail_msg("%s", err);
    for (size_t n = 0; n < 4; n++) {
        struct grammar *g = make("calculator", schema, calls, n, true);
        char *text = answer(&h, g);
        (void)printf("%zu forbidden: %s\n", n, text);
        calls[n] = arguments_of(text, schema);
        if (n == 0)
            assert_string_equal(calls[0], "{\"expression\": \"12 * 9\"}");
        expect_new(calls, n + 1);
        free(text);
        grammar_unref(g);
    }
    for (size_t n = 0; n < 4; n++)
        free(calls[n]);
    harness_finish(&h);
    schema_destroy(schema);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_weights),
                                       cmocka_unit_test(test_the_default_model)};
    return cmocka_run_group_tests_name("constrained calls, not twice", tests, open_tokenizer,
                                       close_tokenizer);
}
