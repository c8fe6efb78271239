#include "kernels/cpu/quantise.h"

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"

#include <math.h>
#include <string.h>

static void put_half(uint8_t *at, float x) {
    uint16_t half = convert_f32_to_f16(x);
    memcpy(at, &half, 2);
}

static float half_of(float x) {
    return convert_f16_to_f32(convert_f32_to_f16(x));
}

static int clamp(float x, int low, int high) {
    return x <= (float)low ? low : x >= (float)high ? high : (int)lrintf(x);
}

/* Cut to a whole number from low to high. The inverse of a scale below all normal numbers may be infinite:
 * then no number is there that could matter. */
static int whole(float x, int low, int high) {
    return !(x > (float)low) ? low : x >= (float)high ? high : (int)x;
}

/* ---- blocks of 32: ggml's reference rounding ---- */

static void encode_q8_0(const float *x, uint8_t *out) {
    float largest = 0;
    for (int i = 0; i < 32; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    float d = largest / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
    put_half(out, d);
    for (int i = 0; i < 32; i++)
        out[2 + i] = (uint8_t)(int8_t)whole(roundf(x[i] * inverse), -127, 127);
}

/* x * inverse + half, rounded once, and cut to a whole number: as the reference does where it is compiled
 * with fused multiply-adds. */
static int cut(float x, float inverse, double half, int most) {
    return whole((float)((double)x * (double)inverse + half), 0, most);
}

/* Nibbles, and the fifth bits where there are some. */
static void put_small(uint8_t *nibbles, uint8_t *fifths, int i, int q) {
    nibbles[i % 16] |= (uint8_t)((q & 15) << (i < 16 ? 0 : 4));
    if (fifths != NULL)
        fifths[i / 8] |= (uint8_t)(q >> 4 << i % 8);
}

/* Q4_0, Q5_0: the number of largest magnitude becomes the lowest step. */
static void encode_symmetric(const float *x, int bits, uint8_t *out) {
    float largest = 0, signed_largest = 0;
    int middle = 1 << (bits - 1);
    for (int i = 0; i < 32; i++)
        if (fabsf(x[i]) > largest) {
            largest = fabsf(x[i]);
            signed_largest = x[i];
        }
    float d = signed_largest / (float)-middle, inverse = d != 0 ? 1.0f / d : 0.0f;
    uint8_t *fifths = bits == 5 ? out + 2 : NULL, *nibbles = out + (bits == 5 ? 6 : 2);
    memset(out, 0, bits == 5 ? 22 : 18);
    put_half(out, d);
    for (int i = 0; i < 32; i++)
        put_small(nibbles, fifths, i, cut(x[i], inverse, middle + 0.5, 2 * middle - 1));
}

/* Q4_1, Q5_1: the range from lowest to highest. */
static void encode_range(const float *x, int bits, uint8_t *out) {
    float low = x[0], high = x[0];
    int most = (1 << bits) - 1;
    for (int i = 1; i < 32; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float d = (high - low) / (float)most, inverse = d != 0 ? 1.0f / d : 0.0f;
    uint8_t *fifths = bits == 5 ? out + 4 : NULL, *nibbles = out + (bits == 5 ? 8 : 4);
    memset(out, 0, bits == 5 ? 24 : 20);
    put_half(out, d);
    put_half(out + 2, low);
    for (int i = 0; i < 32; i++) {
        float product = (x[i] - low) * inverse;
        put_small(nibbles, fifths, i, whole(product + 0.5f, 0, most));
    }
}

/* ---- blocks of 256 ---- */

#define TRIES 9 /* steps around the one that the range asks for */

static void weigh(const float *x, int n, float *w) {
    float squares = 0;
    for (int i = 0; i < n; i++)
        squares += x[i] * x[i];
    float rms = sqrtf(squares / (float)n);
    for (int i = 0; i < n; i++)
        w[i] = rms + fabsf(x[i]);
}

/* Weighted error of x as scale * q - minimum with q of 0 … most; the q go to `q` where it is not NULL. */
static float error_of(const float *x, const float *w, int n, float scale, float minimum, int least, int most,
                      int8_t *q) {
    float inverse = scale != 0 ? 1.0f / scale : 0.0f, error = 0;
    for (int i = 0; i < n; i++) {
        int step = clamp((x[i] + minimum) * inverse, least, most);
        float off = scale * (float)step - minimum - x[i];
        error += w[i] * off * off;
        if (q != NULL)
            q[i] = (int8_t)step;
    }
    return error;
}

/* Least squares for the steps that `scale` and `minimum` give; the minimum may not be negative. */
static void refine(const float *x, const float *w, int n, int most, float *scale, float *minimum) {
    float inverse = 1.0f / *scale;
    double sw = 0, sx = 0, sq = 0, sqq = 0, sqx = 0;
    for (int i = 0; i < n; i++) {
        double q = clamp((x[i] + *minimum) * inverse, 0, most), weight = (double)w[i];
        sw += weight;
        sx += weight * (double)x[i];
        sq += weight * q;
        sqq += weight * q * q;
        sqx += weight * q * (double)x[i];
    }
    double determinant = sw * sqq - sq * sq;
    if (!(determinant > 0))
        return;
    double d = (sw * sqx - sx * sq) / determinant, m = (sq * sqx - sqq * sx) / determinant;
    if (m < 0) {
        m = 0;
        d = sqq > 0 ? sqx / sqq : 0;
    }
    if (d > 0) {
        *scale = (float)d;
        *minimum = (float)m;
    }
}

/* Scale and minimum of a group of 32. */
static void fit_group(const float *x, const float *w, int most, float *scale, float *minimum) {
    float low = 0, high = x[0], best = INFINITY;
    for (int i = 0; i < 32; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *scale = 0;
    *minimum = -low;
    if (!(high - low > 1e-30f))
        return;
    for (int t = 0; t < TRIES; t++) {
        float s = (high - low) / ((float)most + 0.2f * (float)(t - TRIES / 2)), m = -low;
        refine(x, w, 32, most, &s, &m);
        float error = error_of(x, w, 32, s, m, 0, most, NULL);
        if (error < best) {
            best = error;
            *scale = s;
            *minimum = m;
        }
    }
}

/* Eight scales and eight minima of 6 bits: the reverse of blocks_scales_k4(). */
static void pack_scales(const int *scales, const int *minima, uint8_t out[12]) {
    for (int j = 0; j < 4; j++) {
        out[j] = (uint8_t)(scales[j] | scales[j + 4] >> 4 << 6);
        out[j + 4] = (uint8_t)(minima[j] | minima[j + 4] >> 4 << 6);
        out[j + 8] = (uint8_t)((scales[j + 4] & 15) | (minima[j + 4] & 15) << 4);
    }
}

/* Of the neighbours of *s and *m (whole numbers of 6 bits) the pair with the least error. */
static void best_pair(const float *x, const float *w, int most, float d, float dmin, int *s, int *m) {
    float best = INFINITY;
    int from_s = *s, from_m = *m;
    for (int a = from_s - 1; a <= from_s + 1; a++)
        for (int b = from_m - 1; b <= from_m + 1; b++) {
            if (a < 0 || a > 63 || b < 0 || b > 63)
                continue;
            float error = error_of(x, w, 32, d * (float)a, dmin * (float)b, 0, most, NULL);
            if (error < best) {
                best = error;
                *s = a;
                *m = b;
            }
        }
}

/* Q4_K, Q5_K. */
static void encode_k4(const float *x, int bits, uint8_t *out) {
    float w[256], scales[8], minima[8], d = 0, dmin = 0;
    int s[8], m[8], most = (1 << bits) - 1;
    for (int g = 0; g < 8; g++) {
        weigh(x + g * 32, 32, w + g * 32);
        fit_group(x + g * 32, w + g * 32, most, &scales[g], &minima[g]);
        d = fmaxf(d, scales[g]);
        dmin = fmaxf(dmin, minima[g]);
    }
    memset(out, 0, bits == 5 ? 176 : 144);
    put_half(out, d / 63);
    put_half(out + 2, dmin / 63);
    d = half_of(d / 63);
    dmin = half_of(dmin / 63);
    uint8_t *nibbles = out + (bits == 5 ? 48 : 16);
    for (int g = 0; g < 8; g++) {
        int8_t q[32];
        s[g] = d > 0 ? clamp(scales[g] / d, 0, 63) : 0;
        m[g] = dmin > 0 ? clamp(minima[g] / dmin, 0, 63) : 0;
        best_pair(x + g * 32, w + g * 32, most, d, dmin, &s[g], &m[g]);
        error_of(x + g * 32, w + g * 32, 32, d * (float)s[g], dmin * (float)m[g], 0, most, q);
        for (int i = 0; i < 32; i++) {
            nibbles[g / 2 * 32 + i] |= (uint8_t)((q[i] & 15) << g % 2 * 4);
            if (bits == 5)
                out[16 + i] |= (uint8_t)(q[i] >> 4 << g);
        }
    }
    pack_scales(s, m, out + 4);
}

/* Scale of a group of 16 without a minimum, -32 … 31 steps. */
static float fit_signed(const float *x, const float *w) {
    float largest = 0, best = INFINITY, found = 0;
    for (int i = 0; i < 16; i++)
        if (fabsf(x[i]) > fabsf(largest))
            largest = x[i];
    if (!(fabsf(largest) > 1e-30f))
        return 0;
    for (int t = 0; t < TRIES; t++) {
        float s = -largest / (31.5f + 0.25f * (float)(t - TRIES / 2)), inverse = 1.0f / s;
        double sqq = 0, sqx = 0;
        for (int i = 0; i < 16; i++) {
            double q = clamp(x[i] * inverse, -32, 31);
            sqq += (double)w[i] * q * q;
            sqx += (double)w[i] * q * (double)x[i];
        }
        s = sqq > 0 ? (float)(sqx / sqq) : s;
        float error = error_of(x, w, 16, s, 0, -32, 31, NULL);
        if (error < best) {
            best = error;
            found = s;
        }
    }
    return found;
}

static void encode_q6_k(const float *x, uint8_t *out) {
    float w[256], scales[16], d = 0;
    for (int g = 0; g < 16; g++) {
        weigh(x + g * 16, 16, w + g * 16);
        scales[g] = fit_signed(x + g * 16, w + g * 16);
        d = fmaxf(d, fabsf(scales[g]));
    }
    memset(out, 0, 210);
    put_half(out + 208, d / 127);
    d = half_of(d / 127);
    for (int g = 0; g < 16; g++) {
        int8_t q[16];
        int from = d > 0 ? clamp(scales[g] / d, -127, 127) : 0, s = from;
        float best = INFINITY;
        for (int a = from - 1; a <= from + 1; a++) {
            float error = a < -128 || a > 127
                              ? INFINITY
                              : error_of(x + g * 16, w + g * 16, 16, d * (float)a, 0, -32, 31, NULL);
            if (error < best) {
                best = error;
                s = a;
            }
        }
        error_of(x + g * 16, w + g * 16, 16, d * (float)s, 0, -32, 31, q);
        out[192 + g] = (uint8_t)(int8_t)s;
        for (int i = 0; i < 16; i++) {
            int at = g * 16 + i, bits = q[i] + 32;
            out[at / 128 * 64 + at % 64] |= (uint8_t)((bits & 15) << at % 128 / 64 * 4);
            out[128 + at / 128 * 32 + at % 32] |= (uint8_t)(bits >> 4 << at % 128 / 32 * 2);
        }
    }
}

static void encode_block(enum dtype type, const float *x, uint8_t *out) {
    switch (type) {
    case DTYPE_Q8_0:
        encode_q8_0(x, out);
        break;
    case DTYPE_Q4_0:
    case DTYPE_Q5_0:
        encode_symmetric(x, type == DTYPE_Q4_0 ? 4 : 5, out);
        break;
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
        encode_range(x, type == DTYPE_Q4_1 ? 4 : 5, out);
        break;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        encode_k4(x, type == DTYPE_Q4_K ? 4 : 5, out);
        break;
    default:
        encode_q6_k(x, out);
        break;
    }
}

bool quantise_knows(enum dtype type) {
    return type != DTYPE_Q2_K && type != DTYPE_Q3_K && type != DTYPE_F8_E4M3 && type < DTYPE_COUNT;
}

static uint16_t bf16_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

void quantise_row(enum dtype type, const float *x, int64_t n, void *row) {
    const struct dtype_info *info = dtype_info(type);
    uint8_t *out = row;
    if (type == DTYPE_F32) {
        memcpy(out, x, (size_t)n * sizeof *x);
        return;
    }
    if (type == DTYPE_F16 || type == DTYPE_BF16) {
        for (int64_t i = 0; i < n; i++) {
            uint16_t half = type == DTYPE_F16 ? convert_f32_to_f16(x[i]) : bf16_of(x[i]);
            memcpy(out + i * 2, &half, 2);
        }
        return;
    }
    for (int64_t b = 0; b < n / info->block_elements; b++)
        encode_block(type, x + b * info->block_elements, out + b * info->block_bytes);
}
