/* The fast CPU device from within. Private to kernels/cpu/. */
#ifndef KERNELS_CPU_DEVICE_H
#define KERNELS_CPU_DEVICE_H

#include "kernels/cpu/kv8.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/pool.h"
#include "kernels/kernels.h"

#include <pthread.h>
#include <stdatomic.h>

#define CPU_MAX_PRODUCTS 3
/* Of kernels_ops.page_layout(): raised whenever bytes of a page come to lie elsewhere, or are computed
 * differently. */
#define CPU_PAGE_VERSION 5

struct cpu_device {
    struct kernels_device base;
    struct kernels_config config;
    const struct cpu_ops *ops;
    const struct kv8_ops *kv8; /* NULL: keys and values are not in 8 bits */
    struct pool *pool;
    char describe[64];
    char page_layout[64];

    const struct kernels_batch *batch; /* NULL: no valid batch */
    int status;
    char sentence[160];

    /* The buffers of a batch, in one mapping (buffers.c): max_rows rows each; widths in floats, padded to
     * whole cache lines. `delta` lies where `norm` does, `h` and `up` where `q`, `attn`, `k` and `v` do. */
    uint8_t *buffers;
    size_t buffer_bytes;
    size_t w_dim, w_q, w_kv, w_ffn;
    float *x, *norm, *delta;    /* w_dim */
    float *q, *attn;            /* w_q */
    float *k, *v;               /* w_kv */
    float *h, *up;              /* w_ffn */
    uint8_t *rounded;           /* inputs as CPU_Q8_ROW */
    float *rope_cos, *rope_sin; /* max_rows x head_dim/2 */
    float *norms;               /* (2 * layers + 1) x w_dim: copies, because a file's may be unaligned */
    float *scores;              /* n_threads x heads per kv head x scores_stride */
    size_t scores_stride;
    float *logits; /* max_outputs x n_vocab, padded */
    size_t w_vocab;

    /* Copies of the weights, where they are copied (weights.c): tensor i from weight_from[i] to
     * weights[weight_at[i]]; the thread copies them in order, and begin() takes those that are done. */
    struct kernels_layer *layers;
    void *weight_map;
    uint8_t *weights;
    const uint8_t **weight_from;
    size_t *weight_at, weight_bytes;
    int n_weights, weights_taken;
    pthread_t weights_thread;
    bool weights_thread_runs;
    _Atomic int weights_copied;
    _Atomic bool weights_stop;

    uint8_t *kv; /* n_pages x page_bytes, mapped */
    size_t page_bytes, kv_bytes;
};

/* Maps the buffers and the pages of the device, whose config and pool are set, and fills `norms`. -ENOMEM;
 * cpu_buffers_finish() frees what there is. */
HX_MUST_CHECK int cpu_buffers_init(struct cpu_device *d);
void cpu_buffers_finish(struct cpu_device *d);

/* Chunks that a job of products is cut into at most. */
#define CPU_MAX_CHUNKS 512

/* Rows of several matrices with the same inputs, as one job. */
struct products {
    struct cpu_device *d;
    const struct tensor *w[CPU_MAX_PRODUCTS];
    float *out[CPU_MAX_PRODUCTS];
    size_t out_stride[CPU_MAX_PRODUCTS];
    int n;
    const float *input; /* n_cols x input_stride floats */
    size_t input_stride;
    int n_cols;
    int k;
    /* Chunk i has the rows from first_row[i] up to first_row[i + 1], all matrices' rows counted through; set
     * by cpu_run_products(). */
    int n_chunks;
    int first_row[CPU_MAX_CHUNKS + 1];
    /* After the rows of a chunk: add them to x (residual), or silu(out[0]) * out[1]. */
    float *residual;
    bool gated;
};

/* Runs the chunks of a job of about `work` multiply-adds: on the pool when that is worth it. */
void cpu_run_job(struct cpu_device *d, void (*fn)(void *arg, int chunk, int thread), void *arg, int n_chunks,
                 int64_t work);
/* Fills out[i] (n_cols x out_stride[i]) for all matrices; rounds the inputs to 8 bits first where a matrix
 * wants it. */
void cpu_run_products(struct products *p);

/* Maps the pages of the weights that every step reads, and begins to copy them where config.copy_weights says
 * so and there is memory. */
void cpu_weights_init(struct cpu_device *d);
/* Between two batches: from now on the copies that are done. */
void cpu_weights_take(struct cpu_device *d);
void cpu_weights_finish(struct cpu_device *d);
/* Whether a matrix lies side by side (pack.h), as copies do where that makes products faster. */
bool cpu_weights_packed(const struct cpu_device *d, const struct tensor *w);
/* Whether inputs of its products are rounded to 8 bits. */
bool cpu_wants_rounded(const struct cpu_device *d, const struct tensor *w);

#endif
