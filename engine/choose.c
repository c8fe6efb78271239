/* Which token each output of a step becomes: the device's choice where it makes one, else the sampler's from
 * the logits. */
#include "engine/local.h"
#include "engine/logprobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(ENGINE_TOP_LOGPROBS == KERNELS_TOP_LOGPROBS,
               "a device's lists are as long as those of events");

int choose_init(struct local_engine *e) {
    struct step *step = &e->step;
    size_t outputs = (size_t)e->max_sessions + SPECULATE_ROWS;
    e->raw = calloc((size_t)e->model->n_vocab, sizeof *e->raw);
    if (e->raw == NULL || !forward_chooses(e->forward))
        return e->raw == NULL ? -ENOMEM : 0;
    step->how = calloc(outputs, sizeof *step->how);
    step->recent = calloc(SPECULATE_ROWS, sizeof *step->recent);
    step->mask_words = e->vocab != NULL ? grammar_vocab_words(e->vocab) : 0;
    if (step->mask_words > 0)
        step->masks = calloc(outputs * step->mask_words, sizeof *step->masks);
    return step->how == NULL || step->recent == NULL || (step->mask_words > 0 && step->masks == NULL)
               ? -ENOMEM
               : 0;
}

void choose_finish(struct local_engine *e) {
    free(e->raw);
    free(e->step.how);
    free(e->step.recent);
    free(e->step.masks);
}

/* The last tokens of the timeline with the first n guesses behind them; returns how many. */
static int with_guesses(const struct local_session *s, int n, int32_t *to) {
    int old = KERNELS_RECENT - n < s->n_tokens ? KERNELS_RECENT - n : s->n_tokens;
    memcpy(to, s->tokens + (s->n_tokens - old), (size_t)old * sizeof *to);
    memcpy(to + old, s->verify.ids, (size_t)n * sizeof *to);
    return old + n;
}

/* A session's row, and those of its guesses: each with the random numbers, the history and the mask that it
 * has when all guesses before it come true; else its token is not asked for. */
static void describe(struct local_engine *e, struct local_session *s, int *n_recent) {
    struct step *step = &e->step;
    struct sampler ahead = s->gen.sampler;
    bool masked = s->gen.grammar != NULL;
    uint32_t *mask = masked ? step->masks + (size_t)s->output * step->mask_words : NULL;
    int n = masked ? constrained_masks(e, s, mask, step->mask_words) : 1 + s->verify.n;
    for (int i = 0; i < n; i++) {
        const int32_t *recent = s->tokens;
        int n_tokens = s->n_tokens;
        if (i > 0) {
            n_tokens = with_guesses(s, i, step->recent[*n_recent]);
            recent = step->recent[(*n_recent)++];
            sampler_chosen(&ahead);
        }
        sampler_describe(&ahead, recent, n_tokens, masked ? mask + (size_t)i * step->mask_words : NULL,
                         &step->how[s->output + i]);
        step->how[s->output + i].logprobs = s->gen.logprobs;
        step->how[s->output + i].n_top = s->gen.n_top;
    }
}

const struct kernels_sample *choose_prepare(struct local_engine *e) {
    struct step *step = &e->step;
    int n_recent = 0;
    bool any = false;
    if (!forward_chooses(e->forward))
        return NULL;
    for (int o = 0; o < step->n_outputs; o++)
        step->how[o] = (struct kernels_sample){.wanted = false};
    for (int i = 0; i < step->n_samples; i++) {
        const struct local_session *s = step->samples[i];
        describe(e, step->samples[i], &n_recent);
        any = any || step->how[s->output].wanted;
    }
    return any ? step->how : NULL;
}

/* What the device chose for the session's output, unless another random number is drawn by now; -1: nothing.
 */
static int32_t device_token(const struct local_engine *e, const struct local_session *s) {
    if (!forward_chooses(e->forward) || !sampler_is_at(&s->gen.sampler, &e->step.how[s->output]))
        return -1;
    return forward_token(e->forward, s->output);
}

static int32_t choose(struct local_engine *e, struct local_session *s) {
    int32_t token = device_token(e, s);
    if (s->gen.grammar != NULL)
        return constrained_next(e, s, token);
    return token >= 0 ? choose_taken(e, s, token) : choose_here(e, s, choose_logits(e, s));
}

float *choose_logits(struct local_engine *e, const struct local_session *s) {
    float *logits = forward_logits(e->forward, s->output);
    if (s->gen.logprobs)
        memcpy(e->raw, logits, (size_t)e->model->n_vocab * sizeof *logits);
    return logits;
}

/* How likely the session's token was: `here` when it was chosen from logits of which there is a copy. */
static void tell(const struct local_engine *e, const struct local_session *s, int32_t token, bool here,
                 struct engine_logprobs *told) {
    struct kernels_logprobs of;
    *told = (struct engine_logprobs){.there = token >= 0};
    if (told->there && here)
        logprobs_of(e->raw, e->model->n_vocab, token, s->gen.n_top, &of);
    else if (told->there)
        told->there = forward_logprobs(e->forward, s->output, &of);
    if (!told->there)
        return;
    told->logprob = of.chosen;
    told->n_top = of.n_top;
    for (int i = 0; i < of.n_top; i++)
        told->top[i] = (struct engine_logprob){of.top[i].token, of.top[i].logprob};
}

int32_t choose_taken(struct local_engine *e, struct local_session *s, int32_t token) {
    e->n_by_device++;
    sampler_chosen(&s->gen.sampler);
    return token;
}

int32_t choose_here(struct local_engine *e, struct local_session *s, float *logits) {
    e->n_by_host++;
    return sampler_next(&s->gen.sampler, logits, e->model->n_vocab, s->tokens, s->n_tokens, e->scratch);
}

void choose_all(struct local_engine *e) {
    struct step *step = &e->step;
    for (int i = 0; i < step->n_samples; i++) {
        struct local_session *s = step->samples[i];
        if (s->output < 0)
            continue;
        uint64_t before = e->n_by_host;
        step->sampled[i] = choose(e, s);
        if (s->gen.logprobs)
            tell(e, s, step->sampled[i], e->n_by_host > before, &step->told[i]);
    }
}
