/* Products with inputs in F32, with AVX-512: f32_products.h and f32_tile.h say how. A tile has twelve sums of
 * one strip: the multiplication takes an input from memory, which costs less than a register of it for two
 * strips. Four strips with up to four inputs, at most sixteen sums, are for more of memory to be on its way.
 */
#if defined(__x86_64__)
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/pack.h"

#define F32_TARGET AVX512_TARGET
#define F32_INLINE AVX512_INLINE
#define F32_UNROLL AVX512_UNROLL

#define F32_LANES 16
typedef __m512 f32_vector;

F32_INLINE f32_vector f32_zero(void) {
    return _mm512_setzero_ps();
}

F32_INLINE f32_vector f32_broadcast(const float *at) {
    return _mm512_set1_ps(*at);
}

F32_INLINE f32_vector f32_add(f32_vector a, f32_vector b) {
    return _mm512_add_ps(a, b);
}

/* a b + c */
F32_INLINE f32_vector f32_fma(f32_vector a, f32_vector b, f32_vector c) {
    return _mm512_fmadd_ps(a, b, c);
}

F32_INLINE void f32_store(float *at, f32_vector v) {
    _mm512_store_ps(at, v);
}

F32_INLINE f32_vector f32_load(enum dtype type, const uint8_t *at) {
    switch (type) {
    case DTYPE_F32:
        return _mm512_loadu_ps(at);
    case DTYPE_F16:
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)at));
    case DTYPE_BF16: {
        __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)at);
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    default: { /* E4M3: halves of the same exponent and mantissa are 2^-8 of it; 0x7F is no number */
        __m256i b = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)at));
        __m256i shifted = _mm256_slli_epi16(b, 7);
        __m256i none = _mm256_cmpeq_epi16(_mm256_or_si256(shifted, _mm256_set1_epi16((short)0xC07F)),
                                          _mm256_set1_epi16(-1));
        __m256i half = _mm256_or_si256(_mm256_and_si256(shifted, _mm256_set1_epi16((short)0xBF80)),
                                       _mm256_and_si256(none, _mm256_set1_epi16(0x7E00)));
        return _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0f));
    }
    }
}

/* Eight elements of four bytes of the sixteen rows. */
F32_INLINE void f32_turn_singles(const uint8_t *rows, size_t between, float *to) {
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13),
                  high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    __m512 a[8], b[8];
    F32_UNROLL
    for (int r = 0; r < 8; r++) {
        const float *at = (const float *)(const void *)(rows + (size_t)r * between),
                    *further = (const float *)(const void *)(rows + (size_t)(r + 8) * between);
        a[r] = _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(at)), _mm256_loadu_ps(further), 1);
    }
    F32_UNROLL
    for (int r = 0; r < 4; r++) { /* rows 2 r and 2 r + 1: elements 0 and 1, and 2 and 3 */
        b[r] = _mm512_unpacklo_ps(a[2 * r], a[2 * r + 1]);
        b[r + 4] = _mm512_unpackhi_ps(a[2 * r], a[2 * r + 1]);
    }
    F32_UNROLL
    for (int i = 0; i < 4; i++) { /* rows 0 to 3, and 4 to 7: element i, and 4 further; then 8 rows further */
        __m512d part[4];
        F32_UNROLL
        for (int j = 0; j < 4; j++)
            part[j] = _mm512_castps_pd(b[i / 2 * 4 + j]);
        __m512d first =
            i % 2 == 0 ? _mm512_unpacklo_pd(part[0], part[1]) : _mm512_unpackhi_pd(part[0], part[1]);
        __m512d second =
            i % 2 == 0 ? _mm512_unpacklo_pd(part[2], part[3]) : _mm512_unpackhi_pd(part[2], part[3]);
        _mm512_store_pd(to + i * PACK_ROWS, _mm512_permutex2var_pd(first, low, second));
        _mm512_store_pd(to + (i + 4) * PACK_ROWS, _mm512_permutex2var_pd(first, high, second));
    }
}

#define F32_INPUTS               12
#define F32_FOUR_STRIPS          4
#define F32_EACH_OF_FOUR(X, ...) X(1, __VA_ARGS__) X(2, __VA_ARGS__) X(3, __VA_ARGS__) X(4, __VA_ARGS__)
#define F32_TWO_STRIPS           F32_FOUR_STRIPS
#define F32_EACH_OF_TWO(X, ...)  F32_EACH_OF_FOUR(X, __VA_ARGS__)
/* Several strips have up to four inputs, so there is little to do for each line. */
#define F32_AHEAD(S)            ((S) == 1 ? 4096 : avx512_foresees() ? 0 : 1024)
#define F32_FURTHER(S)          ((S) == 1 || avx512_foresees() ? 0 : 1024)
#define F32_SIX_TO_NINE(X, ...) X(6, __VA_ARGS__) X(7, __VA_ARGS__) X(8, __VA_ARGS__) X(9, __VA_ARGS__)
#define F32_EACH_OF_MANY(X, ...)                                                                             \
    F32_SIX_TO_NINE(X, __VA_ARGS__) X(10, __VA_ARGS__) X(11, __VA_ARGS__) X(12, __VA_ARGS__)
#define F32_EACH_OF_ALL(X, ...)                                                                              \
    F32_EACH_OF_FOUR(X, __VA_ARGS__) X(5, __VA_ARGS__) F32_EACH_OF_MANY(X, __VA_ARGS__)
#include "kernels/cpu/f32_products.h"

void avx512_product(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
                    int k, float *out, size_t out_stride) {
    f32_product(type, w, n_rows, x, x_stride, n_cols, k, out, out_stride);
}

void avx512_product_packed_floats(enum dtype type, const void *w, int first, int n_rows, const void *x,
                                  size_t x_stride, int n_cols, int k, float *out, size_t out_stride) {
    f32_product_packed(type, w, first, n_rows, x, x_stride, n_cols, k, out, out_stride);
}
#else
typedef int avx512_floats_is_for_x86;
#endif
