#include "daemon/model_check.h"

#include "base/clock.h"
#include "tools/spawn.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
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

/* ---- the sum ---- */

bool model_check_is_sum(const char *hex) {
    size_t n = strspn(hex, "0123456789abcdefABCDEF");
    return n == 2 * (size_t)SHA256_DIGEST_SIZE && hex[n] == '\0';
}

static int sum_of(int fd, char hex[2 * SHA256_DIGEST_SIZE + 1]) {
    struct sha256_ctx s;
    uint8_t sum[SHA256_DIGEST_SIZE];
    size_t size = (size_t)1 << 20;
    char *block = malloc(size);
    ssize_t n = block != NULL ? 1 : -1;
    sha256_init(&s);
    while (n > 0) {
        do
            n = read(fd, block, size);
        while (n < 0 && errno == EINTR);
        if (n > 0)
            sha256_update(&s, (size_t)n, (const uint8_t *)block);
    }
    int rc = block == NULL ? -ENOMEM : n < 0 ? -errno : 0;
    free(block);
    sha256_digest(&s, sizeof sum, sum);
    for (int i = 0; i < SHA256_DIGEST_SIZE; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    return rc;
}

int model_check_sum(const char *model, const char *hex, char *err, size_t errlen) {
    char found[2 * SHA256_DIGEST_SIZE + 1] = "";
    struct stat st = {0};
    int fd = open(model, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 || fstat(fd, &st) != 0 ? -errno : 0;
    if (rc == 0 && (!S_ISREG(st.st_mode) || strstr(model, "-00001-of-") != NULL)) {
        close(fd);
        return err_set(err, errlen, -EINVAL,
                       "model_sha256 is the sum of one file, and the model %s is a folder or in parts.",
                       model);
    }
    rc = rc ? rc : sum_of(fd, found);
    if (fd >= 0)
        close(fd);
    if (rc < 0)
        return err_set(err, errlen, rc, "The model %s cannot be read: %s.", model, strerror(-rc));
    if (strcasecmp(found, hex) != 0)
        return err_set(err, errlen, -EINVAL,
                       "The model %s has the SHA-256 %s, and model_sha256 says %s: it is another file.",
                       model, found, hex);
    return 0;
}
