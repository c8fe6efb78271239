#include "engine/forward.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"

#include <errno.h>
#include <stdlib.h>

struct forward {
    struct kernels_device *device;
    struct kernels_layer *layers; /* n_layers; the device borrows them */
    int n_layers, max_rows;
};

static struct kernels_model describe(const struct model *m, const struct kernels_layer *layers) {
    return (struct kernels_model){.n_layers = m->n_layers,
                                  .n_heads = m->n_heads,
                                  .n_kv_heads = m->n_kv_heads,
                                  .head_dim = m->head_dim,
                                  .dim = m->dim,
                                  .ffn_dim = m->ffn_dim,
                                  .n_vocab = m->n_vocab,
                                  .rms_eps = m->rms_eps,
                                  .rope_layout = m->rope_layout,
                                  .rope_inv_freq = m->rope_inv_freq,
                                  .tok_embd = m->tok_embd,
                                  .output_norm = m->output_norm,
                                  .output = m->output,
                                  .layers = layers};
}

/* What the device is opened with. */
static struct kernels_config fill(const struct model *m, const struct kernels_layer *layers,
                                  const struct forward_config *config) {
    int suits = config->gpu_module != NULL ? CUDA_STEP_ROWS : CPU_STEP_ROWS;
    suits = suits > config->max_outputs ? suits : config->max_outputs;
    return (struct kernels_config){.model = describe(m, layers),
                                   .max_rows = config->max_rows > 0 ? config->max_rows : suits,
                                   .max_outputs = config->max_outputs,
                                   .max_context = config->max_context,
                                   .n_pages = config->n_pages,
                                   .kv_type = config->kv_type,
                                   .n_threads = config->n_threads,
                                   .nice = config->nice,
                                   .exact = config->exact,
                                   .copy_weights = m->files != NULL ? config->copy_weights : KERNELS_COPY_NOT,
                                   .gpus = config->gpus,
                                   .gpu_wait_ms = config->gpu_wait_ms};
}

int forward_open(const struct model *m, const struct forward_config *config, struct forward **out, char *err,
                 size_t errlen) {
    struct forward *f = calloc(1, sizeof *f);
    struct kernels_layer *layers = calloc((size_t)m->n_layers, sizeof *layers);
    if (f == NULL || layers == NULL) {
        free(f);
        free(layers);
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the forward pass.");
    }
    for (int i = 0; i < m->n_layers; i++) {
        const struct model_layer *l = &m->layers[i];
        layers[i] = (struct kernels_layer){.attn_norm = l->attn_norm,
                                           .wq = l->wq,
                                           .wk = l->wk,
                                           .wv = l->wv,
                                           .wo = l->wo,
                                           .ffn_norm = l->ffn_norm,
                                           .w_gate = l->w_gate,
                                           .w_up = l->w_up,
                                           .w_down = l->w_down};
    }
    f->layers = layers;
    f->n_layers = m->n_layers;
    struct kernels_config kernels = fill(m, layers, config);
    f->max_rows = kernels.max_rows;
    int rc = config->gpu_module != NULL ? cuda_open(config->gpu_module, &kernels, &f->device, err, errlen)
             : config->reference        ? cpu_reference_open(&kernels, &f->device, err, errlen)
                                        : cpu_open(&kernels, config->isa, &f->device, err, errlen);
    if (rc < 0) {
        forward_close(f);
        return rc;
    }
    *out = f;
    return 0;
}

void forward_close(struct forward *f) {
    if (f == NULL)
        return;
    if (f->device != NULL)
        f->device->ops->close(f->device);
    free(f->layers);
    free(f);
}

int forward_max_rows(const struct forward *f) {
    return f->max_rows;
}

size_t forward_scratch_bytes(const struct model *m, const struct forward_config *config) {
    struct kernels_config kernels = fill(m, NULL, config);
    return config->gpu_module != NULL ? cuda_scratch_bytes(&kernels) : cpu_scratch_bytes(&kernels);
}

int forward_run(struct forward *f, const struct kernels_batch *batch, char *err, size_t errlen) {
    struct kernels_device *d = f->device;
    const struct kernels_ops *ops = d->ops;
    ops->begin(d, batch);
    ops->embed(d);
    for (int l = 0; l < f->n_layers; l++) {
        ops->attn_in(d, l);
        ops->attention(d, l);
        ops->attn_out(d, l);
        ops->ffn_in(d, l);
        ops->ffn_out(d, l);
    }
    ops->logits(d);
    return ops->sync(d, err, errlen);
}

float *forward_logits(struct forward *f, int o) {
    return f->device->ops->output(f->device, o);
}

void forward_copy_page(struct forward *f, int32_t to, int32_t from) {
    f->device->ops->copy_page(f->device, to, from);
}

bool forward_chooses(const struct forward *f) {
    return f->device->ops->token != NULL;
}

int32_t forward_token(const struct forward *f, int o) {
    return f->device->ops->token(f->device, o);
}

bool forward_logprobs(const struct forward *f, int o, struct kernels_logprobs *out) {
    return f->device->ops->logprobs(f->device, o, out);
}

int forward_read_page(struct forward *f, int32_t page, void *out) {
    return f->device->ops->read_page(f->device, page, out);
}

int forward_write_page(struct forward *f, int32_t page, const void *from) {
    return f->device->ops->write_page(f->device, page, from);
}

bool forward_moves_pages(const struct forward *f) {
    return f->device->ops->store_page != NULL;
}

void *forward_alloc_host(struct forward *f, size_t bytes) {
    return f->device->ops->alloc_host != NULL ? f->device->ops->alloc_host(f->device, bytes) : NULL;
}

void forward_free_host(struct forward *f, void *memory) {
    f->device->ops->free_host(f->device, memory);
}

void forward_store_page(struct forward *f, int32_t page, void *to) {
    f->device->ops->store_page(f->device, page, to);
}

void forward_fetch_page(struct forward *f, int32_t page, const void *from) {
    f->device->ops->fetch_page(f->device, page, from);
}

size_t forward_device_page_bytes(const struct forward *f) {
    return f->device->ops->page_bytes(f->device);
}

const char *forward_page_layout(const struct forward *f) {
    return f->device->ops->page_layout(f->device);
}

const char *forward_device(const struct forward *f) {
    return f->device->ops->describe(f->device);
}

size_t forward_page_bytes(const struct model *m, enum dtype kv_type) {
    struct kernels_model k = describe(m, NULL);
    return kernels_page_bytes(&k, kv_type);
}
