#include "daemon/job_problem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int job_refuse(struct job_problem *problem, const char *code, const char *param, const char *fmt, ...) {
    va_list args;
    problem->code = code;
    snprintf(problem->param, sizeof problem->param, "%s", param);
    va_start(args, fmt);
    vsnprintf(problem->message, sizeof problem->message, fmt, args);
    va_end(args);
    return -EINVAL;
}

int job_bad_value(struct job_problem *problem, const char *param, const char *what) {
    return job_refuse(problem, "invalid_value", param, "'%s' must be %s", param, what);
}
