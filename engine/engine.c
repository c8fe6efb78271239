/* The public calls, handed to the kind of engine that was opened. */
#include "engine/engine.h"

#include "engine/kind.h"
#include "engine/local.h"
#include "engine/scripted.h"

#include <errno.h>
#include <string.h>

struct engine_config engine_config_filled(const struct engine_config *config) {
    struct engine_config filled = *config;
    if (filled.max_sessions <= 0)
        filled.max_sessions = LOCAL_SESSIONS;
    return filled;
}

static const char *const kv_names[] = {
    [ENGINE_KV_F16] = "f16", [ENGINE_KV_F32] = "f32", [ENGINE_KV_Q8] = "q8"};

const char *engine_kv_name(enum engine_kv kv) {
    return kv_names[kv];
}

int engine_kv_parse(const char *text, enum engine_kv *kv) {
    for (size_t i = 0; i < sizeof kv_names / sizeof kv_names[0]; i++)
        if (strcmp(text, kv_names[i]) == 0) {
            *kv = (enum engine_kv)i;
            return 0;
        }
    return -EINVAL;
}

int engine_open(const struct engine_config *config, struct engine **out, char *err, size_t errlen) {
    struct engine_config filled = engine_config_filled(config);
    return filled.scripted ? scripted_open(&filled, out, err, errlen) : local_open(&filled, out, err, errlen);
}

void engine_close(struct engine *e) {
    if (e != NULL)
        e->kind->close(e);
}

int engine_keep_prefixes(struct engine *e, char *err, size_t errlen) {
    return e->kind->keep_prefixes != NULL ? e->kind->keep_prefixes(e, err, errlen) : 0;
}

const char *engine_failure(struct engine *e) {
    pthread_mutex_lock(&e->events.lock);
    const char *why = e->events.failure[0] != '\0' ? e->events.failure : NULL;
    pthread_mutex_unlock(&e->events.lock);
    return why; /* it is written once */
}

void engine_info(const struct engine *e, struct engine_info *info) {
    e->kind->info(e, info);
}

int engine_session_create(struct engine *e, void *user, struct engine_session **out, char *err,
                          size_t errlen) {
    return e->kind->session_create(e, user, out, err, errlen);
}

int engine_session_append(struct engine_session *s, const struct engine_span *spans, size_t n, char *err,
                          size_t errlen) {
    return s->engine->kind->session_append(s, spans, n, err, errlen);
}

int engine_session_length(const struct engine_session *s) {
    return s->engine->kind->session_length(s);
}

void engine_session_destroy(struct engine_session *s) {
    if (s != NULL)
        s->engine->kind->session_destroy(s);
}

int engine_session_generate(struct engine_session *s, const struct engine_generate *how, char *err,
                            size_t errlen) {
    return s->engine->kind->session_generate(s, how, err, errlen);
}

void engine_session_cancel(struct engine_session *s) {
    s->engine->kind->session_cancel(s);
}

void engine_session_about(struct engine_session *s, const struct engine_about *about) {
    s->engine->kind->session_about(s, about);
}

void engine_session_waits(struct engine_session *s, uint64_t ms) {
    s->engine->kind->session_waits(s, ms);
}

const char *engine_miss_name(enum engine_miss why) {
    static const char *const names[ENGINE_MISS_REASONS] = {
        [ENGINE_MISS_EVICTED] = "evicted",       [ENGINE_MISS_ROLLED_BACK] = "rolled_back",
        [ENGINE_MISS_LAST_TOKEN] = "last_token", [ENGINE_MISS_RESTART] = "restart",
        [ENGINE_MISS_FAILED] = "failed",         [ENGINE_MISS_AT_ONCE] = "at_once",
    };
    return names[why];
}

struct engine_event *engine_take_events(struct engine *e) {
    return events_take(&e->events);
}

uint64_t engine_computed_tokens(const struct engine *e) {
    return e->kind->computed_tokens(e);
}

int engine_count_tokens(const struct engine *e, const char *text, size_t len) {
    return e->kind->count_tokens(e, text, len);
}
