/* One job: an agent, an engine session and the calls it made, driven on the loop thread until it ends.
 *
 *   jobs_submit → (JSON mode: CHECKING) → ACCEPTING → (committed) QUEUED → job_begin → WORKING → job_end →
 *   (calls and generation have stopped, end committed) → ENDED → freed
 *
 * Schemas and grammars are made on the thread pool (job_constrain.c). Meanwhile the job waits with job->order
 * set: for whether its schema can be used (CHECKING), for what it begins with, or for the grammar of its next
 * turn (both WORKING, and no step is taken). It can end in the meantime as always.
 *
 * job_step() asks the agent what is next and does it; everything that answers (engine events, results of
 * calls, commits) feeds the agent and steps again. The rules of the journal:
 *
 *   - The turn's text and the ids behind it, the call and its `started` are committed in one batch before the
 *     first byte goes to the tool.
 *   - A result is committed, then fed to the agent.
 *   - Batches commit in order, so whatever a later batch holds rests on what is already on disk.
 *   - An event with a number is on disk before a client sees it (job_events.c).
 *
 * A job is freed in one place, jobs_reap(), once nothing can call back into it any more. Everything here is
 * [loop-thread]. Inner header of the job files; handlers include daemon/jobs.h. */
#ifndef DAEMON_JOB_H
#define DAEMON_JOB_H

#include "agent/agent.h"
#include "base/buf.h"
#include "base/json.h"
#include "daemon/job_request.h"
#include "daemon/journal.h"
#include "daemon/jobs.h"
#include "engine/engine.h"
#include "tools/tools.h"

enum job_phase {
    JOB_CHECKING,  /* the schema of its answer is being compiled: nothing of it is on disk, it has no id */
    JOB_ACCEPTING, /* not committed yet: nobody knows its id */
    JOB_QUEUED,
    JOB_READING, /* its earlier life is being read from the journal */
    JOB_WORKING,
    JOB_ENDING, /* its end is being committed */
    JOB_LEFT,   /* memory or the journal failed: taken from the journal again after a while */
    JOB_ENDED,  /* committed; freed by the next jobs_reap() */
};

enum job_call_phase {
    JOB_CALL_ASKED,      /* the model asked; not judged yet, or will not run */
    JOB_CALL_COMMITTING, /* `started` is on its way to the disk */
    JOB_CALL_RUNNING,
    JOB_CALL_FINISHING, /* the result is on its way to the disk */
    JOB_CALL_DONE,
};

struct job_call {
    struct job *job;
    enum job_call_phase phase;
    int number, turn, position, attempt;
    char *name, *arguments, *raw, *repaired; /* owned; the last two may be NULL */
    bool unsettled;            /* from the journal: begun before the daemon was restarted, no result yet */
    struct tool_call *running; /* RUNNING */
    uint64_t batch;            /* COMMITTING, FINISHING: what has to be committed */
    /* the result, from FINISHING on */
    enum agent_result result;
    char *output; /* owned; may be NULL */
    size_t output_len;
};

struct job_accepting; /* who submitted it, jobs_submit.c */
struct job_item;      /* an event on its way, job_events.c */
struct job_order;     /* what the thread pool makes for it, job_constrain.c */
struct job_watch;
struct job_wait;

struct job {
    struct jobs *jobs;
    struct job *prev, *next; /* all unfinished jobs, oldest first */
    enum job_phase phase;
    char id[JOB_ID_SIZE];
    char trace_id[33];
    char title[201];
    char *request_json, *tools_json, *metadata_json, *model; /* owned */
    size_t request_len;
    /* What a client is shown; texts point into this job. `status` and the end change when they are committed.
     */
    struct journal_job row;
    struct job_request request;
    struct job_tools tools;
    bool resume;                     /* the daemon was restarted since it began */
    bool was_working;                /* and had no time to put it back: it may be at fault */
    bool suspended;                  /* the daemon stops: it stays in the journal as it is */
    bool dirty;                      /* in the engine's round: to be flushed */
    struct job_accepting *accepting; /* owned; CHECKING */

    struct agent *agent;
    struct engine_session *session;
    struct job_order *order;      /* the pool's until it comes back; NULL: nothing is waited for */
    bool made;                    /* the next two are what they will be */
    struct schema *answer_schema; /* owned; JSON mode; NULL: the answer is text */
    struct grammar *grammar;      /* a reference; NULL: the model may write anything */
    size_t n_forbidden;           /* calls that are taken out of it */
    bool *left_out;               /* owned, by tool: all of its calls are; NULL: none was yet */
    struct agent_step turn_step;  /* the turn that waits for its grammar; its texts are the agent's */
    uint64_t seed;

    /* how it ends; NULL: it goes on */
    const char *end_status;
    char *end_code, *end_text; /* owned */
    char *citations_json;      /* owned; of the answer, NULL: none */
    char *end_repaired;        /* owned; journal_job.result_repaired */
    bool end_narrated;         /* journal_job.result_narrated */

    /* the turn being generated */
    bool generating;
    size_t n_appended; /* spans of the next turn's prompt that are on the timeline already */
    int turn;
    int64_t turn_reasoning_tokens;
    int64_t turn_output_tokens;
    uint64_t
        part_began_ns; /* monotonic: the first text of the turn, then the end of each part; 0: none yet */
    struct buf text, tokens; /* of the turn, not in the batch yet */

    struct job_call **calls; /* by number */
    int n_calls;
    bool remembered; /* those that the journal has are in it */

    /* what waits for the journal */
    struct journal_batch *batch;
    bool urgent;           /* something waits for the batch: an event, a call, a result */
    uint64_t batch_number; /* of the open batch; the first is 1 */
    uint64_t committed;    /* the last one on disk */
    int batches_out;
    struct journal_chain chain;

    int64_t last_seq;      /* given to an event */
    int64_t committed_seq; /* on disk */
    struct job_item *items, **items_end;
    struct job_watch *watches;
    struct job_wait *waits;
    int n_watches;
    int64_t deadline_ns; /* wall clock; 0: none */
    int64_t again_ns;    /* LEFT: when to try again; 0: not decided yet */
};

/* ---- job.c: life ---- */

/* A job with its request (taken, also on failure). NULL when memory is out. */
struct job *job_create(struct jobs *jobs, struct job_request *request);
void job_destroy(struct job *job);
/* Starts or resumes it. */
void job_begin(struct job *job);
/* job_constrain() has come to its end: goes on, by beginning or by reading its earlier life. */
void job_constrained(struct job *job);
/* Agent and session, at their beginning. */
HX_MUST_CHECK int job_start_agent(struct job *job, char *err, size_t errlen);
/* Tells the engine about the session, when there is one; `replayed`: what follows was computed before the
 * daemon was restarted. */
void job_tell_engine(struct job *job, bool replayed);
/* Asks the agent what is next and does it, until it has to wait; then commits what has to be. */
void job_step(struct job *job);
/* Ends the job with this status, once: stops what runs, then commits the end. `code` and `text`: the error,
 * or NULL and the answer. */
void job_end(struct job *job, const char *status, const char *code, const char *text, size_t len);
/* The same as failed. */
void job_fail(struct job *job, const char *code, const char *sentence);
/* Memory or the journal failed: the job stops here, stays in the journal as it is, and is taken from there
 * again after a while. */
void job_abandon(struct job *job, const char *why);
/* Stops what runs without a word to the journal: the daemon ends. */
void job_suspend(struct job *job);
/* True while a tool, the journal or the thread pool may still call back. */
bool job_is_busy(const struct job *job);

/* ---- job_constrain.c: schemas and grammars, made on the thread pool ---- */

/* CHECKING: whether its answers can be what the request asks for; jobs_checked() is told. -ENOMEM. */
HX_MUST_CHECK int job_constrain_check(struct job *job);
/* Makes job->answer_schema and job->grammar, from its tools and the format of its answer. True: they are
 * there, or the job has failed. False: job_constrained() is called when they are. That there is no grammar is
 * only logged: calls are checked in any case. */
HX_MUST_CHECK bool job_constrain(struct job *job);
/* Before a turn: takes out of the grammar what the step forbids. True: done. False: job_turn_constrained() is
 * called when it is. */
HX_MUST_CHECK bool job_constrain_turn(struct job *job, const struct agent_step *step);
/* Nothing is to come of it any more; the job is busy until the pool has noticed. */
void job_constrain_stop(struct job *job);
/* The same for a job that is freed now, whatever the pool does. */
void job_constrain_leave(struct job *job);

/* ---- job_loop.c: calls that lead nowhere ---- */

/* How the turn is generated, as JSON for the journal, with what is forbidden from it on. -ENOMEM, -ENOBUFS.
 */
HX_MUST_CHECK int job_loop_sampling(const struct job *job, const struct agent_step *step, struct buf *out);
/* Tells clients what is forbidden from this turn on; under a grammar or not. */
void job_loop_tell(struct job *job, const struct agent_step *step, bool constrained);

/* ---- job_turn.c: the engine's side ---- */

/* Appends what is known of the next turn's prompt, so that it is computed while calls run. */
void job_turn_append(struct job *job, const struct agent_step *step);
/* Appends the rest of the step's spans and generates, perhaps later: when its grammar is there. */
void job_turn_begin(struct job *job, const struct agent_step *step);
/* The grammar of job->turn_step is what it can be. */
void job_turn_constrained(struct job *job);
/* What the model wrote since the last time goes into the batch. */
void job_turn_keep_text(struct job *job);
void job_turn_event(struct job *job, const struct engine_event *event);
/* Takes the agent's events: rows and events for clients. `replay`: they are known already. */
void job_take_agent_events(struct job *job, bool replay);

/* ---- job_call.c: the tools' side ---- */

/* The agent saw a call close. Remembers it; one that will not run is recorded with its reason. */
void job_call_asked(struct job *job, const struct agent_event *event);
/* The agent wants it to run. */
void job_call_start(struct job *job, const struct agent_step *step);
/* As above for one that the journal knows as begun before the daemon was restarted. */
void job_call_resume(struct job *job, const struct journal_call *known);
/* A batch was committed: calls that waited for it go out, results that waited are fed. */
void job_calls_committed(struct job *job);
void job_calls_cancel(struct job *job);
bool job_calls_open(const struct job *job);
struct job_call *job_call_find(const struct job *job, int number);
/* Makes room for the call `number`. NULL when memory is out. */
struct job_call *job_call_add(struct job *job, int number);
void job_calls_free(struct job *job);
/* "ok", "error", "invalid", …: what clients are told, from the journal's two words. */
const char *job_call_status(const char *state, const char *error_code);

/* ---- job_citations.c ---- */

/* The answer's citations as rows of the batch, and as job->citations_json. -ENOMEM. */
HX_MUST_CHECK int job_citations_keep(struct job *job, struct journal_batch *batch);

/* ---- job_commit.c: batches ---- */

/* The open batch. NULL when memory is out: then the job is abandoned. */
struct journal_batch *job_batch(struct job *job);
/* Submits the open batch when something waits for it. */
void job_flush(struct job *job);

/* ---- job_events.c: events ---- */

/* Starts an event: writes "type", "sequence_number" and "job_id". */
struct job_event {
    struct job *job;
    const char *type; /* static */
    int64_t seq;      /* 0: live only */
    struct buf json;
    struct json_writer w;
};
void job_event_begin(struct job_event *e, struct job *job, const char *type, bool durable);
/* Queues it: for the journal and the watchers, or, live only, for the watchers alone. */
void job_event_end(struct job_event *e);
bool job_is_watched(const struct job *job);
/* Sends what may be sent. */
void job_events_deliver(struct job *job);
void job_events_free(struct job *job);

/* ---- job_watch.c ---- */

void job_watch_send(struct job *job, int64_t seq, const char *type, const char *json, size_t len);
/* The last event went out: ends the streams. */
void job_watch_end(struct job *job);
/* Streams end with an error event: the daemon stops, or the job was abandoned. */
void job_watch_break(struct job *job, const char *code, const char *message);

/* ---- job_wait.c ---- */

/* Answers whoever waits for its end. */
void job_wait_ended(struct job *job);
void job_wait_break(struct job *job);

/* ---- job_replay.c ---- */

/* Rebuilds agent and timeline from what the journal has; then the job goes on with job_step(). Where schemas
 * have to be compiled for it, it waits for them first, and this is called again. */
void job_replay(struct job *job, const struct journal_result *trace);

#endif
