/* How batches above CUDA_LARGE_ROWS are multiplied with F8 weights: decided once, for all layers, from what
 * the model allows and what library and GPU can. */
#include "kernels/cuda/device.h"

#define MATRICES 7 /* of a layer */

static void matrices_of(const struct cuda_layer *l, const struct cuda_matrix *out[MATRICES]) {
    const struct cuda_matrix *all[MATRICES] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->gate, &l->up, &l->down};
    for (int i = 0; i < MATRICES; i++)
        out[i] = all[i];
}

static struct gpu_gemm_f8 shape_of(const struct cuda_device *d, const struct cuda_matrix *w) {
    return (struct gpu_gemm_f8){.w_stride = w->chunks * 16,
                                .x_stride = steps_prepared_cols(w->cols),
                                .out_stride = d->large_stride,
                                .w_rows = w->rows,
                                .x_rows = d->config.max_rows,
                                .cols = w->chunks * 16};
}

/* A matrix has the same shape in all layers: the first that is F8 stands for it. Returns how many there are;
 * *allowed: the model lets inputs of all be rounded. */
static int shapes_of(const struct cuda_device *d, struct gpu_gemm_f8 shapes[MATRICES], bool *allowed) {
    bool seen[MATRICES] = {false};
    int n = 0;
    *allowed = true;
    for (int l = 0; l < d->config.model.n_layers; l++) {
        const struct cuda_matrix *all[MATRICES];
        matrices_of(&d->layers[l], all);
        for (int i = 0; i < MATRICES; i++) {
            if (all[i]->type != CUDA_F8)
                continue;
            *allowed = *allowed && all[i]->input_scale != 0;
            if (!seen[i])
                shapes[n++] = shape_of(d, all[i]);
            seen[i] = true;
        }
    }
    return n;
}

void f8_choose(struct cuda_device *d) {
    struct gpu_gemm_f8 shapes[MATRICES];
    bool allowed;
    int n = shapes_of(d, shapes, &allowed);
    if (n == 0)
        return;
    d->f8 = allowed ? gpu_blas_begin_f8(d->blas, shapes, n) : GPU_F8_NOT;
    cuda_describe_more(d, d->f8 == GPU_F8_SCALED  ? "FP8 by cuBLASLt with scales of rows"
                          : d->f8 == GPU_F8_PLAIN ? "FP8 by cuBLASLt"
                                                  : "FP8 as BF16 in large batches");
}
