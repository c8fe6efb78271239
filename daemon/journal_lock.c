#include "daemon/journal_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEFT_BEHIND_TRIES   200
#define LEFT_BEHIND_STEP_US 10000

static int make_folders(const char *folder, char *err, size_t errlen) {
    char path[PATH_MAX];
    size_t len = strlen(folder);
    if (len == 0 || len >= sizeof path)
        return err_set(err, errlen, len == 0 ? -EINVAL : -ENAMETOOLONG, "The path of the state folder is %s.",
                       len == 0 ? "empty" : "too long");
    memcpy(path, folder, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        char kept = path[i];
        path[i] = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return err_set(err, errlen, -errno, "The state folder '%s' cannot be made: %s.", folder,
                           strerror(errno));
        path[i] = kept;
    }
    return 0;
}

static int check_folder(const char *folder, char *err, size_t errlen) {
    struct stat st;
    if (stat(folder, &st) != 0)
        return err_set(err, errlen, -errno, "The state folder '%s' cannot be read: %s.", folder,
                       strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return err_set(err, errlen, -ENOTDIR, "The state folder '%s' is not a folder.", folder);
    if ((st.st_mode & S_IWOTH) != 0)
        return err_set(err, errlen, -EACCES,
                       "The state folder '%s' can be written by everybody; chmod o-w it.", folder);
    return 0;
}

/* Who holds it, as that process wrote it down; 0 = unknown. */
static long holder(int fd) {
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

/* A daemon that was killed while it started a worker leaves the lock with that child until the child has
 * become the worker: moments. Nobody waits for one that is alive. */
static int take(int fd) {
    int rc = flock(fd, LOCK_EX | LOCK_NB);
    for (int i = 0; i < LEFT_BEHIND_TRIES && rc != 0 && errno == EWOULDBLOCK; i++) {
        long pid = holder(fd);
        if (pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
            break;
        usleep(LEFT_BEHIND_STEP_US);
        rc = flock(fd, LOCK_EX | LOCK_NB);
    }
    return rc == 0 ? 0 : flock(fd, LOCK_EX | LOCK_NB); /* sets errno again */
}

static int lock_busy(int fd, const char *folder, char *err, size_t errlen) {
    long pid = holder(fd);
    char who[48] = "";
    if (pid > 0)
        snprintf(who, sizeof who, " (process %ld)", pid);
    return err_set(err, errlen, -EBUSY,
                   "Another hermesd%s uses the state folder '%s'; stop it, or give this one a folder of its "
                   "own with --state.",
                   who, folder);
}

int journal_lock_take(const char *folder, int *fd, char *err, size_t errlen) {
    char path[PATH_MAX];
    int rc = make_folders(folder, err, errlen);
    if (rc == 0)
        rc = check_folder(folder, err, errlen);
    if (rc < 0)
        return rc;
    if (snprintf(path, sizeof path, "%s/hermesd.lock", folder) >= (int)sizeof path)
        return err_set(err, errlen, -ENAMETOOLONG, "The path of the state folder '%s' is too long.", folder);
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        return err_set(err, errlen, -errno, "The lock '%s' cannot be opened: %s.", path, strerror(errno));
    if (take(lock) != 0) {
        rc = errno == EWOULDBLOCK
                 ? lock_busy(lock, folder, err, errlen)
                 : err_set(err, errlen, -errno, "The lock '%s' cannot be taken: %s.", path, strerror(errno));
        close(lock);
        return rc;
    }
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    /* For the sentence above only: a full disk must not keep the daemon from starting. */
    if (ftruncate(lock, 0) != 0 || pwrite(lock, text, (size_t)n, 0) != n)
        (void)ftruncate(lock, 0);
    *fd = lock;
    return 0;
}
