#include "daemon/plugin_paths.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int plugin_paths_split(struct plugin_paths *paths, const char *text, char *err, size_t errlen) {
    size_t n = 1;
    paths->text = strdup(text != NULL ? text : "");
    for (const char *at = paths->text; at != NULL && *at != '\0'; at++) {
        n += *at == ':';
    }
    paths->items = calloc(n + 1, sizeof *paths->items);
    if (paths->text == NULL || paths->items == NULL) {
        plugin_paths_finish(paths);
        return err_set(err, errlen, -ENOMEM, "memory is out");
    }
    size_t i = 0;
    for (char *at = paths->text; *at != '\0';) {
        size_t len = strcspn(at, ":");
        bool last = at[len] == '\0';
        at[len] = '\0';
        if (len > 0) {
            paths->items[i++] = at;
        }
        at += len + (last ? 0 : 1);
    }
    return 0;
}

void plugin_paths_finish(struct plugin_paths *paths) {
    free(paths->text);
    free(paths->items);
    *paths = (struct plugin_paths){0};
}
