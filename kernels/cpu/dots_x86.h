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

/* Walks n_rows x n_cols in tiles of 4 rows by COLS columns; TILE(R, C, row, col) does one. */
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
