/* What a further row costs in a step whose rows all give a token: the price of a guessed one.
 *
 *   bench_rows -m FILE [-t THREADS] [-p PROMPT] [-x RUNS]
 *
 * Prints the median time of a step of 1, 2, 4, 8 and 16 rows behind a prompt of so many tokens (512), what
 * each row more took of a step's time, and how often a guess must come true so that guessing as many as pay
 * is not slower. */
#include "base/clock.h"
#include "engine/forward.h"
#include "engine/model.h"
#include "engine/speculate.h"

#include <stdio.h>
#include <stdlib.h>
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
        (void)fprintf(stderr, "bench_rows: %s\n", err);
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

int main(int argc, char **argv) {
    const char *file = NULL;
    int threads = 0, prompt = 512, runs = 21, c;
    char err[300] = "";
    while ((c = getopt(argc, argv, "m:t:p:x:")) != -1) {
        file = c == 'm' ? optarg : file;
        threads = c == 't' ? (int)strtol(optarg, NULL, 10) : threads;
        prompt = c == 'p' ? (int)strtol(optarg, NULL, 10) : prompt;
        runs = c == 'x' ? (int)strtol(optarg, NULL, 10) : runs;
    }
    struct model *m = NULL;
    struct forward *f = NULL;
    if (file == NULL || prompt < 1 || prompt > 4000 || runs < 1 || runs > MAX_RUNS) {
        (void)fprintf(stderr, "usage: bench_rows -m FILE [-t THREADS] [-p PROMPT] [-x RUNS]\n");
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
        (void)fprintf(stderr, "bench_rows: %s\n", err);
        return 1;
    }
    printf("%s, %s, behind %d tokens\n", m->name, forward_device(f), prompt);
    measure(f, m, prompt, runs);
    forward_close(f);
    model_close(m);
    return 0;
}
