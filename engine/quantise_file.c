#include "engine/quantise_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SUFFIX ".partial-XXXXXX"

struct quantise_file {
    int fd;
    char path[PATH_MAX];
    char partial[PATH_MAX]; /* "": it has no name */
};

bool quantise_file_exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

/* The folder of a path. */
static void folder_of(const char *path, char out[PATH_MAX]) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        (void)snprintf(out, PATH_MAX, ".");
    else
        (void)snprintf(out, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

int quantise_file_open(const char *path, uint64_t bytes, struct quantise_file **out, char *err,
                       size_t errlen) {
    char folder[PATH_MAX];
    struct statvfs fs;
    struct quantise_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory to write '%s'.", path);
    size_t len = strlen(path);
    if (len + sizeof SUFFIX > sizeof f->path) {
        free(f);
        return err_set(err, errlen, -ENAMETOOLONG, "The name of the new file is too long.");
    }
    memcpy(f->path, path, len + 1);
    folder_of(path, folder);
    if (statvfs(folder, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < bytes) {
        free(f);
        return err_set(err, errlen, -ENOSPC, "'%s' needs %.1f MiB, and its file system has %.1f MiB free.",
                       path, (double)bytes / 1048576, (double)fs.f_bavail * (double)fs.f_frsize / 1048576);
    }
    f->fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    if (f->fd < 0) {
        (void)snprintf(f->partial, sizeof f->partial, "%.*s" SUFFIX, (int)len, path);
        f->fd = mkostemp(f->partial, O_CLOEXEC);
        mode_t mask = umask(0);
        (void)umask(mask);
        if (f->fd >= 0)
            (void)fchmod(f->fd, 0666 & ~mask);
    }
    if (f->fd < 0) {
        int rc = -errno;
        free(f);
        return err_set(err, errlen, rc, "'%s' cannot be written: %s.", path, strerror(-rc));
    }
    *out = f;
    return 0;
}

int quantise_file_write(struct quantise_file *f, const void *bytes, size_t n, char *err, size_t errlen) {
    const char *at = bytes;
    while (n > 0) {
        ssize_t wrote = write(f->fd, at, n < (1u << 30) ? n : 1u << 30);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0) {
            int rc = wrote < 0 ? -errno : -EIO;
            return err_set(err, errlen, rc, "'%s' cannot be written: %s.", f->path, strerror(-rc));
        }
        at += wrote;
        n -= (size_t)wrote;
    }
    return 0;
}

int quantise_file_keep(struct quantise_file *f, char *err, size_t errlen) {
    char own[64];
    int rc = fsync(f->fd) < 0 ? -errno : 0;
    (void)snprintf(own, sizeof own, "/proc/self/fd/%d", f->fd);
    /* A link, not a rename: it fails when the name is taken. */
    if (rc == 0 && f->partial[0] == '\0')
        rc = linkat(AT_FDCWD, own, AT_FDCWD, f->path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
    else if (rc == 0)
        rc = link(f->partial, f->path) < 0 ? -errno : 0;
    if (rc < 0)
        return err_set(err, errlen, rc, "'%s' cannot be written: %s.", f->path, strerror(-rc));
    return 0;
}

void quantise_file_close(struct quantise_file *f) {
    if (f == NULL)
        return;
    if (f->partial[0] != '\0')
        (void)unlink(f->partial);
    (void)close(f->fd);
    free(f);
}
