/* Errors: a negative errno for the program, one sentence for the human.
 *
 * A fallible function returns 0 (or a count) or a negative errno, and takes `char *err, size_t errlen` as its
 * last two parameters. On failure it writes one sentence there that names the thing and what to do about it;
 * on success the text is left alone. `err` may be NULL with `errlen` 0. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

#define HX_MUST_CHECK       __attribute__((warn_unused_result))
#define HX_PRINTF(fmt, arg) __attribute__((format(printf, fmt, arg)))

/* Writes the sentence (cut at errlen, always NUL-terminated, never inside a UTF-8 sequence) and returns
 * `code`, so that a failure is one line: `return err_set(err, errlen, -EINVAL, "…", …);` [any-thread] */
int err_set(char *err, size_t errlen, int code, const char *fmt, ...) HX_PRINTF(4, 5);

#endif
