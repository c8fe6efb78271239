/* Sixteen stored rows that lie by themselves, put side by side (kernels/cpu/pack.h), 32 bytes of each at a
 * time: rows lie `between` bytes apart, and what they become is 32-byte aligned, or 64 for elements of four
 * bytes. Included by f32_tile.h; f32_turn_singles() is its includers', because it is another with AVX-512.
 *
 * Whatever is loaded of an element in one go is written in one go: a processor hands on what it has just
 * written where one write has all of it, and waits for the cache otherwise. More than 32 bytes of sixteen
 * rows would need more registers than AVX2 has; fewer would be loaded more often, and where rows are a power
 * of two apart their lines are in the same few places of the first-level cache and drive each other out. */
#ifndef KERNELS_CPU_F32_TURN_H
#define KERNELS_CPU_F32_TURN_H

#include "kernels/cpu/pack.h"

#include <immintrin.h>

/* Thirty-two bytes of eight rows, elements of two bytes: those of the lower half are i in `to[i]`, those of
 * the upper half 8 further; an element has its rows. */
F32_INLINE void f32_eight_halves(const uint8_t *rows, size_t between, __m256i to[8]) {
    __m256i a[8], b[8], c[8];
    F32_UNROLL
    for (int r = 0; r < 8; r++)
        a[r] = _mm256_loadu_si256((const __m256i *)(const void *)(rows + (size_t)r * between));
    F32_UNROLL
    for (int r = 0; r < 4; r++) { /* rows 2 r and 2 r + 1: elements 0 to 3, and 4 to 7 */
        b[r] = _mm256_unpacklo_epi16(a[2 * r], a[2 * r + 1]);
        b[r + 4] = _mm256_unpackhi_epi16(a[2 * r], a[2 * r + 1]);
    }
    F32_UNROLL
    for (int i = 0; i < 8; i += 4) { /* rows 0 to 3, and 4 to 7: elements i and i + 1, and 2 further */
        c[i] = _mm256_unpacklo_epi32(b[i], b[i + 1]);
        c[i + 1] = _mm256_unpackhi_epi32(b[i], b[i + 1]);
        c[i + 2] = _mm256_unpacklo_epi32(b[i + 2], b[i + 3]);
        c[i + 3] = _mm256_unpackhi_epi32(b[i + 2], b[i + 3]);
    }
    F32_UNROLL
    for (int i = 0; i < 8; i++) { /* rows 0 to 7: element i */
        const __m256i low = c[i / 4 * 4 + i / 2 % 2], high = c[i / 4 * 4 + i / 2 % 2 + 2];
        to[i] = i % 2 == 0 ? _mm256_unpacklo_epi64(low, high) : _mm256_unpackhi_epi64(low, high);
    }
}

F32_INLINE void f32_turn_halves(const uint8_t *rows, size_t between, uint8_t *to) {
    __m256i low[8], high[8];
    f32_eight_halves(rows, between, low);
    f32_eight_halves(rows + 8 * between, between, high);
    F32_UNROLL
    for (int i = 0; i < 8; i++) {
        _mm256_store_si256((__m256i *)(void *)to + i, _mm256_permute2x128_si256(low[i], high[i], 0x20));
        _mm256_store_si256((__m256i *)(void *)to + i + 8, _mm256_permute2x128_si256(low[i], high[i], 0x31));
    }
}

/* A line, for vectors that load eight rows at a time: AVX2 has too few registers for all sixteen. */
F32_INLINE void f32_turn_halves_by_eight(const uint8_t *rows, size_t between, uint8_t *to) {
    for (int row = 0; row < PACK_ROWS; row += 8)
        for (int part = 0; part < 2; part++) {
            __m256i v[8];
            __m128i *out = (__m128i *)(void *)(to + part * 32 * PACK_ROWS + row * 2);
            f32_eight_halves(rows + (size_t)row * between + part * 32, between, v);
            F32_UNROLL
            for (int i = 0; i < 8; i++) {
                _mm_store_si128(out + 2 * i, _mm256_castsi256_si128(v[i]));
                _mm_store_si128(out + 2 * i + 16, _mm256_extracti128_si256(v[i], 1));
            }
        }
}

/* The same of elements of one byte: to[i] has elements 2 i and 2 i + 1 in its lower half, 16 further in the
 * upper. */
F32_INLINE void f32_eight_bytes(const uint8_t *rows, size_t between, __m256i to[8]) {
    __m256i a[8], b[8], c[8];
    F32_UNROLL
    for (int r = 0; r < 8; r++)
        a[r] = _mm256_loadu_si256((const __m256i *)(const void *)(rows + (size_t)r * between));
    F32_UNROLL
    for (int r = 0; r < 4; r++) { /* rows 2 r and 2 r + 1: elements 0 to 7, and 8 to 15 */
        b[r] = _mm256_unpacklo_epi8(a[2 * r], a[2 * r + 1]);
        b[r + 4] = _mm256_unpackhi_epi8(a[2 * r], a[2 * r + 1]);
    }
    F32_UNROLL
    for (int i = 0; i < 8; i += 4) { /* rows 0 to 3, and 4 to 7: elements 2 i to 2 i + 3, and 4 further */
        c[i] = _mm256_unpacklo_epi16(b[i], b[i + 1]);
        c[i + 1] = _mm256_unpackhi_epi16(b[i], b[i + 1]);
        c[i + 2] = _mm256_unpacklo_epi16(b[i + 2], b[i + 3]);
        c[i + 3] = _mm256_unpackhi_epi16(b[i + 2], b[i + 3]);
    }
    F32_UNROLL
    for (int i = 0; i < 8; i++) { /* rows 0 to 7: elements 2 i and 2 i + 1 */
        const __m256i low = c[i / 4 * 4 + i / 2 % 2], high = c[i / 4 * 4 + i / 2 % 2 + 2];
        to[i] = i % 2 == 0 ? _mm256_unpacklo_epi32(low, high) : _mm256_unpackhi_epi32(low, high);
    }
}

F32_INLINE void f32_turn_bytes(const uint8_t *rows, size_t between, uint8_t *to) {
    __m256i low[8], high[8];
    f32_eight_bytes(rows, between, low);
    f32_eight_bytes(rows + 8 * between, between, high);
    F32_UNROLL
    for (int i = 0; i < 8; i++) {
        __m256i even = _mm256_unpacklo_epi64(low[i], high[i]), odd = _mm256_unpackhi_epi64(low[i], high[i]);
        _mm256_store_si256((__m256i *)(void *)to + i, _mm256_permute2x128_si256(even, odd, 0x20));
        _mm256_store_si256((__m256i *)(void *)to + i + 8, _mm256_permute2x128_si256(even, odd, 0x31));
    }
}

/* A line of sixteen rows. */
F32_INLINE void f32_turn_line(size_t bytes, const uint8_t *rows, size_t between, uint8_t *to) {
    if (bytes == 2 && F32_LANES == 8) {
        f32_turn_halves_by_eight(rows, between, to);
        return;
    }
    for (int i = 0; i < 2; i++, rows += 32, to += 32 * PACK_ROWS) {
        if (bytes == 1)
            f32_turn_bytes(rows, between, to);
        else if (bytes == 2)
            f32_turn_halves(rows, between, to);
        else
            f32_turn_singles(rows, between, (float *)(void *)to);
    }
}

#endif
