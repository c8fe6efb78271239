/* Products for x86 CPUs with AVX2, FMA and F16C. Included by ops_avx2.c, which defines DOTS_TARGET,
 * dots_bytes() and dots_bytes_from(); everything is inlined there.
 *
 * A tile is R stored rows times C inputs; each of its R * C sums has one accumulator of eight lanes that runs
 * over k in ascending order, so a sum is the same in every tile shape. */
#ifndef DOTS_TARGET
#error "include this from a file that defines DOTS_TARGET, dots_bytes() and dots_bytes_from()"
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

/* Q8_0 rows times inputs rounded to 8 bits. */
DOTS_INLINE void dots_tile_q8(enum dtype type, int R, int C, const uint8_t *w, size_t row_bytes,
                              const char *x, size_t x_stride, int k, float *out, size_t out_stride) {
    (void)type; /* always Q8_0 */
    __m256 acc[8][4];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++)
            acc[r][c] = _mm256_setzero_ps();
    for (int b = 0; b < k / CONVERT_Q8_BLOCK; b++) {
        __m256i in[4];
        __m256 scale[4];
        for (int c = 0; c < C; c++) {
            const char *row = x + (size_t)c * x_stride;
            in[c] = _mm256_load_si256((const __m256i *)(const void *)(row + (size_t)b * 32));
            scale[c] = _mm256_broadcast_ss((const float *)(const void *)(row + (size_t)k) + b);
        }
        for (int r = 0; r < R; r++) {
            const uint8_t *block = w + (size_t)r * row_bytes + (size_t)b * CONVERT_Q8_BYTES;
            __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)(block + 2));
            __m256i magnitude = _mm256_abs_epi8(bytes);
            __m256 row_scale = _mm256_set1_ps(dots_half(block));
            for (int c = 0; c < C; c++) {
                __m256i sums = dots_bytes(magnitude, _mm256_sign_epi8(in[c], bytes));
                acc[r][c] =
                    _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(row_scale, scale[c]), acc[r][c]);
            }
        }
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++)
            out[(size_t)c * out_stride + (size_t)r] = dots_sum(acc[r][c]);
}

#include "kernels/cpu/dots_x86_blocks.h"

/* Walks n_rows x n_cols in tiles of 4 rows by 3 (F32 inputs) or 2 (byte inputs) columns; TILE(R, C, row, col)
 * does one. */
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
#define DOTS_TILE_F32(R, C, r0, c0)   DOTS_TILE(dots_tile, R, C, r0, c0, type)
#define DOTS_TILE_Q8(R, C, r0, c0)    DOTS_TILE(dots_tile_q8, R, C, r0, c0, type)
#define DOTS_TILE_SMALL(R, C, r0, c0) DOTS_TILE(dots_tile_small, R, C, r0, c0, type)
#define DOTS_TILE_SUPER(R, C, r0, c0) DOTS_TILE(dots_tile_super, R, C, r0, c0, type)

/* One product for one type, known when compiled; `columns` of byte inputs at once. */
#define DOTS_PRODUCT(NAME, TILE, TYPE, COLUMNS)                                                              \
    DOTS_TARGET static void NAME(const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,      \
                                 int k, float *out, size_t out_stride) {                                     \
        const enum dtype type = (TYPE);                                                                      \
        size_t row_bytes = convert_row_bytes(type, k);                                                       \
        DOTS_WALK(TILE, COLUMNS);                                                                            \
    }

/* dots_q8(type, …): the products of all quantised types with inputs as CPU_Q8_ROW. */
#define DOTS_Q8(COLUMNS)                                                                                     \
    DOTS_PRODUCT(dots_q8_q8_0, DOTS_TILE_Q8, DTYPE_Q8_0, COLUMNS)                                            \
    DOTS_PRODUCT(dots_q8_q4_0, DOTS_TILE_SMALL, DTYPE_Q4_0, COLUMNS)                                         \
    DOTS_PRODUCT(dots_q8_q4_1, DOTS_TILE_SMALL, DTYPE_Q4_1, COLUMNS)                                         \
    DOTS_PRODUCT(dots_q8_q5_0, DOTS_TILE_SMALL, DTYPE_Q5_0, COLUMNS)                                         \
    DOTS_PRODUCT(dots_q8_q5_1, DOTS_TILE_SMALL, DTYPE_Q5_1, COLUMNS)                                         \
    DOTS_PRODUCT(dots_q8_q2_k, DOTS_TILE_SUPER, DTYPE_Q2_K, COLUMNS)                                         \
    DOTS_PRODUCT(dots_q8_q3_k, DOTS_TILE_SUPER, DTYPE_Q3_K, COLUMNS)                                         \
    DOTS_PRODUCT(dots_q8_q4_k, DOTS_TILE_SUPER, DTYPE_Q4_K, COLUMNS)                                         \
    DOTS_PRODUCT(dots_q8_q5_k, DOTS_TILE_SUPER, DTYPE_Q5_K, COLUMNS)                                         \
    DOTS_PRODUCT(dots_q8_q6_k, DOTS_TILE_SUPER, DTYPE_Q6_K, COLUMNS)                                         \
    static void dots_q8(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride,          \
                        int n_cols, int k, float *out, size_t out_stride) {                                  \
        static void (*const by_type[DTYPE_COUNT])(const void *, int, const void *, size_t, int, int,         \
                                                  float *, size_t) = {                                       \
            [DTYPE_Q8_0] = dots_q8_q8_0, [DTYPE_Q4_0] = dots_q8_q4_0, [DTYPE_Q4_1] = dots_q8_q4_1,           \
            [DTYPE_Q5_0] = dots_q8_q5_0, [DTYPE_Q5_1] = dots_q8_q5_1, [DTYPE_Q2_K] = dots_q8_q2_k,           \
            [DTYPE_Q3_K] = dots_q8_q3_k, [DTYPE_Q4_K] = dots_q8_q4_k, [DTYPE_Q5_K] = dots_q8_q5_k,           \
            [DTYPE_Q6_K] = dots_q8_q6_k};                                                                    \
        by_type[type](w, n_rows, x, x_stride, n_cols, k, out, out_stride);                                   \
    }
