#include "kernels/cpu/convert.h"

#include "kernels/cpu/blocks.h"
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

static float element_of_block(enum dtype type, const uint8_t *row, int64_t i) {
    const struct dtype_info *info = dtype_info(type);
    float block[BLOCKS_MAX_ELEMENTS];
    blocks_decode(type, row + i / info->block_elements * info->block_bytes, block);
    return block[i % info->block_elements];
}

float convert_element(enum dtype type, const void *row, int64_t i) {
    const uint8_t *bytes = row;
    uint16_t half;
    float f = 0;
    switch (type) {
    case DTYPE_F32:
        memcpy(&f, bytes + i * 4, 4);
        return f;
    case DTYPE_F16:
        memcpy(&half, bytes + i * 2, 2);
        return convert_f16_to_f32(half);
    case DTYPE_BF16:
        memcpy(&half, bytes + i * 2, 2);
        return convert_bf16_to_f32(half);
    case DTYPE_F8_E4M3:
        return convert_f8_e4m3_to_f32(bytes[i]);
    default:
        return element_of_block(type, bytes, i);
    }
}

void convert_row(enum dtype type, const void *row, int64_t cols, float *out) {
    const struct dtype_info *info = dtype_info(type);
    const uint8_t *bytes = row;
    if (type == DTYPE_F32) {
        memcpy(out, row, (size_t)cols * 4);
        return;
    }
    if (info->block_elements > 1) {
        for (int64_t i = 0; i < cols; i += info->block_elements, bytes += info->block_bytes)
            blocks_decode(type, bytes, out + i);
        return;
    }
    for (int64_t i = 0; i < cols; i++)
        out[i] = convert_element(type, row, i);
}
