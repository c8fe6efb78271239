#include "kernels/dtype.h"

#include <string.h>

static const struct dtype_info types[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 0, "F32", 1, 4},
    [DTYPE_F16] = {"F16", 1, "F16", 1, 2},
    [DTYPE_BF16] = {"BF16", 30, "BF16", 1, 2},
    [DTYPE_Q8_0] = {"Q8_0", 8, NULL, 32, 34}, /* 32 signed bytes after one F16 scale */
};

const struct dtype_info *dtype_info(enum dtype type) {
    return &types[type];
}

enum dtype dtype_of_ggml(uint32_t ggml_type) {
    for (int i = 0; i < DTYPE_COUNT; i++)
        if ((uint32_t)types[i].ggml_type == ggml_type)
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
