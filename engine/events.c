#include "engine/events.h"

#include "engine/kind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void events_init(struct events *q, void (*wake)(void *), void *wake_arg) {
    pthread_mutex_init(&q->lock, NULL);
    q->first = NULL;
    q->last = &q->first;
    q->woken = false;
    q->held = false;
    q->failure[0] = '\0';
    q->wake = wake;
    q->wake_arg = wake_arg;
}

void events_finish(struct events *q) {
    struct engine_event *next;
    for (struct engine_event *event = q->first; event != NULL; event = next) {
        next = event->next;
        engine_event_free(event);
    }
    pthread_mutex_destroy(&q->lock);
}

struct engine_event *events_new(struct engine_session *s, enum engine_event_type type, struct buf *text,
                                const int32_t *tokens, int n_tokens) {
    struct engine_event *event = calloc(1, sizeof *event);
    int32_t *copy = malloc((size_t)(n_tokens > 0 ? n_tokens : 1) * sizeof *copy);
    if (event == NULL || copy == NULL) {
        free(event);
        free(copy);
        return NULL;
    }
    if (n_tokens > 0)
        memcpy(copy, tokens, (size_t)n_tokens * sizeof *copy);
    *event = (struct engine_event){
        .session = s, .user = s->user, .type = type, .tokens = copy, .n_tokens = n_tokens};
    if (text != NULL)
        event->text = buf_take(text, &event->len);
    return event;
}

/* True when `event` was joined to the last one. */
static bool join(struct events *q, struct engine_event *event) {
    if (q->first == NULL || event->type != ENGINE_EVENT_TEXT)
        return false;
    struct engine_event *tail =
        (struct engine_event *)(void *)((char *)q->last - offsetof(struct engine_event, next));
    if (tail->type != ENGINE_EVENT_TEXT || tail->session != event->session)
        return false;
    size_t n_tokens = (size_t)(tail->n_tokens + event->n_tokens);
    if (event->logprobs != NULL) {
        struct engine_logprobs *told = realloc(tail->logprobs, (n_tokens + 1) * sizeof *told);
        if (told == NULL)
            return false;
        tail->logprobs = told;
    }
    char *text = realloc(tail->text, tail->len + event->len + 1);
    if (text == NULL)
        return false;
    tail->text = text;
    int32_t *tokens = realloc(tail->tokens, (n_tokens + 1) * sizeof *tokens);
    if (tokens == NULL)
        return false;
    tail->tokens = tokens;
    memcpy(text + tail->len, event->text, event->len);
    tail->len += event->len;
    text[tail->len] = '\0';
    if (event->logprobs != NULL && event->n_tokens > 0)
        memcpy(tail->logprobs + tail->n_tokens, event->logprobs,
               (size_t)event->n_tokens * sizeof *event->logprobs);
    for (int i = 0; i < event->n_tokens; i++)
        tokens[tail->n_tokens++] = event->tokens[i];
    engine_event_free(event);
    return true;
}

void events_push(struct events *q, struct engine_event *event) {
    pthread_mutex_lock(&q->lock);
    if (!join(q, event)) {
        event->next = NULL;
        *q->last = event;
        q->last = &event->next;
    }
    bool wake = !q->woken && !q->held;
    q->woken = q->woken || wake;
    pthread_mutex_unlock(&q->lock);
    if (wake && q->wake != NULL)
        q->wake(q->wake_arg);
}

void events_hold(struct events *q) {
    pthread_mutex_lock(&q->lock);
    q->held = true;
    pthread_mutex_unlock(&q->lock);
}

void events_release(struct events *q) {
    pthread_mutex_lock(&q->lock);
    bool wake = q->first != NULL && !q->woken;
    q->held = false;
    q->woken = q->woken || wake;
    pthread_mutex_unlock(&q->lock);
    if (wake && q->wake != NULL)
        q->wake(q->wake_arg);
}

void events_fail(struct events *q, struct engine_session *s, const char *sentence) {
    struct buf text;
    buf_init(&text, 4096);
    struct engine_event *event = NULL;
    if (buf_puts(&text, sentence) == 0)
        event = events_new(s, ENGINE_EVENT_FAILED, &text, NULL, 0);
    /* Without memory for a sentence nothing can be said; the owner's deadline ends the job. */
    if (event != NULL)
        events_push(q, event);
    buf_finish(&text);
}

struct engine_event *events_take(struct events *q) {
    pthread_mutex_lock(&q->lock);
    struct engine_event *first = q->first;
    q->first = NULL;
    q->last = &q->first;
    q->woken = false;
    pthread_mutex_unlock(&q->lock);
    return first;
}

void events_forget(struct events *q, const struct engine_session *s) {
    pthread_mutex_lock(&q->lock);
    struct engine_event **link = &q->first;
    while (*link != NULL) {
        struct engine_event *event = *link;
        if (event->session == s) {
            *link = event->next;
            engine_event_free(event);
        } else {
            link = &event->next;
        }
    }
    q->last = link;
    pthread_mutex_unlock(&q->lock);
}

void engine_event_free(struct engine_event *event) {
    if (event == NULL)
        return;
    free(event->text);
    free(event->tokens);
    free(event->logprobs);
    free(event);
}

void events_break(struct events *q, const char *sentence) {
    pthread_mutex_lock(&q->lock);
    bool first = q->failure[0] == '\0';
    if (first)
        (void)snprintf(q->failure, sizeof q->failure, "%s", sentence);
    pthread_mutex_unlock(&q->lock);
    if (first && q->wake != NULL)
        q->wake(q->wake_arg);
}
