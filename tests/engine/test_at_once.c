/* Sessions with equal beginnings that come together, or one after the other with little memory: what they
 * begin with alike is computed once, and what is not is counted. */
#include "engine/local.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTEXT 512
#define VOCAB   300

static const struct random_shape shape = {.n_layers = 2,
                                          .n_heads = 4,
                                          .n_kv_heads = 2,
                                          .head_dim = 16,
                                          .dim = 64,
                                          .ffn_dim = 96,
                                          .n_vocab = VOCAB,
                                          .type = DTYPE_Q8_0,
                                          .seed = 11};

static struct random_engine weights;

/* n_pages 0: enough for all. */
static void start(struct harness *h, int n_pages) {
    size_t page = forward_page_bytes(&weights.model, DTYPE_F16);
    char err[300] = "";
    harness_init(h);
    struct engine_config config = {.max_context = CONTEXT,
                                   .kv_bytes = (size_t)n_pages * page,
                                   .n_threads = 2,
                                   .wake = harness_wake,
                                   .wake_arg = h};
    if (local_open_model(&config, &weights.model, false, &h->engine, err, sizeof err) < 0)
        fail_msg("%s", err);
}

/* Holds the engine in its first step until all have been asked for. */
struct gate {
    sem_t begun, go;
    bool open;
    int always_rows; /* of the steps behind it */
};

static void wait_at_gate(void *arg, const struct local_engine *e) {
    struct gate *g = arg;
    if (g->open)
        return;
    g->open = true;
    sem_post(&g->begun);
    sem_wait(&g->go);
    ((struct local_engine *)(uintptr_t)e)->always_rows = g->always_rows;
}

/* A session with a prompt of its own runs its first step, and waits there. */
static void close_gate(struct harness *h, struct gate *g, int always_rows) {
    struct local_engine *e = (struct local_engine *)(void *)h->engine;
    *g = (struct gate){.always_rows = always_rows};
    sem_init(&g->begun, 0, 0);
    sem_init(&g->go, 0, 0);
    pthread_mutex_lock(&e->lock);
    e->observe = wait_at_gate;
    e->observe_arg = g;
    pthread_mutex_unlock(&e->lock);
    struct engine_session *s = harness_session(h);
    harness_append_tokens(s, (const int32_t[]){VOCAB - 1}, 1);
    harness_generate(h, s, NULL, 1);
    sem_wait(&g->begun);
}

static void open_gate(struct gate *g) {
    sem_post(&g->go);
}

static void finish_gated(struct harness *h, struct gate *g) {
    harness_finish(h);
    sem_destroy(&g->begun);
    sem_destroy(&g->go);
}

/* Sessions that come at once, in one step: one computes what all have in common while the others wait for it.
 * Less than LOCAL_MIN_ROWS is not waited for, but counted. */
static void test_equal_beginnings_at_once(void **state) {
    (void)state;
    enum { N = 6 }; /* one step has room for all that they compute */
    static const int alike[] = {1, 10, 15, 16, 40, 300};
    for (size_t c = 0; c < sizeof alike / sizeof alike[0]; c++) {
        struct harness h;
        struct gate g;
        struct engine_session *s[N];
        int n = alike[c], together = n < LOCAL_MIN_ROWS ? n : 0;
        start(&h, 0);
        close_gate(&h, &g, 400);
        for (int i = 0; i < N; i++) {
            s[i] = harness_session(&h);
            harness_append_drawn(s[i], n, 1, VOCAB);
            harness_append_drawn(s[i], 20, 2 + i, VOCAB);
            harness_generate(&h, s[i], NULL, 1);
        }
        open_gate(&g);
        for (int i = 0; i < N; i++) {
            struct outcome *o = harness_wait(&h, s[i]);
            assert_int_equal(o->last.missed_tokens[ENGINE_MISS_AT_ONCE], i > 0 ? together : 0);
            assert_int_equal(harness_missed(o), i > 0 ? together : 0);
            assert_int_equal(o->last.computed_tokens, i > 0 ? together + 20 : n + 20);
        }
        finish_gated(&h, &g);
    }
    assert_string_equal(engine_miss_name(ENGINE_MISS_AT_ONCE), "at_once");
}

/* Each token is counted for one reason, the older one. */
static void test_at_once_and_replayed(void **state) {
    (void)state;
    struct harness h;
    struct gate g;
    start(&h, 0);
    close_gate(&h, &g, 400);
    struct engine_session *first = harness_session(&h), *s = harness_session(&h);
    harness_append_drawn(first, 12, 1, VOCAB);
    harness_append_drawn(first, 20, 2, VOCAB);
    engine_session_about(s, &(struct engine_about){.replayed = true});
    harness_append_drawn(s, 5, 1, VOCAB);
    engine_session_about(s, &(struct engine_about){0});
    int32_t ids[CONTEXT];
    for (int i = 5; i < 12; i++) /* the rest of what harness_append_drawn() gave */
        ids[i] = (i * 17 + 101 + i * i) % VOCAB;
    harness_append_tokens(s, ids + 5, 7);
    harness_append_drawn(s, 20, 3, VOCAB);
    harness_generate(&h, first, NULL, 1);
    harness_generate(&h, s, NULL, 1);
    open_gate(&g);
    assert_int_equal(harness_missed(harness_wait(&h, first)), 0);
    struct outcome *o = harness_wait(&h, s);
    assert_int_equal(o->last.missed_tokens[ENGINE_MISS_RESTART], 5);
    assert_int_equal(o->last.missed_tokens[ENGINE_MISS_AT_ONCE], 7);
    assert_int_equal(harness_missed(o), 12);
    finish_gated(&h, &g);
}

/* The same tokens in the same places, but behind others: they are not computed twice. */
static void test_at_once_behind_others(void **state) {
    (void)state;
    struct harness h;
    struct gate g;
    struct engine_session *s[2];
    start(&h, 0);
    for (int i = 0; i < 2; i++) {
        s[i] = harness_session(&h);
        harness_append_drawn(s[i], KERNELS_PAGE_TOKENS, 1 + i, VOCAB);
        harness_append_drawn(s[i], 1, 3, VOCAB); /* the last one is left */
    }
    while (engine_computed_tokens(h.engine) < 2 * KERNELS_PAGE_TOKENS)
        (void)usleep(1000);
    close_gate(&h, &g, 400);
    for (int i = 0; i < 2; i++) {
        harness_append_drawn(s[i], 9, 3, VOCAB);
        harness_append_drawn(s[i], 20, 4 + i, VOCAB);
        harness_generate(&h, s[i], NULL, 1);
    }
    open_gate(&g);
    for (int i = 0; i < 2; i++)
        assert_int_equal(harness_missed(harness_wait(&h, s[i])), 0);
    finish_gated(&h, &g);
}

static uint32_t draw(uint32_t *seed, uint32_t below) {
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

/* Prompts, each of which begins as one before it does. */
struct prompts {
    int32_t ids[24][CONTEXT];
    int n[24];
    int fresh[24]; /* of these tokens, how many none before has in the same place */
};

/* Returns how many tokens there are when each beginning counts once. */
static int make_prompts(struct prompts *p, int count, uint32_t longest, uint32_t *seed) {
    int different = 0;
    for (int i = 0; i < count; i++) {
        int from = i > 0 ? (int)draw(seed, (uint32_t)i) : 0, most = 0;
        int n = i > 0 ? (int)draw(seed, (uint32_t)p->n[from] + 1) : 0;
        memcpy(p->ids[i], p->ids[from], (size_t)n * sizeof(int32_t));
        for (uint32_t more = draw(seed, 2) == 0 ? draw(seed, longest) + 1 : n == 0; more > 0 && n < 500;
             more--)
            p->ids[i][n++] = (int32_t)draw(seed, VOCAB - 1);
        p->n[i] = n;
        for (int j = 0; j < i; j++) {
            int same = 0;
            while (same < n && same < p->n[j] && p->ids[i][same] == p->ids[j][same])
                same++;
            most = same > most ? same : most;
        }
        p->fresh[i] = n - most;
        different += n - most;
    }
    return different;
}

/* What is computed and not counted as missed is what had to be: each beginning once. */
static void test_all_else_is_computed_once(void **state) {
    (void)state;
    enum { N = 24, ROUNDS = 60 };
    static const int rows[] = {16, 23, 64, 400};
    struct prompts *p = calloc(1, sizeof *p);
    assert_non_null(p);
    int together = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct harness h;
        struct gate g;
        struct engine_session *s[N];
        uint32_t seed = round;
        int different = make_prompts(p, N, 150, &seed), computed = 0, again = 0;
        start(&h, 0);
        close_gate(&h, &g, rows[round % 4]);
        for (int i = 0; i < N; i++) {
            s[i] = harness_session(&h);
            harness_append_tokens(s[i], p->ids[i], (size_t)p->n[i]);
            harness_generate(&h, s[i], NULL, 1);
        }
        open_gate(&g);
        for (int i = 0; i < N; i++) {
            struct outcome *o = harness_wait(&h, s[i]);
            computed += o->last.computed_tokens;
            again += harness_missed(o);
            together += o->last.missed_tokens[ENGINE_MISS_AT_ONCE];
            assert_in_range(o->last.missed_tokens[ENGINE_MISS_AT_ONCE], 0, LOCAL_MIN_ROWS);
        }
        if (computed - again != different)
            fail_msg("round %u: %d computed, %d of them again, %d had to be", round, computed, again,
                     different);
        finish_gated(&h, &g);
    }
    assert_true(together > ROUNDS);
    free(p);
}

/* Eight pages, one session after the other: of what gave way, and is computed again, all counts but the
 * beginning of one page; and nothing counts that was not computed before. */
static void test_what_gave_way_counts(void **state) {
    (void)state;
    enum { N = 24, ROUNDS = 60 };
    struct prompts *p = calloc(1, sizeof *p);
    assert_non_null(p);
    int evicted = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct harness h;
        uint32_t seed = round + 1000;
        (void)make_prompts(p, N, 400, &seed);
        start(&h, CONTEXT / KERNELS_PAGE_TOKENS);
        for (int i = 0; i < N; i++) {
            struct engine_session *s = harness_session(&h);
            harness_append_tokens(s, p->ids[i], (size_t)p->n[i]);
            harness_generate(&h, s, NULL, 1);
            struct outcome *o = harness_wait(&h, s);
            int uncounted = o->last.computed_tokens - harness_missed(o) - p->fresh[i];
            if (uncounted < 0 || uncounted >= KERNELS_PAGE_TOKENS)
                fail_msg("round %u, prompt %d: %d computed, %d of them again, %d had to be", round, i,
                         o->last.computed_tokens, harness_missed(o), p->fresh[i]);
            evicted += o->last.missed_tokens[ENGINE_MISS_EVICTED];
            harness_destroy(&h, s);
        }
        harness_finish(&h);
    }
    assert_true(evicted > ROUNDS * KERNELS_PAGE_TOKENS);
    free(p);
}

static int setup(void **state) {
    (void)state;
    random_engine_init(&weights, &shape, CONTEXT);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    random_engine_finish(&weights);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_beginnings_at_once), cmocka_unit_test(test_at_once_and_replayed),
        cmocka_unit_test(test_at_once_behind_others),    cmocka_unit_test(test_all_else_is_computed_once),
        cmocka_unit_test(test_what_gave_way_counts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
