/* The AVX-512 products and attention, and what their files share. Private to kernels/cpu/; included by files
 * compiled for x86-64 only. */
#ifndef KERNELS_CPU_AVX512_H
#define KERNELS_CPU_AVX512_H

#include "kernels/cpu/convert.h"
#include "kernels/cpu/ops.h"

#include <immintrin.h>
#include <stdbool.h>

/* Defined already where something stands in for the instructions. */
#ifndef AVX512_TARGET
#define AVX512_TARGET                                                                                        \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prefer-vector-"       \
                          "width=512")))
#define AVX512_INLINE static inline __attribute__((always_inline)) AVX512_TARGET
/* Before a loop over the parts of a tile: its sums stay in registers only when every index is known. Not
 * where every load is checked: that would compile for minutes. */
#if defined(__SANITIZE_ADDRESS__)
#define AVX512_UNROLL _Pragma("GCC unroll 1")
#else
#define AVX512_UNROLL _Pragma("GCC unroll 16")
#endif
#endif

/* Whether the processor sees itself that lines follow each other, and is as far ahead as it can be: then
 * requests of ours only take the places of others where there is little to do for each line. True of Zen 4,
 * and taken to be so of what AMD made since. What Intel's foresee ends with each page of 4 KB (Intel's
 * optimization manual, data prefetching). */
static inline bool avx512_foresees(void) {
    return __builtin_cpu_is("amd");
}

/* Inputs in F32, all types: avx512_floats.c. */
void avx512_product(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
                    int k, float *out, size_t out_stride);
/* The same, types without blocks, of rows that lie side by side: avx512_floats.c. */
void avx512_product_packed_floats(enum dtype type, const void *w, int first, int n_rows, const void *x,
                                  size_t x_stride, int n_cols, int k, float *out, size_t out_stride);
/* Inputs as CPU_Q8_ROW, quantised types: avx512_bytes.c. */
void avx512_product_q8(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
                       int k, float *out, size_t out_stride);

/* The same of rows side by side: avx512_packed.c. */
void avx512_packed_q8(enum dtype type, const void *w, int first, int n_rows, const void *x, size_t x_stride,
                      int n_cols, int k, float *out, size_t out_stride);

/* As struct cpu_ops has them: avx512_attention.c. */
void avx512_scores(float *scores, size_t stride, const struct kv_page *keys, const float *q, int n_heads,
                   float scale);
void avx512_mix(float *out, const struct kv_page *values, const float *scores, size_t stride, int n_heads);

#endif
