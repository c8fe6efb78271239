/* The grammar that a job's model is held to. */
#include "agent/constrain.h"
#include "base/log.h"
#include "daemon/job.h"
#include "daemon/jobs_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compile_schemas(const struct job_tools *tools, struct constrain_tool *out, char *err,
                           size_t errlen) {
    for (size_t i = 0; i < tools->n; i++) {
        const struct agent_tool *tool = &tools->items[i];
        struct schema *schema = NULL;
        int rc = schema_compile(tool->schema, strlen(tool->schema), &schema, err, errlen);
        if (rc != 0) {
            return rc;
        }
        out[i] = (struct constrain_tool){.name = tool->name, .schema = schema};
    }
    return 0;
}

static int compile(const struct job *job, struct grammar **out, char *err, size_t errlen) {
    struct constrain_tool *tools = calloc(job->tools.n, sizeof *tools);
    struct constrain_report report;
    if (tools == NULL) {
        return err_set(err, errlen, -ENOMEM, "memory is out");
    }
    int rc = compile_schemas(&job->tools, tools, err, errlen);
    rc = rc == 0 ? constrain_turn(tools, job->tools.n, out, &report, err, errlen) : rc;
    if (rc == 0 && !report.exact) {
        log_debug("a grammar lets more pass than its schema, which is checked afterwards: %s", report.why);
    }
    for (size_t i = 0; i < job->tools.n; i++) {
        schema_destroy((struct schema *)(uintptr_t)tools[i].schema);
    }
    free(tools);
    return rc;
}

void job_constrain(struct job *job) {
    struct jobs *jobs = job->jobs;
    char err[512] = "";
    if (!job->request.constrained || job->tools.n == 0 || job->grammar != NULL) {
        return;
    }
    /* Most jobs have the same tools: then the states and masks that were built are of use to all of them. */
    if (jobs->grammar == NULL || strcmp(jobs->grammar_tools, job->tools_json) != 0) {
        struct grammar *grammar = NULL;
        char *tools = strdup(job->tools_json);
        int rc = tools != NULL ? compile(job, &grammar, err, sizeof err) : -ENOMEM;
        if (rc != 0) {
            log_warn("job is not constrained id=%s: %s", job->id, rc == -ENOMEM ? "memory is out" : err);
            free(tools);
            return;
        }
        grammar_unref(jobs->grammar);
        free(jobs->grammar_tools);
        jobs->grammar = grammar;
        jobs->grammar_tools = tools;
    }
    job->grammar = grammar_ref(jobs->grammar);
}
