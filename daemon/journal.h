/* The journal: what was promised and what happened, in one SQLite file.
 *
 * Two threads of its own: one holds the only connection that writes, one a connection that only reads. The
 * loop thread never touches SQLite: it gives work away and gets the answers back.
 *
 *   b = journal_batch_create();  journal_add_…(b, …);  journal_submit(j, b, done, arg);
 *   … the journal commits, calls `wake`; the loop thread then calls journal_dispatch(), which calls done(arg,
 * result)
 *
 * A batch is committed whole or not at all, after every batch that was submitted before it. Everything that
 * is queued goes into one transaction (one fsync). `done` comes exactly once for every batch and every read
 * that was accepted, always from journal_dispatch() or journal_close(), never from inside the call that
 * submitted it. A read sees all that was reported as committed before it was submitted.
 *
 * Functions are [loop-thread] unless said otherwise. Times are nanoseconds of the wall clock
 * (base/clock.h), 0 = none; the file keeps them as text with milliseconds. Texts given to journal_add_…() are
 * copied; texts in a result are the journal's and gone when `done` returns. Tables and the view `trace`:
 * daemon/journal_schema.c. */
#ifndef DAEMON_JOURNAL_H
#define DAEMON_JOURNAL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;
struct journal_batch;

/* ---- opening ---- */

struct journal_config {
    const char *state_dir;  /* holds hermesd.db and hermesd.lock; created 0700 when missing */
    size_t max_queue_bytes; /* ceiling of what waits to be written; 0 = 64 MiB */
    size_t max_reads;       /* ceiling of reads that wait; 0 = 256 */
    /* Called on the journal's threads whenever journal_dispatch() has something; must only signal
     * (uv_async_send). May be NULL. */
    void (*wake)(void *arg);
    void *wake_arg;
};
/* Takes the lock of the state folder, opens or creates the file, migrates it, starts the threads. Blocks.
 * -EBUSY: another daemon uses the folder (the sentence names its process). -EACCES, -EROFS, -ENOSPC; -EPROTO:
 * the file was written by a newer version; -EBADMSG: the file is damaged or is no journal. */
HX_MUST_CHECK int journal_open(const struct journal_config *config, struct journal **out, char *err,
                               size_t errlen);
/* Commits what is queued, calls the callbacks that are left, checkpoints, ends the threads, frees. Blocks.
 * NULL is fine. */
void journal_close(struct journal *j);
/* Calls the callbacks of everything that is done. */
void journal_dispatch(struct journal *j);
/* Bytes of batches that are not committed yet. [any-thread] */
size_t journal_queued_bytes(struct journal *j);
/* 0, or the negative errno of a failure that no later commit can repair (a failed fsync: what was written may
 * be lost). Every batch fails from then on; the daemon should end. [any-thread] */
int journal_broken(struct journal *j);

/* ---- rows ---- */

/* A job. `status`: queued, working, input_required, completed, failed, cancelled. */
struct journal_job {
    const char *id;
    const char *kind;   /* "agent", "tool", "chat", "completion"; NULL = "agent" */
    const char *status; /* NULL on writing = "queued" */
    const char *title, *model;
    const char *
        request_json; /* what the client sent; never NULL, but for lists, which leave it and tools_json out */
    const char *metadata_json; /* what the client wants back with the job; opaque here; may be NULL */
    const char *tools_json;    /* the tools as they were offered, for replay; opaque here; may be NULL */
    const char *result_text, *error_code, *error_message;
    const char *result_repaired; /* NULL: the result is text; else it is JSON, and this is the names of the
                                    rules that made it of the answer, "" for none */
    bool result_narrated;        /* it announces a call that was never made */
    const char *client_name, *idempotency_key, *trace_id; /* each may be NULL */
    int64_t client_uid;                                   /* -1 = none (TCP) */
    int priority;
    int64_t created_ns, started_ns, finished_ns, deadline_ns; /* created_ns 0 on writing = now */
    int64_t input_tokens, output_tokens, cached_tokens, reasoning_tokens;
    int64_t prefix_miss_tokens; /* computed again though they had been before */
    int turns, tool_calls;
    /* on reading only */
    int starts;                 /* how often journal_add_job_started() was committed */
    int clean_stops;            /* of those, how many went from working back to queued */
    bool cancel_requested;      /* journal_add_cancel() was committed */
    int64_t last_seq;           /* of its events; 0 = none */
    const char *citations_json; /* of its answer, an array as the API shows it; NULL = none */
};

/* One piece of a prompt; see agent_span. */
struct journal_span {
    bool trusted;
    const char *text;
    size_t len;
};

/* One generation of a job. The prompt is what was appended to the timeline before it. */
struct journal_turn {
    const char *job_id;
    int turn; /* 0, 1, … */
    const struct journal_span *prompt;
    size_t n_prompt;
    uint64_t seed;
    const char *sampling_json; /* may be NULL */
    int64_t started_ns;        /* 0 on writing = now */
    /* set by journal_add_turn_text() and journal_add_turn_finished() */
    const char *text; /* all that was committed, in order */
    size_t len;
    const int32_t *tokens; /* the ids behind it */
    size_t n_tokens;
    const char *finish; /* "stop", "length", "context", "cancelled", "tool_calls", …; NULL = not finished */
    int64_t finished_ns; /* 0 on writing = now */
    int64_t input_tokens, output_tokens, cached_tokens, reasoning_tokens;
    int64_t forced_tokens;          /* of the output: what the grammar left no choice about; < 0 = unknown */
    int64_t drafted_tokens;         /* guessed ahead of the model; < 0 = unknown */
    int64_t accepted_tokens;        /* of these: came true; < 0 = unknown */
    int64_t ahead_tokens;           /* of the input: computed while calls still ran; < 0 = unknown */
    int64_t prefix_miss_tokens;     /* computed again though they had been before; < 0 = unknown */
    const char *prefix_misses_json; /* how many for which reason, an object; NULL = unknown */
    double queue_ms, prompt_ms, first_token_ms, decode_ms; /* < 0 = unknown */
};

/* One part of the conversation, for the trace. Calls are parts too, but written by journal_add_call(). */
struct journal_part {
    const char *job_id;
    int turn;
    int position;        /* order inside the turn */
    const char *role;    /* "system", "user", "assistant", "tool" */
    const char *type;    /* "text", "reasoning", "rehearsed" (a call that was only thought of) */
    const char *section; /* of reasoning: "SCRATCHPAD", "PLAN", …; of rehearsed: the tool's name; else NULL */
    const char *text;
    size_t len;
    bool truncated;
    int n_tokens;   /* < 0 = unknown */
    double ms;      /* < 0 = unknown */
    int call;       /* on reading: of type "tool_call", else -1 */
    int token_from; /* tokens of the turn before it; of no meaning where n_tokens is unknown */
};

/* A citation of a job's answer. */
struct journal_citation {
    const char *job_id;
    int position; /* order in the answer */
    const char *passage;
    size_t start, end; /* bytes of the answer */
    bool resolved;
    int call; /* whose result it is in; -1 = none */
};

/* One call. `state`: intent, waiting_approval, started, ok, error, cancelled, deadline, unknown (reference:
 * README, "Three rules"). */
struct journal_call {
    const char *job_id;
    int call; /* 0, 1, … over the whole job */
    int turn, position;
    const char *name, *arguments; /* arguments as JSON text */
    const char *raw;              /* as the model wrote it; may be NULL */
    bool valid;                   /* false: it was never going to run (unknown tool, bad JSON, a limit) */
    const char *state;            /* NULL on writing = "intent" */
    int attempt;                  /* times it was started */
    int pid;                      /* of the worker, 0 = unknown */
    const char *idempotency_key;
    /* the result */
    const char
        *error_code; /* "invalid", "timeout", "crashed", …: whatever names the outcome exactly; NULL for ok */
    const char *output; /* the tool's text, whole or cut; NULL = none */
    size_t output_len;
    bool is_json, truncated;
    int exit_code, signal;
    double duration_ms, first_byte_us, cpu_ms; /* < 0 = unknown */
    int64_t max_rss_kib;
    int64_t created_ns, started_ns, finished_ns; /* 0 on writing = now, in the function that sets it */
    const char *repaired; /* the rules it was normalised by, ", " between them; NULL = none */
};

/* A durable event: what event streams replay. `seq` is given by the job: 1, 2, … without gaps. */
struct journal_event {
    const char *job_id;
    int64_t seq;
    const char *type;
    const char *data; /* JSON, one line */
    size_t len;
    int64_t created_ns; /* 0 on writing = now */
};

/* A tool as it was offered; the same tool again changes nothing. */
struct journal_tool {
    const char *name, *version, *provider, *description, *input_schema;
    uint32_t flags;
};

/* ---- writing ---- */

/* NULL when memory is out. */
struct journal_batch *journal_batch_create(void);
/* For one that was not submitted. NULL is fine. */
void journal_batch_destroy(struct journal_batch *b);

/* Each adds to the batch. The first failure (memory) sticks and is returned by journal_submit(). */
void journal_add_tool(struct journal_batch *b, const struct journal_tool *tool);
/* A new job. The batch fails with -EEXIST when the client already used the idempotency key, see
 * journal_result. */
void journal_add_job(struct journal_batch *b, const struct journal_job *job);
/* status = working, starts + 1, started_at (0 = now) at the first time. Also when a job goes on after a
 * restart. */
void journal_add_job_started(struct journal_batch *b, const char *job_id, int64_t started_ns);
/* working <-> input_required <-> queued. */
void journal_add_job_status(struct journal_batch *b, const char *job_id, const char *status);
/* Cancelling survives a restart. */
void journal_add_cancel(struct journal_batch *b, const char *job_id);
/* Its end: id, status, result_…, error_…, tokens, turns and tool_calls of `job` are stored. */
void journal_add_job_finished(struct journal_batch *b, const struct journal_job *job);
/* Removes it with all that belongs to it. */
void journal_add_job_deleted(struct journal_batch *b, const char *job_id);
/* A generation begins: prompt, seed, sampling. The same turn again (after a restart) takes the place of the
 * old one and drops its uncommitted end: text, tokens, finish and parts of the turn are emptied unless `keep`
 * is set. */
void journal_add_turn(struct journal_batch *b, const struct journal_turn *turn, bool keep);
/* More of its text and the ids behind it. Commit before a call of that text starts. */
void journal_add_turn_text(struct journal_batch *b, const char *job_id, int turn, const char *text,
                           size_t len, const int32_t *tokens, size_t n_tokens);
/* Its end: finish, counts and timings of `turn` (not the text). */
void journal_add_turn_finished(struct journal_batch *b, const struct journal_turn *turn);
void journal_add_part(struct journal_batch *b, const struct journal_part *part);
/* A call the model asked for (state intent), or one that will not run (valid false, with state, error_code,
 * output). */
void journal_add_call(struct journal_batch *b, const struct journal_call *call);
/* state = started, attempt, pid, idempotency_key. Commit before the first byte goes to the tool. */
void journal_add_call_started(struct journal_batch *b, const struct journal_call *call);
/* Its end: state and all of "the result"; pid too when it is not 0. */
void journal_add_call_finished(struct journal_batch *b, const struct journal_call *call);
/* Add it with the job's end. */
void journal_add_citation(struct journal_batch *b, const struct journal_citation *citation);
void journal_add_event(struct journal_batch *b, const struct journal_event *event);

/* ---- answers ---- */

struct journal_result {
    int status; /* 0: committed, or read. Else a negative errno: -ENOSPC (disk full), -EEXIST, -ENOENT, -EIO,
                   … */
    const char *err; /* the sentence; "" for 0 */
    /* -EEXIST: the job that has the key, and whether its request_json is the same to the byte */
    const char *existing_id;
    bool same_request;
    /* reads; arrays may be empty */
    const struct journal_job *jobs;
    size_t n_jobs;
    const struct journal_event *events;
    size_t n_events;
    const struct journal_turn *turns;
    size_t n_turns;
    const struct journal_part *parts;
    size_t n_parts;
    const struct journal_call *calls;
    size_t n_calls;
    const struct journal_count *counts;
    size_t n_counts;
    bool has_more; /* there are further rows behind the last one */
};
struct journal_count {
    const char *status;
    int64_t jobs;
};
/* May be NULL where nobody waits for the answer. */
typedef void journal_done(void *arg, const struct journal_result *result);

/* Batches that stand on each other, as those of one job do: once one of a chain was not committed, none that
 * was submitted after it is; their status is -ECANCELED. A chain begins as zeroes; it is the journal's from
 * the first submit until the last `done` came. */
struct journal_chain {
    int state;
};
/* Before it is submitted; `chain` is borrowed as above. */
void journal_batch_chain(struct journal_batch *b, struct journal_chain *chain);

/* Gives the batch away; it is gone whatever is returned. An empty batch is fine (a fence).
 * -ENOMEM; -EAGAIN: too much waits already. A batch with a new job is refused above max_queue_bytes, every
 * other one only above four times that, so that running jobs come to their end. -EIO: the journal is broken.
 * Then `done` is not called. */
HX_MUST_CHECK int journal_submit(struct journal *j, struct journal_batch *b, journal_done *done, void *arg);

/* ---- reading: 0, -EAGAIN or -ENOMEM; then `done` is not called ---- */

struct journal_jobs_query {
    const char *status; /* NULL = any */
    const char *after;  /* id of the last job the client has; NULL = from the start. -ENOENT in the result for
                           an unknown one */
    const char *match;  /* a part of the id; NULL = any */
    const char *kind;   /* NULL = any */
    int64_t client_uid; /* only jobs of this client; -1 = of all */
    int limit;          /* 1 to 1000 */
    bool oldest_first;  /* default: newest first */
};
/* jobs, has_more. */
HX_MUST_CHECK int journal_read_jobs(struct journal *j, const struct journal_jobs_query *query,
                                    journal_done *done, void *arg);
/* jobs[0], or -ENOENT. */
HX_MUST_CHECK int journal_read_job(struct journal *j, const char *job_id, journal_done *done, void *arg);
/* events with seq > after, oldest first, at most `limit` of them and about 1 MiB; has_more. */
HX_MUST_CHECK int journal_read_events(struct journal *j, const char *job_id, int64_t after, int limit,
                                      journal_done *done, void *arg);
/* jobs[0], turns, parts (by turn and position; calls are parts of type "tool_call"), calls (by number), or
 * -ENOENT. */
HX_MUST_CHECK int journal_read_trace(struct journal *j, const char *job_id, journal_done *done, void *arg);
/* counts: number of jobs by status. */
HX_MUST_CHECK int journal_read_counts(struct journal *j, journal_done *done, void *arg);
/* calls: of the last about 2,000 the name and duration_ms, oldest first, where it is known. */
HX_MUST_CHECK int journal_read_durations(struct journal *j, journal_done *done, void *arg);

/* ---- after a restart ---- */

/* The unfinished jobs, oldest first, as journal_read_trace() gives them: `each` is called for every one with
 * jobs[0], turns, parts and calls (no events; job.last_seq says where they go on). Blocks; before the loop
 * runs. Stops at the first non-zero result of `each` and returns it. */
HX_MUST_CHECK int journal_recover(struct journal *j, int (*each)(void *arg, const struct journal_result *job),
                                  void *arg, char *err, size_t errlen);

#endif
