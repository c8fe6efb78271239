#include "tools/spawn.h"

#include "tools/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Our descriptors are moved above this, so that placing them at 0 to 3 in the child never meets one of them.
 */
#define ABOVE 16

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int lift(int *fd) {
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, ABOVE);
    if (high < 0)
        return -errno;
    close(*fd);
    *fd = high;
    return 0;
}

/* ours[0]/theirs[0]: the socket; ours[1]/theirs[1]: the output. */
static int make_pairs(int ours[2], int theirs[2]) {
    int link[2], output[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) != 0)
        return -errno;
    ours[0] = link[0];
    theirs[0] = link[1];
    if (pipe2(output, O_CLOEXEC) != 0)
        return -errno;
    ours[1] = output[0];
    theirs[1] = output[1];
    for (int i = 0; i < 2; i++) {
        int rc = lift(&theirs[i]);
        if (rc != 0)
            return rc;
        if (fcntl(ours[i], F_SETFL, O_NONBLOCK) != 0)
            return -errno;
    }
    return 0;
}

static int add_actions(posix_spawn_file_actions_t *actions, const int theirs[2]) {
    int rc = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(actions, theirs[1], 1);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(actions, theirs[1], 2);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(actions, theirs[0], PROTOCOL_FD);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(actions, PROTOCOL_FD + 1);
    return -rc;
}

static int add_attributes(posix_spawnattr_t *attributes) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawnattr_setsigmask(attributes, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attributes, &all);
    if (rc == 0)
        rc = posix_spawnattr_setflags(attributes,
                                      POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    return -rc;
}

static int spawn_it(const char *worker_path, const char *plugin_path, const int theirs[2], pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char path[] = "PATH=/usr/local/bin:/usr/bin:/bin", lang[] = "LANG=C.UTF-8", tz[256] = "";
    char *const argv[] = {(char *)(uintptr_t)worker_path, (char *)(uintptr_t)plugin_path, NULL};
    char *const envp[] = {path, lang, getenv("TZ") != NULL ? tz : NULL, NULL};
    if (envp[2] != NULL)
        snprintf(tz, sizeof tz, "TZ=%s", getenv("TZ"));
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0)
        return -rc;
    rc = posix_spawnattr_init(&attributes);
    if (rc == 0) {
        rc = -add_actions(&actions, theirs);
        if (rc == 0)
            rc = -add_attributes(&attributes);
        if (rc == 0)
            rc = posix_spawn(pid, worker_path, &actions, &attributes, argv, envp);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -rc;
}

int spawn_start(const char *worker_path, const char *plugin_path, struct spawn *out, char *err,
                size_t errlen) {
    int ours[2] = {-1, -1}, theirs[2] = {-1, -1}, pidfd = -1;
    pid_t pid = 0;
    int rc = make_pairs(ours, theirs);
    if (rc == 0)
        rc = spawn_it(worker_path, plugin_path, theirs, &pid);
    if (rc == 0) {
        pidfd = pidfd_open(pid, 0); /* not reaped by anybody else, so the number is still its own */
        if (pidfd < 0) {
            rc = -errno;
            kill(-pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
    }
    close_fd(&theirs[0]);
    close_fd(&theirs[1]);
    if (rc != 0) {
        close_fd(&ours[0]);
        close_fd(&ours[1]);
        return err_set(err, errlen, rc, "the worker %s cannot be started: %s", worker_path, strerror(-rc));
    }
    *out = (struct spawn){.pid = pid, .pidfd = pidfd, .link_fd = ours[0], .output_fd = ours[1]};
    return 0;
}

void spawn_kill(const struct spawn *s) {
    if (s->pid <= 0)
        return;
    kill(-s->pid, SIGKILL); /* its session; the number is taken as long as it is not reaped */
    kill(s->pid, SIGKILL);
}

void spawn_reap(struct spawn *s, struct spawn_end *end) {
    struct rusage use;
    siginfo_t info;
    int status = 0;
    pid_t got;
    if (s->pid <= 0)
        return;
    /* First only a look: while it is not reaped its group's number is taken, and what it left running can be
     * killed. */
    while (waitid(P_PIDFD, (id_t)s->pidfd, &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
    }
    kill(-s->pid, SIGKILL);
    do
        got = wait4(s->pid, &status, 0, &use);
    while (got < 0 && errno == EINTR);
    s->pid = 0;
    *end = (struct spawn_end){.exit_code = -1};
    if (got < 0)
        return; /* somebody else reaped it: how it ended is not known */
    if (WIFSIGNALED(status))
        end->signal = WTERMSIG(status);
    else
        end->exit_code = WEXITSTATUS(status);
    end->cpu_ms = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e3 +
                  (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e3;
    end->max_rss_kib = use.ru_maxrss;
}

void spawn_close(struct spawn *s) {
    close_fd(&s->pidfd);
    close_fd(&s->link_fd);
    close_fd(&s->output_fd);
}
