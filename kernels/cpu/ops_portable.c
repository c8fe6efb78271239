/* The inner loops in plain C, and the choice between tables. */
#include "kernels/cpu/convert.h"
#include "kernels/cpu/ops.h"
#include "kernels/dtype.h"

#include <math.h>

/* Elements of a stored row that are decoded at a time: whole blocks of every type. */
#define PIECE 256

static float dot(enum dtype type, const uint8_t *row, const float *x, int k) {
    float sum[8] = {0}, total = 0, w[PIECE];
    int whole = k / 8 * 8;
    for (int first = 0; first < k; first += PIECE) {
        int n = k - first < PIECE ? k - first : PIECE;
        convert_row(type, row + convert_row_bytes(type, first), n, w);
        for (int i = 0; i < n; i++)
            if (first + i < whole)
                sum[i % 8] += w[i] * x[first + i];
            else
                total += w[i] * x[first + i];
    }
    for (int j = 0; j < 8; j++)
        total += sum[j];
    return total;
}

static void product(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
                    int k, float *out, size_t out_stride) {
    size_t row_bytes = convert_row_bytes(type, k);
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            out[(size_t)c * out_stride + (size_t)r] =
                dot(type, (const uint8_t *)w + (size_t)r * row_bytes,
                    (const float *)(const void *)((const char *)x + (size_t)c * x_stride), k);
}

static float dot_q8(enum dtype type, const uint8_t *row, const void *x, int k) {
    const int8_t *q = x;
    const float *scales = (const float *)(const void *)(q + k);
    float total = 0, w[PIECE];
    for (int first = 0; first < k; first += PIECE) {
        int n = k - first < PIECE ? k - first : PIECE;
        convert_row(type, row + convert_row_bytes(type, first), n, w);
        for (int b = 0; b < n; b += 32) {
            float sum = 0;
            for (int i = 0; i < 32; i++)
                sum += w[b + i] * (float)q[first + b + i];
            total += scales[(first + b) / 32] * sum;
        }
    }
    return total;
}

static void product_q8(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
                       int k, float *out, size_t out_stride) {
    size_t row_bytes = convert_row_bytes(type, k);
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_cols; c++)
            out[(size_t)c * out_stride + (size_t)r] = dot_q8(type, (const uint8_t *)w + (size_t)r * row_bytes,
                                                             (const char *)x + (size_t)c * x_stride, k);
}

static void quantise(void *out, const float *x, int n, int group) {
    int8_t *q = out;
    float *scales = (float *)(void *)(q + n);
    int16_t *sums = (int16_t *)(void *)(scales + n / 32);
    for (int first = 0; first < n; first += group) {
        float largest = 0;
        for (int i = 0; i < group; i++)
            largest = fmaxf(largest, fabsf(x[first + i]));
        float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
        for (int i = first; i < first + group; i++)
            q[i] = (int8_t)lrintf(x[i] * inverse);
        for (int b = first / 32; b < (first + group) / 32; b++)
            scales[b] = largest > 1e-30f ? largest / 127.0f : 0.0f;
        for (int j = first / 16; j < (first + group) / 16; j++) {
            int sum = 0;
            for (int i = 0; i < 16; i++)
                sum += q[j * 16 + i];
            sums[j] = (int16_t)sum;
        }
    }
}

static void rms_norm(float *out, const float *x, const float *w, int n, float eps) {
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    float scale = 1.0f / sqrtf(sum / (float)n + eps);
    for (int i = 0; i < n; i++)
        out[i] = x[i] * scale * w[i];
}

static void silu_mul(float *gate, const float *up, int n) {
    for (int i = 0; i < n; i++)
        gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void add(float *x, const float *y, int n) {
    for (int i = 0; i < n; i++)
        x[i] += y[i];
}

static float kv_element(const struct kv_page *page, int i) {
    return page->half ? convert_f16_to_f32(((const uint16_t *)page->at)[i]) : ((const float *)page->at)[i];
}

static void scores_page(float *scores, size_t stride, const struct kv_page *keys, const float *q, int n_heads,
                        float scale) {
    for (int h = 0; h < n_heads; h++)
        for (int t = 0; t < keys->n; t++) {
            float sum = 0;
            for (int e = 0; e < keys->head_dim; e++)
                sum += q[h * keys->head_dim + e] * kv_element(keys, e * 64 + t);
            scores[(size_t)h * stride + (size_t)t] = sum * scale;
        }
}

static void softmax(float *scores, int n) {
    float largest = -INFINITY;
    for (int t = 0; t < n; t++)
        largest = fmaxf(largest, scores[t]);
    float sum = 0;
    for (int t = 0; t < n; t++) {
        scores[t] = expf(scores[t] - largest);
        sum += scores[t];
    }
    for (int t = 0; t < n; t++)
        scores[t] /= sum;
}

static void mix(float *out, const struct kv_page *values, const float *scores, size_t stride, int n_heads) {
    int dim = values->head_dim;
    for (int h = 0; h < n_heads; h++)
        for (int t = 0; t < values->n; t++)
            for (int e = 0; e < dim; e++)
                out[h * dim + e] += scores[(size_t)h * stride + (size_t)t] * kv_element(values, t * dim + e);
}

const struct cpu_ops cpu_ops_portable = {
    .name = "portable",
    .product = product,
    .product_q8 = product_q8,
    .k_group = 32,
    .quantise = quantise,
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .add = add,
    .scores = scores_page,
    .softmax = softmax,
    .mix = mix,
};

static bool supported(const struct cpu_ops *ops) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (ops == &cpu_ops_avx2)
        return avx2;
    if (ops == &cpu_ops_avx512)
        return avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#endif
    return ops == &cpu_ops_portable;
}

int cpu_ops_group(const struct cpu_ops *ops, enum dtype type) {
    return dtype_info(type)->block_elements == 256 ? ops->k_group : 32;
}

const struct cpu_ops *cpu_ops_find(const char *name) {
    static const struct cpu_ops *const best_first[] = {
#if defined(__x86_64__)
        &cpu_ops_avx512,
        &cpu_ops_avx2,
#endif
        &cpu_ops_portable,
    };
    for (size_t i = 0; i < sizeof best_first / sizeof best_first[0]; i++)
        if ((name == NULL || strcmp(name, best_first[i]->name) == 0) && supported(best_first[i]))
            return best_first[i];
    return NULL;
}
