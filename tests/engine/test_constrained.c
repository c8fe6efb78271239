/* The engine held to a grammar: what it writes matches, ends in time, and takes the tag either way. */
#include "engine/engine.h"
#include "engine/grammar.h"
#include "engine/local.h"
#include "tests/engine/fixture.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char model[256];

static void start(struct harness *h) {
    char err[400] = "";
    harness_init(h);
    struct engine_config config = {.model_path = model, .n_threads = 1, .wake = harness_wake, .wake_arg = h};
    if (engine_open(&config, &h->engine, err, sizeof err) < 0)
        fail_msg("%s", err);
}

/* {"k": "…"} with two characters at least. */
static uint32_t object(struct grammar_builder *b) {
    uint32_t items[] = {grammar_literal(b, "{\"k\": \"", 7), grammar_string(b, 2, GRAMMAR_FOREVER),
                        grammar_literal(b, "\"}", 2)};
    return grammar_sequence(b, items, 3);
}

static struct grammar *compile(struct grammar_builder *b, uint32_t root) {
    struct grammar *g = NULL;
    char err[200] = "";
    if (grammar_compile(b, root, 8, &g, err, sizeof err) != 0)
        fail_msg("%s", err);
    grammar_builder_destroy(b);
    return g;
}

static struct outcome *generate(struct harness *h, struct engine_session *s, struct grammar *g, uint64_t seed,
                                int max_tokens) {
    char err[300] = "";
    struct engine_generate how = {
        .sampling = {.temperature = 1.5f, .seed = seed}, .max_tokens = max_tokens, .grammar = g};
    free(harness_outcome(h, s)->text);
    free(harness_outcome(h, s)->tokens);
    *harness_outcome(h, s) = (struct outcome){.session = s};
    if (engine_session_generate(s, &how, err, sizeof err) != 0)
        fail_msg("%s", err);
    struct outcome *o = harness_wait(h, s);
    assert_true(o->done);
    return o;
}

/* 1: the text is whole, 0: it is a beginning; -1: neither. */
static int matches(struct grammar *g, const char *text, size_t len) {
    struct grammar_matcher m;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    int rc = grammar_matcher_bytes(&m, text, len);
    rc = rc == 1 ? grammar_matcher_is_complete(&m) : -1;
    grammar_matcher_finish(&m);
    return rc;
}

static void test_text_matches(void **state) {
    (void)state;
    struct harness h;
    start(&h);
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = compile(b, object(b));
    bool different = false;
    char first[64] = "";
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct engine_session *s = harness_session(&h);
        harness_append_text(s, "hello");
        struct outcome *o = generate(&h, s, g, seed, 30);
        assert_int_equal(matches(g, o->text, o->len), 1);
        different = different || (seed > 0 && strcmp(first, o->text) != 0);
        (void)strncpy(first, o->text, sizeof first - 1);
        harness_destroy(&h, s);
    }
    assert_true(different);
    harness_finish(&h); /* the engine matches no more */
    grammar_unref(g);
}

/* Whatever the limit, from the least that is enough: the text is whole. Below it, it is cut. */
static void test_ends_in_time(void **state) {
    (void)state;
    struct harness h;
    start(&h);
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = compile(b, object(b));
    for (int most = 9; most <= 30; most++) {
        struct engine_session *s = harness_session(&h);
        harness_append_text(s, "hello");
        struct outcome *o = generate(&h, s, g, (uint64_t)most, most);
        assert_in_range(o->n_tokens, 1, most);
        if (most != 10) /* enough by luck: "hello" is one token */
            assert_int_equal(matches(g, o->text, o->len), most >= 11 ? 1 : 0);
        harness_destroy(&h, s);
    }
    harness_finish(&h);
    grammar_unref(g);
}

/* The context is a limit too, and in free text no tag is begun that could not be finished. */
static void test_context_is_a_limit(void **state) {
    (void)state;
    struct harness h;
    start(&h);
    struct grammar_builder *b = grammar_builder_create();
    uint32_t call[] = {grammar_text_until(b, "<tool_call>"), object(b)};
    uint32_t calls = grammar_repeat(b, grammar_sequence(b, call, 2), 0, GRAMMAR_FOREVER);
    uint32_t turn[] = {calls, grammar_text_without(b, "<tool_call>")};
    struct grammar *g = compile(b, grammar_sequence(b, turn, 2));
    int called = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct engine_session *s = harness_session(&h);
        harness_append_text(s, "hello");
        struct outcome *o = generate(&h, s, g, seed, 1000);
        assert_int_equal(matches(g, o->text, o->len), 1);
        called += strstr(o->text, "<tool_call>{\"k\": \"") != NULL;
        harness_destroy(&h, s);
    }
    assert_in_range(called, 1, 60); /* its token is one of 264 */
    harness_finish(&h);
    grammar_unref(g);
}

/* Sessions with a grammar and without do not disturb each other. */
static void test_beside_free_sessions(void **state) {
    (void)state;
    struct harness h;
    start(&h);
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = compile(b, object(b));
    struct engine_session *free_one = harness_session(&h), *held = harness_session(&h);
    harness_append_text(free_one, "he");
    harness_append_text(held, "hello");
    struct engine_sampling how = {.temperature = 1, .seed = 5};
    harness_generate(&h, free_one, &how, 40);
    struct outcome *o = generate(&h, held, g, 7, 25);
    assert_int_equal(matches(g, o->text, o->len), 1);
    assert_true(harness_wait(&h, free_one)->done);
    /* The engine keeps what it needs while it generates. */
    char err[200];
    struct engine_generate again = {
        .sampling = {.temperature = 1.5f, .seed = 1}, .max_tokens = 20, .grammar = g};
    assert_int_equal(engine_session_generate(held, &again, err, sizeof err), 0);
    assert_int_equal(engine_session_generate(held, &again, err, sizeof err), -EBUSY);
    grammar_unref(g);
    assert_true(harness_wait(&h, held)->done);
    harness_finish(&h);
}

static void test_model_without_tokenizer(void **state) {
    (void)state;
    struct random_engine r;
    static const struct random_shape shape = {.n_layers = 1,
                                              .n_heads = 1,
                                              .n_kv_heads = 1,
                                              .head_dim = 8,
                                              .dim = 8,
                                              .ffn_dim = 8,
                                              .n_vocab = 32,
                                              .type = DTYPE_F32};
    random_engine_init(&r, &shape, 64);
    struct harness h;
    harness_init(&h);
    char err[300] = "";
    struct engine_config config = {.n_threads = 1, .wake = harness_wake, .wake_arg = &h};
    assert_int_equal(local_open_model(&config, &r.model, false, &h.engine, err, sizeof err), 0);
    struct engine_session *s = harness_session(&h);
    harness_append_tokens(s, (const int32_t[]){1, 2}, 2);
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = compile(b, object(b));
    struct engine_generate how = {.max_tokens = 20, .grammar = g};
    assert_int_equal(engine_session_generate(s, &how, err, sizeof err), -ENOTSUP);
    assert_non_null(strstr(err, "no tokenizer"));
    harness_finish(&h);
    random_engine_finish(&r);
    grammar_unref(g);
}

static int set_up(void **state) {
    (void)state;
    struct fixture f;
    fixture_gguf(&f, NULL);
    fixture_write(fixture_path(model, "constrained.gguf"), f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return unlink(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_matches),
        cmocka_unit_test(test_ends_in_time),
        cmocka_unit_test(test_context_is_a_limit),
        cmocka_unit_test(test_beside_free_sessions),
        cmocka_unit_test(test_model_without_tokenizer),
    };
    return cmocka_run_group_tests_name("constrained", tests, set_up, tear_down);
}
