#include "kernels/cpu/blocks.h"

#include "kernels/cpu/convert.h"

static float half_at(const uint8_t *at) {
    uint16_t half;
    memcpy(&half, at, 2);
    return convert_f16_to_f32(half);
}

/* ---- 32 elements: a scale, a minimum or none, a fifth bit or none, nibbles (Q8_0: bytes) ----
 * Low nibbles are elements 0 … 15, high ones 16 … 31. */

static void decode_q8_0(const uint8_t *b, float *out) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(int8_t)b[2 + i];
}

static int nibble(const uint8_t *q, int i) {
    return i < 16 ? q[i] & 15 : q[i - 16] >> 4;
}

static int fifth(const uint8_t *bits, int i) {
    return (bits[i / 8] >> i % 8 & 1) << 4;
}

static void decode_q4_0(const uint8_t *b, float *out) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(nibble(b + 2, i) - 8);
}

static void decode_q4_1(const uint8_t *b, float *out) {
    float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)nibble(b + 4, i) + m;
}

static void decode_q5_0(const uint8_t *b, float *out) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)((nibble(b + 6, i) | fifth(b + 2, i)) - 16);
}

static void decode_q5_1(const uint8_t *b, float *out) {
    float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < 32; i++)
        out[i] = d * (float)(nibble(b + 8, i) | fifth(b + 4, i)) + m;
}

/* ---- 256 elements: a scale of scales, and 8 groups of 32 or 16 groups of 16 with a scale each ---- */

/* Two bits of element i: 32 bytes hold elements 0 … 127, four to a byte, those of a byte 32 apart. */
static int two_bits(const uint8_t *q, int i) {
    return q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
}

/* 16 bytes of scale (low nibble) and minimum (high nibble), 64 bytes of elements, scale, scale of minima. */
static void decode_q2_k(const uint8_t *b, float *out) {
    float d = half_at(b + 80), m = half_at(b + 82);
    for (int i = 0; i < 256; i++) {
        uint8_t s = b[i / 16];
        out[i] = d * (float)(s & 15) * (float)two_bits(b + 16, i) - m * (float)(s >> 4);
    }
}

void blocks_scales_q3(const uint8_t packed[12], int8_t scales[16]) {
    for (int j = 0; j < 16; j++) {
        int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
        int high = packed[8 + j % 4] >> j / 4 * 2 & 3;
        scales[j] = (int8_t)((low | high << 4) - 32);
    }
}

/* 32 bytes of third bits (byte i % 32, bit i / 32), 64 of low two bits, 12 of scales, scale. */
static void decode_q3_k(const uint8_t *b, float *out) {
    float d = half_at(b + 108);
    int8_t scales[16];
    blocks_scales_q3(b + 96, scales);
    for (int i = 0; i < 256; i++) {
        int third = b[i % 32] >> i / 32 & 1;
        out[i] = d * (float)scales[i / 16] * (float)((two_bits(b + 32, i) | third << 2) - 4);
    }
}

void blocks_scales_k4(const uint8_t packed[12], uint8_t scales[8], uint8_t minima[8]) {
    for (int j = 0; j < 4; j++) {
        scales[j] = packed[j] & 63;
        minima[j] = packed[j + 4] & 63;
        scales[j + 4] = (uint8_t)((packed[j + 8] & 15) | (packed[j] >> 6) << 4);
        minima[j + 4] = (uint8_t)(packed[j + 8] >> 4 | (packed[j + 4] >> 6) << 4);
    }
}

/* Four bits of element i: 32 bytes hold 64 elements, low nibbles first. */
static int four_bits(const uint8_t *q, int i) {
    return q[i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15;
}

/* Scale, scale of minima, 12 bytes of both, elements. */
static void decode_q4_k(const uint8_t *b, float *out) {
    float d = half_at(b), m = half_at(b + 2);
    uint8_t scales[8], minima[8];
    blocks_scales_k4(b + 4, scales, minima);
    for (int i = 0; i < 256; i++)
        out[i] = d * (float)scales[i / 32] * (float)four_bits(b + 16, i) - m * (float)minima[i / 32];
}

/* The same with 32 bytes of fifth bits (byte i % 32, bit i / 32) before the elements. */
static void decode_q5_k(const uint8_t *b, float *out) {
    float d = half_at(b), m = half_at(b + 2);
    uint8_t scales[8], minima[8];
    blocks_scales_k4(b + 4, scales, minima);
    for (int i = 0; i < 256; i++) {
        int q = four_bits(b + 48, i) | (b[16 + i % 32] >> i / 32 & 1) << 4;
        out[i] = d * (float)scales[i / 32] * (float)q - m * (float)minima[i / 32];
    }
}

/* 128 bytes of low four bits (64 bytes hold 128 elements: low nibbles, then high ones), 64 of high two bits,
 * 16 signed scales, scale. */
static void decode_q6_k(const uint8_t *b, float *out) {
    float d = half_at(b + 208);
    for (int i = 0; i < 256; i++) {
        int low = b[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15;
        int q = low | two_bits(b + 128, i) << 4;
        out[i] = d * (float)(int8_t)b[192 + i / 16] * (float)(q - 32);
    }
}

void blocks_decode(enum dtype type, const uint8_t *block, float *out) {
    static void (*const decode[DTYPE_COUNT])(const uint8_t *, float *) = {
        [DTYPE_Q8_0] = decode_q8_0, [DTYPE_Q4_0] = decode_q4_0, [DTYPE_Q4_1] = decode_q4_1,
        [DTYPE_Q5_0] = decode_q5_0, [DTYPE_Q5_1] = decode_q5_1, [DTYPE_Q2_K] = decode_q2_k,
        [DTYPE_Q3_K] = decode_q3_k, [DTYPE_Q4_K] = decode_q4_k, [DTYPE_Q5_K] = decode_q5_k,
        [DTYPE_Q6_K] = decode_q6_k,
    };
    decode[type](block, out);
}
