/* HTTP requests of hermesctl, by libcurl, over the daemon's Unix socket or loopback TCP. One thread; each
 * call blocks until its answer is there. */
#ifndef DAEMON_CTL_HTTP_H
#define DAEMON_CTL_HTTP_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct ctl_http;

/* `host`: a path, "unix:///path" or "http://127.0.0.1:8765". `token`: for TCP, may be NULL. -EINVAL for
 * another form, -ENAMETOOLONG. */
HX_MUST_CHECK int ctl_http_open(const char *host, const char *token, struct ctl_http **out, char *err,
                                size_t errlen);
void ctl_http_close(struct ctl_http *h);
/* For messages: "unix:///…" or the URL. */
const char *ctl_http_where(const struct ctl_http *h);

struct ctl_reply {
    long status;
    struct buf body; /* the caller's: ctl_reply_finish() */
};
void ctl_reply_finish(struct ctl_reply *reply);

struct ctl_request {
    const char *method, *path;
    const char *body;            /* JSON; NULL = none */
    const char *accept;          /* NULL = application/json */
    const char *idempotency_key; /* may be NULL */
    const char *last_event_id;   /* may be NULL */
    long timeout_ms;             /* of the whole exchange; 0 = none */
};
/* 0: an answer of any status is in *reply. -ENOENT, -ECONNREFUSED, -EACCES: no daemon there; -ETIMEDOUT,
 * -ECONNRESET, … */
HX_MUST_CHECK int ctl_http_send(struct ctl_http *h, const struct ctl_request *request,
                                struct ctl_reply *reply, char *err, size_t errlen);

struct ctl_stream {
    /* A piece of a 2xx answer as it comes; non-zero ends the exchange. */
    int (*data)(void *arg, const char *bytes, size_t len);
    /* Called when `wake_fd` is readable and every 200 ms; non-zero ends the exchange. */
    int (*tick)(void *arg);
    void *arg;
    int wake_fd;
};
/* As ctl_http_send(), but the body of a 2xx answer goes to `stream`; any other body to *reply. -ECANCELED
 * when a callback ended it. 0 when the other side ended it in order. */
HX_MUST_CHECK int ctl_http_stream(struct ctl_http *h, const struct ctl_request *request,
                                  const struct ctl_stream *stream, struct ctl_reply *reply, char *err,
                                  size_t errlen);

#endif
