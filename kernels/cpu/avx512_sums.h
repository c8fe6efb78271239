/* Sums of the products of one stored row and one input, within groups, as exact integers: for avx512_one.c,
 * which alone includes this.
 *
 * 256 elements give a register of sums of 16: dword 4 l + j has those of part l of the j-th register of
 * bytes. Which elements these are is the type's choice; the input's bytes are laid out to match
 * (avx512_arrange()). */
#ifndef KERNELS_CPU_AVX512_SUMS_H
#define KERNELS_CPU_AVX512_SUMS_H

#include "kernels/cpu/avx512_blocks.h"

/* Two groups of 32 share their bytes: low and high halves of them. */
AVX512_INLINE bool avx512_by_nibbles(enum dtype type) {
    return type == DTYPE_Q4_K || type == DTYPE_Q5_K;
}

/* Copies n <= 256 bytes of an input in the order in which avx512_super_sums() meets them. */
AVX512_INLINE void avx512_arrange(enum dtype type, const int8_t *x, int n, int8_t *out) {
    if (!avx512_by_nibbles(type)) {
        for (int i = 0; i < n; i += 32)
            _mm256_store_si256((__m256i *)(void *)(out + i), avx512_load32((const uint8_t *)x + i));
        return;
    }
    for (int i = 0; i < 256; i += 128) {
        __m512i a = _mm512_loadu_si512(x + i), b = _mm512_loadu_si512(x + i + 64);
        _mm512_store_si512(out + i, _mm512_shuffle_i64x2(a, b, 0x44));
        _mm512_store_si512(out + i + 64, _mm512_shuffle_i64x2(a, b, 0xEE));
    }
}

/* Where the sum of group g (of 32) stands among the sums of two times 256 elements (avx512_two()). */
AVX512_INLINE int avx512_slot(enum dtype type, int g) {
    int super = g / 8, h = g % 8;
    if (avx512_by_nibbles(type))
        return super * 8 + h / 2 % 2 * 4 + h / 4 * 2 + h % 2;
    return super * 8 + h % 2 * 4 + h / 2;
}

/* The sums of 16 of 2 times 256 elements to sums of 32. */
AVX512_INLINE __m512i avx512_two(__m512i a, __m512i b) {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
}

/* Four registers of sums of 4 to one of sums of 16. */
AVX512_INLINE __m512i avx512_add_fours(const __m512i v[4]) {
    __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* Sums that fit into 16 bits, those of pairs of them. */
AVX512_INLINE __m512i avx512_add_pairs(__m512i a, __m512i b) {
    return _mm512_madd_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(1));
}

AVX512_INLINE __m512i avx512_products(__m512i w, const int8_t *x) {
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, _mm512_load_si512(x));
}

/* (a & mask) | (b & bits) of each byte. */
AVX512_INLINE __m512i avx512_merge(__m512i a, int mask, __m512i b, int bits) {
    a = _mm512_and_si512(a, _mm512_set1_epi8((char)mask));
    return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi8((char)bits), 0xF8);
}

/* Words moved up, each half of the register by another number of bits. */
AVX512_INLINE __m512i avx512_up(__m512i v, int low, int high) {
    return _mm512_sllv_epi16(v, avx512_pair(_mm256_set1_epi16((short)low), _mm256_set1_epi16((short)high)));
}

AVX512_INLINE __m512i avx512_down(__m512i v, int low, int high) {
    return _mm512_srlv_epi16(v, avx512_pair(_mm256_set1_epi16((short)low), _mm256_set1_epi16((short)high)));
}

/* Eight blocks of Q8_0: no load of the file crosses another. `halves`: their scales. */
AVX512_INLINE __m512i avx512_sums_q8_0(const uint8_t *block, const int8_t *x, uint16_t halves[8]) {
    /* Words of two registers, 128 bytes from 0, 64, 128 and 192 on: elements 64 j …, and scales. */
#define RUN8(n)  n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7
#define RUN32(n) RUN8(n), RUN8(n + 8), RUN8(n + 17), RUN8(n + 25)
    static const _Alignas(64) uint16_t words[4][32] = {{RUN32(1)}, {RUN32(3)}, {RUN32(5)}, {RUN32(7)}};
    static const _Alignas(16) uint16_t scales[2][8] = {{0, 17, 34, 51}, {4, 21, 38, 55}};
#undef RUN32
#undef RUN8
    __m512i z[5], v[4];
    AVX512_UNROLL
    for (int i = 0; i < 4; i++) {
        z[i] = _mm512_loadu_si512(block + i * 64);
        AVX512_KEEP(z[i]); /* loaded once: a load across two lines takes twice as long */
    }
    z[4] = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)(block + 256)));
    AVX512_UNROLL
    for (int j = 0; j < 4; j++) {
        __m512i w = _mm512_permutex2var_epi16(z[j], _mm512_load_si512(words[j]), z[j + 1]);
        v[j] = avx512_products(_mm512_xor_si512(w, _mm512_set1_epi8((char)0x80)), x + j * 64);
    }
    __m128i s[2];
    for (int i = 0; i < 2; i++) {
        __m512i at = _mm512_castsi128_si512(_mm_load_si128((const __m128i *)(const void *)scales[i]));
        s[i] = _mm512_castsi512_si128(_mm512_permutex2var_epi16(z[2 * i], at, z[2 * i + 1]));
    }
    _mm_store_si128((__m128i *)(void *)halves, _mm_unpacklo_epi64(s[0], s[1]));
    return avx512_add_fours(v);
}

/* 4-bit, or with the fifth bits of `high`. */
AVX512_INLINE __m512i avx512_sums_nibbles(enum dtype type, const uint8_t *block, const int8_t *x) {
    __m512i v[4], high = _mm512_setzero_si512();
    if (type == DTYPE_Q5_K)
        high = _mm512_broadcast_i64x4(avx512_load32(block + 16));
    AVX512_UNROLL
    for (int i = 0; i < 2; i++) {
        __m512i q = _mm512_loadu_si512(block + (type == DTYPE_Q5_K ? 48 : 16) + i * 64);
        __m512i low_bit = i == 0 ? avx512_up(high, 4, 2) : avx512_down(high, 0, 2);
        __m512i high_bit = i == 0 ? avx512_up(high, 3, 1) : avx512_down(high, 1, 3);
        __m512i low = _mm512_and_si512(q, _mm512_set1_epi8(15));
        __m512i top = _mm512_srli_epi16(q, 4);
        if (type == DTYPE_Q5_K) {
            low = avx512_merge(q, 15, low_bit, 16);
            top = avx512_merge(top, 15, high_bit, 16);
        } else {
            top = _mm512_and_si512(top, _mm512_set1_epi8(15));
        }
        v[2 * i] = avx512_products(low, x + i * 128);
        v[2 * i + 1] = avx512_products(top, x + i * 128 + 64);
    }
    /* 8 products of at most 31 and 128 in magnitude fit into 16 bits. */
    return avx512_add_pairs(avx512_add_pairs(v[0], v[1]), avx512_add_pairs(v[2], v[3]));
}

AVX512_INLINE __m512i avx512_sums_q6(const uint8_t *block, const int8_t *x) {
    __m512 a[2];
    AVX512_UNROLL
    for (int i = 0; i < 2; i++) {
        __m512i q = _mm512_loadu_si512(block + i * 64);
        __m512i high = _mm512_broadcast_i64x4(avx512_load32(block + 128 + i * 32));
        __m512i low = avx512_merge(q, 15, avx512_up(high, 4, 2), 48);
        __m512i top = avx512_merge(_mm512_srli_epi16(q, 4), 15, avx512_down(high, 0, 2), 48);
        /* 4 products of at most 63 and 128 in magnitude fit into 16 bits. */
        a[i] = _mm512_castsi512_ps(
            avx512_add_pairs(avx512_products(low, x + i * 128), avx512_products(top, x + i * 128 + 64)));
    }
    return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(a[0], a[1], 0x88)),
                            _mm512_castps_si512(_mm512_shuffle_ps(a[0], a[1], 0xDD)));
}

/* n <= 256 elements of any type. */
AVX512_INLINE __m512i avx512_sums_any(enum dtype type, const uint8_t *block, const int8_t *x, int n) {
    __m512i v[4];
    AVX512_UNROLL
    for (int j = 0; j < 4; j++)
        v[j] = n > 64 * j ? avx512_products(avx512_elements(type, block, j, n < 64 * (j + 1)), x + 64 * j)
                          : _mm512_setzero_si512();
    return avx512_add_fours(v);
}

/* The sums of 16 of 256 elements. Q8_0: their scales too. */
AVX512_INLINE __m512i avx512_super_sums(enum dtype type, const uint8_t *block, const int8_t *x,
                                        uint16_t halves[8]) {
    switch (type) {
    case DTYPE_Q8_0:
        return avx512_sums_q8_0(block, x, halves);
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        return avx512_sums_nibbles(type, block, x);
    case DTYPE_Q6_K:
        return avx512_sums_q6(block, x);
    default:
        return avx512_sums_any(type, block, x, 256);
    }
}

#endif
