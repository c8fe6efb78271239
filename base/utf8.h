/* UTF-8, as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. [any-thread] */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/buf.h"

#include <stddef.h>

/* Bytes of the valid sequence at `text` (1 to 4), 0 when there is none in the `left` bytes. */
size_t utf8_length(const char *text, size_t left);
/* Bytes that the sequence starting with `lead` wants (1 to 4), 0 for a byte that cannot start one. */
size_t utf8_wanted(unsigned char lead);
/* Appends the code point. 0, -ENOBUFS, -ENOMEM. */
HX_MUST_CHECK int utf8_append(struct buf *out, unsigned code_point);

#endif
