/* One step of the engine: what is run, and what becomes of the results. */
#include "engine/local.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int batch_init(struct local_engine *e) {
    struct step *step = &e->step;
    size_t sessions = (size_t)e->max_sessions;
    step->tables_stride = (e->max_context + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS;
    step->rows = calloc((size_t)e->max_rows, sizeof *step->rows);
    step->outputs = calloc(sessions + SPECULATE_ROWS, sizeof *step->outputs);
    step->samples = calloc(sessions, sizeof(struct local_session *));
    step->owners = calloc(sessions, sizeof(struct local_session *));
    e->clients = calloc(sessions, sizeof *e->clients);
    step->sampled = calloc(sessions, sizeof *step->sampled);
    step->told = calloc(sessions, sizeof *step->told);
    step->tables = calloc(sessions * (size_t)step->tables_stride, sizeof *step->tables);
    if (step->rows == NULL || step->outputs == NULL || step->samples == NULL || step->sampled == NULL ||
        step->told == NULL || step->tables == NULL || step->owners == NULL || e->clients == NULL)
        return -ENOMEM;
    return 0;
}

void batch_finish(struct local_engine *e) {
    struct step *step = &e->step;
    free(step->rows);
    free(step->outputs);
    free(step->samples);
    free(step->owners);
    free(e->clients);
    free(step->sampled);
    free(step->told);
    free(step->tables);
}

/* What a negative errno in the place of a token means. */
static const char *why_no_token(int32_t status) {
    if (status == -ENOMEM)
        return "The engine is out of memory for the grammar of the text.";
    if (status == -E2BIG)
        return "The grammar of the text became too large to be followed.";
    /* -EPROTO: the mask let it through, or there was no number among the logits */
    return "The engine chose a token that the grammar of the text does not allow; the model's weights may be "
           "broken.";
}

/* The timeline behind the sure tokens becomes gen.forced.ids; generate() made room for them. Where the
 * model's token is among them in its place, `told` is about it. 1 when a token among them ends the turn; it
 * is not kept. -ENOMEM. [lock held] */
static int keep_forced(struct local_engine *e, struct local_session *s, int32_t token,
                       const struct engine_logprobs *told) {
    struct generation *g = &s->gen;
    const struct token_list *ids = &g->forced.ids;
    int32_t *tail = s->tokens + g->sure;
    size_t n_tail = (size_t)(s->n_tokens - g->sure), same = 0;
    while (same < n_tail && same < ids->n && tail[same] == ids->v[same])
        same++;
    if (same < n_tail)
        hold_roll_back(e, s, g->sure + (int)same, true);
    size_t n = same;
    for (; n < ids->n && !finish_is_stop(e, s, ids->v[n]); n++)
        tail[n] = ids->v[n];
    bool chosen = same == n_tail && n > same && ids->v[same] == token;
    int first = g->sure + (int)same;
    s->n_tokens = g->sure + (int)n;
    g->sure += (int)(g->forced.n_sure < n ? g->forced.n_sure : n);
    int rc = logprobs_keep(g, first, s->n_tokens, chosen ? first : -1, told);
    return rc < 0 ? rc : n < ids->n;
}

/* What one step of a generation gave: a token, and perhaps more that follow. [lock held] */
static void keep_token(struct local_engine *e, struct local_session *s, int32_t token,
                       const struct engine_logprobs *told) {
    struct generation *g = &s->gen;
    int rc = 0;
    if (g->first_token_ns == 0)
        g->first_token_ns = clock_mono_ns();
    if (token < 0 && token != CONSTRAINED_FORCED) {
        finish_failed(e, s, why_no_token(token));
        return;
    }
    bool stop = token != CONSTRAINED_FORCED && finish_is_stop(e, s, token);
    if (!stop && s->n_tokens >= e->max_context) {
        finish_generation(e, s, ENGINE_FINISH_CONTEXT_FULL);
        return;
    }
    if (!g->no_forced) {
        rc = keep_forced(e, s, token, told);
        stop = rc == 1 || stop;
    } else if (!stop) {
        s->tokens[s->n_tokens++] = token;
        g->sure = s->n_tokens;
        rc = logprobs_keep(g, s->n_tokens - 1, s->n_tokens, s->n_tokens - 1, told);
    }
    g->steps += token != CONSTRAINED_FORCED && !finish_is_stop(e, s, token);
    if (rc < 0)
        finish_failed(e, s, "The engine is out of memory for what is told of a token.");
    else if (stop || g->forced.over)
        finish_generation(e, s, ENGINE_FINISH_STOP);
    else if (!finish_send_text(e, s))
        finish_failed(e, s, "The engine is out of memory for the text of a token.");
    else if (s->n_tokens - g->first >= g->max_tokens)
        finish_generation(e, s, ENGINE_FINISH_LENGTH);
}

/* Keeps the tokens that were chosen. True when guesses came true and there are logits for more. [lock held]
 */
static bool keep_all(struct local_engine *e) {
    struct step *step = &e->step;
    bool more = false;
    for (int i = 0; i < step->n_samples; i++) {
        struct local_session *s = step->samples[i];
        if (s->output < 0)
            continue;
        if (!s->dead && s->gen.running && !s->gen.cancel)
            keep_token(e, s, step->sampled[i], &step->told[i]);
        verify_next(e, s);
        more = more || s->output >= 0;
    }
    return more;
}

/* The device gave no result: whoever took part cannot go on. [lock held] */
static void fail_step(struct local_engine *e, const char *sentence) {
    for (struct local_session *s = e->sessions; s != NULL; s = s->next) {
        if (s->n_rows == 0)
            continue;
        hold_release(e, s, ENGINE_MISS_FAILED);
        if (s->gen.running && !s->dead)
            finish_failed(e, s, sentence);
    }
}

/* Rows of the step that are of the prompt. */
static int prompt_rows(const struct local_session *s) {
    int left = s->gen.first - s->n_computed;
    return !s->gen.running || left > s->n_rows ? s->n_rows : left > 0 ? left : 0;
}

/* Before it, so that what is gone is not read; behind it, so that what others wrote meanwhile is not kept. */
static int compute(struct local_engine *e, const struct kernels_batch *batch, char *err, size_t errlen) {
    int rc = e->reads_files ? model_unchanged(e->model, err, errlen) : 0;
    if (rc == 0 && e->observe != NULL)
        e->observe(e->observe_arg, e);
    rc = rc ? rc : forward_run(e->forward, batch, err, errlen);
    return rc == 0 && e->reads_files ? model_unchanged(e->model, err, errlen) : rc;
}

void batch_run(struct local_engine *e) {
    struct step *step = &e->step;
    struct kernels_batch batch = {.rows = step->rows,
                                  .n_rows = step->n_rows,
                                  .pages = step->tables,
                                  .pages_stride = step->tables_stride,
                                  .outputs = step->outputs,
                                  .n_outputs = step->n_outputs,
                                  .samples = choose_prepare(e)};
    char sentence[512];
    uint64_t from = clock_mono_ns();
    int rc = compute(e, &batch, sentence, sizeof sentence);
    if (rc == 0)
        choose_all(e);
    uint64_t now = clock_mono_ns();
    if (rc == 0 && step->n_rows == step->n_outputs) {
        speculate_measure(&e->cost, step->n_rows, (double)(now - from), e->row_ns);
    } else if (step->n_rows >= LOCAL_MIN_ROWS) {
        double row_ns = (double)(now - from) / step->n_rows;
        e->row_ns = e->row_ns > 0 ? 0.7 * e->row_ns + 0.3 * row_ns : row_ns;
    }
    pthread_mutex_lock(&e->lock);
    e->n_steps++;
    if (rc == -EIO) { /* the device runs nothing any more, or the weights are gone, in this process */
        e->stop = true;
        events_break(&e->base.events, sentence);
    } else if (rc < 0) {
        fail_step(e, sentence);
    }
    if (rc < 0) {
        pthread_mutex_unlock(&e->lock);
        return;
    }
    for (struct local_session *s = e->sessions; s != NULL; s = s->next) {
        if (s->n_rows == 0)
            continue;
        s->gen.computed_tokens += prompt_rows(s);
        hold_count(s);
        e->n_computed += (uint64_t)s->n_rows;
        s->n_computed += s->n_rows;
        s->used_ns = now;
        hold_publish(e, s);
    }
    events_hold(&e->base.events);
    while (keep_all(e)) {
        pthread_mutex_unlock(&e->lock);
        choose_all(e);
        pthread_mutex_lock(&e->lock);
    }
    pthread_mutex_unlock(&e->lock);
    events_release(&e->base.events);
}
