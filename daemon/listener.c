#include "daemon/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int check_folder(const char *path, char *err, size_t errlen) {
    struct sockaddr_un address;
    char folder[sizeof address.sun_path];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    memcpy(folder, slash == NULL ? "." : path, len);
    folder[len] = '\0';
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        return err_set(err, errlen, -errno, "cannot create the folder %s for the socket: %s", folder,
                       strerror(errno));
    }
    struct stat st;
    if (stat(folder, &st) != 0) {
        return err_set(err, errlen, -errno, "cannot look at the socket's folder %s: %s", folder,
                       strerror(errno));
    }
    if (!S_ISDIR(st.st_mode)) {
        return err_set(err, errlen, -ENOTDIR, "%s is not a folder; choose another socket path", folder);
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 || (st.st_uid != geteuid() && st.st_uid != 0)) {
        return err_set(
            err, errlen, -EACCES,
            "the socket's folder %s can be written by others; use a folder of your own with mode 0700",
            folder);
    }
    return 0;
}

static int take_lock(const char *path, int *lock_fd, char *err, size_t errlen) {
    char lock[sizeof(struct sockaddr_un) + 8];
    snprintf(lock, sizeof lock, "%s.lock", path);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_set(err, errlen, -errno, "cannot open the lock file %s: %s", lock, strerror(errno));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int code = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
        close(fd);
        return code == -EADDRINUSE
                   ? err_set(err, errlen, code, "the socket %s is already in use by a running hermesd", path)
                   : err_set(err, errlen, code, "cannot lock %s: %s", lock, strerror(-code));
    }
    *lock_fd = fd;
    return 0;
}

/* What lies at the path: nothing, a socket of ours that nobody serves (removed), or a reason to stop. */
static int clear_path(const struct sockaddr_un *address, char *err, size_t errlen) {
    struct stat st;
    const char *path = address->sun_path;
    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? 0
                               : err_set(err, errlen, -errno, "cannot look at the socket path %s: %s", path,
                                         strerror(errno));
    }
    if (!S_ISSOCK(st.st_mode)) {
        return err_set(err, errlen, -EADDRINUSE,
                       "%s exists and is not a socket; remove it or choose another socket path", path);
    }
    if (st.st_uid != geteuid()) {
        return err_set(err, errlen, -EADDRINUSE,
                       "the socket %s belongs to another user; choose another socket path", path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_set(err, errlen, -errno, "cannot make a socket: %s", strerror(errno));
    }
    int rc = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
    close(fd);
    if (rc != ECONNREFUSED) {
        return err_set(err, errlen, -EADDRINUSE, "the socket %s is already in use by a running hermesd",
                       path);
    }
    if (unlink(path) != 0) {
        return err_set(err, errlen, -errno, "cannot remove the stale socket %s: %s", path, strerror(errno));
    }
    return 0;
}

static int bind_private(const struct sockaddr_un *address, int *out, char *err, size_t errlen) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_set(err, errlen, -errno, "cannot make a socket: %s", strerror(errno));
    }
    /* Linux takes the file's mode from the socket's own; unlike umask() this touches no other thread. The
     * folder is private anyway, and fchmod() of the path checks the result. */
    struct stat st;
    if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)address, sizeof *address) != 0 ||
        chmod(address->sun_path, 0600) != 0 || lstat(address->sun_path, &st) != 0) {
        int code = -errno;
        close(fd);
        return err_set(err, errlen, code, "cannot bind the socket %s: %s", address->sun_path,
                       strerror(-code));
    }
    *out = fd;
    return 0;
}

int listener_bind_unix(const char *path, int *fd, int *lock_fd, char *err, size_t errlen) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len == 0) {
        return err_set(err, errlen, -EINVAL, "the socket path is empty; give a path");
    }
    if (len >= sizeof address.sun_path) {
        return err_set(err, errlen, -ENAMETOOLONG,
                       "the socket path %s has %zu bytes; at most %zu are possible, choose a shorter one",
                       path, len, sizeof address.sun_path - 1);
    }
    memcpy(address.sun_path, path, len + 1);
    int rc = check_folder(path, err, errlen);
    int lock = -1;
    if (rc == 0) {
        rc = take_lock(path, &lock, err, errlen);
    }
    if (rc == 0) {
        rc = clear_path(&address, err, errlen);
    }
    if (rc == 0) {
        rc = bind_private(&address, fd, err, errlen);
    }
    if (rc != 0 && lock >= 0) {
        close(lock);
    } else if (rc == 0) {
        *lock_fd = lock;
    }
    return rc;
}

int listener_bind_tcp(const char *host, int port, int *out, int *bound_port, char *err, size_t errlen) {
    struct sockaddr_storage address = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    socklen_t len = sizeof *v4;
    if (port < 0 || port > 65535) {
        return err_set(err, errlen, -EINVAL, "the TCP port %d is outside 0 to 65535", port);
    }
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1 && (ntohl(v4->sin_addr.s_addr) >> 24) == 127) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        len = sizeof *v6;
    } else {
        return err_set(err, errlen, -EINVAL, "%s is no loopback address; listen on 127.0.0.1 or ::1", host);
    }
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&address, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        int code = -errno;
        if (fd >= 0) {
            close(fd);
        }
        return err_set(err, errlen, code, "cannot listen on %s port %d: %s", host, port, strerror(-code));
    }
    *bound_port = ntohs(address.ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
    *out = fd;
    return 0;
}

void listener_remove_file(struct listener *listener) {
    struct stat st;
    if (listener->path != NULL && lstat(listener->path, &st) == 0 && S_ISSOCK(st.st_mode) &&
        st.st_dev == listener->dev && st.st_ino == listener->ino) {
        unlink(listener->path);
    }
}
