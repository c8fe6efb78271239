/* What bench_gpu measures, in which order, and how long that should take on an H200. */
#ifndef TESTS_GPU_BENCH_PLAN_H
#define TESTS_GPU_BENCH_PLAN_H

#include "tests/gpu/synthetic.h"

struct bench_case {
    int rows;    /* sessions that decode; 0: a prompt */
    int context; /* positions before each; of a prompt, its tokens */
};
/* "decode batch 4, context 8192" or "prefill 512"; at most 40 bytes. */
void bench_case_name(const struct bench_case *c, char *out, size_t size);

/* A model and a part of the list. */
struct bench_entry {
    const struct synthetic_shape *shape;
    enum synthetic_formats format;
    const struct bench_case *cases;
    int n_cases;
};
/* The entries in their order: what goals are set for, then all batches and contexts, then further formats.
 * The first `needed` should have time in any case, the others get what is left of it. */
const struct bench_entry *bench_entries(bool tiny, int *n, int *needed);

#define BENCH_MAX_ROWS 64
#define BENCH_STEP_NS  (uint64_t)500000000 /* repetitions of a step, where one is shorter */

/* Bytes that one step reads, in weights and in keys and values; its floating-point operations. */
double bench_bytes(const struct kernels_model *m, const struct bench_case *c);
double bench_flop(const struct synthetic_shape *h, const struct bench_case *c);
/* Seconds that a case should take with all its repetitions: three quarters of an H200's 4.3 TB/s and half of
 * its 790 TFLOP/s. */
double bench_seconds(const struct kernels_model *m, const struct synthetic_shape *h,
                     const struct bench_case *c);
/* The same of a whole entry, the model's memory included; -1 without memory. Says what it is made of. */
double bench_reckon(const struct bench_entry *e);

#endif
