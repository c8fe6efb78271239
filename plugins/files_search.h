/* Listing and searching the folders of a workspace. [any-thread] */
#ifndef PLUGINS_FILES_SEARCH_H
#define PLUGINS_FILES_SEARCH_H

#include "plugins/text.h"

#include <stdbool.h>

#define FILES_ENTRIES_MAX     1000                /* names one listing tells */
#define FILES_FOLDER_MAX      20000               /* names one folder may have to be read at all */
#define FILES_MATCHES_MAX     100                 /* lines one search tells */
#define FILES_LINE_MAX        300                 /* bytes of a line it tells */
#define FILES_SEARCH_FILE_MAX (4L * 1024 * 1024)  /* larger files are passed over */
#define FILES_SEARCH_ALL_MAX  (64L * 1024 * 1024) /* bytes one search reads */
#define FILES_DEPTH_MAX       16

struct files_names {
    char **name; /* sorted by bytes; folders end with "/" */
    bool *link;  /* the entry is a symbolic link */
    size_t count;
};
/* The names in the folder `path` beneath `root`, less "." and ".." and those that are not UTF-8: 0, or -errno
 * with a sentence. */
int files_read_names(int root, const char *path, struct files_names *out, char *err, size_t errlen);
void files_free_names(struct files_names *names);

/* Appends {"matches": […]} for `needle` in the file or folder `path`, files in name order, folders entered
 * (symbolic links are not, binary and large files are passed over); "truncated": true follows when a ceiling
 * was met. `stop(arg)` is asked between files. 0, or -errno with a sentence. */
int files_search(int root, const char *path, const char *needle, bool (*stop)(void *arg), void *arg,
                 struct text *out, char *err, size_t errlen);

/* The first `max` bytes of an open file into memory that the caller frees; *more tells whether there is more.
 * 0 or -errno. */
int files_read_whole(int fd, size_t max, char **out, size_t *len, bool *more);

#endif
