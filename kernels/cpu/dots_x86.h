/* Products for x86 CPUs with AVX2, FMA and F16C. Included by ops_avx2.c, which defines
 * DOTS_TARGET; everything is inlined there.
 *
 * A tile is R stored rows times C inputs; each of its R * C sums has one accumulator of eight lanes that runs
 * over k in ascending order, so a sum is the same in every tile shape. */
#ifndef DOTS_TARGET
#error "include this from a file that defines DOTS_TARGET"
#endif

#include "kernels/cpu/convert.h"
#include "kernels/cpu/ops.h"

#include <immintrin.h>
#include <math.h>

#define DOTS_INLINE static inline __attribute__((always_inline)) DOTS_TARGET

DOTS_INLINE float dots_sum(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

DOTS_INLINE float dots_half(const uint8_t *at) {
    uint16_t half;
    memcpy(&half, at, 2);
    return _cvtsh_ss(half);
}

/* Elements i … i+7 of a stored row. */
DOTS_INLINE __m256 dots_load(enum dtype type, const uint8_t *row, int i) {
    switch (type) {
    case DTYPE_F32:
        return _mm256_loadu_ps((const float *)(const void *)(row + (size_t)i * 4));
    case DTYPE_F16:
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(row + (size_t)i * 2)));
    case DTYPE_BF16: {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)(row + (size_t)i * 2));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    }
    case DTYPE_F8_E4M3: {
        /* Halves of the same exponent and mantissa are 2^-8 of it; 0x7F is no number. */
        __m128i b = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)(row + i)));
        __m128i magnitude = _mm_and_si128(b, _mm_set1_epi16(0x7F));
        __m128i none =
            _mm_and_si128(_mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7F)), _mm_set1_epi16(0x7E00));
        __m128i sign = _mm_slli_epi16(_mm_and_si128(b, _mm_set1_epi16(0x80)), 8);
        __m128i half = _mm_or_si128(_mm_or_si128(_mm_slli_epi16(magnitude, 7), sign), none);
        return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));
    }
    default: { /* Q8_0 */
        const uint8_t *block = row + (size_t)(i / CONVERT_Q8_BLOCK) * CONVERT_Q8_BYTES;
        __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(block + 2 + i % CONVERT_Q8_BLOCK));
        __m256 scale = _mm256_set1_ps(dots_half(block));
        return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), scale);
    }
    }
}

DOTS_INLINE void dots_tile(enum dtype type, int R, int C, const uint8_t *w, size_t row_bytes, const char *x,
                           size_t x_stride, int k, float *out, size_t out_stride) {
    __m256 acc[8][4];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++)
            acc[r][c] = _mm256_setzero_ps();
    int whole = k / 8 * 8;
    for (int i = 0; i < whole; i += 8) {
        __m256 in[4];
        for (int c = 0; c < C; c++)
            in[c] = _mm256_load_ps((const float *)(const void *)(x + (size_t)c * x_stride) + i);
        for (int r = 0; r < R; r++) {
            __m256 v = dots_load(type, w + (size_t)r * row_bytes, i);
            for (int c = 0; c < C; c++)
                acc[r][c] = _mm256_fmadd_ps(v, in[c], acc[r][c]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) {
            float sum = dots_sum(acc[r][c]);
            const float *in = (const float *)(const void *)(x + (size_t)c * x_stride);
            for (int i = whole; i < k; i++)
                sum = fmaf(convert_element(type, w + (size_t)r * row_bytes, i), in[i], sum);
            out[(size_t)c * out_stride + (size_t)r] = sum;
        }
}

/* Walks n_rows x n_cols in tiles of 4 rows by COLS inputs; TILE(R, C, row, col) does one. */
#define DOTS_WALK(TILE, COLS)                                                                                \
    do {                                                                                                     \
        int r0 = 0;                                                                                          \
        for (; r0 + 4 <= n_rows; r0 += 4) {                                                                  \
            int c0 = 0;                                                                                      \
            for (; c0 + (COLS) <= n_cols; c0 += (COLS))                                                      \
                TILE(4, COLS, r0, c0);                                                                       \
            for (; c0 < n_cols; c0++)                                                                        \
                TILE(4, 1, r0, c0);                                                                          \
        }                                                                                                    \
        for (; r0 < n_rows; r0++)                                                                            \
            for (int c0 = 0; c0 < n_cols; c0++)                                                              \
                TILE(1, 1, r0, c0);                                                                          \
    } while (0)

#define DOTS_TILE(FN, R, C, r0, c0, ...)                                                                     \
    FN(__VA_ARGS__, R, C, (const uint8_t *)w + (size_t)(r0)*row_bytes, row_bytes,                            \
       (const char *)x + (size_t)(c0)*x_stride, x_stride, k, out + (size_t)(c0)*out_stride + (size_t)(r0),   \
       out_stride)
#define DOTS_TILE_F32(R, C, r0, c0) DOTS_TILE(dots_tile, R, C, r0, c0, type)

/* One product for one type, known when compiled. */
#define DOTS_PRODUCT(NAME, TILE, TYPE, COLUMNS)                                                              \
    DOTS_TARGET static void NAME(const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,      \
                                 int k, float *out, size_t out_stride) {                                     \
        const enum dtype type = (TYPE);                                                                      \
        size_t row_bytes = convert_row_bytes(type, k);                                                       \
        DOTS_WALK(TILE, COLUMNS);                                                                            \
    }
