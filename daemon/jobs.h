/* All unfinished jobs: accepting, queueing, quotas, finding, cancelling, stopping. What a handler needs to
 * know about jobs; one job from inside is daemon/job.h. [loop-thread] */
#ifndef DAEMON_JOBS_H
#define DAEMON_JOBS_H

#include "base/json.h"
#include "daemon/http.h"
#include "daemon/job_request.h"
#include "daemon/journal.h"
#include "engine/engine.h"
#include "tools/tools.h"

#include <uv.h>

#define JOB_ID_SIZE 31 /* "job_" and 26 characters */

struct jobs;
struct job;

struct jobs_config {
    uv_loop_t *loop; /* borrowed, like the next three */
    struct engine *engine;
    struct tools *tools;
    struct journal *journal;
    int max_working, max_queued, max_per_user;
};
/* Counted since the daemon started. */
struct jobs_counters {
    uint64_t accepted, completed, failed, cancelled, refused;
    uint64_t input_tokens, output_tokens, cached_tokens;
    uint64_t drafted_tokens, accepted_tokens, ahead_tokens;
    uint64_t missed_tokens[ENGINE_MISS_REASONS];
    uint64_t calls[TOOL_UNAVAILABLE + 1]; /* by enum tool_status */
    uint64_t calls_refused;               /* never run: unknown tool, bad arguments, a limit */
};

HX_MUST_CHECK int jobs_create(const struct jobs_config *config, struct jobs **out, char *err, size_t errlen);
/* Takes the unfinished jobs of an earlier run out of the journal. Blocks; before the loop runs. */
HX_MUST_CHECK int jobs_recover(struct jobs *jobs, char *err, size_t errlen);
/* Starts what waits. */
void jobs_start(struct jobs *jobs);

/* Takes the engine's events; called whenever its wake signalled. */
void jobs_on_engine(struct jobs *jobs);
/* Takes the journal's answers. */
void jobs_on_journal(struct jobs *jobs);

/* No more is accepted or begun. `drained` is called once nothing works any more, perhaps at once. */
void jobs_drain(struct jobs *jobs, void (*drained)(void *arg), void *arg);
/* Stops every job where it stands; the journal keeps them. Engine, tools and journal may be closed after it.
 */
void jobs_suspend(struct jobs *jobs);
/* After the journal is closed. */
void jobs_destroy(struct jobs *jobs);

bool jobs_draining(const struct jobs *jobs);
int jobs_count(const struct jobs *jobs, bool working);
const struct jobs_counters *jobs_counters(const struct jobs *jobs);

/* ---- one job, by id ---- */

/* An unfinished job; NULL: it has ended, or there never was one. */
struct job *jobs_find(const struct jobs *jobs, const char *id);
uid_t job_owner(const struct job *job);
/* What is known of it now, as a row; borrowed until it changes. */
const struct journal_job *job_row(const struct job *job);

/* Whether this client may see and touch a job of `owner`: its owner, root, the daemon's own user, and TCP
 * clients, who have shown the token. */
bool jobs_may_see(const struct http_request *req, int64_t owner);

/* `accepted` is called once: with the job on disk (status 0), with the job that already has the key (status
 * -EEXIST, `existing` and `same`), with what is wrong with the request (`problem`, and a status as
 * jobs_submit() returns it, or -ESHUTDOWN), or with a failure of the journal. */
struct jobs_accepted {
    int status;
    struct job *job;
    const char *existing;
    bool same;
    const char *err;
    const struct job_problem *problem; /* NULL: nothing is */
};
/* `request` is taken (also on failure), `body` is what the client sent. -EAGAIN: full, see the problem;
 * -EINVAL; -ENOMEM; then `accepted` is not called. `body` and `key` are copied; `key` may be NULL. `owner` -1
 * for TCP. */
HX_MUST_CHECK int jobs_submit(struct jobs *jobs, struct job_request *request, const char *body, size_t len,
                              int64_t owner, const char *key,
                              void (*accepted)(void *arg, const struct jobs_accepted *result), void *arg,
                              struct job_problem *problem);
/* Asks it to end as cancelled; nothing for one that is ending. */
void jobs_cancel(struct job *job);

/* ---- answers that come later ---- */

/* Answers `req` with the job when it ends or `timeout_ms` is over: 200 when it ended, else `late_status`. */
void jobs_wait(struct job *job, struct http_request *req, uint64_t timeout_ms, int late_status);
/* Answers `req` with the job's events after `after`; `kind` as the client wants. */
void jobs_watch(struct jobs *jobs, struct http_request *req, enum http_stream_kind kind, const char *id,
                int64_t after);

/* ---- JSON ---- */

/* The job object of daemon/api.md. */
void job_object_write(struct json_writer *w, const struct journal_job *row);
/* The member "prefix_misses" of a turn's usage, from the journal's column; NULL: not known. */
void job_object_misses(struct json_writer *w, const char *json);
/* The trace object. */
void job_trace_write(struct json_writer *w, const struct journal_job *row,
                     const struct journal_result *trace);

#endif
