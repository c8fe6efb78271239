/* What the x86 products of quantised types are asked for, and what they know of a type when they are
 * compiled, unlike kernels/dtype.c's. Private to kernels/cpu/. The layouts of the blocks:
 * kernels/cpu/blocks.c. */
#ifndef KERNELS_CPU_X86_BLOCKS_H
#define KERNELS_CPU_X86_BLOCKS_H

#include "kernels/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define X86_INLINE static inline __attribute__((always_inline))

/* As cpu_product_fn has them. */
struct x86_job {
    const uint8_t *w;
    size_t row_bytes;
    const char *x;
    size_t x_stride;
    int n_cols, k;
    float *out;
    size_t out_stride;
};

/* Groups of 16 elements instead of 32. */
X86_INLINE bool x86_by_16(enum dtype type) {
    return type == DTYPE_Q2_K || type == DTYPE_Q3_K || type == DTYPE_Q6_K;
}

/* Blocks of 32 elements instead of 256. */
X86_INLINE bool x86_is_small(enum dtype type) {
    return type == DTYPE_Q8_0 || type == DTYPE_Q4_0 || type == DTYPE_Q4_1 || type == DTYPE_Q5_0 ||
           type == DTYPE_Q5_1;
}

/* Bytes of 256 elements. */
X86_INLINE size_t x86_super_bytes(enum dtype type) {
    switch (type) {
    case DTYPE_Q8_0:
        return 8 * 34;
    case DTYPE_Q4_0:
        return 8 * 18;
    case DTYPE_Q4_1:
        return 8 * 20;
    case DTYPE_Q5_0:
        return 8 * 22;
    case DTYPE_Q5_1:
        return 8 * 24;
    case DTYPE_Q2_K:
        return 84;
    case DTYPE_Q3_K:
        return 110;
    case DTYPE_Q4_K:
        return 144;
    case DTYPE_Q5_K:
        return 176;
    default: /* Q6_K */
        return 210;
    }
}

#endif
