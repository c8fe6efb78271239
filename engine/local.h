/* The engine with the model in this process. Private to engine/ and its tests.
 *
 * One mutex guards sessions and their timelines. The engine thread holds it to plan a step and to keep its
 * results, never while the device computes; callers hold it for moments. Everything of a session marked
 * [engine] belongs to the engine thread alone. */
#ifndef ENGINE_LOCAL_H
#define ENGINE_LOCAL_H

#include "engine/draft.h"
#include "engine/forced.h"
#include "engine/forward.h"
#include "engine/grammar.h"
#include "engine/grammar_vocab.h"
#include "engine/kind.h"
#include "engine/model.h"
#include "engine/pages.h"
#include "engine/sampler.h"
#include "engine/speculate.h"
#include "engine/utf8_hold.h"

/* Sessions at once, and tokens of each, when nobody says how many. */
#define LOCAL_SESSIONS 64
#define LOCAL_CONTEXT  131072

/* A step has as many rows as the device says, CPU_STEP_ROWS or CUDA_STEP_ROWS, at most: decode rows first,
 * prefill fills the rest. Prefill is cut further so that a step takes about LOCAL_STEP_NS, or
 * LOCAL_MIXED_STEP_NS when sessions that generate wait for it: that is how late a cancel or a next token can
 * be on a slow machine. */
#define LOCAL_MIN_ROWS      16
#define LOCAL_STEP_NS       1e9
#define LOCAL_MIXED_STEP_NS 60e6
#define LOCAL_MAX_STOPS     16
/* While prompts of several priorities are read, one row of so many is for those below the highest; of these
 * whoever has been without one for longest, so that none waits for ever. */
#define LOCAL_LOW_SHARE 8

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
    bool no_forced, no_speculation;
    bool logprobs;
    int n_top;
    struct engine_logprobs *told; /* [engine] of the tokens that no event carried yet; cap_told >= n_told */
    int n_told, cap_told;
    int32_t early; /* [engine] what constrained_next() returns before there are logits; 0: nothing */
    int n_drafted, n_accepted; /* tokens that were guessed, and those that came true */
    int computed_tokens;       /* prompt tokens computed since the last generation ended */
    int ahead_tokens;          /* of these, before this one was asked for */
    uint64_t asked_ns, started_ns, first_token_ns; /* 0: not yet */
};

/* Guessed tokens of a session, engine/verify.c. [engine] */
struct verify {
    struct draft draft; /* of the timeline, up to what is sure */
    struct speculate_luck luck;
    int32_t ids[SPECULATE_ROWS]; /* those in the running step */
    int n, matched;
    int base;   /* position of the first */
    int output; /* logits of the row before it */
    int at;     /* length of the timeline when the next token was sampled last */
};

struct local_session {
    struct engine_session base;
    struct local_session *next; /* in order of creation */
    bool dead;                  /* destroyed by its owner; the engine thread frees it */
    bool passed;                /* its turn in the step that is planned is over [engine] */
    bool rests; /* no background prefill until the next generation: its pages were taken, or it was cancelled
                 */
    uint64_t order;   /* of its making: lower goes first */
    uint64_t turn;    /* `order`, then the later the later it got rows of prefill last */
    uint64_t back_ns; /* when its owner expects to go on; 0: not known */
    uint64_t used_ns; /* last time a row was computed [engine] */

    int32_t *tokens; /* the timeline; grows only while no generation runs, or by the engine thread */
    int n_tokens, tokens_cap;
    int n_computed; /* of these, keys and values are in the pages */
    int32_t *pages; /* [engine] pages_cap >= n_pages */
    int n_pages, pages_cap;
    int n_published; /* [engine] leading pages that are published */
    int n_rows;      /* [engine] rows in the running step, without guesses */
    int n_at_once;   /* [engine] of these, the first ones, which another session has in it too */
    int output;      /* [engine] of the running step: the logits of its next token; -1: none */
    struct verify verify;
    /* The first n_known tokens were computed before, though n_computed may be less; why they are again. */
    int n_known;
    enum engine_miss known_why;
    int n_run, missed[ENGINE_MISS_REASONS]; /* computed since the last DONE event; of these, again */
    struct engine_about about;
    struct generation gen;
};

/* Rows of the running step; sized once. [engine] */
struct step {
    struct kernels_row *rows;       /* max_rows */
    int32_t *outputs;               /* max_sessions + SPECULATE_ROWS */
    struct local_session **samples; /* max_sessions: those that get a token */
    int32_t *sampled;               /* max_sessions: the token of each */
    struct engine_logprobs *told;   /* the same: how likely, where that is asked for */
    /* Where the device chooses, what it needs for that; else NULL. */
    struct kernels_sample *how;        /* max_sessions + SPECULATE_ROWS */
    int32_t (*recent)[KERNELS_RECENT]; /* SPECULATE_ROWS: texts with guesses in them */
    uint32_t *masks;                   /* max_sessions + SPECULATE_ROWS, mask_words each */
    size_t mask_words;
    int32_t *tables; /* max_sessions x tables_stride */
    int tables_stride;
    struct local_session **owners; /* max_sessions: session of each table */
    int n_rows, n_outputs, n_samples, n_tables;
    int n_guessed;        /* of the rows */
    int n_decode, budget; /* rows that are the next token of a generation; rows allowed with them */
};

/* How many rows of prefill a client got, since it last had none to wait for. */
struct local_client {
    int64_t id;
    uint64_t served;
};

struct local_engine {
    struct engine base;
    struct model *model;
    bool owns_model;
    struct forward *forward;
    struct pages *pages;               /* [engine] */
    struct host_pages *host_pages;     /* [engine] NULL: pages that give way are lost */
    struct sampler_candidate *scratch; /* [engine] n_vocab */
    float *raw;       /* [engine] n_vocab: logits before they were scratch, for log-probabilities */
    struct step step; /* [engine] */
    struct grammar_vocab *vocab; /* NULL: no grammars with this model, because of vocab_why */
    char vocab_why[160];
    uint32_t *mask; /* [engine] n_vocab bits */
    int max_context, max_rows, max_sessions;
    size_t scratch_bytes; /* that the device needs at most beside weights, keys and values */
    enum engine_kv kv;
    size_t kv_bytes_per_token;
    struct local_client *clients; /* [engine] max_sessions */
    int n_clients;
    uint64_t served;            /* [engine] where the client stood that was served last */
    int low_due;                /* [engine] 1/(LOCAL_LOW_SHARE - 1) rows that lower priorities may have now */
    double row_ns;              /* [engine] what a prefill row took lately; 0: not known yet */
    struct speculate_cost cost; /* [engine] of rows that each give a token */
    int always_rows;            /* for tests: of prefill in every step; 0: what takes LOCAL_STEP_NS */
    int always_guess;           /* for tests: so many tokens, whatever it costs; 0: as it pays */
    char format[96];
    char *prefix_path; /* NULL: beginnings are not kept */
    size_t prefix_bytes;
    uint64_t prefix_model;           /* which model they are of */
    struct prefix_file *prefix_file; /* [engine] of an earlier process; NULL: there is none */
    int kept_tokens;                 /* that may be found there */
    char kept_ignored[400];          /* why not; "" otherwise */
    bool reads_files;                /* weights lie in the model's files while steps run */
    char no_gpu[400];                /* why the CPU runs the model though a GPU was wanted; "": it was not */

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* something for the engine thread to do */
    bool stop, joined;
    struct local_session *sessions;
    int n_sessions;
    uint64_t last_order;
    uint64_t n_steps;                /* that were run */
    uint64_t n_computed;             /* tokens, by these */
    uint64_t n_by_device, n_by_host; /* tokens that the device chose; and the sampler, from logits [engine] */
    /* Called before each step runs, without the lock; for tests. */
    void (*observe)(void *arg, const struct local_engine *e);
    void *observe_arg;
};

HX_MUST_CHECK int local_open(const struct engine_config *config, struct engine **out, char *err,
                             size_t errlen);
/* As local_open() with a model that is there already; it stays the caller's. `exact`: products in F32, F32
 * KV whatever the config says. For tests. */
HX_MUST_CHECK int local_open_model(const struct engine_config *config, struct model *model, bool exact,
                                   struct engine **out, char *err, size_t errlen);

void local_close(struct local_engine *e);
/* As kernels_config has it. */
enum dtype local_kv_type(enum engine_kv kv);
/* As engine_keep_prefixes(). */
HX_MUST_CHECK int local_keep_prefixes(struct local_engine *e, char *err, size_t errlen);

/* engine/session.c */
extern const struct engine_kind local_kind;
void local_session_free(struct local_session *s);

/* engine/batch.c. [engine-thread] */
HX_MUST_CHECK int batch_init(struct local_engine *e);
void batch_finish(struct local_engine *e);
/* Runs the planned step without the lock, samples, then keeps the results and sends the events. */
void batch_run(struct local_engine *e);

/* engine/plan.c. Buries dead sessions, ends cancelled generations and fills e->step. True when there is a
 * step to run. [engine-thread] [lock held] */
bool plan_step(struct local_engine *e);
/* Whether `a` gives way to `b` last. An order of all sessions, so that one of them always gets on. */
bool plan_before(const struct local_session *a, const struct local_session *b);

/* engine/hold.c: which pages a session holds. [engine-thread] [lock held] */
/* Tokens to compute now. The last one of a timeline waits for a generation (or for more tokens), because its
 * logits are the first thing a generation needs. */
int hold_pending(const struct local_session *s);
/* Makes the session's list of pages. -ENOMEM. */
HX_MUST_CHECK int hold_table(struct local_engine *e, struct local_session *s);
/* Takes over what others have computed of the session's next tokens: shares whole pages, copies the beginning
 * of another one. The last token is left, for its logits. */
void hold_adopt(struct local_engine *e, struct local_session *s);
/* Whether a session of the running step computes what this one needs next: after it, it can be taken over. */
bool hold_waits(const struct local_engine *e, const struct local_session *s);
/* Sees which of the session's rows of this step another session computes in it too: so few that it does not
 * wait for them, as its first token would come a step later for that. */
void hold_see_at_once(const struct local_engine *e, struct local_session *s);
/* Counts the rows of the step that has run, n_computed being what it was before. */
void hold_count(struct local_session *s);
/* Makes pages for n_computed + n positions; returns how many of the n got one. Other sessions may lose
 * theirs: those that wait first (what is expected of them counts, then who was unused longest), then the last
 * of those that plan_before() has behind `s`. */
HX_MUST_CHECK int hold_reserve(struct local_engine *e, struct local_session *s, int n);
/* Publishes the pages that a step has filled. */
void hold_publish(struct local_engine *e, struct local_session *s);
/* What was computed from token n on does not count any more; `changed`: because there will be other tokens.
 */
void hold_roll_back(struct local_engine *e, struct local_session *s, int n, bool changed);
/* Gives back all pages of a session; its timeline is computed again when needed, unless it can be taken over
 * from what is left of them. */
void hold_release(struct local_engine *e, struct local_session *s, enum engine_miss why);

/* engine/choose.c: the tokens of a step's outputs. [engine-thread] */
/* -ENOMEM. */
HX_MUST_CHECK int choose_init(struct local_engine *e);
void choose_finish(struct local_engine *e);
/* What the device may choose, guessed rows too; NULL: nothing. Borrowed until the step has run. */
const struct kernels_sample *choose_prepare(struct local_engine *e);
/* After the step: a token of each session that has logits for its next in step.sampled, the device's where it
 * chose. Again once these were kept and logits of guessed rows have their turn. */
void choose_all(struct local_engine *e);
/* Of a session whose mask is applied: takes the device's token, or chooses from logits (used as scratch). */
int32_t choose_taken(struct local_engine *e, struct local_session *s, int32_t token);
int32_t choose_here(struct local_engine *e, struct local_session *s, float *logits);
/* The logits of the session's output; a copy is kept where they will be asked for. */
float *choose_logits(struct local_engine *e, const struct local_session *s);

/* engine/logprobs.c: what is told of the tokens behind g->sent. [engine-thread] */
/* The timeline goes up to `end` now, and is new from `first` on; the token at `chosen_at` (-1: none) was
 * chosen, and `told` is about it. -ENOMEM. */
HX_MUST_CHECK int logprobs_keep(struct generation *g, int first, int end, int chosen_at,
                                const struct engine_logprobs *told);
/* Gives an event what belongs to its tokens, the first of them. -ENOMEM. */
HX_MUST_CHECK int logprobs_attach(struct generation *g, struct engine_event *event);
void logprobs_release(struct generation *g);

/* engine/constrained.c: sampling under the grammar of the generation. [engine-thread] */
/* Makes what it needs of the model's vocabulary. -ENOMEM. */
HX_MUST_CHECK int constrained_init(struct local_engine *e);
void constrained_finish(struct local_engine *e);
/* Before the step: what the next token may be, and those after each of the session's guesses, as masks of
 * `words` words from `masks` on. Returns how many: none when the model is not asked, or there was an error,
 * which constrained_next() returns. */
int constrained_masks(struct local_engine *e, struct local_session *s, uint32_t *masks, size_t words);
/* The next token of the session, or a negative errno: `token`, which the device chose under the first of the
 * masks, or chosen here from the output's logits (-1, or when it comes too late). Unless the
 * generation is without forced tokens, gen.forced.ids stand for the token and those after gen.sure. */
#define CONSTRAINED_FORCED INT32_MIN /* the model had no choice: there is no token but those */
HX_MUST_CHECK int32_t constrained_next(struct local_engine *e, struct local_session *s, int32_t token);
/* The generation is over, or the session. */
void constrained_release(struct generation *g);

/* engine/verify.c: guessed tokens. [engine-thread] [lock held] */
/* Behind the one row of a session that decodes, which is the last of the step: rows of guesses. n_decode:
 * sessions that do. */
void verify_plan(struct local_engine *e, struct local_session *s, int n_decode);
/* A token was kept. s->output becomes that of the next one, if its logits are there already; else what came
 * true is counted as computed. */
void verify_next(struct local_engine *e, struct local_session *s);
/* The generation ends here. */
void verify_end(struct local_engine *e, struct local_session *s);

/* engine/finish.c: ends the running generation with one event. [lock held] */
void finish_generation(struct local_engine *e, struct local_session *s, enum engine_finish why);
void finish_failed(struct local_engine *e, struct local_session *s, const char *sentence);
/* Sends the text of the tokens that are sure. False when memory is out. [lock held] */
bool finish_send_text(struct local_engine *e, struct local_session *s);

/* Whether the token ends the turn. */
bool finish_is_stop(const struct local_engine *e, const struct local_session *s, int32_t token);
/* Tokens that the generation may have yet. */
uint32_t finish_tokens_left(const struct local_engine *e, const struct local_session *s);

#endif
