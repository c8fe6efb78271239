/* Which files are plugins. [any-thread] */
#ifndef TOOLS_PATHS_H
#define TOOLS_PATHS_H

#include "base/err.h"

#include <stddef.h>

struct paths {
    char **path; /* absolute, without symbolic links */
    size_t count;
};

/* The .so files of the folders, and the files, of `roots` (ends with NULL), in order; files of one folder
 * sorted by name. What is left out is said through `refuse`: a path that is not there, and a file or its
 * folder that somebody else than root and this user owns or may write. -ENOMEM. *out is the caller's
 * (paths_finish). */
HX_MUST_CHECK int paths_find(const char *const *roots,
                             void (*refuse)(void *arg, const char *path, const char *why), void *arg,
                             struct paths *out, char *err, size_t errlen);
void paths_finish(struct paths *paths);

#endif
