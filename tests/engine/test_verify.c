/* Guessed tokens change nothing but the number of steps: greedy and sampled, with grammars, at every kind of
 * end, beside others, and in what the session computes afterwards. Every run is compared with one that does
 * not guess. */
#include "engine/engine.h"
#include "engine/grammar.h"
#include "engine/local.h"
#include "engine/tokenizer.h"
#include "tests/engine/fixture.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTEXT  384
#define N_MODELS 3
#define LAYERS   2

static struct model *fixture; /* its tokenizer */
static struct random_engine models[N_MODELS];

static struct local_engine *local(struct harness *h) {
    return (struct local_engine *)(void *)h->engine;
}

static void start(struct harness *h, int model, size_t kv_bytes, int guesses) {
    char err[300] = "";
    harness_init(h);
    struct engine_config config = {
        .max_context = CONTEXT, .kv_bytes = kv_bytes, .n_threads = 1, .wake = harness_wake, .wake_arg = h};
    if (local_open_model(&config, &models[model].model, false, &h->engine, err, sizeof err) != 0)
        fail_msg("%s", err);
    pthread_mutex_lock(&local(h)->lock);
    local(h)->always_guess = guesses;
    pthread_mutex_unlock(&local(h)->lock);
}

static uint64_t steps_of(struct harness *h) {
    pthread_mutex_lock(&local(h)->lock);
    uint64_t n = local(h)->n_steps;
    pthread_mutex_unlock(&local(h)->lock);
    return n;
}

/* What one generation left behind. */
struct run {
    int32_t tokens[CONTEXT];
    int n;
    enum engine_finish finish;
    int drafted, accepted, forced;
    uint64_t steps;
};

static void ask(struct harness *h, struct engine_session *s, const struct engine_generate *how) {
    char err[300] = "";
    struct outcome *o = harness_outcome(h, s);
    free(o->text);
    free(o->tokens);
    *o = (struct outcome){.session = s};
    if (engine_session_generate(s, how, err, sizeof err) != 0)
        fail_msg("%s", err);
}

static void wait_for(struct harness *h, struct engine_session *s, struct run *r) {
    const struct outcome *o = harness_wait(h, s);
    if (!o->done)
        fail_msg("%s", o->sentence);
    *r = (struct run){.n = o->n_tokens,
                      .finish = o->last.finish,
                      .drafted = o->last.drafted_tokens,
                      .accepted = o->last.accepted_tokens,
                      .forced = o->last.forced_tokens};
    memcpy(r->tokens, o->tokens, (size_t)o->n_tokens * sizeof *o->tokens);
}

/* A prompt in which much stands twice, as in an agent's. */
static int prompt(int32_t *ids, int seed) {
    int n = 30 + seed % 7;
    for (int i = 0; i < n; i++)
        ids[i] = 'a' + (i % (8 + seed % 5) * 7 + seed) % 26;
    return n;
}

/* A new session generates; then it goes on without guessing, which shows its keys and values. */
static void generate(struct harness *h, int seed, const struct engine_generate *how, struct run r[2]) {
    int32_t ids[CONTEXT];
    struct engine_session *s = harness_session(h);
    harness_append_tokens(s, ids, (size_t)prompt(ids, seed));
    uint64_t before = steps_of(h);
    ask(h, s, how);
    wait_for(h, s, &r[0]);
    r[0].steps = steps_of(h) - before;
    struct engine_generate more = {.max_tokens = 12, .no_speculation = true};
    if (engine_session_length(s) + 20 < CONTEXT) {
        harness_append_tokens(s, ids, 5);
        ask(h, s, &more);
        wait_for(h, s, &r[1]);
    }
    harness_destroy(h, s);
}

static void expect_same(const struct run *a, const struct run *b) {
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->tokens, b->tokens, (size_t)a->n * sizeof *a->tokens);
    assert_int_equal(a->finish, b->finish);
    assert_int_equal(a->forced, b->forced);
}

/* The same generation with and without guesses; the first of r is the one with. */
static void compare(struct harness *h, int seed, struct engine_generate how, struct run r[2]) {
    struct run with[2] = {{.n = 0}}, without[2] = {{.n = 0}};
    generate(h, seed, &how, with);
    how.no_speculation = true;
    generate(h, seed, &how, without);
    expect_same(&with[0], &without[0]);
    expect_same(&with[1], &without[1]);
    assert_int_equal(without[0].drafted, 0);
    assert_true(with[0].accepted <= with[0].drafted);
    r[0] = with[0];
    r[1] = without[0];
}

static void test_greedy(void **state) {
    (void)state;
    for (int model = 0; model < N_MODELS; model++) {
        struct harness h;
        int accepted = 0, drafted = 0;
        uint64_t with = 0, without = 0;
        start(&h, model, 0, 6);
        for (int seed = 0; seed < 12; seed++) {
            struct run r[2];
            struct engine_generate how = {.max_tokens = 150};
            if (seed % 3 == 2)
                how.sampling.repeat_penalty = 1.2f;
            compare(&h, seed, how, r);
            accepted += r[0].accepted;
            drafted += r[0].drafted;
            with += r[0].steps;
            without += r[1].steps;
        }
        harness_finish(&h);
        assert_true(accepted > 100);
        assert_true(drafted > accepted); /* wrong ones were among them */
        assert_in_range(with, 1, without - (uint64_t)accepted / 2);
    }
}

/* The same seed gives the same tokens, so each draw has the same distribution as without. */
static void test_sampled(void **state) {
    (void)state;
    struct harness h;
    int accepted = 0, drafted = 0;
    for (int model = 0; model < N_MODELS; model++) {
        start(&h, model, 0, 4);
        for (int seed = 0; seed < 40; seed++) {
            struct run r[2];
            const struct engine_sampling ways[] = {
                {.temperature = 0.4f},
                {.temperature = 1, .top_k = 3},
                {.temperature = 1.2f, .top_p = 0.3f},
                {.temperature = 0.7f, .min_p = 0.2f, .repeat_penalty = 1.1f}};
            struct engine_generate how = {.sampling = ways[seed % 4], .max_tokens = 80};
            how.sampling.seed = (uint64_t)seed * 77;
            compare(&h, seed, how, r);
            accepted += r[0].accepted;
            drafted += r[0].drafted;
        }
        harness_finish(&h);
    }
    assert_true(accepted > 100);
    assert_true(drafted - accepted > 100);
}

/* Every number of tokens, inside guesses too. */
static void test_max_tokens(void **state) {
    (void)state;
    struct harness h;
    int accepted = 0;
    start(&h, 0, 0, 8);
    for (int most = 1; most < 60; most++) {
        struct run r[2];
        struct engine_generate how = {.max_tokens = most};
        compare(&h, 1, how, r);
        assert_int_equal(r[0].n, most);
        assert_int_equal(r[0].finish, ENGINE_FINISH_LENGTH);
        accepted += r[0].accepted;
    }
    assert_true(accepted > 100);
    harness_finish(&h);
}

/* Any token of the text may be the one that ends it. */
static void test_stop_tokens(void **state) {
    (void)state;
    struct harness h;
    struct run whole[2];
    struct engine_generate how = {.sampling = {.temperature = 0.5f, .seed = 3}, .max_tokens = 150};
    int accepted = 0, stopped = 0;
    start(&h, 1, 0, 8);
    compare(&h, 2, how, whole);
    int32_t stop[1], *eog = models[1].model.eog_ids;
    int n_eog = models[1].model.n_eog_ids;
    for (int i = 0; i < whole[0].n; i += 3) {
        struct run r[2];
        stop[0] = whole[0].tokens[i];
        models[1].model.eog_ids = stop;
        models[1].model.n_eog_ids = 1;
        compare(&h, 2, how, r);
        assert_int_equal(r[0].finish, ENGINE_FINISH_STOP);
        assert_true(r[0].n <= i);
        accepted += r[0].accepted;
        stopped++;
    }
    models[1].model.eog_ids = eog;
    models[1].model.n_eog_ids = n_eog;
    assert_true(stopped > 30);
    assert_true(accepted > 0);
    harness_finish(&h);
}

static void test_context_end(void **state) {
    (void)state;
    int32_t ids[CONTEXT];
    for (int i = 0; i < CONTEXT; i++)
        ids[i] = 'a' + i % 9;
    for (int guesses = 1; guesses < SPECULATE_ROWS; guesses += 5) {
        struct harness h;
        int accepted = 0;
        start(&h, 0, 0, guesses);
        for (int left = 0; left < 40; left++) {
            struct run r[2];
            for (int i = 0; i < 2; i++) {
                struct engine_session *s = harness_session(&h);
                struct engine_generate how = {.max_tokens = 200, .no_speculation = i == 1};
                harness_append_tokens(s, ids, (size_t)(CONTEXT - left));
                ask(&h, s, &how);
                wait_for(&h, s, &r[i]);
                harness_destroy(&h, s);
            }
            expect_same(&r[0], &r[1]);
            assert_int_equal(r[0].finish, ENGINE_FINISH_CONTEXT_FULL);
            accepted += r[0].accepted;
        }
        assert_true(accepted > 20);
        harness_finish(&h);
    }
}

/* One of the texts, `n` times; then hello. */
static struct grammar *repeated(const char *const *texts, size_t n_texts, uint32_t n) {
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = NULL;
    uint32_t items[8];
    char err[200] = "";
    for (size_t i = 0; i < n_texts; i++)
        items[i] = grammar_literal(b, texts[i], strlen(texts[i]));
    uint32_t parts[] = {grammar_repeat(b, grammar_choice(b, items, n_texts), n, n),
                        grammar_literal(b, "hello", 5)};
    if (grammar_compile(b, grammar_sequence(b, parts, 2), 8, &g, err, sizeof err) != 0)
        fail_msg("%s", err);
    grammar_builder_destroy(b);
    return g;
}

/* Forced tokens, and tokens that are replaced by the tokenizer's, among the guessed ones. */
static void test_grammar(void **state) {
    (void)state;
    static const char *const texts[] = {"hello ", "help", " hell", "he. ", "l\n \n", "x: hello there\n"};
    struct grammar *g = repeated(texts, 6, 40);
    struct harness h;
    int accepted = 0, forced = 0, drafted = 0;
    start(&h, 0, 0, 8);
    for (int seed = 0; seed < 40; seed++) {
        struct run r[2];
        struct engine_generate how = {.sampling = {.seed = (uint64_t)seed}, .max_tokens = 300, .grammar = g};
        how.sampling.temperature = 0.5f * (float)(seed % 4);
        how.no_forced = seed % 3 == 0;
        if (seed % 5 == 4)
            how.max_tokens = 20 + seed;
        compare(&h, seed, how, r);
        accepted += r[0].accepted;
        drafted += r[0].drafted;
        forced += r[0].forced;
    }
    assert_true(accepted > 100);
    assert_true(drafted > accepted);
    assert_in_range(forced, 50, 100000);
    harness_finish(&h);
    grammar_unref(g);
}

/* Sessions that guess beside each other and take each other's pages write what they write alone. */
static void test_company(void **state) {
    (void)state;
    enum { N = 6 };
    struct run alone[N][2], r;
    struct engine_session *s[N];
    int32_t ids[CONTEXT];
    struct harness h;
    int accepted = 0;
    start(&h, 2, 0, 0);
    for (int i = 0; i < N; i++) {
        struct engine_generate how = {
            .sampling = {.temperature = 0.5f, .seed = 9}, .max_tokens = 220, .no_speculation = true};
        generate(&h, i, &how, alone[i]);
    }
    harness_finish(&h);
    start(&h, 2, forward_page_bytes(&models[2].model, DTYPE_F16) * (CONTEXT / KERNELS_PAGE_TOKENS + 2), 3);
    for (int i = 0; i < N; i++) {
        struct engine_generate how = {.sampling = {.temperature = 0.5f, .seed = 9}, .max_tokens = 220};
        s[i] = harness_session(&h);
        harness_append_tokens(s[i], ids, (size_t)prompt(ids, i));
        ask(&h, s[i], &how);
    }
    for (int i = 0; i < N; i++) {
        wait_for(&h, s[i], &r);
        expect_same(&r, &alone[i][0]);
        accepted += r.accepted;
    }
    assert_true(accepted > 20);
    harness_finish(&h);
}

/* What was sent is what stands on the timeline, whenever it is cancelled. */
static void test_cancel(void **state) {
    (void)state;
    struct harness h;
    int32_t ids[CONTEXT];
    int cancelled = 0;
    start(&h, 0, 0, 8);
    for (int i = 0; i < 40; i++) {
        struct engine_session *s = harness_session(&h);
        struct engine_generate how = {.max_tokens = 300};
        struct run r;
        int n = prompt(ids, i);
        harness_append_tokens(s, ids, (size_t)n);
        ask(&h, s, &how);
        harness_wait_tokens(&h, s, i);
        engine_session_cancel(s);
        wait_for(&h, s, &r);
        cancelled += r.finish == ENGINE_FINISH_CANCELLED;
        assert_int_equal(engine_session_length(s), n + r.n);
        const struct local_session *l = (const struct local_session *)(const void *)s;
        assert_memory_equal(l->tokens + n, r.tokens, (size_t)r.n * sizeof *r.tokens);
        harness_destroy(&h, s);
    }
    assert_true(cancelled > 10);
    harness_finish(&h);
}

/* Where many generate, nobody guesses; nor does who was told not to. */
static void test_large_batch(void **state) {
    (void)state;
    struct harness h;
    int32_t ids[CONTEXT];
    struct run r;
    start(&h, 0, 0, 4);
    struct local_engine *e = local(&h);
    struct engine_session *s = harness_session(&h);
    struct engine_generate how = {.max_tokens = 60};
    harness_append_tokens(s, ids, (size_t)prompt(ids, 1));
    ask(&h, s, &how);
    wait_for(&h, s, &r);
    assert_true(r.drafted > 0);
    /* The session as it is in the middle of a turn, its row in the step. */
    struct local_session *l = (struct local_session *)(void *)s;
    pthread_mutex_lock(&e->lock);
    l->gen.max_tokens = 90;
    l->n_computed = l->n_tokens - 1;
    const int n_decode[] = {SPECULATE_SESSIONS + 1, SPECULATE_SESSIONS, SPECULATE_SESSIONS};
    int guessed[3];
    for (int i = 0; i < 3; i++) {
        l->n_rows = 1;
        l->output = 0;
        l->gen.no_speculation = i == 2;
        e->step.n_rows = e->step.n_outputs = e->step.n_tables = 1;
        e->step.n_guessed = l->verify.n = 0;
        verify_plan(e, l, n_decode[i]);
        guessed[i] = e->step.n_guessed;
    }
    l->n_rows = l->verify.n = 0;
    pthread_mutex_unlock(&e->lock);
    assert_int_equal(guessed[0], 0);
    assert_in_range(guessed[1], 1, 4);
    assert_int_equal(guessed[2], 0);
    harness_finish(&h);
}

/* No step has room for a row while `max_rows` is 0. Returns what it was. */
static int swap_max_rows(struct harness *h, int max_rows) {
    struct local_engine *e = local(h);
    pthread_mutex_lock(&e->lock);
    int old = e->max_rows;
    e->max_rows = max_rows;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
    return old;
}

static void wait_until_read(struct harness *h, struct engine_session *s) {
    int left = 1;
    while (left > 0) {
        usleep(1000);
        pthread_mutex_lock(&local(h)->lock);
        left = hold_pending((const struct local_session *)(const void *)s);
        pthread_mutex_unlock(&local(h)->lock);
    }
}

/* So many sessions write the same text, each of its tokens in the same step: as long as there is one of them,
 * there are all. Returns how many tokens were guessed. */
static int drafted_by(int n_sessions, struct run *r) {
    enum { MOST = SPECULATE_SESSIONS + 2 };
    struct harness h;
    struct engine_session *s[MOST];
    struct engine_generate how = {.max_tokens = 60};
    int32_t ids[CONTEXT];
    int drafted = 0, n = prompt(ids, 1);
    assert_in_range(n_sessions, 1, MOST);
    start(&h, 0, 0, 4);
    for (int i = 0; i < n_sessions; i++) {
        s[i] = harness_session(&h);
        harness_append_tokens(s[i], ids, (size_t)n);
        wait_until_read(&h, s[i]);
    }
    int max_rows = swap_max_rows(&h, 0);
    for (int i = 0; i < n_sessions; i++)
        ask(&h, s[i], &how);
    swap_max_rows(&h, max_rows);
    for (int i = 0; i < n_sessions; i++) {
        struct run first = *r;
        wait_for(&h, s[i], r);
        if (first.n > 0)
            expect_same(&first, r);
        drafted += r->drafted;
    }
    harness_finish(&h);
    return drafted;
}

/* The same, counted by the engine itself. */
static void test_many_sessions(void **state) {
    (void)state;
    struct run r = {.n = 0};
    assert_true(drafted_by(1, &r) > 0);
    assert_true(drafted_by(SPECULATE_SESSIONS, &r) > 0);
    assert_int_equal(drafted_by(SPECULATE_SESSIONS + 1, &r), 0);
    assert_int_equal(drafted_by(SPECULATE_SESSIONS + 2, &r), 0);
    assert_int_equal(r.n, 60);
}

/* Left alone it measures, and decides by that; whatever it decides, the text is the same. */
static void test_by_itself(void **state) {
    (void)state;
    for (int model = 0; model < N_MODELS; model++) {
        struct harness h;
        start(&h, model, 0, 0);
        for (int seed = 0; seed < 4; seed++) {
            struct run r[2];
            struct engine_generate how = {.max_tokens = 200};
            compare(&h, seed, how, r);
        }
        pthread_mutex_lock(&local(&h)->lock); /* the engine's thread has measured and waits */
        double one_ns = local(&h)->cost.one_ns;
        pthread_mutex_unlock(&local(&h)->lock);
        assert_true(one_ns > 0);
        harness_finish(&h);
    }
}

static int set_up(void **state) {
    (void)state;
    fixture = fixture_open("verify.gguf");
    static const enum dtype types[N_MODELS] = {DTYPE_F32, DTYPE_Q8_0, DTYPE_F16};
    for (int i = 0; i < N_MODELS; i++) {
        struct random_shape shape = {.n_layers = LAYERS,
                                     .n_heads = 2,
                                     .n_kv_heads = 1,
                                     .head_dim = 16,
                                     .dim = 32,
                                     .ffn_dim = 64,
                                     .n_vocab = FIXTURE_VOCAB,
                                     .type = types[i],
                                     .seed = 5 + (uint64_t)i};
        random_engine_init(&models[i], &shape, CONTEXT);
        random_engine_calm(&models[i], &shape);
        random_engine_speak(&models[i], fixture);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        random_engine_finish(&models[i]);
    }
    model_close(fixture);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),      cmocka_unit_test(test_sampled),
        cmocka_unit_test(test_max_tokens),  cmocka_unit_test(test_stop_tokens),
        cmocka_unit_test(test_context_end), cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_company),     cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_large_batch), cmocka_unit_test(test_many_sessions),
        cmocka_unit_test(test_by_itself),
    };
    return cmocka_run_group_tests_name("guessed tokens", tests, set_up, tear_down);
}
