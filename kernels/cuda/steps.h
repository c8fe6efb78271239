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

#if defined(__CUDACC__)
#define STEPS_BOTH __host__ __device__ static inline
#else
#define STEPS_BOTH static inline
#endif

/* ---- weights ---- */

/* Types of weights in device memory. The quantised ones (from CUDA_Q8_0 on) come in blocks of 32 columns:
 * value = s * q + z with whole q; s and z are of the block, or of each half of it (CUDA_Q2_K, Q3_K, Q6_K). */
enum cuda_type {
    CUDA_F32,
    CUDA_F16,
    CUDA_BF16,
    CUDA_F8, /* E4M3, a factor per row */
    CUDA_Q8_0,
    CUDA_Q4_0,
    CUDA_Q4_1,
    CUDA_Q5_0,
    CUDA_Q5_1,
    CUDA_Q2_K,
    CUDA_Q3_K,
    CUDA_Q4_K,
    CUDA_Q5_K,
    CUDA_Q6_K,
    CUDA_TYPES
};

STEPS_BOTH int steps_quantised(int type) {
    return type >= CUDA_Q8_0;
}

/* A matrix as kernels read it: every row is a whole number of 16-byte chunks, zeros behind the last column.
 *
 * values: F32, F16, BF16, F8: the columns in order. Quantised: a chunk is the low four bits of a block; the
 *   low nibble of byte i is column i, the high one column 16 + i. Q8_0: all first halves of the row's blocks,
 *   then all second halves, a byte per column.
 * high: what q has above four bits: per block 4 bytes for Q5_x (bit 8i + 2j + h is of column 16h + 4j + i),
 *   8 bytes for Q6_K (two bits, bit 8i + 2j of word h).
 * scales: per row
 *   F8              the factor, F32
 *   Q8_0 Q4_0 Q5_0  a block's scale, F16
 *   Q4_1 Q5_1       a block's scale and lowest value, F16
 *   Q4_K Q5_K       16 bytes for 256 columns: F16 scales of s and of -z; 8 bytes: six bits of s, low two of
 * z; 8 nibbles: high four of z Q2_K            16 bytes for 256 columns: four bits of s, four of z; behind
 * all: F16 scales of s and of -z Q3_K Q6_K       16 bytes for 256 columns: signed s; behind all: F16 scales
 * of s Q2_K and Q3_K take four bits for a column in place of two and three. */
struct cuda_matrix {
    const uint8_t *values; /* rows x chunks x 16 bytes */
    const uint8_t *high;   /* rows x high_bytes, a multiple of 16; or NULL */
    const uint8_t *scales; /* rows x scale_bytes; or NULL */
    int32_t type;          /* enum cuda_type */
    int32_t rows, cols;
    int32_t chunks; /* of a row */
    int32_t blocks; /* of 32 columns, of a row */
    int32_t high_bytes, scale_bytes;
};

/* Columns of what one lane takes at a time: a chunk, or a block. */
STEPS_BOTH int steps_unit_cols(int type) {
    return type == CUDA_F32 ? 4 : type == CUDA_F8 ? 16 : steps_quantised(type) ? 32 : 8;
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

/* A row's positions are cut into at most CUDA_SPLITS parts of at least CUDA_SPLIT_TOKENS that several blocks
 * work on; the cut depends on the row's position alone. */
#define CUDA_SPLITS       32
#define CUDA_SPLIT_TOKENS 256
#define CUDA_TILE         128 /* positions that a block takes at once; parts are whole tiles */

STEPS_BOTH int steps_split_tokens(int n) {
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

/* ---- products ---- */

/* Rows of weights are taken in pairs, whose results are wanted together: the elements of a head that are
 * rotated together, gate and up of one element, or neighbours. Pairs are numbered through a step's sections;
 * a section has one type of weights and begins at a multiple of CUDA_SECTION. */
#define CUDA_SECTION 16
struct cuda_section {
    struct cuda_matrix w[2]; /* of the first and second of a pair; the same one but for gate and up */
    int32_t first, pairs;
    int32_t base[2]; /* where the rows of w[0] and w[1] begin among those of the step */
};

/* Which kernel multiplies a type's weights with several rows. */
enum cuda_family {
    CUDA_FAMILY_F32,    /* no tensor cores */
    CUDA_FAMILY_BF16,   /* inputs in BF16 */
    CUDA_FAMILY_F16,    /* inputs in F16 */
    CUDA_FAMILY_F8,     /* weights become F16 on the way, inputs in F16 */
    CUDA_FAMILY_Q,      /* inputs of 8 bits */
    CUDA_FAMILY_HALVED, /* the same where halves of a block have scales of their own */
    CUDA_FAMILIES
};
STEPS_BOTH int steps_family(int type) {
    if (type == CUDA_Q2_K || type == CUDA_Q3_K || type == CUDA_Q6_K)
        return CUDA_FAMILY_HALVED;
    return steps_quantised(type) ? CUDA_FAMILY_Q
           : type == CUDA_F8     ? CUDA_FAMILY_F8
           : type == CUDA_F16    ? CUDA_FAMILY_F16
           : type == CUDA_BF16   ? CUDA_FAMILY_BF16
                                 : CUDA_FAMILY_F32;
}

/* Inputs made ready for tensor cores: rows of steps_prepared_cols() columns, zeros behind the last. */
enum cuda_form {
    CUDA_FORM_BF16 = 1,
    CUDA_FORM_F16 = 2, /* of a row divided by its factor, a power of 2 */
    CUDA_FORM_ROUNDED = 4
};
STEPS_BOTH int steps_form(int family) {
    return family == CUDA_FAMILY_F32    ? 0
           : family == CUDA_FAMILY_BF16 ? CUDA_FORM_BF16
           : family <= CUDA_FAMILY_F8   ? CUDA_FORM_F16
                                        : CUDA_FORM_ROUNDED;
}
STEPS_BOTH int steps_prepared_cols(int cols) {
    return (cols + 255) / 256 * 256;
}

/* One block of 32 inputs rounded to 8 bits: what a product with a block s * q + z takes beside the bytes. */
struct cuda_rounded {
    float scale, low, high, zero; /* scale; scale times the sum of either half; nothing */
};

/* Memory for prepared rows, each for the widest input; NULL where no weights want the form. */
struct cuda_prepared {
    uint16_t *bf16, *f16;
    float *factors; /* of f16, one per row */
    uint8_t *rounded;
    struct cuda_rounded *records; /* of 32 columns each */
};

enum cuda_product_step {
    CUDA_ATTN_IN,  /* q, k, v = rms_norm(x) * norm by three matrices; rotated, to `out` and the pages */
    CUDA_RESIDUAL, /* out += w input */
    CUDA_FFN_IN,   /* out = silu(gate n) * (up n), n = rms_norm(x) * norm */
    CUDA_LOGITS,   /* out[o] = w (rms_norm(x[outputs[o]]) * norm) */
};

struct cuda_product {
    struct cuda_batch batch;
    struct cuda_shape shape;
    int32_t step; /* enum cuda_product_step */
    int32_t n_sections;
    struct cuda_section sections[3];
    const float *input, *norm; /* norm: NULL for a residual */
    float *out;
    int32_t cols, input_stride, out_stride;
    int32_t exact;    /* all products in F32 */
    int32_t families; /* bits of enum cuda_family: which sections a launch takes; set by steps_product() */
    int32_t forms;    /* bits of enum cuda_form: what it prepares; the same */
    struct cuda_prepared prepared;
    float *large;         /* of each row of the batch, results of all rows of weights */
    int32_t large_stride; /* floats of a row */
    uint16_t *panel;      /* weights on their way to the library */
    size_t panel_bytes;
    /* attn_in alone */
    struct cuda_cache cache;
    const float *rope; /* per position head_dim/2 pairs of cosine and sine */
    int32_t layer;
};

struct gpu_blas;

/* Adds the pairs of two matrices (rows w[0] and w[1]) to a step. */
void steps_add_section(struct cuda_product *p, const struct cuda_matrix *first,
                       const struct cuda_matrix *second, int32_t pairs);
/* `n_rows`: rows of the batch; of a step for logits, outputs. `blas`: NULL when there is no library. */
int steps_product(struct gpu_stream *s, struct gpu_blas *blas, const struct cuda_product *p, int n_rows);

/* Its parts. prepare.cu: rows of the batch in p->forms. products.cu: one row at a time, or four in F32.
 * tensor.cu: up to 64 rows at a time of one family, whose rows were prepared. large.cu: more, by the library.
 */
int steps_prepare(struct gpu_stream *s, const struct cuda_product *p, int n_rows);
int steps_product_rows(struct gpu_stream *s, const struct cuda_product *p, int n_rows);
int steps_product_tensor(struct gpu_stream *s, const struct cuda_product *p, int family, int n_rows);
int steps_product_large(struct gpu_stream *s, struct gpu_blas *blas, const struct cuda_product *p,
                        int n_rows);
/* Rows of a batch above which the library multiplies. */
#define CUDA_LARGE_ROWS 64
/* The form of inputs that the library takes for a family. */
STEPS_BOTH int steps_large_form(int family) {
    return family == CUDA_FAMILY_F32 ? 0 : family == CUDA_FAMILY_F16 ? CUDA_FORM_F16 : CUDA_FORM_BF16;
}

/* Bytes of shared memory that a product over `cols` columns needs for one row; above the GPU's limit the
 * model cannot run. */
size_t steps_product_shared(int32_t cols);
#define CUDA_MAX_SHARED ((size_t)224 * 1024)

#ifdef __cplusplus
}
#endif

#endif
