#include "daemon/jobs.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/job.h"
#include "daemon/job_id.h"
#include "daemon/jobs_inner.h"
#include "engine/grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Between the moment a job had to be left and the next attempt. */
#define AGAIN_MS INT64_C(2000)
/* Requests of all unfinished jobs together; what is made of one takes a few times its size. */
#define REQUESTS_MAX ((size_t)64 << 20)

/* ---- the list ---- */

void jobs_link(struct jobs *jobs, struct job *job) {
    job->prev = jobs->last;
    if (jobs->last != NULL) {
        jobs->last->next = job;
    } else {
        jobs->first = job;
    }
    jobs->last = job;
}

static void unlink_job(struct jobs *jobs, struct job *job) {
    if (job->prev != NULL) {
        job->prev->next = job->next;
    } else {
        jobs->first = job->next;
    }
    if (job->next != NULL) {
        job->next->prev = job->prev;
    } else {
        jobs->last = job->prev;
    }
}

static bool works(const struct job *job) {
    return job->phase == JOB_WORKING || job->phase == JOB_READING || job->phase == JOB_ENDING;
}

int jobs_count(const struct jobs *jobs, bool working) {
    int n = 0;
    for (const struct job *job = jobs->first; job != NULL; job = job->next) {
        bool waits = job->phase == JOB_QUEUED || job->phase == JOB_ACCEPTING;
        n += working ? works(job) : waits;
    }
    return n;
}

struct job *jobs_find(const struct jobs *jobs, const char *id) {
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        if (strcmp(job->id, id) == 0) {
            bool known = job->phase != JOB_ENDED && job->phase != JOB_ACCEPTING && job->phase != JOB_LEFT;
            if (known) {
                return job;
            }
        }
    }
    return NULL;
}

uid_t job_owner(const struct job *job) {
    return (uid_t)job->row.client_uid;
}

const struct journal_job *job_row(const struct job *job) {
    return &job->row;
}

bool jobs_may_see(const struct http_request *req, int64_t owner) {
    uid_t uid = http_peer_uid(req);
    return uid == (uid_t)-1 || uid == 0 || uid == geteuid() || (int64_t)uid == owner;
}

const struct jobs_counters *jobs_counters(const struct jobs *jobs) {
    return &jobs->counters;
}

bool jobs_draining(const struct jobs *jobs) {
    return jobs->draining;
}

/* ---- beginning and freeing ---- */

/* The oldest job of the user who has the fewest at work, so that nobody's queue holds up everybody. */
static struct job *next_queued(const struct jobs *jobs) {
    struct job *best = NULL;
    int best_working = 0;
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        int working = 0;
        for (const struct job *other = jobs->first; job->phase == JOB_QUEUED && other != NULL;
             other = other->next) {
            working += works(other) && other->row.client_uid == job->row.client_uid;
        }
        if (job->phase == JOB_QUEUED && (best == NULL || working < best_working)) {
            best = job;
            best_working = working;
        }
    }
    return best;
}

static void begin_queued(struct jobs *jobs) {
    struct job *job = NULL;
    while (!jobs->draining && jobs_count(jobs, true) < jobs->config.max_working &&
           (job = next_queued(jobs)) != NULL) {
        job_begin(job);
    }
}

static void on_reap(uv_timer_t *timer) {
    struct jobs *jobs = timer->data;
    struct job *next = NULL;
    for (struct job *job = jobs->first; job != NULL; job = next) {
        next = job->next;
        if (job->phase == JOB_LEFT && !job_is_busy(job) && job->again_ns == 0) {
            job->again_ns = clock_wall_ns() + AGAIN_MS * 1000000;
            jobs_set_clock(jobs);
        }
        if (job->phase == JOB_ENDED && !job_is_busy(job)) {
            unlink_job(jobs, job);
            job_destroy(job);
        }
    }
    begin_queued(jobs);
    if (jobs->draining && jobs_count(jobs, true) == 0 && jobs->drained != NULL) {
        void (*drained)(void *) = jobs->drained;
        jobs->drained = NULL;
        drained(jobs->drained_arg);
    }
}

void jobs_reap_later(struct jobs *jobs) {
    if (!jobs->suspended) {
        uv_timer_start(&jobs->reap, on_reap, 0, 0);
    }
}

void jobs_start(struct jobs *jobs) {
    jobs_reap_later(jobs);
}

/* ---- the clock ---- */

static void on_clock(uv_timer_t *timer) {
    struct jobs *jobs = timer->data;
    int64_t now_ns = clock_wall_ns();
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        job_wait_due(job, uv_now(jobs->config.loop));
        if (job->phase == JOB_LEFT && job->again_ns != 0 && job->again_ns <= now_ns) {
            jobs_take_again(job);
        }
        if (job->deadline_ns == 0 || job->deadline_ns > now_ns) {
            continue;
        }
        if (job->phase == JOB_QUEUED && job->resume) {
            job_begin(job); /* finds out what its earlier life left open, and that the deadline is over */
        } else if (job->phase == JOB_QUEUED || job->phase == JOB_WORKING) {
            job->deadline_ns = 0;
            job->phase = JOB_WORKING;
            job_fail(job, "deadline_exceeded", "the job's deadline is over");
            job_step(job);
        }
    }
    jobs_set_clock(jobs);
}

void jobs_set_clock(struct jobs *jobs) {
    uint64_t next = UINT64_MAX;
    uint64_t now_ms = uv_now(jobs->config.loop);
    int64_t now_ns = clock_wall_ns();
    if (jobs->suspended) {
        return;
    }
    for (const struct job *job = jobs->first; job != NULL; job = job->next) {
        uint64_t wait = job_wait_next(job);
        next = wait < next ? wait : next;
        if (job->phase == JOB_LEFT && job->again_ns != 0) {
            next = now_ms + AGAIN_MS < next ? now_ms + AGAIN_MS : next;
        }
        if (job->deadline_ns != 0 && (job->phase == JOB_QUEUED || job->phase == JOB_WORKING)) {
            int64_t left_ms = (job->deadline_ns - now_ns) / 1000000 + 1;
            uint64_t due = now_ms + (uint64_t)(left_ms > 0 ? left_ms : 1);
            next = due < next ? due : next;
        }
    }
    if (next == UINT64_MAX) {
        uv_timer_stop(&jobs->clock);
    } else {
        uv_timer_start(&jobs->clock, on_clock, next > now_ms ? next - now_ms : 1, 0);
    }
}

/* ---- accepting ---- */

static int quota(struct jobs *jobs, int64_t owner, size_t len, struct job_problem *problem) {
    int same = 0;
    size_t bytes = len;
    memset(problem, 0, sizeof *problem);
    for (const struct job *job = jobs->first; job != NULL; job = job->next) {
        same += job->phase != JOB_ENDED && job->row.client_uid == owner;
        bytes += job->request_len;
    }
    if (same >= jobs->config.max_per_user) {
        problem->code = "quota_exceeded";
        (void)!err_set(problem->message, sizeof problem->message, 0,
                       "you have %d unfinished jobs; wait for one to end", same);
    } else if (jobs_count(jobs, false) + jobs_count(jobs, true) >=
               jobs->config.max_queued + jobs->config.max_working) {
        problem->code = "queue_full";
        (void)!err_set(problem->message, sizeof problem->message, 0, "%d jobs wait already; try again later",
                       jobs_count(jobs, false));
    } else if (bytes > REQUESTS_MAX) {
        problem->code = "queue_full";
        (void)!err_set(problem->message, sizeof problem->message, 0,
                       "unfinished jobs hold %zu bytes of requests already; try again later", bytes - len);
    } else {
        return 0;
    }
    jobs->counters.refused++;
    return -EAGAIN;
}

struct accepting {
    struct job *job;
    void (*accepted)(void *arg, const struct jobs_accepted *result);
    void *arg;
};

static void on_accepted(void *arg, const struct journal_result *result) {
    struct accepting accepting = *(struct accepting *)arg;
    struct job *job = accepting.job;
    struct jobs *jobs = job->jobs;
    free(arg);
    job->batches_out--;
    struct jobs_accepted answer = {.status = result->status,
                                   .job = result->status == 0 ? job : NULL,
                                   .existing = result->existing_id,
                                   .same = result->same_request,
                                   .err = result->err};
    if (result->status == 0) {
        job->phase = JOB_QUEUED;
        job->committed = 1;
        job->committed_seq = job->last_seq;
        jobs->counters.accepted++;
        job_events_deliver(job);
    } else {
        job->phase = JOB_ENDED;
    }
    accepting.accepted(accepting.arg, &answer);
    if (!jobs->suspended) {
        jobs_set_clock(jobs);
        on_reap(&jobs->reap);
    }
}

static void add_messages(struct journal_batch *batch, const struct job *job) {
    struct journal_part part = {.job_id = job->id, .type = "text", .n_tokens = -1, .ms = -1};
    if (job->request.system != NULL && job->request.system[0] != '\0') {
        part.role = "system";
        part.text = job->request.system;
        part.len = strlen(part.text);
        journal_add_part(batch, &part);
    }
    for (size_t i = 0; i < job->request.n_messages; i++) {
        part.role = job->request.messages[i].role == AGENT_ROLE_USER ? "user" : "assistant";
        if (part.role[0] == 'a') {
            continue; /* its place in turn 0 belongs to what the model writes */
        }
        part.position = (int)i;
        part.text = job->request.messages[i].text;
        part.len = strlen(part.text);
        journal_add_part(batch, &part);
    }
}

static int write_acceptance(struct job *job, const char *key) {
    struct journal_batch *batch = job_batch(job);
    if (batch == NULL) {
        return -ENOMEM;
    }
    struct journal_job row = job->row;
    row.tools_json = job->tools_json;
    row.idempotency_key = key;
    journal_add_job(batch, &row);
    add_messages(batch, job);
    struct job_event e;
    job_event_begin(&e, job, "job.queued", true);
    json_key(&e.w, "position");
    json_int(&e.w, jobs_count(job->jobs, false));
    job_event_end(&e);
    return job->phase == JOB_ACCEPTING ? 0 : -ENOMEM;
}

int jobs_fill_row(struct job *job, const char *body, size_t len, int64_t owner) {
    job->request_json = strndup(body, len);
    job->request_len = len;
    job->model = strdup(job->jobs->engine.model_name);
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(job->request.json, "metadata");
    job->metadata_json = cJSON_IsObject(metadata) ? cJSON_PrintUnformatted(metadata) : NULL;
    if (job->request_json == NULL || job->model == NULL ||
        (cJSON_IsObject(metadata) && job->metadata_json == NULL)) {
        return -ENOMEM;
    }
    job->row = (struct journal_job){
        .id = job->id,
        .kind = "agent",
        .status = "queued",
        .title = job->title,
        .model = job->model,
        .request_json = job->request_json,
        .metadata_json = job->metadata_json,
        .trace_id = job->trace_id,
        .client_uid = owner,
        .created_ns = clock_wall_ns(),
    };
    if (job->request.deadline_ms > 0) {
        job->deadline_ns = job->row.created_ns + job->request.deadline_ms * 1000000;
        job->row.deadline_ns = job->deadline_ns;
    }
    return 0;
}

static int prepare(struct job *job, const char *body, size_t len, int64_t owner, const char *key,
                   struct job_problem *problem) {
    struct buf tools;
    size_t tools_len = 0;
    buf_init(&tools, 16u << 20);
    int rc = job_request_check_model(&job->request, job->jobs->engine.model_name, problem);
    rc = rc == 0 ? job_request_check_format(&job->request, problem) : rc;
    rc = rc == 0 ? job_tools_choose(&job->request, job->jobs->config.tools, &tools, problem) : rc;
    if (rc == 0 && (job->tools_json = buf_take(&tools, &tools_len)) == NULL) {
        rc = -ENOMEM;
    }
    buf_finish(&tools);
    rc = rc == 0 ? jobs_fill_row(job, body, len, owner) : rc;
    if (rc == 0) {
        rc = job_id_make(job->id, job->trace_id);
    }
    return rc == 0 ? write_acceptance(job, key) : rc;
}

int jobs_submit(struct jobs *jobs, struct job_request *request, const char *body, size_t len, int64_t owner,
                const char *key, void (*accepted)(void *, const struct jobs_accepted *), void *arg,
                struct job_problem *problem) {
    int rc = quota(jobs, owner, len, problem);
    if (rc != 0) {
        job_request_finish(request);
        return rc;
    }
    struct job *job = job_create(jobs, request);
    struct accepting *accepting = malloc(sizeof *accepting);
    rc = job != NULL && accepting != NULL ? prepare(job, body, len, owner, key, problem) : -ENOMEM;
    if (rc == 0) {
        struct journal_batch *batch = job->batch;
        *accepting = (struct accepting){.job = job, .accepted = accepted, .arg = arg};
        job->batch = NULL;
        job->urgent = false;
        job->batch_number++;
        job->batches_out = 1;
        rc = journal_submit(jobs->config.journal, batch, on_accepted, accepting);
    }
    if (rc == 0) {
        jobs_link(jobs, job);
        return 0;
    }
    job_destroy(job);
    free(accepting);
    if (problem->code == NULL) {
        problem->code = rc == -EAGAIN ? "queue_full" : "internal_error";
        (void)!err_set(problem->message, sizeof problem->message, 0, "%s",
                       rc == -EAGAIN ? "the journal takes no more at the moment; try again later"
                                     : "the job cannot be kept: memory is out, or the disk is broken");
    }
    return rc;
}

void jobs_cancel(struct job *job) {
    if (job->end_status != NULL || job->phase == JOB_ENDED || job->suspended) {
        return;
    }
    struct journal_batch *batch = job_batch(job);
    if (batch == NULL) {
        return;
    }
    journal_add_cancel(batch, job->id);
    job->urgent = true;
    if (job->phase == JOB_QUEUED && job->resume) {
        job_begin(job); /* finds out what its earlier life left open */
    } else if (job->phase == JOB_QUEUED) {
        job->phase = JOB_WORKING;
    }
    job_end(job, "cancelled", NULL, "", 0);
    job_step(job);
}

/* ---- wakes ---- */

void jobs_on_engine(struct jobs *jobs) {
    struct engine_event *event = engine_take_events(jobs->config.engine);
    while (event != NULL) {
        struct engine_event *next = event->next;
        struct job *job = event->user;
        job_turn_event(job, event);
        job_step(job);
        engine_event_free(event);
        event = next;
    }
}

void jobs_on_journal(struct jobs *jobs) {
    journal_dispatch(jobs->config.journal);
}

/* ---- made, recovered, stopped ---- */

int jobs_create(const struct jobs_config *config, struct jobs **out, char *err, size_t errlen) {
    struct jobs *jobs = calloc(1, sizeof *jobs);
    if (jobs == NULL) {
        return err_set(err, errlen, -ENOMEM, "memory is out");
    }
    jobs->config = *config;
    engine_info(config->engine, &jobs->engine);
    uv_timer_init(config->loop, &jobs->reap);
    uv_timer_init(config->loop, &jobs->clock);
    jobs->reap.data = jobs;
    jobs->clock.data = jobs;
    *out = jobs;
    return 0;
}

void jobs_drain(struct jobs *jobs, void (*drained)(void *arg), void *arg) {
    jobs->draining = true;
    jobs->drained = drained;
    jobs->drained_arg = arg;
    jobs_reap_later(jobs);
}

/* A clean stop is not the job's fault: it goes back to the queue. */
static void put_back(struct job *job) {
    struct journal_batch *batch = journal_batch_create();
    if (batch != NULL) {
        journal_add_job_status(batch, job->id, "queued");
        (void)!journal_submit(job->jobs->config.journal, batch, NULL, NULL);
    }
}

void jobs_suspend(struct jobs *jobs) {
    jobs->draining = true;
    jobs->suspended = true;
    jobs->drained = NULL;
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        bool goes_back = job->phase == JOB_WORKING || job->phase == JOB_READING;
        job_flush(job);
        job_suspend(job);
        if (goes_back) {
            put_back(job);
        }
        job_watch_break(job, "shutting_down",
                        "the daemon is stopping; the job goes on when it is started again");
        job_wait_break(job);
    }
}

static void on_timer_closed(uv_handle_t *handle) {
    struct jobs *jobs = handle->data;
    if (!uv_is_closing((uv_handle_t *)&jobs->clock)) {
        uv_close((uv_handle_t *)&jobs->clock, on_timer_closed);
    } else {
        free(jobs);
    }
}

void jobs_destroy(struct jobs *jobs) {
    while (jobs->first != NULL) {
        struct job *job = jobs->first;
        unlink_job(jobs, job);
        job_destroy(job);
    }
    grammar_unref(jobs->grammar);
    free(jobs->grammar_tools);
    uv_close((uv_handle_t *)&jobs->reap, on_timer_closed);
}
