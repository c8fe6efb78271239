/* The CPU as a device: a plain C oracle and a fast one, both behind the table of kernels/kernels.h. */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "kernels/kernels.h"

/* The oracle: one thread, plain loops, sums in double. All others are checked against it. */
HX_MUST_CHECK int cpu_reference_open(const struct kernels_config *config, struct kernels_device **out,
                                     char *err, size_t errlen);

/* The fast one: own thread pool; isa: the instruction set ("portable", "avx2", "avx512"), which tests and
 * benchmarks ask for, or NULL: the best this CPU has. -ENOTSUP when it lacks it.
 * With config.exact, products are F32 throughout. Otherwise activations that meet weights of a quantised type
 * are rounded to 8 bits in blocks of 32 (scale = largest magnitude / 127), as ggml does: of normally
 * distributed ones by 0.5 % of their norm. For the K types ggml takes blocks of 256, and so does "avx2",
 * which gains from it: 0.7 %. FP8 weights are decoded, and their activations are never rounded. */
HX_MUST_CHECK int cpu_open(const struct kernels_config *config, const char *isa, struct kernels_device **out,
                           char *err, size_t errlen);

/* Rows of a step with which a prompt is read as fast as it can be: more gain nothing. */
#define CPU_STEP_ROWS 256

/* Bytes that the fast device takes at most beside weights, keys and values; only what its batches have used
 * is in memory. [any-thread] */
size_t cpu_scratch_bytes(const struct kernels_config *config);

#endif
