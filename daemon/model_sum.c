#include "daemon/model_sum.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEX_BYTES (2 * SHA256_DIGEST_SIZE + 1)

bool model_sum_is_one(const char *hex) {
    size_t n = strspn(hex, "0123456789abcdefABCDEF");
    return n == HEX_BYTES - 1 && hex[n] == '\0';
}

static void to_hex(struct sha256_ctx *s, char hex[HEX_BYTES]) {
    uint8_t sum[SHA256_DIGEST_SIZE];
    sha256_digest(s, sizeof sum, sum);
    for (int i = 0; i < SHA256_DIGEST_SIZE; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

/* Of what can be read from `fd`. */
static int sum_of(int fd, char hex[HEX_BYTES]) {
    struct sha256_ctx s;
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
    to_hex(&s, hex);
    return rc;
}

/* ---- several files ---- */

/* The line of `sha256sum` for a file of a folder. */
static int add_line(struct sha256_ctx *all, int folder, const char *name) {
    char hex[HEX_BYTES];
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? -errno : sum_of(fd, hex);
    if (fd >= 0)
        close(fd);
    if (rc < 0)
        return rc;
    sha256_update(all, HEX_BYTES - 1, (const uint8_t *)hex);
    sha256_update(all, 2, (const uint8_t *)"  ");
    sha256_update(all, strlen(name), (const uint8_t *)name);
    sha256_update(all, 1, (const uint8_t *)"\n");
    return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int sum_of_folder(const char *path, int folder, char hex[HEX_BYTES]) {
    struct sha256_ctx all;
    struct dirent **names = NULL;
    int n = scandir(path, &names, NULL, by_name), rc = n < 0 ? -errno : 0;
    sha256_init(&all);
    for (int i = 0; i < n; i++) {
        struct stat st;
        if (rc == 0 && names[i]->d_name[0] != '.' && fstatat(folder, names[i]->d_name, &st, 0) == 0 &&
            S_ISREG(st.st_mode))
            rc = add_line(&all, folder, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    to_hex(&all, hex);
    return rc;
}

/* How many parts the first one's name says, and where "-00001-of-" begins in it; 0: it is no such part. */
static int parts_of(const char *name, size_t *stem) {
    int count = 0, end = 0;
    const char *at = strstr(name, "-00001-of-");
    if (at == NULL || sscanf(at, "-00001-of-%5d.gguf%n", &count, &end) != 1 || end == 0 || at[end] != '\0')
        return 0;
    *stem = (size_t)(at - name);
    return count;
}

static int sum_of_parts(int folder, const char *first, size_t stem, int count, char hex[HEX_BYTES]) {
    struct sha256_ctx all;
    int rc = 0;
    sha256_init(&all);
    for (int i = 1; i <= count && rc == 0; i++) {
        char *name = NULL;
        rc = asprintf(&name, "%.*s-%05d-of-%05d.gguf", (int)stem, first, i, count) < 0
                 ? -ENOMEM
                 : add_line(&all, folder, name);
        free(name);
    }
    to_hex(&all, hex);
    return rc;
}

/* ---- any model ---- */

static int sum_of_model(const char *model, char hex[HEX_BYTES]) {
    struct stat st;
    size_t stem = 0;
    if (stat(model, &st) != 0)
        return -errno;
    const char *slash = strrchr(model, '/'), *name = slash != NULL ? slash + 1 : model;
    const int count = S_ISDIR(st.st_mode) ? 0 : parts_of(name, &stem);
    char *in = count == 0      ? strdup(model)
               : slash != NULL ? strndup(model, (size_t)(slash - model) + 1)
                               : strdup(".");
    int fd = in != NULL ? open(in, O_RDONLY | O_CLOEXEC) : -1;
    int rc = in == NULL ? -ENOMEM : fd < 0 ? -errno : 0;
    if (rc == 0)
        rc = S_ISDIR(st.st_mode) ? sum_of_folder(model, fd, hex)
             : count > 0         ? sum_of_parts(fd, name, stem, count, hex)
                                 : sum_of(fd, hex);
    if (fd >= 0)
        close(fd);
    free(in);
    return rc;
}

int model_sum_check(const char *model, const char *hex, char *err, size_t errlen) {
    char found[HEX_BYTES] = "";
    int rc = sum_of_model(model, found);
    if (rc < 0)
        return err_set(err, errlen, rc, "The model %s cannot be read: %s.", model, strerror(-rc));
    if (strcasecmp(found, hex) != 0)
        return err_set(err, errlen, -EINVAL,
                       "The model %s has the SHA-256 %s, and model_sha256 says %s: it is another one.", model,
                       found, hex);
    return 0;
}
