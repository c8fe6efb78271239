/* Members and elements of JSON text as they were written: numbers keep their digits, keys their order.
 *
 * Works on text that json_check() accepted (and on the values it hands out); pointers are into that text.
 * Pure. [any-thread] */
#ifndef AGENT_RAWJSON_H
#define AGENT_RAWJSON_H

#include <stdbool.h>
#include <stddef.h>

struct rawjson {
    const char *text; /* the value without the space around it */
    size_t len;
};

/* The value in `text`: space around it is dropped. */
struct rawjson rawjson_of(const char *text, size_t len);
/* '{', '[', '"', 'd' for a number, 't', 'f' or 'n'; 0 for an empty text. */
char rawjson_type(struct rawjson value);

/* Goes through an object or an array: *at starts at 0. `key` (quotes included) is empty for elements; it may
 * be NULL. False at the end and for other values. */
bool rawjson_next(struct rawjson value, size_t *at, struct rawjson *key, struct rawjson *item);
/* The member with this key, escapes in it decoded. False when there is none. */
bool rawjson_get(struct rawjson object, const char *key, struct rawjson *item);
/* A string's characters: the caller frees. NULL for other values and when memory is out. */
char *rawjson_string(struct rawjson value);

#endif
