/* Stored numbers to F32 and back, in plain C. All inputs may be unaligned. [any-thread] */
#ifndef KERNELS_CPU_CONVERT_H
#define KERNELS_CPU_CONVERT_H

#include "kernels/tensor.h"

#include <stdint.h>
#include <string.h>

/* Q8_0 (ggml): 32 signed bytes after one F16 scale. */
#define CONVERT_Q8_BLOCK 32
#define CONVERT_Q8_BYTES 34

static inline float convert_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1Fu;
    uint32_t mantissa = h & 0x3FFu;
    uint32_t bits;
    if (exponent == 31) {
        bits = sign | 0x7F800000u | mantissa << 13;
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else {
        float value = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounds to nearest, ties to even. */
uint16_t convert_f32_to_f16(float f);

static inline float convert_bf16_to_f32(uint16_t b) {
    uint32_t bits = (uint32_t)b << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Sign, 4 bits of exponent with bias 7, 3 of mantissa; the halves of the same exponent and mantissa are 2^-8
 * of it. */
static inline float convert_f8_e4m3_to_f32(uint8_t b) {
    uint16_t magnitude = (uint16_t)(b & 0x7F);
    uint16_t sign = (uint16_t)((b & 0x80) << 8);
    if (magnitude == 0x7F)
        return convert_f16_to_f32((uint16_t)(sign | 0x7E00u));
    return convert_f16_to_f32((uint16_t)(sign | magnitude << 7)) * 256.0f;
}

/* Bytes of one row of `cols` elements. */
size_t convert_row_bytes(enum dtype type, int64_t cols);
/* Element `i` of a row. Slow for types of blocks. */
float convert_element(enum dtype type, const void *row, int64_t i);
/* out[0 … cols-1] = the row in F32; `cols` are whole blocks. */
void convert_row(enum dtype type, const void *row, int64_t cols, float *out);

#endif
