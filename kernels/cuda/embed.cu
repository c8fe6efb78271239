/* The first step: rows of the embedding table as F32. */
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/steps.h"
#include "kernels/cuda/weights.cuh"

#define EMBED_THREADS 128

/* Columns 4g … 4g + 3 of a unit. */
template <int TYPE>
GPU_INLINE void embed_four(const struct cuda_matrix &w, int64_t row, int unit, int g, float v[4]) {
    struct weights_raw r;
    struct weights_scale scale = {};
    weights_load<TYPE>(w, row, unit, &r);
    if (TYPE >= CUDA_Q8_0)
        scale = weights_scales<TYPE>(r, unit);
    GPU_UNROLL
    for (int i = 0; i < weights_groups<TYPE>; i++) /* registers have no index */
        if (i == g)
            weights_floats<TYPE>(r, scale, i, v);
}

GPU_KERNEL(EMBED_THREADS) kernel_embed(const struct cuda_embed p) {
    int row = (int)gpu_block_x(), groups = steps_unit_cols(p.table.type) / 4;
    gpu_wait_previous();
    gpu_let_next_start();
    if (row >= *p.batch.n_rows)
        return;
    int64_t token = p.batch.rows[row].token;
    float *x = p.x + (int64_t)row * p.x_stride, factor = weights_factor(p.table, token);
    for (int c = (int)gpu_thread() * 4; c < p.table.cols; c += EMBED_THREADS * 4) {
        float v[4] = {0, 0, 0, 0};
        int unit = c / 4 / groups, g = c / 4 % groups;
        switch (p.table.type) {
            WEIGHTS_PLAIN(embed_four<TYPE>(p.table, token, unit, g, v))
            WEIGHTS_QUANTISED(embed_four<TYPE>(p.table, token, unit, g, v))
        }
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            if (c + i < p.table.cols)
                x[c + i] = v[i] * factor;
    }
}

extern "C" int steps_embed(struct gpu_stream *s, const struct cuda_embed *p, int n_rows) {
    const struct gpu_launch how = {s, (unsigned)n_rows, 1, EMBED_THREADS, 0, true};
    return GPU_LAUNCH(how, kernel_embed, *p);
}
