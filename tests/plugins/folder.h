/* A folder of a test's own under the system's temporary folder, and what is put into it. */
#ifndef TESTS_PLUGINS_FOLDER_H
#define TESTS_PLUGINS_FOLDER_H

#include "tests/plugins/expect.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder_path[256];

static inline const char *folder_make(void) {
    snprintf(folder_path, sizeof folder_path, "/tmp/hermesd-test-XXXXXX");
    if (mkdtemp(folder_path) == NULL)
        abort();
    return folder_path;
}

static inline const char *folder_at(const char *name) {
    static char path[4][1024];
    static int turn;
    char *out = path[turn++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", folder_path, name);
    return out;
}

static inline void folder_put(const char *name, const char *bytes, size_t len) {
    int fd = open(folder_at(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

static inline void folder_put_text(const char *name, const char *text) {
    folder_put(name, text, strlen(text));
}

/* The file's content in static memory, or NULL. */
static inline const char *folder_get(const char *name) {
    static char text[65536];
    int fd = open(folder_at(name), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static int folder_remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static inline void folder_remove(void) {
    (void)nftw(folder_path, folder_remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* {"key": "<folder>/name"} for a plugin's configuration; static memory. */
static inline const char *folder_config(const char *key, const char *name) {
    static char text[1400];
    snprintf(text, sizeof text, "{\"%s\": \"%s\"}", key, folder_at(name));
    return text;
}

#endif
