#include "kernels/cuda/ranks.h"

#include "kernels/cuda/link.h"
#include "kernels/cuda/part.h"
#include "kernels/cuda/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

/* A rank that has nothing on its GPU yet. */
static int make(const struct kernels_config *config, int rank, struct cuda_device **out, char *err,
                size_t errlen) {
    const struct kernels_model *m = &config->model;
    int n = gpus_count(&config->gpus);
    struct cuda_device *d = calloc(1, sizeof *d);
    if (d == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the GPU device.");
    *out = d;
    d->config = *config;
    d->rank = rank;
    d->n_ranks = n;
    d->gpu = -1; /* not opened yet */
    d->tied = m->output.data == m->tok_embd.data && m->output.type == m->tok_embd.type;
    d->first_output = part_head(m->n_vocab, rank, n).first;
    d->part_layers = calloc((size_t)m->n_layers, sizeof *d->part_layers);
    d->table_ids = calloc((size_t)config->max_rows, sizeof *d->table_ids);
    if (d->part_layers == NULL || d->table_ids == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the GPU device.");
    part_of(m, rank, n, d->part_layers, &d->config.model);
    int gpu = gpus_id(&config->gpus, rank), rc = gpu_open(gpu, d->describe, sizeof d->describe, err, errlen);
    d->gpu = rc == 0 ? gpu : -1;
    return rc;
}

/* All ranks without memory, and what connects them. */
static int make_all(const struct kernels_config *config, struct cuda_device **out, char *err, size_t errlen) {
    struct cuda_device *d = NULL;
    int n = gpus_count(&config->gpus), rc = make(config, 0, &d, err, errlen);
    *out = d;
    if (d == NULL)
        return rc;
    d->ranks[0] = d;
    for (int i = 1; i < n && rc == 0; i++)
        rc = make(config, i, &d->ranks[i], err, errlen);
    if (rc == 0 && n > 1) {
        size_t len = strlen(d->describe);
        (void)snprintf(d->describe + len, sizeof d->describe - len, ", %d GPUs", n);
        rc = gpu_link_open(&config->gpus, &d->link, err, errlen);
    }
    return rc;
}

/* Does something on all ranks; the sentence says which GPU it was where there are several. */
static int on_each(struct cuda_device *d, int (*what)(struct cuda_device *, char *, size_t), char *err,
                   size_t errlen) {
    char why[300] = "";
    int rc = 0;
    for (int i = 0; i < d->n_ranks && rc == 0; i++) {
        rc = gpu_use(d->ranks[i]->gpu);
        rc = rc ? rc : what(d->ranks[i], why, sizeof why);
        if (rc < 0)
            (void)(d->n_ranks > 1 ? err_set(err, errlen, rc, "GPU %d: %s", d->ranks[i]->gpu, why)
                                  : err_set(err, errlen, rc, "%s", why));
    }
    return rc;
}

int ranks_open(const struct kernels_config *config, struct cuda_device **out, char *err, size_t errlen) {
    struct cuda_device *d = NULL;
    int rc = make_all(config, &d, err, errlen);
    rc = rc ? rc : on_each(d, cuda_memory_weights, err, errlen);
    if (rc == 0 && f8_choose(d) < 0)
        rc = err_set(err, errlen, -EIO, "The GPU has failed: %s.", gpu_failure());
    rc = rc ? rc : on_each(d, cuda_memory_init, err, errlen);
    if (rc < 0)
        ranks_close(d);
    else
        *out = d;
    return rc;
}

static void close_rank(struct cuda_device *d) {
    if (d == NULL)
        return;
    if (d->gpu >= 0)
        (void)gpu_use(d->gpu);
    cuda_memory_finish(d);
    free(d->part_layers);
    free(d->table_ids);
    free(d);
}

void ranks_close(struct cuda_device *d) {
    if (d == NULL)
        return;
    record_finish(d);
    gpu_link_close(d->link);
    for (int i = d->n_ranks - 1; i >= 0; i--)
        close_rank(d->ranks[i]);
}

/* ---- the batch ---- */

static int lost(void *link) {
    return gpu_link_check(link);
}

int ranks_sync(struct cuda_device *d) {
    struct gpu_stream *streams[GPUS_MAX];
    int n = 0;
    for (int i = 0; i < d->n_ranks; i++)
        if (d->ranks[i] != NULL && d->ranks[i]->stream != NULL) /* while it is being opened */
            streams[n++] = d->ranks[i]->stream;
    /* Whatever thread this is: one that has used none yet would start the first GPU. */
    int rc = n > 0 ? gpu_use(d->gpu) : 0;
    return rc == 0 && n > 0 ? gpu_sync_all(streams, n, d->link != NULL ? lost : NULL, d->link) : rc;
}

int ranks_upload_batch(struct cuda_device *d, size_t n) {
    int rc = 0;
    for (int i = 0; i < d->n_ranks && rc == 0; i++) {
        struct cuda_device *r = d->ranks[i];
        rc = gpu_use(r->gpu);
        rc = rc ? rc : gpu_upload(r->stream, r->device_batch, d->host_batch, n * sizeof *d->host_batch);
    }
    return rc ? rc : gpu_use(d->gpu);
}

enum what { X, LOGITS, MOST };

/* On one rank, whose GPU is in use. */
static int come(struct cuda_device *d, const struct cuda_device *r, enum what what, size_t n) {
    if (what == MOST)
        return gpu_link_largest(d->link, r->rank, r->stream, r->prepared.f8_most, n);
    return gpu_link_sum(d->link, r->rank, r->stream, what == LOGITS ? r->logits : r->x, n);
}

static int add_up(struct cuda_device *d, enum what what, size_t n) {
    int rc = d->n_ranks > 1 ? gpu_link_begin(d->link) : 0;
    for (int i = 0; i < d->n_ranks && d->n_ranks > 1 && rc == 0; i++) {
        struct cuda_device *r = d->ranks[i];
        rc = gpu_use(r->gpu);
        rc = rc ? rc : come(d, r, what, n);
    }
    return rc == 0 && d->n_ranks > 1 ? gpu_link_end(d->link) : rc;
}

int ranks_add_x(struct cuda_device *d) {
    return add_up(d, X, (size_t)d->now.rows * (size_t)d->shape.x_stride);
}

int ranks_add_logits(struct cuda_device *d) {
    return add_up(d, LOGITS, (size_t)d->now.outputs * (size_t)d->config.model.n_vocab);
}

int ranks_largest(struct cuda_device *d) {
    return add_up(d, MOST, (size_t)d->now.rows);
}

/* ---- pages ---- */

size_t ranks_page_bytes(const struct cuda_device *d) {
    return (size_t)d->cache.page_bytes * (size_t)d->n_ranks;
}

int ranks_copy_page(struct cuda_device *d, int32_t to, int32_t from) {
    int rc = 0;
    for (int i = 0; i < d->n_ranks && rc == 0; i++) {
        struct cuda_device *r = d->ranks[i];
        rc = gpu_use(r->gpu);
        rc =
            rc ? rc
               : gpu_copy(r->stream, cuda_page_at(r, to), cuda_page_at(r, from), (size_t)r->cache.page_bytes);
    }
    return rc;
}

int ranks_read_page(struct cuda_device *d, int32_t page, void *out) {
    int rc = ranks_sync(d);
    for (int i = 0; i < d->n_ranks && rc == 0; i++) {
        struct cuda_device *r = d->ranks[i];
        size_t bytes = (size_t)r->cache.page_bytes;
        rc = gpu_use(r->gpu);
        rc = rc ? rc : gpu_download_now((uint8_t *)out + bytes * (size_t)i, cuda_page_at(r, page), bytes);
    }
    return rc;
}

int ranks_write_page(struct cuda_device *d, int32_t page, const void *from) {
    int rc = ranks_sync(d);
    for (int i = 0; i < d->n_ranks && rc == 0; i++) {
        struct cuda_device *r = d->ranks[i];
        size_t bytes = (size_t)r->cache.page_bytes;
        rc = gpu_use(r->gpu);
        rc =
            rc ? rc : gpu_upload_now(cuda_page_at(r, page), (const uint8_t *)from + bytes * (size_t)i, bytes);
    }
    return rc;
}
