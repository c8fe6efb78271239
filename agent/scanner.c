#include "agent/scanner.h"

#include <errno.h>
#include <string.h>

#define CALL_OPEN      "<tool_call>"
#define CALL_CLOSE     "</tool_call>"
#define RECOVERIES_MAX 64 /* malformed calls of one turn whose rest is read again */

void scanner_init(struct scanner *s, scanner_emit emit, void *arg) {
    *s = (struct scanner){.emit = emit, .arg = arg};
    buf_init(&s->raw, SCANNER_CALL_MAX);
}

void scanner_finish(struct scanner *s) {
    buf_finish(&s->raw);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int emit_text(struct scanner *s, const char *text, size_t len) {
    if (len == 0)
        return 0;
    return s->emit(s->arg, &(struct scanner_event){.type = s->section ? SCANNER_SECTION_TEXT : SCANNER_TEXT,
                                                   .at = s->offset,
                                                   .text = text,
                                                   .len = len,
                                                   .section = s->section});
}

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
    s->json_len = 0;
    s->json_depth = 0;
    s->in_string = s->escaped = s->at_first = s->too_long = false;
    s->state = SCANNER_BEFORE;
}

static int emit_call(struct scanner *s, const char *error) {
    return s->emit(s->arg, &(struct scanner_event){.type = SCANNER_CALL,
                                                   .at = s->offset,
                                                   .text = error == NULL ? s->raw.data : NULL,
                                                   .len = error == NULL ? s->json_len : 0,
                                                   .section = s->section,
                                                   .raw = s->raw.data != NULL ? s->raw.data : "",
                                                   .raw_len = s->raw.len,
                                                   .error = error});
}

/* What is wrong with the block that just ended; NULL for a call. */
static const char *block_error(const struct scanner *s, bool turn_ended) {
    if (s->too_long)
        return "The call is longer than 256 KiB.";
    if (s->state == SCANNER_IN_JSON)
        return "The JSON of the call is not complete.";
    if (s->state == SCANNER_BAD)
        return "The call is not a JSON object. Write {\"name\": <function-name>, \"arguments\": "
               "<args-dict>}.";
    if (s->state == SCANNER_BEFORE)
        return turn_ended ? "The call was not finished." : "The call is empty.";
    for (size_t i = s->json_len; i < s->raw.len; i++)
        if (!is_space(s->raw.data[i]) && s->raw.data[i] != '}' && s->raw.data[i] != ']')
            return "Something stands behind the JSON of the call. Write one JSON object in each <tool_call>.";
    return NULL;
}

/* The open block is over; `closed` = by its own tag. In a section it becomes text, and a rehearsal when it
 * was a call. */
static int end_block(struct scanner *s, bool closed, bool turn_ended) {
    const char *error = block_error(s, turn_ended);
    int rc = 0;
    if (s->section == NULL || error == NULL)
        rc = emit_call(s, error);
    s->state = SCANNER_IN_TEXT;
    if (s->section != NULL) {
        rc = rc ? rc : emit_text(s, CALL_OPEN, sizeof CALL_OPEN - 1);
        rc = rc ? rc : emit_text(s, s->raw.data, s->raw.len);
        if (closed)
            rc = rc ? rc : emit_text(s, CALL_CLOSE, sizeof CALL_CLOSE - 1);
    }
    return rc;
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

static int stop(struct scanner *s) {
    int rc = s->section != NULL ? close_section(s, true) : 0;
    s->state = SCANNER_STOPPED;
    return rc ? rc : s->emit(s->arg, &(struct scanner_event){.type = SCANNER_STOP, .at = s->offset});
}

/* ---- tags ---- */

static int tag_in_text(struct scanner *s, const struct tag *tag) {
    size_t begin = s->offset - tag->len;
    if (tag->kind == TAG_RESPONSE_OPEN || tag->kind == TAG_TURN)
        return stop(s);
    if (tag->kind == TAG_CALL_OPEN) {
        open_block(s);
        if (s->section != NULL)
            return 0;
        return s->emit(s->arg, &(struct scanner_event){.type = SCANNER_CALL_OPEN, .at = begin});
    }
    if (s->section == NULL && tag->kind == TAG_CALL_CLOSE)
        return 0; /* a marker that closes nothing */
    if (s->section == NULL && tag->kind == TAG_SECTION_OPEN) {
        s->section = tag->section;
        s->depth = 1;
        return s->emit(s->arg, &(struct scanner_event){
                                   .type = SCANNER_SECTION_OPEN, .at = begin, .section = s->section});
    }
    if (s->section != NULL && tag->section != NULL && strcmp(tag->section, s->section) == 0) {
        s->depth += tag->kind == TAG_SECTION_OPEN ? 1 : -1;
        if (s->depth == 0)
            return close_section(s, false);
    }
    return emit_text(s, tag->text, tag->len);
}

static int tag_in_block(struct scanner *s, const struct tag *tag) {
    bool rehearsed = s->section != NULL;
    if (tag->kind == TAG_CALL_CLOSE)
        return end_block(s, true, false);
    if (tag->kind == TAG_CALL_OPEN && s->state == SCANNER_BEFORE && !rehearsed) {
        open_block(s); /* a marker twice */
        return 0;
    }
    if (tag->kind == TAG_CALL_OPEN || tag->kind == TAG_RESPONSE_OPEN || tag->kind == TAG_TURN || rehearsed) {
        int rc = end_block(s, false, false);
        return rc ? rc : tag_in_text(s, tag);
    }
    if (s->state == SCANNER_AFTER && tag->section != NULL) {
        /* A wrong closing tag counts as the right one; an opening one begins what comes next. */
        int rc = end_block(s, false, false);
        return rc != 0 || tag->kind == TAG_SECTION_CLOSE ? rc : tag_in_text(s, tag);
    }
    if (s->state == SCANNER_BEFORE)
        s->state = SCANNER_BAD;
    return keep(s, tag->text, tag->len);
}

/* ---- bytes ---- */

/* Bytes of the JSON value from its first bracket on, as json_value_span() counts them. *used: how many were.
 */
static int json_bytes(struct scanner *s, const char *text, size_t len, size_t *used) {
    size_t i = 0;
    bool closed = false, bad = false;
    for (; i < len && !closed; i++) {
        char c = text[i];
        if (s->in_string) {
            if (s->escaped)
                s->escaped = false;
            else if (c == '\\')
                s->escaped = true;
            else if (c == '"')
                s->in_string = false;
            continue;
        }
        if (s->at_first && !is_space(c)) {
            s->at_first = false;
            bad = c != '"' && c != '}';
            if (bad)
                break; /* {'name': … and the like: no string rule holds here, so only the tag can end it */
        }
        if (c == '"') {
            s->in_string = true;
        } else if (c == '{' || c == '[') {
            s->at_first = c == '{' && s->json_depth == 0;
            s->json_depth++;
        } else if (c == '}' || c == ']') {
            closed = --s->json_depth == 0;
        }
    }
    *used = i;
    s->offset += i;
    int rc = keep(s, text, i);
    if (bad)
        s->state = SCANNER_BAD;
    if (closed) {
        s->json_len = s->raw.len;
        s->state = SCANNER_AFTER;
    }
    return rc;
}

/* Bytes that belong to no tag, already counted in `offset`. In SCANNER_BEFORE all of them are space, or the
 * first is not. */
static int plain(struct scanner *s, const char *text, size_t len) {
    if (s->state == SCANNER_IN_TEXT)
        return emit_text(s, text, len);
    if (s->state == SCANNER_BEFORE && !is_space(text[0])) {
        if (text[0] == '{' || text[0] == '[') {
            size_t used;
            s->offset -= len;
            s->state = SCANNER_IN_JSON;
            return json_bytes(s, text, len, &used); /* len is 1 */
        }
        s->state = SCANNER_BAD;
    }
    int rc = keep(s, text, len);
    if (rc == 0 && s->section != NULL && s->state == SCANNER_BAD)
        rc = end_block(s, false, false); /* a mention of the tag in reasoning, not a call */
    return rc;
}

/* One step outside of JSON: a run without '<', or one byte of a possible tag. */
static int markup_bytes(struct scanner *s, const char *text, size_t len, size_t *used) {
    *used = 0;
    if (s->n_held == 0 && text[0] != '<') {
        const char *end = memchr(text, '<', len);
        size_t n = end != NULL ? (size_t)(end - text) : len;
        if (s->state == SCANNER_BEFORE)
            n = 1;
        *used = n;
        s->offset += n;
        return plain(s, text, n);
    }
    const struct tag *tag = NULL;
    s->held[s->n_held] = text[0];
    enum tags_match match = tags_match(s->held, s->n_held + 1, &tag);
    if (match == TAGS_NO && s->n_held > 0) { /* this byte is looked at again, alone */
        size_t n = s->n_held;
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

int scanner_feed(struct scanner *s, const char *text, size_t len) {
    int rc = 0;
    while (len > 0 && rc == 0) {
        size_t used = len;
        if (s->state == SCANNER_STOPPED)
            s->offset += len;
        else if (s->state == SCANNER_IN_JSON)
            rc = json_bytes(s, text, len, &used);
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
    if (n == 0 || (s->state == SCANNER_AFTER && memcmp(s->held, CALL_CLOSE, n) == 0))
        return 0;
    return plain(s, s->held, n);
}

int scanner_end(struct scanner *s) {
    int rc = 0;
    while (rc == 0 && s->state == SCANNER_IN_JSON)
        rc = recover(s);
    rc = rc ? rc : flush_held(s);
    if (rc == 0 && s->state != SCANNER_IN_TEXT && s->state != SCANNER_STOPPED)
        rc = end_block(s, false, true);
    if (rc == 0 && s->section != NULL)
        rc = close_section(s, true);
    return rc;
}
