/* The tags a model's text is cut at: calls, responses, reasoning sections, citations, and turn ends that were
 * spelled out.
 *
 * Tags are case-sensitive and exact. Every tag begins with its only '<' and ends with its only '>', so none
 * is the beginning of another and a text that stopped matching can only match again from its next '<'. Pure.
 * [any-thread] */
#ifndef AGENT_TAGS_H
#define AGENT_TAGS_H

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

enum tags_match { TAGS_NO, TAGS_PREFIX, TAGS_WHOLE };

/* Whether the `len` bytes are the proper beginning of a tag, or one (*tag, static), or neither. */
enum tags_match tags_match(const char *text, size_t len, const struct tag **tag);

/* The first tag in the bytes: its place, or `len` when there is none. */
size_t tags_find(const char *text, size_t len, const struct tag **tag);

/* The section of this name as the table has it (static); NULL for an unknown one. */
const char *tags_section(const char *name);
/* The names of all sections, in the table's order: NULL behind the last. */
const char *tags_section_at(size_t index);

#endif
