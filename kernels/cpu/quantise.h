/* Numbers to stored elements: how weights become a file of another type. Plain C, the reverse of
 * convert_row(). [any-thread]
 *
 * F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 give the bytes of ggml's reference quantisers (ggml-quants.c,
 * quantize_row_*_ref; the same in the Python package gguf, quants.py). Q4_K, Q5_K and Q6_K have no such rule,
 * any scales are valid: here each group takes, of some steps near the one its range asks for, the scale and
 * minimum of least squares with weights rms + |x| (as ggml weighs them), and after rounding both to 6 (8)
 * bits the best neighbour. */
#ifndef KERNELS_CPU_QUANTISE_H
#define KERNELS_CPU_QUANTISE_H

#include "kernels/tensor.h"

#include <stdbool.h>
#include <stdint.h>

/* True for the types that quantise_row() writes: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K,
 * Q6_K. */
bool quantise_knows(enum dtype type);
/* row = x[0 … n-1] as `type`; finite numbers, n a whole number of blocks. */
void quantise_row(enum dtype type, const float *x, int64_t n, void *row);

#endif
