/* The loops of kv8.h for one width of vectors. Before it is included: KV8_TARGET, KV8_LANES, KV8_HEADS (heads
 * that are worked on together), kv8_vec, and kv8_zero, kv8_set1, kv8_load, kv8_store_vec, kv8_fmadd, kv8_mul,
 * kv8_bytes (KV8_LANES signed bytes as F32).
 *
 * The sum of a score runs over the elements in order, that of an output over the positions in order, whatever
 * is worked on beside it. */
#include "kernels/cpu/kv8.h"

#include <math.h>

#define KV8_INLINE static inline __attribute__((always_inline)) KV8_TARGET

/* The factors stand behind the bytes, in keys and values alike. */
KV8_INLINE const float *kv8_factors(const struct kv_page *page) {
    return (const float *)(const void *)((const int8_t *)page->at + (size_t)page->head_dim * 64);
}

/* Positions first … first + groups * KV8_LANES - 1 of `heads` heads. */
KV8_INLINE void kv8_scores_tile(float *scores, size_t stride, const struct kv_page *keys, const float *q,
                                int heads, int first, int groups, bool ask, float scale) {
    int head_dim = keys->head_dim;
    const int8_t *bytes = keys->at;
    const float *factors = kv8_factors(keys);
    kv8_vec acc[KV8_HEADS][4];
    for (int h = 0; h < heads; h++)
        for (int g = 0; g < groups; g++)
            acc[h][g] = kv8_zero();
    for (int e = 0; e < head_dim; e++) {
        kv8_vec qe[KV8_HEADS];
        if (ask)
            kv_page_ask(keys, (size_t)e * 64, 64);
        for (int h = 0; h < heads; h++)
            qe[h] = kv8_set1(q[h * head_dim + e]);
        for (int g = 0; g < groups; g++) {
            kv8_vec k = kv8_bytes(bytes + e * 64 + first + g * KV8_LANES);
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

KV8_INLINE void kv8_scores_heads(float *scores, size_t stride, const struct kv_page *keys, const float *q,
                                 int heads, bool ask, float scale) {
    int first = 0;
    for (; keys->n - first > 3 * KV8_LANES; first += 4 * KV8_LANES)
        kv8_scores_tile(scores, stride, keys, q, heads, first, 4, ask && first == 0, scale);
    for (; keys->n - first > 0; first += KV8_LANES)
        kv8_scores_tile(scores, stride, keys, q, heads, first, 1, ask && first == 0, scale);
}

KV8_TARGET static void kv8_scores(float *scores, size_t stride, const struct kv_page *keys, const float *q,
                                  int n_heads, float scale) {
    int h = 0;
    for (; h + KV8_HEADS <= n_heads; h += KV8_HEADS)
        kv8_scores_heads(scores + (size_t)h * stride, stride, keys, q + h * keys->head_dim, KV8_HEADS, h == 0,
                         scale);
    for (; h < n_heads; h++)
        kv8_scores_heads(scores + (size_t)h * stride, stride, keys, q + h * keys->head_dim, 1, h == 0, scale);
    kv_page_ask(keys, (size_t)keys->head_dim * 64, 64 * sizeof(float)); /* the factors */
}

/* Elements first … first + groups * KV8_LANES - 1 of `heads` heads; weights[h][t]. */
KV8_INLINE void kv8_mix_tile(float *out, const struct kv_page *values, float weights[KV8_HEADS][64],
                             int heads, int first, int groups, bool ask) {
    int head_dim = values->head_dim;
    const int8_t *bytes = values->at;
    kv8_vec acc[KV8_HEADS][4];
    for (int h = 0; h < heads; h++)
        for (int g = 0; g < groups; g++)
            acc[h][g] = kv8_load(out + h * head_dim + first + g * KV8_LANES);
    for (int t = 0; t < values->n; t++) {
        kv8_vec p[KV8_HEADS];
        if (ask)
            kv_page_ask(values, (size_t)(t * head_dim), (size_t)head_dim);
        for (int h = 0; h < heads; h++)
            p[h] = kv8_set1(weights[h][t]);
        for (int g = 0; g < groups; g++) {
            kv8_vec v = kv8_bytes(bytes + t * head_dim + first + g * KV8_LANES);
            for (int h = 0; h < heads; h++)
                acc[h][g] = kv8_fmadd(p[h], v, acc[h][g]);
        }
    }
    for (int h = 0; h < heads; h++)
        for (int g = 0; g < groups; g++)
            kv8_store_vec(out + h * head_dim + first + g * KV8_LANES, acc[h][g]);
}

KV8_INLINE void kv8_mix_heads(float *out, const struct kv_page *values, const float *scores, size_t stride,
                              int heads, bool ask) {
    float weights[KV8_HEADS][64];
    const int8_t *bytes = values->at;
    const float *factors = kv8_factors(values);
    int first = 0, head_dim = values->head_dim;
    for (int h = 0; h < heads; h++)
        for (int t = 0; t < values->n; t++)
            weights[h][t] = scores[(size_t)h * stride + (size_t)t] * factors[t];
    for (; head_dim - first >= 4 * KV8_LANES; first += 4 * KV8_LANES)
        kv8_mix_tile(out, values, weights, heads, first, 4, ask && first == 0);
    for (; head_dim - first >= KV8_LANES; first += KV8_LANES)
        kv8_mix_tile(out, values, weights, heads, first, 1, ask && first == 0);
    for (; first < head_dim; first++)
        for (int h = 0; h < heads; h++)
            for (int t = 0; t < values->n; t++) {
                float *o = out + h * head_dim + first;
                *o = fmaf(weights[h][t], (float)bytes[t * head_dim + first], *o);
            }
}

KV8_TARGET static void kv8_mix(float *out, const struct kv_page *values, const float *scores, size_t stride,
                               int n_heads) {
    int h = 0;
    for (; h + KV8_HEADS <= n_heads; h += KV8_HEADS)
        kv8_mix_heads(out + h * values->head_dim, values, scores + (size_t)h * stride, stride, KV8_HEADS,
                      h == 0);
    for (; h < n_heads; h++)
        kv8_mix_heads(out + h * values->head_dim, values, scores + (size_t)h * stride, stride, 1, h == 0);
    kv_page_ask(values, (size_t)values->head_dim * 64, 64 * sizeof(float)); /* the factors */
}
