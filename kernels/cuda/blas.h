/* Products of large matrices by a library: cuBLAS, looked for when the device is opened; under the emulator
 * plain loops. [engine-thread] */
#ifndef KERNELS_CUDA_BLAS_H
#define KERNELS_CUDA_BLAS_H

#include "kernels/cuda/host.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gpu_blas;

/* out[r][i] = sum over k of w[i][k] * x[r][k], summed in F32; device memory. Strides in elements. */
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

#ifdef __cplusplus
}
#endif

#endif
