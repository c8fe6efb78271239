#include "daemon/model_check.h"

#include "base/clock.h"
#include "tools/spawn.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the process that reads ---- */

static int remaining_ms(uint64_t end_ns) {
    uint64_t now = clock_mono_ns();
    return now < end_ns ? (int)((end_ns - now + 999999) / 1000000) : 0;
}

/* Waits until `fd` can be read; false when the time is over. */
static bool wait_for(int fd, uint64_t end_ns) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;
    do
        n = poll(&p, 1, remaining_ms(end_ns));
    while (n < 0 && errno == EINTR);
    return n > 0;
}

/* What it says until it has closed its output; what is more than `size` is dropped. False when the time is
 * over. */
static bool listen_to(int fd, uint64_t end_ns, char *said, size_t size) {
    size_t len = 0;
    char block[512];
    while (wait_for(fd, end_ns)) {
        ssize_t n = read(fd, block, sizeof block);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0) {
            said[len] = '\0';
            return true;
        }
        size_t part = (size_t)n < size - 1 - len ? (size_t)n : size - 1 - len;
        memcpy(said + len, block, part);
        len += part;
    }
    return false;
}

/* Text of another process goes into a message: one line, printable. */
static void clean(char *said) {
    size_t n = strlen(said);
    while (n > 0 && said[n - 1] == '\n')
        said[--n] = '\0';
    for (; *said != '\0'; said++)
        if (iscntrl((unsigned char)*said))
            *said = '?';
}

static int judge(const struct spawn_end *end, const char *model, const char *said, char *err, size_t errlen) {
    if (end->exit_code == 0)
        return 0;
    if (end->exit_code == LOADER_EXIT_REFUSED || end->exit_code == LOADER_EXIT_MEMORY)
        return err_set(err, errlen, end->exit_code == LOADER_EXIT_MEMORY ? -ENOMEM : -EINVAL, "%s", said);
    if (end->signal != 0)
        return err_set(
            err, errlen, -EINVAL,
            "Reading the model '%s' in a process of its own ended that by signal %d: the file is not used.",
            model, end->signal);
    return err_set(
        err, errlen, -EINVAL,
        "Reading the model '%s' in a process of its own failed with code %d: the file is not used%s%s", model,
        end->exit_code, said[0] != '\0' ? ". " : ".", said);
}

int model_check(const char *loader, const char *model, int timeout_ms, char *err, size_t errlen) {
    struct spawn s;
    struct spawn_end end = {.exit_code = -1};
    char said[LOADER_SENTENCE_BYTES] = "", why[256];
    int rc = spawn_start(loader, model, &s, why, sizeof why);
    if (rc < 0)
        return err_set(err, errlen, rc, "The loader %s cannot be run: %s; is hermesd installed whole?",
                       loader, strerror(-rc));
    uint64_t end_ns = clock_mono_ns() + (uint64_t)timeout_ms * 1000000;
    bool ended = listen_to(s.output_fd, end_ns, said, sizeof said) && wait_for(s.pidfd, end_ns);
    if (!ended)
        spawn_kill(&s);
    spawn_reap(&s, &end);
    spawn_close(&s);
    if (!ended)
        return err_set(
            err, errlen, -ETIMEDOUT,
            "Reading the model '%s' in a process of its own took longer than %d ms: the file is not used.",
            model, timeout_ms);
    clean(said);
    return judge(&end, model, said, err, errlen);
}

bool model_check_others(const char *model, char *who, size_t size) {
    struct stat st;
    if (stat(model, &st) != 0)
        return false;
    bool every = (st.st_mode & S_IWOTH) != 0, other = st.st_uid != 0 && st.st_uid != geteuid();
    if (every)
        (void)snprintf(who, size, "every user");
    else if (other)
        (void)snprintf(who, size, "user %u (its owner)", (unsigned)st.st_uid);
    return every || other;
}
