#include "daemon/ctl_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX   ((size_t)16 << 20)
#define RESULT_MAX  300
#define MESSAGE_MAX 4000

void ctl_view_init(struct ctl_view *v, struct ctl *ctl) {
    *v = (struct ctl_view){.ctl = ctl};
    v->live = ctl->err.is_terminal && !ctl->options->quiet;
    v->answer_live = ctl->out.is_terminal && !ctl->options->quiet;
    buf_init(&v->shown, SHOWN_MAX);
    buf_init(&v->held, SHOWN_MAX);
}

void ctl_view_finish(struct ctl_view *v) {
    buf_finish(&v->shown);
    buf_finish(&v->held);
}

/* Both streams may be one terminal: what the other began ends first. */
static struct ctl_term *turn_to(struct ctl_view *v, struct ctl_term *t) {
    struct ctl_term *other = t == &v->ctl->out ? &v->ctl->err : &v->ctl->out;
    if (other->is_terminal)
        ctl_term_fresh_line(other);
    return t;
}

static const char *text_of(const cJSON *event, const char *key) {
    const char *text = json_get_string(event, key);
    return text != NULL ? text : "";
}

static int int_of(const cJSON *event, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(event, key);
    return cJSON_IsNumber(item) ? item->valueint : -1;
}

/* The text without white space at both ends. */
static const char *trim(const char *text, size_t *len) {
    while (*len > 0 && strchr(" \n\t\r", text[0]) != NULL)
        text++, --*len;
    while (*len > 0 && strchr(" \n\t\r", text[*len - 1]) != NULL)
        --*len;
    return text;
}

static bool same_text(const struct buf *shown, const char *text) {
    size_t a = shown->len, b = strlen(text);
    const char *x = trim(shown->data != NULL ? shown->data : "", &a), *y = trim(text, &b);
    return a == b && memcmp(x, y, a) == 0;
}

/* Reasoning is indented line by line. */
static void put_indented(struct ctl_view *v, struct ctl_term *t, const char *text, size_t len) {
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t n = end != NULL ? (size_t)(end - text) + 1 : len;
        if (v->line_start && text[0] != '\n')
            ctl_term_printf(t, CTL_PLAIN, "  ");
        ctl_term_text(t, CTL_DIM, text, n);
        v->line_start = end != NULL;
        text += n;
        len -= n;
    }
}

static void put_section(struct ctl_view *v, struct ctl_term *t, const char *section) {
    ctl_term_fresh_line(t);
    ctl_term_printf(t, CTL_DIM, "%.40s\n", *section != '\0' ? section : "REASONING");
    v->line_start = true;
}

/* ---- parts ---- */

static void close_part(struct ctl_view *v) {
    if (v->open != NULL)
        ctl_term_fresh_line(strcmp(v->open, "message") == 0 ? &v->ctl->out : &v->ctl->err);
    v->open = NULL;
    buf_clear(&v->shown);
}

/* A whole message that was not the last: standard error has it, unless it was already seen as it came. */
static void release_held(struct ctl_view *v) {
    if (v->has_held && !v->held_shown && !v->ctl->options->quiet) {
        struct ctl_term *t = turn_to(v, &v->ctl->err);
        ctl_term_fresh_line(t);
        size_t len = v->held.len;
        const char *text = trim(v->held.data != NULL ? v->held.data : "", &len);
        ctl_term_text(t, CTL_PLAIN, text, len < MESSAGE_MAX ? len : MESSAGE_MAX);
        ctl_term_fresh_line(t);
    }
    v->has_held = false;
}

void ctl_view_break(struct ctl_view *v) {
    close_part(v);
}

/* Deltas after the loss of some (a slow reader, a new connection) are shown as they are; the whole text
 * follows then. */
static void on_delta(struct ctl_view *v, const char *kind, const cJSON *event) {
    bool message = strcmp(kind, "message") == 0;
    if (message ? !v->answer_live : !v->live || v->ctl->options->no_reasoning)
        return;
    int turn = int_of(event, "turn"), position = int_of(event, "position");
    const char *delta = text_of(event, "delta");
    struct ctl_term *t = turn_to(v, message ? &v->ctl->out : &v->ctl->err);
    if (v->open == NULL || strcmp(v->open, kind) != 0 || v->turn != turn || v->position != position) {
        while (*delta == '\n' || *delta == ' ')
            delta++;
        if (*delta == '\0')
            return;
        close_part(v);
        release_held(v);
        v->open = kind;
        v->turn = turn;
        v->position = position;
        if (!message)
            put_section(v, t, text_of(event, "section"));
    }
    if (buf_puts(&v->shown, delta) < 0)
        buf_clear(&v->shown); /* the whole text will be shown again */
    if (message)
        ctl_term_text(t, CTL_PLAIN, delta, strlen(delta));
    else
        put_indented(v, t, delta, strlen(delta));
}

static bool was_shown(const struct ctl_view *v, const char *kind, const cJSON *event) {
    return v->open != NULL && strcmp(v->open, kind) == 0 && v->turn == int_of(event, "turn") &&
           v->position == int_of(event, "position") && same_text(&v->shown, text_of(event, "text"));
}

static void on_reasoning_done(struct ctl_view *v, const cJSON *event) {
    const struct ctl_options *o = v->ctl->options;
    bool shown = was_shown(v, "reasoning", event);
    close_part(v);
    release_held(v);
    if (shown || o->no_reasoning || o->quiet)
        return;
    const char *text = text_of(event, "text");
    size_t len = strlen(text);
    text = trim(text, &len);
    struct ctl_term *t = turn_to(v, &v->ctl->err);
    put_section(v, t, text_of(event, "section"));
    put_indented(v, t, text, len);
    ctl_term_fresh_line(t);
}

static void on_message_done(struct ctl_view *v, const cJSON *event) {
    bool shown = was_shown(v, "message", event);
    close_part(v);
    release_held(v);
    const char *text = text_of(event, "text");
    buf_clear(&v->held);
    v->has_held = buf_puts(&v->held, text) == 0;
    v->held_shown = shown;
}

/* ---- calls ---- */

static void put_arguments(struct ctl_term *t, const cJSON *event) {
    const cJSON *arguments = cJSON_GetObjectItemCaseSensitive(event, "arguments");
    char *text =
        cJSON_IsString(arguments) ? strdup(arguments->valuestring) : cJSON_PrintUnformatted(arguments);
    if (text != NULL)
        ctl_term_line(t, CTL_PLAIN, text, strlen(text), RESULT_MAX);
    free(text);
}

/* The beginning of a line about a call: what is said of it, its name and arguments. NULL where nothing is to
 * be shown. */
static struct ctl_term *begin_call(struct ctl_view *v, const cJSON *event, enum ctl_style style,
                                   const char *what) {
    const char *name = text_of(event, "name");
    close_part(v);
    release_held(v);
    if (v->ctl->options->quiet)
        return NULL;
    struct ctl_term *t = turn_to(v, &v->ctl->err);
    ctl_term_fresh_line(t);
    ctl_term_printf(t, style, "%s ", what);
    ctl_term_line(t, CTL_BOLD, name, strlen(name), 80);
    ctl_term_printf(t, CTL_PLAIN, " ");
    put_arguments(t, event);
    return t;
}

static void on_call_started(struct ctl_view *v, const cJSON *event) {
    struct ctl_term *t = begin_call(v, event, CTL_CYAN, "→");
    if (t == NULL)
        return;
    if (int_of(event, "attempt") > 1)
        ctl_term_printf(t, CTL_YELLOW, " (attempt %d)", int_of(event, "attempt"));
    ctl_term_fresh_line(t);
}

static void on_call_forbidden(struct ctl_view *v, const cJSON *event) {
    struct ctl_term *t = begin_call(v, event, CTL_YELLOW, "no more");
    if (t == NULL)
        return;
    ctl_term_printf(t, CTL_DIM, "  (the same result %d times)", int_of(event, "same_results"));
    ctl_term_fresh_line(t);
}

static void on_call_completed(struct ctl_view *v, const cJSON *event) {
    bool is_error = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(event, "is_error"));
    const cJSON *ms = cJSON_GetObjectItemCaseSensitive(event, "duration_ms");
    const char *name = text_of(event, "name"), *output = text_of(event, "output");
    close_part(v);
    release_held(v);
    if (v->ctl->options->quiet)
        return;
    struct ctl_term *t = turn_to(v, &v->ctl->err);
    ctl_term_fresh_line(t);
    ctl_term_printf(t, is_error ? CTL_RED : CTL_GREEN, is_error ? "✗ " : "← ");
    ctl_term_line(t, CTL_BOLD, name, strlen(name), 80);
    if (is_error && !cJSON_IsNumber(ms)) {
        ctl_term_printf(t, CTL_PLAIN, " ");
        put_arguments(t, event);
    }
    if (is_error)
        ctl_term_printf(t, CTL_RED, " %.20s:", text_of(event, "status"));
    ctl_term_printf(t, CTL_PLAIN, " ");
    ctl_term_line(t, CTL_PLAIN, output, strlen(output), RESULT_MAX);
    if (cJSON_IsNumber(ms))
        ctl_term_printf(t, CTL_DIM, "  (%.1f ms)", ms->valuedouble);
    ctl_term_fresh_line(t);
}

/* ---- the rest ---- */

static void on_note(struct ctl_view *v, const char *text, const char *more) {
    close_part(v);
    release_held(v);
    if (v->ctl->options->quiet)
        return;
    struct ctl_term *t = turn_to(v, &v->ctl->err);
    ctl_term_fresh_line(t);
    ctl_term_printf(t, CTL_DIM, text, more);
    ctl_term_fresh_line(t);
}

void ctl_view_event(struct ctl_view *v, const char *type, const cJSON *event) {
    if (strcmp(type, "reasoning.delta") == 0)
        on_delta(v, "reasoning", event);
    else if (strcmp(type, "message.delta") == 0)
        on_delta(v, "message", event);
    else if (strcmp(type, "reasoning.done") == 0)
        on_reasoning_done(v, event);
    else if (strcmp(type, "message.done") == 0)
        on_message_done(v, event);
    else if (strcmp(type, "tool_call.started") == 0)
        on_call_started(v, event);
    else if (strcmp(type, "tool_call.completed") == 0)
        on_call_completed(v, event);
    else if (strcmp(type, "tool_call.forbidden") == 0)
        on_call_forbidden(v, event);
    else if (strcmp(type, "job.queued") == 0)
        on_note(v, "%.128s", text_of(event, "job_id"));
    else if (strcmp(type, "job.resumed") == 0)
        on_note(v, "the daemon was restarted; the job goes on%s", "");
}

static double number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static void put_summary(struct ctl_view *v, const cJSON *job) {
    const cJSON *usage = cJSON_GetObjectItemCaseSensitive(job, "usage");
    if (v->ctl->options->quiet)
        return;
    struct ctl_term *t = turn_to(v, &v->ctl->err);
    ctl_term_fresh_line(t);
    ctl_term_printf(t, CTL_DIM, "%.0f turns, %.0f calls, %.0f tokens read, %.0f written",
                    number(job, "turns"), number(job, "tool_calls"),
                    number(usage, "input_tokens") - number(usage, "cached_tokens"),
                    number(usage, "output_tokens"));
    ctl_term_fresh_line(t);
}

void ctl_view_notes(struct ctl_term *t, const cJSON *result) {
    const cJSON *citations = cJSON_GetObjectItemCaseSensitive(result, "citations"), *one;
    cJSON_ArrayForEach(one, citations) {
        const char *id = text_of(one, "id"), *call = text_of(one, "tool_call_id");
        bool resolved = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(one, "resolved"));
        ctl_term_printf(t, CTL_DIM, "cites ");
        ctl_term_line(t, resolved ? CTL_PLAIN : CTL_YELLOW, id, strlen(id), 200);
        ctl_term_printf(t, CTL_DIM, "  %.32s\n",
                        !resolved         ? "no such passage"
                        : call[0] != '\0' ? call
                                          : "given");
    }
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(result, "narrated")))
        ctl_term_printf(t, CTL_YELLOW, "The answer announces a call that was not made.\n");
}

void ctl_view_end(struct ctl_view *v, const cJSON *job) {
    const char *status = text_of(job, "status");
    const cJSON *result = cJSON_GetObjectItemCaseSensitive(job, "result");
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(job, "error");
    close_part(v);
    if (strcmp(status, "completed") == 0) {
        const char *answer = text_of(result, "text");
        bool shown = v->has_held && v->held_shown && same_text(&v->held, answer);
        v->has_held = false;
        if (!shown) {
            struct ctl_term *t = turn_to(v, &v->ctl->out);
            ctl_term_text(t, CTL_PLAIN, answer, strlen(answer));
            ctl_term_fresh_line(t);
        }
        if (!v->ctl->options->quiet)
            ctl_view_notes(turn_to(v, &v->ctl->err), result);
        put_summary(v, job);
        return;
    }
    release_held(v);
    turn_to(v, &v->ctl->err);
    if (strcmp(status, "cancelled") == 0)
        ctl_fail(v->ctl, CTL_JOB_FAILED, "The job was cancelled.");
    else
        ctl_fail(v->ctl, CTL_JOB_FAILED, "The job failed: %s (%s)", text_of(error, "message"),
                 text_of(error, "code"));
}
