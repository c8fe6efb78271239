/* Blocks of quantised types to F32, in plain C: the oracle of all dot products. Layouts as ggml defines them
 * (ggml-common.h, block_q4_0 … block_q6_K); the arithmetic is that of its reference decoder, so results are
 * the same bits. [any-thread] */
#ifndef KERNELS_CPU_BLOCKS_H
#define KERNELS_CPU_BLOCKS_H

#include "kernels/tensor.h"

#include <stdint.h>

#define BLOCKS_MAX_ELEMENTS 256

/* out[0 … block_elements-1] of one block of a type with block_elements above 1; any alignment. Every bit
 * pattern is a block. */
void blocks_decode(enum dtype type, const uint8_t *block, float *out);

/* The eight 6-bit scales and eight 6-bit minima of Q4_K and Q5_K from their 12 bytes. */
void blocks_scales_k4(const uint8_t packed[12], uint8_t scales[8], uint8_t minima[8]);
/* The sixteen 6-bit scales of Q3_K, 32 taken off, from their 12 bytes. */
void blocks_scales_q3(const uint8_t packed[12], int8_t scales[16]);

#endif
