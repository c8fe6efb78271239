/* Whole models on the CUDA device, which runs on the emulated GPU: logits against the CPU, and the same
 * greedy tokens over 64 steps. Also what the engine does without a GPU. */
#include "engine/local.h"
#include "kernels/dtype.h"
#include "tests/engine/logits.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"
#include "tests/shared.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define STEPS    64
#define TOKENS   5 /* of the engine: it waits for each with a time limit */
#define N_PROMPT 24
/* Both sum in F32, in other orders; logits span about -20 to 20. */
#define BOUND 2e-4
/* As models run: both round inputs to 8 bits, and where a sum lies between two whole numbers not alike. */
#define ROUNDED_BOUND 0.3
#define ROUNDED_STEPS 8
/* A real GPU's exponential and division are approximate. */
#define REAL_BOUND 1e-2

static const char *module_path(void) {
    static char path[4096];
    const char *build = getenv("HERMESD_BINARY_DIR");
    (void)snprintf(path, sizeof path, "%s/lib/hermes-cuda-emulated.so", build != NULL ? build : "build/dev");
    return path;
}

/* ---- the forward pass ---- */

#define CONTEXT (N_PROMPT + STEPS)
#define N_PAGES ((CONTEXT + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS)

static struct forward *open_forward(const struct model *m, const char *module, bool exact) {
    const struct forward_config config = {.max_rows = N_PROMPT,
                                          .max_outputs = 2,
                                          .max_context = CONTEXT,
                                          .n_pages = N_PAGES,
                                          .kv_type = DTYPE_F32,
                                          .n_threads = 1,
                                          .exact = exact,
                                          .gpu_module = module};
    struct forward *f = NULL;
    char err[400] = "";
    if (forward_open(m, &config, &f, err, sizeof err) < 0)
        fail_msg("%s", err);
    return f;
}

/* Runs tokens first … first+n-1; the logits of the last. */
static const float *run(struct forward *f, const int32_t *tokens, int first, int n) {
    struct kernels_row rows[N_PROMPT];
    static const int32_t pages[] = {1, 0};
    assert_true(N_PAGES <= 2 && n <= N_PROMPT);
    for (int i = 0; i < n; i++)
        rows[i] = (struct kernels_row){.token = tokens[first + i], .position = first + i};
    const int32_t output = n - 1;
    const struct kernels_batch batch = {
        .rows = rows, .n_rows = n, .pages = pages, .pages_stride = 2, .outputs = &output, .n_outputs = 1};
    char err[400] = "";
    if (forward_run(f, &batch, err, sizeof err) < 0)
        fail_msg("%s", err);
    return forward_logits(f, 0);
}

/* A prompt, then greedy steps on both; after every one the logits are near and the choice is the same, or
 * with rounded inputs as good as the same. */
static void check_steps(const struct model *m, const char *name, const char *module, bool exact, int steps,
                        double bound) {
    int32_t tokens[CONTEXT + 1];
    for (int i = 0; i < N_PROMPT; i++)
        tokens[i] = (i * 31 + 5) % m->n_vocab;
    struct forward *cpu = open_forward(m, NULL, exact), *gpu = open_forward(m, module, exact);
    double worst = 0;
    for (int step = 0; step <= steps; step++) {
        int first = step == 0 ? 0 : N_PROMPT + step - 1, n = step == 0 ? N_PROMPT : 1;
        const float *want = run(cpu, tokens, first, n), *got = run(gpu, tokens, first, n);
        for (int i = 0; i < m->n_vocab; i++)
            worst = fmax(worst, fabs((double)want[i] - (double)got[i]));
        tokens[first + n] = logits_largest(want, m->n_vocab);
        int32_t chosen = logits_largest(got, m->n_vocab);
        if (exact ? chosen != tokens[first + n]
                  : (double)want[chosen] < (double)want[tokens[first + n]] - 2 * bound)
            fail_msg("%s: greedy token %d is %d on the CPU and %d on the GPU", name, step, tokens[first + n],
                     chosen);
    }
    print_message("%-24s %s: a logit differs by at most %.2g in %d steps, bound %g\n", name,
                  exact ? "exact" : "rounded", worst, steps, bound);
    assert_true(worst <= bound);
    forward_close(cpu);
    forward_close(gpu);
}

static void check_forward(const struct model *m, const char *name, const char *module, double bound) {
    check_steps(m, name, module, true, STEPS, bound);
}

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
    open_engine(&h, m, device, module_path());
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

static void check_model(const char *path, const char *name, bool engine) {
    struct model *m = NULL;
    char err[400] = "";
    if (model_open_weights(path, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    m->n_eog_ids = 0; /* so that it goes on for all steps */
    m->add_bos = false;
    check_forward(m, name, module_path(), BOUND);
    check_steps(m, name, module_path(), false, ROUNDED_STEPS, ROUNDED_BOUND);
    if (engine) {
        int32_t cpu[TOKENS], gpu[TOKENS];
        const struct engine_sampling drawn = {
            .temperature = 0.9f, .top_k = 30, .repeat_penalty = 1.1f, .seed = 5};
        for (int i = 0; i < 2; i++) {
            generate(m, ENGINE_DEVICE_CPU, "cpu", i == 0 ? NULL : &drawn, cpu);
            generate(m, ENGINE_DEVICE_CUDA, "cuda (emulated)", i == 0 ? NULL : &drawn, gpu);
            assert_memory_equal(cpu, gpu, sizeof cpu);
        }
    }
    model_close(m);
}

/* The same on the GPU of another module. */
static void check_on(const char *path, const char *name, const char *module) {
    struct model *m = NULL;
    char err[400] = "";
    if (model_open_weights(path, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    check_forward(m, name, module, REAL_BOUND);
    model_close(m);
}

static void test_default_model(void **state) {
    (void)state;
    check_model("models/hermes-tiny.gguf", "hermes-tiny.gguf", false);
}

static void test_stories(void **state) {
    (void)state;
    static const char *const files[] = {"stories260K-f32.gguf", "stories260K-q8_0.gguf"};
    char path[4096], name[128];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)snprintf(name, sizeof name, "models/stories260K/derived/%s", files[i]);
        check_model(shared_path(path, name), files[i], i == 0);
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
        random_engine_init(&r, &shape, CONTEXT);
        random_engine_set_rope(&r, true);
        check_steps(&r.model, dtype_info(shape.type)->name, module_path(), true, long_one ? STEPS : 3, BOUND);
        check_steps(&r.model, dtype_info(shape.type)->name, module_path(), false, 3, ROUNDED_BOUND);
        random_engine_finish(&r);
    }
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
    open_engine(&h, &r.model, ENGINE_DEVICE_CUDA, module_path());
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
        check_on("models/hermes-tiny.gguf", "hermes-tiny.gguf", path);
}

int main(int argc, char **argv) {
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_model), cmocka_unit_test(test_stories),
        cmocka_unit_test(test_formats),       cmocka_unit_test(test_guesses),
        cmocka_unit_test(test_without_a_gpu), cmocka_unit_test(test_the_real_module),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
