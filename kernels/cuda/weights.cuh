/* Stored weights in registers: what one lane takes of a row, and its numbers as F32 or as whole q with s and
 * z of the block (see struct cuda_matrix). */
#ifndef KERNELS_CUDA_WEIGHTS_CUH
#define KERNELS_CUDA_WEIGHTS_CUH

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/steps.h"

/* A chunk or a block as it lies in memory: words 0 … 3 are the chunk; 4 … 7 the second half of Q8_0, or 4 and
 * 5 the high bits; 6 … 9 the scales (Q8_0: 8). */
struct weights_raw {
    uint32_t v[10];
};

GPU_INLINE void weights_words(const uint8_t *at, uint32_t *v) {
    struct gpu_u4 u = gpu_load16(at);
    v[0] = u.x;
    v[1] = u.y;
    v[2] = u.z;
    v[3] = u.w;
}

/* Two halves of a block have scales of their own. */
template <int TYPE>
constexpr bool weights_halved = TYPE == CUDA_Q2_K || TYPE == CUDA_Q3_K || TYPE == CUDA_Q6_K;

/* Fours of columns of a unit. */
template <int TYPE>
constexpr int weights_groups = TYPE == CUDA_F32    ? 1
                               : TYPE == CUDA_F8   ? 4
                               : TYPE >= CUDA_Q8_0 ? 8
                                                   : 2;

/* Where a unit of a row lies, and with it the units 32, 64, … behind it: a lane's units. */
struct weights_at {
    const uint8_t *values, *more; /* more: the second halves of Q8_0, or the high bits */
    const uint8_t *scales, *behind;
};

/* Bytes from a unit's place to that of the 32nd behind it; 0: the type has nothing there. */
template <int TYPE>
constexpr int weights_more_step = TYPE == CUDA_Q8_0                                             ? 512
                                  : TYPE == CUDA_Q6_K                                           ? 256
                                  : TYPE == CUDA_Q5_0 || TYPE == CUDA_Q5_1 || TYPE == CUDA_Q5_K ? 128
                                                                                                : 0;
template <int TYPE>
constexpr int weights_scales_step = TYPE < CUDA_Q8_0                         ? 0
                                    : TYPE == CUDA_Q4_1 || TYPE == CUDA_Q5_1 ? 128
                                                                             : 64;
template <int TYPE> constexpr int weights_behind_step = TYPE == CUDA_Q2_K ? 16 : weights_halved<TYPE> ? 8 : 0;

template <int TYPE>
GPU_INLINE void weights_seek_scales(const struct cuda_matrix &w, int64_t row, int block,
                                    struct weights_at *at) {
    at->scales = w.scales + row * w.scale_bytes;
    if (weights_behind_step<TYPE> != 0) /* behind 16 bytes for each 256 columns */
        at->behind = at->scales + w.blocks / 8 * 16 + block / 8 * (weights_behind_step<TYPE> / 4);
    if (TYPE == CUDA_Q4_K || TYPE == CUDA_Q5_K)
        at->scales += block / 8 * 16;
    else
        at->scales += block * (weights_scales_step<TYPE> / 32);
}

template <int TYPE>
GPU_INLINE struct weights_at weights_seek(const struct cuda_matrix &w, int64_t row, int unit) {
    struct weights_at at = {};
    at.values = w.values + (row * w.chunks + unit) * 16;
    if (TYPE == CUDA_Q8_0)
        at.more = at.values + (int64_t)w.blocks * 16;
    else if (weights_more_step<TYPE> != 0)
        at.more = w.high + row * w.high_bytes + unit * (weights_more_step<TYPE> / 32);
    if (TYPE >= CUDA_Q8_0)
        weights_seek_scales<TYPE>(w, row, unit, &at);
    return at;
}

/* Goes on by 32 units, `n` times. */
template <int TYPE> GPU_INLINE void weights_pass(struct weights_at *at, int n) {
    at->values += n * 512;
    at->more += n * weights_more_step<TYPE>;
    at->scales += n * weights_scales_step<TYPE>;
    at->behind += n * weights_behind_step<TYPE>;
}

/* Scales of a block, as they lie in memory, in v[6 … 9] (Q8_0: v[8]). `k`: of the block 32 * k behind. */
template <int TYPE>
GPU_INLINE void weights_take_scales(const struct weights_at &at, int k, struct weights_raw *r) {
    const uint8_t *scales = at.scales + k * weights_scales_step<TYPE>;
    const uint8_t *behind = at.behind + k * weights_behind_step<TYPE>;
    if (TYPE == CUDA_Q8_0) {
        r->v[8] = *(const uint16_t *)scales;
    } else if (TYPE == CUDA_Q4_0 || TYPE == CUDA_Q5_0) {
        r->v[6] = *(const uint16_t *)scales;
    } else if (TYPE == CUDA_Q4_1 || TYPE == CUDA_Q5_1) {
        r->v[6] = *(const uint32_t *)scales;
    } else if (TYPE == CUDA_Q4_K || TYPE == CUDA_Q5_K) {
        weights_words(scales, r->v + 6);
    } else if (TYPE == CUDA_Q2_K) {
        r->v[6] = *(const uint16_t *)scales;
        r->v[7] = *(const uint32_t *)behind;
    } else {
        r->v[6] = *(const uint16_t *)scales;
        r->v[7] = *(const uint16_t *)behind;
    }
}

/* The unit 32 * k behind, all of it. */
template <int TYPE> GPU_INLINE void weights_take(const struct weights_at &at, int k, struct weights_raw *r) {
    weights_words(at.values + k * 512, r->v);
    const uint8_t *more = at.more + k * weights_more_step<TYPE>;
    if (TYPE == CUDA_Q8_0) {
        weights_words(more, r->v + 4);
    } else if (TYPE == CUDA_Q5_0 || TYPE == CUDA_Q5_1 || TYPE == CUDA_Q5_K) {
        r->v[4] = *(const uint32_t *)more;
    } else if (TYPE == CUDA_Q6_K) {
        const struct gpu_u2 high = *(const struct gpu_u2 *)more;
        r->v[4] = high.x;
        r->v[5] = high.y;
    }
    if (TYPE >= CUDA_Q8_0)
        weights_take_scales<TYPE>(at, k, r);
}

template <int TYPE>
GPU_INLINE void weights_load_scales(const struct cuda_matrix &w, int64_t row, int block,
                                    struct weights_raw *r) {
    struct weights_at at = {};
    weights_seek_scales<TYPE>(w, row, block, &at);
    weights_take_scales<TYPE>(at, 0, r);
}

/* Unit `unit` of a row: zeros behind the last one. */
template <int TYPE>
GPU_INLINE void weights_load(const struct cuda_matrix &w, int64_t row, int unit, struct weights_raw *r) {
    int units = TYPE >= CUDA_Q8_0 ? w.blocks : w.chunks;
    if (unit < units) {
        weights_take<TYPE>(weights_seek<TYPE>(w, row, unit), 0, r);
        return;
    }
    GPU_UNROLL
    for (int i = 0; i < 10; i++)
        r->v[i] = 0;
}

/* s and z of both halves of a block. */
struct weights_scale {
    float s[2], z[2];
};

GPU_INLINE float weights_low_half(uint32_t word) {
    return gpu_f16_to_float((uint16_t)word);
}

GPU_INLINE float weights_high_half(uint32_t word) {
    return gpu_f16_to_float((uint16_t)(word >> 16));
}

template <int TYPE> GPU_INLINE struct weights_scale weights_scales(const struct weights_raw &r, int block) {
    float s, z = 0;
    if (TYPE == CUDA_Q2_K) {
        float d = weights_low_half(r.v[7]), m = weights_high_half(r.v[7]);
        return {{d * (float)(r.v[6] & 15), d * (float)(r.v[6] >> 8 & 15)},
                {-m * (float)(r.v[6] >> 4 & 15), -m * (float)(r.v[6] >> 12 & 15)}};
    }
    if (TYPE == CUDA_Q3_K || TYPE == CUDA_Q6_K) {
        float d = weights_low_half(r.v[7]), offset = TYPE == CUDA_Q3_K ? -4.0f : -32.0f;
        float low = d * (float)(int8_t)r.v[6], high = d * (float)(int8_t)(r.v[6] >> 8);
        return {{low, high}, {offset * low, offset * high}};
    }
    if (TYPE == CUDA_Q4_K || TYPE == CUDA_Q5_K) {
        int j = block & 7, turn = (4 * j + 30) % 32; /* brings nibble j to bits 2 … 5 */
        uint32_t low = gpu_byte(r.v[7], r.v[8], j), high = r.v[9] >> turn | r.v[9] << (32 - turn);
        s = weights_low_half(r.v[6]) * (float)(low & 63);
        z = -weights_high_half(r.v[6]) * (float)((low >> 6 & 3) | (high & 0x3C));
    } else if (TYPE == CUDA_Q8_0) {
        s = weights_low_half(r.v[8]);
    } else {
        s = weights_low_half(r.v[6]);
        if (TYPE == CUDA_Q4_0 || TYPE == CUDA_Q5_0)
            z = (TYPE == CUDA_Q4_0 ? -8.0f : -16.0f) * s;
        else
            z = weights_high_half(r.v[6]);
    }
    return {{s, s}, {z, z}};
}

/* Types whose q are four bits with one scale for the block: their high nibbles can stay where they are, which
 * makes 16 times the numbers. */
template <int TYPE>
constexpr bool weights_nibbles = TYPE == CUDA_Q4_0 || TYPE == CUDA_Q4_1 || TYPE == CUDA_Q4_K;

/* q of columns 16 * half + 4j … + 3 of a block: four whole numbers of 8 bits. */
template <int TYPE> GPU_INLINE uint32_t weights_four(const struct weights_raw &r, int half, int j) {
    if (TYPE == CUDA_Q8_0)
        return r.v[4 * half + j];
    uint32_t q = r.v[j] >> (4 * half) & 0x0F0F0F0Fu;
    if (TYPE == CUDA_Q5_0 || TYPE == CUDA_Q5_1 || TYPE == CUDA_Q5_K)
        q |= (r.v[4] >> (2 * j + half) & 0x01010101u) << 4;
    if (TYPE == CUDA_Q6_K)
        q |= (r.v[4 + half] >> (2 * j) & 0x03030303u) << 4;
    return q;
}

/* Columns 4g … 4g + 3 of a unit in F32; of F8 without the row's factor. `scale`: of a quantised block. */
template <int TYPE>
GPU_INLINE void weights_floats(const struct weights_raw &r, const struct weights_scale &scale, int g,
                               float v[4]) {
    if (TYPE == CUDA_F32) {
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            v[i] = gpu_bits_to_float(r.v[i]);
    } else if (TYPE == CUDA_BF16) {
        GPU_UNROLL
        for (int i = 0; i < 2; i++) {
            v[2 * i] = gpu_bits_to_float(r.v[2 * g + i] << 16);
            v[2 * i + 1] = gpu_bits_to_float(r.v[2 * g + i] & 0xFFFF0000u);
        }
    } else if (TYPE == CUDA_F16 || TYPE == CUDA_F8) {
        GPU_UNROLL
        for (int i = 0; i < 2; i++) {
            uint32_t two = TYPE == CUDA_F16 ? r.v[2 * g + i] : gpu_f8x2_to_f16x2(r.v[g] >> (16 * i));
            v[2 * i] = weights_low_half(two);
            v[2 * i + 1] = weights_high_half(two);
        }
    } else {
        uint32_t q = weights_four<TYPE>(r, g / 4, g % 4);
        GPU_UNROLL
        for (int i = 0; i < 4; i++) {
            int whole = TYPE == CUDA_Q8_0 ? (int8_t)(q >> (8 * i)) : (int)(q >> (8 * i) & 255);
            v[i] = gpu_fma(scale.s[g / 4], (float)whole, scale.z[g / 4]);
        }
    }
}

/* What a row's sums are still to be multiplied by. */
GPU_INLINE float weights_factor(const struct cuda_matrix &w, int64_t row) {
    return w.type == CUDA_F8 ? ((const float *)w.scales)[row] : 1.0f;
}

/* Cases of a switch over enum cuda_type: `call` with the constant TYPE. */
#define WEIGHTS_CASE(type, call)                                                                             \
    case type: {                                                                                             \
        constexpr int TYPE = type;                                                                           \
        call;                                                                                                \
        break;                                                                                               \
    }
#define WEIGHTS_PLAIN(call)                                                                                  \
    WEIGHTS_CASE(CUDA_F32, call)                                                                             \
    WEIGHTS_CASE(CUDA_F16, call)                                                                             \
    WEIGHTS_CASE(CUDA_BF16, call)                                                                            \
    WEIGHTS_CASE(CUDA_F8, call)
#define WEIGHTS_QUANTISED(call)                                                                              \
    WEIGHTS_CASE(CUDA_Q8_0, call)                                                                            \
    WEIGHTS_CASE(CUDA_Q4_0, call)                                                                            \
    WEIGHTS_CASE(CUDA_Q4_1, call)                                                                            \
    WEIGHTS_CASE(CUDA_Q5_0, call)                                                                            \
    WEIGHTS_CASE(CUDA_Q5_1, call)                                                                            \
    WEIGHTS_CASE(CUDA_Q2_K, call)                                                                            \
    WEIGHTS_CASE(CUDA_Q3_K, call)                                                                            \
    WEIGHTS_CASE(CUDA_Q4_K, call)                                                                            \
    WEIGHTS_CASE(CUDA_Q5_K, call)                                                                            \
    WEIGHTS_CASE(CUDA_Q6_K, call)

#endif
