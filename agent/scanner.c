#include "agent/scanner.h"

#include <errno.h>
#include <string.h>

#define CALL_OPEN      "<tool_call>"
#define CALL_CLOSE     "</tool_call>"
#define RECOVERIES_MAX 64 /* malformed calls of one turn whose rest is read again */

void scanner_init(struct scanner *s, const struct tags_more *more, scanner_emit emit, void *arg) {
    *s = (struct scanner){.more = more, .emit = emit, .arg = arg};
    buf_init(&s->raw, SCANNER_CALL_MAX);
}

void scanner_finish(struct scanner *s) {
    buf_finish(&s->raw);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int put_text(struct scanner *s, const char *text, size_t len) {
    if (len == 0)
        return 0;
    s->answer.begun = s->answer.begun || (s->section == NULL && *text == '<');
    return s->emit(s->arg, &(struct scanner_event){.type = s->section ? SCANNER_SECTION_TEXT : SCANNER_TEXT,
                                                   .at = s->offset,
                                                   .text = text,
                                                   .len = len,
                                                   .section = s->section});
}

/* ---- between two calls ---- */

/* What was held back is text. */
static int end_gap(struct scanner *s) {
    size_t n = s->n_sep;
    s->gap = false;
    s->n_sep = 0;
    return put_text(s, s->sep, n);
}

/* The next call begins: a lone separator is dropped. */
static int bridge_gap(struct scanner *s) {
    for (size_t i = 0; i < s->n_sep; i++) {
        if (!is_space(s->sep[i])) {
            shapes_add(&s->repaired, SHAPE_SEPARATORS);
            s->n_sep = 0;
        }
    }
    return end_gap(s);
}

/* Text, which behind a call is held back as long as it may be a separator. */
static int emit_text(struct scanner *s, const char *text, size_t len) {
    size_t used = 0;
    bool parted = false;
    for (size_t i = 0; i < s->n_sep; i++)
        parted = parted || !is_space(s->sep[i]);
    while (s->gap && used < len && s->n_sep < SCANNER_GAP_MAX) {
        char c = text[used];
        bool mark = c == ';' || c == ',';
        if (!is_space(c) && (!mark || parted))
            break;
        parted = parted || mark;
        s->sep[s->n_sep++] = c;
        used++;
    }
    int rc = s->gap && used < len ? end_gap(s) : 0;
    return rc ? rc : put_text(s, text + used, len - used);
}

/* ---- blocks ---- */

/* Keeps the bytes of the open block, as many as fit. */
static int keep(struct scanner *s, const char *text, size_t len) {
    size_t room = s->raw.max - s->raw.len;
    if (len > room) {
        s->too_long = true;
        len = room;
    }
    return buf_append(&s->raw, text, len);
}

static void open_block(struct scanner *s) {
    buf_clear(&s->raw);
    s->lex = (struct scanner_lex){0};
    s->repaired = (struct shapes_set){0};
    s->too_long = s->half_open = false;
    s->state = SCANNER_BEFORE;
}

static int emit_call(struct scanner *s, const char *error, bool closed) {
    return s->emit(s->arg, &(struct scanner_event){.type = SCANNER_CALL,
                                                   .at = s->offset,
                                                   .section = s->section,
                                                   .raw = s->raw.data != NULL ? s->raw.data : "",
                                                   .raw_len = s->raw.len,
                                                   .error = error,
                                                   .closed = closed,
                                                   .half_open = s->half_open,
                                                   .repaired = s->repaired});
}

/* Why there is nothing to read in the block that just ended; NULL where there is. */
static const char *block_error(const struct scanner *s, bool turn_ended) {
    if (s->too_long)
        return "The call is longer than 256 KiB.";
    if (s->state == SCANNER_BEFORE)
        return turn_ended ? "The call was not finished." : "The call is empty.";
    return NULL;
}

/* The open block is over; `closed` = by its own tag. In a section it becomes text, and a rehearsal when its
 * JSON is whole. */
static int end_block(struct scanner *s, bool closed, bool turn_ended) {
    const char *error = block_error(s, turn_ended);
    int rc = 0;
    if (s->section == NULL || (error == NULL && s->state == SCANNER_AFTER))
        rc = emit_call(s, error, closed);
    s->state = SCANNER_IN_TEXT;
    s->gap = s->section == NULL;
    if (s->section != NULL) {
        rc = rc ? rc : put_text(s, CALL_OPEN, sizeof CALL_OPEN - 1);
        rc = rc ? rc : put_text(s, s->raw.data, s->raw.len);
        if (closed)
            rc = rc ? rc : put_text(s, CALL_CLOSE, sizeof CALL_CLOSE - 1);
    }
    return rc;
}

/* The same, closed by something else: noted as this row where the JSON is whole. */
static int end_open_block(struct scanner *s, enum shapes_row row, bool turn_ended) {
    if (s->state == SCANNER_AFTER)
        shapes_add(&s->repaired, row);
    return end_block(s, false, turn_ended);
}

static int close_section(struct scanner *s, bool truncated) {
    const char *section = s->section;
    s->section = NULL;
    s->depth = 0;
    return s->emit(s->arg, &(struct scanner_event){.type = SCANNER_SECTION_CLOSE,
                                                   .at = s->offset,
                                                   .section = section,
                                                   .truncated = truncated});
}

static int open_section(struct scanner *s, const char *section, size_t begin) {
    s->section = section;
    s->depth = 1;
    return s->emit(s->arg,
                   &(struct scanner_event){.type = SCANNER_SECTION_OPEN, .at = begin, .section = s->section});
}

static int stop(struct scanner *s) {
    int rc = s->section != NULL ? close_section(s, true) : 0;
    s->state = SCANNER_STOPPED;
    return rc ? rc : s->emit(s->arg, &(struct scanner_event){.type = SCANNER_STOP, .at = s->offset});
}

/* ---- tags ---- */

static int begin_call(struct scanner *s, size_t begin) {
    open_block(s);
    int rc = bridge_gap(s);
    if (rc < 0 || s->section != NULL)
        return rc;
    return s->emit(s->arg, &(struct scanner_event){.type = SCANNER_CALL_OPEN, .at = begin});
}

static int tag_in_text(struct scanner *s, const struct tag *tag) {
    size_t begin = s->offset - tag->len;
    if (tag->kind == TAG_CALL_OPEN)
        return begin_call(s, begin);
    if (s->section == NULL && tag->kind == TAG_CALL_CLOSE)
        return 0; /* a marker that closes nothing */
    int rc = end_gap(s);
    if (rc < 0)
        return rc;
    if (tag->kind == TAG_RESPONSE_OPEN || tag->kind == TAG_TURN)
        return stop(s);
    if (s->section == NULL && tag->kind == TAG_SECTION_OPEN)
        return open_section(s, tag->section, begin);
    if (s->section != NULL && tag->section != NULL && strcmp(tag->section, s->section) == 0) {
        s->depth += tag->kind == TAG_SECTION_OPEN ? 1 : -1;
        if (s->depth == 0)
            return close_section(s, false);
    }
    return put_text(s, tag->text, tag->len);
}

static int tag_in_block(struct scanner *s, const struct tag *tag) {
    bool rehearsed = s->section != NULL;
    if (tag->kind == TAG_CALL_CLOSE)
        return end_block(s, true, false);
    if (tag->kind == TAG_CALL_OPEN && s->state == SCANNER_BEFORE && !rehearsed) {
        shapes_add(&s->repaired, SHAPE_STRAY_MARKERS);
        buf_clear(&s->raw);
        return 0;
    }
    if (tag->kind == TAG_CALL_OPEN || tag->kind == TAG_RESPONSE_OPEN || tag->kind == TAG_TURN || rehearsed) {
        bool next = tag->kind == TAG_CALL_OPEN;
        int rc = end_open_block(s, next ? SHAPE_UNCLOSED_BEFORE_NEXT : SHAPE_UNCLOSED, false);
        return rc ? rc : tag_in_text(s, tag);
    }
    if (s->state == SCANNER_AFTER && tag->section != NULL) {
        /* A wrong closing tag counts as the right one; an opening one begins what comes next. */
        int rc = end_open_block(s, SHAPE_WRONG_CLOSE, false);
        return rc != 0 || tag->kind == TAG_SECTION_CLOSE ? rc : tag_in_text(s, tag);
    }
    if (s->state == SCANNER_BEFORE)
        s->state = SCANNER_BAD;
    return keep(s, tag->text, tag->len);
}

/* ---- bytes ---- */

/* Bytes of a call's JSON. `tags`: a '<' outside of strings may begin one, and is left. */
static int json_bytes(struct scanner *s, const char *text, size_t len, bool tags, size_t *used) {
    enum scanner_lexed lexed = scanner_lex(&s->lex, text, len, tags, used);
    s->offset += *used;
    if (lexed != SCANNER_GOES_ON)
        s->state = lexed == SCANNER_CLOSED ? SCANNER_AFTER : SCANNER_BAD;
    return keep(s, text, *used);
}

/* Bytes of a block that belong to no tag, not counted in `offset` yet. A bracket begins JSON, also behind
 * other JSON. */
static int block_bytes(struct scanner *s, const char *text, size_t len) {
    while (len > 0) {
        size_t used = 1;
        int rc = 0;
        if (s->state == SCANNER_IN_JSON) {
            rc = json_bytes(s, text, len, false, &used);
        } else if (s->state != SCANNER_BAD && (*text == '{' || *text == '[')) {
            s->lex = (struct scanner_lex){0};
            s->state = SCANNER_IN_JSON;
            rc = json_bytes(s, text, 1, false, &used);
        } else {
            if (s->state == SCANNER_BEFORE && !is_space(*text))
                s->state = SCANNER_BAD;
            if (s->state == SCANNER_BAD)
                used = len;
            s->offset += used;
            rc = keep(s, text, used);
        }
        if (rc < 0)
            return rc;
        text += used;
        len -= used;
    }
    /* A mention of the tag in reasoning, not a call. */
    return s->section != NULL && s->state == SCANNER_BAD ? end_block(s, false, false) : 0;
}

/* Bytes that belong to no tag, already counted in `offset`. */
static int plain(struct scanner *s, const char *text, size_t len) {
    if (s->state == SCANNER_IN_TEXT)
        return emit_text(s, text, len);
    s->offset -= len;
    return block_bytes(s, text, len);
}

/* <tool_call without its >: a call when only space comes before a '{'. The byte is not taken where it is
 * over.
 */
static int half_bytes(struct scanner *s, char c, size_t *used) {
    *used = 0;
    size_t n = s->n_held;
    if (is_space(c) && n < TAGS_LENGTH_MAX) {
        s->held[s->n_held++] = c;
        s->offset++;
        *used = 1;
        return 0;
    }
    s->n_held = 0;
    s->state = SCANNER_IN_TEXT;
    if (c != '{')
        return plain(s, s->held, n);
    int rc = begin_call(s, s->offset - n);
    shapes_add(&s->repaired, SHAPE_HALF_OPENER);
    s->half_open = true;
    return rc;
}

/* One step outside of JSON: a run without '<', or one byte of a possible tag. */
static int markup_bytes(struct scanner *s, const char *text, size_t len, size_t *used) {
    *used = 0;
    if (s->n_held == 0 && text[0] != '<') {
        const char *end = memchr(text, '<', len);
        size_t n = end != NULL ? (size_t)(end - text) : len;
        /* In a block, JSON may begin at any byte. */
        if (s->state == SCANNER_BEFORE || s->state == SCANNER_AFTER)
            n = 1;
        *used = n;
        s->offset += n;
        return plain(s, text, n);
    }
    const struct tag *tag = NULL;
    s->held[s->n_held] = text[0];
    enum tags_match match = tags_match(s->more, s->held, s->n_held + 1, &tag);
    if (match == TAGS_NO && s->n_held > 0) { /* this byte is looked at again, alone */
        size_t n = s->n_held;
        bool half = n == sizeof CALL_OPEN - 2 && memcmp(s->held, CALL_OPEN, n) == 0;
        if (half && s->state == SCANNER_IN_TEXT && s->section == NULL &&
            (is_space(text[0]) || text[0] == '{')) {
            s->state = SCANNER_HALF;
            return 0;
        }
        s->n_held = 0;
        return plain(s, s->held, n);
    }
    *used = 1;
    s->offset++;
    s->n_held++;
    if (match == TAGS_PREFIX)
        return 0;
    s->n_held = 0;
    return s->state == SCANNER_IN_TEXT ? tag_in_text(s, tag) : tag_in_block(s, tag);
}

/* Whether the next byte belongs to the JSON of a call and to no tag. */
static bool in_json(const struct scanner *s, char next) {
    return s->state == SCANNER_IN_JSON && s->n_held == 0 && (next != '<' || s->lex.quote != SCANNER_PLAIN);
}

/* Whether the next byte is visible text, and no tag has begun. */
static bool is_visible(const struct scanner *s) {
    return s->state == SCANNER_IN_TEXT && s->section == NULL && s->n_held == 0;
}

static int visible_bytes(struct scanner *s, const char *text, size_t len) {
    s->offset += len;
    return emit_text(s, text, len);
}

int scanner_feed(struct scanner *s, const char *text, size_t len) {
    int rc = 0;
    while (len > 0 && rc == 0) {
        size_t used = len;
        if (s->state == SCANNER_STOPPED)
            s->offset += len;
        else if (s->state == SCANNER_HALF)
            rc = half_bytes(s, *text, &used);
        else if (in_json(s, *text))
            rc = json_bytes(s, text, len, true, &used);
        else if (is_visible(s) && (used = scanner_answer_bytes(&s->answer, text, len)) > 0)
            rc = visible_bytes(s, text, used);
        else
            rc = markup_bytes(s, text, len, &used);
        text += used;
        len -= used;
    }
    return rc;
}

/* ---- the end ---- */

/* Place of the first `what` in the raw text; raw.len when there is none. */
static size_t find_raw(const struct scanner *s, const char *what) {
    const char *at = s->raw.len > 0 ? memmem(s->raw.data, s->raw.len, what, strlen(what)) : NULL;
    return at != NULL ? (size_t)(at - s->raw.data) : s->raw.len;
}

/* The JSON never ended, most likely for a quote too much or too few: the call was meant to end at its tag
 * (or, rehearsed, with its section), and what follows is read again. */
static int recover(struct scanner *s) {
    char closer[TAGS_LENGTH_MAX + 1] = CALL_CLOSE;
    size_t cut = find_raw(s, CALL_CLOSE), tag_len = sizeof CALL_CLOSE - 1;
    if (s->section != NULL) {
        closer[1] = '/';
        memcpy(closer + 2, s->section, strlen(s->section));
        memcpy(closer + 2 + strlen(s->section), ">", 2);
        size_t end = find_raw(s, closer);
        if (end < cut) {
            cut = end;
            tag_len = 0;
        }
    }
    if (cut == s->raw.len || s->too_long || s->recoveries++ >= RECOVERIES_MAX)
        return end_block(s, false, true);
    struct buf rest;
    buf_init(&rest, SCANNER_CALL_MAX);
    int rc = buf_append(&rest, s->raw.data + cut + tag_len, s->raw.len - cut - tag_len);
    s->raw.len = cut;
    s->offset -= rest.len;
    rc = rc ? rc : end_block(s, tag_len > 0, false);
    rc = rc ? rc : scanner_feed(s, rest.data, rest.len);
    buf_finish(&rest);
    return rc;
}

static int flush_held(struct scanner *s) {
    size_t n = s->n_held;
    s->n_held = 0;
    if (s->state == SCANNER_HALF)
        s->state = SCANNER_IN_TEXT;
    return n > 0 ? plain(s, s->held, n) : 0;
}

int scanner_end(struct scanner *s) {
    int rc = 0;
    while (rc == 0 && s->state == SCANNER_IN_JSON) {
        rc = flush_held(s);
        if (rc == 0 && s->state == SCANNER_IN_JSON)
            rc = recover(s);
    }
    rc = rc ? rc : flush_held(s);
    if (rc == 0 && s->state != SCANNER_IN_TEXT && s->state != SCANNER_STOPPED)
        rc = end_open_block(s, SHAPE_UNCLOSED, true);
    rc = rc ? rc : end_gap(s);
    if (rc == 0 && s->section != NULL)
        rc = close_section(s, true);
    return rc;
}

int scanner_begin_in(struct scanner *s, const char *section) {
    const char *known = tags_section(s->more, section);
    return known == NULL ? -EINVAL : open_section(s, known, 0);
}

void scanner_expect_json(struct scanner *s) {
    s->answer.on = true;
}
