/* What guessing tokens costs and gains.
 *
 *   bench_speculation -m FILE [-t THREADS] [-p PROMPT] [-n NEW] [-x RUNS]
 *
 * First the median time of a step of 1, 2, 4, 8 and 16 rows that each give a token, behind a prompt of so
 * many tokens (512), what each row more took of a step's time, and how often a guess must come true so that
 * as many as pay are not slower. Then a greedy text of so many tokens (256) behind a prompt that repeats
 * itself, with and without guesses: the ids are the same, or it says so. */
#include "base/clock.h"
#include "engine/engine.h"
#include "engine/forward.h"
#include "engine/model.h"
#include "engine/speculate.h"
#include "tests/engine/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_RUNS 101
#define CHUNK    128
#define MOST     16

static struct kernels_row rows[CHUNK];
static int32_t outputs[MOST], pages[4096 / KERNELS_PAGE_TOKENS];

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One batch of n rows from this position on; in milliseconds. */
static double run(struct forward *f, const struct model *m, int at, int n, int n_outputs) {
    char err[300] = "";
    for (int i = 0; i < n; i++)
        rows[i] = (struct kernels_row){.token = (at + i) * 7919 % m->n_vocab, .position = at + i};
    for (int i = 0; i < n_outputs; i++)
        outputs[i] = i;
    struct kernels_batch batch = {.rows = rows,
                                  .n_rows = n,
                                  .pages = pages,
                                  .pages_stride = 4096 / KERNELS_PAGE_TOKENS,
                                  .outputs = outputs,
                                  .n_outputs = n_outputs};
    uint64_t from = clock_mono_ns();
    if (forward_run(f, &batch, err, sizeof err) != 0) {
        (void)fprintf(stderr, "bench_speculation: %s\n", err);
        exit(1);
    }
    return (double)(clock_mono_ns() - from) / 1e6;
}

/* The chance from which on a step with guesses gives more tokens in the time. */
static double even(double one, double more) {
    struct speculate_cost cost = {.one_ns = one * 1e6, .more_ns = more * 1e6};
    for (double chance = 0; chance < 1; chance += 0.01)
        if (speculate_choose(&cost, 0, chance, 0, SPECULATE_ROWS) > 0)
            return chance;
    return 1;
}

static void measure(struct forward *f, const struct model *m, int prompt, int runs) {
    double one = 0;
    for (int at = 0; at < prompt; at += CHUNK)
        (void)run(f, m, at, prompt - at < CHUNK ? prompt - at : CHUNK, 0);
    for (int n = 1; n <= MOST; n *= 2) {
        double ms[MAX_RUNS];
        (void)run(f, m, prompt, n, n);
        for (int i = 0; i < runs; i++)
            ms[i] = run(f, m, prompt, n, n);
        qsort(ms, (size_t)runs, sizeof *ms, by_value);
        double median = ms[runs / 2];
        one = n == 1 ? median : one;
        if (n == 1)
            printf("%2d row   %8.3f ms\n", n, median);
        else
            printf("%2d rows  %8.3f ms, each row more %.2f of a step; pays above a chance of %.2f\n", n,
                   median, (median - one) / (n - 1) / one, even(one, (median - one) / (n - 1)));
    }
}

/* A block of tokens again and again. */
static void fill(int32_t *ids, int n, int n_vocab) {
    for (int i = 0; i < n; i++)
        ids[i] = (i % 48 + 1) * 7919 % n_vocab;
}

struct text {
    int32_t *ids;
    int n;
    double per_s;
    int drafted, accepted;
};

static struct text generate(struct harness *h, const int32_t *ids, int prompt, int n, bool guess) {
    char err[300] = "";
    struct engine_session *s = harness_session(h);
    struct engine_generate how = {.max_tokens = n, .no_speculation = !guess};
    harness_append_tokens(s, ids, (size_t)prompt);
    if (engine_session_generate(s, &how, err, sizeof err) != 0) {
        (void)fprintf(stderr, "bench_speculation: %s\n", err);
        exit(1);
    }
    struct outcome *o = harness_wait(h, s);
    struct text t = {.ids = o->tokens,
                     .n = o->n_tokens,
                     .per_s = (o->n_tokens - 1) / (o->last.decode_ms / 1e3),
                     .drafted = o->last.drafted_tokens,
                     .accepted = o->last.accepted_tokens};
    o->tokens = NULL;
    harness_destroy(h, s);
    return t;
}

static void compare(const char *file, int threads, int prompt, int n, int runs) {
    struct harness h;
    struct engine_info info;
    char err[300] = "";
    int32_t ids[4096];
    double with[MAX_RUNS], without[MAX_RUNS];
    struct engine_config config = {.weights_first = true,
                                   .model_path = file,
                                   .n_threads = threads,
                                   .max_context = 8192,
                                   .wake = harness_wake,
                                   .wake_arg = &h};
    harness_init(&h);
    if (engine_open(&config, &h.engine, err, sizeof err) != 0) {
        (void)fprintf(stderr, "bench_speculation: %s\n", err);
        exit(1);
    }
    engine_info(h.engine, &info);
    fill(ids, prompt, info.n_vocab);
    struct text a = {0};
    bool same = true;
    for (int i = 0; i < runs; i++) {
        struct text b = generate(&h, ids, prompt, n, false);
        free(a.ids);
        a = generate(&h, ids, prompt, n, true);
        same = same && a.n == b.n && memcmp(a.ids, b.ids, (size_t)a.n * sizeof *a.ids) == 0;
        with[i] = a.per_s;
        without[i] = b.per_s;
        free(b.ids);
    }
    free(a.ids);
    qsort(with, (size_t)runs, sizeof *with, by_value);
    qsort(without, (size_t)runs, sizeof *without, by_value);
    printf(
        "%d greedy tokens: %.1f tokens/s with guesses, %.1f without; %d of %d guesses came true; the ids are "
        "%s\n",
        a.n, with[runs / 2], without[runs / 2], a.accepted, a.drafted, same ? "the same" : "NOT THE SAME");
    harness_finish(&h);
}

int main(int argc, char **argv) {
    const char *file = NULL;
    int threads = 0, prompt = 512, n = 256, runs = 5, c;
    char err[300] = "";
    while ((c = getopt(argc, argv, "m:t:p:n:x:")) != -1) {
        file = c == 'm' ? optarg : file;
        threads = c == 't' ? (int)strtol(optarg, NULL, 10) : threads;
        prompt = c == 'p' ? (int)strtol(optarg, NULL, 10) : prompt;
        n = c == 'n' ? (int)strtol(optarg, NULL, 10) : n;
        runs = c == 'x' ? (int)strtol(optarg, NULL, 10) : runs;
    }
    struct model *m = NULL;
    struct forward *f = NULL;
    if (file == NULL || prompt < 1 || prompt > 4000 || n < 2 || n > 4000 || runs < 1 || runs > MAX_RUNS) {
        (void)fprintf(stderr,
                      "usage: bench_speculation -m FILE [-t THREADS] [-p PROMPT] [-n NEW] [-x RUNS]\n");
        return 2;
    }
    for (int i = 0; i < 4096 / KERNELS_PAGE_TOKENS; i++)
        pages[i] = i;
    struct forward_config config = {.max_rows = CHUNK,
                                    .max_outputs = MOST,
                                    .max_context = 4096,
                                    .n_pages = 4096 / KERNELS_PAGE_TOKENS,
                                    .kv_type = DTYPE_F16,
                                    .n_threads = threads};
    if (model_open(file, &m, err, sizeof err) != 0 || forward_open(m, &config, &f, err, sizeof err) != 0) {
        (void)fprintf(stderr, "bench_speculation: %s\n", err);
        return 1;
    }
    printf("%s, %s, behind %d tokens\n", m->name, forward_device(f), prompt);
    measure(f, m, prompt, runs);
    forward_close(f);
    model_close(m);
    compare(file, threads, prompt, n, runs);
    return 0;
}
