/* Products of large matrices by a library: cuBLAS, and cuBLASLt for FP8, looked for when the device is
 * opened. Out is F32, summed in F32; all pointers are device memory, strides in elements. [engine-thread] */
#ifndef KERNELS_CUDA_BLAS_H
#define KERNELS_CUDA_BLAS_H

#include "kernels/cuda/host.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gpu_blas;

/* out[r][i] = sum over k of w[i][k] * x[r][k]. */
struct gpu_gemm {
    const uint16_t *w, *x; /* both BF16, or both F16 */
    float *out;
    int64_t w_stride, x_stride, out_stride;
    int32_t w_rows, x_rows, cols;
    bool f16;
};

/* -ENOENT with the reason in `why` when there is no library: then the device does without. */
HX_MUST_CHECK int gpu_blas_open(struct gpu_stream *s, struct gpu_blas **out, char *why, size_t why_len);
void gpu_blas_close(struct gpu_blas *b);
/* Queues one product on the stream it was opened with. 0 or -EIO. */
int gpu_blas_product(struct gpu_blas *b, const struct gpu_gemm *g);

/* ---- FP8 ---- */

/* How the library multiplies matrices of E4M3, if at all. */
enum gpu_f8 {
    GPU_F8_NOT,
    GPU_F8_PLAIN,  /* as numbers, without their scales */
    GPU_F8_SCALED, /* times scales of the rows of both: outer vectors, cuBLAS 12.9 and later, some GPUs */
};

/* out[r][i] = sum over k of w[i][k] * x[r][k], times w_scales[i] * x_scales[r] where it is GPU_F8_SCALED.
 * w_rows, cols, w_stride and x_stride are multiples of 16, out_stride of 4; w, x, out and both scales lie at
 * multiples of 16 bytes. */
struct gpu_gemm_f8 {
    const uint8_t *w, *x;
    const float *w_scales, *x_scales;
    float *out;
    int64_t w_stride, x_stride, out_stride;
    int32_t w_rows, x_rows, cols;
};

/* Finds out how products of all `n` shapes (their pointers do not count) can be had, for any number of rows
 * up to x_rows, and gets what they need. The best way that all of them allow, `most` at best; may be asked
 * again for less. */
enum gpu_f8 gpu_blas_begin_f8(struct gpu_blas *b, const struct gpu_gemm_f8 *shapes, int n, enum gpu_f8 most);
/* Queues one product, the way that was found. 0 or -EIO. */
int gpu_blas_product_f8(struct gpu_blas *b, const struct gpu_gemm_f8 *g);

#ifdef __cplusplus
}
#endif

#endif
