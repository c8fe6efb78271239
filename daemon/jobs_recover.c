/* Jobs that come out of the journal: at the start of the daemon, and those that had to be left because the
 * journal failed for a while. */
#include "base/log.h"
#include "daemon/job.h"
#include "daemon/jobs_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int recover_row(struct job *job, const struct journal_job *row) {
    size_t len = strlen(row->request_json);
    int rc = jobs_fill_row(job, row->request_json, len, row->client_uid);
    job->tools_json = strdup(row->tools_json != NULL ? row->tools_json : "[]");
    if (rc != 0 || job->tools_json == NULL) {
        return -ENOMEM;
    }
    (void)!err_set(job->id, sizeof job->id, 0, "%s", row->id);
    (void)!err_set(job->trace_id, sizeof job->trace_id, 0, "%s", row->trace_id != NULL ? row->trace_id : "");
    job->phase = JOB_QUEUED;
    job->resume = row->starts > 0 || row->cancel_requested;
    job->was_working = strcmp(row->status, "working") == 0;
    job->last_seq = job->committed_seq = row->last_seq;
    job->row.created_ns = row->created_ns;
    job->row.started_ns = row->started_ns;
    job->row.starts = row->starts;
    job->row.clean_stops = row->clean_stops;
    job->row.deadline_ns = row->deadline_ns;
    job->deadline_ns = row->deadline_ns;
    return 0;
}

static int recover_one(void *arg, const struct journal_result *result) {
    struct jobs *jobs = arg;
    const struct journal_job *row = &result->jobs[0];
    struct job_request request;
    struct job_problem problem;
    if (job_request_parse(row->request_json, strlen(row->request_json), &request, &problem) != 0) {
        log_error("job cannot be read back id=%s why=%s", row->id, problem.message);
        return 0;
    }
    struct job *job = job_create(jobs, &request);
    if (job == NULL || recover_row(job, row) != 0) {
        job_destroy(job);
        return -ENOMEM;
    }
    jobs_link(jobs, job);
    return 0;
}

/* The tools as they are offered from now on, for whoever reads the trace. */
static void record_tools(struct jobs *jobs) {
    struct journal_batch *batch = journal_batch_create();
    for (size_t i = 0; batch != NULL && i < tools_count(jobs->config.tools); i++) {
        const struct tool_info *tool = tools_get(jobs->config.tools, i);
        char provider[256];
        (void)!err_set(provider, sizeof provider, 0, "plugin:%s", tool->plugin);
        journal_add_tool(batch, &(struct journal_tool){.name = tool->name,
                                                       .version = tool->plugin_version,
                                                       .provider = provider,
                                                       .description = tool->description,
                                                       .input_schema = tool->schema,
                                                       .flags = tool->flags});
    }
    if (batch == NULL || journal_submit(jobs->config.journal, batch, NULL, NULL) != 0) {
        log_warn("the tools could not be written to the journal");
    }
}

static void on_durations(void *arg, const struct journal_result *result) {
    struct jobs *jobs = arg;
    for (size_t i = 0; result->status == 0 && i < result->n_calls; i++) {
        tool_times_add(jobs->times, result->calls[i].name, result->calls[i].duration_ms);
    }
}

int jobs_recover(struct jobs *jobs, char *err, size_t errlen) {
    record_tools(jobs);
    if (journal_read_durations(jobs->config.journal, on_durations, jobs) != 0) {
        log_warn("how long calls took could not be read from the journal");
    }
    int rc = journal_recover(jobs->config.journal, recover_one, jobs, err, errlen);
    int n = jobs_count(jobs, false);
    if (n > 0) {
        log_info("unfinished jobs taken from the journal count=%d", n);
    }
    jobs_set_clock(jobs);
    return rc;
}

/* ---- taken again ---- */

static void on_row(void *arg, const struct journal_result *result) {
    struct job *left = arg;
    struct jobs *jobs = left->jobs;
    left->phase = JOB_LEFT;
    left->again_ns = 0; /* the next round sets it, should there be one */
    bool unfinished = result->status == 0 && result->jobs[0].finished_ns == 0;
    if (jobs->suspended || result->status == -ENOENT || (result->status == 0 && !unfinished)) {
        left->phase = JOB_ENDED;
    } else if (unfinished && recover_one(jobs, result) == 0) {
        log_info("job taken from the journal again id=%s", left->id);
        left->phase = JOB_ENDED;
    }
    jobs_reap_later(jobs);
}

void jobs_take_again(struct job *job) {
    /* JOB_READING: the journal still calls back. */
    job->phase = JOB_READING;
    if (journal_read_job(job->jobs->config.journal, job->id, on_row, job) != 0) {
        job->phase = JOB_LEFT;
        job->again_ns = 0;
        jobs_reap_later(job->jobs);
    }
}
