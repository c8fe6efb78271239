/* Cuts the text of one turn, as it streams, into visible text, reasoning sections and tool calls.
 *
 * - A call is <tool_call>, one JSON value, </tool_call>. It ends where the JSON value ends, so a tag inside a
 * string of it is data. The closing tag may be missing where something else makes the end certain: the next
 * <tool_call>, another tag, the end of the turn. Markers without anything between them are dropped.
 * - What stands in <tool_call> and is no call is handed over as a call with an error; the text after its
 * </tool_call> is read on.
 * - A section ends at the closing tag that balances the opening ones of the same name. Other tags inside are
 * its text. A call inside is part of its text and reported as rehearsed; it is never to be run.
 * - <tool_response>, and a turn's end or beginning spelled out as text, stop the reading: the rest of the
 * turn is not the model's to write. Inside a call's JSON they are data.
 * - <co> and everything unknown is visible text.
 *
 * Any cut of the same text gives the same events, text pieces joined. Work is linear in the text, memory is
 * one call (SCANNER_CALL_MAX). One thread at a time. */
#ifndef AGENT_SCANNER_H
#define AGENT_SCANNER_H

#include "agent/tags.h"
#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define SCANNER_CALL_MAX (256u * 1024)

enum scanner_event_type {
    SCANNER_TEXT,          /* visible text */
    SCANNER_SECTION_OPEN,  /* `section` begins */
    SCANNER_SECTION_TEXT,  /* text inside it */
    SCANNER_SECTION_CLOSE, /* it ends; `truncated`: it was never closed */
    SCANNER_CALL_OPEN,     /* a <tool_call> outside of sections: the visible text before it is complete */
    SCANNER_CALL,          /* a call: `text` its JSON, or NULL with `error` (one sentence for the model) */
    SCANNER_STOP           /* the model wrote what is not its to write; nothing follows but SECTION_CLOSE */
};

struct scanner_event {
    enum scanner_event_type type;
    size_t at;        /* offset in the turn: where an opening tag begins, where anything else ends */
    const char *text; /* borrowed during the callback, not terminated */
    size_t len;
    const char *section; /* SECTION_…; CALL: the section a rehearsed call stands in, else NULL; static */
    bool truncated;
    const char *raw; /* CALL: everything between the tags */
    size_t raw_len;
    const char *error;
};

/* 0, or a negative errno that ends the feeding. */
typedef int (*scanner_emit)(void *arg, const struct scanner_event *event);

enum scanner_state {
    SCANNER_IN_TEXT, /* visible, or inside a section */
    SCANNER_BEFORE,  /* behind <tool_call>, before its JSON */
    SCANNER_IN_JSON,
    SCANNER_AFTER, /* behind the JSON, before </tool_call> */
    SCANNER_BAD,   /* inside <tool_call>, where no JSON was */
    SCANNER_STOPPED
};

struct scanner {
    scanner_emit emit;
    void *arg;
    enum scanner_state state;
    size_t offset; /* bytes consumed */

    char held[TAGS_LENGTH_MAX]; /* the beginning of what may become a tag */
    size_t n_held;

    const char *section; /* open section, NULL = none */
    int depth;           /* its opening tags without a closing one */

    struct buf raw; /* what followed <tool_call> */
    size_t json_len;
    int json_depth;
    bool in_string, escaped;
    bool at_first; /* behind the first '{': a key or '}' must come */
    bool too_long; /* raw reached its ceiling: the rest of the call is only counted */
    int recoveries;
};

void scanner_init(struct scanner *s, scanner_emit emit, void *arg);
void scanner_finish(struct scanner *s);
/* More text. -ENOMEM, or what `emit` returned; the scanner is of no use then. */
HX_MUST_CHECK int scanner_feed(struct scanner *s, const char *text, size_t len);
/* The turn ended: hands over what is still held back. The same errors. */
HX_MUST_CHECK int scanner_end(struct scanner *s);

#endif
