/* The events of an engine on their way to the loop thread. Private to engine/. */
#ifndef ENGINE_EVENTS_H
#define ENGINE_EVENTS_H

#include "base/buf.h"
#include "engine/engine.h"

#include <pthread.h>

struct events {
    pthread_mutex_t lock;
    struct engine_event *first, **last;
    bool woken;        /* wake() was called and nothing was taken since */
    bool held;         /* wake() waits for events_release() */
    char failure[512]; /* why the engine runs nothing any more; "": it does */
    void (*wake)(void *arg);
    void *wake_arg;
};

void events_init(struct events *q, void (*wake)(void *), void *wake_arg);
void events_finish(struct events *q);

/* An event of the session with a copy of the ids; takes the bytes of `text` (NULL: none). NULL when memory is
 * out, with `text` left alone. The caller fills in the rest and gives it to events_push(). */
struct engine_event *events_new(struct engine_session *s, enum engine_event_type type, struct buf *text,
                                const int32_t *tokens, int n_tokens);
/* Pushes a FAILED event with the sentence. */
void events_fail(struct events *q, struct engine_session *s, const char *sentence);
/* The engine runs nothing any more, for the reason given; wakes the loop. Only the first reason counts.
 * [engine-thread] */
void events_break(struct events *q, const char *sentence);
/* Appends; wakes the loop once until it takes. Text that follows text of the same session that was not taken
 * yet is joined to it. [engine-thread] */
void events_push(struct events *q, struct engine_event *event);
/* From here to events_release() the loop is not woken: who pushes many events wakes it once, and does not
 * meet it at the lock for each. [engine-thread] */
void events_hold(struct events *q);
/* Wakes it if events wait that it does not know of. [engine-thread] */
void events_release(struct events *q);
/* [any-thread] */
struct engine_event *events_take(struct events *q);
/* Frees what waits for this session. [any-thread] */
void events_forget(struct events *q, const struct engine_session *s);

#endif
