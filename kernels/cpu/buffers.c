/* The memory of a batch on the CPU device: one mapping, of which only what batches have used takes memory. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Cuts a mapping into buffers; without one, only counts. */
struct cut {
    uint8_t *base;
    size_t at;
};

/* n floats on a cache line, NULL while counting. */
static float *floats(struct cut *c, size_t n) {
    size_t from = c->at;
    c->at += (n * sizeof(float) + 63) / 64 * 64;
    return c->base == NULL ? NULL : (float *)(void *)(c->base + from);
}

static size_t padded(int64_t n) {
    return ((size_t)n + 15) / 16 * 16;
}

/* Of rows that products take: an odd number of cache lines, because those that begin 4 KB from each other
 * would be in the same few sets of the caches. */
static size_t odd(int64_t n) {
    return (padded(n) / 16 | 1) * 16;
}

static void set_widths(struct cpu_device *d) {
    const struct kernels_model *m = &d->config.model;
    d->w_dim = odd(m->dim);
    d->w_q = odd((int64_t)m->n_heads * m->head_dim);
    d->w_kv = padded((int64_t)m->n_kv_heads * m->head_dim);
    d->w_ffn = odd(m->ffn_dim);
    d->w_vocab = padded(m->n_vocab);
    d->scores_stride = padded(((int64_t)d->config.max_context + KERNELS_PAGE_TOKENS) / KERNELS_PAGE_TOKENS *
                              KERNELS_PAGE_TOKENS) +
                       64;
    d->page_bytes = kernels_page_bytes(m, d->config.kv_type);
}

static void cut_states(struct cpu_device *d, struct cut *c, size_t rows) {
    d->x = floats(c, rows * d->w_dim);
    d->norm = floats(c, rows * d->w_dim);
    d->delta = d->norm; /* what a projection gives; its input is never the norm */
    /* Nothing of attention is wanted any more once the feed-forward part begins, and the other way round. */
    struct cut ffn = *c;
    d->q = floats(c, rows * d->w_q);
    d->attn = floats(c, rows * d->w_q);
    d->k = floats(c, rows * d->w_kv);
    d->v = floats(c, rows * d->w_kv);
    d->h = floats(&ffn, rows * d->w_ffn);
    d->up = floats(&ffn, rows * d->w_ffn);
    c->at = c->at > ffn.at ? c->at : ffn.at;
}

static void cut_all(struct cpu_device *d, struct cut *c, int n_threads) {
    const struct kernels_config *config = &d->config;
    const struct kernels_model *m = &config->model;
    size_t rows = (size_t)(config->max_rows > config->max_outputs ? config->max_rows : config->max_outputs);
    size_t widest = d->w_ffn > d->w_q ? d->w_ffn : d->w_q;
    widest = widest > d->w_dim ? widest : d->w_dim;
    cut_states(d, c, rows);
    d->rope_cos = floats(c, rows * (size_t)m->head_dim / 2);
    d->rope_sin = floats(c, rows * (size_t)m->head_dim / 2);
    d->rounded = (uint8_t *)floats(c, rows * CPU_Q8_ROW_BYTES(widest) / 4);
    d->norms = floats(c, ((size_t)m->n_layers * 2 + 1) * d->w_dim);
    d->scores = floats(c, (size_t)n_threads * (size_t)(m->n_heads / m->n_kv_heads) * d->scores_stride);
    d->logits = floats(c, (size_t)config->max_outputs * d->w_vocab);
}

size_t cpu_scratch_bytes(const struct kernels_config *config) {
    struct cpu_device d = {.config = *config};
    struct cut count = {0};
    set_widths(&d);
    cut_all(&d, &count, pool_threads(config->n_threads));
    return count.at;
}

static void *map(size_t bytes, int flags) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

int cpu_buffers_init(struct cpu_device *d) {
    const struct kernels_model *m = &d->config.model;
    struct cut count = {0};
    set_widths(d);
    cut_all(d, &count, pool_n_threads(d->pool));
    d->buffer_bytes = count.at;
    d->kv_bytes = d->page_bytes * (size_t)d->config.n_pages;
    d->buffers = map(d->buffer_bytes, 0);
    d->kv = map(d->kv_bytes, MAP_NORESERVE);
    if (d->buffers == NULL || d->kv == NULL)
        return -ENOMEM;
    (void)madvise(d->kv, d->kv_bytes,
                  MADV_HUGEPAGE); /* fewer address lookups in long contexts; a hint only */
    struct cut cut = {.base = d->buffers};
    cut_all(d, &cut, pool_n_threads(d->pool));
    for (int l = 0; l < m->n_layers; l++) {
        memcpy(d->norms + (size_t)(l * 2) * d->w_dim, m->layers[l].attn_norm.data, (size_t)m->dim * 4);
        memcpy(d->norms + (size_t)(l * 2 + 1) * d->w_dim, m->layers[l].ffn_norm.data, (size_t)m->dim * 4);
    }
    memcpy(d->norms + (size_t)m->n_layers * 2 * d->w_dim, m->output_norm.data, (size_t)m->dim * 4);
    return 0;
}

void cpu_buffers_finish(struct cpu_device *d) {
    if (d->buffers != NULL)
        (void)munmap(d->buffers, d->buffer_bytes);
    if (d->kv != NULL)
        (void)munmap(d->kv, d->kv_bytes);
}
