/* Choosing tokens on the GPU: its memory, what a batch wants, and what came out. */
#include "kernels/cuda/device.h"

#include <errno.h>
#include <string.h>

/* Ints of a mask. */
static size_t mask_words(const struct cuda_device *d) {
    return ((size_t)d->config.model.n_vocab + 31) / 32;
}

int choose_init(struct cuda_device *d, char *err, size_t errlen) {
    struct cuda_choice *c = &d->choice;
    size_t outputs = (size_t)d->config.max_outputs, vocab = (size_t)d->config.model.n_vocab;
    size_t chunks = (size_t)steps_sample_chunks((int)vocab);
    size_t blocks = (vocab + CUDA_SAMPLE_BLOCK - 1) / CUDA_SAMPLE_BLOCK, bins = CUDA_SAMPLE_BINS;
    c->can = vocab <= CUDA_SAMPLE_VOCAB;
    c->host_how = gpu_alloc_host(outputs * sizeof *c->host_how);
    c->host_masks = gpu_alloc_host(outputs * mask_words(d) * 4);
    c->host_tokens = gpu_alloc_host(outputs * 4);
    c->how = gpu_alloc(outputs * sizeof *c->how, GPU_KEPT);
    c->masks = gpu_alloc(outputs * mask_words(d) * 4, GPU_KEPT);
    c->work = gpu_alloc(outputs * vocab * 4, GPU_TRANSIENT);
    c->best = gpu_alloc(outputs * chunks * 4, GPU_TRANSIENT);
    c->best_id = gpu_alloc(outputs * chunks * 4, GPU_TRANSIENT);
    c->sums = gpu_alloc(outputs * blocks * 4, GPU_TRANSIENT);
    c->counts = gpu_alloc(outputs * bins * 4, GPU_TRANSIENT);
    c->weights = gpu_alloc(outputs * bins * 8, GPU_TRANSIENT);
    c->tokens = gpu_alloc(outputs * 4, GPU_TRANSIENT);
    const void *all[] = {c->host_how, c->host_masks, c->host_tokens, c->how,    c->masks,   c->work,
                         c->best,     c->best_id,    c->sums,        c->counts, c->weights, c->tokens};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i] == NULL)
            return cuda_no_memory(outputs * vocab * 4, "choosing tokens", err, errlen);
    return 0;
}

void choose_finish(struct cuda_device *d) {
    struct cuda_choice *c = &d->choice;
    void *device[] = {c->how,  c->masks,  c->work,    c->best,  c->best_id,
                      c->sums, c->counts, c->weights, c->tokens};
    for (size_t i = 0; i < sizeof device / sizeof device[0]; i++)
        gpu_free(device[i]);
    gpu_free_host(c->host_how);
    gpu_free_host(c->host_masks);
    gpu_free_host(c->host_tokens);
}

static enum cuda_sample_mode mode_of(const struct cuda_device *d, const struct kernels_sample *s) {
    if (!s->wanted || !d->choice.can || s->n_recent > CUDA_SAMPLE_RECENT)
        return CUDA_SAMPLE_NOT;
    if (s->temperature <= 0 || s->top_k == 1)
        return CUDA_SAMPLE_LARGEST;
    return s->top_k == 0 && s->top_p >= 1 && s->min_p <= 0 ? CUDA_SAMPLE_ANY : CUDA_SAMPLE_SOME;
}

static struct cuda_sample_how how_of(const struct cuda_device *d, const struct kernels_sample *s) {
    struct cuda_sample_how how = {.draw = s->draw,
                                  .inverse = s->temperature > 0 ? 1 / s->temperature : 1,
                                  .top_p = s->top_p,
                                  .min_p = s->min_p,
                                  .penalty = s->repeat_penalty,
                                  .mode = mode_of(d, s),
                                  .top_k = s->top_k,
                                  .masked = s->mask != NULL};
    if (how.mode != CUDA_SAMPLE_NOT && s->repeat_penalty != 1 && s->n_recent > 0) {
        how.n_recent = s->n_recent;
        memcpy(how.recent, s->recent, (size_t)s->n_recent * sizeof *s->recent);
    }
    return how;
}

int choose_begin(struct cuda_device *d, const struct kernels_batch *b) {
    struct cuda_choice *c = &d->choice;
    size_t words = mask_words(d), n = (size_t)b->n_outputs, n_masks = 0;
    c->wanted = b->samples != NULL && n > 0;
    if (n > 0)
        memset(d->logits_here, !c->wanted, n * sizeof *d->logits_here);
    if (!c->wanted)
        return 0;
    for (size_t o = 0; o < n; o++) {
        c->host_how[o] = how_of(d, &b->samples[o]);
        if (b->samples[o].mask == NULL || c->host_how[o].mode == CUDA_SAMPLE_NOT)
            continue;
        memcpy(c->host_masks + o * words, b->samples[o].mask, words * 4);
        n_masks = o + 1;
    }
    int rc = gpu_upload(d->stream, c->how, c->host_how, n * sizeof *c->how);
    if (rc == 0 && n_masks > 0)
        rc = gpu_upload(d->stream, c->masks, c->host_masks, n_masks * words * 4);
    return rc;
}

int choose_queue(struct cuda_device *d, int n_outputs) {
    const struct cuda_choice *c = &d->choice;
    const struct cuda_sample p = {.batch = d->batch,
                                  .how = c->how,
                                  .masks = c->masks,
                                  .logits = d->logits,
                                  .work = c->work,
                                  .best = c->best,
                                  .best_id = c->best_id,
                                  .sums = c->sums,
                                  .counts = c->counts,
                                  .weights = c->weights,
                                  .tokens = c->tokens,
                                  .n_vocab = d->config.model.n_vocab};
    int rc = steps_sample(d->stream, &p, n_outputs);
    return rc ? rc : gpu_download(d->stream, c->host_tokens, c->tokens, (size_t)n_outputs * 4);
}

int32_t choose_token(const struct cuda_device *d, int o) {
    return d->choice.wanted ? d->choice.host_tokens[o] : -1;
}
