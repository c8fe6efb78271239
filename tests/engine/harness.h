/* Runs engines in tests: waits for events and sorts them by session. */
#ifndef TESTS_ENGINE_HARNESS_H
#define TESTS_ENGINE_HARNESS_H

#include "engine/engine.h"

#include <pthread.h>

#define HARNESS_SESSIONS  64
#define HARNESS_TEXT_ENDS 64

/* What came of one generation. */
struct outcome {
    struct engine_session *session;
    char *text; /* all TEXT, joined */
    size_t len;
    int n_text_events;
    size_t text_ends[HARNESS_TEXT_ENDS]; /* of the first ones: bytes of text that had come with each */
    int32_t *tokens;                     /* of TEXT and DONE events, joined */
    int n_tokens;
    struct engine_logprobs *logprobs; /* n_tokens of them; NULL: not asked for */
    bool done, failed;
    struct engine_event last; /* a copy of DONE or FAILED without its pointers */
    char sentence[300];       /* of FAILED */
};

struct harness {
    struct engine *engine;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int n_wakes;
    struct outcome outcomes[HARNESS_SESSIONS];
};

void harness_init(struct harness *h);
void harness_wake(void *harness);
/* Closes the engine and frees the outcomes. */
void harness_finish(struct harness *h);

struct engine_session *harness_session(struct harness *h);
void harness_append_text(struct engine_session *s, const char *text);
void harness_append_tokens(struct engine_session *s, const int32_t *ids, size_t n);
/* n tokens below `below` that depend on `seed`; the same seed, the same beginning. */
void harness_append_drawn(struct engine_session *s, int n, int seed, int below);
/* Starts a generation with an empty outcome. */
void harness_generate(struct harness *h, struct engine_session *s, const struct engine_sampling *how,
                      int max_tokens);
/* Tokens computed again, for whatever reason. */
int harness_missed(const struct outcome *o);
/* The outcome so far. */
struct outcome *harness_outcome(struct harness *h, struct engine_session *s);
/* Takes events until the session's generation ended; aborts after 100 s. */
struct outcome *harness_wait(struct harness *h, struct engine_session *s);
/* Takes events until this many tokens came. */
struct outcome *harness_wait_tokens(struct harness *h, struct engine_session *s, int n);
void harness_destroy(struct harness *h, struct engine_session *s);

#endif
