/* Who is at the other end of a socket. [any-thread] */
#ifndef DAEMON_PEER_H
#define DAEMON_PEER_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

/* The uid of the process that called connect() on this Unix socket (SO_PEERCRED). 0 or a negative errno. */
HX_MUST_CHECK int peer_uid(int fd, uid_t *uid);
/* True when the other end is closed for good, not only for writing (POLLHUP or POLLERR). */
bool peer_gone(int fd);

#endif
