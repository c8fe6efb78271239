/* The first step: rows of the embedding table as F32. */
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/steps.h"

#define EMBED_THREADS 128

GPU_INLINE float embed_element(const struct cuda_matrix &w, int64_t row, int i) {
    const uint8_t *values = w.values + row * w.chunks * 16;
    switch (w.type) {
    case CUDA_F32:
        return ((const float *)values)[i];
    case CUDA_F16:
        return gpu_f16_to_float(((const uint16_t *)values)[i]);
    case CUDA_BF16:
        return gpu_bf16_to_float(((const uint16_t *)values)[i]);
    default:
        return gpu_f16_to_float(w.scales[row * w.blocks + i / 32]) * (float)((const int8_t *)values)[i];
    }
}

GPU_KERNEL(EMBED_THREADS) kernel_embed(const struct cuda_embed p) {
    int row = (int)gpu_block_x();
    gpu_wait_previous();
    gpu_let_next_start();
    if (row >= *p.batch.n_rows)
        return;
    for (int i = (int)gpu_thread(); i < p.table.cols; i += EMBED_THREADS)
        p.x[(int64_t)row * p.x_stride + i] = embed_element(p.table, p.batch.rows[row].token, i);
}

extern "C" int steps_embed(struct gpu_stream *s, const struct cuda_embed *p, int n_rows) {
    const struct gpu_launch how = {s, (unsigned)n_rows, 1, EMBED_THREADS, 0, true};
    return GPU_LAUNCH(how, kernel_embed, *p);
}
