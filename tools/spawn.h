/* Starting, killing and reaping a worker's process: posix_spawn and a pidfd, never fork, so that the size of
 * the daemon's memory does not matter. [loop-thread] */
#ifndef TOOLS_SPAWN_H
#define TOOLS_SPAWN_H

#include "base/err.h"

#include <sys/types.h>

struct spawn {
    pid_t pid;     /* 0: none, or reaped */
    int pidfd;     /* readable once it has ended */
    int link_fd;   /* our end of the socketpair; non-blocking */
    int output_fd; /* what it prints; non-blocking */
};

struct spawn_end {
    int exit_code; /* -1 when a signal ended it */
    int signal;    /* 0 when it ended by itself */
    double cpu_ms;
    long max_rss_kib;
};

/* Starts `worker_path plugin_path` in a session of its own: an empty standard input, output and error into a
 * pipe, descriptor 3 the socket, nothing else open, an almost empty environment. Blocks until the executable
 * runs (about a millisecond). */
HX_MUST_CHECK int spawn_start(const char *worker_path, const char *plugin_path, struct spawn *out, char *err,
                              size_t errlen);
/* SIGKILL to it and to what it started. */
void spawn_kill(const struct spawn *s);
/* Waits for its end and reaps it; what it started is killed. *end stays when it was reaped before. */
void spawn_reap(struct spawn *s, struct spawn_end *end);
/* Closes the descriptors that are still open (>= 0). */
void spawn_close(struct spawn *s);

#endif
