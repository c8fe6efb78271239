/* FP8 weights that emulated GPUs share: rows have their own scales, which are cut or not as the rows are,
 * each GPU has its own library, and the inputs of large batches are rounded on each. */
#include "kernels/cuda/cuda.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/parity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GPUS 4
#define ROWS 66 /* the library multiplies more than 64 */

/* What 4 ranks have of a row are the 16 numbers that the library wants at least. */
static const struct random_shape shape = {.n_layers = 1,
                                          .n_heads = 4,
                                          .n_kv_heads = 4,
                                          .head_dim = 16,
                                          .dim = 32,
                                          .ffn_dim = 64,
                                          .n_vocab = 77,
                                          .type = DTYPE_F8_E4M3,
                                          .seed = 8};

/* Each row is a multiple of its own factor; freed with the model by free_scales(). */
static void set_scales(struct kernels_model *m, float input_scale) {
    uint64_t random = 5;
    for (int l = 0; l < m->n_layers; l++) {
        struct kernels_layer *y = (struct kernels_layer *)(uintptr_t)&m->layers[l];
        struct tensor *all[] = {&y->wq, &y->wk, &y->wv, &y->wo, &y->w_gate, &y->w_up, &y->w_down};
        for (int i = 0; i < 7; i++) {
            float *scales = malloc((size_t)all[i]->rows * sizeof *scales);
            assert_non_null(scales);
            for (int64_t r = 0; r < all[i]->rows; r++)
                scales[r] = 1.25f + random_float(&random);
            all[i]->row_scales = scales;
            all[i]->input_scale = input_scale;
        }
    }
}

static void free_scales(struct kernels_model *m) {
    for (int l = 0; l < m->n_layers; l++) {
        const struct kernels_layer *y = &m->layers[l];
        const struct tensor *all[] = {&y->wq, &y->wk, &y->wv, &y->wo, &y->w_gate, &y->w_up, &y->w_down};
        for (int i = 0; i < 7; i++)
            free((void *)(uintptr_t)all[i]->row_scales);
    }
}

static struct kernels_device *open_gpus(const struct kernels_model *m, int n, const char *says) {
    struct kernels_config config = parity_config(m, DTYPE_F32);
    struct kernels_device *d = NULL;
    char err[300] = "";
    config.exact = false;
    config.gpus = (struct gpus){.n = n, .ids = {2, 0, 3, 1}};
    if (hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &d, err, sizeof err) < 0)
        fail_msg("%s", err);
    if (strstr(d->ops->describe(d), says) == NULL)
        fail_msg("'%s' does not say '%s'", d->ops->describe(d), says);
    return d;
}

/* How far the logits of the batch's last rows are apart. */
static double run(struct kernels_device *one, struct kernels_device *several, int position, int n) {
    static const int32_t pages[PARITY_STRIDE] = {3, 1, 2, 0, 4, 5};
    struct kernels_row rows[ROWS];
    for (int i = 0; i < n; i++)
        rows[i] = (struct kernels_row){.token = (position + i) * 5 % 77, .position = position + i};
    const int32_t output = n - 1;
    const struct kernels_batch batch = {.rows = rows,
                                        .n_rows = n,
                                        .pages = pages,
                                        .pages_stride = PARITY_STRIDE,
                                        .outputs = &output,
                                        .n_outputs = 1};
    parity_steps(one, &batch, shape.n_layers);
    parity_steps(several, &batch, shape.n_layers);
    return parity_difference(several->ops->output(several, 0), one->ops->output(one, 0), 77);
}

/* Against one GPU. */
static void check(float input_scale, enum emu_lt installed, int n, double bound, const char *says) {
    static const int sizes[] = {ROWS, 9, 1, 1};
    struct kernels_model m;
    double worst = 0;
    emu_set_gpus(GPUS);
    emu_set_lt(installed);
    emu_set_order(n == 2 ? EMU_BACKWARD : EMU_RANDOM, 3);
    random_model_init(&m, &shape);
    set_scales(&m, input_scale);
    struct kernels_device *one = open_gpus(&m, 1, says), *several = open_gpus(&m, n, says);
    for (int i = 0, position = 0; i < 4; position += sizes[i++]) {
        uint64_t products = emu_lt_products();
        double d = run(one, several, position, sizes[i]);
        worst = d > worst ? d : worst;
        /* 7 matrices a layer; of all ranks */
        bool large = i == 0 && input_scale != 0;
        assert_int_equal(emu_lt_products() - products, large ? 7 * shape.n_layers * (1 + n) : 0);
    }
    one->ops->close(one);
    several->ops->close(several);
    print_message("%d ranks, input scale %g: logits differ by %.2g from one's, bound %g\n", n,
                  (double)input_scale, worst, bound);
    assert_true(worst <= bound);
    free_scales(&m);
    random_model_finish(&m);
    assert_int_equal(emu_memory_used(), 0);
}

/* Sums of other orders, rounded to BF16. */
static void test_inputs_as_they_are(void **state) {
    (void)state;
    check(0, EMU_LT_VECTORS, 2, 2e-3, "FP8 as BF16 in large batches");
    check(0, EMU_LT_VECTORS, 4, 2e-3, "FP8 as BF16 in large batches");
}

/* All round to the same numbers, but where a sum of another order lies at a limit. */
static void test_one_scale_for_all(void **state) {
    (void)state;
    check(1.0f / 32, EMU_LT_VECTORS, 4, 1e-2, "FP8 by cuBLASLt with scales of rows");
    check(1.0f / 32, EMU_LT_SCALARS, 2, 1e-2, "FP8 by cuBLASLt");
}

/* The scale of a row is that of the whole one, whichever part of it a rank has. */
static void test_scales_of_rows(void **state) {
    (void)state;
    check(TENSOR_INPUT_BY_ROW, EMU_LT_VECTORS, 2, 1e-2, "FP8 by cuBLASLt with scales of rows");
    check(TENSOR_INPUT_BY_ROW, EMU_LT_VECTORS, 4, 1e-2, "FP8 by cuBLASLt with scales of rows");
    check(TENSOR_INPUT_BY_ROW, EMU_LT_SCALARS, 4, 1e-2, "FP8 by cuBLASLt");
}

/* GPUs that are not alike: all multiply in the one way that each of them has. */
static void test_one_way_for_all(void **state) {
    (void)state;
    static const struct {
        enum emu_lt first, second; /* of ranks 0 and 1 */
        const char *says;
        bool library;
    } cases[] = {{EMU_LT_VECTORS, EMU_LT_SCALARS, "FP8 by cuBLASLt", true},
                 {EMU_LT_SCALARS, EMU_LT_VECTORS, "FP8 by cuBLASLt", true},
                 {EMU_LT_VECTORS, EMU_LT_NO_F8, "FP8 as BF16 in large batches", false},
                 {EMU_LT_NO_F8, EMU_LT_VECTORS, "FP8 as BF16 in large batches", false},
                 {EMU_LT_SCALARS, EMU_LT_ABSENT, "FP8 as BF16 in large batches", false}};
    emu_set_gpus(GPUS);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kernels_model m;
        random_model_init(&m, &shape);
        set_scales(&m, 1.0f / 32);
        emu_set_lt(EMU_LT_VECTORS);
        struct kernels_device *one = open_gpus(&m, 1, "with scales of rows");
        emu_set_lt_of(2, cases[i].first);
        emu_set_lt_of(0, cases[i].second);
        struct kernels_device *two = open_gpus(&m, 2, cases[i].says);
        const char *said = strstr(two->ops->describe(two), "FP8");
        assert_string_equal(said, cases[i].says);
        emu_set_lt_of(2, EMU_LT_VECTORS);
        uint64_t products = emu_lt_products(), vectors = emu_lt_vector_products();
        (void)run(one, one, 0, ROWS);
        assert_int_equal(emu_lt_products() - products, 2 * 7);
        assert_int_equal(emu_lt_vector_products() - vectors, 2 * 7);
        emu_set_lt_of(2, cases[i].first);
        products = emu_lt_products();
        vectors = emu_lt_vector_products();
        (void)run(two, two, 0, ROWS);
        assert_int_equal(emu_lt_products() - products, cases[i].library ? 2 * 2 * 7 : 0);
        assert_int_equal(emu_lt_vector_products() - vectors, 0);
        one->ops->close(one);
        two->ops->close(two);
        free_scales(&m);
        random_model_finish(&m);
        assert_int_equal(emu_memory_used(), 0);
    }
    emu_set_lt(EMU_LT_VECTORS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inputs_as_they_are), cmocka_unit_test(test_one_scale_for_all),
        cmocka_unit_test(test_one_way_for_all), cmocka_unit_test(test_scales_of_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
