/* Internationalized labels of host names as they are written in ASCII: "xn--…" (RFC 3492, RFC 5891). */
#ifndef TOOLS_FORMAT_IDN_H
#define TOOLS_FORMAT_IDN_H

#include <stdbool.h>
#include <stddef.h>

/* Whether what stands behind "xn--" (len bytes) is Punycode of a label that may be: not plain ASCII, no "--"
 * in third place, no combining mark first, none of the characters that RFC 5892 names as disallowed, and its
 * contextual rules. Of the other characters it does not look up whether they are letters. [any-thread] */
bool format_is_punycode(const char *text, size_t len);

#endif
