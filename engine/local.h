/* The engine with the model in this process. Private to engine/ and its tests.
 *
 * One mutex guards sessions and their timelines. The engine thread holds it to plan a step and to keep its
 * results, never while the device computes; callers hold it for moments. Everything of a session marked
 * [engine] belongs to the engine thread alone. */
#ifndef ENGINE_LOCAL_H
#define ENGINE_LOCAL_H

#include "engine/forced.h"
#include "engine/forward.h"
#include "engine/grammar.h"
#include "engine/grammar_vocab.h"
#include "engine/kind.h"
#include "engine/model.h"
#include "engine/pages.h"
#include "engine/sampler.h"
#include "engine/utf8_hold.h"

/* Rows of one step at most: decode rows first, prefill fills the rest. Prefill is cut further so that a step
 * takes about LOCAL_STEP_NS, or LOCAL_MIXED_STEP_NS when sessions that generate wait for it: that is how late
 * a cancel or a next token can be on a slow machine. */
#define LOCAL_STEP_ROWS     256
#define LOCAL_MIN_ROWS      16
#define LOCAL_STEP_NS       250e6
#define LOCAL_MIXED_STEP_NS 60e6
#define LOCAL_MAX_STOPS     16

struct generation {
    bool running;
    bool cancel;
    int first; /* index on the timeline of the first generated token */
    int sure;  /* index of the first token that may be replaced yet; n_tokens without a grammar */
    int piece; /* index of the first token whose bytes are not in `hold` yet */
    int sent;  /* index of the first token that no event carried yet */
    int steps; /* tokens that the model chose */
    int max_tokens;
    int32_t stops[LOCAL_MAX_STOPS];
    int n_stops;
    struct sampler sampler;         /* [engine] while running */
    struct utf8_hold hold;          /* [engine] while running */
    struct grammar *grammar;        /* a reference while running; NULL: free */
    struct grammar_matcher matcher; /* [engine] begun with the first token */
    struct forced forced;           /* [engine] */
    bool no_forced;
    int computed_tokens; /* prompt tokens computed since the last generation ended */
    uint64_t asked_ns, started_ns, first_token_ns; /* 0: not yet */
};

struct local_session {
    struct engine_session base;
    struct local_session *next; /* in order of creation */
    bool dead;                  /* destroyed by its owner; the engine thread frees it */
    bool evicted;     /* its pages were taken while it waited: no background prefill until the next request */
    uint64_t order;   /* of the last request: lower goes first */
    uint64_t used_ns; /* last time a row was computed [engine] */

    int32_t *tokens; /* the timeline; grows only while no generation runs, or by the engine thread */
    int n_tokens, tokens_cap;
    int n_computed; /* of these, keys and values are in the pages */
    int32_t *pages; /* [engine] pages_cap >= n_pages */
    int n_pages, pages_cap;
    int n_published; /* [engine] leading pages that are published */
    int n_rows;      /* [engine] rows in the running step */
    struct generation gen;
};

/* Rows of the running step; sized once. [engine] */
struct step {
    struct kernels_row *rows;       /* max_rows */
    int32_t *outputs;               /* max_sessions */
    struct local_session **samples; /* max_sessions: session of each output */
    int32_t *sampled;               /* max_sessions */
    struct kernels_sample *how;     /* max_sessions: what the device needs to choose */
    int32_t *tables;                /* max_sessions x tables_stride */
    int tables_stride;
    int n_rows, n_outputs, n_tables;
};

struct local_engine {
    struct engine base;
    struct model *model;
    bool owns_model;
    struct forward *forward;
    struct pages *pages;               /* [engine] */
    struct sampler_candidate *scratch; /* [engine] n_vocab */
    struct step step;                  /* [engine] */
    struct grammar_vocab *vocab;       /* NULL: no grammars with this model, because of vocab_why */
    char vocab_why[160];
    uint32_t *mask; /* [engine] n_vocab bits */
    int max_context, max_rows, max_sessions;
    size_t kv_bytes_per_token;
    double row_ns; /* [engine] what a prefill row took lately; 0: not known yet */
    char format[96];
    char no_gpu[400]; /* why the CPU runs the model though a GPU was wanted; "": it was not */

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* something for the engine thread to do */
    bool stop;
    struct local_session *sessions;
    int n_sessions;
    uint64_t last_order;
    uint64_t n_steps; /* that were run */
};

HX_MUST_CHECK int local_open(const struct engine_config *config, struct engine **out, char *err,
                             size_t errlen);
/* As local_open() with a model that is there already; it stays the caller's. `exact`: products in F32, F32
 * KV. For tests. */
HX_MUST_CHECK int local_open_model(const struct engine_config *config, struct model *model, bool exact,
                                   struct engine **out, char *err, size_t errlen);

void local_close(struct local_engine *e);

/* engine/session.c */
extern const struct engine_kind local_kind;
void local_session_free(struct local_session *s);

/* engine/batch.c. [engine-thread] */
HX_MUST_CHECK int batch_init(struct local_engine *e);
void batch_finish(struct local_engine *e);
/* Buries dead sessions, ends cancelled generations and fills e->step. True when there is a step to run. [lock
 * held] */
bool batch_plan(struct local_engine *e);
/* Runs the planned step without the lock, samples, then keeps the results and sends the events. */
void batch_run(struct local_engine *e);
/* Gives back all pages of a session; its timeline is computed again when needed. */
void batch_release_pages(struct local_engine *e, struct local_session *s);

/* engine/choose.c: the tokens of a step's outputs. [engine-thread] */
/* What the device may choose; NULL: nothing. Borrowed until choose_all(). */
const struct kernels_sample *choose_prepare(struct local_engine *e);
/* After the step: fills step.sampled, with the device's tokens where it chose. */
void choose_all(struct local_engine *e);

/* engine/constrained.c: sampling under the grammar of the generation. [engine-thread] */
/* Makes what it needs of the model's vocabulary. -ENOMEM. */
HX_MUST_CHECK int constrained_init(struct local_engine *e);
void constrained_finish(struct local_engine *e);
/* The next token of the session from these logits (used as scratch), or a negative errno. Unless the
 * generation is without forced tokens, gen.forced.ids stand for the token and those after gen.sure. */
#define CONSTRAINED_FORCED INT32_MIN /* the model had no choice: there is no token but those */
HX_MUST_CHECK int32_t constrained_next(struct local_engine *e, struct local_session *s, float *logits);
/* The generation is over, or the session. */
void constrained_release(struct generation *g);

/* engine/finish.c: ends the running generation with one event. [lock held] */
void finish_generation(struct local_engine *e, struct local_session *s, enum engine_finish why);
void finish_failed(struct local_engine *e, struct local_session *s, const char *sentence);
/* Sends the text of the tokens that are sure. False when memory is out. [lock held] */
bool finish_send_text(struct local_engine *e, struct local_session *s);

#endif
