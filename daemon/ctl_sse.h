/* Server-sent events, as they come off the wire (WHATWG HTML, "Interpreting an event stream"). One thread. */
#ifndef DAEMON_CTL_SSE_H
#define DAEMON_CTL_SSE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

struct ctl_sse {
    struct buf line, data;
    char id[32]; /* of the last event that had one; "" before */
    char type[64];
    bool has_data, after_cr;
    /* Texts are the parser's. Non-zero ends the parsing. */
    int (*event)(void *arg, const char *type, const char *data, size_t len);
    void *arg;
};

void ctl_sse_init(struct ctl_sse *s, int (*event)(void *arg, const char *type, const char *data, size_t len),
                  void *arg);
void ctl_sse_finish(struct ctl_sse *s);
/* A new connection: what was begun is forgotten, the id stays. */
void ctl_sse_restart(struct ctl_sse *s);
/* Bytes, cut anywhere. 0, the result of `event`, -ENOBUFS for an event above 64 MiB, -ENOMEM. */
HX_MUST_CHECK int ctl_sse_feed(struct ctl_sse *s, const char *bytes, size_t len);

#endif
