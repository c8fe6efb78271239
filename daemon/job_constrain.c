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

/* The calls of this tool that must not be written, into `all` (owned, with room). */
static size_t forbidden_of(const char *tool, const struct agent_step *step, const char **all) {
    size_t n = 0;
    for (size_t i = 0; step != NULL && i < step->n_forbidden; i++) {
        if (strcmp(step->forbidden[i].name, tool) == 0) {
            all[n++] = step->forbidden[i].arguments;
        }
    }
    return n;
}

/* `step`: less what it forbids; NULL: everything. `whole_tools`: less the tools it forbids anything of. */
static int compile(const struct job *job, const struct agent_step *step, bool whole_tools,
                   struct grammar **out, char *err, size_t errlen) {
    static const char nothing_that_is_json[] = "";
    size_t n = job->tools.n, most = step != NULL ? step->n_forbidden : 0;
    struct constrain_tool *tools = calloc(n, sizeof *tools);
    const char **forbidden = calloc(n * most + 1, sizeof *forbidden);
    struct constrain_report report;
    int rc = tools != NULL && forbidden != NULL ? 0 : err_set(err, errlen, -ENOMEM, "memory is out");
    rc = rc == 0 ? compile_schemas(&job->tools, tools, err, errlen) : rc;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const char **own = forbidden + i * most;
        tools[i].forbidden = own;
        tools[i].n_forbidden = forbidden_of(tools[i].name, step, own);
        tools[i].left_out = step != NULL ? &job->left_out[i] : NULL;
        if (whole_tools && tools[i].n_forbidden > 0) {
            own[0] = nothing_that_is_json;
        }
    }
    rc = rc == 0 ? constrain_turn(tools, n, out, &report, err, errlen) : rc;
    if (rc == 0 && !report.exact) {
        log_debug("a grammar lets more pass than its schema, which is checked afterwards: %s", report.why);
    }
    for (size_t i = 0; tools != NULL && i < n; i++) {
        schema_destroy((struct schema *)(uintptr_t)tools[i].schema);
    }
    free(tools);
    free(forbidden);
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
        int rc = tools != NULL ? compile(job, NULL, false, &grammar, err, sizeof err) : -ENOMEM;
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

void job_constrain_turn(struct job *job, const struct agent_step *step) {
    struct grammar *grammar = NULL;
    char err[512] = "";
    if (job->grammar == NULL || step->n_forbidden == job->n_forbidden) {
        return;
    }
    if (job->left_out == NULL && (job->left_out = calloc(job->tools.n, sizeof *job->left_out)) == NULL) {
        log_warn("a call is not forbidden by the grammar id=%s: memory is out", job->id);
        return;
    }
    int rc = compile(job, step, false, &grammar, err, sizeof err);
    if (rc == -E2BIG) {
        rc = compile(job, step, true, &grammar, err, sizeof err);
    }
    if (rc != 0) {
        /* It is refused when it comes all the same. */
        log_warn("a call is not forbidden by the grammar id=%s: %s", job->id,
                 rc == -ENOMEM ? "memory is out" : err);
        return;
    }
    grammar_unref(job->grammar);
    job->grammar = grammar;
    job->n_forbidden = step->n_forbidden;
}
