#include "tests/kernels/encode.h"

#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"

#include <math.h>

static float put_half(uint8_t *at, float f) {
    uint16_t half = convert_f32_to_f16(f);
    memcpy(at, &half, 2);
    return convert_f16_to_f32(half);
}

static int nearest(float v, float step, int min, int max) {
    float q = step > 0 || step < 0 ? roundf(v / step) : 0;
    return q < (float)min ? min : q > (float)max ? max : (int)q;
}

static float largest(const float *v, int n) {
    float m = 0;
    for (int i = 0; i < n; i++)
        m = fmaxf(m, fabsf(v[i]));
    return m;
}

/* What is below zero, and how far it is from there to the highest: of n numbers. */
static void range(const float *v, int n, float *below, float *width) {
    float low = 0, high = 0;
    for (int i = 0; i < n; i++) {
        low = fminf(low, v[i]);
        high = fmaxf(high, v[i]);
    }
    *below = -low;
    *width = high - low;
}

static void encode_f8(float v, uint8_t *at) {
    float a = fminf(fabsf(v), 448);
    int e = a > 0 ? ilogbf(a) : -6;
    e = e < -6 ? -6 : e;
    a = rintf(ldexpf(a, 3 - e)); /* in eighths of 2^e */
    if (a >= 16) {
        a /= 2;
        e++;
    }
    *at = (uint8_t)((signbit(v) ? 0x80 : 0) | (a < 8 ? (int)a : (e + 7) << 3 | ((int)a - 8)));
}

static void encode_scalar(enum dtype type, float v, uint8_t *row, int64_t i) {
    uint32_t bits;
    uint16_t half;
    if (type == DTYPE_F32) {
        memcpy(row + i * 4, &v, 4);
    } else if (type == DTYPE_F16) {
        (void)put_half(row + i * 2, v);
    } else if (type == DTYPE_F8_E4M3) {
        encode_f8(v, row + i);
    } else {
        memcpy(&bits, &v, 4);
        half = (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
        memcpy(row + i * 2, &half, 2);
    }
}

static void encode_q8_0(const float *v, uint8_t *b) {
    float d = put_half(b, largest(v, 32) / 127);
    for (int i = 0; i < 32; i++)
        b[2 + i] = (uint8_t)(int8_t)nearest(v[i], d, -127, 127);
}

/* Q4_0, Q4_1, Q5_0, Q5_1. */
static void encode_small(enum dtype type, const float *v, uint8_t *b) {
    int bits = type == DTYPE_Q4_0 || type == DTYPE_Q4_1 ? 4 : 5, top = (1 << bits) - 1;
    float below, width, d;
    uint8_t *rest = b + 2;
    if (type == DTYPE_Q4_1 || type == DTYPE_Q5_1) {
        range(v, 32, &below, &width);
        d = put_half(b, width / (float)top);
        below = -put_half(b + 2, -below);
        rest = b + 4;
    } else {
        d = put_half(b, largest(v, 32) / (float)(top / 2));
        below = d * (float)(top / 2 + 1);
    }
    uint8_t *q = bits == 5 ? rest + 4 : rest;
    memset(rest, 0, bits == 5 ? 20 : 16);
    for (int i = 0; i < 32; i++) {
        int n = nearest(v[i] + below, d, 0, top);
        q[i % 16] = (uint8_t)(q[i % 16] | (n & 15) << i / 16 * 4);
        if (bits == 5)
            rest[i / 8] = (uint8_t)(rest[i / 8] | n >> 4 << i % 8);
    }
}

static void put_bits(uint8_t *at, int value, int shift) {
    *at = (uint8_t)(*at | value << shift);
}

static void encode_q2_k(const float *v, uint8_t *b) {
    float below[16], width[16], most_below = 0, most_width = 0;
    for (int j = 0; j < 16; j++) {
        range(v + j * 16, 16, &below[j], &width[j]);
        most_below = fmaxf(most_below, below[j]);
        most_width = fmaxf(most_width, width[j]);
    }
    float d = put_half(b + 80, most_width / 3 / 15), m = put_half(b + 82, most_below / 15);
    for (int i = 0; i < 256; i++) {
        int s = nearest(width[i / 16] / 3, d, 0, 15), t = nearest(below[i / 16], m, 0, 15);
        b[i / 16] = (uint8_t)(s | t << 4);
        put_bits(b + 16 + i / 128 * 32 + i % 32, nearest(v[i] + m * (float)t, d * (float)s, 0, 3),
                 i % 128 / 32 * 2);
    }
}

static void encode_q3_k(const float *v, uint8_t *b) {
    float d = put_half(b + 108, largest(v, 256) / 3 / 31);
    for (int i = 0; i < 256; i++) {
        int j = i / 16, s = nearest(largest(v + j * 16, 16) / 3, d, 0, 31) + 32;
        int q = nearest(v[i], d * (float)(s - 32), -4, 3) + 4;
        put_bits(b + 32 + i / 128 * 32 + i % 32, q & 3, i % 128 / 32 * 2);
        put_bits(b + i % 32, q >> 2, i / 32);
        if (i % 16 == 0) {
            put_bits(b + 96 + j % 8, s & 15, j / 8 * 4);
            put_bits(b + 104 + j % 4, s >> 4, j / 4 * 2);
        }
    }
}

/* Q4_K and Q5_K. */
static void encode_k4(enum dtype type, const float *v, uint8_t *b) {
    int top = type == DTYPE_Q4_K ? 15 : 31;
    float below[8], width[8], most_below = 0, most_width = 0;
    for (int j = 0; j < 8; j++) {
        range(v + j * 32, 32, &below[j], &width[j]);
        most_below = fmaxf(most_below, below[j]);
        most_width = fmaxf(most_width, width[j]);
    }
    float d = put_half(b, most_width / (float)top / 63), m = put_half(b + 2, most_below / 63);
    uint8_t *q = type == DTYPE_Q4_K ? b + 16 : b + 48;
    for (int i = 0; i < 256; i++) {
        int j = i / 32;
        int s = nearest(width[j] / (float)top, d, 0, 63), t = nearest(below[j], m, 0, 63);
        int n = nearest(v[i] + m * (float)t, d * (float)s, 0, top);
        put_bits(q + i / 64 * 32 + i % 32, n & 15, i % 64 / 32 * 4);
        if (type == DTYPE_Q5_K)
            put_bits(b + 16 + i % 32, n >> 4, j);
        if (i % 32 != 0)
            continue;
        if (j < 4) {
            put_bits(b + 4 + j, s, 0);
            put_bits(b + 8 + j, t, 0);
        } else {
            put_bits(b + 8 + j, (s & 15) | (t & 15) << 4, 0);
            put_bits(b + j, s >> 4, 6);
            put_bits(b + 4 + j, t >> 4, 6);
        }
    }
}

static void encode_q6_k(const float *v, uint8_t *b) {
    float d = put_half(b + 208, largest(v, 256) / 31 / 127);
    for (int i = 0; i < 256; i++) {
        int s = nearest(largest(v + i / 16 * 16, 16) / 31, d, 0, 127);
        int q = nearest(v[i], d * (float)s, -32, 31) + 32;
        b[192 + i / 16] = (uint8_t)s;
        put_bits(b + i / 128 * 64 + i % 64, q & 15, i % 128 / 64 * 4);
        put_bits(b + 128 + i / 128 * 32 + i % 32, q >> 4, i % 128 / 32 * 2);
    }
}

static void encode_block(enum dtype type, const float *v, uint8_t *b) {
    memset(b, 0, (size_t)dtype_info(type)->block_bytes);
    switch (type) {
    case DTYPE_Q8_0:
        encode_q8_0(v, b);
        break;
    case DTYPE_Q2_K:
        encode_q2_k(v, b);
        break;
    case DTYPE_Q3_K:
        encode_q3_k(v, b);
        break;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        encode_k4(type, v, b);
        break;
    case DTYPE_Q6_K:
        encode_q6_k(v, b);
        break;
    default:
        encode_small(type, v, b);
        break;
    }
}

void encode_row(enum dtype type, const float *v, int64_t n, uint8_t *row) {
    const struct dtype_info *info = dtype_info(type);
    if (info->block_elements == 1)
        for (int64_t i = 0; i < n; i++)
            encode_scalar(type, v[i], row, i);
    else
        for (int64_t i = 0; i < n; i += info->block_elements, row += info->block_bytes)
            encode_block(type, v + i, row);
}
