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

static int make_turn(const struct job *job, const struct constrain_tool *tools, struct grammar **out,
                     struct constrain_report *report, char *err, size_t errlen) {
    size_t n = job->tools.n;
    return job->answer_schema != NULL ? constrain_answer(tools, n, job->answer_schema,
                                                         job->request.open_section, out, report, err, errlen)
                                      : constrain_turn(tools, n, out, report, err, errlen);
}

/* `step`: less what it forbids; NULL: everything. `whole_tools`: less the tools it forbids anything of. */
static int compile(const struct job *job, const struct agent_step *step, bool whole_tools,
                   struct grammar **out, char *err, size_t errlen) {
    static const char nothing_that_is_json[] = "";
    size_t n = job->tools.n, most = step != NULL ? step->n_forbidden : 0;
    struct constrain_tool *tools = calloc(n + 1, sizeof *tools);
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
    rc = rc == 0 ? make_turn(job, tools, out, &report, err, errlen) : rc;
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

/* What the grammar is made of: NULL when memory is out. */
static char *ingredients(const struct job *job) {
    const struct job_format *format = &job->request.format;
    const char *section = job->request.open_section != NULL ? job->request.open_section : "";
    struct buf text;
    int rc = 0;
    buf_init(&text, SIZE_MAX / 2);
    if (format->json) {
        rc = buf_printf(&text, "%s\n%s\n", section, format->schema != NULL ? format->schema : "");
    }
    rc = rc == 0 ? buf_puts(&text, job->tools_json) : rc;
    char *all = rc == 0 ? buf_take(&text, NULL) : NULL;
    buf_finish(&text);
    return all;
}

void job_constrain(struct job *job) {
    struct jobs *jobs = job->jobs;
    char err[512] = "";
    bool free_text = job->tools.n == 0 && job->answer_schema == NULL;
    if (!job->request.constrained || free_text || job->grammar != NULL) {
        return;
    }
    char *tools = ingredients(job);
    /* Most jobs have the same tools: then the states and masks that were built are of use to all of them. */
    if (tools == NULL || jobs->grammar == NULL || strcmp(jobs->grammar_tools, tools) != 0) {
        struct grammar *grammar = NULL;
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
    } else {
        free(tools);
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
