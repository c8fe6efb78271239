/* Pieces of a request target: percent decoding and query members (RFC 3986; '+' as a space in queries only).
 * [any-thread] */
#ifndef DAEMON_HTTP_URL_H
#define DAEMON_HTTP_URL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Decodes `len` bytes into `out` (len + 1 bytes, NUL-terminated). -EINVAL for a broken escape or %00. */
HX_MUST_CHECK int http_url_decode(const char *text, size_t len, bool plus_is_space, char *out);
/* Splits "/path?query" (or "http://host/path?query") in place: *path is NUL-terminated, *query is "" without
 * one. -EINVAL for anything else, and for bytes that are no printable ASCII. */
HX_MUST_CHECK int http_url_split(char *target, char **path, char **query);
/* The value of a query member, decoded, in memory of the caller (free()). 0 found, -ENOENT absent, -EINVAL
 * broken escape, -ENOMEM. The first of several wins. */
HX_MUST_CHECK int http_url_query(const char *query, const char *name, char **value);
/* True when every escape of the text can be decoded. */
bool http_url_valid(const char *text);

#endif
