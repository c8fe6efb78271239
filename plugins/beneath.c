#include "plugins/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int beneath_open(int root, const char *path, int flags) {
    struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC),
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int tries = 0;; tries++) {
        long fd = syscall(SYS_openat2, root, path, &how, sizeof how);
        if (fd >= 0)
            return (int)fd;
        /* The kernel gives EAGAIN when a rename elsewhere made a ".." uncertain. */
        if ((errno != EAGAIN && errno != EINTR) || tries == 100)
            return -errno;
    }
}

void beneath_explain(int status, const char *path, char *err, size_t errlen) {
    const int shown = 200;
    switch (-status) {
    case ENOENT:
        snprintf(err, errlen, "no such file: %.*s", shown, path);
        break;
    case EXDEV:
        snprintf(err, errlen, "outside the workspace, use a path inside it: %.*s", shown, path);
        break;
    case ENOTDIR:
        snprintf(err, errlen, "not a folder: %.*s", shown, path);
        break;
    case EISDIR:
        snprintf(err, errlen, "a folder, not a file: %.*s", shown, path);
        break;
    case ENAMETOOLONG:
        snprintf(err, errlen, "the path is too long");
        break;
    case ELOOP:
        snprintf(err, errlen, "too many symbolic links: %.*s", shown, path);
        break;
    case EACCES:
    case EPERM:
        snprintf(err, errlen, "permission denied: %.*s", shown, path);
        break;
    default:
        snprintf(err, errlen, "%s: %.*s", strerror(-status), shown, path);
    }
}

int beneath_open_file(int root, const char *path, char *err, size_t errlen) {
    struct stat st;
    /* Looked at before it is opened (opening a device can do things), and again after, should it have been
     * swapped. */
    int fd = beneath_open(root, path, O_PATH);
    if (fd >= 0) {
        int status = fstat(fd, &st) == 0 ? 0 : -errno;
        close(fd);
        fd = status;
    }
    if (fd == 0 && S_ISREG(st.st_mode))
        fd = beneath_open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    else if (fd == 0)
        fd = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        fd = -EINVAL;
    }
    if (fd == -EINVAL)
        snprintf(err, errlen, "not a regular file: %.200s", path);
    else if (fd < 0)
        beneath_explain(fd, path, err, errlen);
    return fd;
}
