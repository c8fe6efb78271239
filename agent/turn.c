#include "agent/turn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Tokens up to an offset of the turn: a piece counts by the share of its bytes that lie before. */
static int tokens_at(const struct turn *t, size_t at) {
    if (at <= t->piece_at || t->piece_len == 0)
        return t->n_tokens;
    size_t within = at - t->piece_at;
    if (within >= t->piece_len)
        return t->n_tokens + t->piece_tokens;
    return t->n_tokens + (int)((double)t->piece_tokens * (double)within / (double)t->piece_len);
}

static int push(struct turn *t, enum agent_event_type type, const char *section, const char *text, size_t len,
                bool truncated, int n_tokens) {
    struct agent_event e = {.type = type,
                            .turn = t->number,
                            .position = t->part_position,
                            .section = section,
                            .text = text,
                            .len = len,
                            .truncated = truncated,
                            .call = -1,
                            .n_tokens = n_tokens};
    return agent_events_push(t->events, &e);
}

static void open_part(struct turn *t) {
    t->part_open = true;
    t->part_position = t->n_parts++;
    t->part_sent = 0;
    buf_clear(&t->part);
}

/* More of the open part; leading and trailing space never goes out. */
static int add_text(struct turn *t, const char *section, const char *text, size_t len) {
    while (t->part.len == 0 && len > 0 && is_space(*text)) {
        text++;
        len--;
    }
    int rc = buf_append(&t->part, text, len);
    size_t end = t->part.len;
    while (end > t->part_sent && is_space(t->part.data[end - 1]))
        end--;
    if (rc < 0 || end == t->part_sent)
        return rc;
    size_t from = t->part_sent;
    t->part_sent = end;
    return push(t, section != NULL ? AGENT_EVENT_REASONING_DELTA : AGENT_EVENT_MESSAGE_DELTA, section,
                t->part.data + from, end - from, false, 0);
}

static int add_visible(struct turn *t, const char *text, size_t len) {
    while (!t->part_open && len > 0 && is_space(*text)) {
        text++;
        len--;
    }
    if (len == 0)
        return 0;
    if (!t->part_open)
        open_part(t);
    return add_text(t, NULL, text, len);
}

/* Ends the open part, if there is one. */
static int end_part(struct turn *t, const char *section, bool truncated, size_t at) {
    int n_tokens = tokens_at(t, at) - t->part_from;
    if (!t->part_open)
        return 0;
    t->part_open = false;
    t->part_from += n_tokens;
    const char *text = t->part.data != NULL ? t->part.data : "";
    if (section != NULL)
        return push(t, AGENT_EVENT_REASONING_DONE, section, text, t->part_sent, truncated, n_tokens);
    buf_clear(&t->answer);
    int rc = buf_append(&t->answer, text, t->part_sent);
    return rc ? rc : push(t, AGENT_EVENT_MESSAGE_DONE, NULL, text, t->part_sent, false, n_tokens);
}

static int rehearsal(struct turn *t, const struct scanner_event *e, const struct toolcall *call,
                     const char *raw) {
    struct agent_event event = {.type = AGENT_EVENT_REHEARSED,
                                .turn = t->number,
                                .position = t->n_parts++,
                                .section = e->section,
                                .call = -1,
                                .name = call->name,
                                .arguments = call->arguments,
                                .raw = raw};
    int rc = t->rehearsed.len == 0 ? buf_append(&t->rehearsed, e->text, e->len) : 0;
    return rc ? rc : agent_events_push(t->events, &event);
}

static int hand_over(struct turn *t, const struct toolcall *call, const char *raw, const char *error,
                     int n_tokens) {
    const struct turn_call out = {.position = t->n_parts++,
                                  .name = call->name != NULL ? call->name : "",
                                  .arguments = call->arguments,
                                  .raw = raw,
                                  .error = error,
                                  .n_tokens = n_tokens};
    t->n_calls++;
    return t->on_call(t->arg, &out);
}

static int on_call(struct turn *t, const struct scanner_event *e) {
    struct toolcall call = {0};
    char why[400];
    const char *error = e->error;
    char *raw = strndup(e->raw, e->raw_len);
    int rc = raw == NULL ? -ENOMEM : 0;
    if (rc == 0 && error == NULL) {
        rc = toolcall_read(e->text, e->len, &call, why, sizeof why);
        error = rc == -EINVAL ? why : NULL;
        rc = rc == -EINVAL ? 0 : rc;
    }
    if (rc == 0 && e->section != NULL) {
        rc = rehearsal(t, e, &call, raw);
    } else if (rc == 0) {
        int n_tokens = tokens_at(t, e->at) - t->part_from;
        t->part_from += n_tokens;
        rc = hand_over(t, &call, raw, error, n_tokens);
    }
    toolcall_finish(&call);
    free(raw);
    return rc;
}

/* The only call of the turn stands in a section that was never closed: the model must hear why nothing ran.
 */
static int answer_rehearsed(struct turn *t, const char *section) {
    struct toolcall call = {0};
    char why[400];
    int rc = toolcall_read(t->rehearsed.data, t->rehearsed.len, &call, why, sizeof why);
    if (rc == 0 || rc == -EINVAL) {
        snprintf(why, sizeof why,
                 "The call stands inside the section %s, which was not closed. Close it, then call.",
                 section);
        rc = hand_over(t, &call, t->rehearsed.data, why, 0);
    }
    toolcall_finish(&call);
    return rc;
}

static int close_section(struct turn *t, const struct scanner_event *e) {
    int rc = end_part(t, e->section, e->truncated, e->at);
    if (rc == 0 && e->truncated && t->rehearsed.len > 0 && t->n_calls == 0)
        rc = answer_rehearsed(t, e->section);
    buf_clear(&t->rehearsed);
    return rc;
}

static int on_event(void *arg, const struct scanner_event *e) {
    struct turn *t = arg;
    int rc = 0;
    switch (e->type) {
    case SCANNER_TEXT:
        return add_visible(t, e->text, e->len);
    case SCANNER_SECTION_TEXT:
        return add_text(t, e->section, e->text, e->len);
    case SCANNER_CALL_OPEN:
        return end_part(t, NULL, false, e->at);
    case SCANNER_CALL:
        return on_call(t, e);
    case SCANNER_SECTION_OPEN:
        rc = end_part(t, NULL, false, e->at);
        open_part(t);
        return rc;
    case SCANNER_SECTION_CLOSE:
        return close_section(t, e);
    case SCANNER_STOP:
        t->stopped = true;
        return end_part(t, NULL, false, e->at);
    }
    return rc;
}

void turn_init(struct turn *t, int number, struct events *events, turn_on_call on_call_arg, void *arg) {
    *t = (struct turn){.events = events, .on_call = on_call_arg, .arg = arg, .number = number};
    scanner_init(&t->scanner, on_event, t);
    buf_init(&t->part, TURN_TEXT_MAX);
    buf_init(&t->answer, TURN_TEXT_MAX);
    buf_init(&t->rehearsed, SCANNER_CALL_MAX);
}

void turn_finish(struct turn *t) {
    scanner_finish(&t->scanner);
    buf_finish(&t->part);
    buf_finish(&t->answer);
    buf_finish(&t->rehearsed);
}

int turn_feed(struct turn *t, const char *text, size_t len, int n_tokens) {
    if (len > TURN_TEXT_MAX - t->piece_at - t->piece_len)
        return -E2BIG;
    t->n_tokens += t->piece_tokens;
    t->piece_at += t->piece_len;
    t->piece_len = len;
    t->piece_tokens = n_tokens;
    return scanner_feed(&t->scanner, text, len);
}

int turn_end(struct turn *t) {
    int rc = scanner_end(&t->scanner);
    return rc ? rc : end_part(t, NULL, false, t->piece_at + t->piece_len);
}
