/* How fast a model is on this machine: the forward pass alone, as llama-bench measures it, so that figures
 * can be laid side by side. No tokenizer, no sampling, no journal: what a job adds to it is measured
 * elsewhere (tests/bench). One thread uses a bench; the device has its own. */
#ifndef ENGINE_BENCH_H
#define ENGINE_BENCH_H

#include "engine/model.h"
#include "kernels/gpus.h"

#define BENCH_MAX_REPETITIONS 100

/* Either `prompt` tokens of one session at once, in steps of as many rows as the daemon takes at most (pp),
 * or `new_tokens` steps of one token each in `batch` sessions that hold `depth` tokens already (tg). The
 * other one is 0. */
struct bench_test {
    int prompt, new_tokens, depth, batch;
};

struct bench_config {
    const struct model *model;      /* must outlive the bench */
    enum dtype kv_type;             /* see kernels_config */
    int n_threads;                  /* 0: one per CPU */
    const char *gpu_module;         /* NULL: the CPU */
    struct gpus gpus;               /* see forward_config */
    const struct bench_test *tests; /* that will be run: they say how much is allocated */
    int n_tests;
};

struct bench_result {
    int tokens;    /* of one repetition */
    int n_seconds; /* repetitions */
    double seconds[BENCH_MAX_REPETITIONS];
    double tokens_per_s, deviation; /* mean and sample standard deviation over the repetitions */
    /* Of one repetition: bytes that must be read from memory at least (weights once per step, keys and values
     * once per step and session; the embedding's single rows and everything written left out), and
     * operations of the products and of attention, a multiplication and an addition as two. */
    double bytes, operations;
};

/* "pp512", "tg128", "tg128 @ d4096", as llama-bench names them. Returns `out`. */
const char *bench_name(const struct bench_test *t, char out[64]);
/* Longest session of a test, in tokens. */
int bench_context(const struct bench_test *t);
/* Tokens of keys and values that a test holds at once. */
uint64_t bench_kv_tokens(const struct bench_test *t);

struct bench;

/* Opens the device for the largest of the tests. -E2BIG for a test that is longer than the model's context
 * and for a model that does not fit into the machine, -ENOMEM with the numbers for keys and values that do
 * not fit beside the weights, and a device's errors. */
HX_MUST_CHECK int bench_open(const struct bench_config *config, struct bench **out, char *err, size_t errlen);
void bench_close(struct bench *b);
/* "cpu (avx2, 2 threads)", borrowed until bench_close(). */
const char *bench_device(const struct bench *b);

/* Runs a test of the config `repetitions` times, after a short warm-up. */
HX_MUST_CHECK int bench_run(struct bench *b, const struct bench_test *t, int repetitions,
                            struct bench_result *result, char *err, size_t errlen);

#endif
