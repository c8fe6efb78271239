/* Cuts the text of one turn, as it streams, into visible text, reasoning sections and tool calls.
 *
 * - A call is <tool_call>, JSON, </tool_call>. It ends where the JSON ends, so a tag inside a string of it is
 * data. The closing tag may be missing where something else makes the end certain: the next <tool_call>,
 * another tag, the end of the turn. Markers without anything between them are dropped. What the JSON says,
 * and whether it may run when it is not quite JSON, is for agent/repair.h; strings of Python and comments are
 * known here, so that a tag inside them is data as well.
 * - What stands in <tool_call> and is no call is handed over as one; the text after its </tool_call> is read
 * on.
 * - <tool_call without its > opens a call when a { follows.
 * - A section ends at the closing tag that balances the opening ones of the same name. Other tags inside are
 * its text. A call inside is part of its text and reported as rehearsed; it is never to be run.
 * - <tool_response>, and a turn's end or beginning spelled out as text, stop the reading: the rest of the
 * turn is not the model's to write. Inside a call's JSON they are data.
 * - A lone ; or , between two calls is dropped.
 * - <co> and everything unknown is visible text.
 * - Where the answer is to be JSON (scanner_expect_json()), a tag inside a string of visible JSON is data.
 *
 * Any cut of the same text gives the same events, text pieces joined. Work is linear in the text, memory is
 * one call (SCANNER_CALL_MAX). One thread at a time. */
#ifndef AGENT_SCANNER_H
#define AGENT_SCANNER_H

#include "agent/shapes.h"
#include "agent/tags.h"
#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define SCANNER_CALL_MAX (256u * 1024)
#define SCANNER_GAP_MAX  16

enum scanner_event_type {
    SCANNER_TEXT,          /* visible text */
    SCANNER_SECTION_OPEN,  /* `section` begins */
    SCANNER_SECTION_TEXT,  /* text inside it */
    SCANNER_SECTION_CLOSE, /* it ends; `truncated`: it was never closed */
    SCANNER_CALL_OPEN,     /* a <tool_call> outside of sections: the visible text before it is complete */
    SCANNER_CALL, /* a call: `raw`, or `error` (one sentence for the model) where there is nothing to read */
    SCANNER_STOP  /* the model wrote what is not its to write; nothing follows but SECTION_CLOSE */
};

struct scanner_event {
    enum scanner_event_type type;
    size_t at;        /* offset in the turn: where an opening tag begins, where anything else ends */
    const char *text; /* borrowed during the callback, not terminated */
    size_t len;
    const char *section; /* SECTION_…; CALL: the section a rehearsed call stands in, else NULL; of
                            agent/tags.h or of `more` */
    bool truncated;
    const char *raw; /* CALL: everything between the tags */
    size_t raw_len;
    const char *error;
    bool closed;                /* CALL: by its own tag */
    bool half_open;             /* CALL: its opening tag was cut */
    struct shapes_set repaired; /* CALL: what is noted about its frame */
};

/* 0, or a negative errno that ends the feeding. */
typedef int (*scanner_emit)(void *arg, const struct scanner_event *event);

enum scanner_state {
    SCANNER_IN_TEXT, /* visible, or inside a section */
    SCANNER_BEFORE,  /* behind <tool_call>, before its JSON */
    SCANNER_IN_JSON,
    SCANNER_AFTER, /* behind the JSON, before </tool_call> */
    SCANNER_BAD,   /* inside <tool_call>, where no JSON was */
    SCANNER_HALF,  /* behind <tool_call without its > */
    SCANNER_STOPPED
};

/* Inside a call's JSON: in what kind of text, and how deep. */
enum scanner_quote { SCANNER_PLAIN, SCANNER_STRING, SCANNER_PYTHON, SCANNER_LINE_COMMENT, SCANNER_COMMENT };
struct scanner_lex {
    enum scanner_quote quote;
    int depth;
    bool escaped;
    bool at_first;    /* behind the first '{': a key or '}' must come */
    char last, token; /* the byte before, and the last one that was no space, both outside of strings */
};

/* The JSON of an answer, followed outside of sections and calls. */
enum scanner_answer_state { SCANNER_ANSWER_NONE, SCANNER_ANSWER_JSON, SCANNER_ANSWER_STRING };
struct scanner_answer {
    bool on;
    bool begun; /* visible text other than space has come */
    enum scanner_answer_state state;
    struct scanner_lex lex;
};

struct scanner {
    scanner_emit emit;
    void *arg;
    const struct tags_more *more;
    enum scanner_state state;
    size_t offset; /* bytes consumed */

    char held[TAGS_LENGTH_MAX]; /* the beginning of what may become a tag */
    size_t n_held;

    const char *section; /* open section, NULL = none */
    int depth;           /* its opening tags without a closing one */

    bool gap; /* behind a call: what may only separate it from the next one is held back */
    char sep[SCANNER_GAP_MAX];
    size_t n_sep;

    struct buf raw;             /* what followed <tool_call> */
    struct scanner_lex lex;     /* where in its JSON */
    struct shapes_set repaired; /* of the frame */
    bool half_open;
    bool too_long; /* raw reached its ceiling: the rest of the call is only counted */
    int recoveries;

    struct scanner_answer answer;
};

/* `more`: sections beside those of agent/tags.h, borrowed as long as the scanner is used; NULL = none. */
void scanner_init(struct scanner *s, const struct tags_more *more, scanner_emit emit, void *arg);
void scanner_finish(struct scanner *s);
/* Before the first text: the prompt has opened this section (a name of agent/tags.h or of `more`). -EINVAL
 * for another name; -ENOMEM, or what `emit` returned. */
HX_MUST_CHECK int scanner_begin_in(struct scanner *s, const char *section);
/* Before the first text: the answer is to be JSON. */
void scanner_expect_json(struct scanner *s);
/* More text. -ENOMEM, or what `emit` returned; the scanner is of no use then. */
HX_MUST_CHECK int scanner_feed(struct scanner *s, const char *text, size_t len);
/* The turn ended: hands over what is still held back. The same errors. */
HX_MUST_CHECK int scanner_end(struct scanner *s);

/* ---- scanner_answer.c ---- */

/* How many of the bytes, which stand in visible text, cannot begin a tag: they are JSON of the answer or lie
 * before it. 0 where a tag may begin, or when no JSON is expected. */
size_t scanner_answer_bytes(struct scanner_answer *a, const char *text, size_t len);

/* ---- scanner_block.c ---- */

enum scanner_lexed { SCANNER_GOES_ON, SCANNER_CLOSED, SCANNER_NO_JSON };
/* Bytes of JSON from its first bracket on. Stops behind the bracket that closes it, or before a '<' outside
 * of strings when `tags`; *used: bytes taken. */
enum scanner_lexed scanner_lex(struct scanner_lex *x, const char *text, size_t len, bool tags, size_t *used);

#endif
