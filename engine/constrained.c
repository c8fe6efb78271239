/* Sampling under a grammar. */
#include "engine/local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int constrained_init(struct local_engine *e) {
    (void)snprintf(e->vocab_why, sizeof e->vocab_why, "It has no tokenizer.");
    e->mask = calloc(((size_t)e->model->n_vocab + 31) / 32, sizeof *e->mask);
    if (e->mask == NULL)
        return -ENOMEM;
    if (e->model->tokenizer == NULL)
        return 0;
    int rc = grammar_vocab_create(e->model->tokenizer, e->model->eog_ids, (size_t)e->model->n_eog_ids,
                                  &e->vocab, e->vocab_why, sizeof e->vocab_why);
    return rc == -ENOMEM ? rc : 0;
}

void constrained_finish(struct local_engine *e) {
    grammar_vocab_destroy(e->vocab);
    free(e->mask);
}

void constrained_release(struct generation *g) {
    grammar_matcher_finish(&g->matcher);
    forced_finish(&g->forced);
    grammar_unref(g->grammar);
    g->grammar = NULL;
}

/* Whether the grammar can still be finished in time after this token. A negative errno. */
static int in_time(const struct local_engine *e, const struct local_session *s, int32_t token,
                   uint32_t left) {
    struct grammar_matcher probe;
    if (finish_is_stop(e, s, token))
        return 1;
    int rc = grammar_matcher_clone(&probe, &s->gen.matcher);
    if (rc < 0)
        return rc;
    rc = grammar_matcher_token(&probe, e->vocab, token);
    if (rc == 1)
        rc = grammar_matcher_distance(&probe) < left;
    grammar_matcher_finish(&probe);
    return rc;
}

/* The mask is kept per state, so the tokens left do not go into it; a token that leaves too few is rare, and
 * then chosen again among those that do not. */
static int32_t choose_from(struct local_engine *e, struct local_session *s, float *logits) {
    struct generation *g = &s->gen;
    uint32_t left = finish_tokens_left(e, s); /* this one included */
    int rc = grammar_matcher_mask(&g->matcher, e->vocab, GRAMMAR_FOREVER, e->mask);
    if (rc < 0)
        return rc;
    sampler_mask(logits, e->model->n_vocab, e->mask);
    int32_t token = choose_here(e, s, logits);
    rc = in_time(e, s, token, left);
    if (rc != 0)
        return rc < 0 ? rc : token;
    rc = grammar_matcher_mask(&g->matcher, e->vocab, left, e->mask);
    if (rc == -ENODATA) /* it was too late from the beginning */
        return token;
    if (rc < 0)
        return rc;
    struct sampler again = g->sampler;
    again.how.repeat_penalty = 1; /* the logits have it already */
    sampler_mask(logits, e->model->n_vocab, e->mask);
    token = sampler_next(&again, logits, e->model->n_vocab, s->tokens, s->n_tokens, e->scratch);
    g->sampler.random = again.random;
    return token;
}

/* What the device chose stands where it is in time; else it is chosen here from the beginning, which draws
 * the same token first. */
static int32_t choose(struct local_engine *e, struct local_session *s, int32_t token) {
    int rc = token >= 0 ? in_time(e, s, token, finish_tokens_left(e, s)) : 0;
    if (rc == 0)
        return choose_from(e, s, choose_logits(e, s));
    return rc < 0 ? rc : choose_taken(e, s, token);
}

/* What follows without a choice after the token, or after none. */
static int follow(struct local_engine *e, struct local_session *s, int32_t token) {
    struct generation *g = &s->gen;
    if (g->no_forced)
        return 0;
    return forced_follow(&g->forced, e->model->tokenizer, e->vocab, &g->matcher, s->tokens + g->sure,
                         (size_t)(s->n_tokens - g->sure), token, finish_tokens_left(e, s));
}

/* The beginning of a text, where that was not yet. 0, a negative errno, or CONSTRAINED_FORCED. */
static int32_t begin(struct local_engine *e, struct local_session *s) {
    struct generation *g = &s->gen;
    if (g->matcher.grammar != NULL)
        return 0;
    int rc = grammar_matcher_init(&g->matcher, g->grammar);
    rc = rc < 0 ? rc : follow(e, s, FORCED_BEGIN);
    return rc < 0 ? rc : g->forced.ids.n > 0 || g->forced.over ? CONSTRAINED_FORCED : 0;
}

int constrained_masks(struct local_engine *e, struct local_session *s, uint32_t *masks, size_t words) {
    struct generation *g = &s->gen;
    struct grammar_matcher probe = {0};
    int n = 0;
    g->early = begin(e, s);
    int rc = g->early != 0 ? -1 : grammar_matcher_clone(&probe, &g->matcher);
    while (rc >= 0) {
        rc = grammar_matcher_mask(&probe, e->vocab, GRAMMAR_FOREVER, masks + (size_t)n * words);
        if (rc < 0 || n++ == s->verify.n)
            break;
        rc = grammar_matcher_token(&probe, e->vocab, s->verify.ids[n - 1]) == 1 ? 0 : -1;
    }
    grammar_matcher_finish(&probe);
    return n;
}

int32_t constrained_next(struct local_engine *e, struct local_session *s, int32_t token) {
    struct generation *g = &s->gen;
    int32_t early = g->early != 0 ? g->early : begin(e, s);
    g->early = 0;
    if (early != 0)
        return early;
    token = choose(e, s, token);
    if (token < 0)
        return token;
    if (finish_is_stop(e, s, token)) {
        int rc = follow(e, s, FORCED_END);
        return rc < 0 ? rc : token;
    }
    int rc = grammar_matcher_token(&g->matcher, e->vocab, token);
    rc = rc == 1 ? follow(e, s, token) : rc == 0 ? -EPROTO : rc;
    return rc < 0 ? rc : token;
}
