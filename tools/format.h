/* The values of JSON Schema's `format` that are checked. [any-thread] */
#ifndef TOOLS_FORMAT_H
#define TOOLS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

enum format {
    FORMAT_NONE,      /* no format, or one that is only a note (int32, path, …) */
    FORMAT_DATE,      /* RFC 3339 full-date */
    FORMAT_TIME,      /* RFC 3339 full-time, with leap seconds where they can be */
    FORMAT_DATE_TIME, /* RFC 3339 date-time */
    FORMAT_DURATION,  /* RFC 3339 appendix A */
    FORMAT_UUID,      /* RFC 4122, any version, any case */
    FORMAT_EMAIL,     /* RFC 5321 Mailbox */
    FORMAT_IDN_EMAIL, /* RFC 6531: the same with characters beyond ASCII */
    FORMAT_HOSTNAME,  /* RFC 1123; labels with xn-- as far as tools/format_idn.h looks */
    FORMAT_IPV4,      /* four decimal numbers without leading zeros */
    FORMAT_IPV6,      /* RFC 4291 text, no zone */
    FORMAT_URI,       /* RFC 3986, with a scheme */
    FORMAT_URI_REFERENCE,
    FORMAT_IRI, /* RFC 3987 */
    FORMAT_IRI_REFERENCE,
    FORMAT_URI_TEMPLATE, /* RFC 6570 */
    FORMAT_JSON_POINTER, /* RFC 6901 */
    FORMAT_RELATIVE_JSON_POINTER,
    FORMAT_REGEX, /* a pattern as tools/regex.h reads it, or one that is valid but not supported there */
    /* Without a name: what draft-07's contentEncoding and contentMediaType want of the text. */
    FORMAT_BASE64, /* RFC 4648 */
    FORMAT_JSON,
    FORMAT_BASE64_JSON, /* JSON behind base64 */
    FORMAT_UNSUPPORTED, /* the standard has it, we cannot check it: idn-hostname */
};

/* These have no name: contentEncoding and contentMediaType of draft-07, the first of which is base64 (RFC
 * 4648) and the second application/json. */

/* By its name in a schema; FORMAT_NONE for a name that the standard does not have. */
enum format format_named(const char *name);
/* "date-time"; "" for FORMAT_NONE. */
const char *format_name(enum format format);
/* Whether the NUL-terminated valid UTF-8 text is of the format. True for FORMAT_NONE. */
bool format_matches(enum format format, const char *text, size_t len);

#endif
