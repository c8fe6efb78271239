/* hermesctl: what its commands share. A client like any other: HTTP over the daemon's socket (api.md),
 * nothing else. One thread. Answers go to standard output, everything else to standard error. */
#ifndef DAEMON_CTL_H
#define DAEMON_CTL_H

#include "base/json.h"
#include "daemon/ctl_http.h"
#include "daemon/ctl_options.h"
#include "daemon/ctl_term.h"

/* Exit codes; `hermesctl help exit-codes` says the same. */
enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_UNREACHABLE = 3,
    CTL_NOT_PERMITTED = 4,
    CTL_JOB_FAILED = 5,
    CTL_TIMEOUT = 6,
    CTL_NEEDS_INPUT = 7,
    CTL_INTERRUPTED = 130,
    CTL_PIPE = 141
};

struct ctl {
    const struct ctl_options *options;
    struct ctl_http *http;
    struct ctl_term out, err; /* standard output and standard error */
};

/* "hermesctl: <text>" on standard error; returns `code`. */
int ctl_fail(struct ctl *ctl, enum ctl_exit code, const char *fmt, ...) HX_PRINTF(3, 4);
/* The exit code of a request that did not get through (`rc` < 0, with its sentence), said on standard error.
 */
int ctl_fail_transport(struct ctl *ctl, int rc, const char *err);
/* The exit code of an answer of 400 and above, its message said on standard error. */
int ctl_fail_reply(struct ctl *ctl, const struct ctl_reply *reply);

/* A request whose answer is JSON: 0 and *json (the caller's), or an exit code after saying why. */
int ctl_ask(struct ctl *ctl, const char *method, const char *path, const char *body, cJSON **json);
/* The id that `part` is the only one to be a part of: 0 and `id`, or an exit code after saying why. */
#define CTL_ID_SIZE 128
int ctl_find_job(struct ctl *ctl, const char *part, char id[CTL_ID_SIZE]);
/* Appends `text` percent-encoded. 0 or -errno. */
HX_MUST_CHECK int ctl_escape(struct buf *out, const char *text);
/* The JSON with two spaces of indentation, or on one line, to standard output. */
int ctl_print_json(struct ctl *ctl, const cJSON *json, bool one_line);
/* Reads all of standard input. 0, -E2BIG above `max`, -errno. */
HX_MUST_CHECK int ctl_read_stdin(struct buf *text);

/* The commands; each returns the exit code. */
int ctl_run(struct ctl *ctl);
int ctl_jobs(struct ctl *ctl);
int ctl_show(struct ctl *ctl);
int ctl_cancel(struct ctl *ctl);
int ctl_trace(struct ctl *ctl);
int ctl_tools(struct ctl *ctl);
int ctl_call(struct ctl *ctl);
int ctl_status(struct ctl *ctl);
int ctl_help(struct ctl *ctl);

#endif
