#include "engine/scripted.h"

#include "base/buf.h"
#include "base/clock.h"
#include "engine/kind.h"
#include "engine/script.h"
#include "engine/utf8_hold.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_SESSION_BYTES ((size_t)64 << 20)
#define MAX_CHUNK_TEXT    64

struct scripted_session {
    struct engine_session base;
    struct scripted_session *next;
    bool dead;
    struct buf text; /* all that was appended and generated, as bytes */
    int n_tokens;
    int n_generations;

    bool running, cancel;
    const struct script_entry *entry;
    const char *turn;
    size_t at;       /* next byte of the turn */
    uint64_t due_ns; /* time of the next chunk */
    struct utf8_hold hold;
    int max_tokens, first, n_new;
    int32_t held[4]; /* ids whose bytes are held: a character spans at most four chunks */
    int n_held;
    uint64_t asked_ns, first_token_ns;
};

struct scripted_engine {
    struct engine base;
    struct script *script;
    int max_context, max_sessions, n_sessions;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* on the monotonic clock */
    bool stop;
    uint64_t n_computed; /* here: that were appended or generated */
    struct scripted_session *sessions;
    _Atomic int callers; /* that want the lock: the thread steps aside for them between two rounds */
};

static struct scripted_engine *engine_of(const struct engine_session *s) {
    return (struct scripted_engine *)(void *)s->engine;
}

static struct scripted_session *session_of(struct engine_session *s) {
    return (struct scripted_session *)(void *)s;
}

static void lock_for_caller(struct scripted_engine *e) {
    atomic_fetch_add(&e->callers, 1);
    pthread_mutex_lock(&e->lock);
    atomic_fetch_sub(&e->callers, 1);
}

/* ---- the thread ---- */

static void finish(struct scripted_engine *e, struct scripted_session *s, enum engine_finish why) {
    s->running = false;
    s->n_generations++;
    struct engine_event *event = events_new(&s->base, ENGINE_EVENT_DONE, NULL, s->held, s->n_held);
    if (event == NULL) {
        events_fail(&e->base.events, &s->base, "The scripted engine is out of memory.");
        return;
    }
    uint64_t now = clock_mono_ns();
    event->finish = why;
    event->prompt_tokens = s->first;
    event->cached_tokens = s->first;
    if (s->first_token_ns != 0) {
        event->first_token_ms = (double)(s->first_token_ns - s->asked_ns) * 1e-6;
        event->decode_ms = (double)(now - s->first_token_ns) * 1e-6;
    }
    events_push(&e->base.events, event);
}

static void fail(struct scripted_engine *e, struct scripted_session *s, const char *sentence) {
    s->running = false;
    s->n_generations++;
    events_fail(&e->base.events, &s->base, sentence);
}

/* Puts a chunk on the timeline. */
static int keep_token(struct scripted_engine *e, struct scripted_session *s, const char *bytes, size_t n) {
    int rc = buf_append(&s->text, bytes, n);
    if (rc < 0)
        return rc;
    int32_t id = (int32_t)(n << 24);
    for (size_t i = 0; i < n; i++)
        id |= (int32_t)((uint32_t)(unsigned char)bytes[i] << (8 * i));
    s->held[s->n_held++] = id;
    s->n_new++;
    s->n_tokens++;
    e->n_computed++;
    return 0;
}

/* Sends the text that a chunk completed, with the ids behind it. */
static int send_text(struct scripted_engine *e, struct scripted_session *s, const char *bytes, size_t n) {
    struct buf text;
    buf_init(&text, MAX_CHUNK_TEXT);
    int rc = utf8_hold_push(&s->hold, bytes, n, &text);
    if (rc == 0 && text.len > 0) {
        struct engine_event *event = events_new(&s->base, ENGINE_EVENT_TEXT, &text, s->held, s->n_held);
        rc = event == NULL ? -ENOMEM : 0;
        if (event != NULL)
            events_push(&e->base.events, event);
        s->n_held = 0;
    }
    buf_finish(&text);
    return rc;
}

/* The end of a turn. */
static void end_turn(struct scripted_engine *e, struct scripted_session *s) {
    if (s->entry->fail != NULL)
        fail(e, s, s->entry->fail);
    else
        finish(e, s, ENGINE_FINISH_STOP);
}

static void emit(struct scripted_engine *e, struct scripted_session *s) {
    size_t left = strlen(s->turn + s->at);
    if (left == 0 && s->entry->repeat) {
        s->at = 0;
        left = strlen(s->turn);
    }
    if (left == 0) {
        end_turn(e, s);
        return;
    }
    if (s->n_tokens >= e->max_context) {
        finish(e, s, ENGINE_FINISH_CONTEXT_FULL);
        return;
    }
    size_t n = left < (size_t)e->script->chunk ? left : (size_t)e->script->chunk;
    if (keep_token(e, s, s->turn + s->at, n) < 0 || send_text(e, s, s->turn + s->at, n) < 0) {
        fail(e, s, "The scripted engine is out of memory.");
        return;
    }
    s->at += n;
    if (s->first_token_ns == 0)
        s->first_token_ns = clock_mono_ns();
    if (s->n_new >= s->max_tokens)
        finish(e, s, ENGINE_FINISH_LENGTH);
    else if (s->turn[s->at] == '\0' && !s->entry->repeat)
        end_turn(e, s);
}

static void start_turn(struct scripted_engine *e, struct scripted_session *s) {
    char sentence[256];
    s->entry = script_find(e->script, s->text.data != NULL ? s->text.data : "");
    if (s->entry == NULL) {
        fail(e, s, "No script matches the session's text.");
    } else if (s->n_generations >= s->entry->n_turns) {
        err_set(sentence, sizeof sentence, 0, "Script \"%s\" has %d turns and turn %d was asked for.",
                s->entry->match, s->entry->n_turns, s->n_generations + 1);
        fail(e, s, sentence);
    } else {
        s->turn = s->entry->turns[s->n_generations];
        s->due_ns = s->asked_ns + (uint64_t)s->entry->delay_ms * 1000000u;
    }
}

static void session_free(struct scripted_session *s) {
    buf_finish(&s->text);
    free(s);
}

/* One round over all sessions. Returns when the next chunk is due: 0 = now, UINT64_MAX = nothing to do. */
static uint64_t round_once(struct scripted_engine *e) {
    uint64_t now = clock_mono_ns(), next = UINT64_MAX;
    struct scripted_session **link = &e->sessions;
    while (*link != NULL) {
        struct scripted_session *s = *link;
        if (s->dead) {
            *link = s->next;
            session_free(s);
            continue;
        }
        link = &s->next;
        if (s->running && s->cancel)
            finish(e, s, ENGINE_FINISH_CANCELLED);
        if (s->running && s->turn == NULL)
            start_turn(e, s);
        if (s->running && s->due_ns <= now) {
            emit(e, s);
            s->due_ns = now + (uint64_t)s->entry->delay_ms * 1000000u;
        }
        if (s->running && s->due_ns < next)
            next = s->due_ns;
    }
    return next <= now ? 0 : next;
}

static void *engine_main(void *arg) {
    struct scripted_engine *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->stop) {
        uint64_t next = round_once(e);
        if (next == 0) {
            pthread_mutex_unlock(&e->lock);
            while (atomic_load(&e->callers) > 0)
                sched_yield();
            pthread_mutex_lock(&e->lock);
        } else if (next == UINT64_MAX) {
            pthread_cond_wait(&e->changed, &e->lock);
        } else {
            struct timespec until = {.tv_sec = (time_t)(next / 1000000000u),
                                     .tv_nsec = (long)(next % 1000000000u)};
            pthread_cond_timedwait(&e->changed, &e->lock, &until);
        }
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* ---- the calls ---- */

static int session_create(struct engine *base, void *user, struct engine_session **out, char *err,
                          size_t errlen) {
    struct scripted_engine *e = (struct scripted_engine *)(void *)base;
    struct scripted_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for a session.");
    s->base = (struct engine_session){.engine = base, .user = user};
    buf_init(&s->text, MAX_SESSION_BYTES);
    lock_for_caller(e);
    bool full = e->n_sessions >= e->max_sessions;
    if (!full) {
        e->n_sessions++;
        s->next = e->sessions;
        e->sessions = s;
    }
    pthread_mutex_unlock(&e->lock);
    if (full) {
        session_free(s);
        return err_set(err, errlen, -EAGAIN, "All %d sessions of the engine are open; try again later.",
                       e->max_sessions);
    }
    *out = &s->base;
    return 0;
}

static int tokens_of_bytes(const struct scripted_engine *e, size_t n) {
    return (int)((n + (size_t)e->script->chunk - 1) / (size_t)e->script->chunk);
}

/* NUL bytes would end the text early for the search; they become spaces. */
static int append_text(struct buf *to, const char *text, size_t n) {
    size_t from = to->len;
    int rc = buf_append(to, text, n);
    for (size_t i = from; rc == 0 && i < to->len; i++)
        if (to->data[i] == '\0')
            to->data[i] = ' ';
    return rc;
}

static int append_ids(struct buf *to, const int32_t *ids, size_t n) {
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        uint32_t id = (uint32_t)ids[i], len = id >> 24 == 0 ? 1 : id >> 24;
        char bytes[3] = {(char)(id & 0xFF), (char)(id >> 8 & 0xFF), (char)(id >> 16 & 0xFF)};
        rc = len > 3 ? -EINVAL : append_text(to, bytes, len);
    }
    return rc;
}

static int append_locked(struct scripted_engine *e, struct scripted_session *s,
                         const struct engine_span *spans, size_t n, char *err, size_t errlen) {
    int added = 0, replayed = 0, rc = 0;
    size_t before = s->text.len;
    for (size_t i = 0; i < n; i++)
        added += spans[i].kind == ENGINE_SPAN_TOKENS ? (int)spans[i].len : tokens_of_bytes(e, spans[i].len);
    if (s->running)
        return err_set(err, errlen, -EBUSY, "The session is generating; append when it is done.");
    if (added > e->max_context - s->n_tokens)
        return err_set(err, errlen, -E2BIG,
                       "The context holds %d tokens: %d are used and %d more were to be added.",
                       e->max_context, s->n_tokens, added);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (spans[i].kind == ENGINE_SPAN_TOKENS) {
            rc = append_ids(&s->text, spans[i].data, spans[i].len);
            replayed++;
        } else {
            rc = append_text(&s->text, spans[i].data, spans[i].len);
        }
    }
    if (rc < 0) {
        s->text.len = before;
        return err_set(err, errlen, rc, "The spans cannot be appended: %s.", strerror(-rc));
    }
    s->n_generations += replayed;
    s->n_tokens += added;
    e->n_computed += (uint64_t)added;
    return added;
}

static void session_about(struct engine_session *s, const struct engine_about *about) {
    (void)s; /* nothing is computed here, so nothing can be missed */
    (void)about;
}

static void session_waits(struct engine_session *s, uint64_t ms) {
    (void)s;
    (void)ms;
}

static int session_append(struct engine_session *base, const struct engine_span *spans, size_t n, char *err,
                          size_t errlen) {
    struct scripted_engine *e = engine_of(base);
    lock_for_caller(e);
    int rc = append_locked(e, session_of(base), spans, n, err, errlen);
    pthread_mutex_unlock(&e->lock);
    return rc;
}

static int session_length(const struct engine_session *base) {
    struct scripted_engine *e = engine_of(base);
    lock_for_caller(e);
    int n = ((const struct scripted_session *)(const void *)base)->n_tokens;
    pthread_mutex_unlock(&e->lock);
    return n;
}

static void session_destroy(struct engine_session *base) {
    struct scripted_engine *e = engine_of(base);
    lock_for_caller(e);
    session_of(base)->dead = true;
    e->n_sessions--;
    events_forget(&e->base.events, base);
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

static int session_generate(struct engine_session *base, const struct engine_generate *how, char *err,
                            size_t errlen) {
    struct scripted_engine *e = engine_of(base);
    struct scripted_session *s = session_of(base);
    if (how->max_tokens <= 0)
        return err_set(err, errlen, -EINVAL, "max_tokens must be positive, not %d.", how->max_tokens);
    lock_for_caller(e);
    bool busy = s->running;
    if (!busy) {
        s->running = true;
        s->cancel = false;
        s->turn = NULL;
        s->at = 0;
        s->max_tokens = how->max_tokens;
        s->n_new = s->n_held = 0;
        s->hold.n = 0;
        s->first = s->n_tokens;
        s->asked_ns = clock_mono_ns();
        s->first_token_ns = 0;
        pthread_cond_signal(&e->changed);
    }
    pthread_mutex_unlock(&e->lock);
    return busy ? err_set(err, errlen, -EBUSY, "The session is generating already.") : 0;
}

static void session_cancel(struct engine_session *base) {
    struct scripted_engine *e = engine_of(base);
    lock_for_caller(e);
    session_of(base)->cancel = session_of(base)->running;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

static uint64_t computed_tokens(const struct engine *base) {
    struct scripted_engine *e = (struct scripted_engine *)(uintptr_t)base;
    lock_for_caller(e);
    uint64_t n = e->n_computed;
    pthread_mutex_unlock(&e->lock);
    return n;
}

static int count_tokens(const struct engine *base, const char *text, size_t len) {
    (void)text;
    return tokens_of_bytes((const struct scripted_engine *)(const void *)base, len);
}

static void info(const struct engine *base, struct engine_info *out) {
    const struct scripted_engine *e = (const struct scripted_engine *)(const void *)base;
    *out = (struct engine_info){.model_name = "scripted",
                                .device = "script",
                                .format = "scripted",
                                .max_context = e->max_context,
                                .n_vocab = 1 << 26};
}

static void free_all(struct scripted_engine *e) {
    while (e->sessions != NULL) {
        struct scripted_session *s = e->sessions;
        e->sessions = s->next;
        session_free(s);
    }
    script_free(e->script);
    events_finish(&e->base.events);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static void close_engine(struct engine *base) {
    struct scripted_engine *e = (struct scripted_engine *)(void *)base;
    lock_for_caller(e);
    e->stop = true;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    free_all(e);
}

static const struct engine_kind scripted_kind = {
    .close = close_engine,
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

int scripted_open(const struct engine_config *config, struct engine **out, char *err, size_t errlen) {
    struct script *script;
    int rc = script_read(config->model_path, &script, err, errlen);
    if (rc < 0)
        return rc;
    struct scripted_engine *e = calloc(1, sizeof *e);
    if (e == NULL) {
        script_free(script);
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the engine.");
    }
    e->base.kind = &scripted_kind;
    e->script = script;
    e->max_context = config->max_context > 0 ? config->max_context : 131072;
    e->max_sessions = config->max_sessions;
    events_init(&e->base.events, config->wake, config->wake_arg);
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&e->changed, &attr);
    pthread_condattr_destroy(&attr);
    rc = -pthread_create(&e->thread, NULL, engine_main, e);
    if (rc < 0) {
        free_all(e);
        return err_set(err, errlen, rc, "Cannot start the engine thread: %s.", strerror(-rc));
    }
    *out = &e->base;
    return 0;
}
