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

static int make_turn(const struct job *job, const struct constrain_tool *tools, struct grammar **out,
                     struct constrain_report *report, char *err, size_t errlen) {
    size_t n = job->tools.n;
    return job->answer_schema != NULL ? constrain_answer(tools, n, job->answer_schema,
                                                         job->request.open_section, out, report, err, errlen)
                                      : constrain_turn(tools, n, out, report, err, errlen);
}

static int compile(const struct job *job, struct grammar **out, char *err, size_t errlen) {
    struct constrain_tool *tools = calloc(job->tools.n + 1, sizeof *tools);
    struct constrain_report report;
    if (tools == NULL) {
        return err_set(err, errlen, -ENOMEM, "memory is out");
    }
    int rc = compile_schemas(&job->tools, tools, err, errlen);
    rc = rc == 0 ? make_turn(job, tools, out, &report, err, errlen) : rc;
    if (rc == 0 && !report.exact) {
        log_debug("a grammar lets more pass than its schema, which is checked afterwards: %s", report.why);
    }
    for (size_t i = 0; i < job->tools.n; i++) {
        schema_destroy((struct schema *)(uintptr_t)tools[i].schema);
    }
    free(tools);
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
    } else {
        free(tools);
    }
    job->grammar = grammar_ref(jobs->grammar);
}
