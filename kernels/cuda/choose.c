/* Choosing tokens on the GPU: its memory, what a batch wants, and what came out. */
#include "kernels/cuda/device.h"

#include <errno.h>
#include <math.h>
#include <string.h>

_Static_assert(CUDA_LOGPROB_TOP == KERNELS_TOP_LOGPROBS, "the kernels' lists are as long as the device's");

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
    c->host_of = gpu_alloc_host(outputs * sizeof *c->host_of);
    c->how = gpu_alloc(outputs * sizeof *c->how, GPU_KEPT);
    c->masks = gpu_alloc(outputs * mask_words(d) * 4, GPU_KEPT);
    c->work = gpu_alloc(outputs * vocab * 4, GPU_TRANSIENT);
    c->best = gpu_alloc(outputs * chunks * 4, GPU_TRANSIENT);
    c->best_id = gpu_alloc(outputs * chunks * 4, GPU_TRANSIENT);
    c->sums = gpu_alloc(outputs * blocks * 4, GPU_TRANSIENT);
    c->counts = gpu_alloc(outputs * bins * 4, GPU_TRANSIENT);
    c->weights = gpu_alloc(outputs * bins * 8, GPU_TRANSIENT);
    c->tokens = gpu_alloc(outputs * 4, GPU_TRANSIENT);
    c->top = gpu_alloc(outputs * chunks * CUDA_LOGPROB_TOP * 4, GPU_TRANSIENT);
    c->top_id = gpu_alloc(outputs * chunks * CUDA_LOGPROB_TOP * 4, GPU_TRANSIENT);
    c->chunk_sums = gpu_alloc(outputs * chunks * 4, GPU_TRANSIENT);
    c->of = gpu_alloc(outputs * sizeof *c->of, GPU_TRANSIENT);
    const void *all[] = {c->host_how, c->host_masks, c->host_tokens, c->host_of,    c->how,    c->masks,
                         c->work,     c->best,       c->best_id,     c->sums,       c->counts, c->weights,
                         c->tokens,   c->top,        c->top_id,      c->chunk_sums, c->of};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i] == NULL)
            return cuda_no_memory(outputs * vocab * 4, "choosing tokens", err, errlen);
    return 0;
}

void choose_finish(struct cuda_device *d) {
    struct cuda_choice *c = &d->choice;
    void *device[] = {c->how,     c->masks,  c->work, c->best,   c->best_id,    c->sums, c->counts,
                      c->weights, c->tokens, c->top,  c->top_id, c->chunk_sums, c->of};
    for (size_t i = 0; i < sizeof device / sizeof device[0]; i++)
        gpu_free(device[i]);
    gpu_free_host(c->host_how);
    gpu_free_host(c->host_masks);
    gpu_free_host(c->host_tokens);
    gpu_free_host(c->host_of);
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
                                  .mask = -1,
                                  .logprobs = s->logprobs,
                                  .n_top = s->n_top < CUDA_LOGPROB_TOP ? s->n_top : CUDA_LOGPROB_TOP};
    if (how.mode != CUDA_SAMPLE_NOT && s->repeat_penalty != 1 && s->n_recent > 0) {
        how.n_recent = s->n_recent;
        memcpy(how.recent, s->recent, (size_t)s->n_recent * sizeof *s->recent);
    }
    return how;
}

/* What the batch's outputs want, and the masks among it, one after the other. Returns how many these are. */
static size_t write_wishes(struct cuda_device *d, const struct kernels_sample *samples, size_t n) {
    struct cuda_choice *c = &d->choice;
    size_t words = mask_words(d), n_masks = 0;
    c->logprobs = false;
    for (size_t o = 0; o < n; o++) {
        struct cuda_sample_how *how = &c->host_how[o];
        *how = how_of(d, &samples[o]);
        if (how->mode == CUDA_SAMPLE_NOT)
            continue;
        c->logprobs = c->logprobs || samples[o].logprobs;
        if (samples[o].mask == NULL)
            continue;
        how->mask = (int32_t)n_masks;
        memcpy(c->host_masks + n_masks++ * words, samples[o].mask, words * 4);
    }
    return n_masks;
}

int choose_begin(struct cuda_device *d, const struct kernels_batch *b) {
    struct cuda_choice *c = &d->choice;
    size_t n = (size_t)b->n_outputs;
    c->wanted = b->samples != NULL && n > 0;
    c->logprobs = false;
    if (n > 0)
        memset(d->logits_here, !c->wanted, n * sizeof *d->logits_here);
    if (!c->wanted)
        return 0;
    size_t n_masks = write_wishes(d, b->samples, n);
    int rc = gpu_upload(d->stream, c->how, c->host_how, n * sizeof *c->how);
    if (rc == 0 && n_masks > 0)
        rc = gpu_upload(d->stream, c->masks, c->host_masks, n_masks * mask_words(d) * 4);
    return rc;
}

static int queue_logprobs(struct cuda_device *d, int n_outputs) {
    const struct cuda_choice *c = &d->choice;
    const struct cuda_logprob_step p = {.batch = d->batch,
                                        .how = c->how,
                                        .logits = d->logits,
                                        .tokens = c->tokens,
                                        .top = c->top,
                                        .top_id = c->top_id,
                                        .sums = c->chunk_sums,
                                        .out = c->of,
                                        .n_vocab = d->config.model.n_vocab};
    int rc = steps_logprobs(d->stream, &p, n_outputs);
    return rc ? rc : gpu_download(d->stream, c->host_of, c->of, (size_t)n_outputs * sizeof *c->of);
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
    if (rc == 0 && d->now.logprobs)
        rc = queue_logprobs(d, n_outputs);
    return rc ? rc : gpu_download(d->stream, c->host_tokens, c->tokens, (size_t)n_outputs * 4);
}

int32_t choose_token(const struct cuda_device *d, int o) {
    return d->choice.wanted ? d->choice.host_tokens[o] : -1;
}

bool choose_logprobs(const struct cuda_device *d, int o, struct kernels_logprobs *out) {
    const struct cuda_choice *c = &d->choice;
    const struct cuda_logprob *of = &c->host_of[o];
    if (!c->wanted || !c->logprobs || c->host_how[o].logprobs == 0 || c->host_tokens[o] < 0)
        return false;
    double rest = (double)of->largest + log(of->sum);
    out->chosen = (float)((double)of->chosen - rest);
    out->n_top = 0;
    for (int i = 0; i < c->host_how[o].n_top && of->top_id[i] >= 0; i++) {
        out->top[i].token = of->top_id[i];
        out->top[i].logprob = (float)((double)of->top[i] - rest);
        out->n_top++;
    }
    return true;
}
