/* The worker's end of the socket. In the worker only. */
#ifndef TOOLS_WORKER_LINK_H
#define TOOLS_WORKER_LINK_H

#include "base/buf.h"
#include "tools/protocol.h"

#include <pthread.h>

struct worker_link {
    int fd;
    pthread_mutex_t lock; /* one frame at a time goes out */
    struct buf in;        /* [main thread] */
    size_t used;          /* bytes of `in` that belong to the last frame */
};

int worker_link_init(struct worker_link *link, int fd);
/* Sends all of it; a daemon that is gone ends the process. [any-thread] */
void worker_link_send(struct worker_link *link, const struct buf *frames);
/* Waits for the next frame, which stays until the next call: 1, 0 when the daemon wants no more, -errno.
 * [main thread] */
int worker_link_next(struct worker_link *link, struct frame *frame);

/* Exit codes of the executable. */
#define WORKER_EXIT_USAGE   64
#define WORKER_EXIT_REFUSED 65 /* the plugin cannot be used; REFUSED said why */
#define WORKER_EXIT_LINK    74 /* the socket failed */

#endif
