/* Stored blocks for the AVX-512 products: 256 elements of sixteen rows side by side, as unsigned bytes, and
 * their factors. Included by avx512_tile.h alone. The layouts of the blocks: kernels/cpu/blocks.c; of blocks
 * that lie side by side: kernels/cpu/pack.h. */
#ifndef KERNELS_CPU_AVX512_PANEL_H
#define KERNELS_CPU_AVX512_PANEL_H

#include "kernels/cpu/avx512.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/x86_blocks.h"

#define AVX512_PANEL (32 * PACK_GROUP) /* elements: whole groups of rows side by side */

/* Factors of 16 rows and 256 elements: a row's element is scale[g] * (q - offset) - minimum[g], g its group.
 */
struct avx512_factors {
    _Alignas(64) float scale[16][16]; /* group, row */
    float minimum[16][16];
};

struct avx512_panel {
    _Alignas(64) uint8_t q[AVX512_PANEL / 4][64]; /* elements 4 i … 4 i + 3 of all rows */
    struct avx512_factors f;
};

/* Where the next blocks of sixteen rows are: each row by itself, or, rows being NULL, side by side, a group
 * of them (pack.h): the numbers in F16, and the rest. Which of the two is known when this is compiled. */
struct avx512_from {
    const uint8_t *const *rows;
    const uint8_t *halves, *rest;
};

/* The next `groups` groups of 32 elements of a strip, which begin at `at`. */
AVX512_INLINE struct avx512_from avx512_group_at(enum dtype type, const uint8_t *at, int groups) {
    const int n = x86_is_small(type) ? groups : 1;
    return (struct avx512_from){.halves = at, .rest = at + n * pack_halves(type) * PACK_ROWS};
}

/* Asks for a 16th of the bytes of a panel, which are stored rows of the near future: into the second-level
 * cache, because the first has no room for them. Addresses past the end of the weights do no harm. A panel
 * that is made asks for half of them and the groups of its first tile for the other half, because in either
 * memory would stand still in the other. at: NULL when there is nothing to ask for. */
AVX512_INLINE void avx512_ask(enum dtype type, const uint8_t *at, int part) {
    const size_t bytes = x86_super_bytes(type);
    for (size_t i = 0; i < bytes && at != NULL; i += 64)
        _mm_prefetch((const char *)at + bytes * (size_t)part + i, _MM_HINT_T1);
}

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
    return pack_halves(type) == 4; /* the second number is theirs */
}

/* ---- elements of a row ---- */

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

/* Elements 64 i … of 16 rows, or 32 of them. */
AVX512_INLINE void avx512_turn_quarter(enum dtype type, const uint8_t *const rows[16], int i, bool half,
                                       struct avx512_panel *p) {
    __m512i v[16];
    AVX512_UNROLL
    for (int r = 0; r < 16; r++)
        v[r] = avx512_elements(type, rows[r], i, half);
    avx512_transpose(v);
    AVX512_UNROLL
    for (int j = 0; j < 16; j++)
        _mm512_store_si512(p->q[i * 16 + j], v[j]);
}

/* The elements of up to 8 groups of 32 of rows that lie by themselves. */
AVX512_INLINE void avx512_panel_turn(enum dtype type, const uint8_t *const rows[16], int groups,
                                     struct avx512_panel *p, const uint8_t *ahead) {
    if (groups == 8 || !x86_is_small(type)) { /* the others come by 256 only */
        AVX512_UNROLL
        for (int i = 0; i < 4; i++) {
            avx512_ask(type, ahead, 2 * i);
            avx512_ask(type, ahead, 2 * i + 1);
            avx512_turn_quarter(type, rows, i, false, p);
        }
        return;
    }
    for (int i = 0; i * 2 < groups; i++)
        avx512_turn_quarter(type, rows, i, groups - i * 2 < 2, p);
}

/* ---- elements of rows side by side ---- */

/* Four bytes of each row, which are stored at `at` of its blocks, or, where they lie now, `on` bytes behind
 * those. */
AVX512_INLINE __m512i avx512_beside(enum dtype type, const uint8_t *rest, int at, size_t on) {
    return _mm512_loadu_si512(rest + (size_t)pack_place(type, at) * PACK_ROWS + on * PACK_ROWS);
}

/* (a & mask) | (b & bits) of each byte. */
AVX512_INLINE __m512i avx512_merge(__m512i a, int mask, __m512i b, int bits) {
    a = _mm512_and_si512(a, _mm512_set1_epi8((char)mask));
    return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi8((char)bits), 0xF8);
}

/* v with bits from `from` on moved to `to`; both known when compiled. What they push into the neighbours is
 * the caller's to mask. */
AVX512_INLINE __m512i avx512_move(__m512i v, int from, int to) {
    return from > to   ? _mm512_srli_epi32(v, (unsigned)(from - to))
           : from < to ? _mm512_slli_epi32(v, (unsigned)(to - from))
                       : v;
}

/* q with the fifth bits of elements 4 j … of all rows, which have 32 of them in each lane. */
AVX512_INLINE __m512i avx512_fifths(__m512i q, __m512i bits, int j) {
    /* Bits 4 j … 4 j + 3 of the row, one for each byte. */
    const __m512i bit = _mm512_set1_epi32(j % 2 == 0 ? 0x08040201 : (int)0x80402010);
    const __m512i byte =
        _mm512_set4_epi32(0x0C0C0C0C + 0x01010101 * (j / 2), 0x08080808 + 0x01010101 * (j / 2),
                          0x04040404 + 0x01010101 * (j / 2), 0x01010101 * (j / 2));
    __mmask64 set = _mm512_test_epi8_mask(_mm512_shuffle_epi8(bits, byte), bit);
    return _mm512_mask_add_epi8(q, set, q, _mm512_set1_epi8(16));
}

/* Groups of 32 whose bits lie at places that are known when this is compiled, in bytes that are not. */
AVX512_INLINE int avx512_span(enum dtype type) {
    return x86_is_small(type) ? 1 : type == DTYPE_Q4_K || type == DTYPE_Q5_K ? 2 : 4;
}

/* Elements 4 j … of group `sub` of a span. */
AVX512_INLINE __m512i avx512_direct(enum dtype type, const uint8_t *rest, int span, int sub, int j) {
    const int bytes = (int)x86_super_bytes(type) / 8, quad = j * 4;
    const size_t s = (size_t)span, block = s * (size_t)(bytes - pack_halves(type)); /* of 32 */
    const __m512i three = _mm512_set1_epi8(3);
    switch (type) {
    case DTYPE_Q8_0:
        return _mm512_xor_si512(avx512_beside(type, rest, 2 + quad, block), _mm512_set1_epi8((char)0x80));
    case DTYPE_Q4_K:
        return avx512_bits(avx512_beside(type, rest, 16 + quad, s * 32), sub * 4, 15, 0);
    case DTYPE_Q5_K: {
        __m512i high = _mm512_srl_epi32(avx512_beside(type, rest, 16 + quad, 0), _mm_cvtsi32_si128(2 * span));
        return avx512_merge(avx512_move(avx512_beside(type, rest, 48 + quad, s * 32), sub * 4, 0), 15,
                            avx512_move(high, sub, 4), 16);
    }
    case DTYPE_Q6_K: /* 32 bytes of upper bits and 64 of lower ones to a span */
        return avx512_merge(
            avx512_move(avx512_beside(type, rest, sub % 2 * 32 + quad, s * 96), sub / 2 * 4, 0), 15,
            avx512_move(avx512_beside(type, rest, 128 + quad, s * 96), 2 * sub, 4), 48);
    case DTYPE_Q2_K:
        return _mm512_and_si512(avx512_move(avx512_beside(type, rest, 16 + quad, s * 32), 2 * sub, 0), three);
    case DTYPE_Q3_K: {
        __m512i high = _mm512_srl_epi32(avx512_beside(type, rest, quad, 0), _mm_cvtsi32_si128(4 * span));
        return avx512_merge(avx512_move(avx512_beside(type, rest, 32 + quad, s * 32), 2 * sub, 0), 3,
                            avx512_move(high, sub, 2), 4);
    }
    default: {
        __m512i q = avx512_bits(avx512_beside(type, rest, bytes - 16 + quad % 16, block), j / 4 * 4, 15, 0);
        if (type == DTYPE_Q5_0 || type == DTYPE_Q5_1)
            q = avx512_fifths(q, avx512_beside(type, rest, bytes - 20, block), j);
        return q;
    }
    }
}

/* ---- factors ---- */

/* 16 bytes at `at` of each row's block: out[i] = the i-th four of all rows. Of rows side by side: where they
 * are no numbers in F16. */
AVX512_INLINE void avx512_columns(enum dtype type, struct avx512_from from, int at, __m512i out[4]) {
    __m512i z[4];
    if (from.rows == NULL) {
        AVX512_UNROLL
        for (int i = 0; i < 4; i++)
            if (!pack_is_half(type, at + 4 * i))
                out[i] = avx512_beside(type, from.rest, at + 4 * i, 0);
        return;
    }
    for (int j = 0; j < 4; j++) {
        __m128i part[4];
        for (int l = 0; l < 4; l++)
            part[l] = _mm_loadu_si128((const __m128i *)(const void *)(from.rows[l * 4 + j] + at));
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

/* The i-th number in F16 of each row's next block of 256. */
AVX512_INLINE __m512 avx512_halves_at(enum dtype type, struct avx512_from from, int i) {
    _Alignas(32) uint16_t halves[16];
    if (from.rows == NULL)
        return _mm512_cvtph_ps(avx512_load32(from.halves + i * 2 * PACK_ROWS));
    for (int r = 0; r < 16; r++)
        halves[r] = avx512_u16(from.rows[r] + pack_halves_at(type) + 2 * i);
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)halves));
}

/* Bits of each lane as numbers times a factor. */
AVX512_INLINE void avx512_put(float out[16], __m512i v, __m512 factor) {
    _mm512_store_ps(out, _mm512_mul_ps(_mm512_cvtepi32_ps(v), factor));
}

AVX512_INLINE void avx512_factors_k4(enum dtype type, struct avx512_from from, struct avx512_factors *f) {
    __m512i t[4];
    avx512_columns(type, from, 0, t);
    bool beside = from.rows == NULL;
    __m512 d = beside ? avx512_halves_at(type, from, 0) : avx512_halves(t[0]);
    __m512 m = beside ? avx512_halves_at(type, from, 1) : avx512_halves(_mm512_srli_epi32(t[0], 16));
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

AVX512_INLINE void avx512_factors_q2(struct avx512_from from, struct avx512_factors *f) {
    __m512i t[4];
    avx512_columns(DTYPE_Q2_K, from, 0, t);
    __m512 d = avx512_halves_at(DTYPE_Q2_K, from, 0), m = avx512_halves_at(DTYPE_Q2_K, from, 1);
    const __m512i four = _mm512_set1_epi32(15);
    for (unsigned g = 0; g < 16; g++) {
        __m512i v = _mm512_srli_epi32(t[g / 4], g % 4 * 8);
        avx512_put(f->scale[g], _mm512_and_si512(v, four), d);
        avx512_put(f->minimum[g], _mm512_and_si512(_mm512_srli_epi32(v, 4), four), m);
    }
}

AVX512_INLINE void avx512_factors_q3(struct avx512_from from, struct avx512_factors *f) {
    __m512i t[4];
    __m512 d = avx512_halves_at(DTYPE_Q3_K, from, 0);
    if (from.rows == NULL) {
        avx512_columns(DTYPE_Q3_K, from, 96, t);
    } else {
        /* The twelve bytes and the scale end a row's block, so two bytes before them are loaded too. */
        avx512_columns(DTYPE_Q3_K, from, 94, t);
        AVX512_UNROLL
        for (int i = 0; i < 3; i++)
            t[i] = _mm512_or_si512(_mm512_srli_epi32(t[i], 16), _mm512_slli_epi32(t[i + 1], 16));
    }
    for (unsigned g = 0; g < 16; g++) {
        __m512i low = _mm512_srli_epi32(t[g / 4 % 2], g % 4 * 8 + g / 8 * 4);
        __m512i high = _mm512_srli_epi32(t[2], g % 4 * 8 + g / 4 * 2);
        low = _mm512_and_si512(low, _mm512_set1_epi32(15));
        high = _mm512_slli_epi32(_mm512_and_si512(high, _mm512_set1_epi32(3)), 4);
        avx512_put(f->scale[g], _mm512_sub_epi32(_mm512_or_si512(low, high), _mm512_set1_epi32(32)), d);
    }
}

AVX512_INLINE void avx512_factors_q6(struct avx512_from from, struct avx512_factors *f) {
    __m512i t[4];
    avx512_columns(DTYPE_Q6_K, from, 192, t);
    __m512 d = avx512_halves_at(DTYPE_Q6_K, from, 0);
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
AVX512_INLINE void avx512_factors_small(enum dtype type, struct avx512_from from, int blocks,
                                        struct avx512_factors *f) {
    const size_t bytes = x86_super_bytes(type) / 8;
    __m512i starts[8];
    if (from.rows == NULL) {
        for (int b = 0; b < blocks; b++) {
            const uint8_t *at = from.halves + b * pack_halves(type) * PACK_ROWS;
            _mm512_store_ps(f->scale[b], _mm512_cvtph_ps(avx512_load32(at)));
            /* These types add their minimum. */
            if (avx512_has_minima(type))
                _mm512_store_ps(
                    f->minimum[b],
                    _mm512_sub_ps(_mm512_setzero_ps(), _mm512_cvtph_ps(avx512_load32(at + 2 * PACK_ROWS))));
        }
        return;
    }
    avx512_starts(from.rows, bytes, blocks, starts);
    AVX512_UNROLL
    for (int b = 0; b < 8; b++) {
        _mm512_store_ps(f->scale[b], avx512_halves(starts[b]));
        if (avx512_has_minima(type))
            _mm512_store_ps(f->minimum[b], _mm512_sub_ps(_mm512_setzero_ps(),
                                                         avx512_halves(_mm512_srli_epi32(starts[b], 16))));
    }
}

/* Those of the next `groups` groups of 32. */
AVX512_INLINE void avx512_factors_of(enum dtype type, struct avx512_from from, int groups,
                                     struct avx512_factors *f) {
    switch (type) {
    case DTYPE_Q2_K:
        avx512_factors_q2(from, f);
        break;
    case DTYPE_Q3_K:
        avx512_factors_q3(from, f);
        break;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        avx512_factors_k4(type, from, f);
        break;
    case DTYPE_Q6_K:
        avx512_factors_q6(from, f);
        break;
    default:
        if (groups == 8)
            avx512_factors_small(type, from, 8, f);
        else
            avx512_factors_small(type, from, groups, f);
        break;
    }
}

#endif
