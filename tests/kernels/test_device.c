/* The fast CPU device against the oracle, step by step, over shapes, element types and instruction sets. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/ops.h"
#include "tests/kernels/parity.h"
#include "tests/kernels/random_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MAX_CONTEXT 300
#define N_PAGES     12
#define STRIDE      5

static const char *const isas[] = {"portable", "avx2", "avx512"};

static struct kernels_config config_of(const struct kernels_model *m, enum dtype kv, bool exact,
                                       int threads) {
    return (struct kernels_config){.model = *m,
                                   .max_rows = 100,
                                   .max_outputs = 4,
                                   .max_context = MAX_CONTEXT,
                                   .n_pages = N_PAGES,
                                   .kv_type = kv,
                                   .n_threads = threads,
                                   .exact = exact};
}

struct pair {
    struct parity p;
    bool brief; /* few rows */
};

/* Two sessions whose pages are scattered: one prefills 70 tokens (4 in brief) while the other 9, then both
 * decode, then one continues (not in brief). */
static void run_sessions(struct pair *p) {
    static const int32_t pages[2 * STRIDE] = {7, 2, 9, 4, 0, 3, 11, 1, 5, 6};
    struct kernels_row rows[100];
    int n = 0, first = p->brief ? 4 : 70;
    for (int i = 0; i < first; i++)
        rows[n++] = (struct kernels_row){.token = (i * 7 + 1) % p->p.m->n_vocab, .position = i, .table = 0};
    for (int i = 0; i < 9; i++)
        rows[n++] = (struct kernels_row){.token = (i * 5 + 2) % p->p.m->n_vocab, .position = i, .table = 1};
    int32_t outputs[] = {first - 1, first + 8};
    struct kernels_batch batch = {.rows = rows,
                                  .n_rows = n,
                                  .pages = pages,
                                  .pages_stride = STRIDE,
                                  .outputs = outputs,
                                  .n_outputs = 2};
    parity_run(&p->p, &batch);
    rows[0] = (struct kernels_row){.token = 3, .position = first, .table = 0};
    rows[1] = (struct kernels_row){.token = 4, .position = 9, .table = 1};
    outputs[0] = 0;
    outputs[1] = 1;
    batch.n_rows = 2;
    parity_run(&p->p, &batch);
    for (int i = 0; i < 61 && !p->brief; i++)
        rows[i] = (struct kernels_row){.token = (i * 3) % p->p.m->n_vocab, .position = 71 + i, .table = 0};
    outputs[0] = 60;
    batch.n_rows = 61;
    batch.n_outputs = 1;
    if (!p->brief)
        parity_run(&p->p, &batch);
}

static void check_model(const struct kernels_model *m, enum dtype kv, bool exact, double bound, bool brief) {
    char err[200];
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        if (cpu_ops_find(isas[i]) == NULL) {
            print_message("skipped: this CPU cannot run the %s kernels\n", isas[i]);
            continue;
        }
        struct pair p = {.p = {.m = m, .bound = bound}, .brief = brief};
        struct kernels_config config = config_of(m, kv, exact, (int)i + 1);
        assert_int_equal(cpu_reference_open(&config, &p.p.want, err, sizeof err), 0);
        assert_int_equal(cpu_open(&config, isas[i], &p.p.got, err, sizeof err), 0);
        run_sessions(&p);
        p.p.want->ops->close(p.p.want);
        p.p.got->ops->close(p.p.got);
    }
}

static void check(const struct random_shape *shape, enum dtype kv, bool exact, double bound) {
    struct kernels_model m;
    random_model_init(&m, shape);
    check_model(&m, kv, exact, bound, shape->type > DTYPE_Q8_0);
    random_model_finish(&m);
}

/* Sizes with and without tails: head sizes 8 to 64, widths that are no multiple of 8, groups of 1, 2 and 4.
 */
static const struct random_shape shapes[] = {
    {.n_layers = 2, .n_heads = 4, .n_kv_heads = 2, .head_dim = 8, .dim = 52, .ffn_dim = 75, .n_vocab = 99},
    {.n_layers = 2,
     .n_heads = 4,
     .n_kv_heads = 1,
     .head_dim = 32,
     .dim = 128,
     .ffn_dim = 172,
     .n_vocab = 130},
    {.n_layers = 1, .n_heads = 2, .n_kv_heads = 2, .head_dim = 44, .dim = 96, .ffn_dim = 224, .n_vocab = 64},
    {.n_layers = 1,
     .n_heads = 4,
     .n_kv_heads = 2,
     .head_dim = 64,
     .dim = 256,
     .ffn_dim = 512,
     .n_vocab = 333},
};

static void test_exact_products(void **state) {
    (void)state;
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (size_t t = 0; t < 3; t++) {
            struct random_shape shape = shapes[s];
            shape.type = types[t];
            shape.seed = s * 10 + t;
            shape.rope_layout = t % 2 == 0 ? ROPE_ADJACENT : ROPE_HALF_SPLIT;
            /* Not exact on purpose: these types have no rounded product, so the fast mode is in F32 as well.
             */
            check(&shape, DTYPE_F32, t == 0, 2e-5);
        }
}

static void test_quantised_exact(void **state) {
    (void)state;
    for (int t = DTYPE_Q8_0; t < DTYPE_COUNT; t++) {
        struct random_shape shape = shapes[3];
        shape.type = (enum dtype)t;
        check(&shape, DTYPE_F32, true, 2e-5);
    }
}

/* 8-bit inputs: a rounding error of at most 1/254 of a block's largest value per input. */
static void test_quantised_rounded(void **state) {
    (void)state;
    for (int t = DTYPE_Q8_0; t < DTYPE_COUNT; t++) {
        struct random_shape shape = shapes[3];
        shape.type = (enum dtype)t;
        check(&shape, DTYPE_F32, false, t == DTYPE_F8_E4M3 ? 2e-5 : t == DTYPE_Q8_0 ? 4e-2 : 6e-2);
    }
}

/* Matrices that share an input want it as it is, rounded by 32, or by 256, whichever of them is the first. */
static void test_matrices_of_several_types(void **state) {
    (void)state;
    static const enum dtype types[][3] = {{DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_F16},
                                          {DTYPE_F16, DTYPE_Q8_0, DTYPE_Q6_K},
                                          {DTYPE_Q2_K, DTYPE_F16, DTYPE_Q5_1}};
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        struct random_shape shape = shapes[3];
        struct kernels_model m;
        random_model_init(&m, &shape);
        struct kernels_layer *y = (struct kernels_layer *)(uintptr_t)&m.layers[0];
        struct tensor *const of[] = {&y->wq, &y->wk, &y->wv, &y->w_gate, &y->w_up};
        for (size_t i = 0; i < 5; i++) {
            uint64_t seed = i + 1;
            int64_t rows = of[i]->rows, cols = of[i]->cols;
            free((void *)(uintptr_t)of[i]->data);
            *of[i] = random_tensor(types[t][i % 3], rows, cols, i < 3 ? 0.12f : 0.06f, &seed);
        }
        check_model(&m, DTYPE_F32, false, 6e-2, true);
        random_model_finish(&m);
    }
}

/* Rows with factors of their own: the same logits as a model whose every number is that much larger. */
static void test_row_scales(void **state) {
    (void)state;
    struct random_shape shape = shapes[1];
    shape.type = DTYPE_F8_E4M3;
    struct kernels_model m;
    random_model_init(&m, &shape);
    float *scales = malloc(1000 * sizeof *scales);
    assert_non_null(scales);
    for (int i = 0; i < 1000; i++)
        scales[i] = 0.5f + (float)(i % 7) / 4;
    m.tok_embd.row_scales = m.output.row_scales = scales;
    for (int l = 0; l < m.n_layers; l++) {
        struct kernels_layer *y = (struct kernels_layer *)(uintptr_t)&m.layers[l];
        y->wq.row_scales = y->wk.row_scales = y->wv.row_scales = y->wo.row_scales = scales;
        y->w_gate.row_scales = y->w_up.row_scales = y->w_down.row_scales = scales;
    }
    char err[200];
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        if (cpu_ops_find(isas[i]) == NULL)
            continue;
        struct pair p = {.p = {.m = &m, .bound = 2e-5}};
        struct kernels_config config = config_of(&m, DTYPE_F32, false, (int)i + 1);
        assert_int_equal(cpu_reference_open(&config, &p.p.want, err, sizeof err), 0);
        assert_int_equal(cpu_open(&config, isas[i], &p.p.got, err, sizeof err), 0);
        run_sessions(&p);
        p.p.want->ops->close(p.p.want);
        p.p.got->ops->close(p.p.got);
    }
    free(scales);
    random_model_finish(&m);
}

static void test_half_kv(void **state) {
    (void)state;
    struct random_shape shape = shapes[1];
    shape.type = DTYPE_F32;
    check(&shape, DTYPE_F16, true, 1e-3);
    shape = shapes[2];
    check(&shape, DTYPE_F16, true, 1e-3);
}

/* Both round alike; where their sums fall on two sides of a half, a number is a step of 1/127 apart. */
static void test_kv_in_8_bits(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct random_shape shape = shapes[i];
        shape.type = DTYPE_F32;
        check(&shape, DTYPE_Q8_0, true, 6e-3);
    }
}

/* The logits of a row are the same bits whether it runs alone or among others, prefilled at once or one by
 * one, with any number of threads. */
static void test_rows_do_not_depend_on_company(void **state) {
    (void)state;
    static const int32_t pages[2 * STRIDE] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    for (int t = 0; t < 2 * DTYPE_COUNT; t++) {
        enum dtype kv = t < DTYPE_COUNT ? DTYPE_F16 : DTYPE_Q8_0;
        struct random_shape shape = shapes[3];
        shape.type = (enum dtype)(t % DTYPE_COUNT);
        struct kernels_model m;
        random_model_init(&m, &shape);
        struct kernels_config one = config_of(&m, kv, false, 1), two = config_of(&m, kv, false, 2);
        struct kernels_device *alone, *company;
        char err[200];
        assert_int_equal(cpu_open(&one, NULL, &alone, err, sizeof err), 0);
        assert_int_equal(cpu_open(&two, NULL, &company, err, sizeof err), 0);
        struct kernels_row rows[99];
        int32_t output = 98;
        for (int i = 0; i < 99; i++) {
            bool first = i < 29;
            int position = first ? i : i - 29;
            rows[i] = (struct kernels_row){
                .token = position * 3 % 256 + (first ? 1 : 0), .position = position, .table = first ? 1 : 0};
        }
        struct kernels_batch batch = {.rows = rows,
                                      .n_rows = 99,
                                      .pages = pages,
                                      .pages_stride = STRIDE,
                                      .outputs = &output,
                                      .n_outputs = 1};
        struct kernels_device *d = company;
        for (int pass = 0; pass < 71; pass++) {
            if (pass > 0) {
                d = alone;
                batch.rows = &rows[29 + pass - 1];
                batch.n_rows = 1;
                output = 0;
            }
            d->ops->begin(d, &batch);
            d->ops->embed(d);
            for (int l = 0; l < m.n_layers; l++) {
                d->ops->attn_in(d, l);
                d->ops->attention(d, l);
                d->ops->attn_out(d, l);
                d->ops->ffn_in(d, l);
                d->ops->ffn_out(d, l);
            }
            d->ops->logits(d);
            assert_int_equal(d->ops->sync(d, err, sizeof err), 0);
        }
        assert_memory_equal(alone->ops->output(alone, 0), company->ops->output(company, 0),
                            (size_t)m.n_vocab * sizeof(float));
        alone->ops->close(alone);
        company->ops->close(company);
        random_model_finish(&m);
    }
}

static void test_pages_are_copied(void **state) {
    (void)state;
    static const enum dtype kv[] = {DTYPE_F32, DTYPE_F16};
    for (size_t i = 0; i < 2; i++) {
        struct random_shape shape = shapes[i];
        struct kernels_model m;
        struct kernels_device *d;
        char err[200];
        random_model_init(&m, &shape);
        struct kernels_config config = config_of(&m, kv[i], false, 2);
        assert_int_equal(cpu_reference_open(&config, &d, err, sizeof err), 0);
        parity_pages(d, &m);
        d->ops->close(d);
        assert_int_equal(cpu_open(&config, NULL, &d, err, sizeof err), 0);
        parity_pages(d, &m);
        d->ops->close(d);
        random_model_finish(&m);
    }
}

#if defined(__x86_64__)
static void scale(const struct tensor *t, float factor) {
    float *at = (float *)(uintptr_t)t->data;
    for (int64_t i = 0; i < t->rows * t->cols; i++)
        at[i] *= factor;
}

/* Each product of the head is a number below the smallest normal one. The thread that begins a step computes
 * its share of it (here all), and however it came, nothing of such numbers is kept. */
static void test_a_step_flushes_denormals(void **state) {
    (void)state;
    static const int32_t pages[STRIDE] = {0, 1, 2, 3, 4};
    static const struct kernels_row row = {.token = 7};
    static const int32_t output = 0;
    const struct kernels_batch batch = {.rows = &row,
                                        .n_rows = 1,
                                        .pages = pages,
                                        .pages_stride = STRIDE,
                                        .outputs = &output,
                                        .n_outputs = 1};
    const unsigned before = _mm_getcsr();
    struct kernels_model m;
    struct random_shape shape = shapes[1];
    shape.type = DTYPE_F32;
    random_model_init(&m, &shape);
    scale(&m.output_norm, 1e-22f);
    scale(&m.output, 1e-18f);
    struct kernels_config config = config_of(&m, DTYPE_F32, false, 1);
    char err[200];
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        struct kernels_device *d;
        if (cpu_ops_find(isas[i]) == NULL)
            continue;
        assert_int_equal(cpu_open(&config, isas[i], &d, err, sizeof err), 0);
        _mm_setcsr(before & ~0x8040u);
        parity_steps(d, &batch, m.n_layers);
        for (int v = 0; v < m.n_vocab; v++)
            if (d->ops->output(d, 0)[v] < 0 || d->ops->output(d, 0)[v] > 0)
                fail_msg("%s: logit %d is %g", isas[i], v, (double)d->ops->output(d, 0)[v]);
        d->ops->close(d);
    }
    _mm_setcsr(before);
    random_model_finish(&m);
}
#endif

static void test_rows_out_of_range_fail_at_sync(void **state) {
    (void)state;
    struct kernels_model m;
    random_model_init(&m, &shapes[0]);
    struct kernels_config config = config_of(&m, DTYPE_F32, true, 1);
    struct kernels_device *d;
    char err[200];
    assert_int_equal(cpu_open(&config, NULL, &d, err, sizeof err), 0);
    static const struct kernels_row bad[] = {
        {.token = 99}, {.token = -1}, {.position = MAX_CONTEXT}, {.position = 64}};
    static const int32_t pages[STRIDE] = {0, N_PAGES, 2, 3, 4};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct kernels_batch batch = {.rows = &bad[i], .n_rows = 1, .pages = pages, .pages_stride = STRIDE};
        d->ops->begin(d, &batch);
        d->ops->embed(d);
        d->ops->attn_in(d, 0);
        assert_int_equal(d->ops->sync(d, err, sizeof err), -EINVAL);
        assert_non_null(strstr(err, "out of range"));
        assert_int_equal(d->ops->sync(d, err, sizeof err), 0);
    }
    d->ops->close(d);
    random_model_finish(&m);
}

static void test_config_is_checked(void **state) {
    (void)state;
    struct kernels_model m;
    random_model_init(&m, &shapes[0]);
    struct kernels_device *d = NULL;
    char err[200];
    struct kernels_config config = config_of(&m, DTYPE_F32, true, 1);
    config.model.output.rows++;
    assert_int_equal(cpu_open(&config, NULL, &d, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "'output' is 100 x 52"));
    config = config_of(&m, DTYPE_F32, true, 1);
    config.model.n_kv_heads = 3;
    assert_int_equal(cpu_open(&config, NULL, &d, err, sizeof err), -EINVAL);
    config = config_of(&m, DTYPE_BF16, true, 1);
    assert_int_equal(cpu_open(&config, NULL, &d, err, sizeof err), -ENOTSUP);
    assert_int_equal(cpu_open(&config, "z80", &d, err, sizeof err), -ENOTSUP);
    assert_null(d);
    random_model_finish(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_products),
        cmocka_unit_test(test_quantised_exact),
        cmocka_unit_test(test_quantised_rounded),
        cmocka_unit_test(test_matrices_of_several_types),
        cmocka_unit_test(test_row_scales),
        cmocka_unit_test(test_half_kv),
        cmocka_unit_test(test_kv_in_8_bits),
        cmocka_unit_test(test_rows_do_not_depend_on_company),
        cmocka_unit_test(test_pages_are_copied),
#if defined(__x86_64__)
        cmocka_unit_test(test_a_step_flushes_denormals),
#endif
        cmocka_unit_test(test_rows_out_of_range_fail_at_sync),
        cmocka_unit_test(test_config_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
