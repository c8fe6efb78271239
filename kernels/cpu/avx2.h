/* What the files of the AVX2 products share. Private to kernels/cpu/; included by files compiled for x86-64
 * only. */
#ifndef KERNELS_CPU_AVX2_H
#define KERNELS_CPU_AVX2_H

#include "kernels/cpu/ops.h"

#include <immintrin.h>

#define AVX2_TARGET __attribute__((target("avx2,fma,f16c")))
#define AVX2_INLINE static inline __attribute__((always_inline)) AVX2_TARGET

/* Before a loop over the parts of a tile: its sums stay in registers only when every index is known. Not
 * where every load is checked: that would compile for minutes. */
#if defined(__SANITIZE_ADDRESS__)
#define AVX2_UNROLL _Pragma("GCC unroll 1")
#else
#define AVX2_UNROLL _Pragma("GCC unroll 16")
#endif

/* After an addition to one of a tile's sums: the compiler neither changes the order nor puts off additions,
 * for which it would keep all products, in more registers than there are. */
#define AVX2_KEEP(v) __asm__("" : "+x"(v))

/* Inputs as CPU_Q8_ROW, quantised types: avx2_bytes.c. */
void avx2_product_q8(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
                     int k, float *out, size_t out_stride);
/* The same of rows that lie side by side: avx2_packed.c. */
void avx2_packed_q8(enum dtype type, const void *w, int first, int n_rows, const void *x, size_t x_stride,
                    int n_cols, int k, float *out, size_t out_stride);
/* Inputs in F32, types without blocks, of rows that lie side by side: avx2_floats.c. */
void avx2_product_packed_floats(enum dtype type, const void *w, int first, int n_rows, const void *x,
                                size_t x_stride, int n_cols, int k, float *out, size_t out_stride);

#endif
