/* Stands in for the compiler's header where kernels/cpu/avx512*.c and kv8_avx512.c are compiled for machines
 * that have AVX2 and no AVX-512: each intrinsic becomes what SIMDe (Debian's libsimde-dev) or this file says
 * it does, in AVX2 and plain C. An intrinsic that neither has does not compile. To be found before the
 * compiler's own; compiled with -mavx2 -mfma -mf16c. */
#include_next <immintrin.h>
#ifndef TESTS_KERNELS_SIMDE_IMMINTRIN_H
#define TESTS_KERNELS_SIMDE_IMMINTRIN_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <stdint.h>
#include <string.h>

/* Of the kernels' headers. Nothing is unrolled or inlined by force: that would compile for ten minutes. */
#define AVX512_TARGET
#define AVX512_INLINE static inline
#define AVX512_UNROLL
#define KV8_TARGET

/* ---- what the packaged SIMDe lacks, or has under no name of Intel's ----
 * As the Intel Intrinsics Guide describes it. Lanes are numbered from the lowest address on. */
#define PLAIN static inline __attribute__((always_inline))

union plain_512 {
    __m512i i;
    __m512 f;
    __m256i i256[2];
    __m256 f256[2];
    float f32[16];
    int32_t i32[16];
    int16_t i16[32];
    uint16_t u16[32];
};

PLAIN __m512 plain_512_cvtph_ps(__m256i a) {
    union plain_512 r;
    r.f256[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(a));
    r.f256[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1));
    return r.f;
}

PLAIN __m512 plain_512_cvtepi32_ps(__m512i a) {
    union plain_512 v = {.i = a}, r;
    for (int i = 0; i < 2; i++)
        r.f256[i] = _mm256_cvtepi32_ps(v.i256[i]);
    return r.f;
}

PLAIN __m512i plain_512_cvtepi8_epi32(__m128i a) {
    union plain_512 r;
    r.i256[0] = _mm256_cvtepi8_epi32(a);
    r.i256[1] = _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8));
    return r.i;
}

PLAIN __m512i plain_512_cvtepi16_epi32(__m256i a) {
    union plain_512 r;
    r.i256[0] = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(a));
    r.i256[1] = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(a, 1));
    return r.i;
}

PLAIN __m512i plain_512_cvtepu16_epi32(__m256i a) {
    union plain_512 r;
    r.i256[0] = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(a));
    r.i256[1] = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1));
    return r.i;
}

/* The lower halves of the lanes, nothing saturates. */
PLAIN __m256i plain_512_cvtepi32_epi16(__m512i a) {
    union plain_512 v = {.i = a}, r;
    for (int i = 0; i < 16; i++)
        r.u16[i] = v.u16[2 * i];
    return r.i256[0];
}

PLAIN __m512i plain_512_srai_epi32(__m512i a, unsigned n) {
    union plain_512 v = {.i = a}, r;
    for (int i = 0; i < 2; i++)
        r.i256[i] = _mm256_srai_epi32(v.i256[i], (int)n);
    return r.i;
}

PLAIN __m512i plain_512_madd_epi16(__m512i a, __m512i b) {
    union plain_512 v = {.i = a}, w = {.i = b}, r;
    for (int i = 0; i < 2; i++)
        r.i256[i] = _mm256_madd_epi16(v.i256[i], w.i256[i]);
    return r.i;
}

/* Adds four products of unsigned and signed bytes to a lane; nothing saturates. SIMDe's own makes vectors of
 * a thousand bits, which take long to compile. */
PLAIN __m512i plain_512_dpbusd_epi32(__m512i sums, __m512i a, __m512i b) {
    const __m256i low = _mm256_set1_epi16(0xFF);
    union plain_512 r = {.i = sums}, v = {.i = a}, w = {.i = b};
    for (int i = 0; i < 2; i++) {
        __m256i even = _mm256_madd_epi16(_mm256_and_si256(v.i256[i], low),
                                         _mm256_srai_epi16(_mm256_slli_epi16(w.i256[i], 8), 8));
        __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(v.i256[i], 8), _mm256_srai_epi16(w.i256[i], 8));
        r.i256[i] = _mm256_add_epi32(r.i256[i], _mm256_add_epi32(even, odd));
    }
    return r.i;
}

PLAIN __m512i plain_512_zextsi256_si512(__m256i a) {
    union plain_512 r = {.i256 = {a, _mm256_setzero_si256()}};
    return r.i;
}

/* Within each four lanes, lane i is the one that bits 2 i and 2 i + 1 of `which` name. */
PLAIN __m512 plain_512_permute_ps(__m512 a, int which) {
    union plain_512 v = {.f = a}, r;
    for (int i = 0; i < 16; i++)
        r.f32[i] = v.f32[i / 4 * 4 + (which >> (i % 4 * 2) & 3)];
    return r.f;
}

/* Lanes that the mask does not name are 0, and nothing is read for them. */
PLAIN __m512i plain_load(uint64_t mask, const void *at, int lanes, size_t bytes) {
    union plain_512 r = {.i32 = {0}};
    for (int i = 0; i < lanes; i++)
        if (mask >> i & 1)
            memcpy((char *)&r + (size_t)i * bytes, (const char *)at + (size_t)i * bytes, bytes);
    return r.i;
}

PLAIN void plain_store(void *at, uint64_t mask, __m512i a, int lanes, size_t bytes) {
    for (int i = 0; i < lanes; i++)
        if (mask >> i & 1)
            memcpy((char *)at + (size_t)i * bytes, (const char *)&a + (size_t)i * bytes, bytes);
}

#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps plain_512_cvtph_ps
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps plain_512_cvtepi32_ps
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32 plain_512_cvtepi8_epi32
#undef _mm512_cvtepi16_epi32
#define _mm512_cvtepi16_epi32 plain_512_cvtepi16_epi32
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32 plain_512_cvtepu16_epi32
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16 plain_512_cvtepi32_epi16
#undef _mm512_srai_epi32
#define _mm512_srai_epi32 plain_512_srai_epi32
#undef _mm512_madd_epi16
#define _mm512_madd_epi16 plain_512_madd_epi16
#undef _mm512_dpbusd_epi32
#define _mm512_dpbusd_epi32 plain_512_dpbusd_epi32
#undef _mm512_zextsi256_si512
#define _mm512_zextsi256_si512 plain_512_zextsi256_si512
#undef _mm512_permute_ps
#define _mm512_permute_ps plain_512_permute_ps
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps(mask, at) _mm512_castsi512_ps(plain_load(mask, at, 16, 4))
#undef _mm512_maskz_loadu_epi16
#define _mm512_maskz_loadu_epi16(mask, at) plain_load(mask, at, 32, 2)
#undef _mm256_maskz_loadu_epi16
#define _mm256_maskz_loadu_epi16(mask, at) _mm512_castsi512_si256(plain_load(mask, at, 16, 2))
#undef _mm_maskz_loadu_epi8
#define _mm_maskz_loadu_epi8(mask, at) _mm512_castsi512_si128(plain_load(mask, at, 16, 1))
#undef _mm_maskz_loadu_ps
#define _mm_maskz_loadu_ps(mask, at) _mm512_castps512_ps128(_mm512_castsi512_ps(plain_load(mask, at, 4, 4)))
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps(at, mask, a) plain_store(at, mask, _mm512_castps_si512(a), 16, 4)
#undef _mm_mask_storeu_ps
#define _mm_mask_storeu_ps(at, mask, a)                                                                      \
    plain_store(at, mask, _mm512_castps_si512(_mm512_castps128_ps512(a)), 4, 4)
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4 simde_mm512_shuffle_f32x4
#undef _mm512_shuffle_i64x2
#define _mm512_shuffle_i64x2 simde_mm512_shuffle_i64x2

#endif
