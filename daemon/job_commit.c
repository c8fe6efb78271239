/* Batches of one job: opened when something is to be written, submitted when something waits for it. */
#include "daemon/job.h"
#include "daemon/jobs_inner.h"

#include <errno.h>
#include <stdlib.h>

struct commit {
    struct job *job;
    uint64_t number;
    int64_t seq;
};

struct journal_batch *job_batch(struct job *job) {
    if (job->batch == NULL) {
        job->batch = journal_batch_create();
        if (job->batch == NULL) {
            job_abandon(job, "memory is out");
        }
    }
    return job->batch;
}

static void on_committed(void *arg, const struct journal_result *result) {
    struct commit commit = *(struct commit *)arg;
    struct job *job = commit.job;
    free(arg);
    job->batches_out--;
    if (job->phase == JOB_ENDED || job->suspended) {
        jobs_reap_later(job->jobs);
        return;
    }
    if (result->status != 0) {
        job_abandon(job, result->err);
        return;
    }
    job->committed = commit.number;
    job->committed_seq = commit.seq;
    if (job->phase == JOB_ENDING && job->batches_out == 0) {
        job_ended(job);
        return;
    }
    job_events_deliver(job);
    job_calls_committed(job);
    job_step(job);
}

void job_flush(struct job *job) {
    if (job->batch == NULL || !job->urgent || job->suspended) {
        return;
    }
    job_turn_keep_text(job);
    struct commit *commit = malloc(sizeof *commit);
    if (commit == NULL) {
        job_abandon(job, "memory is out");
        return;
    }
    struct journal_batch *batch = job->batch;
    journal_batch_chain(batch, &job->chain);
    *commit = (struct commit){.job = job, .number = job->batch_number, .seq = job->last_seq};
    job->batch = NULL;
    job->urgent = false;
    job->batch_number++;
    job->batches_out++;
    int rc = journal_submit(job->jobs->config.journal, batch, on_committed, commit);
    if (rc != 0) {
        free(commit);
        job->batches_out--;
        job_abandon(job, rc == -ENOMEM ? "memory is out" : "the journal takes no more");
    }
}
