/* A job's earlier life, fed again: the agent gets the same texts and results and so makes the same steps; the
 * timeline gets the prompts and the ids that the journal has, not a new rendering of them. */
#include "daemon/job.h"

#include "base/clock.h"
#include "daemon/jobs_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Starts of the daemon that one job may survive without getting anywhere. */
#define STARTS_MAX 3

static const struct journal_call *known_call(const struct journal_result *trace, int number) {
    for (size_t i = 0; i < trace->n_calls; i++) {
        if (trace->calls[i].call == number) {
            return &trace->calls[i];
        }
    }
    return NULL;
}

static int remember_calls(struct job *job, const struct journal_result *trace) {
    for (size_t i = 0; i < trace->n_calls; i++) {
        const struct journal_call *known = &trace->calls[i];
        struct job_call *call = job_call_add(job, known->call);
        if (call == NULL) {
            return -ENOMEM;
        }
        call->turn = known->turn;
        call->position = known->position;
        call->attempt = known->attempt;
        call->name = strdup(known->name);
        call->arguments = strdup(known->arguments);
        call->repaired = known->repaired != NULL ? strdup(known->repaired) : NULL;
        call->phase = JOB_CALL_DONE;
        /* What becomes of it is decided when the agent asks for it, or when the job ends before that. */
        call->unsettled = known->finished_ns == 0;
        job->row.tool_calls++;
        if (call->name == NULL || call->arguments == NULL) {
            return -ENOMEM;
        }
    }
    return 0;
}

/* Whether calls of the turn are on disk: then its text is, too, and must stay. */
static bool has_calls(const struct journal_result *trace, int turn) {
    for (size_t i = 0; i < trace->n_calls; i++) {
        if (trace->calls[i].turn == turn) {
            return true;
        }
    }
    return false;
}

/* The ids mean something to the model that wrote them only; another one gets the text. */
static int append_turn(struct job *job, const struct journal_turn *turn, bool same_model, char *err,
                       size_t errlen) {
    struct engine_span *spans = calloc(turn->n_prompt + 1, sizeof *spans);
    if (spans == NULL) {
        return err_set(err, errlen, -ENOMEM, "memory is out");
    }
    size_t n = 0;
    for (; n < turn->n_prompt; n++) {
        spans[n] = (struct engine_span){
            .kind = turn->prompt[n].trusted ? ENGINE_SPAN_TEMPLATE : ENGINE_SPAN_TEXT,
            .data = turn->prompt[n].text,
            .len = turn->prompt[n].len,
        };
    }
    if (turn->n_tokens > 0 && same_model) {
        spans[n++] =
            (struct engine_span){.kind = ENGINE_SPAN_TOKENS, .data = turn->tokens, .len = turn->n_tokens};
    } else if (turn->len > 0) {
        spans[n++] = (struct engine_span){.kind = ENGINE_SPAN_TEXT, .data = turn->text, .len = turn->len};
    }
    int rc = engine_session_append(job->session, spans, n, err, errlen);
    free(spans);
    return rc < 0 ? rc : 0;
}

static enum agent_finish finish_of(const char *finish) {
    return finish == NULL                        ? AGENT_FINISH_STOP
           : strcmp(finish, "length") == 0       ? AGENT_FINISH_LENGTH
           : strcmp(finish, "context_full") == 0 ? AGENT_FINISH_CONTEXT
           : strcmp(finish, "cancelled") == 0    ? AGENT_FINISH_CANCELLED
                                                 : AGENT_FINISH_STOP;
}

/* The turn was being written when the daemon died, and calls of it had begun: it ends where the journal ends.
 */
static void close_interrupted(struct job *job, const struct journal_turn *turn) {
    struct journal_batch *batch = job_batch(job);
    struct journal_turn end = {
        .job_id = job->id,
        .turn = turn->turn,
        .finish = "interrupted",
        .output_tokens = (int64_t)turn->n_tokens,
        .forced_tokens = -1,
        .drafted_tokens = -1,
        .accepted_tokens = -1,
        .ahead_tokens = -1,
        .prefix_miss_tokens = -1,
        .queue_ms = -1,
        .prompt_ms = -1,
        .first_token_ms = -1,
        .decode_ms = -1,
    };
    if (batch == NULL) {
        return;
    }
    journal_add_turn_finished(batch, &end);
    job->row.output_tokens += end.output_tokens;
    struct job_event e;
    job_event_begin(&e, job, "turn.completed", true);
    json_key(&e.w, "turn");
    json_int(&e.w, turn->turn);
    json_key(&e.w, "finish_reason");
    json_string(&e.w, end.finish);
    json_key(&e.w, "usage");
    json_object_begin(&e.w);
    json_key(&e.w, "input_tokens");
    json_int(&e.w, 0);
    json_key(&e.w, "output_tokens");
    json_int(&e.w, end.output_tokens);
    json_key(&e.w, "cached_tokens");
    json_int(&e.w, 0);
    static const char *const unknown[] = {"forced_tokens", "drafted_tokens", "accepted_tokens",
                                          "ahead_tokens"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        json_key(&e.w, unknown[i]);
        json_null(&e.w);
    }
    json_key(&e.w, "prefix_miss_tokens");
    json_null(&e.w);
    job_object_misses(&e.w, NULL);
    json_object_end(&e.w);
    json_key(&e.w, "timings");
    json_null(&e.w);
    job_event_end(&e);
}

static int feed_turn(struct job *job, const struct journal_turn *turn) {
    int rc = 0;
    if (turn->len > 0 || turn->n_tokens > 0) {
        rc =
            agent_feed_text(job->agent, turn->text != NULL ? turn->text : "", turn->len, (int)turn->n_tokens);
    }
    rc = rc == 0 ? agent_feed_end(job->agent, finish_of(turn->finish)) : rc;
    job_take_agent_events(job, true);
    return rc;
}

static void count_turn(struct job *job, const struct journal_turn *turn) {
    job->row.turns++;
    if (turn->finish != NULL) {
        job->row.input_tokens += turn->input_tokens;
        job->row.output_tokens += turn->output_tokens;
        job->row.cached_tokens += turn->cached_tokens;
        job->row.reasoning_tokens += turn->reasoning_tokens;
        job->row.prefix_miss_tokens += turn->prefix_miss_tokens > 0 ? turn->prefix_miss_tokens : 0;
    }
}

/* The turn as the journal has it. */
static int replay_turn(struct job *job, const struct journal_result *trace, const struct journal_turn *turn,
                       char *err, size_t errlen) {
    const char *model = trace->jobs[0].model;
    bool same_model = model != NULL && strcmp(model, job->jobs->engine.model_name) == 0;
    int rc = append_turn(job, turn, same_model, err, errlen);
    if (rc == 0 && feed_turn(job, turn) != 0) {
        rc = err_set(err, errlen, -ENOMEM, "memory is out");
    }
    if (rc == 0) {
        count_turn(job, turn);
    }
    if (rc == 0 && turn->finish == NULL) {
        close_interrupted(job, turn);
    }
    return rc;
}

/* A turn that ended, or that calls have come out of. Any other is generated again, with the same seed. */
static const struct journal_turn *known_turn(const struct journal_result *trace, int number) {
    for (size_t i = 0; i < trace->n_turns; i++) {
        const struct journal_turn *turn = &trace->turns[i];
        if (turn->turn == number && (turn->finish != NULL || has_calls(trace, number))) {
            return turn;
        }
    }
    return NULL;
}

/* False: what comes next is for job_step(). */
static bool replay_step(struct job *job, const struct journal_result *trace) {
    char err[512] = "";
    struct agent_step step = {.type = AGENT_STEP_WAIT};
    agent_next(job->agent, &step);
    if (step.type == AGENT_STEP_GENERATE) {
        const struct journal_turn *turn = known_turn(trace, step.turn);
        if (turn == NULL) {
            job_tell_engine(job, false);
            job_turn_begin(job, &step);
            return false;
        }
        job->turn = step.turn;
        int rc = replay_turn(job, trace, turn, err, sizeof err);
        if (rc != 0) {
            job_fail(job, rc == -E2BIG ? "context_full" : "engine_failed", err);
        }
        return true;
    }
    if (step.type == AGENT_STEP_CALL) {
        const struct journal_call *known = known_call(trace, step.call);
        if (known != NULL) {
            job_call_resume(job, known);
        } else {
            job_call_start(job, &step);
        }
        job_take_agent_events(job, true);
        return true;
    }
    if (step.type == AGENT_STEP_APPEND && known_turn(trace, job->turn + 1) == NULL) {
        job_turn_append(job, &step);
    }
    return step.type == AGENT_STEP_STOP || step.type == AGENT_STEP_APPEND;
}

/* Progress since an earlier start buys another one. */
static bool is_poisoned(const struct job *job, const struct journal_result *trace) {
    int64_t progress = 0;
    for (size_t i = 0; i < trace->n_turns; i++) {
        progress += trace->turns[i].finish != NULL;
    }
    for (size_t i = 0; i < trace->n_calls; i++) {
        progress += trace->calls[i].finished_ns != 0;
    }
    return job->was_working && job->row.starts - job->row.clean_stops - progress > STARTS_MAX;
}

/* Ends it where its earlier life, or what happened since, says so. */
static void judge(struct job *job, const struct journal_result *trace) {
    if (job->end_status != NULL) {
        job_calls_cancel(job); /* it was told to end while it was being read */
    } else if (trace->jobs[0].cancel_requested) {
        job_end(job, "cancelled", NULL, "", 0);
    } else if (job->deadline_ns != 0 && job->deadline_ns <= clock_wall_ns()) {
        job_fail(job, "deadline_exceeded", "the job's deadline is over");
    } else if (is_poisoned(job, trace)) {
        job_fail(job, "poisoned", "three starts of the daemon ended while it worked on this job");
    }
}

/* Before anything is fed: what there was counts, also for a job that ends here or while it waits. */
static void count_all(struct job *job, const struct journal_result *trace) {
    for (size_t i = 0; i < trace->n_turns; i++) {
        count_turn(job, &trace->turns[i]);
    }
}

static void forget_counts(struct job *job) {
    job->row.turns = 0;
    job->row.input_tokens = job->row.output_tokens = 0;
    job->row.cached_tokens = job->row.reasoning_tokens = job->row.prefix_miss_tokens = 0;
}

void job_replay(struct job *job, const struct journal_result *trace) {
    char err[512] = "";
    if (!job->remembered && remember_calls(job, trace) != 0) {
        job_abandon(job, "memory is out");
        return;
    }
    job->remembered = true;
    if (trace->n_turns > 0) {
        job->seed = trace->turns[0].seed;
    }
    forget_counts(job);
    judge(job, trace);
    bool waits = job->end_status == NULL && !job_constrain(job);
    if (waits || job->end_status != NULL) {
        count_all(job, trace);
        return;
    }
    if (job_start_agent(job, err, sizeof err) != 0) {
        job_fail(job, "internal_error", err);
        count_all(job, trace);
    }
    job_tell_engine(job, trace->n_turns > 0);
    while (job->phase == JOB_WORKING && job->end_status == NULL && replay_step(job, trace)) {
    }
    job_tell_engine(job, false);
}
