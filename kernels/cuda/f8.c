/* How batches above CUDA_LARGE_ROWS are multiplied with F8 weights: decided once, for all layers and all
 * ranks, from what the model allows and what library and GPUs can. */
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

/* What one rank can, `most` at best; false: its layers have no F8. */
static bool ask(struct cuda_device *d, enum gpu_f8 most) {
    struct gpu_gemm_f8 shapes[MATRICES];
    bool allowed;
    int n = shapes_of(d, shapes, &allowed);
    d->f8 = n > 0 && allowed && d->blas != NULL ? gpu_blas_begin_f8(d->blas, shapes, n, most) : GPU_F8_NOT;
    return n > 0;
}

/* Until all say the same: a way that is worse for one may be none at all for another. */
int f8_choose(struct cuda_device *d) {
    enum gpu_f8 most = GPU_F8_SCALED;
    bool any = true, again = true;
    int rc = 0;
    while (again && any && rc == 0) {
        enum gpu_f8 asked = most;
        for (int i = 0; i < d->n_ranks && rc == 0; i++) {
            struct cuda_device *r = d->ranks[i];
            rc = gpu_use(r->gpu);
            any = rc == 0 && ask(r, asked);
            most = rc == 0 && r->f8 < most ? r->f8 : most;
        }
        again = most < asked;
    }
    if (rc == 0 && any)
        cuda_describe_more(d, most == GPU_F8_SCALED  ? "FP8 by cuBLASLt with scales of rows"
                              : most == GPU_F8_PLAIN ? "FP8 by cuBLASLt"
                                                     : "FP8 as BF16 in large batches");
    return rc;
}
