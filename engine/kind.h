/* What one kind of engine (local, scripted) implements, and what all have in common. Private to engine/. */
#ifndef ENGINE_KIND_H
#define ENGINE_KIND_H

#include "engine/engine.h"
#include "engine/events.h"

struct engine_kind {
    void (*close)(struct engine *e);
    int (*keep_prefixes)(struct engine *e, char *err, size_t errlen); /* NULL: it has nothing to keep */
    void (*info)(const struct engine *e, struct engine_info *info);
    int (*session_create)(struct engine *e, void *user, struct engine_session **out, char *err,
                          size_t errlen);
    void (*session_about)(struct engine_session *s, const struct engine_about *about);
    void (*session_waits)(struct engine_session *s, uint64_t ms);
    int (*session_append)(struct engine_session *s, const struct engine_span *spans, size_t n, char *err,
                          size_t errlen);
    int (*session_length)(const struct engine_session *s);
    void (*session_destroy)(struct engine_session *s);
    int (*session_generate)(struct engine_session *s, const struct engine_generate *how, char *err,
                            size_t errlen);
    void (*session_cancel)(struct engine_session *s);
    uint64_t (*computed_tokens)(const struct engine *e);
    int (*count_tokens)(const struct engine *e, const char *text, size_t len);
};

/* First member of every engine. */
struct engine {
    const struct engine_kind *kind;
    struct events events;
};

/* First member of every session. */
struct engine_session {
    struct engine *engine;
    void *user;
};

/* Defaults filled in: max_sessions, n_threads stays 0. */
struct engine_config engine_config_filled(const struct engine_config *config);

#endif
