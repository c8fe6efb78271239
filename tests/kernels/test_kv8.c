/* Keys and values in 8 bits: how far a number moves, every instruction set against plain C, and what the
 * whole costs in the logits of a model. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/kv8.h"
#include "kernels/cpu/ops.h"
#include "tests/kernels/parity.h"
#include "tests/kernels/random_model.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_HEADS 5
#define MAX_E     128

static void fill(float *x, int n, float scale, uint64_t *state) {
    for (int i = 0; i < n; i++)
        x[i] = scale * random_float(state);
}

static void test_numbers_move_by_half_a_step_at_most(void **state) {
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 300; round++) {
        float x[MAX_E], y[MAX_E], largest = 0;
        int n = 2 + round % 127;
        fill(x, n, powf(10, (float)(round % 21 - 10)), &seed);
        memcpy(y, x, sizeof x);
        kv8_round(y, n);
        for (int i = 0; i < n; i++)
            largest = fmaxf(largest, fabsf(x[i]));
        for (int i = 0; i < n; i++) {
            assert_true(fabsf(x[i] - y[i]) <= largest / 254 * 1.00001f);
            if (fabsf(x[i]) == largest) /* it is a multiple of the factor */
                assert_true(fabsf(x[i] - y[i]) <= largest * 1e-6f);
        }
    }
}

static void test_odd_vectors(void **state) {
    (void)state;
    float zero[4] = {0, -0.0f, 0, 0}, tiny[4] = {1e-38f, 1e-39f, -1e-38f, 0}, huge[2] = {FLT_MAX, -1};
    float bad[][2] = {{1, NAN}, {INFINITY, 1}, {-INFINITY, NAN}};
    kv8_round(zero, 4);
    kv8_round(tiny, 4);
    for (int i = 0; i < 4; i++)
        assert_true(zero[i] == 0 && tiny[i] == 0);
    kv8_round(huge, 2);
    assert_true(huge[0] > 3.40e38f && huge[1] == 0);
    for (int i = 0; i < 3; i++) {
        kv8_round(bad[i], 2);
        assert_true(isnan(bad[i][0]) && isnan(bad[i][1]));
    }
}

/* What is stored is what kv8_round() leaves, at its place, and nothing else is touched. */
static void test_layout(void **state) {
    (void)state;
    uint64_t seed = 3;
    enum { E = 12 };
    uint8_t *block = malloc(KV8_BLOCK_BYTES(E));
    assert_non_null(block);
    for (int values = 0; values < 2; values++) {
        float x[E], y[E];
        memset(block, 0x55, KV8_BLOCK_BYTES(E));
        fill(x, E, 3, &seed);
        memcpy(y, x, sizeof x);
        kv8_round(y, E);
        kv8_store(block, values != 0, E, 41, x);
        const int8_t *bytes = (const int8_t *)block;
        const float *factors = (const float *)(const void *)(block + E * 64);
        for (int e = 0; e < E; e++)
            assert_true((float)bytes[values ? 41 * E + e : e * 64 + 41] * factors[41] == y[e]);
        int touched = 0;
        for (size_t i = 0; i < KV8_BLOCK_BYTES(E); i++)
            touched += block[i] != 0x55 ? 1 : 0;
        assert_in_range(touched, 1, E + 4);
    }
    free(block);
}

static void test_one_set(const struct kv8_ops *ops) {
    static const int sizes[] = {2, 8, 44, 64, 100, 128};
    uint64_t seed = 11;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        int e = sizes[s];
        void *keys = aligned_alloc(64, (KV8_BLOCK_BYTES(e) + 63) / 64 * 64);
        void *values = aligned_alloc(64, (KV8_BLOCK_BYTES(e) + 63) / 64 * 64);
        assert_true(keys != NULL && values != NULL);
        for (int t = 0; t < 64; t++) {
            float x[MAX_E];
            fill(x, e, 1 + (float)t, &seed);
            kv8_store(keys, false, e, t, x);
            fill(x, e, 1, &seed);
            kv8_store(values, true, e, t, x);
        }
        for (int n = 1; n <= 64; n += n < 20 ? 1 : 11)
            for (int heads = 1; heads <= MAX_HEADS; heads++) {
                float q[MAX_HEADS * MAX_E], want[MAX_HEADS][80], got[MAX_HEADS][80];
                float out_want[MAX_HEADS * MAX_E], out_got[MAX_HEADS * MAX_E];
                fill(q, heads * e, 1, &seed);
                struct kv_page k = {.at = keys, .head_dim = e, .n = n},
                               v = {.at = values, .head_dim = e, .n = n};
                kv8_portable.scores(&want[0][0], 80, &k, q, heads, 0.125f);
                ops->scores(&got[0][0], 80, &k, q, heads, 0.125f);
                fill(out_want, heads * e, 1, &seed);
                memcpy(out_got, out_want, sizeof out_got);
                kv8_portable.mix(out_want, &v, &want[0][0], 80, heads);
                ops->mix(out_got, &v, &want[0][0], 80, heads);
                for (int h = 0; h < heads; h++)
                    assert_true(parity_difference(got[h], want[h], (size_t)n) < 1e-5);
                assert_true(parity_difference(out_got, out_want, (size_t)(heads * e)) < 1e-5);
            }
        free(keys);
        free(values);
    }
}

static void test_instruction_sets(void **state) {
    (void)state;
    static const char *const isas[] = {"portable", "avx2", "avx512"};
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        if (cpu_ops_find(isas[i]) == NULL) {
            print_message("skipped: this CPU cannot run the %s kernels\n", isas[i]);
            continue;
        }
        const struct kv8_ops *ops = kv8_find(isas[i]);
        assert_string_equal(ops->name, isas[i]);
        test_one_set(ops);
    }
}

/* The logits after each of 200 tokens, n_vocab each, of a device that is closed. */
static float *logits_of(const struct kernels_model *m, enum dtype kv, bool reference) {
    static const int32_t pages[] = {3, 0, 2, 1};
    struct kernels_config config = parity_config(m, kv);
    struct kernels_device *d = NULL;
    char err[200];
    float *logits = malloc((size_t)(200 * m->n_vocab) * sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(reference ? cpu_reference_open(&config, &d, err, sizeof err)
                               : cpu_open(&config, NULL, &d, err, sizeof err),
                     0);
    for (int first = 0; first < 200; first += 4) {
        static const int32_t outputs[] = {0, 1, 2, 3};
        struct kernels_row rows[4];
        for (int i = 0; i < 4; i++)
            rows[i] = (struct kernels_row){.token = (first + i) * 37 % m->n_vocab, .position = first + i};
        struct kernels_batch batch = {
            .rows = rows, .n_rows = 4, .pages = pages, .pages_stride = 4, .outputs = outputs, .n_outputs = 4};
        d->ops->begin(d, &batch);
        d->ops->embed(d);
        for (int l = 0; l < m->n_layers; l++) {
            d->ops->attn_in(d, l);
            d->ops->attention(d, l);
            d->ops->attn_out(d, l);
            d->ops->ffn_in(d, l);
            d->ops->ffn_out(d, l);
        }
        d->ops->logits(d);
        assert_int_equal(d->ops->sync(d, err, sizeof err), 0);
        for (int i = 0; i < 4; i++)
            memcpy(logits + (size_t)((first + i) * m->n_vocab), d->ops->output(d, i),
                   (size_t)m->n_vocab * sizeof *logits);
    }
    d->ops->close(d);
    return logits;
}

/* The logits of a random model with keys and values in 8 bits, and in F16, beside the oracle with F32. Random
 * weights pass on what was rounded and have none of the redundancy of trained ones. */
static void test_logits_beside_f32(void **state) {
    (void)state;
    static const struct random_shape shape = {.n_layers = 4,
                                              .n_heads = 8,
                                              .n_kv_heads = 2,
                                              .head_dim = 64,
                                              .dim = 256,
                                              .ffn_dim = 512,
                                              .n_vocab = 400,
                                              .seed = 21};
    static const struct {
        enum dtype kv;
        const char *name;
        double least, most; /* what the worst of 200 positions must lie between */
    } cases[] = {
        {DTYPE_F32, "F32", 0, 1e-4}, {DTYPE_F16, "F16", 1e-5, 2e-2}, {DTYPE_Q8_0, "8 bits", 1e-3, 0.25}};
    struct kernels_model m;
    random_model_init(&m, &shape);
    float *want = logits_of(&m, DTYPE_F32, true);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        float *got = logits_of(&m, cases[c].kv, false);
        double worst = 0, sum = 0;
        for (int i = 0; i < 200; i++) {
            size_t at = (size_t)(i * m.n_vocab);
            double difference = parity_difference(got + at, want + at, (size_t)m.n_vocab);
            worst = fmax(worst, difference);
            sum += difference / 200;
        }
        print_message("keys and values in %s: logits %.2g from those of F32 on average, %.2g at worst\n",
                      cases[c].name, sum, worst);
        assert_true(worst >= cases[c].least && worst <= cases[c].most);
        free(got);
    }
    free(want);
    random_model_finish(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_move_by_half_a_step_at_most),
        cmocka_unit_test(test_odd_vectors),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_instruction_sets),
        cmocka_unit_test(test_logits_beside_f32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
