/* kernels/cuda/blas.h over cuBLAS. Functions: cuBLAS Library documentation, "cublasGemmEx()". */
#include "kernels/cuda/blas.h"

#include "kernels/cuda/blas_api.h"
#include "kernels/cuda/blas_lt.h"

#include <errno.h>
#include <stdlib.h>

struct gpu_blas {
    const struct blas_functions *call;
    void *handle; /* cublasHandle_t */
    struct gpu_stream *stream;
    struct blas_lt *lt; /* NULL: no FP8 */
};

int gpu_blas_open(struct gpu_stream *s, struct gpu_blas **out, char *why, size_t why_len) {
    struct gpu_blas *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(why, why_len, -ENOENT, "not enough memory");
    b->stream = s;
    b->call = blas_find();
    if (b->call == NULL || b->call->create(&b->handle) != 0) {
        gpu_blas_close(b);
        return err_set(why, why_len, -ENOENT, "no cuBLAS");
    }
    if (b->call->set_stream(b->handle, s) != 0) {
        gpu_blas_close(b);
        return err_set(why, why_len, -ENOENT, "cuBLAS does not take the queue");
    }
    *out = b;
    return 0;
}

/* After a failure the handle stays until the process ends: destroying it waits for all that runs on the GPU
 * (cuBLAS Library documentation, "cublasDestroy()"), which may be a sum that never ends. */
void gpu_blas_close(struct gpu_blas *b) {
    if (b == NULL)
        return;
    blas_lt_close(b->lt);
    if (b->handle != NULL && gpu_failure()[0] == '\0')
        (void)b->call->destroy(b->handle);
    free(b);
}

/* Row by row is column by column of the transposed: out^T (w_rows x x_rows) = w x^T. */
int gpu_blas_product(struct gpu_blas *b, const struct gpu_gemm *g) {
    const float one = 1, zero = 0;
    int type = g->f16 ? BLAS_R_16F : BLAS_R_16BF;
    int rc = b->call->gemm(b->handle, BLAS_OP_T, BLAS_OP_N, g->w_rows, g->x_rows, g->cols, &one, g->w, type,
                           (int)g->w_stride, g->x, type, (int)g->x_stride, &zero, g->out, BLAS_R_32F,
                           (int)g->out_stride, BLAS_COMPUTE_32F, BLAS_GEMM_DEFAULT);
    return rc == 0 ? 0 : gpu_fail("cuBLAS", rc);
}

enum gpu_f8 gpu_blas_begin_f8(struct gpu_blas *b, const struct gpu_gemm_f8 *shapes, int n, enum gpu_f8 most) {
    if (b->lt == NULL && most != GPU_F8_NOT)
        b->lt = blas_lt_open(b->stream);
    enum gpu_f8 how = b->lt != NULL ? blas_lt_begin(b->lt, shapes, n, most) : GPU_F8_NOT;
    if (how == GPU_F8_NOT) {
        blas_lt_close(b->lt);
        b->lt = NULL;
    }
    return how;
}

int gpu_blas_product_f8(struct gpu_blas *b, const struct gpu_gemm_f8 *g) {
    return blas_lt_product(b->lt, g);
}
