/* Products with inputs in F32, with AVX2, FMA and F16C: f32_products.h and f32_tile.h say how. A tile has
 * twelve sums, two registers of weights and one of an input. */
#if defined(__x86_64__)
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/ops_avx2.h"
#include "kernels/cpu/pack.h"

#define F32_TARGET AVX2_TARGET
#define F32_INLINE AVX2_INLINE
#define F32_UNROLL AVX2_UNROLL

#define F32_LANES 8
typedef __m256 f32_vector;

F32_INLINE f32_vector f32_zero(void) {
    return _mm256_setzero_ps();
}

F32_INLINE f32_vector f32_broadcast(const float *at) {
    return _mm256_broadcast_ss(at);
}

F32_INLINE f32_vector f32_add(f32_vector a, f32_vector b) {
    return _mm256_add_ps(a, b);
}

/* a b + c, into the register of c. Left to itself the compiler puts sums into those of products, moves them
 * back and forth, and has one of twelve in memory, for which the others wait. */
F32_INLINE f32_vector f32_fma(f32_vector a, f32_vector b, f32_vector c) {
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b));
    return c;
}

F32_INLINE void f32_store(float *at, f32_vector v) {
    _mm256_store_ps(at, v);
}

F32_INLINE f32_vector f32_load(enum dtype type, const uint8_t *at) {
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

/* Eight elements of four bytes of eight rows. */
F32_INLINE void f32_turn_eight(const uint8_t *rows, size_t between, float *to) {
    __m256 a[8], b[8], c[8];
    F32_UNROLL
    for (int r = 0; r < 8; r++)
        a[r] = _mm256_loadu_ps((const float *)(const void *)(rows + (size_t)r * between));
    F32_UNROLL
    for (int r = 0; r < 8; r += 2) { /* two rows: elements 0 1 | 4 5, and 2 3 | 6 7 */
        b[r] = _mm256_unpacklo_ps(a[r], a[r + 1]);
        b[r + 1] = _mm256_unpackhi_ps(a[r], a[r + 1]);
    }
    F32_UNROLL
    for (int r = 0; r < 8; r += 4) { /* four rows: element i | i + 4 */
        c[r] = _mm256_shuffle_ps(b[r], b[r + 2], 0x44);
        c[r + 1] = _mm256_shuffle_ps(b[r], b[r + 2], 0xEE);
        c[r + 2] = _mm256_shuffle_ps(b[r + 1], b[r + 3], 0x44);
        c[r + 3] = _mm256_shuffle_ps(b[r + 1], b[r + 3], 0xEE);
    }
    F32_UNROLL
    for (int i = 0; i < 4; i++) {
        _mm256_store_ps(to + i * PACK_ROWS, _mm256_permute2f128_ps(c[i], c[i + 4], 0x20));
        _mm256_store_ps(to + (i + 4) * PACK_ROWS, _mm256_permute2f128_ps(c[i], c[i + 4], 0x31));
    }
}

/* Of sixteen. */
F32_INLINE void f32_turn_singles(const uint8_t *rows, size_t between, float *to) {
    f32_turn_eight(rows, between, to);
    f32_turn_eight(rows + 8 * between, between, to + 8);
}

#define F32_INPUTS               6
#define F32_FOUR_STRIPS          1
#define F32_EACH_OF_FOUR(X, ...) X(1, __VA_ARGS__)
#define F32_TWO_STRIPS           3
#define F32_EACH_OF_TWO(X, ...)  X(1, __VA_ARGS__) X(2, __VA_ARGS__) X(3, __VA_ARGS__)
#define F32_AHEAD(S)             ((S) == 1 ? 4096 : 2048)
#define F32_FURTHER(S)           0
#define F32_EACH_OF_MANY(X, ...) X(3, __VA_ARGS__) X(4, __VA_ARGS__) X(5, __VA_ARGS__) X(6, __VA_ARGS__)
#define F32_EACH_OF_ALL(X, ...)  X(1, __VA_ARGS__) X(2, __VA_ARGS__) F32_EACH_OF_MANY(X, __VA_ARGS__)
#include "kernels/cpu/f32_products.h"

void ops_avx2_product(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
                      int k, float *out, size_t out_stride) {
    f32_product(type, w, n_rows, x, x_stride, n_cols, k, out, out_stride);
}

void avx2_product_packed_floats(enum dtype type, const void *w, int first, int n_rows, const void *x,
                                size_t x_stride, int n_cols, int k, float *out, size_t out_stride) {
    f32_product_packed(type, w, first, n_rows, x, x_stride, n_cols, k, out, out_stride);
}
#else
typedef int avx2_floats_is_for_x86;
#endif
