/* The CUDA device on the emulated GPU against the oracle, step by step, in every order of threads. */
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/parity.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Sums in F32 against sums in double. */
#define BOUND 2e-5
/* Keys, values, and by tensor cores queries and softmax weights too, are rounded to F16: 2^-11 each. */
#define HALF_BOUND 3e-3

static const struct {
    const char *name;
    enum emu_order order;
} orders[] = {{"forward", EMU_FORWARD}, {"backward", EMU_BACKWARD}, {"random", EMU_RANDOM}};

/* A real GPU's exponential, root and division are approximate. */
static double allowed(double bound) {
    return emu_present() ? bound : 10 * bound;
}

/* For what only the emulator can do. */
static void need_emulator(void) {
    if (emu_present())
        return;
    print_message("skipped: a real GPU cannot be made to fail\n");
    skip();
}

static struct kernels_device *open_cuda(const struct kernels_config *config) {
    struct kernels_device *d = NULL;
    char err[300] = "";
    if (hermesd_cuda_open(CUDA_MODULE_VERSION, config, &d, err, sizeof err) < 0)
        fail_msg("%s", err);
    return d;
}

static void check_model(const struct kernels_model *m, const struct random_shape *shape, enum dtype kv,
                        int order, int more, double bound) {
    char err[300];
    struct kernels_config config = parity_config(m, kv);
    struct parity p = {.m = m, .bound = allowed(bound)};
    emu_set_order(orders[order].order, shape->seed);
    assert_int_equal(cpu_reference_open(&config, &p.want, err, sizeof err), 0);
    p.got = open_cuda(&config);
    parity_sessions(&p, more);
    p.want->ops->close(p.want);
    p.got->ops->close(p.got);
    assert_int_equal(emu_memory_used(), 0);
    print_message("dim %3d, heads %d/%d of %3d, type %d, %-8s: at most %.2f of the bound %g\n", shape->dim,
                  shape->n_heads, shape->n_kv_heads, shape->head_dim, (int)shape->type, orders[order].name,
                  p.worst, bound);
}

static void check(const struct random_shape *shape, enum dtype kv, int order, int more, double bound) {
    struct kernels_model m;
    random_model_init(&m, shape);
    check_model(&m, shape, kv, order, more, bound);
    random_model_finish(&m);
}

#define SHAPE(heads, kv, head, d, ffn, vocab)                                                                \
    {                                                                                                        \
        .n_layers = 2, .n_heads = heads, .n_kv_heads = kv, .head_dim = head, .dim = d, .ffn_dim = ffn,       \
        .n_vocab = vocab                                                                                     \
    }

/* With and without tails: heads of 8 to 128, widths that no chunk divides, groups of 1 to 10. */
static const struct random_shape shapes[] = {
    SHAPE(4, 2, 8, 52, 75, 99),   SHAPE(4, 1, 32, 128, 172, 130), SHAPE(2, 2, 44, 96, 224, 64),
    SHAPE(10, 1, 16, 64, 64, 50), SHAPE(3, 1, 128, 64, 96, 40),   SHAPE(4, 2, 64, 256, 512, 333),
};
#define N_SHAPES ((int)(sizeof shapes / sizeof shapes[0]))

/* All shapes, each in the next type, order and layout of rotated pairs. */
static void test_steps(void **state) {
    (void)state;
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    for (int i = 0; i < N_SHAPES; i++) {
        struct random_shape shape = shapes[i];
        shape.type = types[(i + i / 3) % 3];
        shape.seed = (uint64_t)i;
        shape.rope_layout = i % 2 == 0 ? ROPE_ADJACENT : ROPE_HALF_SPLIT;
        check(&shape, DTYPE_F32, i % 3, 0, BOUND);
    }
}

static void test_q8_0(void **state) {
    (void)state;
    struct random_shape shape = shapes[5];
    shape.type = DTYPE_Q8_0;
    check(&shape, DTYPE_F32, 2, 0, BOUND);
}

/* Types that the kernels do not read are stored as F32, and the factors of their rows with them. */
static void test_other_types(void **state) {
    (void)state;
    struct random_shape shape = shapes[5];
    shape.n_layers = 1;
    shape.type = DTYPE_Q4_K;
    check(&shape, DTYPE_F32, 0, 0, BOUND);
    shape.type = DTYPE_F8_E4M3;
    struct kernels_model m;
    random_model_init(&m, &shape);
    float factors[512];
    for (int i = 0; i < 512; i++)
        factors[i] = 0.5f + (float)(i % 7) / 4;
    for (int i = 0; i < m.n_layers; i++) {
        struct kernels_layer *y = (struct kernels_layer *)(uintptr_t)&m.layers[i];
        y->wq.row_scales = y->wk.row_scales = y->wv.row_scales = y->wo.row_scales = factors;
        y->w_gate.row_scales = y->w_up.row_scales = y->w_down.row_scales = factors;
    }
    m.tok_embd.row_scales = m.output.row_scales = factors;
    check_model(&m, &shape, DTYPE_F32, 1, 0, BOUND);
    random_model_finish(&m);
}

static void test_half_kv(void **state) {
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        struct random_shape shape = shapes[i];
        shape.n_layers = 1;
        check(&shape, DTYPE_F16, i % 3, i == 0 ? 180 : 0, HALF_BOUND);
    }
}

/* Sessions long enough for several parts of a row. */
static void test_parts(void **state) {
    (void)state;
    for (int order = 0; order < 3; order++) {
        struct random_shape shape = shapes[order == 0 ? 0 : 3];
        shape.n_layers = 1;
        check(&shape, DTYPE_F32, order, 180 + 200 * (order == 0), BOUND);
    }
}

/* The logits of a row are the same bits whether it runs alone or among others. */
static void test_rows_do_not_depend_on_company(void **state) {
    (void)state;
    static const int32_t pages[2 * PARITY_STRIDE] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                                     12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0};
    for (int t = 0; t < 4; t++) {
        struct random_shape shape = shapes[5];
        shape.type = types[t];
        struct kernels_model m;
        random_model_init(&m, &shape);
        struct kernels_config config = parity_config(&m, DTYPE_F16);
        struct kernels_device *company = open_cuda(&config), *alone = open_cuda(&config);
        struct kernels_row rows[40];
        for (int i = 0; i < 40; i++)
            rows[i] = (struct kernels_row){
                .token = i * 3 % 256, .position = i < 17 ? i : i - 17, .table = i < 17 ? 1 : 0};
        int32_t output = 39;
        struct kernels_batch batch = {.rows = rows,
                                      .n_rows = 40,
                                      .pages = pages,
                                      .pages_stride = PARITY_STRIDE,
                                      .outputs = &output,
                                      .n_outputs = 1};
        parity_steps(company, &batch, m.n_layers);
        batch.n_rows = 1;
        output = 0;
        for (int i = 17; i < 40; i++) {
            batch.rows = &rows[i];
            parity_steps(alone, &batch, m.n_layers);
        }
        assert_memory_equal(alone->ops->output(alone, 0), company->ops->output(company, 0),
                            (size_t)m.n_vocab * sizeof(float));
        alone->ops->close(alone);
        company->ops->close(company);
        random_model_finish(&m);
    }
}

/* Batches of one size are recorded once; what a graph computes again is what other steps compute. */
static void test_graphs(void **state) {
    (void)state;
    static const int32_t pages[PARITY_STRIDE] = {3, 1, 2, 0, 4, 5};
    struct kernels_model m;
    random_model_init(&m, &shapes[0]);
    struct kernels_config config = parity_config(&m, DTYPE_F32);
    struct kernels_device *d = open_cuda(&config), *want = NULL;
    char err[300];
    assert_int_equal(cpu_reference_open(&config, &want, err, sizeof err), 0);
    static const int sizes[] = {5, 1, 1, 1, 3, 1, 4, 70, 1, 60, 60, 60, 6};
    uint64_t recorded = emu_graphs_recorded(), run = emu_graphs_run();
    size_t memory = emu_memory_used();
    uint64_t allocations = emu_allocations();
    int position = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct kernels_row rows[PARITY_MAX_ROWS];
        for (int r = 0; r < sizes[i]; r++, position++)
            rows[r] = (struct kernels_row){.token = position * 5 % 99, .position = position};
        int32_t output = sizes[i] - 1;
        const struct kernels_batch batch = {.rows = rows,
                                            .n_rows = sizes[i],
                                            .pages = pages,
                                            .pages_stride = PARITY_STRIDE,
                                            .outputs = &output,
                                            .n_outputs = 1};
        emu_set_order(orders[i % 3].order, i);
        parity_steps(want, &batch, m.n_layers);
        parity_steps(d, &batch, m.n_layers);
        assert_true(parity_difference(d->ops->output(d, 0), want->ops->output(want, 0), 99) <=
                    allowed(BOUND));
    }
    /* all of it is planned when the device is opened, none is even borrowed for a step */
    assert_int_equal(emu_memory_used(), memory);
    assert_int_equal(emu_allocations(), allocations);
    /* Of 1, 4, 8 and 64 rows, and of 8 and 64 with two parts; all but the batch of 70 ran as graphs. */
    assert_int_equal(emu_graphs_recorded() - recorded, emu_present() ? 6 : 0);
    assert_int_equal(emu_graphs_run() - run, emu_present() ? sizeof sizes / sizeof sizes[0] - 1 : 0);
    want->ops->close(want);
    d->ops->close(d);
    random_model_finish(&m);
}

static void test_pages_are_copied(void **state) {
    (void)state;
    struct random_shape shape = SHAPE(4, 2, 12, 48, 64, 50);
    struct kernels_model m;
    random_model_init(&m, &shape);
    struct kernels_config config = parity_config(&m, DTYPE_F16);
    for (int o = 0; o < 3; o++) {
        emu_set_order(orders[o].order, 5);
        struct kernels_device *d = open_cuda(&config);
        parity_pages(d, &m);
        d->ops->close(d);
    }
    random_model_finish(&m);
}

static void test_rows_out_of_range_fail_at_sync(void **state) {
    (void)state;
    struct kernels_model m;
    random_model_init(&m, &shapes[0]);
    struct kernels_config config = parity_config(&m, DTYPE_F32);
    struct kernels_device *d = open_cuda(&config);
    char err[300];
    static const int32_t pages[PARITY_STRIDE] = {0, PARITY_PAGES};
    static const struct kernels_row bad[] = {
        {.token = 99}, {.token = -1}, {.position = PARITY_STRIDE * 64}, {.position = 64}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct kernels_batch batch = {
            .rows = &bad[i], .n_rows = 1, .pages = pages, .pages_stride = PARITY_STRIDE};
        d->ops->begin(d, &batch);
        d->ops->embed(d);
        d->ops->attn_in(d, 0);
        assert_int_equal(d->ops->sync(d, err, sizeof err), -EINVAL);
        assert_non_null(strstr(err, "out of range"));
        assert_int_equal(d->ops->sync(d, err, sizeof err), 0);
    }
    struct kernels_batch empty = {.pages = pages, .pages_stride = PARITY_STRIDE};
    parity_steps(d, &empty, m.n_layers);
    d->ops->close(d);
    random_model_finish(&m);
}

/* An error of the GPU stays, and is an error of every sync. */
static void test_a_failed_gpu(void **state) {
    (void)state;
    need_emulator();
    struct kernels_model m;
    random_model_init(&m, &shapes[0]);
    struct kernels_config config = parity_config(&m, DTYPE_F32);
    struct kernels_device *d = open_cuda(&config), *other = NULL;
    char err[300];
    static const int32_t pages[PARITY_STRIDE] = {0};
    static const struct kernels_row row = {.token = 1};
    struct kernels_batch batch = {.rows = &row, .n_rows = 1, .pages = pages, .pages_stride = PARITY_STRIDE};
    d->ops->begin(d, &batch);
    d->ops->embed(d);
    emu_set_failure("an illegal memory access");
    for (int i = 0; i < 2; i++) {
        d->ops->attn_in(d, 0);
        assert_int_equal(d->ops->sync(d, err, sizeof err), -EIO);
        assert_non_null(strstr(err, "an illegal memory access"));
    }
    assert_true(hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &other, err, sizeof err) < 0);
    d->ops->close(d);
    emu_set_failure(NULL);
    random_model_finish(&m);
}

/* Whatever allocation fails, the sentence has the numbers and nothing stays behind. */
static void test_memory_runs_out(void **state) {
    (void)state;
    need_emulator();
    struct kernels_model m;
    random_model_init(&m, &shapes[1]);
    struct kernels_config config = parity_config(&m, DTYPE_F16);
    struct kernels_device *d = open_cuda(&config);
    size_t all = emu_memory_used();
    d->ops->close(d);
    for (size_t limit = 1000; limit < all; limit += all / 23) {
        char err[300] = "";
        emu_set_memory(limit);
        assert_int_equal(hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &d, err, sizeof err), -ENOMEM);
        assert_non_null(strstr(err, "MiB"));
        assert_int_equal(emu_memory_used(), 0);
    }
    emu_set_memory(all);
    d = open_cuda(&config);
    d->ops->close(d);
    emu_set_memory((size_t)16 << 30);
    random_model_finish(&m);
}

static void test_config_is_checked(void **state) {
    (void)state;
    struct kernels_model m;
    random_model_init(&m, &shapes[0]);
    struct kernels_config config = parity_config(&m, DTYPE_F32);
    struct kernels_device *d = NULL;
    char err[300];
    assert_int_equal(hermesd_cuda_open(CUDA_MODULE_VERSION + 1, &config, &d, err, sizeof err), -ENODEV);
    assert_non_null(strstr(err, "version"));
    config.kv_type = DTYPE_Q8_0;
    assert_int_equal(hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &d, err, sizeof err), -ENOTSUP);
    assert_non_null(strstr(err, "not in 8 bits"));
    config.kv_type = DTYPE_F32;
    config.model.output.rows++;
    assert_int_equal(hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &d, err, sizeof err), -EINVAL);
    random_model_finish(&m);
    struct random_shape wide = shapes[0];
    wide.head_dim = 132;
    random_model_init(&m, &wide);
    config = parity_config(&m, DTYPE_F32);
    assert_int_equal(hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &d, err, sizeof err), -ENOTSUP);
    assert_non_null(strstr(err, "at most 128"));
    assert_null(d);
    random_model_finish(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_q8_0),
        cmocka_unit_test(test_other_types),
        cmocka_unit_test(test_half_kv),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_rows_do_not_depend_on_company),
        cmocka_unit_test(test_graphs),
        cmocka_unit_test(test_pages_are_copied),
        cmocka_unit_test(test_rows_out_of_range_fail_at_sync),
        cmocka_unit_test(test_a_failed_gpu),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_config_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
