/* The daemon's log: one line per event on standard error, `key=value` after the message, never a prompt, an
 * argument or a result above debug. Only daemon/ and the worker's main write to it; libraries return errors
 * instead. [any-thread] */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* What is below `level` is dropped. Default LOG_INFO. */
void log_set_level(enum log_level level);
/* "debug", "info", "warn" or "error"; -EINVAL for anything else. */
HX_MUST_CHECK int log_level_parse(const char *name, enum log_level *level);
/* Control characters in the formatted text are written as \n, \t or \xNN, so one call is one line. */
void log_write(enum log_level level, const char *fmt, ...) HX_PRINTF(2, 3);

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

#endif
