#include "daemon/job.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/jobs_inner.h"
#include "engine/grammar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* 131,072 tokens of one turn, several bytes each. */
#define TURN_TEXT_MAX ((size_t)16 << 20)

/* ---- made and freed ---- */

struct job *job_create(struct jobs *jobs, struct job_request *request) {
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        job_request_finish(request);
        return NULL;
    }
    job->jobs = jobs;
    job->request = *request;
    memset(request, 0, sizeof *request);
    job->items_end = &job->items;
    job->batch_number = 1;
    buf_init(&job->text, TURN_TEXT_MAX);
    buf_init(&job->tokens, TURN_TEXT_MAX);
    job_request_title(&job->request, job->title);
    return job;
}

void job_destroy(struct job *job) {
    if (job == NULL) {
        return;
    }
    job_constrain_leave(job);
    engine_session_destroy(job->session);
    agent_destroy(job->agent);
    schema_destroy(job->answer_schema);
    grammar_unref(job->grammar);
    free(job->left_out);
    journal_batch_destroy(job->batch);
    buf_finish(&job->text);
    buf_finish(&job->tokens);
    job_events_free(job);
    job_calls_free(job);
    job_tools_finish(&job->tools);
    job_request_finish(&job->request);
    free(job->request_json);
    free(job->tools_json);
    cJSON_free(job->metadata_json);
    free(job->model);
    free(job->end_code);
    free(job->end_text);
    free(job->citations_json);
    free(job->end_repaired);
    free(job->accepting);
    free(job);
}

bool job_is_busy(const struct job *job) {
    for (int i = 0; i < job->n_calls; i++) {
        if (job->calls[i] != NULL && job->calls[i]->running != NULL) {
            return true;
        }
    }
    return job->batches_out > 0 || job->phase == JOB_READING || job->order != NULL;
}

/* ---- beginning ---- */

int job_start_agent(struct job *job, char *err, size_t errlen) {
    struct agent_answer answer = {.prompt_schema = job->request.format.schema,
                                  .schema = job->answer_schema,
                                  .in_system = job->request.format.in_system};
    struct agent_config config = {
        .profile = job->request.profile,
        .system = job->request.system,
        .tools = job->tools.items,
        .n_tools = job->tools.n,
        .limits = job->request.limits,
        .lenient_calls = job->request.lenient_calls,
        .open_section = job->request.open_section,
        .reasoning_tags = job->request.reasoning_tags,
        .documents = job->request.documents,
        .n_documents = job->request.n_documents,
        .sequential = !job->request.overlap,
    };
    if (job->request.format.json) {
        config.answer = &answer;
    }
    int rc = agent_create(&config, &job->agent, err, errlen);
    if (rc == 0) {
        rc = agent_start(job->agent, job->request.messages, job->request.n_messages, err, errlen);
    }
    if (rc == 0) {
        rc = engine_session_create(job->jobs->config.engine, job, &job->session, err, errlen);
    }
    if (rc == 0) {
        job_tell_engine(job, false);
    }
    return rc;
}

void job_tell_engine(struct job *job, bool replayed) {
    if (job->session != NULL) {
        engine_session_about(job->session, &(struct engine_about){.client = job->row.client_uid,
                                                                  .priority = job->row.priority,
                                                                  .replayed = replayed});
    }
}

static void choose_seed(struct job *job) {
    job->seed = job->request.sampling.seed;
    if (!job->request.has_seed && getrandom(&job->seed, sizeof job->seed, GRND_NONBLOCK) < 0) {
        job->seed = clock_mono_ns();
    }
    /* Fits every column and every JSON number. */
    job->seed &= ((uint64_t)1 << 52) - 1;
}

static void tell_begin(struct job *job) {
    struct job_event e;
    job_event_begin(&e, job, job->resume ? "job.resumed" : "job.started", true);
    if (job->resume) {
        json_key(&e.w, "attempt");
        json_int(&e.w, job->row.starts);
    } else {
        json_key(&e.w, "model");
        json_string(&e.w, job->row.model);
    }
    job_event_end(&e);
}

static void start(struct job *job) {
    char err[256] = "";
    if (job->end_status == NULL && job_start_agent(job, err, sizeof err) != 0) {
        job_fail(job, "internal_error", err);
    }
    job_step(job);
}

static void on_trace(void *arg, const struct journal_result *result) {
    struct job *job = arg;
    if (job->suspended) {
        job->phase = JOB_LEFT;
        jobs_reap_later(job->jobs);
        return;
    }
    job->phase = JOB_WORKING;
    if (result->status != 0) {
        job_abandon(job, result->err);
        return;
    }
    job_replay(job, result);
    job_step(job);
}

/* Its earlier life out of the journal; then on_trace(). */
static void read_trace(struct job *job) {
    job->phase = JOB_READING;
    job_flush(job);
    if (journal_read_trace(job->jobs->config.journal, job->id, on_trace, job) != 0) {
        job->phase = JOB_WORKING;
        job_abandon(job, "the journal takes no more reads");
    }
}

void job_constrained(struct job *job) {
    if (job->resume && job->end_status == NULL) {
        read_trace(job);
    } else {
        start(job);
    }
}

void job_begin(struct job *job) {
    struct journal_batch *batch = job_batch(job);
    if (batch == NULL) {
        return;
    }
    job->phase = JOB_WORKING;
    job->row.status = "working";
    job->row.starts++;
    job->row.started_ns = job->row.started_ns != 0 ? job->row.started_ns : clock_wall_ns();
    journal_add_job_started(batch, job->id, job->row.started_ns);
    choose_seed(job);
    tell_begin(job);
    if (job_tools_read(job->tools_json, &job->tools) != 0) {
        job_fail(job, "internal_error", "the job's tools cannot be read back");
    }
    if (job->resume) {
        read_trace(job);
        return;
    }
    if (job->end_status != NULL || job_constrain(job)) {
        start(job);
    } else {
        job_flush(job); /* that it began */
    }
}

/* ---- ending ---- */

void job_end(struct job *job, const char *status, const char *code, const char *text, size_t len) {
    if (job->end_status != NULL || job->phase == JOB_ENDED || job->phase == JOB_LEFT) {
        return;
    }
    char *kept = malloc(len + 1);
    char *kept_code = code != NULL ? strdup(code) : NULL;
    if (kept == NULL || (code != NULL && kept_code == NULL)) {
        free(kept);
        free(kept_code);
        job_abandon(job, "memory is out");
        return;
    }
    memcpy(kept, text, len);
    kept[len] = '\0';
    job->end_status = status;
    job->end_code = kept_code;
    job->end_text = kept;
    if (job->generating) {
        engine_session_cancel(job->session);
    }
    job_calls_cancel(job);
    job_constrain_stop(job);
}

void job_fail(struct job *job, const char *code, const char *sentence) {
    job_end(job, "failed", code, sentence, strlen(sentence));
}

/* Writes the end. The row that clients see changes when it is on disk. */
static void commit_end(struct job *job) {
    struct journal_batch *batch = job_batch(job);
    if (batch == NULL) {
        return;
    }
    bool completed = strcmp(job->end_status, "completed") == 0;
    bool failed = strcmp(job->end_status, "failed") == 0;
    struct journal_job row = job->row;
    row.status = job->end_status;
    row.result_text = completed ? job->end_text : NULL;
    row.result_repaired = completed ? job->end_repaired : NULL;
    row.result_narrated = completed && job->end_narrated;
    row.error_code = failed ? job->end_code : NULL;
    row.error_message = failed ? job->end_text : NULL;
    row.finished_ns = clock_wall_ns();
    if (completed && job_citations_keep(job, batch) != 0) {
        job_abandon(job, "memory is out");
        return;
    }
    row.citations_json = job->citations_json;
    journal_add_job_finished(batch, &row);
    struct job_event e;
    job_event_begin(&e, job, completed ? "job.completed" : failed ? "job.failed" : "job.cancelled", true);
    row.last_seq = e.seq;
    json_key(&e.w, "job");
    job_object_write(&e.w, &row);
    job->phase = JOB_ENDING;
    job_event_end(&e);
    if (job->phase == JOB_ENDING) {
        job->row = row;
        job->row.status = "working";
    }
    job_flush(job);
}

void job_ended(struct job *job) {
    struct jobs_counters *counters = &job->jobs->counters;
    job->row.status = job->end_status;
    counters->completed += strcmp(job->end_status, "completed") == 0;
    counters->failed += strcmp(job->end_status, "failed") == 0;
    counters->cancelled += strcmp(job->end_status, "cancelled") == 0;
    job_events_deliver(job);
    job->phase = JOB_ENDED;
    job_watch_end(job);
    job_wait_ended(job);
    log_info("job ended id=%s status=%s%s%s", job->id, job->end_status,
             job->row.error_code != NULL ? " code=" : "",
             job->row.error_code != NULL ? job->row.error_code : "");
    jobs_reap_later(job->jobs);
}

void job_abandon(struct job *job, const char *why) {
    if (job->phase == JOB_ENDED || job->phase == JOB_LEFT) {
        return;
    }
    log_error("job stops here until the journal can be written again id=%s why=%s", job->id, why);
    job->phase = job->phase == JOB_READING ? JOB_READING : JOB_LEFT;
    job_suspend(job);
    job_watch_break(job, "internal_error", "the job stops here for a while; reconnect with Last-Event-ID");
    job_wait_break(job);
    jobs_reap_later(job->jobs);
}

void job_suspend(struct job *job) {
    job->suspended = true;
    job_constrain_stop(job);
    if (job->generating) {
        engine_session_cancel(job->session);
    }
    for (int i = 0; i < job->n_calls; i++) {
        if (job->calls[i] != NULL && job->calls[i]->running != NULL) {
            tools_cancel(job->calls[i]->running);
        }
    }
}

/* ---- the steps ---- */

static void take_step(struct job *job, const struct agent_step *step) {
    switch (step->type) {
    case AGENT_STEP_WAIT:
        break;
    case AGENT_STEP_GENERATE:
        job_turn_begin(job, step);
        break;
    case AGENT_STEP_CALL:
        job_call_start(job, step);
        break;
    case AGENT_STEP_APPEND:
        job_turn_append(job, step);
        break;
    case AGENT_STEP_STOP:
        if (job->generating) {
            engine_session_cancel(job->session);
        }
        break;
    case AGENT_STEP_DONE:
        if (step->repaired != NULL && job->end_repaired == NULL &&
            (job->end_repaired = strdup(step->repaired)) == NULL) {
            job_abandon(job, "memory is out");
            break;
        }
        job->end_narrated = step->narrated;
        job_end(job, "completed", NULL, step->text != NULL ? step->text : "", step->len);
        break;
    case AGENT_STEP_FAILED:
        job_end(job, "failed", step->reason, step->text != NULL ? step->text : "", step->len);
        break;
    }
}

void job_step(struct job *job) {
    struct agent_step step = {.type = AGENT_STEP_STOP};
    while (job->phase == JOB_WORKING && !job->suspended && job->end_status == NULL && job->order == NULL &&
           step.type != AGENT_STEP_WAIT) {
        step = (struct agent_step){.type = AGENT_STEP_WAIT};
        agent_next(job->agent, &step);
        take_step(job, &step);
        job_take_agent_events(job, false);
    }
    if (job->phase == JOB_WORKING && !job->suspended && job->end_status != NULL && !job->generating &&
        !job_calls_open(job)) {
        commit_end(job);
    }
    job_flush(job);
}
