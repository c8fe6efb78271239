/* The layer steps on a GPU: what the kernels get, and the functions that queue them. Shared by the device
 * (C) and the kernels (.cu). Shapes as in kernels/kernels.h; pointers are device memory.
 *
 * Numbers that change from batch to batch lie in device memory, so that a recorded step can run again; what
 * a kernel gets by value is fixed, but for the sizes of its grid. */
#ifndef KERNELS_CUDA_STEPS_H
#define KERNELS_CUDA_STEPS_H

#include "kernels/cuda/host.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- weights ---- */

enum cuda_type { CUDA_F32, CUDA_F16, CUDA_BF16, CUDA_Q8_0 };

/* A matrix as kernels read it: every row is a whole number of 16-byte chunks, zeros behind the last column.
 * Q8_0 has its bytes and its scales (F16, one per 32 columns) apart. */
struct cuda_matrix {
    const uint8_t *values;  /* rows x chunks x 16 bytes */
    const uint16_t *scales; /* rows x blocks; NULL but for Q8_0 */
    int32_t type;           /* enum cuda_type */
    int32_t rows, cols;
    int32_t chunks; /* of a row */
    int32_t blocks; /* scales of a row */
};

/* Columns of one chunk. */
static inline int steps_chunk_cols(int type) {
    return type == CUDA_F32 ? 4 : type == CUDA_Q8_0 ? 16 : 8;
}

/* ---- the batch ---- */

struct cuda_row {
    int32_t token, position, table;
};

/* The batch in device memory, written by begin(). */
struct cuda_batch {
    const int32_t *n_rows;    /* 1 */
    const int32_t *n_outputs; /* 1 */
    const int32_t *stride;    /* 1: entries of a page table */
    const struct cuda_row *rows;
    const int32_t *outputs;
    const int32_t *pages; /* page of positions i*64 … of table t: pages[t * stride + i] */
};

/* Keys and values: page, layer, keys then values, kv head, 64 positions, head_dim rounded up to 8. */
struct cuda_cache {
    uint8_t *memory;
    int64_t page_bytes, layer_bytes, kind_bytes, head_bytes; /* from one to the next */
    int32_t row;  /* elements of a position: head_dim rounded up to 8 */
    int32_t half; /* elements are F16, else F32 */
};

struct cuda_shape {
    int32_t n_heads, n_kv_heads, head_dim, dim, ffn_dim;
    int32_t x_stride, q_stride, h_stride; /* floats of a row of x, of q and attn, of h */
    int32_t half_split;                   /* rotated pairs are (i, i + head_dim/2), else (2i, 2i+1) */
    float eps;
};

/* ---- steps: each queues its kernels for `n_rows` rows; 0 or -EIO ---- */

struct cuda_embed {
    struct cuda_batch batch;
    struct cuda_matrix table;
    float *x;
    int32_t x_stride;
};
int steps_embed(struct gpu_stream *s, const struct cuda_embed *p, int n_rows);

struct cuda_attn_in {
    struct cuda_batch batch;
    struct cuda_shape shape;
    struct cuda_matrix wq, wk, wv;
    struct cuda_cache cache;
    const float *x, *norm;
    const float *rope; /* per position head_dim/2 pairs of cosine and sine */
    float *q;
    int32_t layer;
};
int steps_attn_in(struct gpu_stream *s, const struct cuda_attn_in *p, int n_rows);

/* A row's positions are cut into at most CUDA_SPLITS parts of at least CUDA_SPLIT_TOKENS that several blocks
 * work on; the cut depends on the row's position alone. */
#define CUDA_SPLITS       32
#define CUDA_SPLIT_TOKENS 256
#define CUDA_TILE         128 /* positions that a block takes at once; parts are whole tiles */

#if defined(__CUDACC__)
__host__ __device__
#endif
    static inline int
    steps_split_tokens(int n) {
    int part = (n + CUDA_SPLITS - 1) / CUDA_SPLITS;
    part = (part + CUDA_TILE - 1) / CUDA_TILE * CUDA_TILE;
    return part < CUDA_SPLIT_TOKENS ? CUDA_SPLIT_TOKENS : part;
}

/* Largest head_dim, and query heads that one block takes of a kv head's group. */
#define CUDA_MAX_HEAD_DIM 128
#define CUDA_GROUP        8

struct cuda_attention {
    struct cuda_batch batch;
    struct cuda_shape shape;
    struct cuda_cache cache;
    const float *q;
    float *attn;
    float *part_out;   /* rows x heads x max_splits x head_dim */
    float *part_stats; /* rows x heads x max_splits x 2: largest score, sum */
    uint32_t *tickets; /* rows x kv heads x groups of CUDA_GROUP heads; 0 between steps */
    int32_t max_splits;
    int32_t layer;
};
/* `splits`: of the longest row. */
int steps_attention(struct gpu_stream *s, const struct cuda_attention *p, int n_rows, int splits);

/* x += w input. */
struct cuda_residual {
    struct cuda_batch batch;
    struct cuda_matrix w;
    const float *input;
    int32_t input_stride, x_stride;
    float *x;
};
int steps_residual(struct gpu_stream *s, const struct cuda_residual *p, int n_rows);

/* h = silu(gate n) * (up n), n = rms_norm(x) * norm. Both matrices have one type. */
struct cuda_ffn_in {
    struct cuda_batch batch;
    struct cuda_shape shape;
    struct cuda_matrix gate, up;
    const float *x, *norm;
    float *h;
};
int steps_ffn_in(struct gpu_stream *s, const struct cuda_ffn_in *p, int n_rows);

/* logits[o] = w (rms_norm(x[outputs[o]]) * norm). */
struct cuda_logits {
    struct cuda_batch batch;
    struct cuda_shape shape;
    struct cuda_matrix w;
    const float *x, *norm;
    float *logits;
};
int steps_logits(struct gpu_stream *s, const struct cuda_logits *p, int n_outputs);

/* Bytes of shared memory that a product over `cols` columns needs for one row; above the GPU's limit the
 * model cannot run. */
size_t steps_product_shared(int32_t cols);
#define CUDA_MAX_SHARED ((size_t)224 * 1024)

#ifdef __cplusplus
}
#endif

#endif
