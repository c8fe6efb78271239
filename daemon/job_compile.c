#include "daemon/job_compile.h"

#include "agent/constrain.h"
#include "agent/tags.h"
#include "daemon/job_request.h"
#include "engine/grammar.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int job_compile_init(struct job_compile *c, enum job_compile_what what, const struct job_format *format) {
    *c = (struct job_compile){.what = what, .format = *format};
    c->format.schema = format->schema != NULL ? strdup(format->schema) : NULL;
    return (c->format.schema == NULL) == (format->schema == NULL) ? 0 : -ENOMEM;
}

void job_compile_finish(struct job_compile *c) {
    job_format_finish(&c->format);
    free(c->open_section);
    free(c->reasoning_tags);
    free(c->tools_json);
    for (size_t i = 0; i < c->n_forbidden; i++) {
        free(c->forbidden[i].name);
        free(c->forbidden[i].arguments);
    }
    free(c->forbidden);
    schema_destroy(c->answer);
    grammar_unref(c->grammar);
    free(c->left_out);
    *c = (struct job_compile){0};
}

/* ---- the tools of a grammar ---- */

struct parts {
    struct job_tools read;
    struct constrain_tool *tools; /* by tool; their schemas are owned */
    const char **forbidden;       /* room for all forbidden calls of each */
};

static void parts_finish(struct parts *p) {
    for (size_t i = 0; p->tools != NULL && i < p->read.n; i++) {
        schema_destroy((struct schema *)(uintptr_t)p->tools[i].schema);
    }
    free(p->tools);
    free(p->forbidden);
    job_tools_finish(&p->read);
}

static int compile_tools(struct parts *p, char *err, size_t errlen) {
    for (size_t i = 0; i < p->read.n; i++) {
        const struct agent_tool *tool = &p->read.items[i];
        struct schema *schema = NULL;
        int rc = schema_compile(tool->schema, strlen(tool->schema), &schema, err, errlen);
        if (rc != 0) {
            return rc;
        }
        p->tools[i] = (struct constrain_tool){.name = tool->name, .schema = schema};
    }
    return 0;
}

/* The calls of this tool that must not be written, into `all` (with room). */
static size_t forbidden_of(const struct job_compile *c, const char *tool, const char **all) {
    size_t n = 0;
    for (size_t i = 0; i < c->n_forbidden; i++) {
        if (strcmp(c->forbidden[i].name, tool) == 0) {
            all[n++] = c->forbidden[i].arguments;
        }
    }
    return n;
}

static int parts_make(struct job_compile *c, struct parts *p, char *err, size_t errlen) {
    int rc = job_tools_read(c->tools_json, &p->read);
    if (rc != 0) {
        return err_set(err, errlen, rc, "the job's tools cannot be read back");
    }
    size_t n = p->read.n;
    p->tools = calloc(n + 1, sizeof *p->tools);
    p->forbidden = calloc(n * c->n_forbidden + 1, sizeof *p->forbidden);
    c->left_out = c->n_forbidden > 0 ? calloc(n + 1, sizeof *c->left_out) : NULL;
    if (p->tools == NULL || p->forbidden == NULL || (c->n_forbidden > 0 && c->left_out == NULL)) {
        return err_set(err, errlen, -ENOMEM, "memory is out");
    }
    rc = compile_tools(p, err, errlen);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const char **own = p->forbidden + i * c->n_forbidden;
        p->tools[i].forbidden = own;
        p->tools[i].n_forbidden = forbidden_of(c, p->tools[i].name, own);
        p->tools[i].left_out = c->left_out != NULL ? &c->left_out[i] : NULL;
    }
    return rc;
}

/* ---- the two kinds of work ---- */

static int make_turn(struct job_compile *c, const struct parts *p, char *err, size_t errlen) {
    struct constrain_report report = {.exact = true};
    struct tags_more more;
    const char *bad = NULL;
    int rc = tags_more_read(&more, c->reasoning_tags, &bad);
    if (rc != 0) {
        return err_set(err, errlen, rc, "'%.60s' cannot be the name of reasoning sections.", bad);
    }
    rc = c->answer != NULL ? constrain_answer(p->tools, p->read.n, c->answer, &more, c->open_section,
                                              &c->grammar, &report, err, errlen)
                           : constrain_turn(p->tools, p->read.n, &c->grammar, &report, err, errlen);
    if (rc == 0 && !report.exact) {
        (void)err_set(err, errlen, 0, "%s", report.why);
    }
    return rc;
}

/* Less what is forbidden; where that cannot be said, less the tools that something is forbidden of. */
static int make_grammar(struct job_compile *c, char *err, size_t errlen) {
    static const char nothing_that_is_json[] = "";
    struct parts p = {.tools = NULL};
    int rc = parts_make(c, &p, err, errlen);
    rc = rc == 0 ? make_turn(c, &p, err, errlen) : rc;
    if (rc == -E2BIG && c->n_forbidden > 0) {
        for (size_t i = 0; i < p.read.n; i++) {
            if (p.tools[i].n_forbidden > 0) {
                p.forbidden[i * c->n_forbidden] = nothing_that_is_json;
            }
        }
        rc = make_turn(c, &p, err, errlen);
    }
    parts_finish(&p);
    return rc;
}

static void run_turn(struct job_compile *c) {
    if (c->format.json) {
        c->status = job_format_compile(&c->format, &c->answer, c->problem.message, sizeof c->problem.message);
    }
    if (c->status == 0 && c->wants_grammar) {
        c->grammar_status = make_grammar(c, c->grammar_why, sizeof c->grammar_why);
    }
}

void job_compile_run(struct job_compile *c) {
    if (c->what == JOB_COMPILE_CHECK) {
        c->status = job_format_check(&c->format, c->wants_grammar, &c->problem);
    } else {
        run_turn(c);
    }
}
