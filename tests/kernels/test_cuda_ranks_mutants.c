/* The tests of several GPUs catch what they are there for: steps that are queued with one fault each
 * (ranks_mutants.txt) end with a sentence of the emulator or with wrong logits. */
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/record.h"
#include "tests/emulator/apart.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/parity.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BOUND 1e-4 /* what a fault does is far above it */
#define RANKS 2

struct mutant {
    const char *name;
    int (*begin)(struct cuda_device *d, int n_rows, int n_outputs);
    int (*step)(struct cuda_device *d, int step);
    int (*leave)(struct cuda_device *d);
    void (*finish)(struct cuda_device *d);
    const uint16_t *(*ready)(const struct cuda_device *d, enum kernels_state what);
};

#define MUTANT(name)                                                                                         \
    int mutant_##name(struct cuda_device *d, int n_rows, int n_outputs);                                     \
    int record_step_##name(struct cuda_device *d, int step);                                                 \
    int record_leave_##name(struct cuda_device *d);                                                          \
    void record_finish_##name(struct cuda_device *d);                                                        \
    const uint16_t *record_ready_##name(const struct cuda_device *d, enum kernels_state what);
#include <mutants.inc>
#undef MUTANT

static const struct mutant mutants[] = {
#define MUTANT(name)                                                                                         \
    {#name,                                                                                                  \
     mutant_##name,                                                                                          \
     record_step_##name,                                                                                     \
     record_leave_##name,                                                                                    \
     record_finish_##name,                                                                                   \
     record_ready_##name},
#include <mutants.inc>
#undef MUTANT
};

static const struct mutant *chosen;

int record_begin(struct cuda_device *d, int n_rows, int n_outputs) {
    return chosen->begin(d, n_rows, n_outputs);
}

int record_step(struct cuda_device *d, int step) {
    return chosen->step(d, step);
}

int record_leave(struct cuda_device *d) {
    return chosen->leave(d);
}

void record_finish(struct cuda_device *d) {
    chosen->finish(d);
}

const uint16_t *record_ready(const struct cuda_device *d, enum kernels_state what) {
    return chosen->ready(d, what);
}

static const struct random_shape shape = {.n_layers = 2,
                                          .n_heads = 4,
                                          .n_kv_heads = 2,
                                          .head_dim = 8,
                                          .dim = 32,
                                          .ffn_dim = 48,
                                          .n_vocab = 41,
                                          .seed = 5};

/* How far the logits of one batch are from the oracle's. */
static double run_batch(struct kernels_device *want, struct kernels_device *got, int first, int n) {
    static const int32_t pages[PARITY_STRIDE] = {3, 1};
    struct kernels_row rows[8];
    for (int i = 0; i < n; i++)
        rows[i] = (struct kernels_row){.token = (first + i) * 5 % 41, .position = first + i};
    const int32_t output = n - 1;
    const struct kernels_batch batch = {.rows = rows,
                                        .n_rows = n,
                                        .pages = pages,
                                        .pages_stride = PARITY_STRIDE,
                                        .outputs = &output,
                                        .n_outputs = 1};
    parity_steps(want, &batch, shape.n_layers);
    parity_steps(got, &batch, shape.n_layers);
    const float *a = got->ops->output(got, 0), *b = want->ops->output(want, 0);
    double worst = 0;
    for (int i = 0; i < 41; i++)
        worst = isfinite(a[i]) ? fmax(worst, fabs((double)a[i] - (double)b[i])) : 1e9;
    return worst;
}

/* Several rows, then one, which is recorded, and one more, which runs again. 0 when the logits are right. */
static int run_cases(void *arg) {
    static const int sizes[] = {5, 1, 1};
    struct kernels_device *want = NULL, *got = NULL;
    struct kernels_model m;
    char err[300];
    int position = 0, rc = 0;
    (void)arg;
    random_model_init(&m, &shape);
    struct kernels_config config = parity_config(&m, DTYPE_F32);
    config.gpus = (struct gpus){.n = RANKS, .ids = {1, 0}};
    emu_set_gpus(RANKS);
    if (cpu_reference_open(&config, &want, err, sizeof err) < 0 ||
        hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &got, err, sizeof err) < 0)
        return -1;
    for (int i = 0; i < 3; i++) {
        if (!(run_batch(want, got, position, sizes[i]) <= BOUND))
            rc = -1;
        position += sizes[i];
    }
    got->ops->close(got);
    want->ops->close(want);
    random_model_finish(&m);
    return rc;
}

static bool caught(int order, char *out, size_t size) {
    return apart_run(run_cases, NULL, order, out, size) != 0;
}

static void test_right_steps_pass(void **state) {
    (void)state;
    static char out[65536];
    assert_string_equal(mutants[0].name, "unchanged");
    chosen = &mutants[0];
    for (int order = 0; order < APART_ORDERS; order++)
        if (caught(order, out, sizeof out))
            fail_msg("order %d: %s", order, out);
}

static void test_mutants_are_caught(void **state) {
    (void)state;
    static char out[65536];
    for (size_t i = 1; i < sizeof mutants / sizeof mutants[0]; i++) {
        int order = 0;
        chosen = &mutants[i];
        while (order < APART_ORDERS && !caught(order, out, sizeof out))
            order++;
        print_message("%-26s caught in order %d: %.70s\n", mutants[i].name, order,
                      strncmp(out, "emulator", 8) == 0 ? out : "wrong logits");
        if (order == APART_ORDERS)
            fail_msg("%s was never caught", mutants[i].name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_right_steps_pass),
                                       cmocka_unit_test(test_mutants_are_caught)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
