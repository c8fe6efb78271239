/* The CUDA device from within. Private to kernels/cuda/. */
#ifndef KERNELS_CUDA_DEVICE_H
#define KERNELS_CUDA_DEVICE_H

#include "kernels/cuda/blas.h"
#include "kernels/cuda/link.h"
#include "kernels/cuda/steps.h"
#include "kernels/kernels.h"

/* Of kernels_ops.page_layout(): raised whenever bytes of a page come to lie elsewhere. */
#define CUDA_PAGE_VERSION 1

struct cuda_layer {
    struct cuda_matrix wq, wk, wv, wo, gate, up, down;
    float *attn_norm, *ffn_norm; /* dim */
};

/* The steps of a batch as the GPU gets them: one by one, or as a graph that was recorded once and runs again.
 * What a graph depends on besides device memory: the sizes of its grids. */
struct cuda_graph {
    int rows, outputs, splits, singles, tiles; /* rounded up to powers of two */
    bool chooses;                              /* tokens, in place of giving logits */
    bool logprobs;                             /* and their probabilities */
    struct gpu_graph *graphs[GPUS_MAX];        /* of each rank; none: NULL in the first place */
};
#define CUDA_GRAPHS 32

/* Choosing tokens (choose.c). Host memory for the copies, device memory as struct cuda_sample has it. */
struct cuda_choice {
    bool can;      /* the vocabulary is not too large */
    bool wanted;   /* by the running batch */
    bool logprobs; /* the same */
    struct cuda_sample_how *host_how, *how;
    uint32_t *host_masks, *masks;
    float *work, *best, *sums;
    int32_t *best_id;
    uint32_t *counts;
    uint64_t *weights;
    int32_t *host_tokens, *tokens;
    float *top, *chunk_sums; /* as struct cuda_logprob_step has it */
    int32_t *top_id;
    struct cuda_logprob *host_of, *of; /* of each output */
};

/* Pages on their way to the host (move.c). */
#define CUDA_MOVE_SLOTS 8
#define CUDA_MOVE_BYTES ((size_t)64 << 20) /* of all slots together, or one page */
static inline size_t cuda_move_slots(size_t page_bytes) {
    size_t n = CUDA_MOVE_BYTES / page_bytes;
    return n < 1 ? 1 : n > CUDA_MOVE_SLOTS ? CUDA_MOVE_SLOTS : n;
}
struct cuda_move_slot {
    struct gpu_event *full, *empty;
    const void *host; /* where its page goes, or went; NULL: it had none yet */
};
struct cuda_moves {
    struct gpu_stream *stream; /* NULL, as all of it: nobody has asked for memory */
    uint8_t *memory;           /* n_slots pages */
    struct cuda_move_slot slots[CUDA_MOVE_SLOTS];
    int n_slots, next;
};

enum cuda_mode { CUDA_DIRECT, CUDA_RECORDING, CUDA_REPLAYING };

struct cuda_device {
    struct kernels_device base;
    struct kernels_config config;
    char describe[128];
    char page_layout[32];
    struct gpu_stream *stream;

    /* ranks.h; the config's model is the rank's part, but for the numbers of its vocabulary */
    int gpu, rank, n_ranks;
    struct cuda_device *ranks[GPUS_MAX]; /* of rank 0, itself first */
    struct gpu_link *link;               /* of rank 0; NULL: it is the only one */
    struct kernels_layer *part_layers;   /* of config.model */
    int32_t first_output;                /* token of the first row of `output` */

    /* weights */
    struct cuda_layer *layers;
    struct cuda_matrix embeddings, output;
    bool tied; /* output is the embedding table, or rows of it */
    float *output_norm;
    float *rope; /* max_context x head_dim/2 x {cosine, sine} */

    /* the batch: one block of ints on both sides, copied as a whole */
    const struct kernels_batch *running; /* NULL: no valid batch */
    int32_t *host_batch, *device_batch;
    size_t batch_ints;
    struct cuda_batch batch;
    int max_stride;  /* entries of a page table at most */
    int splits;      /* of the running batch's longest row */
    bool tensor;     /* attention by tensor cores: rows come as singles and tiles */
    int max_singles; /* rows that attention has parts for */
    int n_singles, n_tiles;
    int32_t *table_ids; /* max_rows: the batch's page tables in order of appearance */

    /* states, in floats from one row to the next */
    struct cuda_shape shape;
    float *x, *q, *attn, *h, *logits;
    struct cuda_prepared prepared;
    uint16_t *attn_ready, *h_ready; /* CUDA_LARGE_ROWS: these as BF16, see steps_ready(); or NULL */
    struct gpu_blas *blas;          /* NULL: there is no library, or no batch is large enough */
    float *large;                   /* max_rows x large_stride: see struct cuda_product */
    int32_t large_stride;
    float *wide_parts; /* these three: see struct cuda_product */
    uint32_t *wide_tickets;
    int32_t wide_tiles;
    uint16_t *panel;
    size_t panel_bytes;
    enum gpu_f8 f8; /* how the library multiplies FP8 */
    float *part_out, *part_stats;
    uint32_t *tickets;
    int max_splits;
    float *host_logits, *host_row;
    bool *logits_here; /* max_outputs: host_logits has those of the output */
    size_t host_row_floats;

    struct cuda_cache cache;
    struct cuda_choice choice;
    struct cuda_moves moves;

    struct cuda_graph graphs[CUDA_GRAPHS]; /* used ones first */
    int n_graphs, oldest_graph;
    enum cuda_mode mode;
    struct cuda_graph now; /* what is recorded or run again */
    int n_steps;           /* of the running batch so far, while they come in order */
    int layer;             /* of the last step of one */

    int status;
    char sentence[200];
};

/* Where the parts of the batch lie, in ints: a header, rows, outputs, rows by themselves and in tiles, page
 * tables. */
enum cuda_header {
    CUDA_AT_ROWS,
    CUDA_AT_OUTPUTS,
    CUDA_AT_STRIDE,
    CUDA_AT_SINGLES,
    CUDA_AT_TILES,
    CUDA_HEADER = 8
};
struct cuda_places {
    size_t rows, outputs, singles, tiles, pages;
};

/* memory.c */
struct cuda_places cuda_batch_places(const struct kernels_config *c);
/* Both of one rank, whose GPU is in use; on failure cuda_memory_finish() frees what there is. First its
 * queue, the weights, and the library for large batches where there is one. Then everything else, which
 * depends on how all ranks multiply F8: f8_choose() comes between. */
HX_MUST_CHECK int cuda_memory_weights(struct cuda_device *d, char *err, size_t errlen);
HX_MUST_CHECK int cuda_memory_init(struct cuda_device *d, char *err, size_t errlen);
void cuda_memory_finish(struct cuda_device *d);
/* -ENOMEM with the sentence: what for, and how much is left. */
int cuda_no_memory(size_t bytes, const char *what, char *err, size_t errlen);
/* Adds a remark to what describe() says. */
void cuda_describe_more(struct cuda_device *d, const char *what);

/* f8.c */
/* How the library multiplies the layers' F8, to f8 of all ranks and as a remark, once their libraries are
 * there: the best way that all of them have. `d`: rank 0. 0 or -EIO. */
int f8_choose(struct cuda_device *d);

/* device.c: the first failure is kept until the next sync(). */
void cuda_keep(struct cuda_device *d, int rc);
/* The memory of a page that is in range, of this rank's heads. */
uint8_t *cuda_page_at(const struct cuda_device *d, int32_t page);
/* False, and a failure, when it is out of range: what was to be done with it. */
bool cuda_page_fits(struct cuda_device *d, int32_t page, const char *what);

/* move.c: as struct kernels_ops has them; finish of one rank. */
void move_finish(struct cuda_device *d);
void *move_alloc_host(struct kernels_device *base, size_t bytes);
void move_free_host(struct kernels_device *base, void *memory);
void move_store_page(struct kernels_device *base, int32_t page, void *host);
void move_fetch_page(struct kernels_device *base, int32_t page, const void *host);

/* choose.c */
HX_MUST_CHECK int choose_init(struct cuda_device *d, char *err, size_t errlen);
void choose_finish(struct cuda_device *d);
/* What the batch wants goes up; 0 or -EIO, as of all that queue. */
int choose_begin(struct cuda_device *d, const struct kernels_batch *b);
int choose_queue(struct cuda_device *d, int n_outputs);
int32_t choose_token(const struct cuda_device *d, int o);
bool choose_logprobs(const struct cuda_device *d, int o, struct kernels_logprobs *out);

#endif
