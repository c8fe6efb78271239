#include "plugins/files_write.h"

#include "plugins/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The folder of the path, opened, and the name in it (points into path). */
static int open_parent(int root, const char *path, const char **name, char *err, size_t errlen) {
    char folder[4096] = ".";
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    *name = slash == NULL ? path : slash + 1;
    if ((*name)[0] == '\0' || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0) {
        snprintf(err, errlen, "not a file name: %.200s", path);
        return -EINVAL;
    }
    if (len >= sizeof folder || strlen(*name) > 255) {
        snprintf(err, errlen, "the path is too long");
        return -ENAMETOOLONG;
    }
    if (slash != NULL) {
        memcpy(folder, len == 0 ? "/" : path, len == 0 ? 1 : len);
        folder[len == 0 ? 1 : len] = '\0';
    }
    int fd = beneath_open(root, folder, O_RDONLY | O_DIRECTORY);
    if (fd == -ENOENT)
        snprintf(err, errlen, "no such folder: %.200s", folder);
    else if (fd < 0)
        beneath_explain(fd, fd == -ENOTDIR ? folder : path, err, errlen);
    return fd;
}

/* What may be replaced: nothing (mode 0), or a regular file, whose permissions are kept. */
static int check_target(int folder, const char *name, mode_t *mode, char *err, size_t errlen) {
    struct stat st;
    *mode = 0;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT)
            return 0;
        int status = -errno;
        beneath_explain(status, name, err, errlen);
        return status;
    }
    if (S_ISREG(st.st_mode)) {
        *mode = st.st_mode & 0777;
        return 0;
    }
    snprintf(err, errlen, "%s, not a file: %.200s",
             S_ISDIR(st.st_mode)   ? "a folder"
             : S_ISLNK(st.st_mode) ? "a symbolic link"
                                   : "not a regular file",
             name);
    return -EINVAL;
}

static int write_all(int fd, const char *content, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, content, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        content += n;
        len -= (size_t)n;
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

/* A new file of a name that nothing has yet. */
static int open_temporary(int folder, mode_t mode, char *name, size_t cap) {
    static unsigned counter;
    for (int tries = 0; tries < 100; tries++) {
        snprintf(name, cap, ".hermesd-%ld-%u.tmp", (long)getpid(), counter++);
        int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                        mode == 0 ? 0666 : 0600);
        if (fd >= 0 || errno != EEXIST)
            return fd >= 0 ? fd : -errno;
    }
    return -EEXIST;
}

int files_write(int root, const char *path, const char *content, size_t len, char *err, size_t errlen) {
    const char *name;
    char temporary[64];
    mode_t mode;
    int folder = open_parent(root, path, &name, err, errlen);
    if (folder < 0)
        return folder;
    int status = check_target(folder, name, &mode, err, errlen);
    if (status != 0) {
        close(folder);
        return status;
    }
    int fd = open_temporary(folder, mode, temporary, sizeof temporary);
    if (fd < 0) {
        status = fd;
    } else {
        status = write_all(fd, content, len);
        if (status == 0 && mode != 0 && fchmod(fd, mode) != 0)
            status = -errno;
        close(fd);
        if (status == 0 && renameat(folder, temporary, folder, name) != 0)
            status = -errno;
        if (status != 0)
            (void)unlinkat(folder, temporary, 0);
        else
            (void)fsync(folder);
    }
    close(folder);
    if (status != 0)
        beneath_explain(status, path, err, errlen);
    return status;
}
