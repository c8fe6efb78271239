/* Growing bytes with a ceiling from birth.
 *
 * A buffer never grows above `max`; an append that would cross it fails with -ENOBUFS and leaves the bytes as
 * they were. `data` is always NUL-terminated once something was appended (the NUL is not counted in `len`),
 * so text can be printed. A buffer is owned by whoever initialised it; one thread at a time. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"

#include <stddef.h>
#include <stdio.h>

struct buf {
    char *data; /* owned; NULL while empty */
    size_t len; /* bytes in use */
    size_t cap; /* bytes allocated */
    size_t max; /* ceiling of len */
};

void buf_init(struct buf *b, size_t max);
/* Frees the bytes and leaves an empty buffer with the same ceiling. Accepts one that is already empty. */
void buf_finish(struct buf *b);
/* Forgets the content, keeps the memory. */
void buf_clear(struct buf *b);

/* Each returns 0, -ENOBUFS (the ceiling) or -ENOMEM. */
HX_MUST_CHECK int buf_append(struct buf *b, const void *bytes, size_t n);
HX_MUST_CHECK int buf_puts(struct buf *b, const char *text);
HX_MUST_CHECK int buf_putc(struct buf *b, char c);
HX_MUST_CHECK int buf_printf(struct buf *b, const char *fmt, ...) HX_PRINTF(2, 3);
/* Makes room for `n` more bytes; *at points to them. The caller then adds what it used with buf_commit(). */
HX_MUST_CHECK int buf_reserve(struct buf *b, size_t n, char **at);
void buf_commit(struct buf *b, size_t n);

/* Appends what is left of the stream: 0, -EIO, -ENOBUFS (what fitted is kept) or -ENOMEM. */
HX_MUST_CHECK int buf_read_to_end(struct buf *b, FILE *in);

/* Removes the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);
/* Gives the bytes away: the caller frees them with free(); the buffer is empty after. "" for an empty buffer;
 * NULL only when memory is out. */
char *buf_take(struct buf *b, size_t *len);

#endif
