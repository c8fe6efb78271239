/* Jobs on their way in: quotas, what is wrong with a request, and the first commit. */
#include "base/clock.h"
#include "daemon/job.h"
#include "daemon/job_id.h"
#include "daemon/jobs_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Requests of all unfinished jobs together; what is made of one takes a few times its size. */
#define REQUESTS_MAX ((size_t)64 << 20)

struct job_accepting {
    struct job *job;
    void (*accepted)(void *arg, const struct jobs_accepted *result);
    void *arg;
    char key[]; /* of idempotency; "" for none */
};

/* ---- quotas ---- */

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

/* ---- accepted ---- */

/* Tells who submitted it. */
static void answer(struct job_accepting *accepting, const struct jobs_accepted *result) {
    accepting->accepted(accepting->arg, result);
    free(accepting);
}

static void on_accepted(void *arg, const struct journal_result *result) {
    struct job_accepting *accepting = arg;
    struct job *job = accepting->job;
    struct jobs *jobs = job->jobs;
    job->batches_out--;
    struct jobs_accepted told = {.status = result->status,
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
    answer(accepting, &told);
    if (!jobs->suspended) {
        jobs_set_clock(jobs);
        jobs_reap_later(jobs);
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
    row.idempotency_key = key[0] != '\0' ? key : NULL;
    journal_add_job(batch, &row);
    add_messages(batch, job);
    struct job_event e;
    job_event_begin(&e, job, "job.queued", true);
    json_key(&e.w, "position");
    json_int(&e.w, jobs_count(job->jobs, false) - 1); /* it is in the list itself */
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
        .priority = job->request.priority,
    };
    return 0;
}

static void begin_life(struct job *job) {
    job->row.created_ns = clock_wall_ns();
    if (job->request.deadline_ms > 0) {
        job->deadline_ns = job->row.created_ns + job->request.deadline_ms * 1000000;
        job->row.deadline_ns = job->deadline_ns;
    }
}

/* Nothing speaks against it: it gets its id, and goes to the disk. */
static int accept_job(struct job *job, struct job_problem *problem) {
    struct job_accepting *accepting = job->accepting;
    job->phase = JOB_ACCEPTING;
    begin_life(job);
    int rc = job_id_make(job->id, job->trace_id);
    rc = rc == 0 ? write_acceptance(job, accepting->key) : rc;
    if (rc == 0) {
        struct journal_batch *batch = job->batch;
        job->batch = NULL;
        job->urgent = false;
        job->batch_number++;
        job->batches_out = 1;
        job->accepting = NULL;
        rc = journal_submit(job->jobs->config.journal, batch, on_accepted, accepting);
        if (rc != 0) {
            job->batches_out = 0;
            job->accepting = accepting;
        }
    }
    if (rc != 0 && problem->code == NULL) {
        problem->code = rc == -EAGAIN ? "queue_full" : "internal_error";
        (void)!err_set(problem->message, sizeof problem->message, 0, "%s",
                       rc == -EAGAIN ? "the journal takes no more at the moment; try again later"
                                     : "the job cannot be kept: memory is out, or the disk is broken");
    }
    return rc;
}

/* ---- submitted ---- */

/* What is wrong with it can be seen at once, but for the schema of its answer. */
static int prepare(struct job *job, const char *body, size_t len, int64_t owner,
                   struct job_problem *problem) {
    struct buf tools;
    size_t tools_len = 0;
    buf_init(&tools, 16u << 20);
    int rc = job_request_check_model(&job->request, job->jobs->engine.model_name, problem);
    rc = rc == 0 ? job_tools_choose(&job->request, job->jobs->config.tools, &tools, problem) : rc;
    if (rc == 0 && (job->tools_json = buf_take(&tools, &tools_len)) == NULL) {
        rc = -ENOMEM;
    }
    buf_finish(&tools);
    rc = rc == 0 ? jobs_fill_row(job, body, len, owner) : rc;
    if (rc == -ENOMEM) {
        (void)job_refuse(problem, "internal_error", "", "memory is out");
    }
    return rc;
}

static struct job_accepting *accepting_create(struct job *job, const char *key) {
    size_t len = key != NULL ? strlen(key) : 0;
    struct job_accepting *accepting = calloc(1, sizeof *accepting + len + 1);
    if (accepting != NULL && len > 0) {
        memcpy(accepting->key, key, len);
    }
    if (accepting != NULL) {
        accepting->job = job;
    }
    return accepting;
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
    if (job == NULL || (job->accepting = accepting_create(job, key)) == NULL) {
        job_destroy(job);
        (void)job_refuse(problem, "internal_error", "", "memory is out");
        return -ENOMEM;
    }
    job->accepting->accepted = accepted;
    job->accepting->arg = arg;
    rc = prepare(job, body, len, owner, problem);
    if (rc != 0) {
        job_destroy(job);
        return rc;
    }
    jobs_link(jobs, job);
    rc = job->request.format.json ? job_constrain_check(job) : accept_job(job, problem);
    if (rc == 0) {
        return 0;
    }
    if (problem->code == NULL) {
        (void)job_refuse(problem, "internal_error", "", "memory is out");
    }
    jobs_unlink(job);
    job_destroy(job);
    return rc;
}

/* Its end before it was a job. */
static void refuse(struct job *job, int rc, const struct job_problem *problem) {
    struct job_accepting *accepting = job->accepting;
    job->accepting = NULL;
    job->phase = JOB_ENDED;
    jobs_reap_later(job->jobs);
    answer(accepting, &(struct jobs_accepted){.status = rc, .err = problem->message, .problem = problem});
}

void jobs_checked(struct job *job, int rc, struct job_problem *problem) {
    if (rc == -ENOMEM) {
        (void)job_refuse(problem, "internal_error", "", "memory is out");
    }
    rc = rc == 0 ? accept_job(job, problem) : rc;
    if (rc != 0) {
        refuse(job, rc, problem);
    }
}

void jobs_refuse_unchecked(struct jobs *jobs) {
    struct job_problem problem = {.code = "shutting_down", .message = "the daemon is stopping"};
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        if (job->phase == JOB_CHECKING) {
            job_constrain_stop(job);
            refuse(job, -ESHUTDOWN, &problem);
        }
    }
}
