/* The inner loops of the AVX2 products in F32: sixteen stored rows side by side (kernels/cpu/pack.h), a lane
 * for each, meet up to six inputs. Included by avx2_floats.c alone.
 *
 * A row is cut into pieces of 256 elements. A piece of an output is one chain of fused multiply-adds in
 * ascending order that begins with 0; it is added to what the pieces before gave. No lane meets another, so
 * an output is the same bits whatever rows and inputs stand beside it, and wherever its row lies. */
#ifndef KERNELS_CPU_AVX2_F32_TILE_H
#define KERNELS_CPU_AVX2_F32_TILE_H

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/pack.h"

#include <immintrin.h>
#include <string.h>

#define F32_PIECE  256
#define F32_INPUTS 6 /* of a tile: twelve sums, two registers of weights, one of an input */
#define F32_STRIPS 4 /* at a time, with one input */
#define LANES      8

/* Bytes of an element; known when compiled, unlike kernels/dtype.c's. */
AVX2_INLINE size_t element_bytes(enum dtype type) {
    return type == DTYPE_F32 ? 4 : type == DTYPE_F8_E4M3 ? 1 : 2;
}

/* Eight elements. */
AVX2_INLINE __m256 load(enum dtype type, const uint8_t *at) {
    switch (type) {
    case DTYPE_F32:
        return _mm256_loadu_ps((const float *)(const void *)at);
    case DTYPE_F16:
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)at));
    case DTYPE_BF16: {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)at);
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    }
    default: { /* E4M3: halves of the same exponent and mantissa are 2^-8 of it; 0x7F is no number */
        __m128i b = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)at));
        __m128i magnitude = _mm_and_si128(b, _mm_set1_epi16(0x7F));
        __m128i none =
            _mm_and_si128(_mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7F)), _mm_set1_epi16(0x7E00));
        __m128i sign = _mm_slli_epi16(_mm_and_si128(b, _mm_set1_epi16(0x80)), 8);
        __m128i half = _mm_or_si128(_mm_or_si128(_mm_slli_epi16(magnitude, 7), sign), none);
        return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));
    }
    }
}

/* What a tile is given. */
struct f32_tile {
    const uint8_t *strip[F32_STRIPS]; /* where its piece of each strip begins */
    /* Lines that are asked for: those of the piece that will be wanted from there, sixteen parts of it, which
     * begin so many bytes from each other. */
    const uint8_t *ask[F32_STRIPS];
    size_t ask_stride;
    const float *x;  /* the piece of the first input */
    size_t x_stride; /* bytes */
    int n;           /* elements */
    float *panel;    /* takes the first strip's in F32, where they are wanted */
    float *sums;     /* [strips][inputs][16], sum_stride floats from strip to strip */
    size_t sum_stride;
    bool first; /* piece of the row: sums are put there, and added otherwise */
};

/* What a kind of tile does beside. */
#define F32_ASK  1 /* for lines ahead */
#define F32_KEEP 2 /* fills the panel */

/* Element i of S strips times C inputs. */
AVX2_INLINE void f32_step(enum dtype type, int S, int C, int also, const struct f32_tile *t, int i,
                          __m256 acc[F32_STRIPS][2][F32_INPUTS]) {
    const size_t bytes = element_bytes(type);
    AVX2_UNROLL
    for (int s = 0; s < S; s++) {
        const uint8_t *at = t->strip[s] + (size_t)i * bytes * PACK_ROWS;
        __m256 low = load(type, at), high = load(type, at + LANES * bytes);
        if (also & F32_KEEP) {
            _mm256_store_ps(t->panel + i * PACK_ROWS, low);
            _mm256_store_ps(t->panel + i * PACK_ROWS + LANES, high);
        }
        AVX2_UNROLL
        for (int c = 0; c < C; c++) {
            const char *x = (const char *)t->x + (size_t)c * t->x_stride;
            __m256 in = _mm256_broadcast_ss((const float *)(const void *)x + i);
            acc[s][0][c] = _mm256_fmadd_ps(low, in, acc[s][0][c]);
            acc[s][1][c] = _mm256_fmadd_ps(high, in, acc[s][1][c]);
        }
    }
}

/* Addresses past the end of the weights do no harm. */
AVX2_INLINE void f32_ask(enum dtype type, int S, int steps, const struct f32_tile *t, int i) {
    const size_t bytes = element_bytes(type) * PACK_ROWS;
    const size_t from = (size_t)(i / 16) * t->ask_stride + (size_t)(i % 16) * bytes;
    AVX2_UNROLL
    for (int s = 0; s < S; s++) {
        AVX2_UNROLL
        for (size_t line = 0; line < (size_t)steps * bytes; line += 64)
            _mm_prefetch((const char *)((uintptr_t)t->ask[s] + from + line), _MM_HINT_T0);
    }
}

AVX2_INLINE void f32_no_sums(int S, int C, __m256 acc[F32_STRIPS][2][F32_INPUTS]) {
    AVX2_UNROLL
    for (int s = 0; s < S; s++) {
        AVX2_UNROLL
        for (int c = 0; c < C; c++)
            acc[s][0][c] = acc[s][1][c] = _mm256_setzero_ps();
    }
}

AVX2_INLINE void f32_add_sums(int S, int C, const struct f32_tile *t, __m256 acc[F32_STRIPS][2][F32_INPUTS]) {
    AVX2_UNROLL
    for (int s = 0; s < S; s++) {
        AVX2_UNROLL
        for (int j = 0; j < 2 * C; j++) {
            float *sums = t->sums + (size_t)s * t->sum_stride + j / 2 * PACK_ROWS + j % 2 * LANES;
            __m256 v = acc[s][j % 2][j / 2];
            _mm256_store_ps(sums, t->first ? v : _mm256_add_ps(_mm256_load_ps(sums), v));
        }
    }
}

AVX2_INLINE void f32_tile(enum dtype type, int S, int C, int also, const struct f32_tile *given) {
    const struct f32_tile t = *given;
    enum { STEPS = 8 };
    __m256 acc[F32_STRIPS][2][F32_INPUTS];
    f32_no_sums(S, C, acc);
    int i = 0;
    for (; i + STEPS <= t.n; i += STEPS) {
        if (also & F32_ASK)
            f32_ask(type, S, STEPS, &t, i);
        AVX2_UNROLL
        for (int j = 0; j < STEPS; j++)
            f32_step(type, S, C, also, &t, i + j, acc);
    }
    for (; i < t.n; i++)
        f32_step(type, S, C, also, &t, i, acc);
    f32_add_sums(S, C, &t, acc);
}

/* ---- sixteen rows that lie by themselves, put side by side ---- */

/* Sixteen elements, of two bytes, of eight rows, which lie `between` bytes apart. */
AVX2_INLINE void f32_turn_halves(const uint8_t *rows, size_t between, uint8_t *to) {
    __m256i a[8], b[8], c[8];
    AVX2_UNROLL
    for (int r = 0; r < 8; r++)
        a[r] = _mm256_loadu_si256((const __m256i *)(const void *)(rows + (size_t)r * between));
    AVX2_UNROLL
    for (int r = 0; r < 8; r += 2) { /* two rows: elements 0 to 3, and 4 to 7; and 8 further */
        b[r] = _mm256_unpacklo_epi16(a[r], a[r + 1]);
        b[r + 1] = _mm256_unpackhi_epi16(a[r], a[r + 1]);
    }
    AVX2_UNROLL
    for (int r = 0; r < 8; r += 4) { /* four rows: elements 2 i and 2 i + 1 */
        c[r] = _mm256_unpacklo_epi32(b[r], b[r + 2]);
        c[r + 1] = _mm256_unpackhi_epi32(b[r], b[r + 2]);
        c[r + 2] = _mm256_unpacklo_epi32(b[r + 1], b[r + 3]);
        c[r + 3] = _mm256_unpackhi_epi32(b[r + 1], b[r + 3]);
    }
    AVX2_UNROLL
    for (int i = 0; i < 8; i++) {
        __m256i v = i % 2 == 0 ? _mm256_unpacklo_epi64(c[i / 2], c[i / 2 + 4])
                               : _mm256_unpackhi_epi64(c[i / 2], c[i / 2 + 4]);
        __m128i *out = (__m128i *)(void *)to + 2 * i;
        _mm_store_si128(out, _mm256_castsi256_si128(v));
        _mm_store_si128(out + 16, _mm256_extracti128_si256(v, 1));
    }
}

/* Eight elements of eight rows, in F32; a row of the sixteen has PACK_ROWS floats in `to`. */
AVX2_INLINE void f32_turn(const __m256 a[8], float *to) {
    __m256 b[8], c[8];
    AVX2_UNROLL
    for (int r = 0; r < 8; r += 2) { /* two rows: elements 0 1 | 4 5, and 2 3 | 6 7 */
        b[r] = _mm256_unpacklo_ps(a[r], a[r + 1]);
        b[r + 1] = _mm256_unpackhi_ps(a[r], a[r + 1]);
    }
    AVX2_UNROLL
    for (int r = 0; r < 8; r += 4) { /* four rows: element i | i + 4 */
        c[r] = _mm256_shuffle_ps(b[r], b[r + 2], 0x44);
        c[r + 1] = _mm256_shuffle_ps(b[r], b[r + 2], 0xEE);
        c[r + 2] = _mm256_shuffle_ps(b[r + 1], b[r + 3], 0x44);
        c[r + 3] = _mm256_shuffle_ps(b[r + 1], b[r + 3], 0xEE);
    }
    AVX2_UNROLL
    for (int i = 0; i < 4; i++) {
        _mm256_store_ps(to + i * PACK_ROWS, _mm256_permute2f128_ps(c[i], c[i + 4], 0x20));
        _mm256_store_ps(to + (i + 4) * PACK_ROWS, _mm256_permute2f128_ps(c[i], c[i + 4], 0x31));
    }
}

/* A line of sixteen rows, which lie `between` bytes apart. */
AVX2_INLINE void f32_turn_line(enum dtype type, const uint8_t *rows, size_t between, uint8_t *to) {
    const size_t bytes = element_bytes(type);
    for (int half = 0; half < PACK_ROWS; half += LANES) {
        const uint8_t *at = rows + (size_t)half * between;
        if (bytes == 2) {
            f32_turn_halves(at, between, to + half * 2);
            f32_turn_halves(at + 32, between, to + (16 * PACK_ROWS + half) * 2);
            continue;
        }
        for (int i = 0; i < 64 / (int)bytes; i += LANES) {
            __m256 a[LANES];
            AVX2_UNROLL
            for (int r = 0; r < LANES; r++)
                a[r] = load(type, at + (size_t)r * between + (size_t)i * bytes);
            f32_turn(a, (float *)(void *)to + i * PACK_ROWS + half);
        }
    }
}

/* For lines of the rows that come next, as many as are turned. */
AVX2_INLINE void f32_ask_rows(enum dtype type, const struct f32_tile *t, int i) {
    const int bytes = (int)element_bytes(type), line = 64 / bytes;
    for (int row = i / 16; row < (i + line) / 16; row++)
        for (int at = 0; at < F32_PIECE * bytes; at += 64)
            _mm_prefetch((const char *)((uintptr_t)t->ask[0] + (size_t)row * t->ask_stride + (size_t)at),
                         _MM_HINT_T0);
}

/* A tile of sixteen whole rows that lie by themselves, ask_stride bytes apart, from strip[0] on; n is a
 * multiple of 16. Few elements at a time: the next are turned while those before are multiplied. */
AVX2_INLINE void f32_stream(enum dtype type, int C, int also, const struct f32_tile *given) {
    const struct f32_tile t = *given;
    const enum dtype as = element_bytes(type) == 2 ? type : DTYPE_F32;
    const int line = 64 / (int)element_bytes(type);
    _Alignas(64) uint8_t block[64 * PACK_ROWS * 4];
    struct f32_tile part = {.strip = {block}, .x_stride = t.x_stride};
    __m256 acc[F32_STRIPS][2][F32_INPUTS];
    f32_no_sums(1, C, acc);
    for (int i = 0; i < t.n; i += line) {
        f32_ask_rows(type, &t, i);
        f32_turn_line(type, t.strip[0] + (size_t)i * element_bytes(type), t.ask_stride, block);
        part.x = t.x + i;
        part.panel = t.panel + i * PACK_ROWS;
        for (int j = 0; j < line; j += LANES) {
            AVX2_UNROLL
            for (int u = 0; u < LANES; u++)
                f32_step(as, 1, C, also, &part, j + u, acc);
        }
    }
    f32_add_sums(1, C, &t, acc);
}

#endif
