/* Which token each output of a step becomes: the device's choice where it makes one, else the sampler's from
 * the logits. */
#include "engine/local.h"

#include <string.h>

/* A grammar's mask is known only when the logits are looked at, and sometimes they are looked at twice. */
static bool device_chooses(const struct local_session *s) {
    return s->gen.grammar == NULL;
}

/* The last tokens of the timeline with the first n guesses behind them; returns how many. */
static int with_guesses(const struct local_session *s, int n, int32_t *to) {
    int old = KERNELS_RECENT - n < s->n_tokens ? KERNELS_RECENT - n : s->n_tokens;
    memcpy(to, s->tokens + (s->n_tokens - old), (size_t)old * sizeof *to);
    memcpy(to + old, s->verify.ids, (size_t)n * sizeof *to);
    return old + n;
}

/* A session's row, and those of its guesses: each with the random numbers and the history that it has when
 * all guesses before it come true; else its token is not asked for. */
static void describe(struct local_engine *e, const struct local_session *s, int *n_recent) {
    struct step *step = &e->step;
    struct sampler ahead = s->gen.sampler;
    sampler_describe(&ahead, s->tokens, s->n_tokens, NULL, &step->how[s->output]);
    for (int i = 1; i <= s->verify.n; i++) {
        int32_t *recent = step->recent[(*n_recent)++];
        sampler_chosen(&ahead);
        sampler_describe(&ahead, recent, with_guesses(s, i, recent), NULL, &step->how[s->output + i]);
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
        if (!device_chooses(step->samples[i]))
            continue;
        describe(e, step->samples[i], &n_recent);
        any = true;
    }
    return any ? step->how : NULL;
}

static int32_t choose(struct local_engine *e, struct local_session *s) {
    if (device_chooses(s) && forward_chooses(e->forward)) {
        int32_t token = forward_token(e->forward, s->output);
        if (token >= 0) {
            sampler_chosen(&s->gen.sampler);
            return token;
        }
    }
    float *logits = forward_logits(e->forward, s->output);
    if (s->gen.grammar != NULL)
        return constrained_next(e, s, logits);
    return sampler_next(&s->gen.sampler, logits, e->model->n_vocab, s->tokens, s->n_tokens, e->scratch);
}

void choose_all(struct local_engine *e) {
    struct step *step = &e->step;
    for (int i = 0; i < step->n_samples; i++)
        if (step->samples[i]->output >= 0)
            step->sampled[i] = choose(e, step->samples[i]);
}
