/* JSON values as an immutable tree with exact numbers, for schemas and what they judge.
 *
 * Unlike cJSON it keeps numbers as decimals, compares in linear time, and finds a member of an object by
 * binary search. All of a document lies in one arena. Immutable once read, so any thread may look at it. */
#ifndef TOOLS_VALUE_H
#define TOOLS_VALUE_H

#include "base/err.h"
#include "base/json.h"
#include "tools/decimal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_kind {
    VALUE_NULL,
    VALUE_FALSE,
    VALUE_TRUE,
    VALUE_NUMBER,
    VALUE_STRING,
    VALUE_ARRAY,
    VALUE_OBJECT,
};

struct value {
    enum value_kind kind;
    uint32_t id;              /* 0 for the root, then in the order of the text */
    const char *name;         /* in an object: the key, decoded, NUL-terminated; else NULL */
    const struct value *next; /* the next item or member, in the order of the text */
    /* VALUE_STRING: the characters, decoded, NUL-terminated (no U+0000 inside). VALUE_NUMBER: as written. */
    const char *text;
    size_t text_len;
    struct decimal number;             /* VALUE_NUMBER */
    const struct value *child;         /* VALUE_ARRAY, VALUE_OBJECT: the first; NULL when empty */
    const struct value *const *sorted; /* VALUE_OBJECT: its members sorted by name (strcmp) */
    size_t count;                      /* items or members */
    uint64_t hash;                     /* equal values have equal hashes */
};

struct value_document;

/* Reads untrusted text through json_check(). *out is the caller's (value_destroy). -EINVAL, -E2BIG, -ENOMEM
 * with a sentence. */
HX_MUST_CHECK int value_parse(const char *text, size_t len, const struct json_limits *limits,
                              struct value_document **out, char *err, size_t errlen);
/* NULL is fine. */
void value_destroy(struct value_document *document);
const struct value *value_root(const struct value_document *document);
/* Values in the document; every id is below it. */
size_t value_count(const struct value_document *document);

/* The member, or NULL (also when `object` is no object). */
const struct value *value_get(const struct value *object, const char *name);
/* JSON Schema's equality: 1 equals 1.0, objects without order, strings by code points. */
bool value_equal(const struct value *a, const struct value *b);
/* Puts the values in the order in which value_is_among() looks for one. */
void value_sort(const struct value **values, size_t n);
/* Whether the value equals one of n sorted ones. *looks, if not NULL, grows by those that were compared:
 * where hashes do not collide at most one, beside the logarithm of n. */
bool value_is_among(const struct value *const *sorted, size_t n, const struct value *value, size_t *looks);
/* Whether one of the first n values equals one of the m others: 1, 0, -ENOMEM. *looks, if not NULL, grows by
 * the pairs that were compared: where hashes do not collide it stays below n + m. */
HX_MUST_CHECK int value_any_equal(const struct value *const *a, size_t n, const struct value *const *b,
                                  size_t m, size_t *looks);
/* The hash that a string of these characters has, for one that is not from a document. */
uint64_t value_hash_string(const char *text, size_t len);
/* Appends compact JSON, numbers as written. 0, -ENOBUFS (what fits stands there), -ENOMEM. */
HX_MUST_CHECK int value_print(const struct value *value, struct buf *out);

#endif
