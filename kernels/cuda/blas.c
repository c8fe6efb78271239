/* kernels/cuda/blas.h over cuBLAS, which is loaded at run time: the module needs a driver and nothing else to
 * start. Functions and numbers: cuBLAS Library documentation, "cublasGemmEx()" and library_types.h. */
#include "kernels/cuda/blas.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { R_32F = 0, R_16F = 2, R_16BF = 14 }; /* cudaDataType_t */
enum { OP_N = 0, OP_T = 1 };                /* cublasOperation_t */
enum { COMPUTE_32F = 68 };                  /* cublasComputeType_t */
enum { GEMM_DEFAULT = -1 };                 /* cublasGemmAlgo_t */

struct gpu_blas {
    void *library;
    void *handle; /* cublasHandle_t */
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*set_stream)(void *handle, void *stream);
    int (*gemm)(void *handle, int trans_a, int trans_b, int m, int n, int k, const void *alpha, const void *a,
                int a_type, int lda, const void *b, int b_type, int ldb, const void *beta, void *c,
                int c_type, int ldc, int compute, int algo);
};

/* ISO C does not convert pointers to objects into ones to functions. */
static bool find(void *library, const char *name, void *function, size_t size) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, size);
    return symbol != NULL;
}

static bool load(struct gpu_blas *b) {
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    for (size_t i = 0; i < sizeof names / sizeof names[0] && b->library == NULL; i++)
        b->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return b->library != NULL && find(b->library, "cublasCreate_v2", &b->create, sizeof b->create) &&
           find(b->library, "cublasDestroy_v2", &b->destroy, sizeof b->destroy) &&
           find(b->library, "cublasSetStream_v2", &b->set_stream, sizeof b->set_stream) &&
           find(b->library, "cublasGemmEx", &b->gemm, sizeof b->gemm);
}

int gpu_blas_open(struct gpu_stream *s, struct gpu_blas **out, char *why, size_t why_len) {
    struct gpu_blas *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(why, why_len, -ENOENT, "not enough memory");
    if (!load(b) || b->create(&b->handle) != 0) {
        gpu_blas_close(b);
        return err_set(why, why_len, -ENOENT, "no cuBLAS");
    }
    if (b->set_stream(b->handle, s) != 0) {
        gpu_blas_close(b);
        return err_set(why, why_len, -ENOENT, "cuBLAS does not take the queue");
    }
    *out = b;
    return 0;
}

void gpu_blas_close(struct gpu_blas *b) {
    if (b == NULL)
        return;
    if (b->handle != NULL)
        (void)b->destroy(b->handle);
    /* The library stays loaded: the driver may have threads in it. */
    free(b);
}

/* Row by row is column by column of the transposed: out^T (w_rows x x_rows) = w x^T. */
int gpu_blas_product(struct gpu_blas *b, const struct gpu_gemm *g) {
    const float one = 1, zero = 0;
    int type = g->f16 ? R_16F : R_16BF;
    int rc = b->gemm(b->handle, OP_T, OP_N, g->w_rows, g->x_rows, g->cols, &one, g->w, type, (int)g->w_stride,
                     g->x, type, (int)g->x_stride, &zero, g->out, R_32F, (int)g->out_stride, COMPUTE_32F,
                     GEMM_DEFAULT);
    return rc == 0 ? 0 : gpu_fail("cuBLAS", rc);
}
