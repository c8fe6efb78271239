#include "daemon/peer.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

int peer_uid(int fd, uid_t *uid) {
    struct ucred cred;
    socklen_t len = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0) {
        return -errno;
    }
    *uid = cred.uid;
    return 0;
}

bool peer_gone(int fd) {
    struct pollfd p = {.fd = fd, .events = 0};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) != 0;
}
