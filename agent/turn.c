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
                            .n_tokens = n_tokens,
                            .token_from = t->part_from - n_tokens};
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
    t->n_messages += section == NULL;
    const char *text = t->part.data != NULL ? t->part.data : "";
    if (section != NULL)
        return push(t, AGENT_EVENT_REASONING_DONE, section, text, t->part_sent, truncated, n_tokens);
    buf_clear(&t->answer);
    int rc = buf_append(&t->answer, text, t->part_sent);
    return rc ? rc : push(t, AGENT_EVENT_MESSAGE_DONE, NULL, text, t->part_sent, false, n_tokens);
}

/* ---- calls ---- */

static int read_block(struct turn *t, const struct scanner_event *e, struct repair_calls *out) {
    const struct repair_block block = {.raw = e->raw,
                                       .len = e->raw_len,
                                       .closed = e->closed,
                                       .half_open = e->half_open,
                                       .repaired = e->repaired};
    return repair_read(&block, &t->rules->tools, out);
}

static int rehearsal(struct turn *t, const struct scanner_event *e, const char *raw) {
    struct repair_calls calls;
    int rc = read_block(t, e, &calls);
    for (size_t i = 0; rc == 0 && i < calls.n; i++) {
        struct agent_event event = {.type = AGENT_EVENT_REHEARSED,
                                    .turn = t->number,
                                    .position = t->n_parts++,
                                    .section = e->section,
                                    .call = -1,
                                    .name = calls.all[i].name,
                                    .arguments = calls.all[i].arguments,
                                    .raw = raw};
        rc = agent_events_push(t->events, &event);
    }
    repair_finish(&calls);
    if (rc == 0 && t->rehearsed.len == 0)
        rc = buf_append(&t->rehearsed, e->raw, e->raw_len);
    return rc;
}

/* Hands the calls over; the tokens of all are the first one's. `error`: why none of them can run. */
static int hand_over(struct turn *t, const struct repair_calls *calls, const char *raw, const char *error,
                     int n_tokens) {
    static const struct shapes_set nothing = {{0}};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < calls->n; i++) {
        const struct repair_call *call = &calls->all[i];
        const struct turn_call out = {.position = t->n_parts++,
                                      .name = call->name,
                                      .arguments = call->arguments,
                                      .raw = raw,
                                      .error = error != NULL ? error : call->error,
                                      .repaired = call->error == NULL ? &call->repaired : &nothing,
                                      .token_from = t->part_from - (i == 0 ? n_tokens : 0),
                                      .n_tokens = i == 0 ? n_tokens : 0};
        t->n_calls++;
        rc = t->on_call(t->arg, &out);
    }
    return rc;
}

static int on_call(struct turn *t, const struct scanner_event *e) {
    char *raw = strndup(e->raw, e->raw_len);
    if (raw == NULL)
        return -ENOMEM;
    int rc = 0;
    if (e->section != NULL) {
        rc = rehearsal(t, e, raw);
    } else {
        int n_tokens = tokens_at(t, e->at) - t->part_from;
        t->part_from += n_tokens;
        struct repair_call none = {.name = "", .repaired = {{0}}};
        struct repair_calls calls = {.all = &none, .n = 1};
        if (e->error == NULL)
            rc = read_block(t, e, &calls);
        rc = rc ? rc : hand_over(t, &calls, raw, e->error, n_tokens);
        if (e->error == NULL)
            repair_finish(&calls);
    }
    free(raw);
    return rc;
}

/* The only call of the turn stands in a section that was never closed: the model must hear why nothing ran,
 * or it runs after all. */
static int answer_rehearsed(struct turn *t, const char *section) {
    char why[200];
    struct repair_block block = {.raw = t->rehearsed.data, .len = t->rehearsed.len};
    struct repair_calls calls;
    shapes_add(&block.repaired, SHAPE_UNCLOSED_REASONING);
    int rc = repair_read(&block, &t->rules->tools, &calls);
    snprintf(why, sizeof why,
             "The call stands inside the section %s, which was not closed. Close it, then call.", section);
    rc = rc ? rc : hand_over(t, &calls, t->rehearsed.data, t->rules->lenient ? NULL : why, 0);
    repair_finish(&calls);
    return rc;
}

/* The whole turn is one message without a call: it may be one in another notation. */
static int answer_message(struct turn *t) {
    struct repair_calls calls;
    int row;
    if (t->n_calls > 0 || t->n_messages != 1 || t->stopped)
        return 0;
    int rc = repair_message(t->answer.data, t->answer.len, &t->rules->tools, &calls, &row);
    const char *why = t->rules->lenient || row == 50
                          ? NULL
                          : "A call stands between <tool_call> and </tool_call>; nothing else is run.";
    bool told = row == SHAPE_FOREIGN_WRAPPER || row == 50;
    if (rc == 0 && row != 0 && ((t->rules->lenient && !t->rules->json) || told))
        rc = hand_over(t, &calls, t->answer.data, why, 0);
    repair_finish(&calls);
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

int turn_init(struct turn *t, int number, const struct turn_rules *rules, struct events *events,
              turn_on_call on_call_arg, void *arg) {
    *t =
        (struct turn){.events = events, .rules = rules, .on_call = on_call_arg, .arg = arg, .number = number};
    scanner_init(&t->scanner, rules->more, on_event, t);
    buf_init(&t->part, TURN_TEXT_MAX);
    buf_init(&t->answer, TURN_TEXT_MAX);
    buf_init(&t->rehearsed, SCANNER_CALL_MAX);
    if (rules->json)
        scanner_expect_json(&t->scanner);
    return rules->open_section != NULL ? scanner_begin_in(&t->scanner, rules->open_section) : 0;
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
    rc = rc ? rc : end_part(t, NULL, false, t->piece_at + t->piece_len);
    return rc ? rc : answer_message(t);
}
