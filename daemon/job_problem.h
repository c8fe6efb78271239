/* Why a request is refused, as the client is told. Pure. [any-thread] */
#ifndef DAEMON_JOB_PROBLEM_H
#define DAEMON_JOB_PROBLEM_H

#include "base/err.h"

struct job_problem {
    const char *code;
    char param[64]; /* "" for none */
    char message[512];
};

/* Fills *problem; always -EINVAL. */
int job_refuse(struct job_problem *problem, const char *code, const char *param, const char *fmt, ...)
    HX_PRINTF(4, 5);
/* "'param' must be …", with the code invalid_value. */
int job_bad_value(struct job_problem *problem, const char *param, const char *what);

#endif
