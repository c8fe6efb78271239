/* Stored blocks for the AVX2 products: 256 elements of eight rows side by side. Included by avx2_tile.h
 * alone. The layouts of the blocks: kernels/cpu/blocks.c; of blocks that lie side by side:
 * kernels/cpu/pack.h. */
#ifndef KERNELS_CPU_AVX2_PANEL_H
#define KERNELS_CPU_AVX2_PANEL_H

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/x86_blocks.h"

#include <string.h>

#define AVX2_PANEL 256 /* elements */
#define AVX2_ROWS  8   /* of a panel: the lanes of a register */

/* An element is scale * q - minimum, both those of its group of 32. Of types with groups of 16 it is
 * scale * s * (q - offset) - minimum * m: scale and minimum are those of the block, s and m whole numbers of
 * the group. */
struct avx2_factors {
    _Alignas(32) float scale[8][8]; /* group of 32, row; by 16: [0] alone */
    float minimum[8][8];
    int16_t by_16[16][16]; /* group of 16, row: s, twice */
    int16_t pairs[8][16];  /* group of 32, row: m, or offset * s, of its two groups of 16 */
};

struct avx2_panel {
    _Alignas(32) uint8_t q[AVX2_PANEL / 4][32]; /* elements 4 i … 4 i + 3 of all rows; of Q8_0 signed */
    struct avx2_factors f;
};

/* Where the next blocks of eight rows are: each row by itself, or, rows being NULL, those of half a strip
 * that lies side by side. Which of the two is known when this is compiled. */
struct avx2_from {
    const uint8_t *const *rows;
    const uint8_t *strip;
    int half;
};

/* Asks for a 16th of the bytes of two panels, which are stored rows of the near future: into the second-level
 * cache, because the first has no room for them. Addresses past the end of the weights do no harm. Quarters
 * of a panel that is made and groups of a tile ask for one part each, because in either memory would stand
 * still in the other. at: NULL when there is nothing to ask for. */
AVX2_INLINE void avx2_ask(enum dtype type, const uint8_t *at, int part) {
    const size_t bytes = x86_super_bytes(type);
    for (size_t i = 0; i < bytes && at != NULL; i += 64)
        _mm_prefetch((const char *)at + bytes * (size_t)part + i, _MM_HINT_T1);
}

/* ---- bytes of eight rows ---- */

/* Of rows side by side: four bytes at `at` of each. */
AVX2_INLINE __m256i avx2_beside(struct avx2_from from, size_t at) {
    return _mm256_load_si256((const __m256i *)(const void *)(from.strip + at * 16 + (size_t)from.half * 32));
}

/* 16 bytes at `at` of each row: v[i] = the i-th four of all rows. */
AVX2_INLINE void avx2_columns(struct avx2_from from, size_t at, __m256i v[4]) {
    const uint8_t *const *rows = from.rows;
    __m256i z[4];
    if (rows == NULL) {
        AVX2_UNROLL
        for (size_t i = 0; i < 4; i++)
            v[i] = avx2_beside(from, at + 4 * i);
        return;
    }
    AVX2_UNROLL
    for (int r = 0; r < 4; r++) {
        __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(rows[r] + at));
        __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(rows[r + 4] + at));
        z[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    }
    __m256i a = _mm256_unpacklo_epi32(z[0], z[1]), b = _mm256_unpackhi_epi32(z[0], z[1]);
    __m256i c = _mm256_unpacklo_epi32(z[2], z[3]), d = _mm256_unpackhi_epi32(z[2], z[3]);
    v[0] = _mm256_unpacklo_epi64(a, c);
    v[1] = _mm256_unpackhi_epi64(a, c);
    v[2] = _mm256_unpacklo_epi64(b, d);
    v[3] = _mm256_unpackhi_epi64(b, d);
}

/* The same of 32 bytes. */
AVX2_INLINE void avx2_columns32(struct avx2_from from, size_t at, __m256i v[8]) {
    avx2_columns(from, at, v);
    avx2_columns(from, at + 16, v + 4);
}

/* Four bytes at `at` of each row. */
AVX2_INLINE __m256i avx2_fours(struct avx2_from from, size_t at) {
    const uint8_t *const *rows = from.rows;
    __m128i z[8];
    if (rows == NULL)
        return avx2_beside(from, at);
    AVX2_UNROLL
    for (int r = 0; r < 8; r++)
        z[r] = _mm_loadu_si32(rows[r] + at);
    __m128i low = _mm_unpacklo_epi64(_mm_unpacklo_epi32(z[0], z[1]), _mm_unpacklo_epi32(z[2], z[3]));
    __m128i high = _mm_unpacklo_epi64(_mm_unpacklo_epi32(z[4], z[5]), _mm_unpacklo_epi32(z[6], z[7]));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* Bits of each byte from `from` on, `mask` of them, moved up by `up`; all three known when compiled. */
AVX2_INLINE __m256i avx2_bits(__m256i v, int from, int mask, int up) {
    v = from > up ? _mm256_srli_epi16(v, from - up) : from < up ? _mm256_slli_epi16(v, up - from) : v;
    return _mm256_and_si256(v, _mm256_set1_epi8((char)(mask << up)));
}

AVX2_INLINE void avx2_put(struct avx2_panel *p, int quad, __m256i v) {
    _mm256_store_si256((__m256i *)(void *)p->q[quad], v);
}

AVX2_INLINE __m256i avx2_quad(const struct avx2_panel *p, int quad) {
    return _mm256_load_si256((const __m256i *)(const void *)p->q[quad]);
}

/* ---- elements ---- */

/* The fifth bits of elements 4 j … of all rows, which have 32 of them in each lane. */
AVX2_INLINE __m256i avx2_fifths(__m256i bits, int j) {
    /* Bits 4 j … 4 j + 3 of the row, one for each byte. */
    const __m256i bit = _mm256_set1_epi32(j % 2 == 0 ? 0x08040201 : (int)0x80402010);
    const int lane = 0x01010101 * (j / 2), next = 0x04040404;
    const __m256i byte = _mm256_setr_epi32(lane, lane + next, lane + 2 * next, lane + 3 * next, lane,
                                           lane + next, lane + 2 * next, lane + 3 * next);
    __m256i set = _mm256_and_si256(_mm256_shuffle_epi8(bits, byte), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(set, bit), _mm256_set1_epi8(16));
}

/* Block b of 32. */
AVX2_INLINE void avx2_small(enum dtype type, struct avx2_from from, int b, struct avx2_panel *p) {
    const bool fifth = type == DTYPE_Q5_0 || type == DTYPE_Q5_1;
    const size_t bytes = x86_super_bytes(type) / 8, at = (size_t)b * bytes;
    __m256i v[8], fifths = _mm256_setzero_si256();
    if (type == DTYPE_Q8_0) {
        avx2_columns32(from, at + 2, v);
        AVX2_UNROLL
        for (int j = 0; j < 8; j++)
            avx2_put(p, b * 8 + j, v[j]);
        return;
    }
    avx2_columns(from, at + bytes - 16, v);
    if (fifth)
        fifths = avx2_fours(from, at + bytes - 20);
    AVX2_UNROLL
    for (int j = 0; j < 8; j++) {
        __m256i q = avx2_bits(v[j % 4], j / 4 * 4, 15, 0);
        if (fifth)
            q = _mm256_or_si256(q, avx2_fifths(fifths, j));
        avx2_put(p, b * 8 + j, q);
    }
}

AVX2_INLINE void avx2_q4_q5_k(enum dtype type, struct avx2_from from, struct avx2_panel *p,
                              const uint8_t *ahead) {
    const bool fifth = type == DTYPE_Q5_K;
    __m256i v[8], high[8];
    if (fifth)
        avx2_columns32(from, 16, high);
    AVX2_UNROLL
    for (int i = 0; i < 4; i++) {
        avx2_ask(type, ahead, i);
        avx2_columns32(from, (fifth ? 48 : 16) + (size_t)i * 32, v);
        AVX2_UNROLL
        for (int j = 0; j < 8; j++) {
            __m256i low = avx2_bits(v[j], 0, 15, 0), top = avx2_bits(v[j], 4, 15, 0);
            if (fifth) {
                low = _mm256_or_si256(low, avx2_bits(high[j], 2 * i, 1, 4));
                top = _mm256_or_si256(top, avx2_bits(high[j], 2 * i + 1, 1, 4));
            }
            avx2_put(p, i * 16 + j, low);
            avx2_put(p, i * 16 + 8 + j, top);
        }
    }
}

AVX2_INLINE void avx2_q6_k(struct avx2_from from, struct avx2_panel *p, const uint8_t *ahead) {
    __m256i v[8], high[8];
    AVX2_UNROLL
    for (int h = 0; h < 2; h++) {
        avx2_columns32(from, 128 + (size_t)h * 32, high);
        AVX2_UNROLL
        for (int i = 0; i < 2; i++) {
            avx2_ask(DTYPE_Q6_K, ahead, h * 2 + i);
            avx2_columns32(from, (size_t)(h * 64 + i * 32), v);
            AVX2_UNROLL
            for (int j = 0; j < 8; j++) {
                avx2_put(p, h * 32 + i * 8 + j,
                         _mm256_or_si256(avx2_bits(v[j], 0, 15, 0), avx2_bits(high[j], 2 * i, 3, 4)));
                avx2_put(p, h * 32 + 16 + i * 8 + j,
                         _mm256_or_si256(avx2_bits(v[j], 4, 15, 0), avx2_bits(high[j], 2 * i + 4, 3, 4)));
            }
        }
    }
}

AVX2_INLINE void avx2_q2_q3_k(enum dtype type, struct avx2_from from, struct avx2_panel *p,
                              const uint8_t *ahead) {
    const bool third = type == DTYPE_Q3_K;
    __m256i v[8], high[8];
    if (third)
        avx2_columns32(from, 0, high);
    AVX2_UNROLL
    for (int h = 0; h < 2; h++) {
        avx2_columns32(from, (third ? 32 : 16) + (size_t)h * 32, v);
        AVX2_UNROLL
        for (int i = 0; i < 4; i++) {
            if (i % 2 == 0)
                avx2_ask(type, ahead, h * 2 + i / 2);
            AVX2_UNROLL
            for (int j = 0; j < 8; j++) {
                __m256i q = avx2_bits(v[j], 2 * i, 3, 0);
                if (third)
                    q = _mm256_or_si256(q, avx2_bits(high[j], 4 * h + i, 1, 2));
                avx2_put(p, h * 32 + i * 8 + j, q);
            }
        }
    }
}

/* ---- elements of rows side by side, where they lie ---- */

/* Groups whose bits lie at places that are known when this is compiled, in bytes that are not. */
AVX2_INLINE int avx2_span(enum dtype type) {
    return x86_is_small(type) ? 1 : type == DTYPE_Q4_K || type == DTYPE_Q5_K ? 2 : 4;
}

/* Elements 4 j … of group `sub` of a span. */
AVX2_INLINE __m256i avx2_direct(enum dtype type, struct avx2_from from, int span, int sub, int j) {
    const size_t bytes = x86_super_bytes(type) / 8, quad = (size_t)j * 4, s = (size_t)span;
    switch (type) {
    case DTYPE_Q8_0:
        return avx2_beside(from, s * bytes + 2 + quad);
    case DTYPE_Q4_K:
        return avx2_bits(avx2_beside(from, 16 + s * 32 + quad), sub * 4, 15, 0);
    case DTYPE_Q5_K: {
        __m256i high = _mm256_srl_epi16(avx2_beside(from, 16 + quad), _mm_cvtsi32_si128(2 * span));
        return _mm256_or_si256(avx2_bits(avx2_beside(from, 48 + s * 32 + quad), sub * 4, 15, 0),
                               avx2_bits(high, sub, 1, 4));
    }
    case DTYPE_Q6_K:
        return _mm256_or_si256(
            avx2_bits(avx2_beside(from, s * 64 + (size_t)(sub % 2) * 32 + quad), sub / 2 * 4, 15, 0),
            avx2_bits(avx2_beside(from, 128 + s * 32 + quad), 2 * sub, 3, 4));
    case DTYPE_Q2_K:
        return avx2_bits(avx2_beside(from, 16 + s * 32 + quad), 2 * sub, 3, 0);
    case DTYPE_Q3_K: {
        __m256i high = _mm256_srl_epi16(avx2_beside(from, quad), _mm_cvtsi32_si128(4 * span));
        return _mm256_or_si256(avx2_bits(avx2_beside(from, 32 + s * 32 + quad), 2 * sub, 3, 0),
                               avx2_bits(high, sub, 1, 2));
    }
    default: {
        __m256i q = avx2_beside(from, s * bytes + bytes - 16 + quad % 16);
        q = avx2_bits(q, j / 4 * 4, 15, 0);
        if (type == DTYPE_Q5_0 || type == DTYPE_Q5_1)
            q = _mm256_or_si256(q, avx2_fifths(avx2_beside(from, s * bytes + bytes - 20), j));
        return q;
    }
    }
}

/* ---- factors ---- */

/* Two numbers in F16 at `at` of each row. */
AVX2_INLINE void avx2_halves(struct avx2_from from, size_t at, __m256 *low, __m256 *high) {
    if (from.rows == NULL) {
        const uint8_t *strip = from.strip + at * 16 + (size_t)from.half * 16;
        *low = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)strip));
        *high = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(strip + 32)));
        return;
    }
    __m256i v = avx2_fours(from, at);
    __m256i words =
        _mm256_packus_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xFFFF)), _mm256_srli_epi32(v, 16));
    words = _mm256_permute4x64_epi64(words, 0xD8);
    *low = _mm256_cvtph_ps(_mm256_castsi256_si128(words));
    *high = _mm256_cvtph_ps(_mm256_extracti128_si256(words, 1));
}

/* Up to eight blocks of 32, which begin with their factors. The minima are what the types with an offset have
 * too much, or minus what others add. */
AVX2_INLINE void avx2_factors_small(enum dtype type, struct avx2_from from, int b, struct avx2_factors *p) {
    __m256 d, m;
    avx2_halves(from, (size_t)b * (x86_super_bytes(type) / 8), &d, &m);
    _mm256_store_ps(p->scale[b], d);
    if (type == DTYPE_Q4_0 || type == DTYPE_Q5_0)
        m = _mm256_mul_ps(d, _mm256_set1_ps(type == DTYPE_Q4_0 ? 8 : 16));
    else
        m = _mm256_sub_ps(_mm256_setzero_ps(), m);
    if (type != DTYPE_Q8_0)
        _mm256_store_ps(p->minimum[b], m);
}

/* Byte j of each lane, times a factor. */
AVX2_INLINE void avx2_put_scaled(float out[8], __m256i v, int j, __m256 factor) {
    const int none = (int)0x80808000;
    const __m256i pick = _mm256_setr_epi32(none + j, none + j + 4, none + j + 8, none + j + 12, none + j,
                                           none + j + 4, none + j + 8, none + j + 12);
    v = _mm256_shuffle_epi8(v, pick);
    _mm256_store_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(v), factor));
}

AVX2_INLINE void avx2_factors_k4(struct avx2_from from, struct avx2_factors *p) {
    __m256i t[4];
    __m256 d, m;
    avx2_columns(from, 0, t);
    avx2_halves(from, 0, &d, &m);
    __m256i scales = avx2_bits(t[1], 0, 63, 0), minima = avx2_bits(t[2], 0, 63, 0);
    __m256i more_scales = _mm256_or_si256(avx2_bits(t[3], 0, 15, 0), avx2_bits(t[1], 6, 3, 4));
    __m256i more_minima = _mm256_or_si256(avx2_bits(t[3], 4, 15, 0), avx2_bits(t[2], 6, 3, 4));
    AVX2_UNROLL
    for (int j = 0; j < 4; j++) {
        avx2_put_scaled(p->scale[j], scales, j, d);
        avx2_put_scaled(p->scale[j + 4], more_scales, j, d);
        avx2_put_scaled(p->minimum[j], minima, j, m);
        avx2_put_scaled(p->minimum[j + 4], more_minima, j, m);
    }
}

/* Signed bytes a and b of each lane, times 2^(8 - down). */
AVX2_INLINE void avx2_put_pair(int16_t out[16], __m256i v, int a, int b, int down) {
    const int two = 0x00800080 + (a << 8) + (b << 24), next = 0x04000400;
    const __m256i pick = _mm256_setr_epi32(two, two + next, two + 2 * next, two + 3 * next, two, two + next,
                                           two + 2 * next, two + 3 * next);
    v = _mm256_srai_epi16(_mm256_shuffle_epi8(v, pick), down);
    _mm256_store_si256((__m256i *)(void *)out, v);
}

/* Sixteen groups; s[i] has the bytes of groups 4 i … of each row, m[i] those that become pairs. */
AVX2_INLINE void avx2_put_groups(struct avx2_factors *p, const __m256i s[4], const __m256i m[4], int down) {
    AVX2_UNROLL
    for (int g = 0; g < 16; g++)
        avx2_put_pair(p->by_16[g], s[g / 4], g % 4, g % 4, 8);
    AVX2_UNROLL
    for (int g = 0; g < 8; g++)
        avx2_put_pair(p->pairs[g], m[g / 2], g % 2 * 2, g % 2 * 2 + 1, down);
}

AVX2_INLINE void avx2_factors_by_16(enum dtype type, struct avx2_from from, struct avx2_factors *p) {
    __m256i t[4], s[4], m[4];
    __m256 low, high;
    if (type != DTYPE_Q3_K || from.rows != NULL)
        avx2_columns(from, type == DTYPE_Q6_K ? 192 : type == DTYPE_Q3_K ? 94 : 0, t);
    if (type == DTYPE_Q6_K) {
        avx2_put_groups(p, t, t, 3); /* 32 times */
    } else if (type == DTYPE_Q2_K) {
        AVX2_UNROLL
        for (int i = 0; i < 4; i++) {
            s[i] = avx2_bits(t[i], 0, 15, 0);
            m[i] = avx2_bits(t[i], 4, 15, 0);
        }
        avx2_put_groups(p, s, m, 8);
    } else {
        /* The twelve bytes and the scale end a row's block, so two bytes before them were loaded too. */
        __m256i a[4];
        AVX2_UNROLL
        for (int i = 0; i < 3; i++)
            a[i] = from.rows == NULL
                       ? avx2_beside(from, 96 + 4 * (size_t)i)
                       : _mm256_or_si256(_mm256_srli_epi32(t[i], 16), _mm256_slli_epi32(t[i + 1], 16));
        AVX2_UNROLL
        for (int i = 0; i < 4; i++) {
            s[i] = _mm256_or_si256(avx2_bits(a[i % 2], i / 2 * 4, 15, 0), avx2_bits(a[2], 2 * i, 3, 4));
            s[i] = _mm256_sub_epi8(s[i], _mm256_set1_epi8(32));
        }
        avx2_put_groups(p, s, s, 6); /* 4 times */
    }
    avx2_halves(from, type == DTYPE_Q2_K ? 80 : type == DTYPE_Q3_K ? 106 : 206, &low, &high);
    _mm256_store_ps(p->scale[0], type == DTYPE_Q2_K ? low : high);
    _mm256_store_ps(p->minimum[0], high); /* Q2_K alone has it */
}

/* Those of the next `groups` groups of 32. */
AVX2_INLINE void avx2_factors(enum dtype type, struct avx2_from from, int groups, struct avx2_factors *p) {
    if (x86_is_small(type))
        for (int b = 0; b < groups; b++)
            avx2_factors_small(type, from, b, p);
    else if (x86_by_16(type))
        avx2_factors_by_16(type, from, p);
    else
        avx2_factors_k4(from, p);
}

#endif
