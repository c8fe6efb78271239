/* FP8 by cuBLASLt, behind kernels/cuda/blas.h. Private to it. */
#ifndef KERNELS_CUDA_BLAS_LT_H
#define KERNELS_CUDA_BLAS_LT_H

#include "kernels/cuda/blas.h"

struct blas_lt;

/* NULL when there is no library, or no memory for it. */
struct blas_lt *blas_lt_open(struct gpu_stream *s);
void blas_lt_close(struct blas_lt *l); /* also NULL */
/* See gpu_blas_begin_f8() and gpu_blas_product_f8(). */
enum gpu_f8 blas_lt_begin(struct blas_lt *l, const struct gpu_gemm_f8 *shapes, int n, enum gpu_f8 most);
int blas_lt_product(struct blas_lt *l, const struct gpu_gemm_f8 *g);

#endif
