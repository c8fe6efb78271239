/* Which token each output of a step becomes: the device's choice where it makes one, else the sampler's from
 * the logits. */
#include "engine/local.h"

/* A grammar's mask is known only when the logits are looked at, and sometimes they are looked at twice. */
static bool device_chooses(const struct local_session *s) {
    return s->gen.grammar == NULL;
}

const struct kernels_sample *choose_prepare(struct local_engine *e) {
    struct step *step = &e->step;
    bool any = false;
    if (!forward_chooses(e->forward))
        return NULL;
    for (int o = 0; o < step->n_outputs; o++) {
        const struct local_session *s = step->samples[o];
        step->how[o] = (struct kernels_sample){.wanted = false};
        if (!device_chooses(s))
            continue;
        sampler_describe(&s->gen.sampler, s->tokens, s->n_tokens, NULL, &step->how[o]);
        any = true;
    }
    return any ? step->how : NULL;
}

static int32_t choose(struct local_engine *e, struct local_session *s, int o, bool described) {
    int32_t token = described && device_chooses(s) ? forward_token(e->forward, o) : -1;
    if (token >= 0) {
        sampler_chosen(&s->gen.sampler);
        return token;
    }
    float *logits = forward_logits(e->forward, o);
    if (s->gen.grammar != NULL)
        return constrained_next(e, s, logits);
    return sampler_next(&s->gen.sampler, logits, e->model->n_vocab, s->tokens, s->n_tokens, e->scratch);
}

void choose_all(struct local_engine *e) {
    struct step *step = &e->step;
    bool described = forward_chooses(e->forward);
    for (int o = 0; o < step->n_outputs; o++)
        step->sampled[o] = choose(e, step->samples[o], o, described);
}
