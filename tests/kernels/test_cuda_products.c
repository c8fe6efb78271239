/* Products of the CUDA device on the emulated GPU, as they run when nobody asks for exact ones: quantised
 * weights meet inputs of 8 bits, in kernels that differ by the size of the batch. */
#include "kernels/cpu/convert.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/pack.h"
#include "kernels/dtype.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/parity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Both round inputs alike and sum in other orders; where a sum lies between two whole numbers, one of them
 * rounds up and the other down. */
#define BOUND 1e-2

/* A real GPU's exponential, root and division are approximate. */
static double allowed(double bound) {
    return emu_present() ? bound : bound + 2e-4;
}

static const enum emu_order orders[] = {EMU_FORWARD, EMU_BACKWARD, EMU_RANDOM};

/* Blocks of 256 columns, and heads whose pairs end within a block of pairs. */
static const struct random_shape quantised = {.n_layers = 1,
                                              .n_heads = 4,
                                              .n_kv_heads = 2,
                                              .head_dim = 64,
                                              .dim = 256,
                                              .ffn_dim = 768,
                                              .n_vocab = 77,
                                              .seed = 3};
/* The same, as small as blocks allow. */
static const struct random_shape narrow = {.n_layers = 1,
                                           .n_heads = 4,
                                           .n_kv_heads = 1,
                                           .head_dim = 64,
                                           .dim = 256,
                                           .ffn_dim = 256,
                                           .n_vocab = 33,
                                           .seed = 6};
/* Rows so long that a warp loads ahead, over several of them, and units that are left at their end. */
static const struct random_shape long_rows = {.n_layers = 1,
                                              .n_heads = 4,
                                              .n_kv_heads = 2,
                                              .head_dim = 64,
                                              .dim = 256,
                                              .ffn_dim = 4352,
                                              .n_vocab = 77,
                                              .seed = 7};
/* Widths that no chunk divides. */
static const struct random_shape ragged = {.n_layers = 1,
                                           .n_heads = 4,
                                           .n_kv_heads = 2,
                                           .head_dim = 12,
                                           .dim = 52,
                                           .ffn_dim = 75,
                                           .n_vocab = 99,
                                           .rope_layout = ROPE_HALF_SPLIT,
                                           .seed = 5};

static struct kernels_device *open_cuda(const struct kernels_config *config) {
    struct kernels_device *d = NULL;
    char err[300] = "";
    if (hermesd_cuda_open(CUDA_MODULE_VERSION, config, &d, err, sizeof err) < 0)
        fail_msg("%s", err);
    return d;
}

static bool is_quantised(enum dtype type) {
    return dtype_info(type)->block_elements > 1;
}

static const int32_t pages[PARITY_STRIDE] = {3, 1, 2, 0, 4, 5};

/* Batches of these sizes, one after the other, of one session. */
static void run_sizes(struct parity *p, const int *sizes, int n_sizes) {
    struct kernels_row rows[PARITY_MAX_ROWS];
    int position = 0;
    for (int i = 0; i < n_sizes; i++) {
        for (int r = 0; r < sizes[i]; r++, position++)
            rows[r] = (struct kernels_row){.token = position * 5 % p->m->n_vocab, .position = position};
        int32_t output = sizes[i] - 1;
        const struct kernels_batch batch = {.rows = rows,
                                            .n_rows = sizes[i],
                                            .pages = pages,
                                            .pages_stride = PARITY_STRIDE,
                                            .outputs = &output,
                                            .n_outputs = 1};
        emu_set_order(orders[i % 3], (uint64_t)i);
        parity_run(p, &batch);
    }
}

/* `exact`: of the CPU's products. Which are the portable ones: others may round inputs by 256. */
static void check_model(const struct kernels_model *m, enum dtype type, bool exact, const int *sizes,
                        int n_sizes, double bound) {
    char err[300];
    struct kernels_config config = parity_config(m, DTYPE_F32);
    struct parity p = {.m = m, .bound = allowed(bound)};
    config.exact = exact;
    config.n_threads = 1;
    if (cpu_open(&config, "portable", &p.want, err, sizeof err) < 0)
        fail_msg("%s", err);
    config.exact = false;
    p.got = open_cuda(&config);
    bool widened = type == DTYPE_Q2_K || type == DTYPE_Q3_K;
    assert_int_equal(strstr(p.got->ops->describe(p.got), "in four bits") != NULL, widened);
    run_sizes(&p, sizes, n_sizes);
    p.want->ops->close(p.want);
    p.got->ops->close(p.got);
    assert_int_equal(emu_memory_used(), 0);
    print_message("%-8s dim %3d: at most %.3f of the bound %g\n", dtype_info(type)->name, m->dim, p.worst,
                  bound);
}

/* How far from the oracle, plain C that sums in double and rounds no inputs, where weights are quantised:
 * inputs have 8 bits, and up to five products stand one behind the other. Of other types the CPU rounds none
 * either. */
#define BOUND_ORACLE 6e-2

static void check_oracle(const struct kernels_model *m, enum dtype type, const int *sizes, int n_sizes,
                         double bound) {
    char err[300];
    struct kernels_config config = parity_config(m, DTYPE_F32);
    struct parity p = {.m = m, .bound = allowed(is_quantised(type) ? BOUND_ORACLE : bound)};
    if (cpu_reference_open(&config, &p.want, err, sizeof err) < 0)
        fail_msg("%s", err);
    config.exact = false;
    p.got = open_cuda(&config);
    run_sizes(&p, sizes, n_sizes);
    p.want->ops->close(p.want);
    p.got->ops->close(p.got);
    print_message("%-8s dim %3d: at most %.3f of the bound %g, against the oracle\n", dtype_info(type)->name,
                  m->dim, p.worst, p.bound);
}

static void check(const struct random_shape *shape, enum dtype type, const int *sizes, int n_sizes,
                  double bound) {
    struct random_shape s = *shape;
    struct kernels_model m;
    s.type = type;
    random_model_init(&m, &s);
    check_model(&m, type, false, sizes, n_sizes, bound);
    check_oracle(&m, type, sizes, n_sizes, bound);
    random_model_finish(&m);
}

/* One row at a time. */
static void test_single_rows(void **state) {
    (void)state;
    static const int sizes[] = {1, 1, 1};
    for (int t = 0; t < DTYPE_COUNT; t++) {
        check(&quantised, (enum dtype)t, sizes, 3, is_quantised((enum dtype)t) ? BOUND : 2e-5);
        check(&long_rows, (enum dtype)t, sizes, 2, is_quantised((enum dtype)t) ? BOUND : 2e-5);
        if (!is_quantised((enum dtype)t))
            check(&ragged, (enum dtype)t, sizes, 3, 2e-5);
    }
}

/* How far a product of several rows may be from one of the CPU, whose inputs of these types stay F32. */
static double bound_of(enum dtype type) {
    switch (type) {
    case DTYPE_F32:
        return 2e-5;
    case DTYPE_BF16:
        return 2.4e-2; /* inputs of 8 bits */
    case DTYPE_F16:
    case DTYPE_F8_E4M3:
        return 3e-3; /* inputs of 11 bits */
    default:
        return BOUND;
    }
}

/* Every type in batches for all sizes of tensor core kernels and of graphs (1, 2, 4, 8, 16, 32 and 64 rows),
 * with and without rows to spare. */
static void test_several_rows(void **state) {
    (void)state;
    static const int all[] = {2, 9, 17, 40, 3, 8, 1}, some[] = {3, 17};
    for (int t = 0; t < DTYPE_COUNT; t++) {
        enum dtype type = (enum dtype)t;
        bool every = type == DTYPE_BF16 || type == DTYPE_F8_E4M3 || type == DTYPE_Q4_K || type == DTYPE_Q6_K;
        check(every ? &quantised : &narrow, type, all, 7, bound_of(type));
        if (!is_quantised(type))
            check(&ragged, type, some, 2, bound_of(type));
    }
}

/* How far F8 weights may be with inputs of 4 bits, where much cancels and after a few products one after the
 * other; test_cuda_f8.c looks at one. */
#define BOUND_F8 3e-1

/* More rows: by the library, weights of blocks as BF16, F8 as it is. Without it by tensor cores again. */
static void test_many_rows(void **state) {
    (void)state;
    static const int sizes[] = {70, 2};
    for (int t = 0; t < DTYPE_COUNT; t++) {
        struct random_shape shape = quantised;
        struct kernels_model m;
        shape.type = (enum dtype)t;
        random_model_init(&m, &shape);
        uint64_t before = emu_blas_products(), before_lt = emu_lt_products();
        check_model(&m, shape.type, true, sizes, 1,
                    t == DTYPE_F32 || t == DTYPE_F16 ? bound_of(shape.type)
                    : t == DTYPE_F8_E4M3             ? BOUND_F8
                                                     : 3e-2);
        uint64_t each = emu_present() ? 7 : 0; /* one for each matrix */
        assert_int_equal(emu_blas_products() - before, t == DTYPE_F32 || t == DTYPE_F8_E4M3 ? 0 : each);
        assert_int_equal(emu_lt_products() - before_lt, t == DTYPE_F8_E4M3 ? each : 0);
        random_model_finish(&m);
    }
    check(&ragged, DTYPE_BF16, sizes, 2, bound_of(DTYPE_BF16));
    check(&ragged, DTYPE_F16, sizes, 2, bound_of(DTYPE_F16));
    check(&ragged, DTYPE_F8_E4M3, sizes, 2, 2.4e-2);
    emu_set_blas(false);
    uint64_t before = emu_blas_products();
    check(&quantised, DTYPE_Q4_K, sizes, 1, BOUND);
    assert_int_equal(emu_blas_products(), before);
    emu_set_blas(true);
}

/* ---- F8 by the library ---- */

/* Which way is taken, and said, with every library; a matrix that it cannot read, or one whose inputs may not
 * be rounded, takes it from all. */
static void test_ways_of_f8(void **state) {
    (void)state;
    static const struct {
        enum emu_lt installed;
        bool ragged, wide_inputs;
        const char *says;
    } cases[] = {{EMU_LT_VECTORS, false, false, "FP8 by cuBLASLt with scales of rows"},
                 {EMU_LT_SCALARS, false, false, "FP8 by cuBLASLt"},
                 {EMU_LT_OLD, false, false, "FP8 by cuBLASLt"},
                 {EMU_LT_NO_F8, false, false, "FP8 as BF16 in large batches"},
                 {EMU_LT_ABSENT, false, false, "FP8 as BF16 in large batches"},
                 {EMU_LT_VECTORS, true, false, "FP8 as BF16 in large batches"},
                 {EMU_LT_VECTORS, false, true, "FP8 as BF16 in large batches"}};
    static const int sizes[] = {70};
    for (size_t i = 0; emu_present() && i < sizeof cases / sizeof cases[0]; i++) {
        struct random_shape shape = cases[i].ragged ? ragged : quantised;
        struct kernels_model m;
        shape.type = DTYPE_F8_E4M3;
        random_model_init(&m, &shape);
        if (cases[i].wide_inputs)
            ((struct kernels_layer *)(uintptr_t)m.layers)->w_up.input_scale = 0;
        emu_set_lt(cases[i].installed);
        struct kernels_config config = parity_config(&m, DTYPE_F32);
        config.exact = false;
        struct kernels_device *d = open_cuda(&config);
        const char *says = strstr(d->ops->describe(d), "FP8");
        assert_non_null(says);
        assert_string_equal(says, cases[i].says);
        d->ops->close(d);
        bool bf16 = strstr(cases[i].says, "BF16") != NULL;
        uint64_t before = emu_lt_products();
        check_model(&m, shape.type, true, sizes, 1, bf16 ? 2.4e-2 : BOUND_F8);
        assert_int_equal(emu_lt_products() - before, bf16 ? 0 : 7);
        random_model_finish(&m);
    }
    emu_set_lt(EMU_LT_VECTORS);
}

/* ---- company ---- */

/* Logits of a session's first token as row `at` of a batch of `n` sessions; those of a neighbour are wanted
 * too. */
static const float *logits_among(struct kernels_device *d, int n_layers, int at, int n) {
    static int32_t tables[PARITY_MAX_ROWS];
    struct kernels_row rows[PARITY_MAX_ROWS];
    for (int i = 0; i < n; i++) { /* the others share what pages are left */
        tables[i] = i == at ? 0 : 1 + i % (PARITY_PAGES - 1);
        rows[i] = (struct kernels_row){.token = i == at ? 7 : i * 3 % 77, .table = i};
    }
    int32_t outputs[2] = {at == 0 ? 0 : at - 1, at == 0 ? 1 : at};
    const struct kernels_batch batch = {.rows = rows,
                                        .n_rows = n,
                                        .pages = tables,
                                        .pages_stride = 1,
                                        .outputs = outputs,
                                        .n_outputs = n == 1 ? 1 : 2};
    parity_steps(d, &batch, n_layers);
    return d->ops->output(d, at == 0 ? 0 : 1);
}

/* What kernels.h promises of a row and its company: the same bits in batches of 2 to 64 rows; near them alone
 * and among more. */
static void test_company(void **state) {
    (void)state;
    static const enum dtype types[] = {DTYPE_BF16, DTYPE_F16,  DTYPE_F8_E4M3,
                                       DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q6_K};
    static const int sizes[] = {2, 7, 8, 12, 30, 64}, others[] = {1, 65};
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        struct random_shape shape = quantised;
        struct kernels_model m;
        float want[77];
        shape.type = types[t];
        random_model_init(&m, &shape);
        struct kernels_config config = parity_config(&m, DTYPE_F32);
        config.exact = false;
        struct kernels_device *d = open_cuda(&config);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            emu_set_order(orders[i % 3], i);
            const float *got = logits_among(d, 1, (int)i % 2 * (sizes[i] - 1), sizes[i]);
            if (i == 0)
                memcpy(want, got, sizeof want);
            assert_memory_equal(got, want, sizeof want);
        }
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
            double far = parity_difference(logits_among(d, 1, others[i] - 1, others[i]), want, 77);
            print_message("%-8s in %2d rows: differs by %.2g\n", dtype_info(types[t])->name, others[i], far);
            /* a few products one after the other */
            assert_true(far <= (types[t] == DTYPE_F8_E4M3 && others[i] > 64 ? BOUND_F8 : 2e-2));
        }
        d->ops->close(d);
        random_model_finish(&m);
    }
}

/* Several tiles of every matrix, of which the last is not full; rows of one 256 columns and of more than
 * there are buffers. */
static const struct random_shape wide = {.n_layers = 1,
                                         .n_heads = 4,
                                         .n_kv_heads = 2,
                                         .head_dim = 68,
                                         .dim = 136,
                                         .ffn_dim = 1288,
                                         .n_vocab = 205,
                                         .seed = 8};

/* Logits of the tokens of one session, computed `each` at a time, behind those of the batches before. */
static void logits_of(struct kernels_device *d, int vocab, int n, int each, float *out) {
    struct kernels_row rows[PARITY_MAX_ROWS];
    int32_t outputs[PARITY_MAX_ROWS];
    for (int first = 0; first < n; first += each) {
        for (int i = 0; i < each; i++) {
            rows[i] = (struct kernels_row){.token = (first + i) * 7 % vocab, .position = first + i};
            outputs[i] = i;
        }
        const struct kernels_batch batch = {.rows = rows,
                                            .n_rows = each,
                                            .pages = pages,
                                            .pages_stride = PARITY_STRIDE,
                                            .outputs = outputs,
                                            .n_outputs = each};
        parity_steps(d, &batch, 1);
        for (int i = 0; i < each; i++)
            memcpy(out + (first + i) * vocab, d->ops->output(d, i), (size_t)vocab * sizeof *out);
    }
}

/* Rows of a session, so many at a time, have the same logits bit by bit. */
static void check_sizes(const struct random_shape *of, enum dtype type, enum dtype kv, const int *each,
                        int n) {
    enum { ROWS = 80 };
    size_t floats = ROWS * (size_t)of->n_vocab;
    float *want = malloc(floats * sizeof *want), *got = malloc(floats * sizeof *got);
    struct random_shape shape = *of;
    struct kernels_model m;
    assert_non_null(want);
    assert_non_null(got);
    shape.type = type;
    random_model_init(&m, &shape);
    struct kernels_config config = parity_config(&m, kv);
    config.exact = false;
    config.max_outputs = PARITY_MAX_ROWS;
    struct kernels_device *d = open_cuda(&config);
    for (int i = 0; i < n; i++) {
        emu_set_order(orders[i % 3], (uint64_t)i);
        logits_of(d, of->n_vocab, ROWS, each[i], i == 0 ? want : got);
        if (i > 0)
            assert_memory_equal(got, want, floats * sizeof *got);
    }
    d->ops->close(d);
    random_model_finish(&m);
    free(want);
    free(got);
}

/* That a block of the smallest GPUs has (compute capability 8.6). */
#define SMALL_SHARED ((size_t)99 * 1024)

/* More than 32 rows take other tiles, which several blocks share or not: the same bits as of fewer, also
 * where more rows come than the tiles have, and some of the last are not there; and where there is no room
 * for them. */
static void test_wide_tiles(void **state) {
    (void)state;
    static const enum dtype types[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F8_E4M3};
    static const int each[] = {20, 40, 80};
    emu_set_blas(false); /* also of 80 rows */
    for (size_t t = 0; emu_present() && t < sizeof types / sizeof types[0]; t++)
        check_sizes(&wide, types[t], DTYPE_F32, each, 3);
    emu_set_block_shared(SMALL_SHARED);
    if (emu_present())
        check_sizes(&wide, DTYPE_BF16, DTYPE_F32, each, 3);
    emu_set_block_shared(EMU_MAX_SHARED);
    emu_set_blas(true);
}

/* Results that the step before a product has written in BF16 already are those that are made so for it: of 80
 * rows all are, of fewer none. */
static void test_ready_inputs(void **state) {
    (void)state;
    static const int each[] = {80, 20, 40, 2};
    emu_set_blas(false);
    for (int kv = 0; emu_present() && kv < 2; kv++)
        check_sizes(&quantised, DTYPE_BF16, kv == 0 ? DTYPE_F32 : DTYPE_F16, each, 4);
    emu_set_blas(true);
}

/* Kernels of a layer, which tests/kernels/cuda_reckon.py counts too: attention, four products, and before
 * them the preparation of those inputs that are not ready. */
static void test_kernels_of_a_layer(void **state) {
    (void)state;
    static const struct {
        enum dtype type, kv;
        int n_rows, kernels;
    } cases[] = {{DTYPE_BF16, DTYPE_F16, 64, 7}, {DTYPE_BF16, DTYPE_F16, 2, 7},
                 {DTYPE_BF16, DTYPE_F16, 1, 5},  {DTYPE_BF16, DTYPE_F32, 64, 8},
                 {DTYPE_F16, DTYPE_F16, 64, 9},  {DTYPE_Q4_K, DTYPE_F16, 64, 9}};
    for (size_t i = 0; emu_present() && i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t launched[2];
        for (int more = 0; more < 2; more++) {
            struct random_shape shape = quantised;
            struct kernels_model m;
            shape.type = cases[i].type;
            shape.n_layers = 1 + more;
            random_model_init(&m, &shape);
            struct kernels_config config = parity_config(&m, cases[i].kv);
            config.exact = false;
            struct kernels_device *d = open_cuda(&config);
            uint64_t before = emu_launches();
            (void)logits_among(d, 1 + more, 0, cases[i].n_rows);
            launched[more] = emu_launches() - before;
            d->ops->close(d);
            random_model_finish(&m);
        }
        assert_int_equal(launched[1] - launched[0], cases[i].kernels);
    }
}

/* As Q4_K_M has it: v and down in another type than the rest. */
static void test_mixed_types(void **state) {
    (void)state;
    static const int sizes[] = {1, 1, 5};
    struct random_shape other = quantised, shape = quantised;
    struct kernels_model m, n;
    shape.type = DTYPE_Q4_K;
    other.type = DTYPE_Q6_K;
    random_model_init(&m, &shape);
    random_model_init(&n, &other);
    struct kernels_layer *to = (struct kernels_layer *)(uintptr_t)m.layers;
    struct kernels_layer *from = (struct kernels_layer *)(uintptr_t)n.layers;
    struct tensor v = to->wv, down = to->w_down;
    to->wv = from->wv;
    to->w_down = from->w_down;
    check_model(&m, DTYPE_Q4_K, false, sizes, 3, BOUND);
    from->wv = v;
    from->w_down = down;
    random_model_finish(&m);
    random_model_finish(&n);
}

/* Weights take no more memory than the file has, but for the types of less than four bits. */
static void test_memory_of_weights(void **state) {
    (void)state;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        enum dtype type = (enum dtype)t;
        uint64_t seed = 9;
        struct tensor w = random_tensor(type, 16, 1024, 1, &seed);
        struct cuda_matrix m;
        char err[300];
        assert_int_equal(pack_upload(&w, false, &m, err, sizeof err), 0);
        size_t stored = convert_row_bytes(type, 1024) * 16, allowed = stored;
        if (type == DTYPE_Q2_K || type == DTYPE_Q3_K) /* four bits, and scales */
            allowed = (size_t)1024 * 16 * 37 / 64;
        if (type == DTYPE_F8_E4M3) /* a factor for each row */
            allowed += 16 * sizeof(float);
        print_message("%-8s %zu bytes in the file, %zu on the GPU\n", dtype_info(type)->name, stored,
                      emu_memory_used());
        assert_true(emu_memory_used() <= allowed);
        pack_free(&m);
        free((void *)(uintptr_t)w.data);
    }
    assert_int_equal(emu_memory_used(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_rows),  cmocka_unit_test(test_several_rows),
        cmocka_unit_test(test_company),      cmocka_unit_test(test_wide_tiles),
        cmocka_unit_test(test_many_rows),    cmocka_unit_test(test_ways_of_f8),
        cmocka_unit_test(test_mixed_types),  cmocka_unit_test(test_memory_of_weights),
        cmocka_unit_test(test_ready_inputs), cmocka_unit_test(test_kernels_of_a_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
