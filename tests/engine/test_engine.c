/* The local engine over random weights: company, prefix sharing, a full pool, cancel, limits. */
#include "engine/engine.h"
#include "engine/local.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTEXT 512

static const struct random_shape shape = {.n_layers = 2,
                                          .n_heads = 4,
                                          .n_kv_heads = 2,
                                          .head_dim = 16,
                                          .dim = 64,
                                          .ffn_dim = 96,
                                          .n_vocab = 300,
                                          .type = DTYPE_Q8_0,
                                          .seed = 7};
static const struct engine_sampling warm = {.temperature = 1.5f, .top_p = 0.95f, .seed = 42};

static struct random_engine weights;
static enum engine_kv kv = ENGINE_KV_F16;

static void start_with(struct harness *h, size_t kv_bytes, int max_sessions, int threads) {
    char err[300] = "";
    harness_init(h);
    struct engine_config config = {.max_context = CONTEXT,
                                   .kv = kv,
                                   .kv_bytes = kv_bytes,
                                   .max_sessions = max_sessions,
                                   .n_threads = threads,
                                   .wake = harness_wake,
                                   .wake_arg = h};
    if (local_open_model(&config, &weights.model, false, &h->engine, err, sizeof err) < 0)
        fail_msg("%s", err);
}

static void start(struct harness *h) {
    start_with(h, 0, 0, 2);
}

/* A prompt whose first `shared` tokens are the same for every seed. */
static void prompt(int32_t *ids, int n, int shared, int seed) {
    for (int i = 0; i < n; i++)
        ids[i] = i < shared ? (i * 31 + 5) % 300 : (i * 17 + seed * 101 + i * i) % 300;
}

struct expected {
    int32_t prompt[400];
    int n_prompt;
    int32_t tokens[64];
};

/* What a session generates when it is alone in a fresh engine. */
static void run_alone(struct expected *x, const struct engine_sampling *how, int n) {
    struct harness h;
    start_with(&h, 0, 0, 1);
    struct engine_session *s = harness_session(&h);
    harness_append_tokens(s, x->prompt, (size_t)x->n_prompt);
    harness_generate(&h, s, how, n);
    struct outcome *o = harness_wait(&h, s);
    assert_true(o->done);
    assert_int_equal(o->last.finish, ENGINE_FINISH_LENGTH);
    assert_int_equal(o->n_tokens, n);
    assert_int_equal(o->last.prompt_tokens, x->n_prompt);
    assert_int_equal(o->last.cached_tokens, 0);
    assert_int_equal(engine_session_length(s), x->n_prompt + n);
    memcpy(x->tokens, o->tokens, (size_t)n * sizeof *x->tokens);
    harness_finish(&h);
}

/* Eight sessions at once, greedy and sampled, with common and own beginnings: each as if it were alone. */
static void test_company_changes_nothing(void **state) {
    (void)state;
    struct expected x[8];
    for (int i = 0; i < 8; i++) {
        x[i].n_prompt = 20 + i * 37;
        prompt(x[i].prompt, x[i].n_prompt, 150, i);
        run_alone(&x[i], i % 2 == 0 ? NULL : &warm, 40);
    }
    struct harness h;
    start(&h);
    struct engine_session *s[8];
    for (int i = 0; i < 8; i++) {
        s[i] = harness_session(&h);
        harness_append_tokens(s[i], x[i].prompt, (size_t)x[i].n_prompt);
        harness_generate(&h, s[i], i % 2 == 0 ? NULL : &warm, 40);
    }
    for (int i = 0; i < 8; i++) {
        struct outcome *o = harness_wait(&h, s[i]);
        assert_int_equal(o->n_tokens, 40);
        assert_memory_equal(o->tokens, x[i].tokens, sizeof(int32_t) * 40);
        if (i % 2 == 0)
            harness_destroy(&h, s[i]);
    }
    harness_finish(&h);
}

/* A second session with the same 200 tokens computes only what lies behind them, with the same result. */
static void test_equal_beginnings_share_pages(void **state) {
    (void)state;
    struct expected x = {.n_prompt = 230};
    prompt(x.prompt, x.n_prompt, 200, 3);
    run_alone(&x, NULL, 30);
    struct harness h;
    start(&h);
    struct engine_session *first = harness_session(&h), *second = harness_session(&h);
    int32_t other[230];
    prompt(other, 230, 200, 9);
    harness_append_tokens(first, other, 230);
    harness_generate(&h, first, NULL, 30);
    harness_wait(&h, first);
    harness_append_tokens(second, x.prompt, 230);
    harness_generate(&h, second, NULL, 30);
    struct outcome *o = harness_wait(&h, second);
    assert_int_equal(o->last.cached_tokens, 200);
    assert_memory_equal(o->tokens, x.tokens, sizeof(int32_t) * 30);

    /* Pages outlive their sessions, and those that were generated are found as well. */
    int32_t again[256];
    memcpy(again, x.prompt, 230 * sizeof *again);
    memcpy(again + 230, x.tokens, 26 * sizeof *again);
    harness_destroy(&h, first);
    harness_destroy(&h, second);
    struct engine_session *third = harness_session(&h);
    harness_append_tokens(third, again, 256);
    harness_append_tokens(third, x.tokens + 26, 1);
    harness_generate(&h, third, NULL, 3);
    o = harness_wait(&h, third);
    assert_int_equal(o->last.cached_tokens, 256);
    assert_memory_equal(o->tokens, x.tokens + 27, sizeof(int32_t) * 3);
    harness_finish(&h);
}

/* A prompt that is a whole number of shared pages still computes its last token: its logits are wanted. */
static void test_whole_pages_still_give_logits(void **state) {
    (void)state;
    struct expected x = {.n_prompt = 128};
    prompt(x.prompt, 128, 128, 0);
    run_alone(&x, NULL, 10);
    struct harness h;
    start(&h);
    for (int i = 0; i < 2; i++) {
        struct engine_session *s = harness_session(&h);
        harness_append_tokens(s, x.prompt, 128);
        harness_generate(&h, s, NULL, 10);
        struct outcome *o = harness_wait(&h, s);
        assert_int_equal(o->last.cached_tokens, i == 0 ? 0 : 127);
        assert_memory_equal(o->tokens, x.tokens, sizeof(int32_t) * 10);
    }
    harness_finish(&h);
}

/* Turn after turn on one timeline equals the whole timeline at once. */
static void test_turns_continue_the_timeline(void **state) {
    (void)state;
    struct expected x = {.n_prompt = 50};
    prompt(x.prompt, 50, 0, 1);
    struct harness h;
    start(&h);
    struct engine_session *s = harness_session(&h);
    harness_append_tokens(s, x.prompt, 50);
    harness_generate(&h, s, NULL, 20);
    struct outcome *o = harness_wait(&h, s);
    memcpy(x.prompt + 50, o->tokens, 20 * sizeof(int32_t));
    prompt(x.prompt + 70, 100, 0, 2);
    x.n_prompt = 170;
    harness_append_tokens(s, x.prompt + 70, 100);
    harness_generate(&h, s, NULL, 20);
    o = harness_wait(&h, s);
    assert_int_equal(o->last.prompt_tokens, 170);
    assert_int_equal(o->last.cached_tokens, 69); /* the last generated token had not been run yet */
    int32_t got[20];
    memcpy(got, o->tokens, sizeof got);
    harness_finish(&h);
    run_alone(&x, NULL, 20);
    assert_memory_equal(got, x.tokens, sizeof got);
}

/* Room for one long session and a bit: six of them run to their ends, with the same tokens, by giving way to
 * each other. */
static void test_full_pool_gives_way(void **state) {
    (void)state;
    struct expected x[6];
    for (int i = 0; i < 6; i++) {
        x[i].n_prompt = 300;
        prompt(x[i].prompt, 300, 0, i);
        run_alone(&x[i], NULL, 64);
    }
    struct harness h;
    size_t page = forward_page_bytes(&weights.model, DTYPE_F16);
    start_with(&h, page * (CONTEXT / 64 + 3), 0, 2);
    struct engine_session *s[6];
    for (int i = 0; i < 6; i++) {
        s[i] = harness_session(&h);
        harness_append_tokens(s[i], x[i].prompt, 300);
        harness_generate(&h, s[i], NULL, 64);
    }
    for (int i = 0; i < 6; i++) {
        struct outcome *o = harness_wait(&h, s[i]);
        assert_int_equal(o->n_tokens, 64);
        assert_memory_equal(o->tokens, x[i].tokens, sizeof(int32_t) * 64);
    }
    /* All six wait now; their pages were taken one after the other. Each can go on. */
    for (int i = 0; i < 6; i++) {
        harness_append_tokens(s[i], x[i].prompt, 10);
        harness_generate(&h, s[i], NULL, 5);
    }
    for (int i = 0; i < 6; i++)
        assert_int_equal(harness_wait(&h, s[i])->n_tokens, 5);
    harness_finish(&h);
}

static int computed_of(struct harness *h, const struct engine_session *s) {
    struct local_engine *e = (struct local_engine *)(void *)h->engine;
    pthread_mutex_lock(&e->lock);
    int n = ((const struct local_session *)(const void *)s)->n_computed;
    pthread_mutex_unlock(&e->lock);
    return n;
}

static void wait_computed(struct harness *h, const struct engine_session *s, int n) {
    for (int i = 0; computed_of(h, s) < n; i++) {
        assert_true(i < 100000);
        (void)usleep(1000);
    }
}

/* A session whose pages were taken while it waits is not computed again before it is to go on: a result that
 * comes while another call of it still runs would take the pages of others, which would take them back. */
static void test_taken_pages_wait_for_a_generation(void **state) {
    (void)state;
    struct expected x;
    struct harness h;
    int32_t other[300];
    x.n_prompt = 310;
    prompt(x.prompt, 310, 0, 1);
    prompt(other, 300, 0, 2);
    run_alone(&x, NULL, 20);
    start_with(&h, forward_page_bytes(&weights.model, DTYPE_F16) * (CONTEXT / 64), 0, 1);
    struct engine_session *a = harness_session(&h), *b = harness_session(&h), *c = harness_session(&h);
    harness_append_tokens(a, x.prompt, 300);
    wait_computed(&h, a, 299);
    harness_append_tokens(b, other, 300);
    wait_computed(&h, b, 299);
    assert_int_equal(computed_of(&h, a), 0);
    harness_append_tokens(a, x.prompt + 300, 10);
    harness_append_tokens(c, other, 20);
    harness_generate(&h, c, NULL, 30);
    assert_true(harness_wait(&h, c)->done);
    assert_int_equal(computed_of(&h, a), 0);
    assert_int_equal(computed_of(&h, b), 299);
    harness_generate(&h, a, NULL, 20);
    struct outcome *o = harness_wait(&h, a);
    assert_int_equal(o->n_tokens, 20);
    assert_memory_equal(o->tokens, x.tokens, sizeof(int32_t) * 20);
    harness_finish(&h);
}

static void test_pool_limits_the_context(void **state) {
    (void)state;
    struct harness h;
    size_t page = forward_page_bytes(&weights.model, DTYPE_F16);
    start_with(&h, page * 2 + 1, 0, 1);
    struct engine_info info;
    engine_info(h.engine, &info);
    assert_int_equal(info.max_context, 128);
    assert_int_equal(info.kv_bytes_per_token, page / 64);
    struct engine_session *s = harness_session(&h);
    int32_t ids[130];
    prompt(ids, 130, 0, 0);
    char err[300];
    struct engine_span span = {.kind = ENGINE_SPAN_TOKENS, .data = ids, .len = 129};
    assert_int_equal(engine_session_append(s, &span, 1, err, sizeof err), -E2BIG);
    assert_string_equal(err, "The context holds 128 tokens: 0 are used and 129 more were to be added.");
    assert_int_equal(engine_session_length(s), 0);
    span.len = 120;
    assert_int_equal(engine_session_append(s, &span, 1, err, sizeof err), 120);
    harness_generate(&h, s, NULL, 100);
    struct outcome *o = harness_wait(&h, s);
    assert_int_equal(o->last.finish, ENGINE_FINISH_CONTEXT_FULL);
    assert_int_equal(o->n_tokens, 8);
    assert_int_equal(engine_session_length(s), 128);
    harness_finish(&h);

    struct engine_config config = {.kv_bytes = page - 1};
    struct engine *e;
    assert_int_equal(local_open_model(&config, &weights.model, false, &e, err, sizeof err), -EINVAL);
}

static void test_cancel_ends_at_the_next_step(void **state) {
    (void)state;
    struct harness h;
    start(&h);
    struct engine_session *s = harness_session(&h);
    int32_t ids[100];
    prompt(ids, 100, 0, 0);
    harness_append_tokens(s, ids, 100);
    harness_generate(&h, s, NULL, 400);
    engine_session_cancel(s);
    struct outcome *o = harness_wait(&h, s);
    assert_int_equal(o->last.finish, ENGINE_FINISH_CANCELLED);
    assert_int_equal(o->n_tokens, engine_session_length(s) - 100);
    engine_session_cancel(s); /* nothing runs: does nothing */
    harness_generate(&h, s, NULL, 4);
    assert_int_equal(harness_wait(&h, s)->last.finish, ENGINE_FINISH_LENGTH);
    harness_finish(&h);
}

static void test_stop_token_is_not_kept(void **state) {
    (void)state;
    struct expected x = {.n_prompt = 60};
    prompt(x.prompt, 60, 0, 5);
    run_alone(&x, NULL, 30);
    int at = 9;
    while (at > 0) { /* the first place where this token occurs */
        int before = 0;
        while (x.tokens[before] != x.tokens[at])
            before++;
        if (before == at)
            break;
        at--;
    }
    int32_t eog = x.tokens[at];
    weights.model.eog_ids = &eog;
    weights.model.n_eog_ids = 1;
    struct harness h;
    start(&h);
    struct engine_session *s = harness_session(&h);
    harness_append_tokens(s, x.prompt, 60);
    harness_generate(&h, s, NULL, 30);
    struct outcome *o = harness_wait(&h, s);
    assert_int_equal(o->last.finish, ENGINE_FINISH_STOP);
    assert_int_equal(o->n_tokens, at);
    assert_int_equal(engine_session_length(s), 60 + at);
    /* Nothing is left to compute, and the same token comes again. */
    harness_generate(&h, s, NULL, 30);
    o = harness_wait(&h, s);
    assert_int_equal(o->last.finish, ENGINE_FINISH_STOP);
    assert_int_equal(o->n_tokens, 0);
    harness_finish(&h);
    weights.model.eog_ids = NULL;
    weights.model.n_eog_ids = 0;
}

static void test_misuse_is_refused(void **state) {
    (void)state;
    struct harness h;
    start_with(&h, 0, 1, 1);
    struct engine_session *s = harness_session(&h), *other;
    char err[300];
    assert_int_equal(engine_session_create(h.engine, NULL, &other, err, sizeof err), -EAGAIN);
    struct engine_generate how = {.max_tokens = 10};
    assert_int_equal(engine_session_generate(s, &how, err, sizeof err), -EINVAL); /* empty */
    int32_t bad = 300;
    struct engine_span span = {.kind = ENGINE_SPAN_TOKENS, .data = &bad, .len = 1};
    assert_int_equal(engine_session_append(s, &span, 1, err, sizeof err), -EINVAL);
    span = (struct engine_span){.kind = ENGINE_SPAN_TEXT, .data = "x", .len = 1};
    assert_int_equal(engine_session_append(s, &span, 1, err, sizeof err), -ENOTSUP);
    int32_t ids[300];
    prompt(ids, 300, 0, 1);
    harness_append_tokens(s, ids, 300);
    how.max_tokens = 0;
    assert_int_equal(engine_session_generate(s, &how, err, sizeof err), -EINVAL);
    how = (struct engine_generate){.max_tokens = 10, .sampling.temperature = -1};
    assert_int_equal(engine_session_generate(s, &how, err, sizeof err), -EINVAL);
    harness_generate(&h, s, NULL, 200);
    how.sampling.temperature = 0;
    assert_int_equal(engine_session_generate(s, &how, err, sizeof err), -EBUSY);
    span = (struct engine_span){.kind = ENGINE_SPAN_TOKENS, .data = ids, .len = 1};
    assert_int_equal(engine_session_append(s, &span, 1, err, sizeof err), -EBUSY);
    harness_wait(&h, s);
    harness_finish(&h);
}

/* Sessions come and go while others run; nothing of a destroyed one is delivered. */
static void test_destroy_while_running(void **state) {
    (void)state;
    struct harness h;
    start(&h);
    struct expected x = {.n_prompt = 200};
    prompt(x.prompt, 200, 100, 4);
    run_alone(&x, NULL, 60);
    struct engine_session *steady = harness_session(&h);
    harness_append_tokens(steady, x.prompt, 200);
    harness_generate(&h, steady, NULL, 60);
    for (int i = 0; i < 100; i++) {
        struct engine_session *s = harness_session(&h);
        int32_t ids[120];
        prompt(ids, 120, 100, i);
        harness_append_tokens(s, ids, 120);
        harness_generate(&h, s, &warm, 100);
        if (i % 3 == 0)
            harness_wait_tokens(&h, s, 1);
        harness_destroy(&h, s);
    }
    struct outcome *o = harness_wait(&h, steady);
    assert_memory_equal(o->tokens, x.tokens, sizeof(int32_t) * 60);
    /* Close with one running. */
    struct engine_session *last = harness_session(&h);
    harness_append_tokens(last, x.prompt, 200);
    harness_generate(&h, last, NULL, 300);
    harness_finish(&h);
}

static int setup(void **state) {
    (void)state;
    random_engine_init(&weights, &shape, CONTEXT);
    return 0;
}

/* All of it holds in 8 bits too: a page takes 68 bytes where F16 takes 128 of a vector of 64. */
static void test_keys_and_values_in_8_bits(void **state) {
    struct harness h;
    struct engine_info info;
    kv = ENGINE_KV_Q8;
    test_company_changes_nothing(state);
    test_equal_beginnings_share_pages(state);
    test_turns_continue_the_timeline(state);
    start(&h);
    engine_info(h.engine, &info);
    assert_int_equal(info.kv, ENGINE_KV_Q8);
    assert_int_equal(info.kv_bytes_per_token,
                     weights.model.n_layers * 2 * weights.model.n_kv_heads * (weights.model.head_dim + 4));
    harness_finish(&h);
    kv = ENGINE_KV_F16;
    start(&h);
    engine_info(h.engine, &info);
    assert_int_equal(info.kv, ENGINE_KV_F16);
    assert_int_equal(info.kv_bytes_per_token,
                     weights.model.n_layers * 2 * weights.model.n_kv_heads * weights.model.head_dim * 2);
    harness_finish(&h);
}

static int teardown(void **state) {
    (void)state;
    random_engine_finish(&weights);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_company_changes_nothing),
        cmocka_unit_test(test_equal_beginnings_share_pages),
        cmocka_unit_test(test_whole_pages_still_give_logits),
        cmocka_unit_test(test_turns_continue_the_timeline),
        cmocka_unit_test(test_full_pool_gives_way),
        cmocka_unit_test(test_taken_pages_wait_for_a_generation),
        cmocka_unit_test(test_pool_limits_the_context),
        cmocka_unit_test(test_cancel_ends_at_the_next_step),
        cmocka_unit_test(test_stop_token_is_not_kept),
        cmocka_unit_test(test_misuse_is_refused),
        cmocka_unit_test(test_destroy_while_running),
        cmocka_unit_test(test_keys_and_values_in_8_bits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
