/* The element types of stored weights: one row of a table each, for the readers of model files, the devices
 * and people. A further type needs its row here, its conversion in kernels/cpu/convert.c (blocks.c for one of
 * blocks) and its dot product in a device. [any-thread] */
#ifndef KERNELS_DTYPE_H
#define KERNELS_DTYPE_H

#include "kernels/tensor.h"

#define DTYPE_NO_GGML (-1)

struct dtype_info {
    const char *name;        /* "Q8_0": as GGUF tools write it */
    int ggml_type;           /* its number in a GGUF file (ggml.h, enum ggml_type), or DTYPE_NO_GGML */
    const char *safetensors; /* its name in a safetensors header; NULL: it has none */
    int block_elements;      /* a row is a whole number of blocks; above 1: the type is quantised */
    int block_bytes;
};

/* `type` below DTYPE_COUNT. */
const struct dtype_info *dtype_info(enum dtype type);
/* DTYPE_COUNT when it is none of ours. */
enum dtype dtype_of_ggml(uint32_t ggml_type);
enum dtype dtype_of_safetensors(const char *name);
/* Bytes of a row of `cols` elements, which are whole blocks; `cols` up to 2^31. */
size_t dtype_row_bytes(enum dtype type, int64_t cols);

#endif
