/* The SHA-256 that pins a model. [any-thread] */
#ifndef DAEMON_MODEL_SUM_H
#define DAEMON_MODEL_SUM_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* True for 64 hexadecimal digits. */
bool model_sum_is_one(const char *hex);

/* Compares the sum of a model with `hex`: 0, -EINVAL when it is another one, errnos of reading. Reads all of
 * it. The sum of a file is that of its bytes. Of several files it is that of the lines which sha256sum(1)
 * prints for them from inside their folder, in the order of their names' bytes: of a folder for all its files
 * but hidden ones (`LC_ALL=C sha256sum *`; nothing below it counts, nothing below it is read), of a GGUF in
 * parts for the parts. */
HX_MUST_CHECK int model_sum_check(const char *model, const char *hex, char *err, size_t errlen);

#endif
