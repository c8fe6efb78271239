/* AVX-512 VNNI in 256-bit registers: one instruction instead of two for four byte products and their sum.
 * Integer sums are exact, so results equal those of the AVX2 table bit by bit. */
#if defined(__x86_64__)
#define DOTS_TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512vl,avx512vnni")))
#include <immintrin.h>

static inline __attribute__((always_inline)) DOTS_TARGET __m256i dots_bytes(__m256i magnitude,
                                                                            __m256i other) {
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), magnitude, other);
}

static inline __attribute__((always_inline)) DOTS_TARGET __m256i dots_bytes_from(__m256i from,
                                                                                 __m256i magnitude,
                                                                                 __m256i other) {
    return _mm256_dpbusd_epi32(from, magnitude, other);
}

#include "kernels/cpu/dots_x86.h"
#include "kernels/cpu/ops_avx2.h"

DOTS_Q8(4)

const struct cpu_ops cpu_ops_avx512vnni = {
    .name = "avx512vnni",
    .product = ops_avx2_product,
    .product_q8 = dots_q8,
    .quantise = ops_avx2_quantise,
    .rms_norm = ops_avx2_rms_norm,
    .silu_mul = ops_avx2_silu_mul,
    .add = ops_avx2_add,
    .scores = ops_avx2_scores,
    .softmax = ops_avx2_softmax,
    .mix = ops_avx2_mix,
};
#else
typedef int ops_avx512vnni_is_for_x86;
#endif
