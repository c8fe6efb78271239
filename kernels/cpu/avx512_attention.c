/* Attention over one page with AVX-512: four heads and up to 64 positions (or elements) at once, so that a
 * key or value is read and made F32 once for all of them.
 *
 * A score is one sum over the elements in order, an output one over the positions in order, whatever is
 * worked on beside it: the same bits as with AVX2. */
#if defined(__x86_64__)
#include "kernels/cpu/avx512.h"

#include <math.h>

#define HEADS 4
#define LANES 16

AVX512_INLINE __m512 load(const void *page, bool half, int i) {
    if (half)
        return _mm512_cvtph_ps(
            _mm256_loadu_si256((const __m256i *)(const void *)((const uint16_t *)page + i)));
    return _mm512_loadu_ps((const float *)page + i);
}

/* Positions first … first + 16 * groups - 1 of `heads` heads. */
AVX512_INLINE void scores_tile(float *scores, size_t stride, const struct kv_page *keys, bool half,
                               const float *q, int heads, int first, int groups, bool ask, float scale) {
    int head_dim = keys->head_dim;
    size_t row = half ? 128 : 256;
    __m512 acc[HEADS][4];
    AVX512_UNROLL
    for (int h = 0; h < heads; h++)
        AVX512_UNROLL
    for (int g = 0; g < groups; g++)
        acc[h][g] = _mm512_setzero_ps();
    for (int e = 0; e < head_dim; e++) {
        if (ask)
            kv_page_ask(keys, (size_t)e * row, row);
        __m512 qe[HEADS];
        AVX512_UNROLL
        for (int h = 0; h < heads; h++)
            qe[h] = _mm512_set1_ps(q[h * head_dim + e]);
        AVX512_UNROLL
        for (int g = 0; g < groups; g++) {
            __m512 k = load(keys->at, half, e * 64 + first + g * LANES);
            AVX512_UNROLL
            for (int h = 0; h < heads; h++)
                acc[h][g] = _mm512_fmadd_ps(qe[h], k, acc[h][g]);
        }
    }
    AVX512_UNROLL
    for (int h = 0; h < heads; h++)
        AVX512_UNROLL
    for (int g = 0; g < groups; g++)
        _mm512_storeu_ps(scores + (size_t)h * stride + first + g * LANES,
                         _mm512_mul_ps(acc[h][g], _mm512_set1_ps(scale)));
}

/* Up to the next multiple of 8 positions is wanted; 16 may be written, of which the last 8 would be those of
 * the next page: a page has 64. */
AVX512_INLINE void scores_heads(float *scores, size_t stride, const struct kv_page *keys, bool half,
                                const float *q, int heads, bool ask, float scale) {
    int first = 0;
    for (; keys->n - first > 3 * LANES; first += 4 * LANES)
        scores_tile(scores, stride, keys, half, q, heads, first, 4, ask && first == 0, scale);
    for (; keys->n - first > 0; first += LANES)
        scores_tile(scores, stride, keys, half, q, heads, first, 1, ask && first == 0, scale);
}

AVX512_INLINE void scores_page(float *scores, size_t stride, const struct kv_page *keys, bool half,
                               const float *q, int n_heads, float scale) {
    int h = 0;
    for (; h + HEADS <= n_heads; h += HEADS)
        scores_heads(scores + (size_t)h * stride, stride, keys, half, q + h * keys->head_dim, HEADS, h == 0,
                     scale);
    for (; h < n_heads; h++)
        scores_heads(scores + (size_t)h * stride, stride, keys, half, q + h * keys->head_dim, 1, h == 0,
                     scale);
}

AVX512_TARGET void avx512_scores(float *scores, size_t stride, const struct kv_page *keys, const float *q,
                                 int n_heads, float scale) {
    if (keys->half)
        scores_page(scores, stride, keys, true, q, n_heads, scale);
    else
        scores_page(scores, stride, keys, false, q, n_heads, scale);
}

/* Elements first … first + 16 * groups - 1 of the output of `heads` heads, over all positions. */
AVX512_INLINE void mix_tile(float *out, const struct kv_page *values, bool half, const float *scores,
                            size_t stride, int heads, int first, int groups, bool ask) {
    int head_dim = values->head_dim;
    size_t row = (size_t)head_dim * (half ? 2 : 4);
    __m512 acc[HEADS][4];
    AVX512_UNROLL
    for (int h = 0; h < heads; h++)
        AVX512_UNROLL
    for (int g = 0; g < groups; g++)
        acc[h][g] = _mm512_loadu_ps(out + h * head_dim + first + g * LANES);
    for (int t = 0; t < values->n; t++) {
        if (ask)
            kv_page_ask(values, (size_t)t * row, row);
        __m512 p[HEADS];
        AVX512_UNROLL
        for (int h = 0; h < heads; h++)
            p[h] = _mm512_set1_ps(scores[(size_t)h * stride + (size_t)t]);
        AVX512_UNROLL
        for (int g = 0; g < groups; g++) {
            __m512 v = load(values->at, half, t * head_dim + first + g * LANES);
            AVX512_UNROLL
            for (int h = 0; h < heads; h++)
                acc[h][g] = _mm512_fmadd_ps(p[h], v, acc[h][g]);
        }
    }
    AVX512_UNROLL
    for (int h = 0; h < heads; h++)
        AVX512_UNROLL
    for (int g = 0; g < groups; g++)
        _mm512_storeu_ps(out + h * head_dim + first + g * LANES, acc[h][g]);
}

AVX512_INLINE void mix_heads(float *out, const struct kv_page *values, bool half, const float *scores,
                             size_t stride, int heads, bool ask) {
    int first = 0, head_dim = values->head_dim;
    for (; head_dim - first >= 4 * LANES; first += 4 * LANES)
        mix_tile(out, values, half, scores, stride, heads, first, 4, ask && first == 0);
    for (; head_dim - first >= LANES; first += LANES)
        mix_tile(out, values, half, scores, stride, heads, first, 1, ask && first == 0);
    for (; first < head_dim; first++)
        for (int h = 0; h < heads; h++)
            for (int t = 0; t < values->n; t++) {
                int i = t * head_dim + first;
                float v =
                    half ? _cvtsh_ss(((const uint16_t *)values->at)[i]) : ((const float *)values->at)[i];
                float *o = out + h * head_dim + first;
                *o = fmaf(scores[(size_t)h * stride + (size_t)t], v, *o);
            }
}

AVX512_INLINE void mix_page(float *out, const struct kv_page *values, bool half, const float *scores,
                            size_t stride, int n_heads) {
    int h = 0;
    for (; h + HEADS <= n_heads; h += HEADS)
        mix_heads(out + h * values->head_dim, values, half, scores + (size_t)h * stride, stride, HEADS,
                  h == 0);
    for (; h < n_heads; h++)
        mix_heads(out + h * values->head_dim, values, half, scores + (size_t)h * stride, stride, 1, h == 0);
}

AVX512_TARGET void avx512_mix(float *out, const struct kv_page *values, const float *scores, size_t stride,
                              int n_heads) {
    if (values->half)
        mix_page(out, values, true, scores, stride, n_heads);
    else
        mix_page(out, values, false, scores, stride, n_heads);
}
#else
typedef int avx512_attention_is_for_x86;
#endif
