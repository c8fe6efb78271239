#include "engine/utf8_hold.h"

#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"

/* True when more bytes can make the held ones a character. */
static bool may_become_whole(const char *bytes, size_t n) {
    unsigned char lead = (unsigned char)bytes[0];
    if (utf8_wanted(lead) <= n)
        return false;
    if (n == 1)
        return true;
    unsigned char second = (unsigned char)bytes[1];
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (second < low || second > high)
        return false;
    return n == 2 || ((unsigned char)bytes[2] & 0xC0) == 0x80;
}

static int settle(struct utf8_hold *h, struct buf *out) {
    while (h->n > 0) {
        size_t whole = utf8_length(h->bytes, h->n), used = whole;
        int rc = 0;
        if (whole > 0) {
            rc = buf_append(out, h->bytes, whole);
        } else if (may_become_whole(h->bytes, h->n)) {
            return 0;
        } else {
            /* One replacement for the longest beginning that could have been a character (Unicode,
             * section 3.9). */
            for (used = h->n - 1; used > 1 && !may_become_whole(h->bytes, used); used--)
                ;
            used = used == 0 ? 1 : used;
            rc = buf_puts(out, REPLACEMENT);
        }
        if (rc < 0)
            return rc;
        h->n -= used;
        memmove(h->bytes, h->bytes + used, h->n);
    }
    return 0;
}

int utf8_hold_push(struct utf8_hold *h, const char *bytes, size_t n, struct buf *out) {
    for (size_t i = 0; i < n; i++) {
        h->bytes[h->n++] = bytes[i];
        int rc = settle(h, out);
        if (rc < 0)
            return rc;
    }
    return 0;
}
