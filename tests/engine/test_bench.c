/* The benchmark of a model: what it counts, and what it refuses before it allocates. Its command is tested in
 * tests/e2e/test_bench.py. */
#include "engine/bench.h"

#include "tests/engine/random_engine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct random_shape shape = {.n_layers = 2,
                                          .n_heads = 4,
                                          .n_kv_heads = 2,
                                          .head_dim = 8,
                                          .dim = 32,
                                          .ffn_dim = 64,
                                          .n_vocab = 50,
                                          .type = DTYPE_F32,
                                          .seed = 5};

static void test_names(void **state) {
    (void)state;
    char name[64];
    assert_string_equal(bench_name(&(struct bench_test){.prompt = 512}, name), "pp512");
    assert_string_equal(bench_name(&(struct bench_test){.new_tokens = 128, .batch = 4}, name), "tg128");
    assert_string_equal(bench_name(&(struct bench_test){.new_tokens = 1, .depth = 7, .batch = 1}, name),
                        "tg1 @ d7");
    /* whole pages, for every session */
    assert_int_equal(bench_kv_tokens(&(struct bench_test){.new_tokens = 1, .depth = 64, .batch = 3}),
                     3 * 128);
    assert_int_equal(bench_kv_tokens(&(struct bench_test){.prompt = 64, .batch = 1}), 64);
}

static void test_a_run(void **state) {
    (void)state;
    struct random_engine weights;
    struct bench *b = NULL;
    char err[300] = "";
    const struct bench_test tests[] = {{.prompt = 300, .batch = 1},
                                       {.new_tokens = 3, .depth = 70, .batch = 2}};
    random_engine_init(&weights, &shape, 512);
    struct bench_config config = {
        .model = &weights.model, .kv_type = DTYPE_F32, .n_threads = 1, .tests = tests, .n_tests = 2};
    assert_int_equal(bench_open(&config, &b, err, sizeof err), 0);
    struct bench_result r;
    assert_int_equal(bench_run(b, &tests[0], 2, &r, err, sizeof err), 0);
    assert_int_equal(r.tokens, 300);
    assert_int_equal(r.n_seconds, 2);
    assert_true(r.seconds[0] > 0 && r.seconds[1] > 0 && r.tokens_per_s > 0 && r.deviation >= 0);
    double layers = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32), head = 50 * 32, kv = 2 * 2 * 2 * 8 * 4;
    assert_true(r.operations == 2 * (300 * layers + head) + 4 * 2 * 4 * 8 * 300 * 301 / 2.0);
    assert_true(r.bytes == 4 * (2 * layers + head) + kv * (256 + 300));
    assert_int_equal(bench_run(b, &tests[1], 1, &r, err, sizeof err), 0);
    assert_int_equal(r.tokens, 6);
    double seen = 71 + 72 + 73;
    assert_true(r.deviation == 0);
    assert_true(r.operations == 2 * (2 * 3 * (layers + head)) + 4 * 2 * 4 * 8 * 2 * seen);
    assert_true(r.bytes == 3 * 4 * (layers + head) + kv * 2 * seen);
    assert_int_equal(bench_run(b, &tests[0], 0, &r, err, sizeof err), -EINVAL);
    assert_int_equal(bench_run(b, &tests[0], BENCH_MAX_REPETITIONS + 1, &r, err, sizeof err), -EINVAL);
    struct bench_test larger = {.prompt = 500, .batch = 1};
    assert_int_equal(bench_run(b, &larger, 1, &r, err, sizeof err), -EINVAL);
    bench_close(b);
    random_engine_finish(&weights);
}

static void test_what_does_not_fit_is_refused(void **state) {
    (void)state;
    struct random_engine weights;
    struct bench *b = NULL;
    char err[300] = "";
    struct bench_test test = {.new_tokens = 1000, .depth = 100000, .batch = 256};
    random_engine_init(&weights, &shape, 131072);
    struct bench_config config = {
        .model = &weights.model, .kv_type = DTYPE_F32, .n_threads = 1, .tests = &test, .n_tests = 1};
    weights.model.n_layers = 2;
    weights.model.head_dim = 100000; /* 3.2 MB per token */
    assert_int_equal(bench_open(&config, &b, err, sizeof err), -ENOMEM);
    assert_non_null(strstr(err, "25870336 tokens at once, which is 77099.6 GiB of keys and values"));
    weights.model.weight_bytes = UINT64_MAX / 2;
    assert_int_equal(bench_open(&config, &b, err, sizeof err), -E2BIG);
    assert_non_null(strstr(err, "does not fit into this machine"));
    weights.model.n_ctx_train = 100999;
    assert_int_equal(bench_open(&config, &b, err, sizeof err), -E2BIG);
    assert_string_equal(err, "tg1000 @ d100000 does not fit: the model's context is 100999 tokens.");
    assert_null(b);
    weights.model.n_layers = shape.n_layers;
    random_engine_finish(&weights);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_a_run),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
