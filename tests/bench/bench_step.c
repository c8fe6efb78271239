/* What a step costs around the device: the engine with a device that does nothing for 0.3 ms (hollow.c) and
 * notes how long the engine then takes until it waits for the next step: taking tokens and text apart, events
 * to the thread that asked, choosing the rows, page tables, what each output wants.
 *
 *   bench_step MODULE MODEL [TOKENS]     MODEL lends tokenizer and shape
 *
 * Prints microseconds per step for 1, 16 and 64 sessions, greedy and sampled. What the CUDA device itself
 * does on the host (uploads, the launch of a graph) is not in it. */
#include "tests/bench/hollow.h"

#include "engine/local.h"
#include "engine/model.h"
#include "tests/engine/harness.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROMPT 256

static int (*idle_of)(double *, int);

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* `n` sessions that write `tokens` each, together. */
static void run(struct harness *h, int n, int tokens, const struct engine_sampling *how, int n_vocab,
                int salt) {
    static double us[HOLLOW_STEPS];
    struct engine_session *s[HARNESS_SESSIONS];
    int32_t ids[PROMPT];
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < PROMPT; j++)
            ids[j] = (int32_t)(((unsigned)j * 2654435761u + (unsigned)(salt * 64 + i) * 40503u) %
                               (unsigned)n_vocab);
        s[i] = harness_session(h);
        harness_append_tokens(s[i], ids, PROMPT);
        harness_generate(h, s[i], how, 1);
    }
    for (int i = 0; i < n; i++)
        harness_wait(h, s[i]);
    (void)idle_of(us, HOLLOW_STEPS);
    for (int i = 0; i < n; i++)
        harness_generate(h, s[i], how, tokens);
    for (int i = 0; i < n; i++)
        if (harness_wait(h, s[i])->n_tokens != tokens)
            abort(); /* it would be the time of fewer steps */
    int steps = idle_of(us, HOLLOW_STEPS);
    for (int i = 0; i < n; i++)
        harness_destroy(h, s[i]);
    qsort(us + 1, (size_t)steps - 1, sizeof *us, by_value); /* the first one waited for somebody to ask */
    printf("%2d sessions, %-7s: %6.1f us a step, 99 of 100 at most %6.1f (%d steps)\n", n,
           how == NULL ? "greedy" : "sampled", us[steps / 2], us[1 + (steps - 2) * 99 / 100], steps);
}

int main(int argc, char **argv) {
    static const int sessions[] = {1, 16, 64};
    const struct engine_sampling sampled = {
        .temperature = 0.7f, .top_p = 0.95f, .top_k = 40, .repeat_penalty = 1.1f, .seed = 1};
    int tokens = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 1000, salt = 0;
    struct harness h;
    struct model *m = NULL;
    char err[300] = "";
    if (argc < 3 || tokens < 2) {
        (void)fprintf(stderr, "usage: bench_step MODULE MODEL [TOKENS]\n");
        return 2;
    }
    void *module = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    void *symbol = module != NULL ? dlsym(module, "hollow_idle") : NULL;
    if (symbol == NULL) {
        (void)fprintf(stderr, "bench_step: %s is not hollow.so\n", argv[1]);
        return 1;
    }
    memcpy(&idle_of, &symbol, sizeof idle_of);
    harness_init(&h);
    const struct engine_config config = {.device = ENGINE_DEVICE_CUDA,
                                         .gpu_module = argv[1],
                                         .max_context = 8192,
                                         .kv_bytes = (size_t)1 << 30,
                                         .max_sessions = 64,
                                         .wake = harness_wake,
                                         .wake_arg = &h};
    int rc = model_open(argv[2], &m, err, sizeof err);
    if (rc == 0) {
        m->n_eog_ids = 0; /* every run is to its full length */
        rc = local_open_model(&config, m, false, &h.engine, err, sizeof err);
    }
    if (rc < 0) {
        (void)fprintf(stderr, "bench_step: %s\n", err);
        return 1;
    }
    for (size_t i = 0; i < sizeof sessions / sizeof sessions[0]; i++)
        for (int k = 0; k < 2; k++)
            run(&h, sessions[i], tokens, k == 0 ? NULL : &sampled, m->n_vocab, salt++);
    harness_finish(&h);
    model_close(m);
    return 0;
}
