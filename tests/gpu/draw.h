/* Weights that are drawn where they lie: a kernel fills device memory with numbers of about 0.02, in every
 * format with scales that can be. */
#ifndef TESTS_GPU_DRAW_H
#define TESTS_GPU_DRAW_H

#include "kernels/cuda/steps.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Queues the filling of all planes of *m; it has to be done before a product is queued. 0, -EIO, or -ENOTSUP
 * for a type that nobody draws (F32, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K). */
int draw_matrix(struct gpu_stream *s, const struct cuda_matrix *m, uint32_t seed);
/* The same for `n` elements in BF16, F16 or E4M3 (CUDA_BF16, CUDA_F16, CUDA_F8), a multiple of 16. */
int draw_plain(struct gpu_stream *s, void *to, int type, int64_t n, uint32_t seed);

#ifdef __cplusplus
}
#endif

#endif
