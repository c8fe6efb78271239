/* Sessions of the local engine, as their owners see them. */
#include "base/clock.h"
#include "engine/local.h"
#include "engine/prefix_file.h"
#include "engine/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct local_engine *engine_of(const struct engine_session *s) {
    return (struct local_engine *)(void *)s->engine;
}

static struct local_session *session_of(struct engine_session *s) {
    return (struct local_session *)(void *)s;
}

void local_session_free(struct local_session *s) {
    constrained_release(&s->gen);
    logprobs_release(&s->gen);
    free(s->tokens);
    free(s->pages);
    draft_finish(&s->verify.draft);
    free(s);
}

static int session_create(struct engine *base, void *user, struct engine_session **out, char *err,
                          size_t errlen) {
    struct local_engine *e = (struct local_engine *)(void *)base;
    struct local_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for a session.");
    s->base = (struct engine_session){.engine = base, .user = user};
    pthread_mutex_lock(&e->lock);
    if (e->n_sessions >= e->max_sessions) {
        pthread_mutex_unlock(&e->lock);
        free(s);
        return err_set(err, errlen, -EAGAIN, "All %d sessions of the engine are open; try again later.",
                       e->max_sessions);
    }
    e->n_sessions++;
    s->order = s->turn = ++e->last_order;
    struct local_session **last = &e->sessions;
    while (*last != NULL)
        last = &(*last)->next;
    *last = s;
    pthread_mutex_unlock(&e->lock);
    *out = &s->base;
    return 0;
}

static int append_ids(struct token_list *list, const struct engine_span *span, int n_vocab, char *err,
                      size_t errlen) {
    const int32_t *ids = span->data;
    for (size_t i = 0; i < span->len; i++)
        if (ids[i] < 0 || ids[i] >= n_vocab)
            return err_set(err, errlen, -EINVAL, "Token %d is not one of the model's %d tokens.", ids[i],
                           n_vocab);
    return token_list_append(list, ids, span->len);
}

/* All spans as ids, each encoded alone. */
static int encode(const struct local_engine *e, const struct engine_span *spans, size_t n,
                  struct token_list *list, char *err, size_t errlen) {
    for (size_t i = 0; i < n; i++) {
        int rc;
        const struct tokenizer *t = e->model->tokenizer;
        if (spans[i].kind == ENGINE_SPAN_TOKENS) {
            rc = append_ids(list, &spans[i], e->model->n_vocab, err, errlen);
            if (rc == -EINVAL)
                return rc;
        } else if (t == NULL) {
            return err_set(err, errlen, -ENOTSUP, "Model '%s' has no tokenizer, so it takes token ids only.",
                           e->model->name);
        } else if (spans[i].kind == ENGINE_SPAN_TEMPLATE) {
            rc = tokenizer_encode_template(t, spans[i].data, spans[i].len, list);
        } else {
            rc = tokenizer_encode_text(t, spans[i].data, spans[i].len, list);
        }
        if (rc < 0)
            return err_set(err, errlen, rc, "A text of %zu bytes cannot be encoded: %s.", spans[i].len,
                           strerror(-rc));
    }
    return 0;
}

static int reserve_tokens(struct local_session *s, int n) {
    if (n <= s->tokens_cap)
        return 0;
    int cap = s->tokens_cap < 256 ? 256 : s->tokens_cap;
    while (cap < n)
        cap *= 2;
    int32_t *tokens = realloc(s->tokens, (size_t)cap * sizeof *tokens);
    if (tokens == NULL)
        return -ENOMEM;
    s->tokens = tokens;
    s->tokens_cap = cap;
    return 0;
}

/* Puts the list on the timeline. [lock held] */
static int append_locked(struct local_engine *e, struct local_session *s, const struct token_list *list,
                         char *err, size_t errlen) {
    if (s->gen.running)
        return err_set(err, errlen, -EBUSY, "The session is generating; append when it is done.");
    bool bos = s->n_tokens == 0 && e->model->add_bos && e->model->bos_id >= 0 && list->n > 0 &&
               list->v[0] != e->model->bos_id;
    size_t added = list->n + (bos ? 1 : 0);
    if (added > (size_t)(e->max_context - s->n_tokens))
        return err_set(err, errlen, -E2BIG,
                       "The context holds %d tokens: %d are used and %zu more were to be added.",
                       e->max_context, s->n_tokens, added);
    if (reserve_tokens(s, s->n_tokens + (int)added) < 0)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for %zu more tokens.", added);
    if (bos)
        s->tokens[s->n_tokens++] = e->model->bos_id;
    if (list->n > 0)
        memcpy(s->tokens + s->n_tokens, list->v, list->n * sizeof *list->v);
    s->n_tokens += (int)list->n;
    if (s->about.replayed) {
        s->n_known = s->n_tokens;
        s->known_why = ENGINE_MISS_RESTART;
    }
    pthread_cond_signal(&e->changed);
    return (int)added;
}

static void session_about(struct engine_session *base, const struct engine_about *about) {
    struct local_engine *e = engine_of(base);
    pthread_mutex_lock(&e->lock);
    session_of(base)->about = *about;
    pthread_mutex_unlock(&e->lock);
}

static void session_waits(struct engine_session *base, uint64_t ms) {
    struct local_engine *e = engine_of(base);
    pthread_mutex_lock(&e->lock);
    session_of(base)->back_ns = clock_mono_ns() + ms * 1000000u;
    pthread_mutex_unlock(&e->lock);
}

static int session_append(struct engine_session *base, const struct engine_span *spans, size_t n, char *err,
                          size_t errlen) {
    struct local_engine *e = engine_of(base);
    struct token_list list = {0};
    int rc = encode(e, spans, n, &list, err, errlen);
    if (rc == 0) {
        pthread_mutex_lock(&e->lock);
        rc = append_locked(e, session_of(base), &list, err, errlen);
        pthread_mutex_unlock(&e->lock);
    }
    token_list_finish(&list);
    return rc;
}

static int session_length(const struct engine_session *base) {
    struct local_engine *e = engine_of(base);
    pthread_mutex_lock(&e->lock);
    int n = ((const struct local_session *)(const void *)base)->n_tokens;
    pthread_mutex_unlock(&e->lock);
    return n;
}

static void session_destroy(struct engine_session *base) {
    struct local_engine *e = engine_of(base);
    struct local_session *s = session_of(base);
    pthread_mutex_lock(&e->lock);
    s->dead = true;
    e->n_sessions--;
    /* The engine thread sends nothing for a dead session, so what waits now is all there will be. */
    events_forget(&e->base.events, base);
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

static int find_stops(const struct local_engine *e, const struct engine_generate *how, struct generation *g,
                      char *err, size_t errlen) {
    for (const char *const *text = how->stop_tokens; text != NULL && *text != NULL; text++) {
        int32_t id = e->model->tokenizer != NULL ? tokenizer_find_added(e->model->tokenizer, *text) : -1;
        if (id < 0)
            continue; /* a model without this token cannot write it */
        if (g->n_stops == LOCAL_MAX_STOPS)
            return err_set(err, errlen, -EINVAL, "More than %d stop tokens were asked for.", LOCAL_MAX_STOPS);
        g->stops[g->n_stops++] = id;
    }
    return 0;
}

/* [lock held] */
static int generate_locked(struct local_engine *e, struct local_session *s, struct generation *g, char *err,
                           size_t errlen) {
    if (s->gen.running)
        return err_set(err, errlen, -EBUSY, "The session is generating already.");
    if (s->n_tokens == 0)
        return err_set(err, errlen, -EINVAL, "The session is empty; append a prompt first.");
    /* Room for all that may be generated, so that the engine thread need not allocate. */
    int64_t want = (int64_t)s->n_tokens + g->max_tokens;
    if (reserve_tokens(s, want < e->max_context ? (int)want : e->max_context) < 0)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for %d tokens.", g->max_tokens);
    g->computed_tokens = g->ahead_tokens = s->gen.computed_tokens;
    g->first = g->sure = g->piece = g->sent = s->n_tokens;
    g->running = true;
    g->asked_ns = clock_mono_ns();
    s->gen = *g;
    s->back_ns = 0;
    s->rests = false;
    pthread_cond_signal(&e->changed);
    return 0;
}

static int session_generate(struct engine_session *base, const struct engine_generate *how, char *err,
                            size_t errlen) {
    struct local_engine *e = engine_of(base);
    struct generation g = {.max_tokens = how->max_tokens,
                           .no_forced = how->no_forced || how->grammar == NULL,
                           .no_speculation = how->no_speculation,
                           .logprobs = how->logprobs,
                           .n_top = how->top_logprobs};
    if (how->max_tokens <= 0)
        return err_set(err, errlen, -EINVAL, "max_tokens must be positive, not %d.", how->max_tokens);
    if (how->top_logprobs < 0 || how->top_logprobs > ENGINE_TOP_LOGPROBS)
        return err_set(err, errlen, -EINVAL, "top_logprobs must be 0 to %d, not %d.", ENGINE_TOP_LOGPROBS,
                       how->top_logprobs);
    if (how->grammar != NULL && e->vocab == NULL)
        return err_set(err, errlen, -ENOTSUP, "Model '%s' cannot follow a grammar: %s", e->model->name,
                       e->vocab_why);
    int rc = sampler_init(&g.sampler, &how->sampling, err, errlen);
    rc = rc ? rc : find_stops(e, how, &g, err, errlen);
    if (rc < 0)
        return rc;
    g.grammar = how->grammar != NULL ? grammar_ref(how->grammar) : NULL;
    pthread_mutex_lock(&e->lock);
    rc = generate_locked(e, session_of(base), &g, err, errlen);
    pthread_mutex_unlock(&e->lock);
    if (rc < 0)
        grammar_unref(g.grammar);
    return rc;
}

static void session_cancel(struct engine_session *base) {
    struct local_engine *e = engine_of(base);
    pthread_mutex_lock(&e->lock);
    session_of(base)->gen.cancel = session_of(base)->gen.running;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

static uint64_t computed_tokens(const struct engine *base) {
    struct local_engine *e = (struct local_engine *)(uintptr_t)base;
    pthread_mutex_lock(&e->lock);
    uint64_t n = e->n_computed;
    pthread_mutex_unlock(&e->lock);
    return n;
}

static int count_tokens(const struct engine *base, const char *text, size_t len) {
    const struct local_engine *e = (const struct local_engine *)(const void *)base;
    if (e->model->tokenizer == NULL)
        return -ENOTSUP;
    struct token_list list = {0};
    int rc = tokenizer_encode_text(e->model->tokenizer, text, len, &list);
    int n = rc < 0 ? rc : (int)list.n;
    token_list_finish(&list);
    return n;
}

static void info(const struct engine *base, struct engine_info *out) {
    const struct local_engine *e = (const struct local_engine *)(const void *)base;
    *out = (struct engine_info){.model_name = e->model->name != NULL ? e->model->name : "",
                                .device = forward_device(e->forward),
                                .no_gpu = e->no_gpu[0] != '\0' ? e->no_gpu : NULL,
                                .format = e->format,
                                .n_params = e->model->n_params,
                                .max_context = e->max_context,
                                .n_vocab = e->model->n_vocab,
                                .kv = e->kv,
                                .kv_bytes_per_token = e->kv_bytes_per_token,
                                .kept_tokens = e->kept_tokens,
                                .kept_ignored = e->kept_ignored[0] != '\0' ? e->kept_ignored : NULL,
                                .kept_lost = prefix_file_lost(e->prefix_file)};
}

static void engine_close_local(struct engine *base) {
    local_close((struct local_engine *)(void *)base);
}

static int keep_prefixes(struct engine *base, char *err, size_t errlen) {
    return local_keep_prefixes((struct local_engine *)(void *)base, err, errlen);
}

const struct engine_kind local_kind = {
    .keep_prefixes = keep_prefixes,
    .close = engine_close_local,
    .info = info,
    .session_create = session_create,
    .session_about = session_about,
    .session_waits = session_waits,
    .session_append = session_append,
    .session_length = session_length,
    .session_destroy = session_destroy,
    .session_generate = session_generate,
    .session_cancel = session_cancel,
    .computed_tokens = computed_tokens,
    .count_tokens = count_tokens,
};
