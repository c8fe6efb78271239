/* JSON as models write it: one value of slightly wrong JSON becomes strict JSON, where that loses nothing.
 *
 * Text that is strict JSON comes out byte for byte. Raw control characters, backslashes before punctuation,
 * trailing commas, bare keys, comments, lone surrogates, and Python's quotes and True/False/None are
 * rewritten and noted; equal values of one key become one. Whatever would have to be guessed is an error.
 * Pure. [any-thread] */
#ifndef AGENT_REPAIR_JSON_H
#define AGENT_REPAIR_JSON_H

#include "agent/shapes.h"
#include "base/buf.h"

#define REPAIR_JSON_DEPTH_MAX 64

struct repair_member; /* of an open object: where its key and value lie in `out` */
struct repair_json {
    const char *text; /* borrowed */
    size_t len, at;
    struct buf *out; /* borrowed; values are appended */
    struct shapes_set *repaired;
    const char *what; /* "call" or another word for what is read, for `why` */
    bool may_close;   /* the outermost object may lack its last '}' */
    int depth;
    struct repair_member *members;
    size_t n_members, cap_members;
    char why[200]; /* the sentence of an -EINVAL */
};

void repair_json_init(struct repair_json *r, const char *text, size_t len, struct buf *out,
                      struct shapes_set *repaired);
void repair_json_finish(struct repair_json *r);
/* Reads the value at `at` and moves behind it. -EINVAL with `why`, -ENOBUFS, -ENOMEM; `out` holds a part of
 * the value then. */
HX_MUST_CHECK int repair_json_value(struct repair_json *r);
/* Moves over space and comments, which are not appended. */
void repair_json_skip(struct repair_json *r);

#endif
