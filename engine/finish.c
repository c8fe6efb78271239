/* What a generation sends: text as it comes, and one event at its end. */
#include "base/clock.h"
#include "engine/local.h"
#include "engine/tokenizer.h"

#include <string.h>

/* The text of one step is at most a few thousand bytes; this is a ceiling, not a size. */
#define MAX_TEXT_BYTES ((size_t)1 << 22)

static double ms_between(uint64_t from, uint64_t to) {
    return from == 0 || to <= from ? 0 : (double)(to - from) * 1e-6;
}

bool finish_is_stop(const struct local_engine *e, const struct local_session *s, int32_t token) {
    for (int i = 0; i < s->gen.n_stops; i++)
        if (s->gen.stops[i] == token)
            return true;
    return model_is_eog(e->model, token);
}

uint32_t finish_tokens_left(const struct local_engine *e, const struct local_session *s) {
    int of_turn = s->gen.max_tokens - (s->n_tokens - s->gen.first), of_context = e->max_context - s->n_tokens;
    int left = of_turn < of_context ? of_turn : of_context;
    return left > 0 ? (uint32_t)left : 0;
}

bool finish_send_text(struct local_engine *e, struct local_session *s) {
    struct generation *g = &s->gen;
    struct buf text;
    bool ok = true;
    buf_init(&text, MAX_TEXT_BYTES);
    for (; g->piece < g->sure && ok; g->piece++) {
        size_t len = 0;
        const char *piece = e->model->tokenizer != NULL
                                ? tokenizer_piece(e->model->tokenizer, s->tokens[g->piece], &len)
                                : NULL;
        ok = piece == NULL || utf8_hold_push(&g->hold, piece, len, &text) == 0;
    }
    if (ok && text.len > 0) {
        struct engine_event *event =
            events_new(&s->base, ENGINE_EVENT_TEXT, &text, s->tokens + g->sent, g->sure - g->sent);
        ok = event != NULL && logprobs_attach(g, event) == 0;
        if (!ok)
            engine_event_free(event);
        if (ok) {
            g->sent = g->sure;
            events_push(&e->base.events, event);
        }
    }
    buf_finish(&text);
    return ok;
}

void finish_generation(struct local_engine *e, struct local_session *s, enum engine_finish why) {
    struct generation *g = &s->gen;
    g->sure = s->n_tokens;
    verify_end(e, s);
    bool ok = finish_send_text(e, s);
    struct engine_event *event =
        events_new(&s->base, ENGINE_EVENT_DONE, NULL, s->tokens + g->sent, s->n_tokens - g->sent);
    if (!ok || event == NULL || logprobs_attach(g, event) < 0) {
        engine_event_free(event);
        finish_failed(e, s, "The engine is out of memory.");
        return;
    }
    uint64_t now = clock_mono_ns();
    event->finish = why;
    event->prompt_tokens = g->first;
    event->cached_tokens = g->first > g->computed_tokens ? g->first - g->computed_tokens : 0;
    event->computed_tokens = s->n_run;
    memcpy(event->missed_tokens, s->missed, sizeof s->missed);
    s->n_run = 0;
    memset(s->missed, 0, sizeof s->missed);
    int n = s->n_tokens - g->first;
    event->forced_tokens = n > g->steps ? n - g->steps : 0;
    event->ahead_tokens = g->ahead_tokens;
    event->drafted_tokens = g->n_drafted;
    event->accepted_tokens = g->n_accepted;
    event->queue_ms = ms_between(g->asked_ns, g->started_ns != 0 ? g->started_ns : now);
    event->prefill_ms = ms_between(g->started_ns, g->first_token_ns != 0 ? g->first_token_ns : now);
    event->first_token_ms = ms_between(g->asked_ns, g->first_token_ns);
    event->decode_ms = ms_between(g->first_token_ns, now);
    g->computed_tokens = 0;
    g->running = false;
    constrained_release(g);
    logprobs_release(g);
    events_push(&e->base.events, event);
}

void finish_failed(struct local_engine *e, struct local_session *s, const char *sentence) {
    s->gen.sure = s->n_tokens;
    verify_end(e, s);
    (void)finish_send_text(e, s); /* as far as it is there */
    s->gen.running = false;
    constrained_release(&s->gen);
    logprobs_release(&s->gen);
    events_fail(&e->base.events, &s->base, sentence);
}
