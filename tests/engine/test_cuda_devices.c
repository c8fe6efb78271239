/* Whole models that two emulated GPUs share: the default model's logits against the CPU, the engine's tokens
 * against those of one GPU, and what `model logits` and the memory plan say of several. */
#include "engine/cli_logits.h"
#include "engine/fit.h"
#include "engine/forward.h"
#include "engine/local.h"
#include "engine/split.h"
#include "tests/engine/forward_steps.h"
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

#define MODEL "models/hermes-tiny.gguf"
#define GPUS  "3" /* of the emulated machine */
/* Sums in F32 in other orders; logits span about -20 to 20. */
#define BOUND 2e-4

static const struct gpus two = {.n = 2, .ids = {2, 0}};

static const char *module_path(void) {
    static char path[4096];
    const char *build = getenv("HERMESD_BINARY_DIR");
    (void)snprintf(path, sizeof path, "%s/lib/hermes-cuda-emulated.so", build != NULL ? build : "build/dev");
    return path;
}

static struct model *open_model(void) {
    struct model *m = NULL;
    char err[400] = "";
    if (model_open_weights(MODEL, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    return m;
}

/* ---- the forward pass ---- */

#define N_PROMPT 20
#define STEPS    12

static struct forward *open_forward(const struct model *m, const char *module) {
    const struct forward_config config = {.max_rows = N_PROMPT,
                                          .max_outputs = 1,
                                          .max_context = 64,
                                          .n_pages = 1,
                                          .kv_type = DTYPE_F32,
                                          .n_threads = 1,
                                          .exact = true,
                                          .gpu_module = module,
                                          .gpus = two};
    struct forward *f = NULL;
    char err[400] = "";
    if (forward_open(m, &config, &f, err, sizeof err) < 0)
        fail_msg("%s", err);
    return f;
}

static const float *run(struct forward *f, const int32_t *tokens, int first, int n) {
    static const int32_t page = 0;
    struct kernels_row rows[N_PROMPT];
    const int32_t output = n - 1;
    char err[400] = "";
    for (int i = 0; i < n; i++)
        rows[i] = (struct kernels_row){.token = tokens[first + i], .position = first + i};
    const struct kernels_batch batch = {
        .rows = rows, .n_rows = n, .pages = &page, .pages_stride = 1, .outputs = &output, .n_outputs = 1};
    if (forward_run(f, &batch, err, sizeof err) < 0)
        fail_msg("%s", err);
    return forward_logits(f, 0);
}

static void test_the_default_model(void **state) {
    (void)state;
    struct model *m = open_model();
    struct forward *cpu = open_forward(m, NULL), *gpus = open_forward(m, module_path());
    int32_t tokens[N_PROMPT + STEPS + 1];
    double worst = 0;
    assert_string_equal(forward_device(gpus), "cuda (emulated), 2 GPUs");
    for (int i = 0; i < N_PROMPT; i++)
        tokens[i] = (i * 31 + 5) % m->n_vocab;
    for (int step = 0; step <= STEPS; step++) {
        int first = step == 0 ? 0 : N_PROMPT + step - 1, n = step == 0 ? N_PROMPT : 1;
        const float *want = run(cpu, tokens, first, n), *got = run(gpus, tokens, first, n);
        for (int i = 0; i < m->n_vocab; i++)
            worst = fmax(worst, fabs((double)want[i] - (double)got[i]));
        tokens[first + n] = forward_steps_largest(want, m->n_vocab);
        assert_int_equal(forward_steps_largest(got, m->n_vocab), tokens[first + n]);
    }
    print_message("2 GPUs: a logit differs from the CPU's by at most %.2g, bound %g\n", worst, BOUND);
    assert_true(worst <= BOUND);
    forward_close(cpu);
    forward_close(gpus);
    model_close(m);
}

/* ---- the engine ---- */

#define TOKENS 24

static const struct random_shape shape = {.n_layers = 2,
                                          .n_heads = 4,
                                          .n_kv_heads = 2,
                                          .head_dim = 16,
                                          .dim = 64,
                                          .ffn_dim = 96,
                                          .n_vocab = 61,
                                          .type = DTYPE_F32,
                                          .seed = 6};

/* Greedy and drawn tokens of two sessions, one after the other. */
static void generate(struct model *m, const struct gpus *gpus, const char *device, int32_t out[2][TOKENS]) {
    const struct engine_sampling ways[] = {{.repeat_penalty = 1},
                                           {.temperature = 0.9f, .top_k = 30, .seed = 5}};
    struct harness h;
    struct engine_info info;
    char err[400] = "";
    harness_init(&h);
    const struct engine_config config = {.device = ENGINE_DEVICE_CUDA,
                                         .gpu_module = module_path(),
                                         .gpus = *gpus,
                                         .max_context = 256,
                                         .max_sessions = 2,
                                         .kv_bytes = (size_t)1 << 20,
                                         .wake = harness_wake,
                                         .wake_arg = &h};
    if (local_open_model(&config, m, true, &h.engine, err, sizeof err) < 0)
        fail_msg("%s", err);
    engine_info(h.engine, &info);
    assert_string_equal(info.device, device);
    for (int i = 0; i < 2; i++) {
        struct engine_session *s = harness_session(&h);
        int32_t ids[70];
        for (int k = 0; k < 70; k++)
            ids[k] = (k * 17 + 3) % m->n_vocab;
        harness_append_tokens(s, ids, 70);
        harness_generate(&h, s, &ways[i], TOKENS);
        struct outcome *o = harness_wait(&h, s);
        assert_int_equal(o->n_tokens, TOKENS);
        memcpy(out[i], o->tokens, sizeof out[i]);
        harness_destroy(&h, s);
    }
    harness_finish(&h);
}

static void test_the_engine(void **state) {
    (void)state;
    struct random_engine r;
    int32_t one[2][TOKENS], both[2][TOKENS];
    const struct gpus second = {.n = 1, .ids = {1}};
    random_engine_init(&r, &shape, 256);
    generate(&r.model, &second, "cuda (emulated)", one);
    generate(&r.model, &two, "cuda (emulated), 2 GPUs", both);
    assert_memory_equal(one, both, sizeof one);
    random_engine_finish(&r);
}

static void test_gpus_that_are_not_there(void **state) {
    (void)state;
    struct random_engine r;
    struct engine *e = NULL;
    struct engine_info info;
    char err[400] = "";
    random_engine_init(&r, &shape, 256);
    struct engine_config config = {.device = ENGINE_DEVICE_CUDA,
                                   .gpu_module = module_path(),
                                   .gpus = {.n = 2, .ids = {0, 3}},
                                   .kv_bytes = (size_t)1 << 20};
    assert_int_equal(local_open_model(&config, &r.model, true, &e, err, sizeof err), -ENODEV);
    assert_string_equal(err, "There is no GPU 3; the emulator has 3, from 0 on.");
    config.gpus.ids[1] = 1;
    config.gpus.ids[2] = 2;
    config.gpus.n = 3;
    assert_int_equal(local_open_model(&config, &r.model, true, &e, err, sizeof err), -ENOTSUP);
    assert_string_equal(err, "3 GPUs cannot share the model's 2 key and value heads.");
    config.device = ENGINE_DEVICE_AUTO;
    assert_int_equal(local_open_model(&config, &r.model, true, &e, err, sizeof err), 0);
    engine_info(e, &info);
    assert_non_null(strstr(info.device, "cpu"));
    assert_string_equal(info.no_gpu, "3 GPUs cannot share the model's 2 key and value heads.");
    engine_close(e);
    random_engine_finish(&r);
}

/* ---- what people see ---- */

static void test_logits(void **state) {
    (void)state;
    static const int32_t ids[] = {1, 5, 9};
    struct buf cpu, gpus;
    char err[400] = "";
    buf_init(&cpu, 1 << 20);
    buf_init(&gpus, 1 << 20);
    if (engine_cli_logits(MODEL, ids, 3, 1, &cpu, err, sizeof err) < 0 ||
        engine_cli_logits_on(module_path(), &two, MODEL, ids, 3, 1, &gpus, err, sizeof err) < 0)
        fail_msg("%s", err);
    size_t same = 0; /* up to the digits of the logit */
    while (same < cpu.len && same < gpus.len && cpu.data[same] == gpus.data[same])
        same++;
    const char *logit = strstr(cpu.data, "\"logit\":");
    assert_non_null(logit);
    assert_true(same > (size_t)(logit - cpu.data) + 8 + 4);
    buf_clear(&gpus);
    assert_true(engine_cli_logits_on("/nonexistent.so", &two, MODEL, ids, 3, 1, &gpus, err, sizeof err) < 0);
    assert_non_null(strstr(err, "There is no GPU module at /nonexistent.so"));
    buf_finish(&cpu);
    buf_finish(&gpus);
}

/* The engine counts what the plan counts. */
static void test_weights_of_several(void **state) {
    (void)state;
    struct model *m = open_model();
    struct split s;
    char err[400] = "";
    assert_int_equal(fit_weight_bytes(m, 1), m->weight_bytes);
    assert_int_equal(split_of(m, 2, (uint64_t)80 << 30, &s, err, sizeof err), 0);
    uint64_t planned = 2 * (s.cut_bytes + s.whole_bytes), counted = fit_weight_bytes(m, 2);
    assert_true(planned >= counted && planned - counted < 2);
    model_close(m);
}

int main(void) {
    (void)setenv("EMULATOR_GPUS", GPUS, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_default_model),       cmocka_unit_test(test_the_engine),
        cmocka_unit_test(test_gpus_that_are_not_there), cmocka_unit_test(test_logits),
        cmocka_unit_test(test_weights_of_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
