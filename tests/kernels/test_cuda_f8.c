/* Products of more than 64 rows with F8 weights on the emulated GPU: inputs are rounded exactly as
 * compressed-tensors defines it, and every way of multiplying gives the product of the rounded numbers. */
#include "kernels/cpu/convert.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/pack.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/encode.h"
#include "tests/kernels/random_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS    83
#define COLS    304 /* whole 16 bytes, and not 256 */
#define OUTPUTS 48
/* Sums of the same rounded numbers in F32 against double; those of a GPU's tensor cores keep fewer bits. */
#define BOUND      1e-6
#define BOUND_REAL 2e-3
/* Rounded inputs against inputs as they are: numbers of 4 bits are within 1/16, and about 0.026 in the mean
 * of squares; so is a sum of many. */
#define BOUND_ROUNDED 4e-2

struct product_case {
    struct tensor w;
    float x[ROWS][COLS];
    float scales[OUTPUTS];
    double rounded[ROWS][COLS]; /* x as it is multiplied */
};

static struct product_case made;

/* Rows from tiny to large; one of zeros. */
static void make_case(float input_scale) {
    uint64_t seed = 5;
    made.w = random_tensor(DTYPE_F8_E4M3, OUTPUTS, COLS, 20, &seed);
    for (int i = 0; i < OUTPUTS; i++)
        made.scales[i] = ldexpf(1.3f, i % 9 - 4);
    made.w.row_scales = made.scales;
    made.w.input_scale = input_scale;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++)
            made.x[r][c] = r == 7 ? 0 : ldexpf(random_float(&seed), input_scale > 0 ? 0 : r % 31 - 15);
}

/* x as it is multiplied: E4M3 of x / scale, times scale. */
static double rounded(float x, float scale) {
    uint8_t byte;
    float v = x / scale;
    encode_row(DTYPE_F8_E4M3, &v, 1, &byte);
    return (double)convert_f8_e4m3_to_f32(byte) * (double)scale;
}

static float row_scale(int r) {
    float most = 0;
    for (int c = 0; c < COLS; c++)
        most = fmaxf(most, fabsf(made.x[r][c]));
    return most > 0 ? most / 448 : 1;
}

static float scale_of(int r) {
    return made.w.input_scale > 0 ? made.w.input_scale : row_scale(r);
}

static void round_inputs(void) {
    for (int r = 0; r < ROWS; r++) {
        float scale = scale_of(r);
        for (int c = 0; c < COLS; c++)
            made.rounded[r][c] = rounded(made.x[r][c], scale);
    }
}

/* One element of the product: with inputs rounded, with inputs as they are, the size that
 * such a sum has, and how far rounding can
 * take it: half a step of 4 bits, or of the smallest numbers (2^-10 of the scale). */
struct element {
    double rounded, plain, norm, reach;
};

static struct element element_of(const float *w, int r, float factor) {
    struct element e = {0};
    double w2 = 0, x2 = 0, scale = (double)scale_of(r);
    for (int c = 0; c < COLS; c++) {
        double a = (double)w[c] * (double)factor, x = (double)made.x[r][c];
        e.rounded += a * made.rounded[r][c];
        e.plain += a * x;
        e.reach += fabs(a) * (fabs(x) / 16 + scale / 1024);
        w2 += a * a;
        x2 += x * x;
    }
    e.norm = sqrt(w2 * x2 / COLS);
    return e;
}

/* Of all elements, in the mean of squares and as a part of that size: the distance from the product of
 * rounded inputs, and from that of inputs as they are; and the largest part of its reach that an element
 * takes. */
struct distance {
    double rounded, plain, reach;
};

static struct distance distance_of(const float *got) {
    struct distance d = {0};
    float w[COLS];
    int n = 0;
    for (int i = 0; i < OUTPUTS; i++) {
        convert_row(DTYPE_F8_E4M3, (const uint8_t *)made.w.data + (size_t)i * COLS, COLS, w);
        for (int r = 0; r < ROWS; r++) {
            const struct element e = element_of(w, r, made.scales[i]);
            double at = (double)got[r * OUTPUTS + i];
            if (e.norm == 0) {
                assert_true(at == 0);
                continue;
            }
            double part = fabs(at - e.plain) / e.reach;
            d.rounded += (at - e.rounded) * (at - e.rounded) / (e.norm * e.norm);
            d.plain += (at - e.plain) * (at - e.plain) / (e.norm * e.norm);
            d.reach = part <= d.reach ? d.reach : part; /* also what is no number */
            n++;
        }
    }
    d.rounded = sqrt(d.rounded / n);
    d.plain = sqrt(d.plain / n);
    return d;
}

static void *device(size_t bytes, enum gpu_memory kind) {
    void *p = gpu_alloc(bytes, kind);
    assert_non_null(p);
    return p;
}

static void *device_copy(const void *from, size_t bytes) {
    void *p = device(bytes, GPU_KEPT);
    assert_int_equal(gpu_upload_now(p, from, bytes), 0);
    return p;
}

/* out += w x, out being zeros. */
static enum gpu_f8 multiply(float out[ROWS * OUTPUTS]) {
    struct cuda_matrix w;
    struct gpu_stream *s = NULL;
    struct gpu_blas *blas = NULL;
    char err[200];
    const int32_t n_rows = ROWS;
    memset(out, 0, ROWS * OUTPUTS * sizeof *out);
    assert_int_equal(gpu_stream_create(&s), 0);
    assert_int_equal(gpu_blas_open(s, &blas, err, sizeof err), 0);
    assert_int_equal(pack_upload(&made.w, false, &w, err, sizeof err), 0);
    const struct gpu_gemm_f8 shape = {.w_stride = COLS,
                                      .x_stride = 512,
                                      .out_stride = OUTPUTS,
                                      .w_rows = OUTPUTS,
                                      .x_rows = ROWS,
                                      .cols = COLS};
    enum gpu_f8 how = gpu_blas_begin_f8(blas, &shape, 1, GPU_F8_SCALED);
    struct cuda_product p = {.batch = {.n_rows = device_copy(&n_rows, sizeof n_rows)},
                             .step = CUDA_RESIDUAL,
                             .cols = COLS,
                             .input = device_copy(made.x, sizeof made.x),
                             .input_stride = COLS,
                             .out = device_copy(out, ROWS * OUTPUTS * sizeof *out),
                             .out_stride = OUTPUTS,
                             .large = device(ROWS * OUTPUTS * sizeof(float), GPU_TRANSIENT),
                             .large_stride = OUTPUTS,
                             .panel = device((size_t)OUTPUTS * 512 * 2, GPU_TRANSIENT),
                             .panel_bytes = (size_t)OUTPUTS * 512 * 2,
                             .f8 = (int32_t)how,
                             .prepared = {.bf16 = device((size_t)ROWS * 512 * 2, GPU_TRANSIENT),
                                          .f8 = device((size_t)ROWS * 512, GPU_TRANSIENT),
                                          .f8_scales = device(ROWS * sizeof(float), GPU_TRANSIENT)}};
    steps_add_section(&p, &w, &w, OUTPUTS / 2);
    assert_int_equal(steps_product(s, blas, &p, ROWS), 0);
    assert_int_equal(gpu_sync(s), 0);
    assert_int_equal(gpu_download_now(out, p.out, ROWS * OUTPUTS * sizeof *out), 0);
    void *all[] = {(void *)(uintptr_t)p.batch.n_rows,
                   (void *)(uintptr_t)p.input,
                   p.out,
                   p.large,
                   p.panel,
                   p.prepared.bf16,
                   p.prepared.f8,
                   p.prepared.f8_scales};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        gpu_free(all[i]);
    pack_free(&w);
    gpu_blas_close(blas);
    gpu_stream_destroy(s);
    assert_int_equal(emu_memory_used(), 0);
    return how;
}

static double bound(void) {
    return emu_present() ? BOUND : BOUND_REAL;
}

static const struct {
    enum emu_lt installed;
    enum gpu_f8 how;
} ways[] = {{EMU_LT_VECTORS, GPU_F8_SCALED}, {EMU_LT_SCALARS, GPU_F8_PLAIN}, {EMU_LT_OLD, GPU_F8_PLAIN}};

static void check_scale(float input_scale, const char *name) {
    static float out[ROWS * OUTPUTS];
    make_case(input_scale);
    round_inputs();
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        for (int order = 0; order < 3; order++) {
            emu_set_lt(ways[i].installed);
            emu_set_order((enum emu_order)order, 3);
            enum gpu_f8 how = multiply(out);
            if (emu_present())
                assert_int_equal(how, ways[i].how);
            else if (how == GPU_F8_NOT)
                return; /* test_without() sees this one */
            const struct distance d = distance_of(out);
            if (order == 0)
                print_message(
                    "%s, way %zu: %.2g from the rounded product, %.3f from the product, %.2f of the reach\n",
                    name, i, d.rounded, d.plain, d.reach);
            if (!(d.rounded <= bound() && d.plain <= BOUND_ROUNDED && d.reach <= 1))
                fail_msg("%s, way %zu, order %d: %g, bound %g; %g, bound %g; %g, bound 1", name, i, order,
                         d.rounded, bound(), d.plain, BOUND_ROUNDED, d.reach);
        }
    free((void *)(uintptr_t)made.w.data);
    emu_set_lt(EMU_LT_VECTORS);
}

/* Each row by its largest magnitude, whatever that is. */
static void test_scales_of_rows(void **state) {
    (void)state;
    check_scale(TENSOR_INPUT_BY_ROW, "by row");
}

/* One factor for all rows. */
static void test_scale_of_the_model(void **state) {
    (void)state;
    check_scale(1.0f / 300, "static");
}

/* What is too large for it becomes the largest number. */
static void test_inputs_beyond_the_scale(void **state) {
    (void)state;
    static float out[ROWS * OUTPUTS];
    make_case(1.0f / 2000); /* above 0.224 */
    round_inputs();
    enum gpu_f8 how = multiply(out);
    if (!emu_present() && how == GPU_F8_NOT)
        return;
    const struct distance d = distance_of(out);
    print_message("saturated: %.2g from the rounded product, %.2g from the product\n", d.rounded, d.plain);
    assert_true(d.rounded <= bound());
    assert_true(d.plain > 0.2);
    free((void *)(uintptr_t)made.w.data);
}

/* Without FP8 in the library, or where the model does not allow rounded inputs: weights as BF16. */
static void test_without(void **state) {
    (void)state;
    static float out[ROWS * OUTPUTS];
    make_case(TENSOR_INPUT_BY_ROW);
    round_inputs();
    emu_set_lt(EMU_LT_NO_F8);
    enum gpu_f8 how = multiply(out);
    if (emu_present())
        assert_int_equal(how, GPU_F8_NOT);
    const struct distance d = distance_of(out);
    print_message("%s: %.2g from the product\n", how == GPU_F8_NOT ? "as BF16" : "in FP8", d.plain);
    assert_true(d.plain <= (how == GPU_F8_NOT ? 2.4e-3 : BOUND_ROUNDED)); /* inputs of 8 bits */
    free((void *)(uintptr_t)made.w.data);
    emu_set_lt(EMU_LT_VECTORS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scales_of_rows),
        cmocka_unit_test(test_scale_of_the_model),
        cmocka_unit_test(test_inputs_beyond_the_scale),
        cmocka_unit_test(test_without),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
