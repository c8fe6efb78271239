/* The set of jobs as the job files see it. */
#ifndef DAEMON_JOBS_INNER_H
#define DAEMON_JOBS_INNER_H

#include "daemon/jobs.h"
#include "daemon/tool_times.h"

struct jobs {
    struct jobs_config config;
    struct jobs_counters counters;
    struct engine_info engine;
    struct job *first, *last;  /* unfinished, oldest first */
    struct job_watch *watches; /* those that still read from the journal */
    uv_timer_t reap;
    uv_timer_t clock; /* fires at the earliest deadline of a job or a waiting answer */
    /* The grammar of the last job that had one, and what it is made of: the tools, and in JSON mode the
     * format of the answer. */
    struct grammar *grammar;
    char *grammar_tools;
    struct tool_times *times; /* of all calls */
    int passed_over;          /* beginnings since one of a lower priority, while some waited */
    bool draining;
    bool suspended;
    void (*drained)(void *arg);
    void *drained_arg;
};

/* Soon, from the loop: frees ended jobs and begins those that wait. */
void jobs_reap_later(struct jobs *jobs);
/* A deadline was added: looks when the clock must fire. */
void jobs_set_clock(struct jobs *jobs);
void jobs_link(struct jobs *jobs, struct job *job);
void jobs_unlink(struct job *job);
/* jobs_submit.c: what clients are shown, but for id, times and status; the texts live in the job. -ENOMEM. */
HX_MUST_CHECK int jobs_fill_row(struct job *job, const char *body, size_t len, int64_t owner);
/* jobs_submit.c: a job's format can be used (0), or not, with the problem: from CHECKING to ACCEPTING or
 * ENDED. */
void jobs_checked(struct job *job, int rc, struct job_problem *problem);
/* jobs_submit.c: no job is accepted any more; whoever waits for a check is told. */
void jobs_refuse_unchecked(struct jobs *jobs);
/* jobs_recover.c: a job that was left: takes it from the journal as after a restart. */
void jobs_take_again(struct job *job);
/* The end is on disk (job.c). */
void job_ended(struct job *job);

/* job_wait.c: loop time of the earliest answer that is due, UINT64_MAX for none; and gives those. */
uint64_t job_wait_next(const struct job *job);
void job_wait_due(struct job *job, uint64_t now_ms);

#endif
