/* The engine: one loaded model and one thread that runs it, for many sessions at once.
 *
 * A session is one append-only timeline of tokens with its KV pages. The loop thread appends spans and asks
 * for generation; the engine thread batches what is wanted of all sessions, one step after the other, and
 * hands back events. Nothing here blocks the caller and nothing calls back into it but `wake`.
 *
 * The same header serves three engines: `local` (the model in this process), `remote` (an OpenAI-compatible
 * server, later) and `scripted` (replays given text: tests, replay, load tests). Functions are [any-thread]
 * for the engine, and one thread at a time per session, unless said otherwise. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/err.h"
#include "kernels/gpus.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct engine_session;
struct grammar; /* engine/grammar.h */
struct model;

/* ---- opening ---- */

enum engine_device {
    ENGINE_DEVICE_AUTO, /* a GPU where there is one and the model fits, else the CPU */
    ENGINE_DEVICE_CPU,
    ENGINE_DEVICE_CUDA, /* or fail */
};

/* What keys and values are kept in. Q8: 8 bits with one factor per vector, about half of F16; not on a GPU.
 */
enum engine_kv { ENGINE_KV_F16, ENGINE_KV_F32, ENGINE_KV_Q8 };
/* "f16", "f32", "q8". */
const char *engine_kv_name(enum engine_kv kv);
/* -EINVAL for any other text; *kv is left alone then. */
HX_MUST_CHECK int engine_kv_parse(const char *text, enum engine_kv *kv);

struct engine_config {
    const char *model_path; /* .gguf or folder; for "scripted": the script file, see engine/scripted.h */
    bool scripted;
    enum engine_device device;
    const char *gpu_module; /* file of the CUDA module; NULL: there is none */
    struct gpus gpus;       /* which GPUs share the model, where they run it */
    int gpu_wait_ms;        /* a GPU that is waited for longer has failed, see engine_failure(); 0 = 60 s */
    int n_threads;          /* compute threads; 0 = number of CPUs */
    const char *isa;        /* instruction set of the CPU, see cpu_open(), for benchmarks; NULL: the best */
    int max_context;        /* tokens per session; 0 = what the model was made for (at most 131072) */
    bool weights_first;     /* weights that are copied into large pages (local.h) are there when the engine is
                               open, as a measurement wants it; else they come while it works */
    enum engine_kv kv;
    /* Ceiling of all KV pages together, -E2BIG when it is more than memory holds; 0 = a quarter of the memory
     * that the process may use, or what the weights leave of it; on a GPU four fifths of what it has left
     * beside the weights. */
    size_t kv_bytes;
    /* Host memory for pages that give way to others, from where they come back; 0 = on a GPU a quarter of the
     * machine's memory, on the CPU none: there they are computed again. */
    size_t host_kv_bytes;
    int max_sessions; /* 0 = 64 */
    /* File of the beginnings that sessions have in common, of at most so many bytes, for
     * engine_keep_prefixes(); mapped when the engine is opened, and read as prompts want
     * what is in it. NULL or 0: none. */
    const char *prefix_path;
    size_t prefix_bytes;
    /* Called on the engine thread whenever events became available; must only signal (uv_async_send). */
    void (*wake)(void *arg);
    void *wake_arg;
};

/* Loads the model and starts the thread. -EINVAL/-ENOTSUP/-ENOENT for the file, -EINVAL for a ceiling of keys
 * and values below one page, -E2BIG with the numbers for a model that does not fit into the machine, before
 * anything is allocated for it, -ENOMEM for all else that there is no memory for now. */
HX_MUST_CHECK int engine_open(const struct engine_config *config, struct engine **out, char *err,
                              size_t errlen);
/* Stops the thread after the running step; sessions still open are destroyed; events not taken are freed. */
void engine_close(struct engine *e);

/* Stops the engine for good and writes the pages that more than one session had to config.prefix_path; only
 * engine_close() may follow. Returns the number of pages written, 0 without such a file, or a negative errno
 * with the sentence. */
HX_MUST_CHECK int engine_keep_prefixes(struct engine *e, char *err, size_t errlen);

/* Why the engine runs nothing any more (its GPU has failed, its model was altered), a sentence that is
 * borrowed until engine_close(), which may take for ever then; NULL while it does. Generations that were
 * running get no event: they can go on only in another process. `wake` is called when it happens.
 * [any-thread] */
const char *engine_failure(struct engine *e);

struct engine_info {
    const char *model_name; /* borrowed until engine_close() */
    const char *device;     /* "cpu (avx2, 2 threads)" */
    const char *no_gpu;     /* why the device is not a GPU, a sentence; NULL: it is one, or none was wanted */
    const char *format;     /* "GGUF v3 Q8_0", "scripted" */
    uint64_t n_params;
    int max_context;
    int n_vocab;
    enum engine_kv kv;
    size_t kv_bytes_per_token;
    int kept_tokens;          /* that are in config.prefix_path for prompts that want them */
    const char *kept_ignored; /* why the file was not used, a sentence; NULL: it was, or there is none */
    const char *kept_lost; /* why some of it was not there when a prompt wanted it; NULL: all was, so far */
};
void engine_info(const struct engine *e, struct engine_info *info);

/* ---- sessions ---- */

/* What a prompt is made of. Each span is encoded alone. */
enum engine_span_kind {
    ENGINE_SPAN_TEMPLATE, /* trusted literal: added tokens are found */
    ENGINE_SPAN_TEXT,     /* untrusted bytes: can never become an added token */
    ENGINE_SPAN_TOKENS /* ids that this model generated before (replay from the journal); data = int32_t[len]
                        */
};
struct engine_span {
    enum engine_span_kind kind;
    const void *data; /* borrowed during the call */
    size_t len;       /* bytes; for ENGINE_SPAN_TOKENS: number of ids */
};

/* What the engine should know about a session besides its tokens; zeroed: nothing. */
struct engine_about {
    int64_t client; /* whose it is: clients share what there is equally, however many sessions each has */
    int priority;   /* higher goes first; of what is prefilled, one token in eight is of lower ones */
    bool replayed;  /* what is appended from now on was computed before, by another process */
};

/* `user` comes back in every event of the session. -EAGAIN when max_sessions are open. */
HX_MUST_CHECK int engine_session_create(struct engine *e, void *user, struct engine_session **out, char *err,
                                        size_t errlen);
/* May be called again whenever something changes. */
void engine_session_about(struct engine_session *s, const struct engine_about *about);
/* Something is awaited before the session goes on, which takes about `ms` milliseconds: for so long, or until
 * the next generation, other waiting sessions lose their pages first when memory is short. */
void engine_session_waits(struct engine_session *s, uint64_t ms);
/* Appends to the end of the timeline (BOS is added by the engine before the first span when the model wants
 * one) and starts its prefill in the background, unless memory was short and what stands before has to be
 * computed again. Not allowed while a generation runs (-EBUSY). -E2BIG with
 * the numbers when it does not fit into the context: then nothing was appended. Returns the number of tokens
 * appended. */
HX_MUST_CHECK int engine_session_append(struct engine_session *s, const struct engine_span *spans, size_t n,
                                        char *err, size_t errlen);
/* Tokens on the timeline, prefilled or not. */
int engine_session_length(const struct engine_session *s);
/* No more events of this session are delivered after the call (the caller takes none of it from
 * engine_take_events() later). */
void engine_session_destroy(struct engine_session *s);

/* ---- generating ---- */

struct engine_sampling {
    float temperature;    /* 0 = greedy */
    int top_k;            /* 0 = off */
    float top_p;          /* 1 = off */
    float min_p;          /* 0 = off */
    float repeat_penalty; /* 1 = off, over the last 64 tokens */
    uint64_t seed;        /* same seed, same timeline, same model and batch shape: same tokens */
};

struct engine_generate {
    struct engine_sampling sampling;
    int max_tokens;                 /* > 0 */
    const char *const *stop_tokens; /* texts of added tokens that also end the turn, e.g. "<tool_response>";
                                       NULL-terminated or NULL */
    /* What may be written, from its beginning on; NULL: anything. The engine keeps a reference while it
     * generates, and its thread is the one that matches. Where max_tokens or the context leaves room for no
     * more than the rest of it, only what still ends in time is let through. The scripted engine takes no
     * notice of it. Text that the grammar leaves no choice about costs no step of the model; so that its
     * tokens can be the tokenizer's, text is not sent before its word is over. */
    struct grammar *grammar;
    bool no_forced;      /* every token is the model's choice; to measure what that costs */
    bool no_speculation; /* no token is guessed ahead of the model; the text is the same (engine/verify.c), on
                            a GPU but for near ties (kernels/kernels.h) */
    bool logprobs;       /* events tell how likely their tokens were; the scripted engine tells nothing */
    int top_logprobs;    /* and so many of the most likely ones in their places: 0 … ENGINE_TOP_LOGPROBS */
};

/* How likely the model found a token of the text: logarithms of the probabilities that its logits give, by
 * themselves (before grammar, penalty and temperature). */
#define ENGINE_TOP_LOGPROBS 20
struct engine_logprob {
    int32_t token;
    float logprob;
};
struct engine_logprobs {
    bool there; /* false: the model was not asked, because the grammar left no choice; nothing else is set */
    float logprob;
    int n_top;
    struct engine_logprob top[ENGINE_TOP_LOGPROBS]; /* best first */
};

/* Starts generating after the prefill. One generation at a time per session (-EBUSY). -ENOTSUP for a grammar
 * that the model's vocabulary cannot follow. Ends with one
 * ENGINE_EVENT_DONE or ENGINE_EVENT_FAILED. The token that ended the turn is not on the timeline. */
HX_MUST_CHECK int engine_session_generate(struct engine_session *s, const struct engine_generate *how,
                                          char *err, size_t errlen);
/* Ends the running generation at the next step; its DONE event has reason CANCELLED. Does nothing when none
 * runs. */
void engine_session_cancel(struct engine_session *s);

/* ---- events ---- */

enum engine_finish {
    ENGINE_FINISH_STOP,
    ENGINE_FINISH_LENGTH,
    ENGINE_FINISH_CONTEXT_FULL,
    ENGINE_FINISH_CANCELLED
};

enum engine_event_type {
    ENGINE_EVENT_TEXT,  /* more text: `text`, always whole UTF-8 characters */
    ENGINE_EVENT_DONE,  /* the generation ended: finish, tokens, timings */
    ENGINE_EVENT_FAILED /* the engine cannot go on with this session: `text` is the sentence */
};

/* Why a token was computed again though its place on an equal timeline had been computed before. */
enum engine_miss {
    ENGINE_MISS_EVICTED,     /* its page was taken for others; of sessions that are over not all is known, see
                                pages.h */
    ENGINE_MISS_ROLLED_BACK, /* tokens behind it were replaced, and there was no page for a copy */
    ENGINE_MISS_LAST_TOKEN,  /* a generation begins with the logits of the last token, which are not kept */
    ENGINE_MISS_RESTART,     /* by another process; see engine_session_about() */
    ENGINE_MISS_FAILED,      /* a step failed, so what it had computed does not count */
    ENGINE_MISS_AT_ONCE, /* another session computed it in the same step; more of it would be waited for */
    ENGINE_MISS_REASONS
};
/* "evicted", "rolled_back", … */
const char *engine_miss_name(enum engine_miss why);

struct engine_event {
    struct engine_event *next;
    struct engine_session *session;
    void *user;
    enum engine_event_type type;
    char *text; /* owned by the event, NUL-terminated */
    size_t len;

    /* Owned by the event. TEXT: the ids behind this text, so that what was journalled can be put on a new
     * timeline exactly. DONE: the ids that came after the last TEXT event (held back bytes), usually none.
     * All ids of TEXT and DONE together are what the generation left on the timeline. */
    int32_t *tokens;
    int n_tokens;
    struct engine_logprobs *logprobs; /* owned by the event, n_tokens of them; NULL: not asked for */

    enum engine_finish finish;
    int prompt_tokens; /* DONE: length of the timeline before the generation */
    int cached_tokens; /* DONE: of those, how many were not computed for this generation */
    /* DONE: tokens of the session that were computed since its last DONE, also those of earlier turns again
     * and those that were replaced; and of these, the ones that should not have been necessary. */
    int computed_tokens;
    int missed_tokens[ENGINE_MISS_REASONS];
    int forced_tokens;   /* DONE: of the generated ones, how many cost no step because of the grammar */
    int drafted_tokens;  /* DONE: how many were guessed and computed beside one that was sure */
    int accepted_tokens; /* DONE: of these, how many came true, so that they cost no step of their own */
    int ahead_tokens;    /* DONE: of the prompt, how many were computed before the generation was asked for */
    double queue_ms, prefill_ms, first_token_ms, decode_ms;
};

/* Takes all events there are, oldest first; NULL for none. The caller frees each with engine_event_free().
 * [loop-thread] */
struct engine_event *engine_take_events(struct engine *e);
void engine_event_free(struct engine_event *event);

/* Tokens whose keys and values were computed since the engine was opened, guessed ones that came true
 * included. [any-thread] */
uint64_t engine_computed_tokens(const struct engine *e);

/* Number of tokens of a text on the text path, for limits and usage; -ENOMEM. */
HX_MUST_CHECK int engine_count_tokens(const struct engine *e, const char *text, size_t len);

#endif
