#include "kernels/cpu/convert.h"

#include "kernels/dtype.h"

uint16_t convert_f32_to_f16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00u);
    if (magnitude >= 0x477FF000u) /* rounds to 65520 or more */
        return (uint16_t)(sign | 0x7C00u);
    if (magnitude < 0x38800000u) {
        /* Below the smallest normal half: adding 0.5 lets the FPU round to a multiple of 2^-24. */
        float small;
        memcpy(&small, &magnitude, sizeof small);
        small += 0.5f;
        memcpy(&bits, &small, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3F000000u));
    }
    uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | (magnitude - 0x38000000u + 0xFFFu + odd) >> 13);
}

size_t convert_row_bytes(enum dtype type, int64_t cols) {
    return type < DTYPE_COUNT ? dtype_row_bytes(type, cols) : 0;
}

float convert_element(enum dtype type, const void *row, int64_t i) {
    const uint8_t *bytes = row;
    uint16_t half;
    float f = 0;
    switch (type) {
    case DTYPE_F32:
        memcpy(&f, bytes + i * 4, 4);
        break;
    case DTYPE_F16:
        memcpy(&half, bytes + i * 2, 2);
        f = convert_f16_to_f32(half);
        break;
    case DTYPE_BF16:
        memcpy(&half, bytes + i * 2, 2);
        f = convert_bf16_to_f32(half);
        break;
    case DTYPE_Q8_0: {
        const uint8_t *block = bytes + i / CONVERT_Q8_BLOCK * CONVERT_Q8_BYTES;
        memcpy(&half, block, 2);
        f = convert_f16_to_f32(half) * (float)(int8_t)block[2 + i % CONVERT_Q8_BLOCK];
        break;
    }
    case DTYPE_COUNT:
        break;
    }
    return f;
}

void convert_row(enum dtype type, const void *row, int64_t cols, float *out) {
    if (type == DTYPE_F32) {
        memcpy(out, row, (size_t)cols * 4);
        return;
    }
    for (int64_t i = 0; i < cols; i++)
        out[i] = convert_element(type, row, i);
}
