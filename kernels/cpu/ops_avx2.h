/* Inner loops shared by the x86 tables. */
#ifndef KERNELS_CPU_OPS_AVX2_H
#define KERNELS_CPU_OPS_AVX2_H

#include "kernels/cpu/ops.h"

void ops_avx2_product(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
                      int k, float *out, size_t out_stride);
void ops_avx2_quantise(void *out, const float *x, int n, int group);
void ops_avx2_rms_norm(float *out, const float *x, const float *w, int n, float eps);
void ops_avx2_silu_mul(float *gate, const float *up, int n);
void ops_avx2_add(float *x, const float *y, int n);
void ops_avx2_scores(float *scores, size_t stride, const struct kv_page *keys, const float *q, int n_heads,
                     float scale);
void ops_avx2_softmax(float *scores, int n);
void ops_avx2_mix(float *out, const struct kv_page *values, const float *scores, size_t stride, int n_heads);

#endif
