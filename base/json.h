/* JSON in and out.
 *
 * Reading: cJSON keeps numbers as double, recurses, and takes the first of two equal keys in silence, so
 * untrusted text goes through one strict scan first (RFC 8259, valid UTF-8, depth, size, node count, unique
 * keys, no U+0000, finite numbers, integers within +-2^53 unless exact) and is only then handed to cJSON. A
 * document that json_parse() accepted is read with cJSON's accessors.
 *
 * Writing: a small emitter that appends to a buf with ", " and ": " (Python's json.dumps spacing, which
 * Hermes models have seen) or compact. The first failure (ceiling, memory) sticks and is returned by
 * json_writer_end(). */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"
#include "base/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_limits {
    size_t max_bytes;
    size_t max_nodes; /* values plus keys */
    int max_depth;
    bool any_number; /* numbers of any length and size: they are kept as text, and a schema decides */
};
/* 1 MiB, 100,000 nodes, depth 64. */
extern const struct json_limits json_limits_default;

/* Checks without building: 0, or -EINVAL with a sentence that names the byte offset, or -E2BIG when a limit
 * is crossed. [any-thread] */
HX_MUST_CHECK int json_check(const char *text, size_t len, const struct json_limits *limits, char *err,
                             size_t errlen);
/* json_check(), then cJSON. *out is the caller's (cJSON_Delete). -ENOMEM too. [any-thread] */
HX_MUST_CHECK int json_parse(const char *text, size_t len, const struct json_limits *limits, cJSON **out,
                             char *err, size_t errlen);

/* Length of the first complete JSON value at the start of text (leading whitespace counted), judged by
 * structure only (strings and brackets): > 0, 0 when more bytes are needed, -EINVAL when it cannot become
 * one. */
HX_MUST_CHECK long json_value_span(const char *text, size_t len);

/* Appends the valid JSON `text` with one spacing (", " and ": ", no line breaks); numbers and key order are
 * kept as written, escapes of plain characters are kept. With `escape_markup`, < > & become \u003c \u003e
 * \u0026, so that no tag can be spelled inside. 0, -EINVAL for text that is not JSON, -ENOBUFS, -ENOMEM. */
HX_MUST_CHECK int json_respace(struct buf *out, const char *text, size_t len, bool escape_markup);
/* Appends `text` as a JSON string with quotes. Invalid UTF-8 becomes U+FFFD. */
HX_MUST_CHECK int json_quote(struct buf *out, const char *text, size_t len, bool escape_markup);

struct json_writer {
    struct buf *out; /* borrowed */
    int status;      /* first failure */
    int depth;
    bool first; /* no member written yet at this depth */
    bool key;   /* a key was just written */
};

void json_writer_begin(struct json_writer *w, struct buf *out);
void json_object_begin(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w);
void json_array_end(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_string(struct json_writer *w, const char *text); /* NULL writes null */
void json_string_n(struct json_writer *w, const char *text, size_t len);
void json_int(struct json_writer *w, int64_t value);
void json_number(struct json_writer *w,
                 double value); /* shortest text that reads back equal; null if not finite */
void json_bool(struct json_writer *w, bool value);
void json_null(struct json_writer *w);
/* Valid JSON text, copied as it is. */
void json_raw(struct json_writer *w, const char *text, size_t len);
HX_MUST_CHECK int json_writer_end(struct json_writer *w);

/* Members of an object that json_parse() accepted: NULL/default when absent. Borrowed from `object`. */
const char *json_get_string(const cJSON *object, const char *key);

#endif
