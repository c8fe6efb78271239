#include "tools/paths.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 256

struct search {
    struct paths *out;
    void (*refuse)(void *arg, const char *path, const char *why);
    void *arg;
};

/* Code that others can change runs with the daemon's rights, so it is not loaded. */
static bool is_ours(const struct search *s, const char *path, const struct stat *st, const char *kind) {
    char why[PATH_MAX + 128];
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        snprintf(why, sizeof why,
                 "the %s %s belongs to user %u; it must belong to root or to the daemon's user", kind, path,
                 (unsigned)st->st_uid);
        s->refuse(s->arg, path, why);
        return false;
    }
    if (st->st_mode & (S_IWGRP | S_IWOTH)) {
        snprintf(why, sizeof why, "the %s %s may be written by others; run: chmod go-w '%s'", kind, path,
                 path);
        s->refuse(s->arg, path, why);
        return false;
    }
    return true;
}

static int add_file(struct search *s, const char *name) {
    char path[PATH_MAX], folder[PATH_MAX];
    struct stat st;
    if (realpath(name, path) == NULL || stat(path, &st) != 0) {
        s->refuse(s->arg, name, strerror(errno));
        return 0;
    }
    if (!S_ISREG(st.st_mode)) {
        s->refuse(s->arg, name, "not a file");
        return 0;
    }
    for (size_t i = 0; i < s->out->count; i++)
        if (strcmp(s->out->path[i], path) == 0)
            return 0; /* found twice: two roots may lead to it */
    if (!is_ours(s, path, &st, "file"))
        return 0;
    snprintf(folder, sizeof folder, "%.*s", path[1] == '\0' ? 1 : (int)(strrchr(path, '/') - path), path);
    if (stat(folder[0] != '\0' ? folder : "/", &st) != 0 || !is_ours(s, folder, &st, "folder"))
        return 0;
    if (s->out->count == FILES_MAX) {
        s->refuse(s->arg, name, "too many plugins");
        return 0;
    }
    s->out->path[s->out->count] = strdup(path);
    return s->out->path[s->out->count] != NULL ? (int)(s->out->count++, 0) : -ENOMEM;
}

static int is_shared_object(const struct dirent *entry) {
    size_t len = strlen(entry->d_name);
    return entry->d_name[0] != '.' && len > 3 && strcmp(entry->d_name + len - 3, ".so") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_folder(struct search *s, const char *folder) {
    struct dirent **entries;
    char path[PATH_MAX];
    int rc = 0, n = scandir(folder, &entries, is_shared_object, by_bytes);
    if (n < 0) {
        s->refuse(s->arg, folder, strerror(errno));
        return 0;
    }
    for (int i = 0; i < n; i++) {
        if (rc == 0 && (size_t)snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name) < sizeof path)
            rc = add_file(s, path);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

int paths_find(const char *const *roots, void (*refuse)(void *arg, const char *path, const char *why),
               void *arg, struct paths *out, char *err, size_t errlen) {
    struct paths found = {.path = calloc(FILES_MAX, sizeof(char *))};
    struct search s = {.out = &found, .refuse = refuse, .arg = arg};
    int rc = found.path != NULL ? 0 : -ENOMEM;
    for (; rc == 0 && roots != NULL && *roots != NULL; roots++) {
        struct stat st;
        if (stat(*roots, &st) != 0)
            refuse(arg, *roots, strerror(errno));
        else
            rc = S_ISDIR(st.st_mode) ? add_folder(&s, *roots) : add_file(&s, *roots);
    }
    if (rc != 0) {
        paths_finish(&found);
        return err_set(err, errlen, rc, "no memory for the list of plugins");
    }
    *out = found;
    return 0;
}

void paths_finish(struct paths *paths) {
    for (size_t i = 0; i < paths->count; i++)
        free(paths->path[i]);
    free(paths->path);
    *paths = (struct paths){0};
}
