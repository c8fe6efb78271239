/* What a client asked for: the body of POST /v1/jobs, read and judged. daemon/api.md has the members. Pure.
 * [any-thread] */
#ifndef DAEMON_JOB_REQUEST_H
#define DAEMON_JOB_REQUEST_H

#include "agent/agent.h"
#include "base/buf.h"
#include "daemon/job_format.h"
#include "daemon/job_problem.h"
#include "engine/engine.h"
#include "tools/tools.h"

#include <cjson/cJSON.h>

struct job_request {
    cJSON *json; /* owned; every text below is borrowed from it */
    const char *system;
    struct agent_message *messages; /* owned array; the last one is the user's */
    size_t n_messages;
    const char *title; /* NULL: job_title() makes one */
    struct agent_limits limits;
    enum agent_profile profile;
    struct engine_sampling sampling;
    bool has_seed;
    int priority;        /* higher goes first */
    bool no_tools;       /* tool_choice "none" */
    const cJSON *tools;  /* array, or NULL: all */
    int64_t deadline_ms; /* 0: none */
    bool strict;         /* every tool takes only calls that are written exactly */
    bool lenient_calls;
    bool constrained;                 /* calls are valid by construction */
    bool overlap;                     /* false: one thing after the other, agent_config.sequential */
    bool speculation;                 /* false: engine_generate.no_speculation */
    const char *open_section;         /* NULL: none */
    char *reasoning_tags;             /* owned; names, ',' between them; NULL: none */
    struct agent_document *documents; /* owned array */
    size_t n_documents;
    struct job_format format;
};

/* Reads `text`. 0; -EINVAL with *problem filled, or -ENOMEM (problem: internal_error). */
HX_MUST_CHECK int job_request_parse(const char *text, size_t len, struct job_request *out,
                                    struct job_problem *problem);
void job_request_finish(struct job_request *request);
/* Whether the named model is this one. -EINVAL. */
HX_MUST_CHECK int job_request_check_model(const struct job_request *request, const char *model,
                                          struct job_problem *problem);
/* At most 200 bytes, never inside a character: the request's title, or its last message's first line. */
void job_request_title(const struct job_request *request, char title[201]);

/* The tools the request names, as JSON for the journal: what the model is offered, so that a restart offers
 * the same. -EINVAL for a name that is not there. */
HX_MUST_CHECK int job_tools_choose(const struct job_request *request, const struct tools *tools,
                                   struct buf *out, struct job_problem *problem);

/* Read back from that JSON. */
struct job_tools {
    cJSON *json; /* owned; texts of `items` are borrowed from it */
    struct agent_tool *items;
    size_t n;
};
HX_MUST_CHECK int job_tools_read(const char *text, struct job_tools *out);
void job_tools_finish(struct job_tools *tools);

#endif
