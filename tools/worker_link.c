#include "tools/worker_link.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (64u * 1024)
#define IN_MAX     (64u << 20) /* the daemon is trusted; this only bounds a mistake */

int worker_link_init(struct worker_link *link, int fd) {
    *link = (struct worker_link){.fd = fd};
    buf_init(&link->in, IN_MAX + READ_BYTES);
    return -pthread_mutex_init(&link->lock, NULL);
}

void worker_link_send(struct worker_link *link, const struct buf *frames) {
    pthread_mutex_lock(&link->lock);
    for (size_t at = 0; at < frames->len;) {
        ssize_t n = send(link->fd, frames->data + at, frames->len - at, MSG_NOSIGNAL);
        if (n >= 0)
            at += (size_t)n;
        else if (errno != EINTR)
            _exit(WORKER_EXIT_LINK);
    }
    pthread_mutex_unlock(&link->lock);
}

int worker_link_next(struct worker_link *link, struct frame *frame) {
    if (link->used > 0)
        buf_consume(&link->in, link->used);
    link->used = 0;
    for (;;) {
        long size = link->in.len > 0 ? frame_parse(link->in.data, link->in.len, IN_MAX, frame) : 0;
        if (size < 0)
            return (int)size;
        if (size > 0) {
            link->used = (size_t)size;
            return 1;
        }
        char *at;
        int rc = buf_reserve(&link->in, READ_BYTES, &at);
        if (rc != 0)
            return rc;
        ssize_t n = recv(link->fd, at, READ_BYTES, 0);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            buf_commit(&link->in, (size_t)n);
    }
}
