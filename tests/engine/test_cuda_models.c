/* Whole models on the CUDA device: logits against the CPU, and with exact products the same greedy tokens
 * over 64 steps; test_cuda_greedy.c has them as models run. On the emulated GPU, and by tests/gpu/run on a
 * real one. */
#include "kernels/dtype.h"
#include "tests/engine/cuda_module.h"
#include "tests/engine/forward_steps.h"
#include "tests/engine/random_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Both sum in F32, in other orders; logits span about -20 to 20. */
#define BOUND 2e-4
/* As models run: both round inputs to 8 bits, and where a sum lies between two whole numbers not alike. */
#define ROUNDED_BOUND 0.3
#define ROUNDED_STEPS 8
/* A real GPU's exponential and division are approximate. */
#define REAL_BOUND 1e-2

static double exact_bound(void) {
    return cuda_module_is_emulated() ? BOUND : REAL_BOUND;
}

static void check_file(const char *path, const char *name) {
    struct model *m = NULL;
    char err[400] = "";
    if (model_open_weights(path, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    forward_steps_check(m, name, cuda_module_path(), true, FORWARD_STEPS, exact_bound());
    forward_steps_check(m, name, cuda_module_path(), false, ROUNDED_STEPS, ROUNDED_BOUND);
    model_close(m);
}

static void test_default_model(void **state) {
    (void)state;
    check_file("models/hermes-tiny.gguf", "hermes-tiny.gguf");
}

static void test_stories(void **state) {
    (void)state;
    static const char *const files[] = {"stories260K-f32.gguf", "stories260K-q8_0.gguf"};
    const char *shared = getenv("HERMESD_SHARED");
    char path[4096];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/models/stories260K/derived/%s",
                       shared != NULL ? shared : "../shared/data", files[i]);
        if (access(path, R_OK) != 0) {
            print_message("skipped: there is no %s (HERMESD_SHARED names another folder)\n", path);
            skip();
        }
        check_file(path, files[i]);
    }
}

/* A model of Llama 3.1's shape in every format; 64 greedy steps in F32 and BF16. */
static void test_formats(void **state) {
    (void)state;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        const struct random_shape shape = {.n_layers = 2,
                                           .n_heads = 8,
                                           .n_kv_heads = 2,
                                           .head_dim = 32,
                                           .dim = 256,
                                           .ffn_dim = 256,
                                           .n_vocab = 120,
                                           .type = (enum dtype)t,
                                           .rope_layout = ROPE_HALF_SPLIT,
                                           .seed = 8};
        struct random_engine r;
        bool long_one = t == DTYPE_F32 || t == DTYPE_BF16;
        random_engine_init(&r, &shape, FORWARD_STEPS_CONTEXT);
        random_engine_set_rope(&r, true);
        forward_steps_check(&r.model, dtype_info(shape.type)->name, cuda_module_path(), true,
                            long_one ? FORWARD_STEPS : 3, exact_bound());
        /* As models run: F32 has nothing to round, so that it is as near. */
        forward_steps_check(&r.model, dtype_info(shape.type)->name, cuda_module_path(), false,
                            long_one ? FORWARD_STEPS : 3, t == DTYPE_F32 ? exact_bound() : ROUNDED_BOUND);
        random_engine_finish(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_model),
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
