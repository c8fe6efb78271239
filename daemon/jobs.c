#include "daemon/jobs.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/job.h"
#include "daemon/jobs_inner.h"
#include "engine/grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Between the moment a job had to be left and the next attempt. */
#define AGAIN_MS INT64_C(2000)
/* Of so many jobs that begin while some of a lower priority wait, one is of these. */
#define LOW_SHARE 8

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

void jobs_unlink(struct job *job) {
    struct jobs *jobs = job->jobs;
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
        bool waits = job->phase <= JOB_QUEUED;
        n += working ? works(job) : waits;
    }
    return n;
}

struct job *jobs_find(const struct jobs *jobs, const char *id) {
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        if (strcmp(job->id, id) == 0) {
            bool known = job->phase >= JOB_QUEUED && job->phase != JOB_ENDED && job->phase != JOB_LEFT;
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

static int working_of(const struct jobs *jobs, int64_t uid) {
    int n = 0;
    for (const struct job *job = jobs->first; job != NULL; job = job->next) {
        n += works(job) && job->row.client_uid == uid;
    }
    return n;
}

/* Of the highest priority, the oldest job of the user who has the fewest at work, so that nobody's queue
 * holds up everybody. */
static struct job *next_highest(const struct jobs *jobs) {
    struct job *best = NULL;
    int best_working = 0;
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        if (job->phase != JOB_QUEUED) {
            continue;
        }
        int working = working_of(jobs, job->row.client_uid);
        int ahead = best != NULL ? job->row.priority - best->row.priority : 1;
        if (ahead > 0 || (ahead == 0 && working < best_working)) {
            best = job;
            best_working = working;
        }
    }
    return best;
}

/* The one that has waited longest of those with a lower priority; or NULL. */
static struct job *next_lower(const struct jobs *jobs, int priority) {
    struct job *job = jobs->first;
    while (job != NULL && (job->phase != JOB_QUEUED || job->row.priority >= priority)) {
        job = job->next;
    }
    return job;
}

/* The highest priority first, but for one beginning in LOW_SHARE while others wait behind it, so that none
 * waits for ever. */
static struct job *next_queued(struct jobs *jobs) {
    struct job *job = next_highest(jobs);
    struct job *lower = job != NULL ? next_lower(jobs, job->row.priority) : NULL;
    bool due = lower != NULL && jobs->passed_over >= LOW_SHARE - 1;
    jobs->passed_over = lower == NULL || due ? 0 : jobs->passed_over + 1;
    return due ? lower : job;
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
            jobs_unlink(job);
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

/* ---- cancelling ---- */

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
    jobs->times = tool_times_create();
    if (jobs->times == NULL) {
        free(jobs);
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
    jobs_refuse_unchecked(jobs);
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
    jobs_refuse_unchecked(jobs);
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
        jobs_unlink(job);
        job_destroy(job);
    }
    grammar_unref(jobs->grammar);
    free(jobs->grammar_tools);
    tool_times_destroy(jobs->times);
    uv_close((uv_handle_t *)&jobs->reap, on_timer_closed);
}
