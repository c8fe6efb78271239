/* The steps of a transformer layer, one table per device.
 *
 * A device holds the weights of one model (the CPU borrows them, a GPU uploads them), the KV pages and the
 * buffers of one batch. The forward pass is written once, in engine/forward.c, over the table `struct
 * kernels_ops`:
 *
 *   begin, embed, { attn_in, attention, attn_out, ffn_in, ffn_out } per layer, logits, sync
 *
 * Steps are queued and never fail; the first failure is kept and returned by sync(). A device may run a step
 * at once, queue it, or record the queue as a graph. One thread uses a device. [engine-thread]
 *
 * Shapes (R rows of the batch, D dim, H heads, G kv heads, E head_dim, F ffn_dim, V vocabulary):
 *   x       R x D        residual stream, F32
 *   q       R x H x E    rotated queries, F32
 *   attn    R x H x E    attention output, F32
 *   h       R x F        silu(gate) * up, F32
 *   logits  O x V        of the O rows whose logits are wanted, F32
 *
 * A row and its company. On the CPU, and on a GPU with `exact`, the products of a row have the same bits
 * whatever other rows are in the batch: each is one sum in one fixed order. Otherwise a GPU uses other
 * kernels for one row, for 2 to 64 rows and for more (of the logits, outputs count, and more than 64 are as
 * 64). Within the first two kinds of batch the same holds; between kinds, sums run in other orders and inputs
 * are rounded otherwise (see kernels/cuda/products.cu), so that one product differs by what rounding makes:
 * at most 1e-2 of its norm. Where more than 64 rows are rounded to FP8, because the model says so (struct
 * tensor, input_scale), it is about 3e-2 of what such a sum is in the mean; several GPUs round each its own
 * part of a row, with a scale of its own where rows have theirs. Several GPUs add up their parts of
 * x in an order that may change with the number of rows: with more than two of them, F32's last bits may
 * differ in any kind of batch. There a session may generate another token in company than alone, where two
 * tokens are as good as equally likely.
 *
 * A GPU beside the CPU. With `exact`, and keys and values in F32, both sum the same numbers in F32, in other
 * orders: the logits of models are within 2e-4, and 64 greedy tokens are the same ones
 * (tests/engine/test_cuda_models.c). As models run, in BF16, the CPU rounds no input of a product; a GPU none
 * of a batch of one row, which has the bits of `exact`, and those of larger batches to BF16. With keys and
 * values in F16 it also rounds queries and softmax weights to F16, in every batch. So logits are within 0.04
 * where rows come one by one and within 0.2 in batches. For sessions that write alone, however their prompts
 * are read, and for 16 that write together, 64 greedy tokens are the same ones all the same; of those of 64
 * sessions at most one in 1,000 is another, where the CPU's logits of the two are within 0.4
 * (tests/engine/test_cuda_greedy.c and test_cuda_greedy_many.c: two trained models, real prompts; the bounds
 * are theirs). */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include "base/err.h"
#include "kernels/gpus.h"
#include "kernels/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tokens of one KV page. A page holds keys and values of all layers for this many positions of one session;
 * how they lie in it is the device's own business. */
#define KERNELS_PAGE_TOKENS 64

/* One layer's weights, borrowed until the device is closed. */
struct kernels_layer {
    struct tensor attn_norm;    /* 1 x D, F32 */
    struct tensor wq;           /* H*E x D */
    struct tensor wk, wv;       /* G*E x D */
    struct tensor wo;           /* D x H*E */
    struct tensor ffn_norm;     /* 1 x D, F32 */
    struct tensor w_gate, w_up; /* F x D */
    struct tensor w_down;       /* D x F */
};

/* A model as a device sees it; everything borrowed until the device is closed. */
struct kernels_model {
    int n_layers, n_heads, n_kv_heads, head_dim, dim, ffn_dim, n_vocab;
    float rms_eps;
    enum rope_layout rope_layout;
    const float *rope_inv_freq;         /* head_dim/2, radians per position */
    struct tensor tok_embd;             /* V x D */
    struct tensor output_norm;          /* 1 x D, F32 */
    struct tensor output;               /* V x D */
    const struct kernels_layer *layers; /* n_layers */
};

/* Whether a device that computes with this machine's memory has weights of its own, so that it may choose how
 * they lie. Only where all of them are in read-only mappings of files: the pages of these are dropped. */
enum kernels_copy {
    KERNELS_COPY_NOT,   /* they stay where they are */
    KERNELS_COPY_WHILE, /* copied while batches run */
    KERNELS_COPY_FIRST, /* before the device is open, as a measurement wants it */
};

struct kernels_config {
    struct kernels_model model;
    int max_rows;       /* rows of the largest batch */
    int max_outputs;    /* rows of a batch whose logits are wanted at most */
    int max_context;    /* positions of the longest session */
    int n_pages;        /* KV pages; their memory is touched when they are first written */
    enum dtype kv_type; /* DTYPE_F32, DTYPE_F16 or DTYPE_Q8_0: 8 bits with one F32 factor per vector of
                           head_dim, see kernels/cpu/kv8.h */
    int n_threads;      /* compute threads, the calling one included; 0 = number of CPUs; ignored by GPUs */
    int nice;           /* of the compute threads the device starts; ignored by GPUs */
    bool exact;         /* products in F32 throughout; otherwise a device may quantise activations (see
                           kernels/cpu/cpu.h) */
    enum kernels_copy copy_weights; /* ignored by GPUs */
    struct gpus gpus;               /* that share the model; ignored by the CPU */
    int gpu_wait_ms; /* a GPU that is waited for longer has failed; 0: CUDA_WAIT_MS; ignored by the CPU */
};

/* One row: a token at a position of one session. The rows of a session stand in one batch in ascending,
 * gapless position order; keys and values of earlier positions are in its pages already. */
struct kernels_row {
    int32_t token;    /* 0 … V-1 */
    int32_t position; /* 0 … max_context-1 */
    int32_t table;    /* which page table of the batch */
};

/* How a device may choose the token of an output: engine/sampler.h says what the settings mean, which are
 * within their ranges. */
#define KERNELS_RECENT 64
struct kernels_sample {
    bool wanted;   /* false: the logits are asked for */
    bool logprobs; /* with the token, what logprobs() returns */
    int32_t n_top; /* and so many of the most likely ones: 0 … KERNELS_TOP_LOGPROBS */
    float temperature, top_p, min_p, repeat_penalty;
    int32_t top_k;
    double draw;           /* uniform, 0 <= draw < 1 */
    const uint32_t *mask;  /* bit id % 32 of mask[id / 32] is set for tokens that may come; NULL: all may */
    const int32_t *recent; /* what the penalty looks back at */
    int32_t n_recent;      /* 0 … KERNELS_RECENT */
};

/* Logarithms of the probabilities that the model gives: of its logits alone, before penalty, mask and
 * temperature. */
#define KERNELS_TOP_LOGPROBS 20
struct kernels_logprobs {
    float chosen; /* of the token */
    int32_t n_top;
    struct {
        int32_t token;
        float logprob;
    } top[KERNELS_TOP_LOGPROBS]; /* best first, of equal ones the lower token */
};

/* Borrowed from begin() to sync(). */
struct kernels_batch {
    const struct kernels_row *rows;
    int n_rows;
    /* Page table t starts at pages[t * pages_stride]; entry i is the page of positions i*64 … i*64+63. */
    const int32_t *pages;
    int pages_stride;
    const int32_t *outputs; /* indices of the rows whose logits are wanted, ascending */
    int n_outputs;
    /* One for each output, where the device has token(): it chooses, and logits stay with it until output()
     * asks for them. NULL: nothing is chosen. */
    const struct kernels_sample *samples;
};

/* What peek() can copy out: for tests and parity checks between devices. */
enum kernels_state { KERNELS_STATE_X, KERNELS_STATE_Q, KERNELS_STATE_ATTN, KERNELS_STATE_H };

struct kernels_device;

struct kernels_ops {
    const char *name; /* "cpu-reference", "cpu", "cuda" */

    void (*begin)(struct kernels_device *d, const struct kernels_batch *batch);
    /* x[r] = row token[r] of tok_embd. */
    void (*embed)(struct kernels_device *d);
    /* n = rms_norm(x) * attn_norm; q, k, v = Wq n, Wk n, Wv n; rotates q and k by position; writes k and v
     * into the pages. */
    void (*attn_in)(struct kernels_device *d, int layer);
    /* attn[r][h] = softmax(q[r][h] . K / sqrt(E)) V over positions 0 … position[r] of the row's session. */
    void (*attention)(struct kernels_device *d, int layer);
    /* x += Wo attn. */
    void (*attn_out)(struct kernels_device *d, int layer);
    /* n = rms_norm(x) * ffn_norm; h = silu(Wgate n) * (Wup n). */
    void (*ffn_in)(struct kernels_device *d, int layer);
    /* x += Wdown h. */
    void (*ffn_out)(struct kernels_device *d, int layer);
    /* logits[o] = output (rms_norm(x[outputs[o]]) * output_norm). */
    void (*logits)(struct kernels_device *d);

    /* Waits for the queue. 0, or the first failure since the last sync: -EINVAL for a row, page or layer out
     * of range, -EIO for the device. After a failure the batch has no result; the device may be used again
     * unless it was -EIO. */
    int (*sync)(struct kernels_device *d, char *err, size_t errlen);
    /* Logits of output o of the batch that was synced last: V floats, writable, the device's until the next
     * begin(). */
    float *(*output)(struct kernels_device *d, int o);
    /* The token chosen for output o of the batch that was synced last; -1 where none was: take output(). NULL
     * where the device cannot choose. */
    int32_t (*token)(const struct kernels_device *d, int o);
    /* Of an output that got a token and whose sample asked for them; false where that is not so. Within 1e-5
     * of what the logits give. NULL where token() is. */
    bool (*logprobs)(const struct kernels_device *d, int o, struct kernels_logprobs *out);
    /* Copies a state of one row of the running batch to `out` (width as above). -EINVAL for a row out of
     * range. */
    int (*peek)(struct kernels_device *d, enum kernels_state what, int row, float *out);

    /* Bytes of one KV page, all layers. */
    size_t (*page_bytes)(const struct kernels_device *d);
    /* Names how the bytes of a page come about and where they lie: what read_page() gave can be written to a
     * page of the same model on a device of equal name and equal page_bytes(). Borrowed until close(). */
    const char *(*page_layout)(const struct kernels_device *d);
    /* Between sync() and begin(): queues a copy of a whole page, all layers; steps of later batches find it
     * done. A page out of range fails at the next sync(). */
    void (*copy_page)(struct kernels_device *d, int32_t to, int32_t from);
    /* Between sync() and begin(): copies a page to host memory, and from there, at once; page_bytes() bytes.
     * 0, -EINVAL for a page out of range, -EIO for the device. */
    int (*read_page)(struct kernels_device *d, int32_t page, void *out);
    int (*write_page)(struct kernels_device *d, int32_t page, const void *from);
    /* The same without waiting, where a device can copy beside its steps; else these are NULL. Host memory
     * for it, zeroed; NULL when there is none left. It is the caller's, who frees it before close(). */
    void *(*alloc_host)(struct kernels_device *d, size_t bytes);
    void (*free_host)(struct kernels_device *d, void *memory);
    /* Between sync() and begin(): queues a copy of a page, page_bytes() bytes, to a place in such memory, or
     * from there. Whatever is queued later finds it done: steps, copies, moves from the same place. Only the
     * host must not look there. A page out of range fails at the next sync(). */
    void (*store_page)(struct kernels_device *d, int32_t page, void *to);
    void (*fetch_page)(struct kernels_device *d, int32_t page, const void *from);
    /* For people: "cpu (avx2, 2 threads)". Borrowed until close(). */
    const char *(*describe)(const struct kernels_device *d);
    void (*close)(struct kernels_device *d);
};

/* Every device begins with this. */
struct kernels_device {
    const struct kernels_ops *ops;
};

/* Bytes of the 64 keys (or values) of one page, layer and kv head. */
size_t kernels_kv_block_bytes(enum dtype kv_type, int head_dim);
/* Bytes of one KV page of a model, the same on all devices: 2 * layers * kv heads such blocks. */
size_t kernels_page_bytes(const struct kernels_model *m, enum dtype kv_type);
/* True when shapes fit together and every type is known; otherwise -EINVAL or -ENOTSUP with the sentence.
 * Devices call it first. */
HX_MUST_CHECK int kernels_check_config(const struct kernels_config *config, char *err, size_t errlen);
/* True when there is a page of that number. */
bool kernels_page_fits(const struct kernels_config *config, int32_t page);
/* True when rows, tables and outputs of a batch are within the config. */
bool kernels_batch_fits(const struct kernels_config *config, const struct kernels_batch *batch);

#endif
