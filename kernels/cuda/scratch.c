/* How much of its memory a GPU needs beside weights, keys and values, worked out where there is none. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.h"

/* NCCL's buffers: 4 MiB for each of up to 32 channels (NCCL documentation, "NCCL_BUFFSIZE"), to send and to
 * receive. */
#define LINK_BYTES ((size_t)256 << 20)

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Of one row of a batch: x, q, attn and h; the results of the widest step; all forms of inputs; its place and
 * its page table. */
static size_t row_bytes(const struct kernels_config *c) {
    const struct kernels_model *m = &c->model;
    size_t dim = (size_t)m->dim + 16, q = (size_t)m->n_heads * (size_t)m->head_dim + 16;
    size_t kv = (size_t)m->n_kv_heads * (size_t)m->head_dim, ffn = (size_t)m->ffn_dim + 16;
    size_t widest = larger(larger(ffn, q), dim), step = larger(larger(2 * ffn, q + 2 * kv), dim);
    size_t prepared = (size_t)steps_prepared_cols((int)widest);
    size_t forms = prepared * (2 + 2 + 1 + 1) + prepared / 32 * sizeof(struct cuda_rounded) + 8;
    size_t pages = ((size_t)c->max_context + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS;
    return (dim + 2 * q + ffn + step + 6 + pages) * 4 + forms;
}

/* Parts of attention, of as many rows as have them by themselves. */
static size_t attention_bytes(const struct kernels_config *c) {
    size_t rows = (size_t)c->max_rows, heads = (size_t)c->model.n_heads;
    size_t splits = ((size_t)c->max_context + CUDA_SPLIT_TOKENS - 1) / CUDA_SPLIT_TOKENS;
    if (steps_attention_tensor_can(c->kv_type == DTYPE_F16, c->model.head_dim) && rows > CUDA_MAX_SINGLES)
        rows = CUDA_MAX_SINGLES;
    splits = splits < CUDA_SPLITS ? splits : CUDA_SPLITS;
    return rows * heads * (splits * ((size_t)c->model.head_dim + 2) + 1) * 4;
}

/* What choosing the token of one output takes beside its logits. */
static size_t choice_bytes(const struct kernels_config *c) {
    size_t vocab = (size_t)c->model.n_vocab;
    size_t blocks = vocab / CUDA_SAMPLE_BLOCK + 1, chunks = (size_t)steps_sample_chunks((int)vocab);
    size_t logprobs = chunks * (CUDA_LOGPROB_TOP * 8 + 4) + sizeof(struct cuda_logprob);
    return vocab * 4 + (vocab / 32 + 1) * 4 + chunks * 8 + blocks * 4 + CUDA_SAMPLE_BINS * 12 +
           sizeof(struct cuda_sample_how) + logprobs + 8;
}

/* A matrix made ready for the library, or as much of it as is made at once. */
static size_t panel_bytes(const struct kernels_config *c) {
    const size_t most = (size_t)64 << 20;
    const struct kernels_model *m = &c->model;
    size_t q = (size_t)m->n_heads * (size_t)m->head_dim, dim = (size_t)m->dim, ffn = (size_t)m->ffn_dim;
    size_t wide = larger((size_t)steps_prepared_cols(m->dim) * larger(ffn, q),
                         (size_t)steps_prepared_cols((int)larger(ffn, q)) * dim);
    return wide * 2 < most ? wide * 2 : most;
}

/* Parts of tiles of products that several blocks share. */
static size_t wide_bytes(const struct kernels_config *c) {
    const struct kernels_model *m = &c->model;
    int q = steps_wide_pairs((m->n_heads * m->head_dim + 1) / 2);
    int kv = steps_wide_pairs((m->n_kv_heads * m->head_dim + 1) / 2);
    int tiles =
        steps_wide_shared(q + 2 * kv, steps_wide_pairs((m->dim + 1) / 2), steps_wide_pairs(m->ffn_dim));
    return c->exact || c->max_rows <= 32 ? 0 : (size_t)tiles * CUDA_WIDE_BYTES;
}

/* Attention's and the feed-forward part's results as the next product takes them. */
static size_t ready_bytes(const struct kernels_config *c) {
    size_t rows = c->max_rows < CUDA_LARGE_ROWS ? (size_t)c->max_rows : CUDA_LARGE_ROWS;
    size_t q = (size_t)c->model.n_heads * (size_t)c->model.head_dim;
    return c->exact || rows < 2 ? 0 : rows * (q + (size_t)c->model.ffn_dim) * 2;
}

/* Slots for pages on their way; see struct cuda_cache for how they lie. */
static size_t slot_bytes(const struct kernels_config *c) {
    const struct kernels_model *m = &c->model;
    size_t row = ((size_t)m->head_dim + 7) / 8 * 8 * (c->kv_type == DTYPE_F16 ? 2 : 4);
    size_t page = row * KERNELS_PAGE_TOKENS * 2 * (size_t)m->n_kv_heads * (size_t)m->n_layers;
    return cuda_move_slots(page) * page;
}

/* Of a GPU that leaves choosing to another. */
static size_t bytes_of_one(const struct kernels_config *c) {
    size_t angles = (size_t)c->max_context * (size_t)c->model.head_dim * 4;
    size_t logits = (size_t)c->max_outputs * (size_t)c->model.n_vocab * 4;
    size_t bytes = (size_t)c->max_rows * row_bytes(c) + attention_bytes(c) + logits + panel_bytes(c) +
                   angles + wide_bytes(c) + ready_bytes(c);
    size_t libraries = !c->exact && c->max_rows > CUDA_LARGE_ROWS ? CUDA_LIBRARY_BYTES : 0;
    /* lists of a few numbers each are not counted one by one */
    return bytes + bytes / 16 + 4096 + slot_bytes(c) + libraries;
}

static int share(int all, int n) {
    return (all + n - 1) / n;
}

size_t cuda_scratch_bytes(const struct kernels_config *c) {
    struct kernels_config part = *c;
    int n = gpus_count(&c->gpus);
    size_t choice = (size_t)c->max_outputs * choice_bytes(c);
    part.model.n_heads = share(c->model.n_heads, n);
    part.model.n_kv_heads = share(c->model.n_kv_heads, n);
    part.model.ffn_dim = share(c->model.ffn_dim, n);
    return choice + choice / 16 + (bytes_of_one(&part) + (n > 1 ? LINK_BYTES : 0)) * (size_t)n;
}
