/* Keys and values in 8 bits: storing, the loops in plain C, and the choice between them. */
#include "kernels/cpu/kv8.h"

#include <float.h>
#include <math.h>
#include <string.h>

static float *factors_of(void *block, int head_dim) {
    return (float *)(void *)((int8_t *)block + (size_t)head_dim * 64);
}

/* The factor of a vector; *inverse takes its numbers to -127 … 127. */
static float factor_of(const float *x, int n, float *inverse) {
    float largest = 0;
    for (int i = 0; i < n; i++) {
        float magnitude = fabsf(x[i]);
        if (!(magnitude <= FLT_MAX)) {
            *inverse = 0;
            return NAN;
        }
        largest = magnitude > largest ? magnitude : largest;
    }
    *inverse = largest > 1e-30f ? 127.0f / largest : 0.0f; /* its inverse is finite */
    return largest > 1e-30f ? largest / 127.0f : 0.0f;
}

static int8_t byte_of(float x, float inverse) {
    return inverse > 0 ? (int8_t)lrintf(x * inverse) : 0;
}

void kv8_store(void *block, bool values, int head_dim, int t, const float *x) {
    int8_t *bytes = block;
    float inverse;
    factors_of(block, head_dim)[t] = factor_of(x, head_dim, &inverse);
    for (int e = 0; e < head_dim; e++)
        bytes[values ? t * head_dim + e : e * 64 + t] = byte_of(x[e], inverse);
}

void kv8_round(float *x, int n) {
    float inverse, factor = factor_of(x, n, &inverse);
    for (int i = 0; i < n; i++)
        x[i] = (float)byte_of(x[i], inverse) * factor;
}

static void scores_page(float *scores, size_t stride, const struct kv_page *keys, const float *q, int n_heads,
                        float scale) {
    int dim = keys->head_dim;
    const int8_t *bytes = keys->at;
    const float *factors = (const float *)(const void *)(bytes + (size_t)dim * 64);
    for (int h = 0; h < n_heads; h++)
        for (int t = 0; t < keys->n; t++) {
            float sum = 0;
            for (int e = 0; e < dim; e++)
                sum += q[h * dim + e] * (float)bytes[e * 64 + t];
            scores[(size_t)h * stride + (size_t)t] = sum * (factors[t] * scale);
        }
}

static void mix_page(float *out, const struct kv_page *values, const float *scores, size_t stride,
                     int n_heads) {
    int dim = values->head_dim;
    const int8_t *bytes = values->at;
    const float *factors = (const float *)(const void *)(bytes + (size_t)dim * 64);
    for (int h = 0; h < n_heads; h++)
        for (int t = 0; t < values->n; t++) {
            float weight = scores[(size_t)h * stride + (size_t)t] * factors[t];
            for (int e = 0; e < dim; e++)
                out[h * dim + e] += weight * (float)bytes[t * dim + e];
        }
}

const struct kv8_ops kv8_portable = {.name = "portable", .scores = scores_page, .mix = mix_page};

const struct kv8_ops *kv8_find(const char *isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f");
    if (strcmp(isa, "portable") != 0 && avx2)
        return avx512 && strcmp(isa, "avx2") != 0 ? &kv8_avx512 : &kv8_avx2;
#else
    (void)isa;
#endif
    return &kv8_portable;
}
