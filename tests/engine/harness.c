#include "tests/engine/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void *must(void *p) {
    if (p == NULL)
        abort();
    return p;
}

void harness_init(struct harness *h) {
    *h = (struct harness){0};
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
}

void harness_wake(void *arg) {
    struct harness *h = arg;
    pthread_mutex_lock(&h->lock);
    h->n_wakes++;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

static void outcome_clear(struct outcome *o) {
    struct engine_session *s = o->session;
    free(o->text);
    free(o->tokens);
    free(o->logprobs);
    *o = (struct outcome){.session = s};
}

void harness_finish(struct harness *h) {
    engine_close(h->engine);
    for (int i = 0; i < HARNESS_SESSIONS; i++)
        outcome_clear(&h->outcomes[i]);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->wake);
}

struct outcome *harness_outcome(struct harness *h, struct engine_session *s) {
    for (int i = 0; i < HARNESS_SESSIONS; i++)
        if (h->outcomes[i].session == s)
            return &h->outcomes[i];
    abort();
}

static void check(int rc, const char *err) {
    if (rc < 0) {
        (void)fprintf(stderr, "engine call failed: %d %s\n", rc, err);
        abort();
    }
}

struct engine_session *harness_session(struct harness *h) {
    struct engine_session *s;
    char err[300] = "";
    check(engine_session_create(h->engine, h, &s, err, sizeof err), err);
    harness_outcome(h, NULL)->session = s;
    return s;
}

void harness_append_text(struct engine_session *s, const char *text) {
    char err[300] = "";
    struct engine_span span = {.kind = ENGINE_SPAN_TEXT, .data = text, .len = strlen(text)};
    check(engine_session_append(s, &span, 1, err, sizeof err), err);
}

void harness_append_tokens(struct engine_session *s, const int32_t *ids, size_t n) {
    char err[300] = "";
    struct engine_span span = {.kind = ENGINE_SPAN_TOKENS, .data = ids, .len = n};
    check(engine_session_append(s, &span, 1, err, sizeof err), err);
}

void harness_append_drawn(struct engine_session *s, int n, int seed, int below) {
    int32_t *ids = malloc((size_t)(n > 0 ? n : 1) * sizeof *ids);
    if (ids == NULL)
        abort();
    for (int i = 0; i < n; i++)
        ids[i] = (i * 17 + seed * 101 + i * i * seed) % below;
    harness_append_tokens(s, ids, (size_t)n);
    free(ids);
}

int harness_missed(const struct outcome *o) {
    int n = 0;
    for (int i = 0; i < ENGINE_MISS_REASONS; i++)
        n += o->last.missed_tokens[i];
    return n;
}

void harness_generate(struct harness *h, struct engine_session *s, const struct engine_sampling *how,
                      int max_tokens) {
    char err[300] = "";
    outcome_clear(harness_outcome(h, s));
    struct engine_generate generate = {.max_tokens = max_tokens};
    if (how != NULL)
        generate.sampling = *how;
    check(engine_session_generate(s, &generate, err, sizeof err), err);
}

static void add_event(struct harness *h, const struct engine_event *event) {
    struct outcome *o = harness_outcome(h, event->session);
    if (event->user != h || o->done || o->failed)
        abort();
    o->tokens = must(realloc(o->tokens, (size_t)(o->n_tokens + event->n_tokens + 1) * sizeof *o->tokens));
    if (event->logprobs != NULL) {
        o->logprobs =
            must(realloc(o->logprobs, (size_t)(o->n_tokens + event->n_tokens + 1) * sizeof *o->logprobs));
        memcpy(o->logprobs + o->n_tokens, event->logprobs, (size_t)event->n_tokens * sizeof *event->logprobs);
    }
    for (int i = 0; i < event->n_tokens; i++)
        o->tokens[o->n_tokens++] = event->tokens[i];
    if (event->type == ENGINE_EVENT_TEXT) {
        o->text = must(realloc(o->text, o->len + event->len + 1));
        memcpy(o->text + o->len, event->text, event->len + 1);
        o->len += event->len;
        if (o->n_text_events < HARNESS_TEXT_ENDS)
            o->text_ends[o->n_text_events] = o->len;
        o->n_text_events++;
        return;
    }
    o->done = event->type == ENGINE_EVENT_DONE;
    o->failed = !o->done;
    if (o->failed)
        (void)snprintf(o->sentence, sizeof o->sentence, "%s", event->text);
    o->last = *event;
    o->last.text = NULL;
    o->last.tokens = NULL;
    o->last.logprobs = NULL;
}

static void take(struct harness *h) {
    pthread_mutex_lock(&h->lock);
    if (h->n_wakes == 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 100;
        while (h->n_wakes == 0)
            if (pthread_cond_timedwait(&h->wake, &h->lock, &until) != 0) {
                (void)fprintf(stderr, "no event for 100 seconds\n");
                abort();
            }
    }
    h->n_wakes = 0;
    pthread_mutex_unlock(&h->lock);
    struct engine_event *next;
    for (struct engine_event *event = engine_take_events(h->engine); event != NULL; event = next) {
        next = event->next;
        add_event(h, event);
        engine_event_free(event);
    }
}

struct outcome *harness_wait(struct harness *h, struct engine_session *s) {
    struct outcome *o = harness_outcome(h, s);
    while (!o->done && !o->failed)
        take(h);
    return o;
}

struct outcome *harness_wait_tokens(struct harness *h, struct engine_session *s, int n) {
    struct outcome *o = harness_outcome(h, s);
    while (o->n_tokens < n && !o->done && !o->failed)
        take(h);
    return o;
}

void harness_destroy(struct harness *h, struct engine_session *s) {
    struct outcome *o = harness_outcome(h, s);
    engine_session_destroy(s);
    outcome_clear(o);
    o->session = NULL;
}
