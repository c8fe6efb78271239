/* The tools' side of a job: asked → `started` committed → running → result committed → fed to the agent. */
#include "daemon/job.h"
#include "daemon/jobs_inner.h"

#include "base/utf8.h"
#include "plugins/hermes_plugin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS_MAX     3
#define EVENT_OUTPUT_MAX ((size_t)32 << 10) /* as much as the model is shown */
#define CALLS_MAX        20000

static const char never_sent[] = "the job ended before the call was sent";

/* How an outcome is called: for the agent, and by the two words of the journal. */
struct outcome {
    enum agent_result result;
    const char *state;
    const char *error_code;
};

static const struct outcome outcomes[] = {
    [TOOL_OK] = {AGENT_RESULT_OK, "ok", NULL},
    [TOOL_ERROR] = {AGENT_RESULT_ERROR, "error", "error"},
    [TOOL_INVALID] = {AGENT_RESULT_INVALID, "error", "invalid"},
    [TOOL_TRANSIENT] = {AGENT_RESULT_ERROR, "error", "transient"},
    [TOOL_TIMEOUT] = {AGENT_RESULT_TIMEOUT, "deadline", "timeout"},
    [TOOL_CANCELLED] = {AGENT_RESULT_CANCELLED, "cancelled", "cancelled"},
    [TOOL_CRASHED] = {AGENT_RESULT_CRASHED, "error", "crashed"},
    [TOOL_TOO_LARGE] = {AGENT_RESULT_ERROR, "error", "too_large"},
    [TOOL_UNKNOWN] = {AGENT_RESULT_UNKNOWN, "unknown", "unknown"},
    [TOOL_UNAVAILABLE] = {AGENT_RESULT_UNAVAILABLE, "error", "unavailable"},
};

const char *job_call_status(const char *state, const char *error_code) {
    static const char *const own[] = {"invalid", "crashed", "unavailable"};
    if (strcmp(state, "deadline") == 0) {
        return "timeout";
    }
    for (size_t i = 0; strcmp(state, "error") == 0 && error_code != NULL && i < 3; i++) {
        if (strcmp(error_code, own[i]) == 0) {
            return own[i];
        }
    }
    return state;
}

/* ---- the list ---- */

struct job_call *job_call_find(const struct job *job, int number) {
    return number >= 0 && number < job->n_calls ? job->calls[number] : NULL;
}

struct job_call *job_call_add(struct job *job, int number) {
    if (number < 0 || number > CALLS_MAX) {
        return NULL;
    }
    if (number >= job->n_calls) {
        size_t n = (size_t)number + 1;
        struct job_call **grown = realloc(job->calls, n * sizeof(struct job_call *));
        if (grown == NULL) {
            return NULL;
        }
        memset(grown + job->n_calls, 0, (n - (size_t)job->n_calls) * sizeof(struct job_call *));
        job->calls = grown;
        job->n_calls = (int)n;
    }
    if (job->calls[number] == NULL && (job->calls[number] = calloc(1, sizeof **job->calls)) != NULL) {
        job->calls[number]->job = job;
        job->calls[number]->number = number;
    }
    return job->calls[number];
}

void job_calls_free(struct job *job) {
    for (int i = 0; i < job->n_calls; i++) {
        if (job->calls[i] != NULL) {
            free(job->calls[i]->name);
            free(job->calls[i]->arguments);
            free(job->calls[i]->raw);
            free(job->calls[i]->repaired);
            free(job->calls[i]->output);
            free(job->calls[i]);
        }
    }
    free(job->calls);
    job->calls = NULL;
    job->n_calls = 0;
}

bool job_calls_open(const struct job *job) {
    for (int i = 0; i < job->n_calls; i++) {
        if (job->calls[i] != NULL && job->calls[i]->phase != JOB_CALL_DONE) {
            return true;
        }
    }
    return false;
}

/* ---- what clients are told ---- */

static void write_arguments(struct json_writer *w, const char *arguments) {
    json_key(w, "arguments");
    if (json_check(arguments, strlen(arguments), &json_limits_default, NULL, 0) == 0) {
        json_raw(w, arguments, strlen(arguments));
    } else {
        json_string(w, arguments);
    }
}

static void begin_event(struct job_event *e, const struct job_call *call, const char *type, bool durable) {
    char id[32];
    snprintf(id, sizeof id, "call_%d", call->number);
    job_event_begin(e, call->job, type, durable);
    json_key(&e->w, "turn");
    json_int(&e->w, call->turn);
    json_key(&e->w, "call_id");
    json_string(&e->w, id);
    json_key(&e->w, "name");
    json_string(&e->w, call->name);
}

static void tell_started(const struct job_call *call) {
    struct job_event e;
    begin_event(&e, call, "tool_call.started", true);
    write_arguments(&e.w, call->arguments);
    json_key(&e.w, "attempt");
    json_int(&e.w, call->attempt);
    json_key(&e.w, "repaired");
    json_string(&e.w, call->repaired);
    job_event_end(&e);
}

/* As much of the text as fits, never a part of a character. */
static size_t cut(const char *text, size_t len, size_t max) {
    size_t keep = len;
    if (len > max) {
        for (keep = max; keep > max - 4 && (text[keep] & 0xC0) == 0x80; keep--) {
        }
    }
    return keep;
}

static void tell_completed(const struct job_call *call, const struct journal_call *row) {
    const char *status = job_call_status(row->state, row->error_code);
    size_t shown = row->output != NULL ? cut(row->output, row->output_len, EVENT_OUTPUT_MAX) : 0;
    struct job_event e;
    begin_event(&e, call, "tool_call.completed", true);
    write_arguments(&e.w, call->arguments);
    json_key(&e.w, "repaired");
    json_string(&e.w, call->repaired);
    json_key(&e.w, "status");
    json_string(&e.w, status);
    json_key(&e.w, "is_error");
    json_bool(&e.w, strcmp(status, "ok") != 0);
    json_key(&e.w, "output");
    json_string_n(&e.w, row->output != NULL ? row->output : "", shown);
    json_key(&e.w, "truncated");
    json_bool(&e.w, row->truncated || shown < row->output_len);
    json_key(&e.w, "duration_ms");
    if (row->duration_ms >= 0) {
        json_number(&e.w, row->duration_ms);
    } else {
        json_null(&e.w);
    }
    job_event_end(&e);
}

static void on_progress(void *arg, double fraction, const char *note) {
    struct job_call *call = arg;
    if (call->phase != JOB_CALL_RUNNING || !job_is_watched(call->job)) {
        return;
    }
    struct job_event e;
    begin_event(&e, call, "tool_call.progress", false);
    json_key(&e.w, "fraction");
    if (fraction >= 0) {
        json_number(&e.w, fraction);
    } else {
        json_null(&e.w);
    }
    json_key(&e.w, "message");
    json_string(&e.w, note);
    job_event_end(&e);
}

/* ---- asked ---- */

static struct journal_call row_of(const struct job_call *call) {
    return (struct journal_call){
        .job_id = call->job->id,
        .call = call->number,
        .turn = call->turn,
        .position = call->position,
        .name = call->name,
        .arguments = call->arguments,
        .raw = call->raw,
        .repaired = call->repaired,
        .valid = true,
        .attempt = call->attempt,
        .duration_ms = -1,
        .first_byte_us = -1,
        .cpu_ms = -1,
    };
}

/* Keeps the result until it is on disk. */
static void keep_result(struct job_call *call, enum agent_result result, const char *text, size_t len) {
    free(call->output);
    call->output = text != NULL ? malloc(len + 1) : NULL;
    call->output_len = 0;
    if (text != NULL && call->output == NULL) {
        job_fail(call->job, "internal_error", "memory is out");
    }
    if (call->output != NULL) {
        memcpy(call->output, text, len);
        call->output[len] = '\0';
        call->output_len = len;
    }
    call->result = result;
    call->phase = JOB_CALL_FINISHING;
    call->batch = call->job->batch_number;
    call->job->urgent = true;
}

/* A call that ends without ever having run. */
static void record_refused(struct job_call *call, const struct outcome *outcome, const char *text) {
    struct journal_batch *batch = job_batch(call->job);
    struct journal_call row = row_of(call);
    row.valid = false;
    row.state = outcome->state;
    row.error_code = outcome->error_code;
    row.output = text;
    row.output_len = strlen(text);
    call->job->jobs->counters.calls_refused++;
    if (batch != NULL) {
        journal_add_call(batch, &row);
        tell_completed(call, &row);
    }
}

void job_call_asked(struct job *job, const struct agent_event *event) {
    struct job_call *call = job_call_add(job, event->call);
    if (call == NULL) {
        job_abandon(job, "memory is out");
        return;
    }
    call->turn = event->turn;
    call->position = event->position;
    call->name = strdup(event->name != NULL ? event->name : "");
    call->arguments = strdup(event->arguments != NULL ? event->arguments : "");
    call->raw = event->raw != NULL ? strdup(event->raw) : NULL;
    call->repaired = event->repaired != NULL ? strdup(event->repaired) : NULL;
    if (call->name == NULL || call->arguments == NULL ||
        (call->repaired == NULL) != (event->repaired == NULL)) {
        job_abandon(job, "memory is out");
        return;
    }
    job->row.tool_calls++;
    if (event->error != NULL) {
        call->phase = JOB_CALL_DONE;
        record_refused(call, &outcomes[TOOL_INVALID], event->error);
    } else if (job->end_status != NULL) {
        /* The last words of a generation that is being cancelled: the agent is not asked any more. */
        call->phase = JOB_CALL_DONE;
        record_refused(call, &outcomes[TOOL_CANCELLED], never_sent);
    }
}

/* ---- started ---- */

static void commit_start(struct job_call *call, bool known) {
    struct journal_batch *batch = job_batch(call->job);
    char key[JOB_ID_SIZE + 16];
    if (batch == NULL) {
        return;
    }
    snprintf(key, sizeof key, "%s/%d", call->job->id, call->number);
    struct journal_call row = row_of(call);
    if (!known) {
        journal_add_call(batch, &row);
    }
    row.attempt = ++call->attempt;
    row.idempotency_key = key;
    journal_add_call_started(batch, &row);
    call->phase = JOB_CALL_COMMITTING;
    call->batch = call->job->batch_number;
    tell_started(call);
    call->job->urgent = true;
}

void job_call_start(struct job *job, const struct agent_step *step) {
    struct job_call *call = job_call_find(job, step->call);
    char err[512] = "";
    if (call == NULL || call->phase != JOB_CALL_ASKED) {
        job_fail(job, "internal_error", "the agent started a call that it had not announced");
        return;
    }
    int rc = tools_find(job->jobs->config.tools, call->name) == NULL
                 ? -ENOENT
                 : tools_check(job->jobs->config.tools, call->name, call->arguments, strlen(call->arguments),
                               err, sizeof err);
    if (rc == 0) {
        commit_start(call, false);
    } else if (rc == -EINVAL) {
        record_refused(call, &outcomes[TOOL_INVALID], err);
        keep_result(call, AGENT_RESULT_INVALID, err, strlen(err));
    } else {
        const char *why = rc == -ENOENT ? "the tool is not available any more" : err;
        record_refused(call, &outcomes[TOOL_UNAVAILABLE], why);
        keep_result(call, AGENT_RESULT_UNAVAILABLE, why, strlen(why));
    }
}

/* ---- finished ---- */

static void finish(struct job_call *call, const struct outcome *outcome, const struct tool_result *result) {
    struct journal_batch *batch = job_batch(call->job);
    struct journal_call row = row_of(call);
    if (batch == NULL) {
        call->phase = JOB_CALL_DONE;
        return;
    }
    row.state = outcome->state;
    row.error_code = outcome->error_code;
    row.output = result->text;
    row.output_len = result->text != NULL ? result->len : 0;
    row.is_json = result->is_json;
    row.pid = result->pid;
    row.exit_code = result->exit_code;
    row.signal = result->signal;
    row.duration_ms = result->duration_ms;
    row.first_byte_us = result->first_byte_us;
    row.cpu_ms = result->cpu_ms;
    row.max_rss_kib = result->max_rss_kib;
    journal_add_call_finished(batch, &row);
    tell_completed(call, &row);
    keep_result(call, outcome->result, row.output, row.output_len);
}

static void finish_unsent(struct job_call *call, enum tool_status status, const char *text) {
    const struct tool_result result = {.status = status,
                                       .text = text,
                                       .len = strlen(text),
                                       .duration_ms = -1,
                                       .first_byte_us = -1,
                                       .cpu_ms = -1};
    call->job->jobs->counters.calls[status]++;
    finish(call, &outcomes[status], &result);
}

static void on_result(void *arg, const struct tool_result *result) {
    struct job_call *call = arg;
    struct job *job = call->job;
    call->running = NULL;
    if (job->phase != JOB_WORKING || job->suspended) {
        /* Left as it is in the journal: started. */
        call->phase = JOB_CALL_DONE;
        jobs_reap_later(job->jobs);
        return;
    }
    job->jobs->counters.calls[result->status]++;
    tool_times_add(job->jobs->times, call->name, result->duration_ms);
    finish(call, &outcomes[result->status], result);
    job_flush(job);
}

/* The engine keeps what the session has in memory for about as long as the slowest of its calls needs. */
static void tell_wait(const struct job *job) {
    double ms = 0;
    for (int i = 0; i < job->n_calls; i++) {
        const struct job_call *call = job->calls[i];
        if (call != NULL && (call->phase == JOB_CALL_COMMITTING || call->phase == JOB_CALL_RUNNING)) {
            double expected = tool_times_expect(job->jobs->times, call->name);
            ms = expected > ms ? expected : ms;
        }
    }
    engine_session_waits(job->session, (uint64_t)ms);
}

static void dispatch(struct job_call *call) {
    struct job *job = call->job;
    char err[512] = "";
    char key[JOB_ID_SIZE + 16];
    snprintf(key, sizeof key, "%s/%d", job->id, call->number);
    struct tool_request request = {
        .name = call->name,
        .arguments = call->arguments,
        .len = strlen(call->arguments),
        .idempotency_key = key,
        .done = on_result,
        .progress = on_progress,
        .arg = call,
    };
    call->phase = JOB_CALL_RUNNING;
    tell_wait(job);
    int rc = tools_call(job->jobs->config.tools, &request, &call->running, err, sizeof err);
    if (rc != 0) {
        finish_unsent(call, rc == -EINVAL ? TOOL_INVALID : TOOL_UNAVAILABLE,
                      err[0] != '\0' ? err : "the tool cannot be reached");
    }
}

void job_calls_committed(struct job *job) {
    for (int i = 0; i < job->n_calls && job->phase == JOB_WORKING; i++) {
        struct job_call *call = job->calls[i];
        if (call == NULL || call->batch > job->committed) {
            continue;
        }
        if (call->phase == JOB_CALL_COMMITTING && job->end_status != NULL) {
            finish_unsent(call, TOOL_CANCELLED, never_sent);
        } else if (call->phase == JOB_CALL_COMMITTING) {
            dispatch(call);
        } else if (call->phase == JOB_CALL_FINISHING) {
            call->phase = JOB_CALL_DONE;
            int rc = job->end_status != NULL ? 0
                                             : agent_feed_result(job->agent, call->number, call->result,
                                                                 call->output, call->output_len);
            free(call->output);
            call->output = NULL;
            if (rc != 0) {
                job_fail(job, "internal_error", "a result could not be given to the model");
            }
        }
    }
}

static const char unknown_text[] =
    "The call had started when the daemon was restarted; whether it took effect is not known, and it was not "
    "repeated.";

/* Whether it may run again: its tool says that a second time has no further effect. */
static bool may_repeat(const struct job_call *call) {
    const struct tool_info *tool = tools_find(call->job->jobs->config.tools, call->name);
    return tool != NULL && (tool->flags & (HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT)) != 0;
}

/* Begun before a restart, and the job ends before it could be taken up again. */
static void settle(struct job_call *call) {
    call->unsettled = false;
    if (call->attempt == 0 || may_repeat(call)) {
        finish_unsent(call, TOOL_CANCELLED, "the job ended before the call was sent again");
    } else {
        finish_unsent(call, TOOL_UNKNOWN, unknown_text);
    }
}

void job_calls_cancel(struct job *job) {
    for (int i = 0; i < job->n_calls; i++) {
        struct job_call *call = job->calls[i];
        if (call != NULL && call->phase == JOB_CALL_RUNNING && call->running != NULL) {
            tools_cancel(call->running);
        } else if (call != NULL && call->phase == JOB_CALL_ASKED) {
            call->phase = JOB_CALL_DONE;
            record_refused(call, &outcomes[TOOL_CANCELLED], never_sent);
        } else if (call != NULL && call->unsettled) {
            settle(call);
        }
    }
}

/* ---- after a restart ---- */

static enum agent_result result_of(const struct journal_call *known) {
    for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++) {
        bool same_code =
            known->error_code == NULL
                ? outcomes[i].error_code == NULL
                : outcomes[i].error_code != NULL && strcmp(known->error_code, outcomes[i].error_code) == 0;
        if (strcmp(known->state, outcomes[i].state) == 0 && same_code) {
            return outcomes[i].result;
        }
    }
    return AGENT_RESULT_ERROR;
}

void job_call_resume(struct job *job, const struct journal_call *known) {
    struct job_call *call = job_call_find(job, known->call);
    call->unsettled = false;
    if (strcmp(known->state, "intent") == 0 || strcmp(known->state, "waiting_approval") == 0) {
        commit_start(call, true);
    } else if (strcmp(known->state, "started") != 0) {
        call->phase = JOB_CALL_DONE;
        if (agent_feed_result(job->agent, call->number, result_of(known), known->output, known->output_len) !=
            0) {
            job_fail(job, "internal_error", "a result could not be given to the model");
        }
    } else if (!may_repeat(call)) {
        finish_unsent(call, TOOL_UNKNOWN, unknown_text);
    } else if (known->attempt >= ATTEMPTS_MAX) {
        finish_unsent(call, TOOL_UNAVAILABLE, "the call did not end in three attempts");
    } else {
        commit_start(call, true);
    }
}
