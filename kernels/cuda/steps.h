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
 *   Q4_K Q5_K       16 bytes for 256 columns: F16 scales of s and of -z; 8 bytes: six bits of s, the low two
 *                   of z; 8 nibbles: the high four of z
 *   Q2_K            16 bytes for 256 columns: four bits of s, four of z; behind all: F16 scales of s and of
 *                   -z
 *   Q3_K Q6_K       16 bytes for 256 columns: signed s; behind all: F16 scales of s
 *
 * Q2_K and Q3_K take four bits for a column in place of two and three. */
struct cuda_matrix {
    const uint8_t *values; /* rows x chunks x 16 bytes */
    const uint8_t *high;   /* rows x high_bytes, a multiple of 16; or NULL */
    const uint8_t *scales; /* rows x scale_bytes; or NULL */
    int32_t type;          /* enum cuda_type */
    int32_t rows, cols;
    int32_t chunks; /* of a row */
    int32_t blocks; /* of 32 columns, of a row */
    int32_t high_bytes, scale_bytes;
    float input_scale; /* of F8: see struct tensor */
};

/* Columns of what one lane takes at a time: a chunk, or a block. */
STEPS_BOTH int steps_unit_cols(int type) {
    return type == CUDA_F32 ? 4 : type == CUDA_F8 ? 16 : steps_quantised(type) ? 32 : 8;
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
    uint16_t *ready; /* tensor cores: results as BF16 in place of attn, rows of n_heads x head_dim; or NULL */
    float *part_out; /* rows (or singles) x heads x max_splits x head_dim */
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
    CUDA_FORM_ROUNDED = 4,
    CUDA_FORM_F8 = 8 /* of a row divided by its scale, which is of the row, or the matrix asks for */
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
    float scale, low, high, sixteenth; /* scale; scale times the sum of either half; scale / 16 */
};

/* Memory for prepared rows, each for the widest input; NULL where no weights want the form. */
struct cuda_prepared {
    uint16_t *bf16, *f16;
    float *factors; /* of f16, one per row */
    uint8_t *f8;
    float *f8_scales; /* of f8, one per row */
    float *f8_most;   /* several ranks: the largest magnitude of each row of a residual's inputs */
    uint8_t *rounded;
    struct cuda_rounded *records; /* of 32 columns each */
};

enum cuda_product_step {
    CUDA_ATTN_IN,  /* q, k, v = rms_norm(x) * norm by three matrices; rotated, to `out` and the pages */
    CUDA_RESIDUAL, /* out += w input */
    CUDA_FFN_IN,   /* out = silu(gate n) * (up n), n = rms_norm(x) * norm */
    CUDA_LOGITS,   /* out[o] = w (rms_norm(x[outputs[o]]) * norm) */
    CUDA_PARTIAL,  /* out = w input */
};

/* Products of more rows than 32 with weights of BF16, F16 or F8. A block takes a tall tile of CUDA_WIDE_TALL
 * rows of weights: 128 such tiles are gate and up of Llama's 8B, 256 those of 70B, on the 132 multiprocessors
 * of an H100 or H200. Where a step has so few that most of these would have none, tiles have CUDA_WIDE_TILE
 * rows, and four blocks share one: each has a part of the columns. */
#define CUDA_WIDE_TALL  224
#define CUDA_WIDE_TILE  128
#define CUDA_WIDE_ROWS  64 /* of the batch */
#define CUDA_WIDE_PARTS 4
/* Tiles that are shared at most: fewer than an H100 or H200 has multiprocessors. */
#define CUDA_WIDE_MOST 131
/* Shared memory of a block with a tall tile; GPUs that have less take it as tensor.cu does. */
#define CUDA_WIDE_SHARED ((size_t)145 * 1024)

STEPS_BOTH bool steps_wide(int family, int n_rows) {
    return family >= CUDA_FAMILY_BF16 && family <= CUDA_FAMILY_F8 && n_rows > 32;
}
/* Tiles that blocks share. */
STEPS_BOTH int steps_wide_pairs(int pairs) {
    return (pairs + CUDA_WIDE_TILE / 2 - 1) / (CUDA_WIDE_TILE / 2);
}
/* Tiles of so many rows, of a section of one family. */
STEPS_BOTH int steps_wide_tiles(const struct cuda_section *s, int family, int rows) {
    return steps_family(s->w[0].type) == family ? (s->pairs + rows / 2 - 1) / (rows / 2) : 0;
}
/* Of three steps of so many tiles, those that memory for parts is needed for. */
STEPS_BOTH int steps_wide_shared(int attn_in, int residual, int ffn_in) {
    const int tiles[] = {attn_in, residual, ffn_in};
    int most = 0;
    for (int i = 0; i < 3; i++)
        most = tiles[i] > most && tiles[i] <= CUDA_WIDE_MOST ? tiles[i] : most;
    return most;
}
#define CUDA_WIDE_BYTES ((size_t)CUDA_WIDE_PARTS * CUDA_WIDE_TILE * CUDA_WIDE_ROWS * 4 + 4) /* of a tile */

struct cuda_product {
    struct cuda_batch batch;
    struct cuda_shape shape;
    int32_t step; /* enum cuda_product_step */
    int32_t n_sections;
    struct cuda_section sections[3];
    const float *input, *norm; /* norm: NULL for a residual or part of one */
    float *out;
    uint16_t *ready;  /* ffn_in: results as BF16 in place of out, rows of ffn_dim; or NULL */
    int32_t is_ready; /* inputs lie in prepared.bf16 already: whoever computed them wrote them there */
    int32_t cols, input_stride, out_stride;
    int32_t exact;    /* all products in F32 */
    int32_t families; /* bits of enum cuda_family: which sections a launch takes; set by steps_product() */
    int32_t forms;    /* bits of enum cuda_form: what it prepares; the same */
    struct cuda_prepared prepared;
    float *large;           /* of each row of the batch, results of all rows of weights */
    int32_t large_stride;   /* floats of a row */
    float *wide_parts;      /* wide_tiles x CUDA_WIDE_PARTS x CUDA_WIDE_TILE x CUDA_WIDE_ROWS */
    uint32_t *wide_tickets; /* wide_tiles; 0 between steps */
    int32_t wide_tiles;     /* that can be shared */
    uint16_t *panel;        /* weights on their way to the library */
    size_t panel_bytes;
    int32_t f8;        /* enum gpu_f8: how the library multiplies F8; GPU_F8_NOT: as BF16 */
    float input_scale; /* of inputs in F8; 0: each row has its own; set by steps_product() */
    int32_t
        share_scales; /* that is the one of the whole row, of which this rank has a part: prepared.f8_most */
    /* attn_in alone */
    struct cuda_cache cache;
    const float *rope; /* per position head_dim/2 pairs of cosine and sine */
    int32_t layer;
};

/* Wide tiles of all sections. */
STEPS_BOTH int steps_wide_all(const struct cuda_product *p, int family, int rows) {
    int tiles = 0;
    for (int i = 0; i < p->n_sections; i++)
        tiles += steps_wide_tiles(&p->sections[i], family, rows);
    return tiles;
}

/* Whether four blocks share each of them. */
STEPS_BOTH bool steps_wide_shares(const struct cuda_product *p, int family, int n_rows) {
    return n_rows <= CUDA_WIDE_ROWS && p->step != CUDA_LOGITS &&
           steps_wide_all(p, family, CUDA_WIDE_TILE) <= p->wide_tiles;
}

struct gpu_blas;

/* Adds the pairs of two matrices (rows w[0] and w[1]) to a step. */
void steps_add_section(struct cuda_product *p, const struct cuda_matrix *first,
                       const struct cuda_matrix *second, int32_t pairs);
/* `n_rows`: rows of the batch; of a step for logits, outputs. `blas`: NULL when there is no library. */
int steps_product(struct gpu_stream *s, struct gpu_blas *blas, const struct cuda_product *p, int n_rows);

/* Its parts. prepare.cu: rows of the batch in p->forms. products.cu: one row at a time, or four in F32.
 * tensor.cu: up to 64 rows at a time of one family, whose rows were prepared; it leaves to tensor_wide.cu
 * what steps_wide() says. large.cu: more, by the library. */
int steps_prepare(struct gpu_stream *s, const struct cuda_product *p, int n_rows);
/* Also there: of each row, to prepared.f8_most; to be made that of all ranks before the product. */
int steps_most(struct gpu_stream *s, const struct cuda_product *p, int n_rows);
int steps_product_rows(struct gpu_stream *s, const struct cuda_product *p, int n_rows);
int steps_product_tensor(struct gpu_stream *s, const struct cuda_product *p, int family, int n_rows);
int steps_product_wide(struct gpu_stream *s, const struct cuda_product *p, int family, int n_rows);
int steps_product_large(struct gpu_stream *s, struct gpu_blas *blas, const struct cuda_product *p,
                        int n_rows);
/* Rows of a batch above which the library multiplies. */
#define CUDA_LARGE_ROWS 64
/* The inputs of so many rows' residual are written in BF16 by the step before, where they have this form and
 * no zeros behind the last: nothing need be prepared. */
STEPS_BOTH bool steps_ready(const struct cuda_matrix *w, int n_rows) {
    return n_rows > 1 && n_rows <= CUDA_LARGE_ROWS && w->type == CUDA_BF16 &&
           steps_prepared_cols(w->cols) == w->cols;
}
/* The form of inputs that the library takes for a family; f8: enum gpu_f8. */
STEPS_BOTH int steps_large_form(int family, int f8) {
    return family == CUDA_FAMILY_F32                              ? 0
           : family == CUDA_FAMILY_F16                            ? CUDA_FORM_F16
           : family == CUDA_FAMILY_F8 && f8 != 0 /* GPU_F8_NOT */ ? CUDA_FORM_F8
                                                                  : CUDA_FORM_BF16;
}

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
    int32_t mask;            /* which of the masks counts; -1: none */
    int32_t logprobs, n_top; /* log-probabilities are wanted: the token's and of so many others */
    int32_t n_recent;
    int32_t recent[CUDA_SAMPLE_RECENT];
};
struct cuda_sample {
    struct cuda_batch batch;
    const struct cuda_sample_how *how; /* of each output */
    const uint32_t *masks;             /* each (n_vocab + 31) / 32 */
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

/* Of the logits that the model gave, for outputs whose token was chosen and that ask for it. The logarithm of
 * a token's probability is its logit - largest - log(sum). */
#define CUDA_LOGPROB_TOP 20
struct cuda_logprob {
    double sum; /* of e^(logit - largest) */
    float largest, chosen;
    float top[CUDA_LOGPROB_TOP];      /* best first, the first of equal ones */
    int32_t top_id[CUDA_LOGPROB_TOP]; /* -1: there are no more */
};
struct cuda_logprob_step {
    struct cuda_batch batch;
    const struct cuda_sample_how *how;
    const float *logits;
    const int32_t *tokens;
    float *top; /* outputs x chunks x CUDA_LOGPROB_TOP */
    int32_t *top_id;
    float *sums; /* outputs x chunks: of e^(logit - the chunk's largest) */
    struct cuda_logprob *out;
    int32_t n_vocab;
};
int steps_logprobs(struct gpu_stream *s, const struct cuda_logprob_step *p, int n_outputs);

/* Bytes of shared memory that a product over `cols` columns needs for one row; above the GPU's limit the
 * model cannot run. */
size_t steps_product_shared(int32_t cols);
#define CUDA_MAX_SHARED ((size_t)224 * 1024)

#ifdef __cplusplus
}
#endif

#endif
