/* cuBLAS as kernels/cuda/blas_api.h knows it, in plain loops: stands in for the library, and proves nothing
 * about its numbers. */
#include "kernels/cuda/blas_api.h"

#include "kernels/cpu/convert.h"
#include "kernels/cuda/host.h"
#include "tests/emulator/block.h"

#include <stdlib.h>

static bool there = true;
static uint64_t products;

void emu_set_blas(bool installed) {
    there = installed;
}

uint64_t emu_blas_products(void) {
    return products;
}

struct handle {
    bool taken;
    struct gpu_stream *stream;
    int gpu; /* that was in use when it was made: it belongs to it */
};

/* Not from the heap: after a GPU has failed nobody closes the library, which would wait for it. */
static struct handle handles[64];

static int create(void **handle) {
    for (size_t i = 0; i < sizeof handles / sizeof handles[0]; i++)
        if (!handles[i].taken) {
            handles[i] = (struct handle){.taken = true, .gpu = memory_in_use()};
            *handle = &handles[i];
            return 0;
        }
    return 1;
}

static int destroy(void *handle) {
    struct handle *h = handle;
    h->taken = false;
    return 0;
}

static int set_stream(void *handle, struct gpu_stream *s) {
    struct handle *h = handle;
    h->stream = s;
    return queue_gpu(s) == h->gpu ? 0 : BLAS_INVALID_VALUE;
}

/* out^T = w x^T: what gpu_blas_product() asks for. */
struct gemm {
    const uint16_t *w, *x;
    float *out;
    int w_rows, x_rows, cols, w_stride, x_stride, out_stride;
    bool f16;
};

static float number(bool f16, uint16_t bits) {
    return f16 ? convert_f16_to_f32(bits) : convert_bf16_to_f32(bits);
}

static void multiply(const void *arg) {
    const struct gemm *g = arg;
    float *w = malloc((size_t)g->cols * sizeof *w),
          *x = malloc((size_t)g->cols * (size_t)g->x_rows * sizeof *x);
    if (w == NULL || x == NULL)
        abort();
    for (int r = 0; r < g->x_rows; r++)
        for (int k = 0; k < g->cols; k++)
            x[r * g->cols + k] = number(g->f16, g->x[(int64_t)r * g->x_stride + k]);
    for (int i = 0; i < g->w_rows; i++) {
        for (int k = 0; k < g->cols; k++)
            w[k] = number(g->f16, g->w[(int64_t)i * g->w_stride + k]);
        for (int r = 0; r < g->x_rows; r++) {
            float sum = 0;
            for (int k = 0; k < g->cols; k++)
                sum += w[k] * x[r * g->cols + k];
            g->out[(int64_t)r * g->out_stride + i] = sum;
        }
    }
    free(w);
    free(x);
}

static int gemm(void *handle, int trans_a, int trans_b, int m, int n, int k, const void *alpha, const void *a,
                int a_type, int lda, const void *b, int b_type, int ldb, const void *beta, void *c,
                int c_type, int ldc, int compute, int algo) {
    const struct gemm g = {a, b, c, m, n, k, lda, ldb, ldc, a_type == BLAS_R_16F};
    bool half = a_type == BLAS_R_16F || a_type == BLAS_R_16BF;
    if (handle == NULL || trans_a != BLAS_OP_T || trans_b != BLAS_OP_N || !half || b_type != a_type ||
        c_type != BLAS_R_32F || compute != BLAS_COMPUTE_32F || algo != BLAS_GEMM_DEFAULT ||
        *(const float *)alpha != 1 || *(const float *)beta != 0)
        return BLAS_NOT_SUPPORTED; /* it may be; nobody here asks for it */
    if (m < 1 || n < 1 || k < 1 || lda < k || ldb < k || ldc < m)
        return BLAS_INVALID_VALUE;
    size_t last_w = (size_t)(m - 1) * (size_t)lda + (size_t)k,
           last_x = (size_t)(n - 1) * (size_t)ldb + (size_t)k;
    size_t last_out = (size_t)(n - 1) * (size_t)ldc + (size_t)m;
    const struct handle *h = handle;
    memory_check_gpu(a, last_w * sizeof *g.w, h->gpu, "a library's product");
    memory_check_gpu(b, last_x * sizeof *g.x, h->gpu, "a library's product");
    memory_check_gpu(c, last_out * sizeof *g.out, h->gpu, "a library's product");
    products++;
    return queue_host(h->stream, multiply, &g, sizeof g) < 0 ? 14 : 0;
}

const struct blas_functions *blas_find(void) {
    static const struct blas_functions all = {create, destroy, set_stream, gemm};
    return there ? &all : NULL;
}
