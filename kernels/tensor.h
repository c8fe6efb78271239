/* Stored numbers: element types, matrices, and how rotated pairs lie in a head. Shared by the readers of
 * model files and the devices; nothing here owns memory. */
#ifndef KERNELS_TENSOR_H
#define KERNELS_TENSOR_H

#include <stddef.h>
#include <stdint.h>

/* Element types of stored weights. What a further type needs: see kernels/dtype.h. */
enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_Q8_0,
    DTYPE_Q4_0,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q2_K,
    DTYPE_Q3_K,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_F8_E4M3, /* finite: no infinities, 0x7F and 0xFF are no numbers (OCP 8-bit floating point, E4M3) */
    DTYPE_COUNT
};

/* A matrix (rows x cols), row-major, each row a whole number of blocks; a vector is 1 x cols. */
struct tensor {
    const void *data; /* NULL: absent */
    enum dtype type;
    int64_t rows; /* outputs */
    int64_t cols; /* inputs */
    /* `rows` factors, one per row, of which every element is a multiple; NULL: all 1. Only with
     * DTYPE_F8_E4M3. */
    const float *row_scales;
    /* How inputs of products with it may be rounded to E4M3, by a device that multiplies in FP8: 0: not at
     * all; TENSOR_INPUT_BY_ROW: each row by itself, its largest magnitude becomes the largest number; else
     * all are divided by this factor. Only with DTYPE_F8_E4M3. */
    float input_scale;
    /* Of a part of the columns of a larger matrix, as kernels/cuda/part.h makes them: how many columns that
     * has, by which the rows are apart; 0: `cols`. */
    int64_t whole_cols;
};
#define TENSOR_INPUT_BY_ROW (-1.0f)

/* How the two halves of a rotated pair lie in a head: GGUF stores adjacent pairs (2i, 2i+1) (llama.cpp
 * ROPE_TYPE_NORM), Hugging Face half-split pairs (i, i + head_dim/2) (NEOX). The projection rows of the file
 * fit its own layout only. */
enum rope_layout { ROPE_ADJACENT, ROPE_HALF_SPLIT };

#endif
