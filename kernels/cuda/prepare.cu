/* Rows of the batch made ready for tensor cores: normalised where the step wants it, then in BF16, in F16, in
 * E4M3 for the library, or rounded to 8 bits, whatever its weights want. */
#include "kernels/cuda/product.cuh"

struct prepare_shared {
    float sum[PRODUCT_WARPS], most[PRODUCT_WARPS];
};

/* RMSNorm's factor of a row (else 1), and the largest magnitude of a value before it. */
GPU_INLINE float prepare_scale(const struct cuda_product &p, struct prepare_shared *s, const float *row,
                               float *most) {
    float sum = 0, largest = 0;
    for (int i = (int)gpu_thread(); i < p.cols; i += PRODUCT_THREADS) {
        float v = row[i], w = p.norm != NULL ? v * p.norm[i] : v;
        sum = gpu_fma(v, v, sum);
        largest = gpu_max(largest, w < 0 ? -w : w);
    }
    largest = gpu_warp_max(largest);
    if (gpu_lane() == 0)
        s->most[gpu_warp()] = largest;
    sum = block_sum(sum, s->sum);
    *most = 0;
    for (int i = 0; i < PRODUCT_WARPS; i++)
        *most = gpu_max(*most, s->most[i]);
    return p.norm != NULL ? gpu_rsqrt(gpu_divide(sum, (float)p.cols) + p.shape.eps) : 1;
}

/* A power of 2 that brings numbers up to `most` below 2^15, where F16 ends at 65504. */
GPU_INLINE float prepare_factor(float most) {
    int exponent = (int)(gpu_float_to_bits(most) >> 23 & 255) - 127;
    return exponent < 14 ? 1 : gpu_bits_to_float((uint32_t)(exponent - 14 + 127) << 23);
}

GPU_INLINE struct gpu_u4 prepare_f16(const float v[8], float inverse) {
    uint32_t w[4];
    GPU_UNROLL
    for (int i = 0; i < 4; i++)
        w[i] = gpu_pack_f16(v[2 * i] * inverse, v[2 * i + 1] * inverse);
    return {w[0], w[1], w[2], w[3]};
}

GPU_INLINE struct gpu_u4 prepare_bf16(const float v[8]) {
    uint32_t w[4];
    GPU_UNROLL
    for (int i = 0; i < 4; i++)
        w[i] = gpu_pack_bf16(v[2 * i], v[2 * i + 1]);
    return {w[0], w[1], w[2], w[3]};
}

/* What inputs in E4M3 are divided by: the matrices' own factor, or what makes `most` the largest number, 448
 * (compressed-tensors, quantization/utils/helpers.py, calculate_qparams(): symmetric, one group per token).
 */
GPU_INLINE float prepare_f8_scale(const struct cuda_product &p, float most) {
    return p.input_scale > 0 ? p.input_scale : most > 1e-30f ? most * (1.0f / 448.0f) : 1.0f;
}

GPU_INLINE void prepare_f8(const float v[8], float inverse, uint8_t *to) {
    uint32_t w[4];
    GPU_UNROLL
    for (int i = 0; i < 4; i++)
        w[i] = gpu_pack_f8(v[2 * i] * inverse, v[2 * i + 1] * inverse);
    *(uint32_t *)to = w[0] | w[1] << 16;
    *(uint32_t *)(to + 4) = w[2] | w[3] << 16;
}

GPU_KERNEL(PRODUCT_THREADS) kernel_prepare(const struct cuda_product p) {
    GPU_SHARED(struct prepare_shared, shared);
    int row = (int)gpu_block_x(), n = steps_prepared_cols(p.cols);
    gpu_wait_previous();
    gpu_let_next_start();
    if (row >= product_rows(p))
        return;
    const float *input = product_input(p, row);
    float most, scale = prepare_scale(p, &shared, input, &most), factor = prepare_factor(most * scale);
    float inverse = gpu_divide(1.0f, factor);
    float f8_scale = prepare_f8_scale(p, p.share_scales != 0 ? p.prepared.f8_most[row] : most * scale);
    float f8_inverse = gpu_divide(1.0f, f8_scale);
    if ((p.forms & CUDA_FORM_F16) != 0 && gpu_thread() == 0)
        p.prepared.factors[row] = factor;
    if ((p.forms & CUDA_FORM_F8) != 0 && gpu_thread() == 0)
        p.prepared.f8_scales[row] = f8_scale;
    for (int c = (int)gpu_thread() * 8; c < (n + 2047) / 2048 * 2048; c += PRODUCT_THREADS * 8) {
        float v[8];
        uint32_t bytes[2];
        GPU_UNROLL
        for (int i = 0; i < 8; i++)
            v[i] = input_value(p, input, scale, c + i);
        struct cuda_rounded record = round_block(v, bytes);
        int64_t at = (int64_t)row * n + c;
        if (c >= n)
            continue;
        if ((p.forms & CUDA_FORM_BF16) != 0)
            *(struct gpu_u4 *)(p.prepared.bf16 + at) = prepare_bf16(v);
        if ((p.forms & CUDA_FORM_F16) != 0)
            *(struct gpu_u4 *)(p.prepared.f16 + at) = prepare_f16(v, inverse);
        if ((p.forms & CUDA_FORM_F8) != 0)
            prepare_f8(v, f8_inverse, p.prepared.f8 + at);
        if ((p.forms & CUDA_FORM_ROUNDED) == 0)
            continue;
        uint32_t *to = (uint32_t *)(p.prepared.rounded + at);
        to[0] = bytes[0];
        to[1] = bytes[1];
        if (c % 32 == 0)
            p.prepared.records[at / 32] = record;
    }
}

GPU_KERNEL(PRODUCT_THREADS) kernel_most(const struct cuda_product p) {
    GPU_SHARED(struct prepare_shared, shared);
    int row = (int)gpu_block_x();
    gpu_wait_previous();
    gpu_let_next_start();
    if (row >= product_rows(p))
        return;
    float most;
    (void)prepare_scale(p, &shared, product_input(p, row), &most);
    if (gpu_thread() == 0)
        p.prepared.f8_most[row] = most;
}

extern "C" int steps_most(struct gpu_stream *s, const struct cuda_product *p, int n_rows) {
    const struct gpu_launch how = {s, (unsigned)n_rows, 1, PRODUCT_THREADS, 0, true};
    return GPU_LAUNCH(how, kernel_most, *p);
}

extern "C" int steps_prepare(struct gpu_stream *s, const struct cuda_product *p, int n_rows) {
    const struct gpu_launch how = {s, (unsigned)n_rows, 1, PRODUCT_THREADS, 0, true};
    return GPU_LAUNCH(how, kernel_prepare, *p);
}
