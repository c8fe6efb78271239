/* Keys and values in 8 bits with AVX-512. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>

/* Defined already where something stands in for the instructions. */
#ifndef KV8_TARGET
#define KV8_TARGET __attribute__((target("avx2,fma,avx512f")))
#endif
#define KV8_LANES 16
#define KV8_HEADS 4
typedef __m512 kv8_vec;

#define KV8_ONE static inline __attribute__((always_inline)) KV8_TARGET

KV8_ONE kv8_vec kv8_zero(void) {
    return _mm512_setzero_ps();
}

KV8_ONE kv8_vec kv8_set1(float x) {
    return _mm512_set1_ps(x);
}

KV8_ONE kv8_vec kv8_load(const float *at) {
    return _mm512_loadu_ps(at);
}

KV8_ONE void kv8_store_vec(float *at, kv8_vec v) {
    _mm512_storeu_ps(at, v);
}

KV8_ONE kv8_vec kv8_fmadd(kv8_vec a, kv8_vec b, kv8_vec c) {
    return _mm512_fmadd_ps(a, b, c);
}

KV8_ONE kv8_vec kv8_mul(kv8_vec a, kv8_vec b) {
    return _mm512_mul_ps(a, b);
}

KV8_ONE kv8_vec kv8_bytes(const int8_t *at) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at)));
}

#include "kernels/cpu/kv8_x86.h"

const struct kv8_ops kv8_avx512 = {.name = "avx512", .scores = kv8_scores, .mix = kv8_mix};
#else
typedef int kv8_avx512_is_for_x86;
#endif
