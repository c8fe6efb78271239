#include "kernels/dtype.h"

#include <string.h>

static const struct dtype_info types[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 0, "F32", 1, 4},
    [DTYPE_F16] = {"F16", 1, "F16", 1, 2},
    [DTYPE_BF16] = {"BF16", 30, "BF16", 1, 2},
    /* What lies in a block: kernels/cpu/blocks.c. */
    [DTYPE_Q8_0] = {"Q8_0", 8, NULL, 32, 34},
    [DTYPE_Q4_0] = {"Q4_0", 2, NULL, 32, 18},
    [DTYPE_Q4_1] = {"Q4_1", 3, NULL, 32, 20},
    [DTYPE_Q5_0] = {"Q5_0", 6, NULL, 32, 22},
    [DTYPE_Q5_1] = {"Q5_1", 7, NULL, 32, 24},
    [DTYPE_Q2_K] = {"Q2_K", 10, NULL, 256, 84},
    [DTYPE_Q3_K] = {"Q3_K", 11, NULL, 256, 110},
    [DTYPE_Q4_K] = {"Q4_K", 12, NULL, 256, 144},
    [DTYPE_Q5_K] = {"Q5_K", 13, NULL, 256, 176},
    [DTYPE_Q6_K] = {"Q6_K", 14, NULL, 256, 210},
    [DTYPE_F8_E4M3] = {"F8_E4M3", DTYPE_NO_GGML, "F8_E4M3", 1, 1},
};

const struct dtype_info *dtype_info(enum dtype type) {
    return &types[type];
}

enum dtype dtype_of_ggml(uint32_t ggml_type) {
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (types[i].ggml_type != DTYPE_NO_GGML && (uint32_t)types[i].ggml_type == ggml_type)
            return (enum dtype)i;
    return DTYPE_COUNT;
}

enum dtype dtype_of_safetensors(const char *name) {
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (types[i].safetensors != NULL && strcmp(types[i].safetensors, name) == 0)
            return (enum dtype)i;
    return DTYPE_COUNT;
}

size_t dtype_row_bytes(enum dtype type, int64_t cols) {
    return (size_t)(cols / types[type].block_elements) * (size_t)types[type].block_bytes;
}
