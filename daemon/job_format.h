/* JSON mode: the member `response_format` of a request, as OpenAI's API has it, or the prompt of Hermes' JSON
 * mode as the system text; and the grammar of such an answer. Pure. [any-thread] */
#ifndef DAEMON_JOB_FORMAT_H
#define DAEMON_JOB_FORMAT_H

#include "base/err.h"
#include "tools/schema.h"

#include <stdbool.h>
#include <stddef.h>

#define JOB_FORMAT_SCHEMA_MAX ((size_t)32 << 10) /* it stands in the prompt, and is compiled at once */

struct job_problem;

struct job_format {
    bool json;         /* false: the answer is text, and nothing below counts */
    bool in_system;    /* the schema was found in the system text, which shows it to the model */
    bool strict;       /* the grammar must say all that the schema says */
    char *schema;      /* owned, as the client wrote it; NULL: any object */
    bool named;        /* the request has the member */
    const char *param; /* the member it stands in, static */
};

/* Reads it from the body, which json_check() accepted. -EINVAL with *problem filled, -ENOMEM. */
HX_MUST_CHECK int job_format_read(const char *body, size_t len, struct job_format *out,
                                  struct job_problem *problem);
/* For a request without the member: a system text with the sentence that Hermes models are trained on, and a
 * JSON object as the schema behind it, asks for the same. Any other text leaves *out as it is. -EINVAL with
 * *problem filled for a schema that is too long, -ENOMEM. */
HX_MUST_CHECK int job_format_of_system(const char *system, struct job_format *out,
                                       struct job_problem *problem);
void job_format_finish(struct job_format *format);
/* Whether answers of this format can be checked and, when `constrained`, written under a grammar. -EINVAL
 * with *problem filled, which names place and keyword; -ENOMEM. */
HX_MUST_CHECK int job_format_check(const struct job_format *format, bool constrained,
                                   struct job_problem *problem);
/* The schema to check answers with: the caller's (schema_destroy). -EINVAL, -ENOMEM. */
HX_MUST_CHECK int job_format_compile(const struct job_format *format, struct schema **out, char *err,
                                     size_t errlen);

#endif
