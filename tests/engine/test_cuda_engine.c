/* The engine on the emulated GPU: the tokens that the CPU writes. Also what it does without a GPU. */
#include "engine/local.h"
#include "tests/engine/cuda_module.h"
#include "tests/engine/forward_steps.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"
#include "tests/shared.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TOKENS   5 /* of the engine: it waits for each with a time limit */
#define N_PROMPT 24
/* A real GPU's exponential and division are approximate. */
#define REAL_BOUND 1e-2

/* ---- the engine ---- */

static void open_engine(struct harness *h, struct model *m, enum engine_device device, const char *module) {
    const struct engine_config config = {.device = device,
                                         .gpu_module = module,
                                         .n_threads = 1,
                                         .max_context = 256,
                                         .max_sessions = 2,
                                         .kv_bytes = (size_t)8 << 20,
                                         .wake = harness_wake,
                                         .wake_arg = h};
    char err[400] = "";
    harness_init(h);
    if (local_open_model(&config, m, true, &h->engine, err, sizeof err) < 0)
        fail_msg("%s", err);
}

/* `how` NULL: greedy. */
static void generate(struct model *m, enum engine_device device, const char *device_name,
                     const struct engine_sampling *how, int32_t out[TOKENS]) {
    struct harness h;
    open_engine(&h, m, device, cuda_module_path());
    struct engine_info info;
    engine_info(h.engine, &info);
    assert_non_null(strstr(info.device, device_name));
    assert_null(info.no_gpu);
    struct engine_session *s = harness_session(&h);
    int32_t ids[N_PROMPT];
    for (int i = 0; i < N_PROMPT; i++)
        ids[i] = (i * 17 + 3) % m->n_vocab;
    harness_append_tokens(s, ids, N_PROMPT);
    harness_generate(&h, s, how, TOKENS);
    struct outcome *o = harness_wait(&h, s);
    assert_int_equal(o->n_tokens, TOKENS);
    memcpy(out, o->tokens, TOKENS * sizeof *out);
    harness_finish(&h);
}

static void test_stories(void **state) {
    (void)state;
    struct model *m = NULL;
    char err[400] = "", path[4096];
    if (model_open_weights(shared_path(path, "models/stories260K/derived/stories260K-f32.gguf"), &m, err,
                           sizeof err) < 0)
        fail_msg("%s", err);
    m->n_eog_ids = 0; /* so that it goes on for all steps */
    m->add_bos = false;
    int32_t cpu[TOKENS], gpu[TOKENS];
    const struct engine_sampling drawn = {
        .temperature = 0.9f, .top_k = 30, .repeat_penalty = 1.1f, .seed = 5};
    for (int i = 0; i < 2; i++) {
        generate(m, ENGINE_DEVICE_CPU, "cpu", i == 0 ? NULL : &drawn, cpu);
        generate(m, ENGINE_DEVICE_CUDA, "cuda (emulated)", i == 0 ? NULL : &drawn, gpu);
        assert_memory_equal(cpu, gpu, sizeof cpu);
    }
    model_close(m);
}

/* ---- guessed tokens ---- */

#define GUESSED 40 /* tokens of a generation */

/* One generation from a prompt in which much stands twice; its last event in *last. */
static void generate_with_guesses(struct harness *h, const struct engine_generate *how, int32_t *out,
                                  struct engine_event *last) {
    char err[300] = "";
    int32_t ids[N_PROMPT];
    struct engine_session *s = harness_session(h);
    for (int i = 0; i < N_PROMPT; i++)
        ids[i] = i % 7;
    harness_append_tokens(s, ids, N_PROMPT);
    if (engine_session_generate(s, how, err, sizeof err) != 0)
        fail_msg("%s", err);
    struct outcome *o = harness_wait(h, s);
    assert_int_equal(o->n_tokens, GUESSED);
    memcpy(out, o->tokens, GUESSED * sizeof *out);
    *last = o->last;
    harness_destroy(h, s);
}

/* Where the GPU chooses the tokens, guessed rows are among them: each with the random number and the history
 * of its place, so that the text is the one without guesses. */
static void test_guesses(void **state) {
    (void)state;
    const struct random_shape shape = {.n_layers = 1,
                                       .n_heads = 2,
                                       .n_kv_heads = 1,
                                       .head_dim = 16,
                                       .dim = 32,
                                       .ffn_dim = 64,
                                       .n_vocab = 40,
                                       .type = DTYPE_F32,
                                       .seed = 6};
    struct random_engine r;
    struct harness h;
    random_engine_init(&r, &shape, 256);
    random_engine_calm(&r, &shape);
    open_engine(&h, &r.model, ENGINE_DEVICE_CUDA, cuda_module_path());
    ((struct local_engine *)(void *)h.engine)->always_guess = 4;
    const struct engine_sampling ways[] = {
        {.repeat_penalty = 1.02f},
        {.temperature = 0.5f, .seed = 3},
        {.temperature = 0.9f, .top_k = 2, .repeat_penalty = 1.02f, .seed = 4}};
    int accepted = 0, wrong = 0;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct engine_generate how = {.sampling = ways[i], .max_tokens = GUESSED};
        struct engine_event last;
        int32_t with[GUESSED], without[GUESSED];
        generate_with_guesses(&h, &how, with, &last);
        accepted += last.accepted_tokens;
        wrong += last.drafted_tokens - last.accepted_tokens;
        how.no_speculation = true;
        generate_with_guesses(&h, &how, without, &last);
        assert_memory_equal(with, without, sizeof with);
    }
    print_message("of the guesses %d came true and %d did not\n", accepted, wrong);
    assert_true(accepted >= 6 && wrong >= 6);
    harness_finish(&h);
    random_engine_finish(&r);
}

/* auto takes the CPU and says why; cuda is refused with the reason. */
static void test_without_a_gpu(void **state) {
    (void)state;
    struct harness h;
    struct model *m = NULL;
    struct engine *e = NULL;
    struct engine_info info;
    char err[400] = "";
    static const char *const broken[] = {"/nonexistent/hermes-cuda.so", "README.md"};
    if (model_open_weights("models/hermes-tiny.gguf", &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    for (int i = 0; i < 2; i++) {
        open_engine(&h, m, ENGINE_DEVICE_AUTO, broken[i]);
        engine_info(h.engine, &info);
        assert_non_null(strstr(info.device, "cpu"));
        assert_non_null(info.no_gpu);
        assert_non_null(strstr(info.no_gpu, broken[i]));
        harness_finish(&h);
        const struct engine_config config = {.device = ENGINE_DEVICE_CUDA, .gpu_module = broken[i]};
        assert_int_equal(local_open_model(&config, m, true, &e, err, sizeof err), i == 0 ? -ENOENT : -ENODEV);
        assert_non_null(strstr(err, broken[i]));
    }
    const struct engine_config none = {.device = ENGINE_DEVICE_CUDA};
    assert_int_equal(local_open_model(&none, m, true, &e, err, sizeof err), -ENOENT);
    assert_non_null(strstr(err, "no CUDA module"));
    assert_null(e);
    model_close(m);
}

/* The same on the GPU of another module. */
static void check_on(const char *path, const char *module) {
    struct model *m = NULL;
    char err[400] = "";
    if (model_open_weights(path, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    forward_steps_check(m, path, module, true, FORWARD_STEPS, REAL_BOUND);
    model_close(m);
}

/* The module for a real GPU, where it was built: it loads without a driver and says what is missing; where
 * there is a GPU, the default model runs on it. */
static void test_the_real_module(void **state) {
    (void)state;
    char path[4096], err[400] = "";
    const char *build = getenv("HERMESD_BINARY_DIR");
    (void)snprintf(path, sizeof path, "%s/lib/hermes-cuda.so", build != NULL ? build : "build/dev");
    if (access(path, R_OK) != 0) {
        print_message("skipped: %s was not built (there is no nvcc, or the build has sanitizers)\n", path);
        skip();
    }
    struct model *m = NULL;
    struct harness h;
    struct engine_info info;
    if (model_open_weights("models/hermes-tiny.gguf", &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    open_engine(&h, m, ENGINE_DEVICE_AUTO, path);
    engine_info(h.engine, &info);
    bool gpu = info.no_gpu == NULL;
    if (gpu)
        assert_non_null(strstr(info.device, "cuda ("));
    else if (strstr(info.no_gpu, "There is no GPU: ") == NULL)
        fail_msg("'%s'", info.no_gpu);
    print_message("%s\n", gpu ? info.device : info.no_gpu);
    harness_finish(&h);
    model_close(m);
    if (gpu)
        check_on("models/hermes-tiny.gguf", path);
}

int main(int argc, char **argv) {
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_guesses),
        cmocka_unit_test(test_without_a_gpu),
        cmocka_unit_test(test_the_real_module),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
