/* kernels/cuda/blas.h in plain loops: stands in for the library, and proves nothing about it. */
#include "kernels/cuda/blas.h"

#include "kernels/cpu/convert.h"
#include "tests/emulator/block.h"

#include <errno.h>
#include <stdlib.h>

struct gpu_blas {
    struct gpu_stream *stream;
};

static bool there = true;
static uint64_t products;

void emu_set_blas(bool installed) {
    there = installed;
}

uint64_t emu_blas_products(void) {
    return products;
}

int gpu_blas_open(struct gpu_stream *s, struct gpu_blas **out, char *why, size_t why_len) {
    struct gpu_blas *b = there ? calloc(1, sizeof *b) : NULL;
    if (b == NULL)
        return err_set(why, why_len, -ENOENT, "no cuBLAS");
    b->stream = s;
    *out = b;
    return 0;
}

void gpu_blas_close(struct gpu_blas *b) {
    free(b);
}

static float number(bool f16, uint16_t bits) {
    return f16 ? convert_f16_to_f32(bits) : convert_bf16_to_f32(bits);
}

static void multiply(const void *arg) {
    const struct gpu_gemm *g = arg;
    float *w = malloc((size_t)g->cols * sizeof *w),
          *x = malloc((size_t)g->cols * (size_t)g->x_rows * sizeof *x);
    if (w == NULL || x == NULL)
        abort();
    for (int r = 0; r < g->x_rows; r++)
        for (int k = 0; k < g->cols; k++)
            x[r * g->cols + k] = number(g->f16, g->x[r * g->x_stride + k]);
    for (int i = 0; i < g->w_rows; i++) {
        for (int k = 0; k < g->cols; k++)
            w[k] = number(g->f16, g->w[i * g->w_stride + k]);
        for (int r = 0; r < g->x_rows; r++) {
            float sum = 0;
            for (int k = 0; k < g->cols; k++)
                sum += w[k] * x[r * g->cols + k];
            g->out[r * g->out_stride + i] = sum;
        }
    }
    free(w);
    free(x);
}

int gpu_blas_product(struct gpu_blas *b, const struct gpu_gemm *g) {
    size_t last_w = (size_t)(g->w_rows - 1) * (size_t)g->w_stride + (size_t)g->cols;
    size_t last_x = (size_t)(g->x_rows - 1) * (size_t)g->x_stride + (size_t)g->cols;
    size_t last_out = (size_t)(g->x_rows - 1) * (size_t)g->out_stride + (size_t)g->w_rows;
    memory_check_device(g->w, last_w * sizeof *g->w, "a library's product");
    memory_check_device(g->x, last_x * sizeof *g->x, "a library's product");
    memory_check_device(g->out, last_out * sizeof *g->out, "a library's product");
    products++;
    return queue_host(b->stream, multiply, g, sizeof *g);
}
