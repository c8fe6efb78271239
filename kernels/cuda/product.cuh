/* What all products share: which rows of weights a pair is, which row of the batch an input is, where results
 * go, and inputs rounded to 8 bits. */
#ifndef KERNELS_CUDA_PRODUCT_CUH
#define KERNELS_CUDA_PRODUCT_CUH

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/steps.h"
#include "kernels/cuda/weights.cuh"

#define PRODUCT_THREADS 256
#define PRODUCT_WARPS   (PRODUCT_THREADS / 32)

/* ---- pairs ---- */

/* Section of a pair. */
GPU_INLINE int pair_section(const struct cuda_product &p, int pair) {
    int i = 0;
    if (p.n_sections > 1 && pair >= p.sections[1].first)
        i = p.n_sections > 2 && pair >= p.sections[2].first ? 2 : 1;
    return i;
}

/* Elements of a head that are rotated (or, of v, just taken) together. */
struct pair_head {
    int head, first, second;
};

GPU_INLINE struct pair_head pair_head_of(const struct cuda_product &p, int section, int i) {
    int half = p.shape.head_dim / 2, head = i / half, at = i % half;
    bool apart = p.shape.half_split != 0 && section != 2;
    return {head, apart ? at : 2 * at, apart ? at + half : 2 * at + 1};
}

/* Rows of the two matrices of pair i of a section; a pair behind the last is the last. */
struct pair_rows {
    int32_t row[2];
};

GPU_INLINE struct pair_rows pair_rows_of(const struct cuda_product &p, int section, int i) {
    const struct cuda_section &s = p.sections[section];
    i = i < s.pairs ? i : s.pairs - 1;
    if (p.step == CUDA_FFN_IN)
        return {{i, i}};
    if (p.step == CUDA_ATTN_IN) {
        struct pair_head h = pair_head_of(p, section, i);
        return {{h.head * p.shape.head_dim + h.first, h.head * p.shape.head_dim + h.second}};
    }
    int last = s.w[0].rows - 1; /* twice where there is no other */
    return {{2 * i, 2 * i < last ? 2 * i + 1 : last}};
}

/* ---- rows of the batch ---- */

GPU_INLINE int product_rows(const struct cuda_product &p) {
    return p.step == CUDA_LOGITS ? *p.batch.n_outputs : *p.batch.n_rows;
}

/* The input of row (or output) r. */
GPU_INLINE const float *product_input(const struct cuda_product &p, int r) {
    return p.input + (int64_t)(p.step == CUDA_LOGITS ? p.batch.outputs[r] : r) * p.input_stride;
}

/* ---- results ---- */

GPU_INLINE void cache_store(const struct cuda_cache &cache, uint8_t *at, int i, float v) {
    if (cache.half != 0)
        ((uint16_t *)at)[i] = gpu_float_to_f16(v);
    else
        ((float *)at)[i] = v;
}

/* q, k or v of one row: rotated by its position, to q or to the row's page. */
GPU_INLINE void store_heads(const struct cuda_product &p, int section, int i, int row, float a, float b) {
    const struct cuda_row at = p.batch.rows[row];
    struct pair_head h = pair_head_of(p, section, i);
    int e = p.shape.head_dim;
    if (section != 2) {
        const float *cs = p.rope + ((int64_t)at.position * (e / 2) + i % (e / 2)) * 2;
        float c = cs[0], s = cs[1], rotated = a * c - b * s;
        b = a * s + b * c;
        a = rotated;
    }
    if (section == 0) {
        float *q = p.out + (int64_t)row * p.out_stride + h.head * e;
        q[h.first] = a;
        q[h.second] = b;
        return;
    }
    int32_t page = p.batch.pages[(int64_t)at.table * *p.batch.stride + at.position / 64];
    int64_t element = p.cache.half != 0 ? 2 : 4;
    uint8_t *to = p.cache.memory + page * p.cache.page_bytes + p.layer * p.cache.layer_bytes +
                  (section == 2 ? p.cache.kind_bytes : 0) + h.head * p.cache.head_bytes +
                  at.position % 64 * p.cache.row * element;
    cache_store(p.cache, to, h.first, a);
    cache_store(p.cache, to, h.second, b);
}

/* Results a and b of pair i of a section for one row of the batch. */
GPU_INLINE void product_store(const struct cuda_product &p, int section, int i, int row, float a, float b) {
    float *out = p.out + (int64_t)row * p.out_stride;
    bool both = 2 * i + 1 < p.sections[section].w[0].rows;
    if (p.step == CUDA_ATTN_IN) {
        store_heads(p, section, i, row, a, b);
    } else if (p.step == CUDA_FFN_IN) {
        float h = gpu_divide(a, 1 + gpu_exp(-a)) * b;
        if (p.ready != NULL)
            p.ready[(int64_t)row * p.shape.ffn_dim + i] = gpu_float_to_bf16(h);
        else
            out[i] = h;
    } else if (p.step == CUDA_RESIDUAL) {
        out[2 * i] += a;
        if (both)
            out[2 * i + 1] += b;
    } else {
        out[2 * i] = a;
        if (both)
            out[2 * i + 1] = b;
    }
}

/* ---- inputs ---- */

/* A row's inputs with RMSNorm, where the step has one: v * scale * norm. Zeros behind the last. */
GPU_INLINE float input_value(const struct cuda_product &p, const float *row, float scale, int c) {
    float v = row != NULL && c < p.cols ? row[c] : 0;
    return p.norm != NULL && c < p.cols ? v * scale * p.norm[c] : v;
}

/* Inputs c … c + 3 of a row, c a multiple of 4. Rows and norms begin at multiples of 16 bytes. */
GPU_INLINE struct gpu_f4 input_four(const struct cuda_product &p, const float *row, float scale, int c) {
    if (row == NULL || c + 4 > p.cols)
        return {input_value(p, row, scale, c), input_value(p, row, scale, c + 1),
                input_value(p, row, scale, c + 2), input_value(p, row, scale, c + 3)};
    struct gpu_f4 v = *(const struct gpu_f4 *)(row + c);
    if (p.norm != NULL) {
        const struct gpu_f4 n = *(const struct gpu_f4 *)(p.norm + c);
        v = {v.x * scale * n.x, v.y * scale * n.y, v.z * scale * n.z, v.w * scale * n.w};
    }
    return v;
}

GPU_INLINE void input_eight(const struct cuda_product &p, const float *row, float scale, int c, float v[8]) {
    const struct gpu_f4 a = input_four(p, row, scale, c), b = input_four(p, row, scale, c + 4);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

/* Sum over the block, the same in all threads; `part`: shared, one per warp. Ends with a barrier before part
 * is used again. */
GPU_INLINE float block_sum(float v, float *part) {
    v = gpu_warp_sum(v);
    if (gpu_lane() == 0)
        part[gpu_warp()] = v;
    gpu_barrier();
    float sum = 0;
    for (int i = 0; i < PRODUCT_WARPS; i++)
        sum += part[i];
    return sum;
}

/* Inputs rounded to 8 bits, as the CPU rounds them: scale = largest magnitude of 32 / 127. Four lanes have 8
 * neighbouring inputs each, lanes 0 … 3 of a block: the bytes of the lane's in `bytes`, the block's record
 * the same in all four. All lanes of the warp call it. */
GPU_INLINE struct cuda_rounded round_block(const float v[8], uint32_t bytes[2]) {
    float most = 0;
    GPU_UNROLL
    for (int i = 0; i < 8; i++)
        most = gpu_max(most, v[i] < 0 ? -v[i] : v[i]);
    most = gpu_max(most, gpu_shuffle_xor(GPU_ALL_LANES, most, 1));
    most = gpu_max(most, gpu_shuffle_xor(GPU_ALL_LANES, most, 2));
    float scale = most > 1e-30f ? gpu_divide(most, 127.0f) : 0;
    float inverse = most > 1e-30f ? gpu_divide(127.0f, most) : 0;
    int sum = 0;
    bytes[0] = bytes[1] = 0;
    GPU_UNROLL
    for (int i = 0; i < 8; i++) {
        int q = gpu_round(v[i] * inverse);
        sum += q;
        bytes[i / 4] |= ((uint32_t)q & 255u) << (8 * (i % 4));
    }
    sum += gpu_shuffle_xor(GPU_ALL_LANES, sum, 1); /* of a half */
    int other = gpu_shuffle_xor(GPU_ALL_LANES, sum, 2);
    bool low = gpu_lane() % 4 < 2;
    return {scale, scale * (float)(low ? sum : other), scale * (float)(low ? other : sum), scale * 0.0625f};
}

#endif
