/* The loops of kv8.h for one width of vectors. Before it is included: KV8_TARGET, KV8_LANES, KV8_HEADS (heads
 * that are worked on together), kv8_vec, and kv8_zero, kv8_set1, kv8_load, kv8_store_vec, kv8_fmadd, kv8_mul,
 * kv8_bytes (KV8_LANES signed bytes as F32).
 *
 * The sum of a score runs over the elements in order, that of an output over the positions in order, whatever
 * is worked on beside it. */
#include "kernels/cpu/kv8.h"

#include <math.h>

#define KV8_INLINE static inline __attribute__((always_inline)) KV8_TARGET

/* Positions first … first + groups * KV8_LANES - 1 of `heads` heads. */
KV8_INLINE void kv8_scores_tile(float *scores, size_t stride, const int8_t *keys, const float *factors,
                                const float *q, int heads, int head_dim, int first, int groups, float scale) {
    kv8_vec acc[KV8_HEADS][4];
    for (int h = 0; h < heads; h++)
        for (int g = 0; g < groups; g++)
            acc[h][g] = kv8_zero();
    for (int e = 0; e < head_dim; e++) {
        kv8_vec qe[KV8_HEADS];
        for (int h = 0; h < heads; h++)
            qe[h] = kv8_set1(q[h * head_dim + e]);
        for (int g = 0; g < groups; g++) {
            kv8_vec k = kv8_bytes(keys + e * 64 + first + g * KV8_LANES);
            for (int h = 0; h < heads; h++)
                acc[h][g] = kv8_fmadd(qe[h], k, acc[h][g]);
        }
    }
    for (int g = 0; g < groups; g++) {
        kv8_vec factor = kv8_mul(kv8_load(factors + first + g * KV8_LANES), kv8_set1(scale));
        for (int h = 0; h < heads; h++)
            kv8_store_vec(scores + (size_t)h * stride + first + g * KV8_LANES, kv8_mul(acc[h][g], factor));
    }
}

KV8_INLINE void kv8_scores_heads(float *scores, size_t stride, const int8_t *keys, const float *factors,
                                 const float *q, int heads, int head_dim, int n, float scale) {
    int first = 0;
    for (; n - first > 3 * KV8_LANES; first += 4 * KV8_LANES)
        kv8_scores_tile(scores, stride, keys, factors, q, heads, head_dim, first, 4, scale);
    for (; n - first > 0; first += KV8_LANES)
        kv8_scores_tile(scores, stride, keys, factors, q, heads, head_dim, first, 1, scale);
}

KV8_TARGET static void kv8_scores(float *scores, size_t stride, const void *keys, const float *q, int n_heads,
                                  int head_dim, int n, float scale) {
    const int8_t *bytes = keys;
    const float *factors = (const float *)(const void *)(bytes + (size_t)head_dim * 64);
    int h = 0;
    for (; h + KV8_HEADS <= n_heads; h += KV8_HEADS)
        kv8_scores_heads(scores + (size_t)h * stride, stride, bytes, factors, q + h * head_dim, KV8_HEADS,
                         head_dim, n, scale);
    for (; h < n_heads; h++)
        kv8_scores_heads(scores + (size_t)h * stride, stride, bytes, factors, q + h * head_dim, 1, head_dim,
                         n, scale);
}

/* Elements first … first + groups * KV8_LANES - 1 of `heads` heads; weights[h][t]. */
KV8_INLINE void kv8_mix_tile(float *out, const int8_t *values, float weights[KV8_HEADS][64], int heads,
                             int head_dim, int n, int first, int groups) {
    kv8_vec acc[KV8_HEADS][4];
    for (int h = 0; h < heads; h++)
        for (int g = 0; g < groups; g++)
            acc[h][g] = kv8_load(out + h * head_dim + first + g * KV8_LANES);
    for (int t = 0; t < n; t++) {
        kv8_vec p[KV8_HEADS];
        for (int h = 0; h < heads; h++)
            p[h] = kv8_set1(weights[h][t]);
        for (int g = 0; g < groups; g++) {
            kv8_vec v = kv8_bytes(values + t * head_dim + first + g * KV8_LANES);
            for (int h = 0; h < heads; h++)
                acc[h][g] = kv8_fmadd(p[h], v, acc[h][g]);
        }
    }
    for (int h = 0; h < heads; h++)
        for (int g = 0; g < groups; g++)
            kv8_store_vec(out + h * head_dim + first + g * KV8_LANES, acc[h][g]);
}

KV8_INLINE void kv8_mix_heads(float *out, const int8_t *values, const float *factors, const float *scores,
                              size_t stride, int heads, int head_dim, int n) {
    float weights[KV8_HEADS][64];
    int first = 0;
    for (int h = 0; h < heads; h++)
        for (int t = 0; t < n; t++)
            weights[h][t] = scores[(size_t)h * stride + (size_t)t] * factors[t];
    for (; head_dim - first >= 4 * KV8_LANES; first += 4 * KV8_LANES)
        kv8_mix_tile(out, values, weights, heads, head_dim, n, first, 4);
    for (; head_dim - first >= KV8_LANES; first += KV8_LANES)
        kv8_mix_tile(out, values, weights, heads, head_dim, n, first, 1);
    for (; first < head_dim; first++)
        for (int h = 0; h < heads; h++)
            for (int t = 0; t < n; t++) {
                float *o = out + h * head_dim + first;
                *o = fmaf(weights[h][t], (float)values[t * head_dim + first], *o);
            }
}

KV8_TARGET static void kv8_mix(float *out, const void *values, const float *scores, size_t stride,
                               int n_heads, int head_dim, int n) {
    const int8_t *bytes = values;
    const float *factors = (const float *)(const void *)(bytes + (size_t)head_dim * 64);
    int h = 0;
    for (; h + KV8_HEADS <= n_heads; h += KV8_HEADS)
        kv8_mix_heads(out + h * head_dim, bytes, factors, scores + (size_t)h * stride, stride, KV8_HEADS,
                      head_dim, n);
    for (; h < n_heads; h++)
        kv8_mix_heads(out + h * head_dim, bytes, factors, scores + (size_t)h * stride, stride, 1, head_dim,
                      n);
}
