/* Text that grows up to a ceiling, JSON strings, and UTF-8, for plugins that build their result piece by
 * piece. [any-thread] */
#ifndef PLUGINS_TEXT_H
#define PLUGINS_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *data; /* NUL-terminated once something was added; text_finish() frees it */
    size_t len, cap, max;
    int status; /* 0, or -ENOBUFS / -ENOMEM of the first addition that failed; later ones do nothing */
};

void text_init(struct text *t, size_t max);
void text_finish(struct text *t);
/* All return t->status. */
int text_add(struct text *t, const char *bytes, size_t len);
int text_put(struct text *t, const char *string);
int text_format(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A JSON string with its quotes; what is not UTF-8, and U+0000, becomes U+FFFD. */
int text_quote(struct text *t, const char *bytes, size_t len);

/* Bytes of the character at the start of bytes[0..len), len > 0, or 0 if it is not well-formed UTF-8 (Unicode
 * 15, table 3-7). */
size_t text_utf8_length(const unsigned char *bytes, size_t len);
/* Whether all of it is UTF-8 without U+0000. */
bool text_is_utf8(const char *bytes, size_t len);
/* The longest length <= max at which `bytes`, well-formed UTF-8, may be cut. */
size_t text_cut(const char *bytes, size_t len, size_t max);

#endif
