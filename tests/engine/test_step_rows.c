/* How many rows a step has at most is the device's to say; what it needs for them is counted before a model
 * is taken. */
#include "engine/fit.h"
#include "engine/local.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CONTEXT 704
#define N_PAGES (CONTEXT / KERNELS_PAGE_TOKENS)
#define N_ROWS  700
/* Exact on both: they sum in F32, in other orders. */
#define BOUND 2e-4

static const struct random_shape shape = {.n_layers = 1,
                                          .n_heads = 2,
                                          .n_kv_heads = 1,
                                          .head_dim = 16,
                                          .dim = 32,
                                          .ffn_dim = 64,
                                          .n_vocab = 40,
                                          .type = DTYPE_F32,
                                          .seed = 8};
static struct random_engine weights;

static const char *module_path(void) {
    static char path[4096];
    const char *build = getenv("HERMESD_BINARY_DIR");
    (void)snprintf(path, sizeof path, "%s/lib/hermes-cuda-emulated.so", build != NULL ? build : "build/dev");
    return path;
}

static int open_engine(struct harness *h, enum engine_device device, int sessions, char *err, size_t errlen) {
    const struct engine_config config = {.device = device,
                                         .gpu_module = module_path(),
                                         .n_threads = 1,
                                         .max_context = CONTEXT,
                                         .max_sessions = sessions,
                                         .wake = harness_wake,
                                         .wake_arg = h};
    harness_init(h);
    return local_open_model(&config, &weights.model, true, &h->engine, err, errlen);
}

static int rows_of(enum engine_device device, int sessions) {
    struct harness h;
    char err[400] = "";
    if (open_engine(&h, device, sessions, err, sizeof err) < 0)
        fail_msg("%s", err);
    int rows = ((struct local_engine *)(void *)h.engine)->max_rows;
    harness_finish(&h);
    return rows;
}

static void test_the_device_says(void **state) {
    (void)state;
    assert_int_equal(rows_of(ENGINE_DEVICE_CPU, 4), CPU_STEP_ROWS);
    assert_int_equal(rows_of(ENGINE_DEVICE_CUDA, 4), CUDA_STEP_ROWS);
    /* Every session's next token has a place. */
    assert_in_range(rows_of(ENGINE_DEVICE_CPU, 400), 400, 400 + SPECULATE_ROWS);
}

static void run(const char *module, float *logits) {
    const struct forward_config config = {.max_outputs = 1,
                                          .max_context = CONTEXT,
                                          .n_pages = N_PAGES,
                                          .kv_type = DTYPE_F32,
                                          .n_threads = 1,
                                          .exact = true,
                                          .gpu_module = module};
    struct forward *f = NULL;
    char err[400] = "";
    static struct kernels_row rows[N_ROWS];
    int32_t pages[N_PAGES], output = 0;
    if (forward_open(&weights.model, &config, &f, err, sizeof err) < 0)
        fail_msg("%s", err);
    for (int i = 0; i < N_PAGES; i++)
        pages[i] = i;
    struct kernels_batch batch = {
        .rows = rows, .pages = pages, .pages_stride = N_PAGES, .outputs = &output, .n_outputs = 1};
    int at_once = forward_max_rows(f) < N_ROWS ? forward_max_rows(f) : N_ROWS;
    for (int first = 0; first < N_ROWS; first += at_once) {
        batch.n_rows = N_ROWS - first < at_once ? N_ROWS - first : at_once;
        output = batch.n_rows - 1;
        for (int i = 0; i < batch.n_rows; i++)
            rows[i] =
                (struct kernels_row){.token = ((first + i) * 7 + 3) % shape.n_vocab, .position = first + i};
        if (forward_run(f, &batch, err, sizeof err) < 0)
            fail_msg("%s", err);
    }
    memcpy(logits, forward_logits(f, 0), (size_t)shape.n_vocab * sizeof *logits);
    forward_close(f);
}

/* A prompt in three steps on the CPU and in one on the GPU. */
static void test_many_rows_on_a_gpu(void **state) {
    (void)state;
    float cpu[64], gpu[64];
    double worst = 0;
    run(NULL, cpu);
    run(module_path(), gpu);
    for (int i = 0; i < shape.n_vocab; i++)
        worst = fmax(worst, fabs((double)cpu[i] - (double)gpu[i]));
    print_message("a logit differs by at most %.2g, bound %g\n", worst, BOUND);
    assert_true(worst <= BOUND);
}

/* Before anything is allocated: with weights, working memory, keys and values, and what there is. */
static void test_what_does_not_fit_is_refused_with_the_numbers(void **state) {
    (void)state;
    struct harness h;
    char err[600] = "";
    uint64_t bytes = weights.model.weight_bytes;
    weights.model.weight_bytes = (uint64_t)64 << 40;
    assert_int_equal(open_engine(&h, ENGINE_DEVICE_CUDA, 4, err, sizeof err), -ENOMEM);
    if (strstr(err, "does not fit into the GPU: its weights are 65536.0 GiB") == NULL ||
        strstr(err, "working memory ") == NULL ||
        strstr(err, "keys and values 128 bytes per token") == NULL ||
        strstr(err, "there are 16.0 GiB of memory, which leaves room for 0 tokens") == NULL)
        fail_msg("'%s'", err);
    harness_finish(&h);
    assert_int_equal(open_engine(&h, ENGINE_DEVICE_CPU, 4, err, sizeof err), -E2BIG);
    assert_non_null(strstr(err, "does not fit into this machine: "));
    harness_finish(&h);
    weights.model.weight_bytes = bytes;
}

/* Working memory counts: a machine that has just the weights and a page has no room for it. */
static void test_scratch_counts(void **state) {
    (void)state;
    struct fit f;
    const struct model *m = &weights.model;
    uint64_t scratch = fit_scratch_bytes(m, DTYPE_F16), page = forward_page_bytes(m, DTYPE_F16);
    /* h and up alone */
    assert_true(scratch > (uint64_t)CPU_STEP_ROWS * 64 * 4 * 2);
    fit_of(m, DTYPE_F16, m->weight_bytes + scratch + page - 1, scratch, &f);
    assert_false(f.fits);
    fit_of(m, DTYPE_F16, m->weight_bytes + scratch + page, scratch, &f);
    assert_true(f.fits);
    assert_int_equal(f.left_bytes, page);
    assert_int_equal(f.kv_limit_bytes, page < f.memory_bytes / 4 ? page : f.memory_bytes / 4);
}

static int setup(void **state) {
    (void)state;
    random_engine_init(&weights, &shape, CONTEXT);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    random_engine_finish(&weights);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_device_says),
        cmocka_unit_test(test_many_rows_on_a_gpu),
        cmocka_unit_test(test_what_does_not_fit_is_refused_with_the_numbers),
        cmocka_unit_test(test_scratch_counts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
