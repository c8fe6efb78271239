/* What `hermesd bench` prints. With --json, one object per line:
 *
 *   of --membw and --peak: {"threads": N, "read_gb_per_s": …, "f32_gflop_per_s": …, "int8_gop_per_s": …}, of
 *   these what was asked for; int8 is null where no instruction is known.
 *
 *   of a test:
 *     test         "pp512", "tg128", "tg128 @ d4096"
 *     prompt, new, depth, batch        what the name says, and sessions that decode at once
 *     model, path, format, type        name, file, container, element type of the first matrix
 *     parameters, weight_bytes         of the model
 *     device, kv_type                  "cpu (avx2, 2 threads)"; what keys and values are kept in
 *     tokens, seconds                  tokens of one repetition; the seconds of each, in order
 *     tokens_per_s, tokens_per_s_deviation
 *                                      mean and sample standard deviation of tokens / seconds
 *     gb_per_s, gflop_per_s            bytes that must be read, and operations, at that speed (10^9)
 *     percent_of_read, percent_of_peak of the limits; null for a GPU, whose limits are not measured
 *     peak         which limit: "int8" for quantised weights, whose activations are rounded to 8 bits,
 *                  "f32" for others
 *     limits       {"read_gb_per_s", "f32_gflop_per_s", "int8_gop_per_s"}, or null; what is read is the mean
 *                  of before and behind the test */
#ifndef ENGINE_CLI_BENCH_PRINT_H
#define ENGINE_CLI_BENCH_PRINT_H

#include "base/buf.h"
#include "engine/bench.h"

#include <stdbool.h>

/* Bytes and operations per second; 0: not measured, or nothing known. */
struct bench_limits {
    double read, f32, int8;
};

struct bench_report {
    const struct model *model;
    const char *device;
    enum dtype kv_type;
    bool gpu;
    struct bench_limits limits;
};

/* Each appends to `out`: 0, -ENOBUFS or -ENOMEM. */
HX_MUST_CHECK int bench_print_limits(const struct bench_limits *limits, int n_threads, bool json,
                                     struct buf *out);
HX_MUST_CHECK int bench_print_head(const struct bench_report *r, struct buf *out);
HX_MUST_CHECK int bench_print_test(const struct bench_report *r, const struct bench_test *t,
                                   const struct bench_result *result, bool json, struct buf *out);

#endif
