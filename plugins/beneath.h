/* Opening files beneath one folder and nowhere else: the kernel resolves the path (openat2 with
 * RESOLVE_BENEATH), so that "..", absolute paths and symbolic links that lead out fail at the step that would
 * leave, with no string to be clever about. Symbolic links that stay inside are followed. Needs Linux 5.6.
 * All functions are [any-thread]. */
#ifndef PLUGINS_BENEATH_H
#define PLUGINS_BENEATH_H

#include <stddef.h>

/* A descriptor with O_CLOEXEC and the given flags, or -errno. */
int beneath_open(int root, const char *path, int flags);
/* A readable regular file, or -errno with a sentence for the model. Never waits for a pipe or touches a
 * device. */
int beneath_open_file(int root, const char *path, char *err, size_t errlen);
/* The sentence for what beneath_open() returned. */
void beneath_explain(int status, const char *path, char *err, size_t errlen);

#endif
