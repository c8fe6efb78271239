/* Stored blocks for the AVX2 products: 256 elements of eight rows side by side. Included by avx2_tile.h
 * alone. The layouts of the blocks: kernels/cpu/blocks.c; of blocks that lie side by side:
 * kernels/cpu/pack.h. */
#ifndef KERNELS_CPU_AVX2_PANEL_H
#define KERNELS_CPU_AVX2_PANEL_H

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/x86_blocks.h"

#include <string.h>

#define AVX2_PANEL (32 * PACK_GROUP) /* elements: whole groups of rows side by side */
#define AVX2_ROWS  8                 /* of a panel: the lanes of a register */

/* An element of the small types is scale * q - minimum, both those of its group of 32. Of K types it is
 * scale * s * (q - offset) - minimum * m: scale and minimum are those of the block of 256, s and m whole
 * numbers of its group. The groups have 32 elements, or 16 (x86_by_16()). */
struct avx2_factors {
    _Alignas(32) float scale[8][8]; /* group of 32, row; of K types: [0] alone */
    float minimum[8][8];
    int16_t s[16][16];    /* group, row: s, twice */
    int16_t pairs[8][16]; /* two groups, row: m, or offset * s, of each */
};

struct avx2_panel {
    /* Elements 4 i … 4 i + 3 of all rows. Of Q8_0, whose elements are 128 too much here, their lower four
     * bits; the upper ones follow as as many more. */
    _Alignas(32) uint8_t q[2 * AVX2_PANEL / 4][32];
    struct avx2_factors f;
};

/* Where the next blocks of eight rows are: each row by itself, or, rows being NULL, side by side in half a
 * strip, a group of them (pack.h): the numbers in F16, and the rest. Which of the two is known when this is
 * compiled. */
struct avx2_from {
    const uint8_t *const *rows;
    const uint8_t *halves, *rest;
};

/* The next `groups` groups of 32 elements of a strip, which begin at `at`; those of its rows from 8 half on.
 */
AVX2_INLINE struct avx2_from avx2_group_at(enum dtype type, const uint8_t *at, int half, int groups) {
    const int n = x86_is_small(type) ? groups : 1;
    return (struct avx2_from){.halves = at + half * 2 * AVX2_ROWS,
                              .rest = at + n * pack_halves(type) * PACK_ROWS + half * 4 * AVX2_ROWS};
}

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

/* Of rows side by side: four bytes of each, which are stored at `at` of its blocks, or `on` bytes behind them
 * where they lie now. */
AVX2_INLINE __m256i avx2_beside(enum dtype type, struct avx2_from from, int at, size_t on) {
    const uint8_t *four = from.rest + (size_t)pack_place(type, at) * PACK_ROWS + on * PACK_ROWS;
    return _mm256_load_si256((const __m256i *)(const void *)four);
}

/* Bytes from one block to the next: of a row, and of what is left of it in a group. */
AVX2_INLINE size_t avx2_block(enum dtype type) {
    return x86_is_small(type) ? x86_super_bytes(type) / 8 : x86_super_bytes(type);
}

AVX2_INLINE size_t avx2_rest(enum dtype type) {
    return avx2_block(type) - (size_t)pack_halves(type);
}

/* 16 bytes at `at` of each row's block b: v[i] = the i-th four of all rows. Of rows side by side: where they
 * are no numbers in F16. */
AVX2_INLINE void avx2_columns(enum dtype type, struct avx2_from from, int b, int at, __m256i v[4]) {
    const size_t in_row = (size_t)b * avx2_block(type) + (size_t)at;
    const uint8_t *const *rows = from.rows;
    __m256i z[4];
    if (rows == NULL) {
        AVX2_UNROLL
        for (int i = 0; i < 4; i++)
            if (!pack_is_half(type, at + 4 * i))
                v[i] = avx2_beside(type, from, at + 4 * i, (size_t)b * avx2_rest(type));
        return;
    }
    AVX2_UNROLL
    for (int r = 0; r < 4; r++) {
        __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(rows[r] + in_row));
        __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(rows[r + 4] + in_row));
        z[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    }
    __m256i low01 = _mm256_unpacklo_epi32(z[0], z[1]), high01 = _mm256_unpackhi_epi32(z[0], z[1]);
    __m256i low23 = _mm256_unpacklo_epi32(z[2], z[3]), high23 = _mm256_unpackhi_epi32(z[2], z[3]);
    v[0] = _mm256_unpacklo_epi64(low01, low23);
    v[1] = _mm256_unpackhi_epi64(low01, low23);
    v[2] = _mm256_unpacklo_epi64(high01, high23);
    v[3] = _mm256_unpackhi_epi64(high01, high23);
}

/* The same of 32 bytes. */
AVX2_INLINE void avx2_columns32(enum dtype type, struct avx2_from from, int b, int at, __m256i v[8]) {
    avx2_columns(type, from, b, at, v);
    avx2_columns(type, from, b, at + 16, v + 4);
}

/* Four bytes at `at` of each row's block b. */
AVX2_INLINE __m256i avx2_fours(enum dtype type, struct avx2_from from, int b, int at) {
    const uint8_t *const *rows = from.rows;
    __m128i z[8];
    if (rows == NULL)
        return avx2_beside(type, from, at, (size_t)b * avx2_rest(type));
    AVX2_UNROLL
    for (int r = 0; r < 8; r++)
        z[r] = _mm_loadu_si32(rows[r] + (size_t)b * avx2_block(type) + at);
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
    const int bytes = (int)avx2_block(type);
    __m256i v[8], fifths = _mm256_setzero_si256();
    if (type == DTYPE_Q8_0) {
        avx2_columns32(type, from, b, 2, v);
        AVX2_UNROLL
        for (int j = 0; j < 8; j++) {
            __m256i q = _mm256_xor_si256(v[j], _mm256_set1_epi8((char)0x80));
            avx2_put(p, b * 8 + j, avx2_bits(q, 0, 15, 0));
            avx2_put(p, AVX2_PANEL / 4 + b * 8 + j, avx2_bits(q, 4, 15, 0));
        }
        return;
    }
    avx2_columns(type, from, b, bytes - 16, v);
    if (fifth)
        fifths = avx2_fours(type, from, b, bytes - 20);
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
        avx2_columns32(type, from, 0, 16, high);
    AVX2_UNROLL
    for (int i = 0; i < 4; i++) {
        avx2_ask(type, ahead, i);
        avx2_columns32(type, from, 0, (fifth ? 48 : 16) + i * 32, v);
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
        avx2_columns32(DTYPE_Q6_K, from, 0, 128 + h * 32, high);
        AVX2_UNROLL
        for (int i = 0; i < 2; i++) {
            avx2_ask(DTYPE_Q6_K, ahead, h * 2 + i);
            avx2_columns32(DTYPE_Q6_K, from, 0, h * 64 + i * 32, v);
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
        avx2_columns32(type, from, 0, 0, high);
    AVX2_UNROLL
    for (int h = 0; h < 2; h++) {
        avx2_columns32(type, from, 0, (third ? 32 : 16) + h * 32, v);
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
    const int bytes = (int)avx2_block(type), quad = j * 4;
    const size_t s = (size_t)span, block = s * avx2_rest(type); /* of 32 */
    switch (type) {
    case DTYPE_Q8_0:
        return avx2_beside(type, from, 2 + quad, block);
    case DTYPE_Q4_K:
        return avx2_bits(avx2_beside(type, from, 16 + quad, s * 32), sub * 4, 15, 0);
    case DTYPE_Q5_K: {
        __m256i high = _mm256_srl_epi16(avx2_beside(type, from, 16 + quad, 0), _mm_cvtsi32_si128(2 * span));
        return _mm256_or_si256(avx2_bits(avx2_beside(type, from, 48 + quad, s * 32), sub * 4, 15, 0),
                               avx2_bits(high, sub, 1, 4));
    }
    case DTYPE_Q6_K: /* 32 bytes of upper bits and 64 of lower ones to a span */
        return _mm256_or_si256(
            avx2_bits(avx2_beside(type, from, sub % 2 * 32 + quad, s * 96), sub / 2 * 4, 15, 0),
            avx2_bits(avx2_beside(type, from, 128 + quad, s * 96), 2 * sub, 3, 4));
    case DTYPE_Q2_K:
        return avx2_bits(avx2_beside(type, from, 16 + quad, s * 32), 2 * sub, 3, 0);
    case DTYPE_Q3_K: {
        __m256i high = _mm256_srl_epi16(avx2_beside(type, from, quad, 0), _mm_cvtsi32_si128(4 * span));
        return _mm256_or_si256(avx2_bits(avx2_beside(type, from, 32 + quad, s * 32), 2 * sub, 3, 0),
                               avx2_bits(high, sub, 1, 2));
    }
    default: {
        __m256i q = avx2_beside(type, from, bytes - 16 + quad % 16, block);
        q = avx2_bits(q, j / 4 * 4, 15, 0);
        if (type == DTYPE_Q5_0 || type == DTYPE_Q5_1)
            q = _mm256_or_si256(q, avx2_fifths(avx2_beside(type, from, bytes - 20, block), j));
        return q;
    }
    }
}

/* ---- factors ---- */

/* The numbers in F16 of each row's block b; second: where there is one. */
AVX2_INLINE void avx2_halves(enum dtype type, struct avx2_from from, int b, __m256 *first, __m256 *second) {
    const bool two = pack_halves(type) == 4;
    if (from.rows == NULL) {
        const uint8_t *at = from.halves + (size_t)(b * pack_halves(type)) * PACK_ROWS;
        *first = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)at));
        *second = _mm256_setzero_ps();
        if (two)
            *second = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(at + 2 * PACK_ROWS)));
        return;
    }
    /* Where one ends a block the two bytes before it are loaded too. */
    const bool at_end = !two && pack_halves_at(type) != 0;
    __m256i v = avx2_fours(type, from, b, pack_halves_at(type) - (at_end ? 2 : 0));
    __m256i words =
        _mm256_packus_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xFFFF)), _mm256_srli_epi32(v, 16));
    words = _mm256_permute4x64_epi64(words, 0xD8);
    __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(words));
    __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(words, 1));
    *first = at_end ? high : low;
    *second = two ? high : _mm256_setzero_ps();
}

/* Up to eight blocks of 32, which begin with their factors. The minima are what the types with an offset have
 * too much, or minus what others add. */
AVX2_INLINE void avx2_factors_small(enum dtype type, struct avx2_from from, int b, struct avx2_factors *p) {
    __m256 d, m;
    avx2_halves(type, from, b, &d, &m);
    _mm256_store_ps(p->scale[b], d);
    if (type == DTYPE_Q4_0 || type == DTYPE_Q5_0)
        m = _mm256_mul_ps(d, _mm256_set1_ps(type == DTYPE_Q4_0 ? 8 : 16));
    else
        m = _mm256_sub_ps(_mm256_setzero_ps(), m);
    if (type != DTYPE_Q8_0)
        _mm256_store_ps(p->minimum[b], m);
}

/* Signed bytes a and b of each lane, times 2^(8 - down). */
AVX2_INLINE void avx2_put_pair(int16_t out[16], __m256i v, int a, int b, int down) {
    const int two = 0x00800080 + (a << 8) + (b << 24), next = 0x04000400;
    const __m256i pick = _mm256_setr_epi32(two, two + next, two + 2 * next, two + 3 * next, two, two + next,
                                           two + 2 * next, two + 3 * next);
    v = _mm256_srai_epi16(_mm256_shuffle_epi8(v, pick), down);
    _mm256_store_si256((__m256i *)(void *)out, v);
}

AVX2_INLINE void avx2_factors_k4(enum dtype type, struct avx2_from from, struct avx2_factors *p) {
    __m256i t[4];
    __m256 d, m;
    avx2_columns(type, from, 0, 0, t);
    avx2_halves(type, from, 0, &d, &m);
    const __m256i scales[2] = {avx2_bits(t[1], 0, 63, 0),
                               _mm256_or_si256(avx2_bits(t[3], 0, 15, 0), avx2_bits(t[1], 6, 3, 4))};
    const __m256i minima[2] = {avx2_bits(t[2], 0, 63, 0),
                               _mm256_or_si256(avx2_bits(t[3], 4, 15, 0), avx2_bits(t[2], 6, 3, 4))};
    AVX2_UNROLL
    for (int g = 0; g < 8; g++)
        avx2_put_pair(p->s[g], scales[g / 4], g % 4, g % 4, 8);
    AVX2_UNROLL
    for (int i = 0; i < 4; i++)
        avx2_put_pair(p->pairs[i], minima[i / 2], i % 2 * 2, i % 2 * 2 + 1, 8);
    _mm256_store_ps(p->scale[0], d);
    _mm256_store_ps(p->minimum[0], m);
}

/* Sixteen groups; s[i] has the bytes of groups 4 i … of each row, m[i] those that become pairs. */
AVX2_INLINE void avx2_put_groups(struct avx2_factors *p, const __m256i s[4], const __m256i m[4], int down) {
    AVX2_UNROLL
    for (int g = 0; g < 16; g++)
        avx2_put_pair(p->s[g], s[g / 4], g % 4, g % 4, 8);
    AVX2_UNROLL
    for (int g = 0; g < 8; g++)
        avx2_put_pair(p->pairs[g], m[g / 2], g % 2 * 2, g % 2 * 2 + 1, down);
}

AVX2_INLINE void avx2_factors_by_16(enum dtype type, struct avx2_from from, struct avx2_factors *p) {
    __m256i t[4], s[4], pairs[4];
    __m256 d, m;
    if (type != DTYPE_Q3_K)
        avx2_columns(type, from, 0, type == DTYPE_Q6_K ? 192 : 0, t);
    if (type == DTYPE_Q6_K) {
        avx2_put_groups(p, t, t, 3); /* 32 times */
    } else if (type == DTYPE_Q2_K) {
        AVX2_UNROLL
        for (int i = 0; i < 4; i++) {
            s[i] = avx2_bits(t[i], 0, 15, 0);
            pairs[i] = avx2_bits(t[i], 4, 15, 0);
        }
        avx2_put_groups(p, s, pairs, 8);
    } else {
        /* The twelve bytes and the scale end a row's block, so two bytes before them are loaded too. */
        __m256i a[4];
        avx2_columns(type, from, 0, from.rows == NULL ? 96 : 94, a);
        AVX2_UNROLL
        for (int i = 0; i < 3; i++)
            a[i] = from.rows == NULL
                       ? a[i]
                       : _mm256_or_si256(_mm256_srli_epi32(a[i], 16), _mm256_slli_epi32(a[i + 1], 16));
        AVX2_UNROLL
        for (int i = 0; i < 4; i++) {
            s[i] = _mm256_or_si256(avx2_bits(a[i % 2], i / 2 * 4, 15, 0), avx2_bits(a[2], 2 * i, 3, 4));
            s[i] = _mm256_sub_epi8(s[i], _mm256_set1_epi8(32));
        }
        avx2_put_groups(p, s, s, 6); /* 4 times */
    }
    avx2_halves(type, from, 0, &d, &m);
    _mm256_store_ps(p->scale[0], d);
    _mm256_store_ps(p->minimum[0], m); /* Q2_K alone has it */
}

/* Those of the next `groups` groups of 32. */
AVX2_INLINE void avx2_factors(enum dtype type, struct avx2_from from, int groups, struct avx2_factors *p) {
    if (x86_is_small(type))
        for (int b = 0; b < groups; b++)
            avx2_factors_small(type, from, b, p);
    else if (x86_by_16(type))
        avx2_factors_by_16(type, from, p);
    else
        avx2_factors_k4(type, from, p);
}

#endif
