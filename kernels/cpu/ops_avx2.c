/* AVX2, FMA and F16C. */
#if defined(__x86_64__)
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/ops_avx2.h"
#include "kernels/dtype.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

AVX2_INLINE float sum_lanes(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

AVX2_INLINE float max_lane(__m256 v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    m = _mm_max_ss(m, _mm_movehdup_ps(m));
    return _mm_cvtss_f32(m);
}

/* The largest magnitude among n values, a multiple of 32. */
AVX2_TARGET static float largest_of(const float *x, int n) {
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
    __m256 m[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int i = 0; i < n; i += 32)
        for (int j = 0; j < 4; j++)
            m[j] = _mm256_max_ps(m[j], _mm256_and_ps(_mm256_loadu_ps(x + i + j * 8), no_sign));
    return max_lane(_mm256_max_ps(_mm256_max_ps(m[0], m[1]), _mm256_max_ps(m[2], m[3])));
}

/* 32 values times `inverse`, as bytes; sums: of 16 of these each. */
AVX2_TARGET static void round_32(int8_t *q, int16_t sums[2], const float *x, float inverse) {
    /* packs_epi32 and packs_epi16 work within 128-bit halves; this puts the groups of four back into order.
     */
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256 factor = _mm256_set1_ps(inverse);
    __m256i i[4];
    for (int j = 0; j < 4; j++)
        i[j] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + j * 8), factor));
    __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(i[0], i[1]), _mm256_packs_epi32(i[2], i[3]));
    packed = _mm256_permutevar8x32_epi32(packed, order);
    _mm256_storeu_si256((__m256i *)(void *)q, packed);
    /* Sums of the bytes plus 128, eight at a time. */
    __m256i eights =
        _mm256_sad_epu8(_mm256_xor_si256(packed, _mm256_set1_epi8((char)0x80)), _mm256_setzero_si256());
    __m256i sixteens = _mm256_add_epi64(eights, _mm256_srli_si256(eights, 8));
    sums[0] = (int16_t)(_mm256_extract_epi16(sixteens, 0) - 16 * 128);
    sums[1] = (int16_t)(_mm256_extract_epi16(sixteens, 8) - 16 * 128);
}

AVX2_TARGET void ops_avx2_quantise(void *out, const float *x, int n, int group) {
    int8_t *q = out;
    float *scales = (float *)(void *)(q + n);
    int16_t *sums = (int16_t *)(void *)(scales + n / 32);
    for (int first = 0; first < n; first += group) {
        float largest = largest_of(x + first, group);
        float inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
        for (int b = first / 32; b < (first + group) / 32; b++) {
            scales[b] = largest > 1e-30f ? largest / 127.0f : 0.0f;
            round_32(q + b * 32, sums + b * 2, x + b * 32, inverse);
        }
    }
}

AVX2_TARGET void ops_avx2_rms_norm(float *out, const float *x, const float *w, int n, float eps) {
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    int i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 2; j++) {
            __m256 v = _mm256_loadu_ps(x + i + j * 8);
            acc[j] = _mm256_fmadd_ps(v, v, acc[j]);
        }
    float sum = sum_lanes(_mm256_add_ps(acc[0], acc[1]));
    for (; i < n; i++)
        sum = fmaf(x[i], x[i], sum);
    float scale = 1.0f / sqrtf(sum / (float)n + eps);
    __m256 factor = _mm256_set1_ps(scale);
    for (i = 0; i + 8 <= n; i += 8)
        _mm256_storeu_ps(
            out + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), factor), _mm256_loadu_ps(w + i)));
    for (; i < n; i++)
        out[i] = x[i] * scale * w[i];
}

/* e^x with a relative error below 2e-7: x = n ln 2 + r, |r| <= ln 2 / 2, Taylor series of e^r to the 7th
 * power (remainder r^8 / 8! < 6e-9), times 2^n. Results below 2^-126 become 0. */
AVX2_INLINE __m256 exp8(__m256 x) {
    x = _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(88.0f)), _mm256_set1_ps(-87.3f));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    static const float inverse_factorial[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    __m256 y = _mm256_set1_ps(1.0f / 5040);
    for (int i = 0; i < 7; i++)
        y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(inverse_factorial[i]));
    __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(y, _mm256_castsi256_ps(power));
}

AVX2_INLINE __m256 silu8(__m256 g) {
    const __m256 one = _mm256_set1_ps(1.0f);
    return _mm256_div_ps(g, _mm256_add_ps(one, exp8(_mm256_sub_ps(_mm256_setzero_ps(), g))));
}

AVX2_TARGET void ops_avx2_silu_mul(float *gate, const float *up, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(gate + i, _mm256_mul_ps(silu8(_mm256_loadu_ps(gate + i)), _mm256_loadu_ps(up + i)));
    if (i < n) {
        float g[8] = {0}, u[8] = {0};
        memcpy(g, gate + i, (size_t)(n - i) * 4);
        memcpy(u, up + i, (size_t)(n - i) * 4);
        _mm256_storeu_ps(g, _mm256_mul_ps(silu8(_mm256_loadu_ps(g)), _mm256_loadu_ps(u)));
        memcpy(gate + i, g, (size_t)(n - i) * 4);
    }
}

AVX2_TARGET void ops_avx2_add(float *x, const float *y, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_add_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    for (; i < n; i++)
        x[i] += y[i];
}

AVX2_INLINE __m256 kv_load(const void *page, bool half, int i) {
    if (half)
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)((const uint16_t *)page + i)));
    return _mm256_loadu_ps((const float *)page + i);
}

/* Groups of eight lanes that so many heads meet together. Keys and values are made F32 first, so heads that
 * share them meet them together, four where there are. Four times two or two times four chains of additions
 * keep both units busy, and fit into registers. */
AVX2_INLINE int tile_groups(int heads) {
    return heads == 4 ? 2 : 4;
}

/* Tokens first … first+8*groups-1 of `heads` heads at once. Each element asks for `share` bytes of what is
 * read next, from `next` on. */
AVX2_INLINE void scores_tile(float *scores, size_t stride, const struct kv_page *keys, bool half,
                             const float *q, int heads, int first, int groups, size_t next, size_t share,
                             float scale) {
    int head_dim = keys->head_dim;
    __m256 acc[4][4];
    for (int h = 0; h < heads; h++)
        for (int g = 0; g < groups; g++)
            acc[h][g] = _mm256_setzero_ps();
    for (int e = 0; e < head_dim; e++) {
        kv_page_ask(keys, next + (size_t)e * share, share);
        __m256 qe[4];
        for (int h = 0; h < heads; h++)
            qe[h] = _mm256_broadcast_ss(q + h * head_dim + e);
        for (int g = 0; g < groups; g++) {
            __m256 k = kv_load(keys->at, half, e * 64 + first + g * 8);
            for (int h = 0; h < heads; h++)
                acc[h][g] = _mm256_fmadd_ps(qe[h], k, acc[h][g]);
        }
    }
    for (int h = 0; h < heads; h++)
        for (int g = 0; g < groups; g++)
            _mm256_storeu_ps(scores + (size_t)h * stride + first + g * 8,
                             _mm256_mul_ps(acc[h][g], _mm256_set1_ps(scale)));
}

AVX2_INLINE void scores_heads(float *scores, size_t stride, const struct kv_page *keys, bool half,
                              const float *q, int heads, bool ask, float scale) {
    const int groups = tile_groups(heads), tiles = (keys->n + 8 * groups - 1) / (8 * groups);
    const size_t share = ask ? kv_page_share(keys, tiles * keys->head_dim) : 0;
    const size_t each = share * (size_t)keys->head_dim;
    size_t next = 0;
    int first = 0;
    for (; keys->n - first > 8 * (groups - 1); first += 8 * groups, next += each)
        scores_tile(scores, stride, keys, half, q, heads, first, groups, next, share, scale);
    for (; keys->n - first > 0; first += 8, next += each)
        scores_tile(scores, stride, keys, half, q, heads, first, 1, next, share, scale);
}

AVX2_INLINE void scores_page(float *scores, size_t stride, const struct kv_page *keys, bool half,
                             const float *q, int n_heads, float scale) {
    int h = 0;
    for (; h + 4 <= n_heads; h += 4)
        scores_heads(scores + (size_t)h * stride, stride, keys, half, q + h * keys->head_dim, 4, h == 0,
                     scale);
    for (; h + 2 <= n_heads; h += 2)
        scores_heads(scores + (size_t)h * stride, stride, keys, half, q + h * keys->head_dim, 2, h == 0,
                     scale);
    if (h < n_heads)
        scores_heads(scores + (size_t)h * stride, stride, keys, half, q + h * keys->head_dim, 1, h == 0,
                     scale);
}

AVX2_TARGET void ops_avx2_scores(float *scores, size_t stride, const struct kv_page *keys, const float *q,
                                 int n_heads, float scale) {
    if (keys->half)
        scores_page(scores, stride, keys, true, q, n_heads, scale);
    else
        scores_page(scores, stride, keys, false, q, n_heads, scale);
}

AVX2_TARGET void ops_avx2_softmax(float *scores, int n) {
    int whole = n / 8 * 8;
    __m256 m = _mm256_set1_ps(-INFINITY);
    for (int t = 0; t < whole; t += 8)
        m = _mm256_max_ps(m, _mm256_loadu_ps(scores + t));
    float largest = max_lane(m);
    for (int t = whole; t < n; t++)
        largest = scores[t] > largest ? scores[t] : largest;
    __m256 shift = _mm256_set1_ps(largest), sums = _mm256_setzero_ps();
    for (int t = 0; t < whole; t += 8) {
        __m256 v = exp8(_mm256_sub_ps(_mm256_loadu_ps(scores + t), shift));
        sums = _mm256_add_ps(sums, v);
        _mm256_storeu_ps(scores + t, v);
    }
    float sum = sum_lanes(sums);
    if (whole < n) {
        float rest[8];
        for (int t = 0; t < 8; t++)
            rest[t] = whole + t < n ? scores[whole + t] : largest - 100.0f;
        _mm256_storeu_ps(rest, exp8(_mm256_sub_ps(_mm256_loadu_ps(rest), shift)));
        for (int t = whole; t < n; t++) {
            scores[t] = rest[t - whole];
            sum += scores[t];
        }
    }
    __m256 factor = _mm256_set1_ps(1.0f / sum);
    for (int t = 0; t < whole; t += 8)
        _mm256_storeu_ps(scores + t, _mm256_mul_ps(_mm256_loadu_ps(scores + t), factor));
    for (int t = whole; t < n; t++)
        scores[t] *= 1.0f / sum;
}

/* Elements first … first+8*groups-1 of the output of `heads` heads, over all tokens, each of which asks for
 * `share` bytes of what is read next, from `next` on. */
AVX2_INLINE void mix_tile(float *out, const struct kv_page *values, bool half, const float *scores,
                          size_t stride, int heads, int first, int groups, size_t next, size_t share) {
    int head_dim = values->head_dim;
    __m256 acc[4][4];
    for (int h = 0; h < heads; h++)
        for (int g = 0; g < groups; g++)
            acc[h][g] = _mm256_loadu_ps(out + h * head_dim + first + g * 8);
    for (int t = 0; t < values->n; t++) {
        kv_page_ask(values, next + (size_t)t * share, share);
        __m256 p[4];
        for (int h = 0; h < heads; h++)
            p[h] = _mm256_broadcast_ss(scores + (size_t)h * stride + t);
        for (int g = 0; g < groups; g++) {
            __m256 v = kv_load(values->at, half, t * head_dim + first + g * 8);
            for (int h = 0; h < heads; h++)
                acc[h][g] = _mm256_fmadd_ps(p[h], v, acc[h][g]);
        }
    }
    for (int h = 0; h < heads; h++)
        for (int g = 0; g < groups; g++)
            _mm256_storeu_ps(out + h * head_dim + first + g * 8, acc[h][g]);
}

AVX2_INLINE void mix_heads(float *out, const struct kv_page *values, bool half, const float *scores,
                           size_t stride, int heads, bool ask) {
    const int groups = tile_groups(heads), head_dim = values->head_dim;
    const int tiles = (head_dim + 8 * groups - 1) / (8 * groups);
    const size_t share = ask ? kv_page_share(values, tiles * values->n) : 0;
    const size_t each = share * (size_t)values->n;
    size_t next = 0;
    int first = 0;
    for (; head_dim - first >= 8 * groups; first += 8 * groups, next += each)
        mix_tile(out, values, half, scores, stride, heads, first, groups, next, share);
    for (; head_dim - first >= 8; first += 8, next += each)
        mix_tile(out, values, half, scores, stride, heads, first, 1, next, share);
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

AVX2_INLINE void mix_page(float *out, const struct kv_page *values, bool half, const float *scores,
                          size_t stride, int n_heads) {
    int h = 0;
    for (; h + 4 <= n_heads; h += 4)
        mix_heads(out + h * values->head_dim, values, half, scores + (size_t)h * stride, stride, 4, h == 0);
    for (; h + 2 <= n_heads; h += 2)
        mix_heads(out + h * values->head_dim, values, half, scores + (size_t)h * stride, stride, 2, h == 0);
    if (h < n_heads)
        mix_heads(out + h * values->head_dim, values, half, scores + (size_t)h * stride, stride, 1, h == 0);
}

AVX2_TARGET void ops_avx2_mix(float *out, const struct kv_page *values, const float *scores, size_t stride,
                              int n_heads) {
    if (values->half)
        mix_page(out, values, true, scores, stride, n_heads);
    else
        mix_page(out, values, false, scores, stride, n_heads);
}

static void product_packed(enum dtype type, const void *w, int first, int n_rows, const void *x,
                           size_t x_stride, int n_cols, int k, float *out, size_t out_stride) {
    (dtype_info(type)->block_elements > 1 ? avx2_packed_q8 : avx2_product_packed_floats)(
        type, w, first, n_rows, x, x_stride, n_cols, k, out, out_stride);
}

const struct cpu_ops cpu_ops_avx2 = {
    .name = "avx2",
    .product = ops_avx2_product,
    .product_q8 = avx2_product_q8,
    .product_packed = product_packed,
    .k_group = 256,
    .quantise = ops_avx2_quantise,
    .rms_norm = ops_avx2_rms_norm,
    .silu_mul = ops_avx2_silu_mul,
    .add = ops_avx2_add,
    .scores = ops_avx2_scores,
    .softmax = ops_avx2_softmax,
    .mix = ops_avx2_mix,
};
#else
typedef int ops_avx2_is_for_x86;
#endif
