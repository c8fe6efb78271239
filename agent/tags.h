/* The tags a model's text is cut at: calls, responses, reasoning sections, citations, and turn ends that were
 * spelled out.
 *
 * Tags are case-sensitive and exact. Every tag begins with its only '<' and ends with its only '>', so none
 * is the beginning of another and a text that stopped matching can only match again from its next '<'. Pure.
 * [any-thread] */
#ifndef AGENT_TAGS_H
#define AGENT_TAGS_H

#include "base/err.h"

#include <stddef.h>

enum tag_kind {
    TAG_CALL_OPEN,     /* <tool_call> */
    TAG_CALL_CLOSE,    /* </tool_call> */
    TAG_RESPONSE_OPEN, /* <tool_response>: never the model's to write */
    TAG_SECTION_OPEN,  /* <PLAN>, <SCRATCHPAD>, … */
    TAG_SECTION_CLOSE, /* </PLAN>, … */
    TAG_CITATION,      /* <co>, </co>: part of the visible text */
    TAG_TURN           /* <|im_end|> and the like, spelled out as text */
};

struct tag {
    enum tag_kind kind;
    const char *text;
    size_t len;
    const char *section; /* SECTION_…: "PLAN"; NULL otherwise */
};

#define TAGS_LENGTH_MAX 24 /* of the longest tag, </REASONING_SCRATCHPAD> has 23 */

/* Reasoning sections of one job beside those of the table. Tags point into it: it is not to be copied or
 * moved, and lasts as long as whoever was given one of them. NULL wherever one is wanted: none. */
#define TAGS_MORE_MAX 16
#define TAGS_NAME_MAX (TAGS_LENGTH_MAX - 3)
struct tags_more {
    struct tag tags[2 * TAGS_MORE_MAX];
    char texts[2 * TAGS_MORE_MAX][TAGS_LENGTH_MAX + 1], names[TAGS_MORE_MAX][TAGS_NAME_MAX + 1];
    size_t n; /* tags, two for each name */
};
/* Reads names with ',' between them, none for NULL or "". A name has 1 to TAGS_NAME_MAX letters, digits, '_'
 * and '-'; one of the table may be named again, and changes nothing. -EINVAL for another, for one that is a
 * tag of another kind ("tool_call"), and for more than TAGS_MORE_MAX; *bad is the name's place then. */
HX_MUST_CHECK int tags_more_read(struct tags_more *more, const char *names, const char **bad);

enum tags_match { TAGS_NO, TAGS_PREFIX, TAGS_WHOLE };

/* Whether the `len` bytes are the proper beginning of a tag, or one (*tag, of the table or of `more`), or
 * neither. */
enum tags_match tags_match(const struct tags_more *more, const char *text, size_t len,
                           const struct tag **tag);

/* The first tag in the bytes: its place, or `len` when there is none. */
size_t tags_find(const struct tags_more *more, const char *text, size_t len, const struct tag **tag);

/* The section of this name as the table has it (static) or `more`; NULL for an unknown one. */
const char *tags_section(const struct tags_more *more, const char *name);
/* The names of all sections, in the table's order, then those of `more`: NULL behind the last. */
const char *tags_section_at(const struct tags_more *more, size_t index);

#endif
