/* What the processor and its memory can do at most, measured on this machine, now: what a benchmark is
 * measured against. Each call starts its own threads at normal priority and takes well below a second; other
 * work on the machine makes the figures smaller. [any-thread] */
#ifndef KERNELS_CPU_LIMITS_H
#define KERNELS_CPU_LIMITS_H

#include "base/err.h"

#include <stddef.h>

/* Bytes per second that `n_threads` (0: one per CPU) threads read together, each from four streams at once
 * that are asked for early, in the longest vectors the processor has, over `bytes` of memory in large pages
 * where there are any: the best of `rounds`.
 * -ENOMEM, -EAGAIN when a thread cannot be started. */
HX_MUST_CHECK int limits_read(int n_threads, size_t bytes, int rounds, double *bytes_per_s, char *err,
                              size_t errlen);

/* F32 operations per second (a multiplication and an addition count as two) that the threads reach with
 * fused multiply-adds on registers alone, in the widest vectors the processor has (AVX-512, AVX2; elsewhere
 * what the compiler makes of a plain loop). Not a promise of the data sheet: clock and heat are in it.
 * -EAGAIN. */
HX_MUST_CHECK int limits_f32(int n_threads, double *flop_per_s, char *err, size_t errlen);

/* The same of products of 8-bit integers that are added up in 32 bits, with the best instruction there is
 * (AVX-512 VNNI; AVX2 in three). -ENOTSUP where we know none: then quantised weights have no limit of their
 * own. */
HX_MUST_CHECK int limits_int8(int n_threads, double *op_per_s, char *err, size_t errlen);

/* "AVX-512", "AVX2", "portable": of the F32 figure. "AVX-512 VNNI", "AVX2", "none": of the integer one. */
const char *limits_f32_name(void);
const char *limits_int8_name(void);

#endif
