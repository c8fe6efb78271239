/* Bytes of a token stream turned into whole UTF-8 characters: the tail of a character that is not complete
 * yet is held back, bytes that can be no character become U+FFFD. Private to engine/. */
#ifndef ENGINE_UTF8_HOLD_H
#define ENGINE_UTF8_HOLD_H

#include "base/buf.h"

#include <stddef.h>

/* Zeroed: nothing held. */
struct utf8_hold {
    char bytes[4];
    size_t n;
};

/* Appends to `out` what became whole. 0, -ENOBUFS or -ENOMEM. */
HX_MUST_CHECK int utf8_hold_push(struct utf8_hold *h, const char *bytes, size_t n, struct buf *out);

#endif
