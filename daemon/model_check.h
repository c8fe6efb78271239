/* What is done with a model before the daemon maps it: it is read once in a process of its own. [main thread,
 * before the loop runs] */
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

#endif
