/* Under a grammar too the GPU (an emulated one) chooses the tokens: the same that the CPU writes, alone and
 * beside others, with guesses and without, where what must follow is forced, and near the end, where what the
 * GPU chose may come too late. */
#include "engine/grammar.h"
#include "engine/local.h"
#include "tests/engine/fixture.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTEXT 192
#define MOST    64 /* tokens of a generation */

static struct model *fixture; /* its tokenizer */
static struct random_engine random_one;

/* ---- both engines ---- */

struct pair {
    struct harness cpu, gpu;
};

static struct local_engine *local(struct harness *h) {
    return (struct local_engine *)(void *)h->engine;
}

static void start(struct harness *h, enum engine_device device) {
    static char path[4096];
    char err[400] = "";
    const char *build = getenv("HERMESD_BINARY_DIR");
    (void)snprintf(path, sizeof path, "%s/lib/hermes-cuda-emulated.so", build != NULL ? build : "build/dev");
    const struct engine_config config = {.device = device,
                                         .gpu_module = path,
                                         .n_threads = 1,
                                         .max_context = CONTEXT,
                                         .max_sessions = 3,
                                         .kv_bytes = (size_t)8 << 20,
                                         .wake = harness_wake,
                                         .wake_arg = h};
    harness_init(h);
    if (local_open_model(&config, &random_one.model, true, &h->engine, err, sizeof err) < 0)
        fail_msg("%s", err);
    pthread_mutex_lock(&local(h)->lock);
    local(h)->always_guess = 3;
    pthread_mutex_unlock(&local(h)->lock);
}

static void start_both(struct pair *p) {
    start(&p->cpu, ENGINE_DEVICE_CPU);
    start(&p->gpu, ENGINE_DEVICE_CUDA);
}

static void finish_both(struct pair *p) {
    harness_finish(&p->cpu);
    harness_finish(&p->gpu);
}

struct run {
    int32_t tokens[MOST];
    struct engine_logprobs logprobs[MOST];
    bool told; /* there are such */
    int n, forced, accepted, drafted;
    enum engine_finish finish;
};

static struct engine_session *ask(struct harness *h, int seed, const struct engine_generate *how) {
    char err[300] = "";
    int32_t ids[24];
    struct engine_session *s = harness_session(h);
    for (int i = 0; i < 24; i++)
        ids[i] = 'a' + (i % 7 * 3 + seed) % 26;
    harness_append_tokens(s, ids, 24);
    if (engine_session_generate(s, how, err, sizeof err) != 0)
        fail_msg("%s", err);
    return s;
}

static void wait_for(struct harness *h, struct engine_session *s, struct run *r) {
    const struct outcome *o = harness_wait(h, s);
    if (!o->done)
        fail_msg("%s", o->sentence);
    *r = (struct run){.n = o->n_tokens,
                      .forced = o->last.forced_tokens,
                      .accepted = o->last.accepted_tokens,
                      .drafted = o->last.drafted_tokens,
                      .finish = o->last.finish};
    memcpy(r->tokens, o->tokens, (size_t)o->n_tokens * sizeof *o->tokens);
    r->told = o->logprobs != NULL;
    if (r->told)
        memcpy(r->logprobs, o->logprobs, (size_t)o->n_tokens * sizeof *o->logprobs);
    harness_destroy(h, s);
}

/* The logits themselves differ by what sums in other orders make. */
static void expect_alike(const struct engine_logprobs *got, const struct engine_logprobs *want) {
    assert_int_equal(got->there, want->there);
    if (!want->there)
        return;
    assert_true(fabs((double)got->logprob - (double)want->logprob) <= 1e-4);
    assert_int_equal(got->n_top, want->n_top);
    for (int i = 0; i < want->n_top; i++) {
        assert_int_equal(got->top[i].token, want->top[i].token);
        assert_true(fabs((double)got->top[i].logprob - (double)want->top[i].logprob) <= 1e-4);
    }
}

/* The same generation on both; what the GPU's was in *r. */
static void compare(struct pair *p, int seed, const struct engine_generate *how, struct run *r) {
    struct run want;
    wait_for(&p->cpu, ask(&p->cpu, seed, how), &want);
    wait_for(&p->gpu, ask(&p->gpu, seed, how), r);
    assert_int_equal(r->n, want.n);
    assert_memory_equal(r->tokens, want.tokens, (size_t)want.n * sizeof *want.tokens);
    assert_int_equal(r->finish, want.finish);
    assert_int_equal(r->forced, want.forced);
    assert_int_equal(want.told, how->logprobs);
    assert_int_equal(r->told, how->logprobs);
    for (int i = 0; i < want.n && how->logprobs; i++)
        expect_alike(&r->logprobs[i], &want.logprobs[i]);
}

/* ---- grammars ---- */

static struct grammar *compile(struct grammar_builder *b, uint32_t root) {
    struct grammar *g = NULL;
    char err[200] = "";
    if (grammar_compile(b, root, 8, &g, err, sizeof err) != 0)
        fail_msg("%s", err);
    grammar_builder_destroy(b);
    return g;
}

/* {"k": "…"} with two characters at least. */
static struct grammar *object(void) {
    struct grammar_builder *b = grammar_builder_create();
    uint32_t items[] = {grammar_literal(b, "{\"k\": \"", 7), grammar_string(b, 2, GRAMMAR_FOREVER),
                        grammar_literal(b, "\"}", 2)};
    return compile(b, grammar_sequence(b, items, 3));
}

/* One of the texts, n times. */
static struct grammar *repeated(const char *const texts[5], uint32_t n) {
    struct grammar_builder *b = grammar_builder_create();
    uint32_t items[5];
    for (int i = 0; i < 5; i++)
        items[i] = grammar_literal(b, texts[i], strlen(texts[i]));
    return compile(b, grammar_repeat(b, grammar_choice(b, items, 5), n, n));
}

/* Much of it is forced, and much comes again. */
static const char *const alike[5] = {"hello ", "help", " hell", "l\n \n", "x: hello there\n"};
/* The last one takes more than there is room for. */
static const char *const too_long[5] = {"qra", "qrb", "qrc", "qrd", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};

static const struct engine_sampling ways[] = {
    {.temperature = 0},
    {.temperature = 1.5f, .seed = 3},
    {.temperature = 0.9f, .top_k = 6, .top_p = 0.9f, .repeat_penalty = 1.1f, .seed = 4},
    {.temperature = 1.2f, .min_p = 0.02f, .seed = 5},
    {.temperature = 0, .repeat_penalty = 1.3f},
};
#define N_WAYS ((int)(sizeof ways / sizeof ways[0]))

/* ---- tests ---- */

/* Every choice is the GPU's: no logits come to the host. */
static void test_as_the_cpu(void **state) {
    (void)state;
    struct pair p;
    struct grammar *g = repeated(alike, 8);
    int forced = 0, accepted = 0, wrong = 0;
    start_both(&p);
    for (int i = 0; i < 3 * N_WAYS; i++) {
        struct run r;
        struct engine_generate how = {.sampling = ways[i % N_WAYS],
                                      .max_tokens = MOST,
                                      .grammar = g,
                                      .no_forced = i % 3 == 2,
                                      .logprobs = i % 2 == 1,
                                      .top_logprobs = i % 4,
                                      .no_speculation = i >= 2 * N_WAYS};
        compare(&p, i, &how, &r);
        assert_int_equal(r.finish, ENGINE_FINISH_STOP);
        forced += r.forced;
        accepted += r.accepted;
        wrong += r.drafted - r.accepted;
    }
    const struct local_engine *gpu = local(&p.gpu), *cpu = local(&p.cpu);
    print_message("%llu choices of the GPU, %llu of the host; %d tokens forced, %d guessed rightly, %d not\n",
                  (unsigned long long)gpu->n_by_device, (unsigned long long)gpu->n_by_host, forced, accepted,
                  wrong);
    assert_int_equal(gpu->n_by_host, 0);
    assert_int_equal(cpu->n_by_device, 0);
    assert_int_equal(gpu->n_by_device, cpu->n_by_host);
    assert_true(forced > 20 && accepted > 5 && wrong > 5);
    finish_both(&p);
    grammar_unref(g);
}

/* Where little is left of the turn, the token that was chosen among all may come too late: then the host
 * chooses again, with the next random number, and goes on with the one after it. */
static void test_ends_in_time(void **state) {
    (void)state;
    struct pair p;
    struct grammar *g = object();
    start_both(&p);
    for (int most = 11; most <= 24; most += 3)
        for (int way = 0; way < 3; way++) {
            struct run r;
            struct engine_generate how = {.sampling = ways[way],
                                          .max_tokens = most,
                                          .grammar = g,
                                          .no_forced = most % 3 == 0,
                                          .logprobs = true,
                                          .top_logprobs = 2};
            compare(&p, most, &how, &r);
            assert_in_range(r.n, 1, most);
        }
    const struct local_engine *gpu = local(&p.gpu);
    print_message("%llu choices of the GPU, %llu of the host\n", (unsigned long long)gpu->n_by_device,
                  (unsigned long long)gpu->n_by_host);
    assert_true(gpu->n_by_host > 0);
    assert_true(gpu->n_by_device > 4 * gpu->n_by_host);
    finish_both(&p);
    grammar_unref(g);
}

/* The rows of guesses behind a token that came too late have other random numbers than they were run with. */
static void test_guesses_behind_a_late_token(void **state) {
    (void)state;
    struct pair p;
    struct grammar *g = repeated(too_long, 16);
    int accepted = 0;
    start_both(&p);
    for (int i = 0; i < 6; i++) {
        struct run r;
        struct engine_generate how = {
            .sampling = ways[1 + i % 3], .max_tokens = 50 + i % 4, .grammar = g, .no_forced = true};
        how.sampling.seed = (uint64_t)i;
        compare(&p, i, &how, &r);
        accepted += r.accepted;
    }
    print_message("%llu choices of the host, %d tokens guessed rightly\n",
                  (unsigned long long)local(&p.gpu)->n_by_host, accepted);
    assert_true(local(&p.gpu)->n_by_host > 50 && accepted > 20);
    finish_both(&p);
    grammar_unref(g);
}

/* Rows with masks and without in one step. */
static void test_in_company(void **state) {
    (void)state;
    struct pair p;
    struct grammar *g = object(), *other = repeated(alike, 10);
    start_both(&p);
    struct grammar *const of[3] = {NULL, g, other};
    for (int round = 0; round < N_WAYS; round++) {
        struct run alone[3], beside[3];
        struct engine_session *s[3];
        struct engine_generate how[3];
        for (int i = 0; i < 3; i++) {
            how[i] = (struct engine_generate){
                .sampling = ways[(round + i) % N_WAYS], .max_tokens = 30, .grammar = of[(round + i) % 3]};
            wait_for(&p.cpu, ask(&p.cpu, i, &how[i]), &alone[i]);
        }
        for (int i = 0; i < 3; i++)
            s[i] = ask(&p.gpu, i, &how[i]);
        for (int i = 0; i < 3; i++) {
            wait_for(&p.gpu, s[i], &beside[i]);
            assert_int_equal(beside[i].n, alone[i].n);
            assert_memory_equal(beside[i].tokens, alone[i].tokens,
                                (size_t)alone[i].n * sizeof *alone[i].tokens);
        }
    }
    assert_true(local(&p.gpu)->n_by_device > 100);
    finish_both(&p);
    grammar_unref(g);
    grammar_unref(other);
}

/* A text that is forced from its first byte on asks for no choice at all. */
static void test_all_forced(void **state) {
    (void)state;
    struct pair p;
    struct run r;
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = compile(b, grammar_literal(b, "hello hello. he", 15));
    start_both(&p);
    compare(&p, 1, &(struct engine_generate){.max_tokens = MOST, .grammar = g}, &r);
    assert_int_equal(r.forced, r.n);
    assert_int_equal(local(&p.gpu)->n_by_device + local(&p.gpu)->n_by_host, 0);
    finish_both(&p);
    grammar_unref(g);
}

static int set_up(void **state) {
    (void)state;
    fixture = fixture_open("cuda_constrained.gguf");
    const struct random_shape shape = {.n_layers = 1,
                                       .n_heads = 2,
                                       .n_kv_heads = 1,
                                       .head_dim = 16,
                                       .dim = 32,
                                       .ffn_dim = 64,
                                       .n_vocab = FIXTURE_VOCAB,
                                       .type = DTYPE_F32,
                                       .seed = 5};
    random_engine_init(&random_one, &shape, CONTEXT);
    random_engine_calm(&random_one, &shape);
    random_engine_speak(&random_one, fixture);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    random_engine_finish(&random_one);
    model_close(fixture);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_the_cpu),
        cmocka_unit_test(test_ends_in_time),
        cmocka_unit_test(test_guesses_behind_a_late_token),
        cmocka_unit_test(test_in_company),
        cmocka_unit_test(test_all_forced),
    };
    return cmocka_run_group_tests_name("grammars on the GPU", tests, set_up, tear_down);
}
