#include "tests/agent/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define ANY "{\"type\": \"object\"}"

const struct agent_tool script_tools[3] = {
    {.name = "add", .description = "Add two numbers.", .schema = ANY},
    {.name = "echo", .description = "Say it again.", .schema = ANY},
    {.name = "poll", .description = "Look whether it is done.", .schema = ANY, .poller = true},
};

struct agent *script_agent(const struct agent_limits *limits) {
    const struct agent_config config = {
        .tools = script_tools, .n_tools = 3, .limits = limits != NULL ? *limits : agent_limits_default};
    const struct agent_message hi = {AGENT_ROLE_USER, "Hi"};
    struct agent *a = NULL;
    assert_int_equal(agent_create(&config, &a, NULL, 0), 0);
    assert_int_equal(agent_start(a, &hi, 1, NULL, 0), 0);
    return a;
}

static void put_spans(const struct agent_step *step, struct buf *out) {
    for (size_t i = 0; i < step->n_spans; i++) {
        assert_true(i == 0 || step->spans[i].kind != step->spans[i - 1].kind);
        assert_int_equal(buf_append(out, step->spans[i].text, step->spans[i].len), 0);
    }
    assert_int_equal(buf_putc(out, '\n'), 0);
}

/* What APPEND gave out, each span behind a byte for its kind. */
struct appended {
    struct buf text;
    size_t n;
};

static void write_spans(const struct agent_step *step, size_t n, struct buf *out) {
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(buf_putc(out, step->spans[i].kind == AGENT_SPAN_TRUSTED ? '\1' : '\2'), 0);
        assert_int_equal(buf_append(out, step->spans[i].text, step->spans[i].len), 0);
    }
}

/* The prompt of a turn, or what is known of it, begins with what was given out before, span by span. */
static void check_appended(const struct agent_step *step, struct appended *before) {
    struct buf now;
    buf_init(&now, before->text.max);
    assert_true(step->n_spans >= before->n);
    write_spans(step, before->n, &now);
    assert_int_equal(now.len, before->text.len);
    assert_memory_equal(now.data != NULL ? now.data : "", before->text.data != NULL ? before->text.data : "",
                        now.len);
    buf_finish(&now);
    if (step->type == AGENT_STEP_APPEND)
        assert_true(step->n_spans > before->n);
    before->n = step->type == AGENT_STEP_APPEND ? step->n_spans : 0;
    buf_clear(&before->text);
    write_spans(step, before->n, &before->text);
}

/* Asks until there is nothing to do. False after DONE and FAILED, which are said again when asked again. */
static void drain_steps(struct agent *a, struct appended *appended, struct buf *out) {
    for (int n = 0; n < 1000; n++) {
        struct agent_step s, again;
        int rc = 0;
        agent_next(a, &s);
        switch (s.type) {
        case AGENT_STEP_WAIT:
            return;
        case AGENT_STEP_GENERATE:
            assert_true(s.n_spans > 0 && s.max_tokens > 0);
            check_appended(&s, appended);
            rc = buf_printf(out, "GENERATE %d %d\n", s.turn, s.max_tokens);
            if (s.turn > 0)
                put_spans(&s, out);
            break;
        case AGENT_STEP_CALL:
            rc = buf_printf(out, "CALL %d.%d %s %s\n", s.turn, s.call, s.name, s.arguments);
            break;
        case AGENT_STEP_APPEND:
            check_appended(&s, appended);
            break;
        case AGENT_STEP_STOP:
            rc = buf_puts(out, "STOP\n");
            break;
        case AGENT_STEP_DONE:
            assert_int_equal(strlen(s.text), s.len);
            rc = buf_printf(out, "DONE %s%s\n", s.narrated ? "(narrated) " : "", s.text);
            break;
        case AGENT_STEP_FAILED:
            assert_true(s.len > 20 && strlen(s.text) == s.len);
            rc = buf_printf(out, "FAILED %s\n", s.reason);
            break;
        }
        assert_int_equal(rc, 0);
        if (s.type == AGENT_STEP_DONE || s.type == AGENT_STEP_FAILED) {
            agent_next(a, &again);
            assert_int_equal(again.type, s.type);
            return;
        }
    }
    fail_msg("the agent never waits");
}

/* Pieces of the open part, and how many tokens all parts had. */
struct pieces {
    struct buf text;
    int position, last_position;
    struct appended appended;
};

static int put_event(const struct agent_event *e, struct pieces *p, struct buf *out) {
    int rc = 0;
    if (e->type == AGENT_EVENT_MESSAGE_DELTA || e->type == AGENT_EVENT_REASONING_DELTA) {
        assert_true(p->text.len == 0 || p->position == e->position);
        assert_true(e->len > 0);
        p->position = e->position;
        return buf_append(&p->text, e->text, e->len);
    }
    if (e->type == AGENT_EVENT_MESSAGE_DONE || e->type == AGENT_EVENT_REASONING_DONE) {
        assert_int_equal(p->text.len, e->len);
        assert_memory_equal(p->text.len > 0 ? p->text.data : "", e->text, e->len);
        assert_true(e->n_tokens >= 0);
        buf_clear(&p->text);
    }
    if (e->type == AGENT_EVENT_MESSAGE_DONE)
        return buf_printf(out, "MESSAGE %d.%d %.*s\n", e->turn, e->position, (int)e->len, e->text);
    if (e->type == AGENT_EVENT_REASONING_DONE)
        return buf_printf(out, "REASONING %d.%d %s %.*s%s\n", e->turn, e->position, e->section, (int)e->len,
                          e->text, e->truncated ? "~" : "");
    assert_non_null(e->raw);
    const char *arguments = e->arguments != NULL ? e->arguments : "-";
    if (e->type == AGENT_EVENT_REHEARSED)
        return buf_printf(out, "REHEARSED %d.%d %s %s %s\n", e->turn, e->position, e->section, e->name,
                          arguments);
    rc = buf_printf(out, "CALL %d.%d %d %s %s", e->turn, e->position, e->call, e->name, arguments);
    if (rc == 0 && e->error != NULL)
        rc = buf_printf(out, " ! %s", e->error);
    return rc ? rc : buf_putc(out, '\n');
}

static void drain_events(struct agent *a, struct pieces *p, struct buf *out) {
    struct agent_event e;
    while (agent_take_event(a, &e))
        assert_int_equal(put_event(&e, p, out), 0);
}

static void say(struct agent *a, const char *text, size_t piece, struct pieces *p, struct buf *steps,
                struct buf *events) {
    size_t len = strlen(text);
    if (piece == 0)
        piece = len;
    for (size_t at = 0; at < len; at += piece) {
        size_t n = piece < len - at ? piece : len - at;
        assert_int_equal(agent_feed_text(a, text + at, n, (int)n), 0);
        drain_steps(a, &p->appended, steps);
        drain_events(a, p, events);
    }
}

void script_play(struct agent *a, const struct script_op *ops, size_t piece, struct buf *steps,
                 struct buf *events) {
    struct pieces p = {0};
    buf_init(&p.text, 1u << 22);
    buf_init(&p.appended.text, 1u << 22);
    buf_init(steps, 1u << 22);
    buf_init(events, 1u << 22);
    drain_steps(a, &p.appended, steps);
    for (const struct script_op *op = ops; op->type != SCRIPT_END_OF_SCRIPT; op++) {
        if (op->type == SCRIPT_SAY)
            say(a, op->text, piece, &p, steps, events);
        else if (op->type == SCRIPT_END)
            assert_int_equal(agent_feed_end(a, op->finish), 0);
        else if (op->type == SCRIPT_RESULT)
            assert_int_equal(
                agent_feed_result(a, op->call, op->status, op->text, op->text ? strlen(op->text) : 0), 0);
        else
            assert_int_equal(agent_feed_message(a, op->text, strlen(op->text)), 0);
        drain_steps(a, &p.appended, steps);
        drain_events(a, &p, events);
    }
    assert_int_equal(p.text.len, 0);
    buf_finish(&p.text);
    buf_finish(&p.appended.text);
}

void script_expect(const struct agent_limits *limits, const struct script_op *ops, const char *steps,
                   const char *events) {
    static const size_t pieces[] = {0, 1, 3, 7};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct buf got_steps, got_events;
        struct agent *a = script_agent(limits);
        script_play(a, ops, pieces[i], &got_steps, &got_events);
        assert_string_equal(got_steps.data, steps);
        if (events != NULL)
            assert_string_equal(got_events.data != NULL ? got_events.data : "", events);
        buf_finish(&got_steps);
        buf_finish(&got_events);
        agent_destroy(a);
    }
}
