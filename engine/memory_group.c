#include "engine/memory_group.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The files of a version. */
struct names {
    const char *mount; /* below the root */
    const char *most, *used;
    const char *files, *kept; /* lines of memory.stat: file pages, and those of them that are nowhere else */
};
static const struct names version_1 = {"/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                       "total_cache ", "total_shmem "},
                          version_2 = {"", "memory.max", "memory.current", "file ", "shmem "};

/* "No limit" is the largest multiple of a page there. */
#define NO_LIMIT ((uint64_t)1 << 62)

uint64_t memory_number(const char *folder, const char *name, const char *key) {
    char path[PATH_MAX], line[128];
    unsigned long long n = 0;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return 0;
    FILE *f = fopen(path, "re");
    while (f != NULL && n == 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            n = strtoull(line + strlen(key), NULL, 10);
    if (f != NULL)
        (void)fclose(f);
    return n;
}

static void take_folder(const struct names *names, const char *folder, struct memory_group *g) {
    const uint64_t most = memory_number(folder, names->most, "");
    if (most == 0 || most >= NO_LIMIT)
        return;
    const uint64_t files = memory_number(folder, "memory.stat", names->files),
                   kept = memory_number(folder, "memory.stat", names->kept),
                   given_back = files > kept ? files - kept : 0;
    uint64_t used = memory_number(folder, names->used, "");
    used = used > given_back ? used - given_back : 0;
    const uint64_t left = most > used ? most - used : 0;
    g->most = most < g->most ? most : g->most;
    g->left = left < g->left ? left : g->left;
}

/* The group at `path` below the mount, and all above it. */
static void take_groups(const struct names *names, const char *root, const char *path,
                        struct memory_group *g) {
    char folder[PATH_MAX];
    const size_t mount = strlen(root) + strlen(names->mount);
    if (snprintf(folder, sizeof folder, "%s%s%s", root, names->mount, path) >= (int)sizeof folder)
        return;
    for (;;) {
        take_folder(names, folder, g);
        char *last = strrchr(folder + mount, '/');
        if (last == NULL)
            return;
        *last = '\0';
    }
}

/* Whether `name` is one of a list with commas. */
static bool lists(const char *list, const char *name) {
    const size_t n = strlen(name);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == '\0'))
            return true;
    }
    return false;
}

struct memory_group memory_group_of(const char *groups, const char *root) {
    struct memory_group g = {UINT64_MAX, UINT64_MAX};
    char line[PATH_MAX];
    FILE *f = fopen(groups, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        /* NUMBER:CONTROLLERS:PATH; version 2 has number 0 and no controllers. */
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':'), *path = list != NULL ? strchr(list + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *path++ = '\0';
        if (list[1] == '\0')
            take_groups(&version_2, root, path, &g);
        else if (lists(list + 1, "memory"))
            take_groups(&version_1, root, path, &g);
    }
    if (f != NULL)
        (void)fclose(f);
    return g;
}
