/* Products of stored rows with the batch's rows. A warp takes two rows of weights at once (a pair) and up to
 * four rows of the batch; the block's inputs lie in shared memory as F32.
 *
 * Each product is one sum in one fixed order, whatever the number of rows: lane l adds up chunks l, l + 32, …
 * of the row, then the lanes add up in a butterfly. So a row's results do not depend on its company. */
#ifndef KERNELS_CUDA_PRODUCT_CUH
#define KERNELS_CUDA_PRODUCT_CUH

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/steps.h"

#define PRODUCT_THREADS 256
#define PRODUCT_WARPS   (PRODUCT_THREADS / 32)
#define PRODUCT_ROWS    4 /* rows of the batch at once, at most: more do not fit the registers */

/* Floats of one input row in shared memory: whole chunks of any type. */
GPU_INLINE int product_stride(int cols) {
    return (cols + 15) / 16 * 16;
}

/* ---- one chunk of 16 bytes ---- */

struct product_chunk {
    struct gpu_u4 bytes;
    float scale;
};

template <int TYPE>
GPU_INLINE struct product_chunk product_load(const struct cuda_matrix &w, int64_t row, int chunk) {
    struct product_chunk c = {{0, 0, 0, 0}, 0};
    if (chunk >= w.chunks)
        return c;
    c.bytes = gpu_load16(w.values + (row * w.chunks + chunk) * 16);
    if (TYPE == CUDA_Q8_0)
        c.scale = gpu_f16_to_float(w.scales[row * w.blocks + chunk / 2]);
    return c;
}

/* The chunk's values in F32; those of Q8_0 are still to be multiplied by the scale. */
template <int TYPE> GPU_INLINE void product_unpack(const struct gpu_u4 &u, float *v) {
    const uint32_t words[4] = {u.x, u.y, u.z, u.w};
    GPU_UNROLL
    for (int i = 0; i < 4; i++) {
        uint32_t word = words[i];
        if (TYPE == CUDA_F32) {
            v[i] = gpu_bits_to_float(word);
        } else if (TYPE == CUDA_BF16) {
            v[2 * i] = gpu_bits_to_float(word << 16);
            v[2 * i + 1] = gpu_bits_to_float(word & 0xFFFF0000u);
        } else if (TYPE == CUDA_F16) {
            v[2 * i] = gpu_f16_to_float((uint16_t)word);
            v[2 * i + 1] = gpu_f16_to_float((uint16_t)(word >> 16));
        } else {
            GPU_UNROLL
            for (int b = 0; b < 4; b++)
                v[4 * i + b] = (float)(int8_t)(word >> (8 * b));
        }
    }
}

/* sum[r] += chunk of weights . the same columns of input row r. */
template <int TYPE, int ROWS>
GPU_INLINE void product_add(const struct product_chunk *c, const float *input, int stride,
                            float (*sum)[ROWS]) {
    constexpr int N = TYPE == CUDA_F32 ? 4 : TYPE == CUDA_Q8_0 ? 16 : 8;
    float w[2][N];
    product_unpack<TYPE>(c[0].bytes, w[0]);
    product_unpack<TYPE>(c[1].bytes, w[1]);
    GPU_UNROLL
    for (int r = 0; r < ROWS; r++) {
        float part[2] = {TYPE == CUDA_Q8_0 ? 0 : sum[0][r], TYPE == CUDA_Q8_0 ? 0 : sum[1][r]};
        GPU_UNROLL
        for (int i = 0; i < N; i += 4) {
            struct gpu_f4 x = *(const struct gpu_f4 *)(input + r * stride + i);
            GPU_UNROLL
            for (int m = 0; m < 2; m++) {
                part[m] = gpu_fma(w[m][i], x.x, part[m]);
                part[m] = gpu_fma(w[m][i + 1], x.y, part[m]);
                part[m] = gpu_fma(w[m][i + 2], x.z, part[m]);
                part[m] = gpu_fma(w[m][i + 3], x.w, part[m]);
            }
        }
        GPU_UNROLL
        for (int m = 0; m < 2; m++)
            sum[m][r] = TYPE == CUDA_Q8_0 ? gpu_fma(c[m].scale, part[m], sum[m][r]) : part[m];
    }
}

/* ---- a pair of rows ---- */

/* The first chunks of a pair, loaded before the inputs are there. */
struct product_first {
    struct product_chunk c[2][2]; /* chunks l and l + 32 of both rows */
};

struct product_pair {
    const struct cuda_matrix *w[2]; /* of one type */
    int64_t row[2];
};

template <int TYPE>
GPU_INLINE void product_fetch(const struct product_pair &p, int chunk, struct product_first *f) {
    GPU_UNROLL
    for (int k = 0; k < 2; k++) {
        f->c[k][0] = product_load<TYPE>(*p.w[0], p.row[0], chunk + 32 * k);
        f->c[k][1] = product_load<TYPE>(*p.w[1], p.row[1], chunk + 32 * k);
    }
}

GPU_INLINE void product_begin(const struct product_pair &p, struct product_first *f) {
    int lane = (int)gpu_lane();
    switch (p.w[0]->type) {
    case CUDA_F32:
        product_fetch<CUDA_F32>(p, lane, f);
        break;
    case CUDA_F16:
        product_fetch<CUDA_F16>(p, lane, f);
        break;
    case CUDA_BF16:
        product_fetch<CUDA_BF16>(p, lane, f);
        break;
    default:
        product_fetch<CUDA_Q8_0>(p, lane, f);
        break;
    }
}

template <int TYPE, int ROWS>
GPU_INLINE void product_run(const struct product_pair &p, struct product_first f, const float *input,
                            int stride, float (*sum)[ROWS]) {
    constexpr int N = TYPE == CUDA_F32 ? 4 : TYPE == CUDA_Q8_0 ? 16 : 8;
    int chunks = p.w[0]->chunks;
    for (int c = (int)gpu_lane(); c < chunks; c += 64) {
        struct product_first now = f;
        product_fetch<TYPE>(p, c + 64, &f);
        product_add<TYPE, ROWS>(now.c[0], input + c * N, stride, sum);
        if (c + 32 < chunks)
            product_add<TYPE, ROWS>(now.c[1], input + (c + 32) * N, stride, sum);
    }
}

/* sum[m][r] = row m of the pair . input row r, the same in all lanes. All lanes of the warp call it. */
template <int ROWS>
GPU_INLINE void product_end(const struct product_pair &p, const struct product_first &f, const float *input,
                            int stride, float (*sum)[ROWS]) {
    GPU_UNROLL
    for (int r = 0; r < ROWS; r++)
        sum[0][r] = sum[1][r] = 0;
    switch (p.w[0]->type) {
    case CUDA_F32:
        product_run<CUDA_F32, ROWS>(p, f, input, stride, sum);
        break;
    case CUDA_F16:
        product_run<CUDA_F16, ROWS>(p, f, input, stride, sum);
        break;
    case CUDA_BF16:
        product_run<CUDA_BF16, ROWS>(p, f, input, stride, sum);
        break;
    default:
        product_run<CUDA_Q8_0, ROWS>(p, f, input, stride, sum);
        break;
    }
    GPU_UNROLL
    for (int r = 0; r < ROWS; r++) {
        sum[0][r] = gpu_warp_sum(sum[0][r]);
        sum[1][r] = gpu_warp_sum(sum[1][r]);
    }
}

/* Lane r takes the pair of sums of row r. */
template <int ROWS> GPU_INLINE void product_mine(const float (*sum)[ROWS], float *a, float *b) {
    GPU_UNROLL
    for (int r = 0; r < ROWS; r++)
        if ((int)gpu_lane() == r) {
            *a = sum[0][r];
            *b = sum[1][r];
        }
}

/* ---- inputs ---- */

struct product_shared {
    float part[PRODUCT_ROWS][PRODUCT_WARPS];
};

/* ROWS input rows into shared memory, zeros behind each; a row that is NULL is zeros. With `norm`: x /
 * sqrt(mean(x^2) + eps) * norm (RMSNorm). All threads of the block; once in a kernel; ends with a barrier. */
template <int ROWS>
GPU_INLINE void product_stage(struct product_shared *s, float *to, const float *const *rows,
                              const float *norm, int cols, float eps) {
    int stride = product_stride(cols), t = (int)gpu_thread();
    if (norm != NULL) {
        GPU_UNROLL
        for (int r = 0; r < ROWS; r++) {
            float sum = 0;
            for (int i = t; rows[r] != NULL && i < cols; i += PRODUCT_THREADS)
                sum = gpu_fma(rows[r][i], rows[r][i], sum);
            sum = gpu_warp_sum(sum);
            if (gpu_lane() == 0)
                s->part[r][gpu_warp()] = sum;
        }
        gpu_barrier();
    }
    GPU_UNROLL
    for (int r = 0; r < ROWS; r++) {
        float sum = 0;
        for (int i = 0; norm != NULL && i < PRODUCT_WARPS; i++)
            sum += s->part[r][i];
        float scale = norm != NULL ? gpu_rsqrt(gpu_divide(sum, (float)cols) + eps) : 1;
        for (int i = t; i < stride; i += PRODUCT_THREADS) {
            float v = rows[r] != NULL && i < cols ? rows[r][i] : 0;
            to[r * stride + i] = norm != NULL && i < cols ? v * scale * norm[i] : v;
        }
    }
    gpu_barrier();
}

#endif
