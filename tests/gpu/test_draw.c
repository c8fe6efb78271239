/* Drawn weights are numbers of about the size that they should have, in every format that is measured. */
#include "kernels/cuda/pack.h"
#include "tests/gpu/draw.h"
#include "tests/gpu/synthetic.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROWS = 96, COLS = 512 };

static void *device_copy(const void *from, size_t bytes) {
    void *p = gpu_alloc(bytes, GPU_KEPT);
    assert_non_null(p);
    assert_int_equal(gpu_upload_now(p, from, bytes), 0);
    return p;
}

/* out = w x for one x of length 1: by the mean of squares the size of a weight. */
static double size_of(enum dtype type, uint32_t seed, float out[ROWS]) {
    const struct tensor t = {.data = &pack_nowhere[0], .type = type, .rows = ROWS, .cols = COLS};
    struct cuda_matrix w;
    struct gpu_stream *s = NULL;
    char err[200];
    float x[COLS], zeros[ROWS] = {0};
    const int32_t one = 1;
    for (int i = 0; i < COLS; i++)
        x[i] = (i * 7 % 11 < 5 ? 1 : -1) / sqrtf(COLS);
    assert_int_equal(gpu_stream_create(&s), 0);
    assert_int_equal(pack_upload(&t, false, &w, err, sizeof err), 0);
    assert_int_equal(draw_matrix(s, &w, seed), 0);
    assert_int_equal(gpu_sync(s), 0); /* products fetch weights before they wait for other kernels */
    struct cuda_product p = {.batch = {.n_rows = device_copy(&one, sizeof one)},
                             .step = CUDA_RESIDUAL,
                             .cols = COLS,
                             .input = device_copy(x, sizeof x),
                             .input_stride = COLS,
                             .out = device_copy(zeros, sizeof zeros),
                             .out_stride = ROWS,
                             .exact = 1};
    steps_add_section(&p, &w, &w, ROWS / 2);
    assert_int_equal(steps_product(s, NULL, &p, 1), 0);
    assert_int_equal(gpu_sync(s), 0);
    assert_int_equal(gpu_download_now(out, p.out, sizeof zeros), 0);
    gpu_free((void *)(uintptr_t)p.batch.n_rows);
    gpu_free((void *)(uintptr_t)p.input);
    gpu_free(p.out);
    pack_free(&w);
    gpu_stream_destroy(s);
    double squares = 0;
    for (int i = 0; i < ROWS; i++)
        squares += (double)out[i] * (double)out[i];
    return sqrt(squares / ROWS);
}

static void test_formats(void **state) {
    (void)state;
    for (int f = 0; f < SYNTHETIC_FORMATS; f++) {
        const enum dtype types[] = {synthetic_formats[f].type, synthetic_formats[f].more,
                                    synthetic_formats[f].table, synthetic_formats[f].head};
        for (int i = 0; i < 4; i++) {
            float out[ROWS], other[ROWS], same[ROWS];
            double size = size_of(types[i], 1, out);
            (void)size_of(types[i], 9, other);
            (void)size_of(types[i], 1, same);
            print_message("%s, type %d: about %.3f\n", synthetic_formats[f].name, (int)types[i], size);
            assert_true(size > 0.005 && size < 0.08); /* and a number */
            assert_memory_equal(out, same, sizeof out);
            assert_true(memcmp(out, other, sizeof out) != 0);
        }
    }
}

static void test_what_is_not_drawn(void **state) {
    (void)state;
    const struct cuda_matrix m = {.type = CUDA_Q2_K};
    assert_int_equal(draw_matrix(NULL, &m, 1), -ENOTSUP);
}

/* The bytes of a decoded token of 8B and 70B are those of their files (docs of the formats, reckoned by
 * hand). */
static void test_sizes(void **state) {
    (void)state;
    static const struct {
        const struct synthetic_shape *shape;
        enum synthetic_formats format;
        double gigabytes; /* that a token reads */
    } sizes[] = {{&synthetic_8b, SYNTHETIC_BF16, 15.0},   {&synthetic_8b, SYNTHETIC_FP8, 8.0},
                 {&synthetic_8b, SYNTHETIC_Q8_0, 8.0},    {&synthetic_8b, SYNTHETIC_Q6_K, 6.2},
                 {&synthetic_8b, SYNTHETIC_Q4_K_M, 4.6},  {&synthetic_70b, SYNTHETIC_FP8, 70.6},
                 {&synthetic_70b, SYNTHETIC_Q4_K_M, 41.9}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct synthetic s;
        assert_int_equal(
            synthetic_init(&s, sizes[i].shape, &synthetic_formats[sizes[i].format], sizes[i].shape->n_layers),
            0);
        double bytes = synthetic_bytes(&s.model) / 1e9;
        synthetic_finish(&s);
        print_message("%s %s: %.2f GB\n", sizes[i].shape->name, synthetic_formats[sizes[i].format].name,
                      bytes);
        assert_true(fabs(bytes / sizes[i].gigabytes - 1) < 0.02);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_what_is_not_drawn),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
