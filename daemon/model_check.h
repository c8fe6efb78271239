/* What is done with a model before the daemon maps it: it is read once in a process of its own, and where the
 * configuration says so its SHA-256 is compared. [main thread, before the loop runs] */
#ifndef DAEMON_MODEL_CHECK_H
#define DAEMON_MODEL_CHECK_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Of hermes-loader. */
#define LOADER_EXIT_USAGE     64
#define LOADER_EXIT_REFUSED   65
#define LOADER_EXIT_MEMORY    71
#define LOADER_SENTENCE_BYTES 1024

/* Reads the model by the executable `loader` (hermes-loader) and waits for its end. The refusal is the
 * reader's own sentence: -EINVAL, or -ENOMEM. -EINVAL also where a signal ended it, -ETIMEDOUT when it ran
 * for longer than `timeout_ms`. */
HX_MUST_CHECK int model_check(const char *loader, const char *model, int timeout_ms, char *err,
                              size_t errlen);

/* True when others than root, this user and its group may write to the file, or into the folder: what was
 * checked may be another file a moment later. `who` says which, as "every user" or "user 1000 (its owner)".
 */
bool model_check_others(const char *model, char *who, size_t size);

/* True for 64 hexadecimal digits. */
bool model_check_is_sum(const char *hex);
/* Compares the SHA-256 of the file with `hex`: 0, -EINVAL when it is another, or for a folder or one part of
 * several, of which there is no one sum; errnos of reading. Reads the whole file. */
HX_MUST_CHECK int model_check_sum(const char *model, const char *hex, char *err, size_t errlen);

#endif
