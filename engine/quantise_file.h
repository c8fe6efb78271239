/* A file that gets its name when it is whole. Private to engine/. */
#ifndef ENGINE_QUANTISE_FILE_H
#define ENGINE_QUANTISE_FILE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quantise_file;

bool quantise_file_exists(const char *path);
/* For `bytes` bytes that shall be called `path`. -ENOSPC when the file system has less free. Where it can,
 * the file has no name until quantise_file_keep(); elsewhere it is PATH.partial-XXXXXX beside it. */
HX_MUST_CHECK int quantise_file_open(const char *path, uint64_t bytes, struct quantise_file **out, char *err,
                                     size_t errlen);
HX_MUST_CHECK int quantise_file_write(struct quantise_file *f, const void *bytes, size_t n, char *err,
                                      size_t errlen);
/* Syncs it and gives it its name. -EEXIST when another file has got that name in the meantime. */
HX_MUST_CHECK int quantise_file_keep(struct quantise_file *f, char *err, size_t errlen);
/* What was not kept is gone. NULL is fine. */
void quantise_file_close(struct quantise_file *f);

#endif
