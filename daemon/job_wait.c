/* Requests that are answered when a job ends, or when their patience is over. */
#include "daemon/job.h"
#include "daemon/jobs_inner.h"

#include <stdlib.h>

struct job_wait {
    struct job_wait *next;
    struct job *job;
    struct http_request *req;
    uint64_t until_ms; /* loop time */
    int late_status;
};

static void unlink_wait(struct job_wait *wait) {
    struct job_wait **at = &wait->job->waits;
    while (*at != wait) {
        at = &(*at)->next;
    }
    *at = wait->next;
}

static void on_client_left(struct http_request *req, void *arg) {
    (void)req;
    struct job_wait *wait = arg;
    unlink_wait(wait);
    free(wait);
}

static void reply_job(struct http_request *req, int status, const struct job *job) {
    struct buf body;
    struct json_writer w;
    buf_init(&body, 4u << 20);
    json_writer_begin(&w, &body);
    job_object_write(&w, &job->row);
    if (json_writer_end(&w) == 0) {
        http_reply_json(req, status, &body);
    } else {
        http_reply_error(req, 500, "server_error", "internal_error", NULL, "memory is out");
    }
    buf_finish(&body);
}

void jobs_wait(struct job *job, struct http_request *req, uint64_t timeout_ms, int late_status) {
    bool now = timeout_ms == 0 || job->phase == JOB_ENDED || job->phase == JOB_LEFT || job->suspended;
    struct job_wait *wait = now ? NULL : calloc(1, sizeof *wait);
    if (wait == NULL) {
        reply_job(req, job->phase == JOB_ENDED ? 200 : late_status, job);
        return;
    }
    *wait = (struct job_wait){
        .next = job->waits,
        .job = job,
        .req = req,
        .until_ms = uv_now(job->jobs->config.loop) + timeout_ms,
        .late_status = late_status,
    };
    job->waits = wait;
    http_on_close(req, on_client_left, wait);
    jobs_set_clock(job->jobs);
}

void job_wait_ended(struct job *job) {
    while (job->waits != NULL) {
        struct job_wait *wait = job->waits;
        job->waits = wait->next;
        reply_job(wait->req, 200, job);
        free(wait);
    }
}

void job_wait_break(struct job *job) {
    while (job->waits != NULL) {
        struct job_wait *wait = job->waits;
        job->waits = wait->next;
        http_reply_error(wait->req, 503, "server_error", "shutting_down", NULL,
                         "the daemon is stopping; the job %s goes on when it is started again", job->id);
        free(wait);
    }
}

uint64_t job_wait_next(const struct job *job) {
    uint64_t next = UINT64_MAX;
    for (const struct job_wait *wait = job->waits; wait != NULL; wait = wait->next) {
        next = wait->until_ms < next ? wait->until_ms : next;
    }
    return next;
}

void job_wait_due(struct job *job, uint64_t now_ms) {
    struct job_wait *next = NULL;
    for (struct job_wait *wait = job->waits; wait != NULL; wait = next) {
        next = wait->next;
        if (wait->until_ms <= now_ms) {
            unlink_wait(wait);
            reply_job(wait->req, wait->late_status, job);
            free(wait);
        }
    }
}
