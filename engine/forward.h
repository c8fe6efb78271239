/* The forward pass, once, over the layer steps of whatever device there is. [engine-thread] */
#ifndef ENGINE_FORWARD_H
#define ENGINE_FORWARD_H

#include "base/err.h"
#include "engine/model.h"
#include "kernels/kernels.h"

struct forward;

struct forward_config {
    int max_rows; /* 0: as many as the device reads a prompt with best, at least max_outputs */
    int max_outputs, max_context, n_pages;
    enum dtype kv_type; /* see kernels_config */
    int n_threads;      /* 0 = number of CPUs */
    int nice;
    bool exact;                     /* products in F32 throughout */
    enum kernels_copy copy_weights; /* see kernels_config; only for a model from files */
    bool reference;                 /* the oracle device instead of the fast one; for tests */
    const char *isa;                /* of the fast one, as cpu_open() has it; NULL: the best */
    const char
        *gpu_module;  /* the module of the GPU that runs the model (kernels/cuda/cuda.h); NULL: the CPU */
    struct gpus gpus; /* of the module: which ones share the model */
    int gpu_wait_ms;  /* see kernels_config */
};

/* Opens the device for `m`, which must outlive it. */
HX_MUST_CHECK int forward_open(const struct model *m, const struct forward_config *config,
                               struct forward **out, char *err, size_t errlen);
void forward_close(struct forward *f);

/* Rows of a batch at most. */
int forward_max_rows(const struct forward *f);
/* Bytes that the device of `config` takes at most beside weights, keys and values. */
size_t forward_scratch_bytes(const struct model *m, const struct forward_config *config);

/* Runs a batch to its end: 0 or sync()'s error. */
HX_MUST_CHECK int forward_run(struct forward *f, const struct kernels_batch *batch, char *err, size_t errlen);
/* Logits of output `o` of the last batch, n_vocab floats, writable, valid until the next batch. */
float *forward_logits(struct forward *f, int o);

/* True where the device can choose tokens (kernels_batch.samples); the one it chose for output `o` of the
 * last batch, -1 where it did not. */
bool forward_chooses(const struct forward *f);
int32_t forward_token(const struct forward *f, int o);
/* Of a token that the device chose, where they were asked for; else false. */
bool forward_logprobs(const struct forward *f, int o, struct kernels_logprobs *out);

/* The device's pages, as kernels_ops says; between batches. */
void forward_copy_page(struct forward *f, int32_t to, int32_t from);
HX_MUST_CHECK int forward_read_page(struct forward *f, int32_t page, void *out);
HX_MUST_CHECK int forward_write_page(struct forward *f, int32_t page, const void *from);
/* NULL where store and fetch are not there. */
void *forward_alloc_host(struct forward *f, size_t bytes);
void forward_free_host(struct forward *f, void *memory);
bool forward_moves_pages(const struct forward *f);
void forward_store_page(struct forward *f, int32_t page, void *to);
void forward_fetch_page(struct forward *f, int32_t page, const void *from);
size_t forward_device_page_bytes(const struct forward *f);
const char *forward_page_layout(const struct forward *f); /* borrowed until forward_close() */

/* "cpu (avx2, 2 threads)"; borrowed until forward_close(). */
const char *forward_device(const struct forward *f);
/* Bytes of one KV page of `m`, but for the padding of odd head sizes that a device may add. */
size_t forward_page_bytes(const struct model *m, enum dtype kv_type);

#endif
