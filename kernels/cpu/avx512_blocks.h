/* Stored blocks for the AVX-512 products: elements as unsigned bytes, the factors of 16 rows side by side,
 * and the inputs they meet. Included by avx512_bytes.c and avx512_one.c alone. The layouts of the blocks:
 * kernels/cpu/blocks.c. */
#ifndef KERNELS_CPU_AVX512_BLOCKS_H
#define KERNELS_CPU_AVX512_BLOCKS_H

#include "kernels/cpu/avx512.h"
#include "kernels/cpu/x86_blocks.h"

/* Where an input's numbers from some element on lie. */
struct avx512_input {
    const int8_t *q;
    const float *scales; /* of 32 */
    const int16_t *sums; /* of 16 */
};

AVX512_INLINE struct avx512_input avx512_input_at(const char *row, int k, int first) {
    struct avx512_input in = {.q = (const int8_t *)row + first,
                              .scales = (const float *)(const void *)(row + k) + first / 32,
                              .sums = (const int16_t *)(const void *)(row + k + k / 8) + first / 16};
    return in;
}

/* avx512_one.c: n_rows stored rows times job's one input. */
void avx512_product_one(enum dtype type, const struct x86_job *job, int n_rows);

/* Factors of 16 rows and 256 elements: a row's element is scale[g] * (q - offset) - minimum[g], g its group.
 */
struct avx512_factors {
    _Alignas(64) float scale[16][16]; /* group, row */
    float minimum[16][16];
};

/* What the elements of a type have too much as unsigned bytes. */
AVX512_INLINE int avx512_offset(enum dtype type) {
    switch (type) {
    case DTYPE_Q8_0:
        return 128;
    case DTYPE_Q4_0:
        return 8;
    case DTYPE_Q5_0:
        return 16;
    case DTYPE_Q3_K:
        return 4;
    case DTYPE_Q6_K:
        return 32;
    default:
        return 0;
    }
}

AVX512_INLINE bool avx512_has_minima(enum dtype type) {
    return type == DTYPE_Q4_1 || type == DTYPE_Q5_1 || type == DTYPE_Q2_K || type == DTYPE_Q4_K ||
           type == DTYPE_Q5_K;
}

/* ---- elements ---- */

AVX512_INLINE __m256i avx512_load32(const uint8_t *at) {
    return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

AVX512_INLINE __m512i avx512_pair(__m256i low, __m256i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* Bits of each byte from `from` on, `mask` of them, moved up by `up`; all three known when compiled. */
AVX512_INLINE __m512i avx512_bits(__m512i v, int from, int mask, int up) {
    v = from > up   ? _mm512_srli_epi32(v, (unsigned)(from - up))
        : from < up ? _mm512_slli_epi32(v, (unsigned)(up - from))
                    : v;
    return _mm512_and_si512(v, _mm512_set1_epi8((char)(mask << up)));
}

/* The same with another place in the upper half. */
AVX512_INLINE __m512i avx512_bits2(__m256i v, int from_low, int from_high, int mask, int up) {
    __m256i m = _mm256_set1_epi8((char)(mask << up));
    __m256i low = from_low > up ? _mm256_srli_epi16(v, from_low - up) : _mm256_slli_epi16(v, up - from_low);
    __m256i high =
        from_high > up ? _mm256_srli_epi16(v, from_high - up) : _mm256_slli_epi16(v, up - from_high);
    return avx512_pair(_mm256_and_si256(low, m), _mm256_and_si256(high, m));
}

AVX512_INLINE uint32_t avx512_u32(const uint8_t *at) {
    uint32_t v;
    memcpy(&v, at, 4);
    return v;
}

AVX512_INLINE uint16_t avx512_u16(const uint8_t *at) {
    uint16_t v;
    memcpy(&v, at, 2);
    return v;
}

/* 16 bytes: low nibbles, then high ones. */
AVX512_INLINE __m256i avx512_nibbles(const uint8_t *at) {
    __m128i q = _mm_loadu_si128((const __m128i *)(const void *)at);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), _mm256_set1_epi8(15));
}

AVX512_INLINE __m256i avx512_small(enum dtype type, const uint8_t *block) {
    const __m256i sixteen = _mm256_set1_epi8(16);
    switch (type) {
    case DTYPE_Q8_0:
        return _mm256_xor_si256(avx512_load32(block + 2), _mm256_set1_epi8((char)0x80));
    case DTYPE_Q4_0:
        return avx512_nibbles(block + 2);
    case DTYPE_Q4_1:
        return avx512_nibbles(block + 4);
    case DTYPE_Q5_0:
        return _mm256_or_si256(avx512_nibbles(block + 6),
                               _mm256_maskz_mov_epi8(avx512_u32(block + 2), sixteen));
    default: /* Q5_1 */
        return _mm256_or_si256(avx512_nibbles(block + 8),
                               _mm256_maskz_mov_epi8(avx512_u32(block + 4), sixteen));
    }
}

/* Elements 64 i … 64 i + 63 of a block of 256 as unsigned bytes; i known when compiled. */
AVX512_INLINE __m512i avx512_super(enum dtype type, const uint8_t *block, int i) {
    switch (type) {
    case DTYPE_Q2_K:
        return avx512_bits2(avx512_load32(block + 16 + i / 2 * 32), i % 2 * 4, i % 2 * 4 + 2, 3, 0);
    case DTYPE_Q3_K:
        return _mm512_or_si512(
            avx512_bits2(avx512_load32(block + 32 + i / 2 * 32), i % 2 * 4, i % 2 * 4 + 2, 3, 0),
            avx512_bits2(avx512_load32(block), 2 * i, 2 * i + 1, 1, 2));
    case DTYPE_Q4_K:
        return avx512_bits2(avx512_load32(block + 16 + i * 32), 0, 4, 15, 0);
    case DTYPE_Q5_K:
        return _mm512_or_si512(avx512_bits2(avx512_load32(block + 48 + i * 32), 0, 4, 15, 0),
                               avx512_bits2(avx512_load32(block + 16), 2 * i, 2 * i + 1, 1, 4));
    default: { /* Q6_K */
        __m512i low = _mm512_loadu_si512(block + i / 2 * 64);
        return _mm512_or_si512(
            avx512_bits(low, i % 2 * 4, 15, 0),
            avx512_bits2(avx512_load32(block + 128 + i / 2 * 32), i % 2 * 4, i % 2 * 4 + 2, 3, 4));
    }
    }
}

/* Elements 64 i … 64 i + 63 of a row as unsigned bytes; with `half` only 32 of them are there, the rest is 0.
 */
AVX512_INLINE __m512i avx512_elements(enum dtype type, const uint8_t *row, int i, bool half) {
    if (!x86_is_small(type))
        return avx512_super(type, row, i);
    size_t bytes = x86_super_bytes(type) / 8;
    const uint8_t *block = row + (size_t)(2 * i) * bytes;
    __m256i low = avx512_small(type, block);
    return half ? _mm512_zextsi256_si512(low) : avx512_pair(low, avx512_small(type, block + bytes));
}

/* Rows of 16 dwords to columns. */
AVX512_INLINE void avx512_transpose(__m512i v[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            v[i + j * 2] = _mm512_unpacklo_epi64(t[i + j], t[i + 2 + j]);
            v[i + j * 2 + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + 2 + j]);
        }
    /* v[4 i + j]: dwords j, 4 + j, 8 + j, 12 + j of rows 4 i … 4 i + 3, one 128-bit part each */
    for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xDD);
        t[8 + j] = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x88);
        t[12 + j] = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xDD);
    }
    for (int j = 0; j < 4; j++) {
        v[j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88);
        v[8 + j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0xDD);
        v[4 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0x88);
        v[12 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0xDD);
    }
}

/* ---- factors ---- */

/* Four dwords at byte `at` of each of 16 blocks: out[i] = dword i of all rows. */
AVX512_INLINE void avx512_heads(const uint8_t *const rows[16], size_t at, int shift, __m512i out[4]) {
    __m512i z[4];
    for (int j = 0; j < 4; j++) {
        __m128i part[4];
        for (int l = 0; l < 4; l++) {
            part[l] = _mm_loadu_si128((const __m128i *)(const void *)(rows[l * 4 + j] + at));
            if (shift == 2)
                part[l] = _mm_srli_si128(part[l], 2);
        }
        z[j] = avx512_pair(_mm256_set_m128i(part[1], part[0]), _mm256_set_m128i(part[3], part[2]));
    }
    __m512i a = _mm512_unpacklo_epi32(z[0], z[1]), b = _mm512_unpackhi_epi32(z[0], z[1]);
    __m512i c = _mm512_unpacklo_epi32(z[2], z[3]), d = _mm512_unpackhi_epi32(z[2], z[3]);
    out[0] = _mm512_unpacklo_epi64(a, c);
    out[1] = _mm512_unpackhi_epi64(a, c);
    out[2] = _mm512_unpacklo_epi64(b, d);
    out[3] = _mm512_unpackhi_epi64(b, d);
}

/* The halves in the low 16 bits of each lane. */
AVX512_INLINE __m512 avx512_halves(__m512i v) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

/* The halves at byte `at` of 16 blocks. */
AVX512_INLINE __m512 avx512_halves_at(const uint8_t *const rows[16], size_t at) {
    _Alignas(32) uint16_t halves[16];
    for (int r = 0; r < 16; r++)
        halves[r] = avx512_u16(rows[r] + at);
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)halves));
}

/* Bits of each lane as numbers times a factor. */
AVX512_INLINE void avx512_put(float out[16], __m512i v, __m512 factor) {
    _mm512_store_ps(out, _mm512_mul_ps(_mm512_cvtepi32_ps(v), factor));
}

AVX512_INLINE void avx512_factors_k4(const uint8_t *const rows[16], struct avx512_factors *f) {
    __m512i t[4];
    avx512_heads(rows, 0, 0, t);
    __m512 d = avx512_halves(t[0]), m = avx512_halves(_mm512_srli_epi32(t[0], 16));
    const __m512i six = _mm512_set1_epi32(63), four = _mm512_set1_epi32(15), top = _mm512_set1_epi32(48);
    for (unsigned j = 0; j < 4; j++) {
        __m512i a = _mm512_srli_epi32(t[1], 8 * j), b = _mm512_srli_epi32(t[2], 8 * j);
        __m512i c = _mm512_srli_epi32(t[3], 8 * j);
        avx512_put(f->scale[j], _mm512_and_si512(a, six), d);
        avx512_put(f->minimum[j], _mm512_and_si512(b, six), m);
        a = _mm512_and_si512(_mm512_srli_epi32(a, 2), top);
        b = _mm512_and_si512(_mm512_srli_epi32(b, 2), top);
        avx512_put(f->scale[j + 4], _mm512_or_si512(_mm512_and_si512(c, four), a), d);
        c = _mm512_srli_epi32(c, 4);
        avx512_put(f->minimum[j + 4], _mm512_or_si512(_mm512_and_si512(c, four), b), m);
    }
}

AVX512_INLINE void avx512_factors_q2(const uint8_t *const rows[16], struct avx512_factors *f) {
    __m512i t[4];
    avx512_heads(rows, 0, 0, t);
    __m512 d = avx512_halves_at(rows, 80), m = avx512_halves_at(rows, 82);
    const __m512i four = _mm512_set1_epi32(15);
    for (unsigned g = 0; g < 16; g++) {
        __m512i v = _mm512_srli_epi32(t[g / 4], g % 4 * 8);
        avx512_put(f->scale[g], _mm512_and_si512(v, four), d);
        avx512_put(f->minimum[g], _mm512_and_si512(_mm512_srli_epi32(v, 4), four), m);
    }
}

/* The twelve bytes and the scale end the block, so they are loaded from two bytes before them. */
AVX512_INLINE void avx512_factors_q3(const uint8_t *const rows[16], struct avx512_factors *f) {
    __m512i t[4];
    avx512_heads(rows, 94, 2, t);
    __m512 d = avx512_halves(t[3]);
    for (unsigned g = 0; g < 16; g++) {
        __m512i low = _mm512_srli_epi32(t[g / 4 % 2], g % 4 * 8 + g / 8 * 4);
        __m512i high = _mm512_srli_epi32(t[2], g % 4 * 8 + g / 4 * 2);
        low = _mm512_and_si512(low, _mm512_set1_epi32(15));
        high = _mm512_slli_epi32(_mm512_and_si512(high, _mm512_set1_epi32(3)), 4);
        avx512_put(f->scale[g], _mm512_sub_epi32(_mm512_or_si512(low, high), _mm512_set1_epi32(32)), d);
    }
}

AVX512_INLINE void avx512_factors_q6(const uint8_t *const rows[16], struct avx512_factors *f) {
    __m512i t[4];
    avx512_heads(rows, 192, 0, t);
    __m512 d = avx512_halves_at(rows, 208);
    for (unsigned g = 0; g < 16; g++) {
        __m512i v = _mm512_slli_epi32(t[g / 4], 24 - g % 4 * 8);
        avx512_put(f->scale[g], _mm512_srai_epi32(v, 24), d);
    }
}

/* The first four bytes of up to eight blocks of 32 of 16 rows, by block. */
AVX512_INLINE void avx512_starts(const uint8_t *const rows[16], size_t bytes, int blocks, __m512i out[8]) {
    AVX512_UNROLL
    for (int b = 0; b < 8; b++)
        out[b] = _mm512_setzero_si512();
    AVX512_UNROLL
    for (int r = 0; r < 16; r++) {
        const __mmask16 lane = (__mmask16)(1u << r);
        AVX512_UNROLL
        for (int b = 0; b < 8; b++)
            if (b < blocks)
                out[b] =
                    _mm512_mask_broadcastd_epi32(out[b], lane, _mm_loadu_si32(rows[r] + (size_t)b * bytes));
    }
}

/* Up to eight blocks of 32, which begin with their factors. */
AVX512_INLINE void avx512_factors_small(enum dtype type, const uint8_t *const rows[16], int blocks,
                                        struct avx512_factors *f) {
    __m512i starts[8];
    if (blocks == 8)
        avx512_starts(rows, x86_super_bytes(type) / 8, 8, starts);
    else
        avx512_starts(rows, x86_super_bytes(type) / 8, blocks, starts);
    AVX512_UNROLL
    for (int b = 0; b < 8; b++) {
        _mm512_store_ps(f->scale[b], avx512_halves(starts[b]));
        /* These types add their minimum. */
        if (avx512_has_minima(type))
            _mm512_store_ps(f->minimum[b], _mm512_sub_ps(_mm512_setzero_ps(),
                                                         avx512_halves(_mm512_srli_epi32(starts[b], 16))));
    }
}

AVX512_INLINE void avx512_factors_of(enum dtype type, const uint8_t *const rows[16], int n,
                                     struct avx512_factors *f) {
    switch (type) {
    case DTYPE_Q2_K:
        avx512_factors_q2(rows, f);
        break;
    case DTYPE_Q3_K:
        avx512_factors_q3(rows, f);
        break;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        avx512_factors_k4(rows, f);
        break;
    case DTYPE_Q6_K:
        avx512_factors_q6(rows, f);
        break;
    default:
        avx512_factors_small(type, rows, n / 32, f);
        break;
    }
}

#endif
