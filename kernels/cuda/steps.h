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

/* Rows of one session that attention takes together: row, row + 1, … row + n - 1, at positions whose
 * quotients by steps_tile_rows() are equal. */
struct cuda_tile {
    int32_t row, n;
};

/* The batch in device memory, written by begin(). */
struct cuda_batch {
    const int32_t *n_rows;    /* 1 */
    const int32_t *n_outputs; /* 1 */
    const int32_t *stride;    /* 1: entries of a page table */
    const int32_t *n_singles; /* 1 */
    const int32_t *n_tiles;   /* 1 */
    const struct cuda_row *rows;
    const int32_t *outputs;
    const int32_t *singles;        /* rows that attention takes one by one */
    const struct cuda_tile *tiles; /* and those that it takes together */
    const int32_t *pages;          /* page of positions i*64 … of table t: pages[t * stride + i] */
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

#if defined(__CUDACC__)
#define STEPS_BOTH __host__ __device__ static inline
#else
#define STEPS_BOTH static inline
#endif

/* A row's positions are cut into at most CUDA_SPLITS parts of CUDA_SPLIT_TOKENS times a power of two, each
 * worked on by itself and then added up in their order. The cut depends on the row's position alone, and is
 * the same for all positions of a page. */
#define CUDA_SPLITS       32
#define CUDA_SPLIT_TOKENS 256

/* Length of a part of n positions. */
STEPS_BOTH int steps_split_tokens(int n) {
    int part = CUDA_SPLIT_TOKENS;
    while ((n - 1) / part >= CUDA_SPLITS)
        part *= 2;
    return part;
}

/* Two kinds of kernels. The plain ones compute in F32, with keys and values in F32 or F16. The others use
 * tensor cores, with keys and values in F16: queries and softmax weights are rounded to F16, sums are F32. */
#define CUDA_MAX_HEAD_DIM    128 /* of the plain ones */
#define CUDA_TENSOR_HEAD_DIM 256 /* of the others; a multiple of 8 */
#define CUDA_TILE            128 /* plain: positions that a block takes at once */
#define CUDA_GROUP           8   /* plain: query heads that a block takes of a kv head's group */
#define CUDA_TENSOR_GROUP    16  /* the others */
/* Rows that tensor cores take one by one in one batch, at most. */
#define CUDA_MAX_SINGLES 256

STEPS_BOTH bool steps_attention_tensor_can(bool half, int head_dim) {
    return half && head_dim % 8 == 0 && head_dim <= CUDA_TENSOR_HEAD_DIM;
}
/* Places of a tile that the query heads of one position take: a power of two. */
STEPS_BOTH int steps_tile_slots(int group) {
    int slots = 1;
    while (slots < group && slots < CUDA_TENSOR_GROUP)
        slots *= 2;
    return slots;
}
/* Positions of a tile, which has 64 places. */
STEPS_BOTH int steps_tile_rows(int group) {
    return 64 / steps_tile_slots(group);
}

struct cuda_attention {
    struct cuda_batch batch;
    struct cuda_shape shape;
    struct cuda_cache cache;
    const float *q;
    float *attn;
    float *part_out;   /* rows (or singles) x heads x max_splits x head_dim */
    float *part_stats; /* rows (or singles) x heads x max_splits x 2: largest score, sum */
    uint32_t *tickets; /* rows (or singles) x kv heads x groups of heads; 0 between steps */
    int32_t max_splits;
    int32_t layer;
};
/* By plain kernels. `splits`: of the longest row. */
int steps_attention(struct gpu_stream *s, const struct cuda_attention *p, int n_rows, int splits);
/* By tensor cores, where steps_attention_tensor_can(). A row's results are the same bits as a single and in a
 * tile. */
int steps_attention_tensor(struct gpu_stream *s, const struct cuda_attention *p, int n_singles, int n_tiles,
                           int splits);

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

/* tokens[o] = the next token of each output, as engine/sampler.h chooses it; -1 where that is left to the
 * host: not wanted, or too many tokens are in question to be sorted. */
enum cuda_sample_mode {
    CUDA_SAMPLE_NOT,
    CUDA_SAMPLE_LARGEST,
    CUDA_SAMPLE_ANY,  /* of all tokens that are not masked */
    CUDA_SAMPLE_SOME, /* of those that top-k, top-p and min-p leave */
};
#define CUDA_SAMPLE_RECENT 64
#define CUDA_SAMPLE_CHUNK  1024 /* tokens of a block */
#define CUDA_SAMPLE_BLOCK  64   /* tokens that are summed up together; as in engine/sampler.c */
#define CUDA_SAMPLE_BINS   256
#define CUDA_SAMPLE_SORTED 2048                       /* tokens that can be sorted */
#define CUDA_SAMPLE_VOCAB  (4096 * CUDA_SAMPLE_BLOCK) /* tokens of a vocabulary at most */

struct cuda_sample_how {
    double draw;   /* 0 <= draw < 1 */
    float inverse; /* of the temperature */
    float top_p, min_p, penalty;
    int32_t mode; /* enum cuda_sample_mode */
    int32_t top_k;
    int32_t masked; /* the output's row of masks counts */
    int32_t n_recent;
    int32_t recent[CUDA_SAMPLE_RECENT];
};
struct cuda_sample {
    struct cuda_batch batch;
    const struct cuda_sample_how *how; /* of each output */
    const uint32_t *masks;             /* outputs x (n_vocab + 31) / 32 */
    const float *logits;               /* outputs x n_vocab */
    float *work;                       /* outputs x n_vocab: logits with penalty and mask, then weights */
    float *best;                       /* outputs x chunks: the largest of each chunk */
    int32_t *best_id;                  /* and its token, the first of them; n_vocab: none */
    float *sums;                       /* outputs x blocks of 64 tokens: of the weights */
    uint32_t *counts;                  /* outputs x bins of an eighth below the largest: tokens, */
    uint64_t *weights;                 /* and their weights times 2^46 */
    int32_t *tokens;
    int32_t n_vocab;
};
int steps_sample(struct gpu_stream *s, const struct cuda_sample *p, int n_outputs);
static inline int steps_sample_chunks(int n_vocab) {
    return (n_vocab + CUDA_SAMPLE_CHUNK - 1) / CUDA_SAMPLE_CHUNK;
}

/* Bytes of shared memory that a product over `cols` columns needs for one row; above the GPU's limit the
 * model cannot run. */
size_t steps_product_shared(int32_t cols);
#define CUDA_MAX_SHARED ((size_t)224 * 1024)

#ifdef __cplusplus
}
#endif

#endif
