/* The CUDA device from within. Private to kernels/cuda/. */
#ifndef KERNELS_CUDA_DEVICE_H
#define KERNELS_CUDA_DEVICE_H

#include "kernels/cuda/blas.h"
#include "kernels/cuda/steps.h"
#include "kernels/kernels.h"

struct cuda_layer {
    struct cuda_matrix wq, wk, wv, wo, gate, up, down;
    float *attn_norm, *ffn_norm; /* dim */
};

/* The steps of a batch as the GPU gets them: one by one, or as a graph that was recorded once and runs again.
 * What a graph depends on besides device memory: the sizes of its grids. */
struct cuda_graph {
    int rows, outputs, splits; /* rounded up to powers of two */
    struct gpu_graph *graph;
};
#define CUDA_GRAPHS 32

enum cuda_mode { CUDA_DIRECT, CUDA_RECORDING, CUDA_REPLAYING };

struct cuda_device {
    struct kernels_device base;
    struct kernels_config config;
    char describe[128];
    struct gpu_stream *stream;

    /* weights */
    struct cuda_layer *layers;
    struct cuda_matrix embeddings, output;
    bool tied; /* output is the embedding table */
    float *output_norm;
    float *rope; /* max_context x head_dim/2 x {cosine, sine} */

    /* the batch: one block of ints on both sides, copied as a whole */
    const struct kernels_batch *running; /* NULL: no valid batch */
    int32_t *host_batch, *device_batch;
    size_t batch_ints;
    struct cuda_batch batch;
    int max_stride;     /* entries of a page table at most */
    int splits;         /* of the running batch's longest row */
    int32_t *table_ids; /* max_rows: the batch's page tables in order of appearance */

    /* states, in floats from one row to the next */
    struct cuda_shape shape;
    float *x, *q, *attn, *h, *logits;
    struct cuda_prepared prepared;
    struct gpu_blas *blas; /* NULL: there is no library, or no batch is large enough */
    float *large;          /* max_rows x large_stride: see struct cuda_product */
    int32_t large_stride;
    uint16_t *panel;
    size_t panel_bytes;
    float *part_out, *part_stats;
    uint32_t *tickets;
    int max_splits;
    float *host_logits, *host_row;
    size_t host_row_floats;

    struct cuda_cache cache;

    struct cuda_graph graphs[CUDA_GRAPHS]; /* used ones first */
    int n_graphs, oldest_graph;
    enum cuda_mode mode;
    struct cuda_graph now; /* what is recorded or run again */
    int n_steps;           /* of the running batch so far, while they come in order */

    int status;
    char sentence[200];
};

/* memory.c */
/* Allocates everything and copies the weights; on failure cuda_memory_finish() frees what there is. */
HX_MUST_CHECK int cuda_memory_init(struct cuda_device *d, char *err, size_t errlen);
void cuda_memory_finish(struct cuda_device *d);

#endif
