/* What a GPU needs beside weights, keys and values is worked out before it is opened: as much as is allocated
 * then, or somewhat more. */
#include "kernels/cuda/cuda.h"
#include "kernels/dtype.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define CONTEXT 2048
#define N_PAGES 2

struct sizes {
    double used, said; /* bytes */
};

static struct sizes sizes(const struct kernels_model *m, int n_gpus, int rows, int outputs, bool exact) {
    struct kernels_config config = {.model = *m,
                                    .max_rows = rows,
                                    .max_outputs = outputs,
                                    .max_context = CONTEXT,
                                    .n_pages = N_PAGES,
                                    .kv_type = DTYPE_F16,
                                    .exact = exact,
                                    .gpus = {.n = n_gpus, .ids = {0, 1}}};
    struct kernels_device *d = NULL;
    char err[300] = "";
    size_t before = emu_memory_used();
    if (hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &d, err, sizeof err) < 0)
        fail_msg("%s", err);
    size_t used = emu_memory_used() - before - N_PAGES * d->ops->page_bytes(d);
    d->ops->close(d);
    assert_int_equal(emu_memory_used(), before);
    return (struct sizes){(double)used, (double)cuda_scratch_bytes(&config)};
}

static void test_memory_is_what_was_worked_out(void **state) {
    (void)state;
    emu_set_gpus(2);
    static const enum dtype types[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16,
                                       DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_F8_E4M3};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        const struct random_shape shape = {.n_layers = 1,
                                           .n_heads = 8,
                                           .n_kv_heads = 2,
                                           .head_dim = 32,
                                           .dim = 256,
                                           .ffn_dim = 768,
                                           .n_vocab = 2048,
                                           .type = types[i],
                                           .seed = 4};
        struct kernels_model m;
        random_model_init(&m, &shape);
        int ways = dtype_info(types[i])->block_elements > 128 ? 2 : 4; /* two GPUs cannot share such blocks */
        for (int way = 0; way < ways; way++) {
            bool exact = way % 2 == 1;
            int n = 1 + way / 2;
            struct sizes one = sizes(&m, n, 1, 1, exact), rows = sizes(&m, n, 1024, 1, exact),
                         outputs = sizes(&m, n, 80, 80, exact), few = sizes(&m, n, 80, 1, exact);
            print_message("%d %-8s%s: 1,023 rows %.0f KiB, said %.0f; 79 outputs %.0f, said %.0f\n", n,
                          dtype_info(types[i])->name, exact ? " exact" : "", (rows.used - one.used) / 1024,
                          (rows.said - one.said) / 1024, (outputs.used - few.used) / 1024,
                          (outputs.said - few.said) / 1024);
            assert_true(rows.used - one.used <= rows.said - one.said);
            /* the emulator's cuBLAS takes none */
            double libraries = exact ? 0 : n * (double)CUDA_LIBRARY_BYTES;
            assert_true(rows.used - one.used >= 0.3 * (rows.said - one.said - libraries));
            assert_true(outputs.used - few.used <= outputs.said - few.said);
            assert_true(outputs.used - few.used >= 0.7 * (outputs.said - few.said));
        }
        random_model_finish(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory_is_what_was_worked_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
