/* Where clients come in: a Unix socket with its lock file, or a loopback TCP port. [loop-thread] */
#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

struct http_server;

struct listener {
    struct listener *next;
    struct http_server *server;
    union {
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
        uv_handle_t handle;
    } io;
    bool is_tcp;
    char *path;  /* of the Unix socket; owned */
    int lock_fd; /* -1 for TCP */
    dev_t dev;   /* of the socket file, so that only our own is removed */
    ino_t ino;
    char *token; /* TCP: owned; NULL when none is wanted */
    int port;
};

/* A bound (not yet listening) Unix socket at `path`, mode 0600, and its lock. Never removes anything but a
 * socket of ours that refuses connections. Errors as http_server_listen_unix() has them. */
HX_MUST_CHECK int listener_bind_unix(const char *path, int *fd, int *lock_fd, char *err, size_t errlen);
/* A bound TCP socket; `host` must be a loopback address. */
HX_MUST_CHECK int listener_bind_tcp(const char *host, int port, int *fd, int *bound_port, char *err,
                                    size_t errlen);
/* Removes the socket file if it is still the one we made. The lock file stays. */
void listener_remove_file(struct listener *listener);

#endif
