/* trace: every step of a job as a tree. */
#include "daemon/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 256

static const char *text_or(const cJSON *object, const char *key, const char *otherwise) {
    const char *text = json_get_string(object, key);
    return text != NULL ? text : otherwise;
}

static const cJSON *member(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static double number(const cJSON *object, const char *key) {
    const cJSON *item = member(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

/* Where a line of the tree begins: the branches that go on above it, and its own. */
struct branch {
    struct ctl_term *t;
    const char *above; /* "│  " or "   " */
    bool last;
};

static void begin(const struct branch *b) {
    ctl_term_printf(b->t, CTL_DIM, "%s%s", b->above, b->last ? "└─ " : "├─ ");
}

static void begin_under(const struct branch *b) {
    ctl_term_printf(b->t, CTL_DIM, "%s%s", b->above, b->last ? "   " : "│  ");
}

/* A text, every line of it under its branch. */
static void put_lines(const struct branch *b, enum ctl_style style, const char *text) {
    size_t len = strlen(text);
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
        len--;
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t n = end != NULL ? (size_t)(end - text) : len;
        begin_under(b);
        ctl_term_text(b->t, style, text, n);
        ctl_term_printf(b->t, CTL_PLAIN, "\n");
        text += end != NULL ? n + 1 : n;
        len -= end != NULL ? n + 1 : n;
    }
}

static void put_tokens(const struct branch *b, const cJSON *part) {
    const cJSON *tokens = member(part, "tokens");
    if (cJSON_IsNumber(tokens))
        ctl_term_printf(b->t, CTL_DIM, "  %d tokens", tokens->valueint);
    ctl_term_printf(b->t, CTL_PLAIN, "\n");
}

/* ---- calls ---- */

static void put_arguments(const struct branch *b, const cJSON *call) {
    const cJSON *arguments = member(call, "arguments");
    char *text =
        cJSON_IsString(arguments) ? strdup(arguments->valuestring) : cJSON_PrintUnformatted(arguments);
    if (text != NULL)
        ctl_term_line(b->t, CTL_PLAIN, text, strlen(text), SIZE_MAX);
    free(text);
}

/* "ok, 1.2 ms, pid 4242, attempt 2, signal 11" */
static void put_outcome(const struct branch *b, const cJSON *call) {
    bool is_error = cJSON_IsTrue(member(call, "is_error"));
    begin_under(b);
    ctl_term_printf(b->t, is_error ? CTL_RED : CTL_GREEN, "%.30s", text_or(call, "status", "?"));
    if (cJSON_IsNumber(member(call, "duration_ms")))
        ctl_term_printf(b->t, CTL_DIM, "  %.2f ms", number(call, "duration_ms"));
    if (cJSON_IsNumber(member(call, "pid")))
        ctl_term_printf(b->t, CTL_DIM, "  pid %.0f", number(call, "pid"));
    if (number(call, "attempt") > 1)
        ctl_term_printf(b->t, CTL_YELLOW, "  attempt %.0f", number(call, "attempt"));
    if (number(call, "signal") > 0)
        ctl_term_printf(b->t, CTL_RED, "  signal %.0f", number(call, "signal"));
    if (cJSON_IsNumber(member(call, "exit_code")) && is_error)
        ctl_term_printf(b->t, CTL_DIM, "  exit code %.0f", number(call, "exit_code"));
    if (cJSON_IsNumber(member(call, "cpu_ms")))
        ctl_term_printf(b->t, CTL_DIM, "  %.1f ms cpu", number(call, "cpu_ms"));
    if (number(call, "max_rss_kib") > 0)
        ctl_term_printf(b->t, CTL_DIM, "  %.1f MiB", number(call, "max_rss_kib") / 1024);
    if (cJSON_IsTrue(member(call, "truncated")))
        ctl_term_printf(b->t, CTL_YELLOW, "  cut");
    if (cJSON_IsString(member(call, "repaired")))
        ctl_term_printf(b->t, CTL_YELLOW, "  repaired: %.200s", text_or(call, "repaired", ""));
    ctl_term_printf(b->t, CTL_PLAIN, "\n");
}

static void put_call(const struct branch *b, const cJSON *call) {
    const char *name = text_or(call, "name", "?");
    begin(b);
    ctl_term_printf(b->t, CTL_CYAN, "call ");
    ctl_term_line(b->t, CTL_BOLD, name, strlen(name), 80);
    ctl_term_printf(b->t, CTL_PLAIN, " ");
    put_arguments(b, call);
    ctl_term_printf(b->t, CTL_PLAIN, "\n");
    put_lines(b, CTL_PLAIN, text_or(call, "output", ""));
    put_outcome(b, call);
}

/* ---- parts and turns ---- */

static bool is_reasoning(const cJSON *part) {
    const char *type = text_or(part, "type", "");
    return strcmp(type, "reasoning") == 0 || strcmp(type, "rehearsed_call") == 0;
}

static void put_part(const struct branch *b, const cJSON *part) {
    const char *type = text_or(part, "type", "?");
    const cJSON *call = member(part, "call");
    if (cJSON_IsObject(call)) {
        put_call(b, call);
        return;
    }
    begin(b);
    if (strcmp(type, "reasoning") == 0)
        ctl_term_printf(b->t, CTL_DIM, "%.40s", text_or(part, "section", "reasoning"));
    else
        ctl_term_printf(b->t, CTL_PLAIN, "%.40s",
                        strcmp(type, "rehearsed_call") == 0 ? "call it only thought of" : type);
    put_tokens(b, part);
    put_lines(b, is_reasoning(part) ? CTL_DIM : CTL_PLAIN, text_or(part, "text", ""));
}

static void put_turn_line(const struct branch *b, const cJSON *turn) {
    const cJSON *usage = member(turn, "usage"), *timings = member(turn, "timings");
    begin(b);
    ctl_term_printf(b->t, CTL_BOLD, "turn %.0f", number(turn, "turn"));
    ctl_term_printf(b->t, CTL_PLAIN, "  %.30s", text_or(turn, "finish_reason", "not finished"));
    if (cJSON_IsObject(usage))
        ctl_term_printf(b->t, CTL_DIM, "  %.0f tokens in (%.0f cached), %.0f out",
                        number(usage, "input_tokens"), number(usage, "cached_tokens"),
                        number(usage, "output_tokens"));
    if (number(usage, "forced_tokens") > 0)
        ctl_term_printf(b->t, CTL_DIM, " (%.0f forced)", number(usage, "forced_tokens"));
    if (number(usage, "accepted_tokens") > 0)
        ctl_term_printf(b->t, CTL_DIM, " (%.0f guessed)", number(usage, "accepted_tokens"));
    if (number(usage, "prefix_miss_tokens") > 0)
        ctl_term_printf(b->t, CTL_YELLOW, "  %.0f computed again", number(usage, "prefix_miss_tokens"));
    if (cJSON_IsNumber(member(timings, "decode_ms")))
        ctl_term_printf(b->t, CTL_DIM, "  read %.0f ms, wrote %.0f ms", number(timings, "prefill_ms"),
                        number(timings, "decode_ms"));
    ctl_term_printf(b->t, CTL_PLAIN, "\n");
}

/* Calls that were not to be made any more from this turn on. */
static void put_forbidden(const struct branch *b, const cJSON *turn) {
    const cJSON *call;
    cJSON_ArrayForEach(call, member(member(turn, "sampling"), "forbidden")) {
        const char *name = text_or(call, "name", "?");
        begin_under(b);
        ctl_term_printf(b->t, CTL_YELLOW, "no more ");
        ctl_term_line(b->t, CTL_BOLD, name, strlen(name), 80);
        ctl_term_printf(b->t, CTL_PLAIN, " ");
        put_arguments(b, call);
        ctl_term_printf(b->t, CTL_PLAIN, "\n");
    }
}

static int count_parts(const cJSON *parts, bool no_reasoning) {
    const cJSON *part;
    int n = 0;
    cJSON_ArrayForEach(part, parts) {
        n += !(no_reasoning && is_reasoning(part));
    }
    return n;
}

static void put_turn(struct ctl *ctl, const cJSON *turn, bool last) {
    const cJSON *parts = member(turn, "parts"), *part;
    struct branch b = {.t = &ctl->out, .above = "", .last = last};
    put_turn_line(&b, turn);
    put_forbidden(&b, turn);
    int left = count_parts(parts, ctl->options->no_reasoning);
    cJSON_ArrayForEach(part, parts) {
        if (ctl->options->no_reasoning && is_reasoning(part))
            continue;
        struct branch under = {.t = &ctl->out, .above = last ? "   " : "│  ", .last = --left == 0};
        put_part(&under, part);
    }
}

/* What the job was given. */
static void put_message(struct ctl_term *t, const cJSON *message) {
    struct branch b = {.t = t, .above = "", .last = false};
    begin(&b);
    ctl_term_printf(t, CTL_BOLD, "%.20s\n", text_or(message, "role", "?"));
    put_lines(&b, CTL_PLAIN, text_or(message, "content", ""));
}

static void put_tree(struct ctl *ctl, const cJSON *trace) {
    const cJSON *job = member(trace, "job"), *turns = member(trace, "turns"), *turn, *message;
    const cJSON *error = member(job, "error"), *usage = member(job, "usage");
    struct ctl_term *t = &ctl->out;
    const char *title = text_or(job, "title", ""), *status = text_or(job, "status", "?");
    ctl_term_printf(t, CTL_BOLD, "%.128s", text_or(job, "id", "?"));
    ctl_term_printf(t, strcmp(status, "completed") == 0 ? CTL_GREEN : CTL_YELLOW, "  %.20s", status);
    ctl_term_printf(t, CTL_DIM, "  %.0f turns, %.0f calls, %.0f tokens in (%.0f cached), %.0f out\n",
                    number(job, "turns"), number(job, "tool_calls"), number(usage, "input_tokens"),
                    number(usage, "cached_tokens"), number(usage, "output_tokens"));
    if (cJSON_GetArraySize(member(trace, "input")) == 0) {
        ctl_term_line(t, CTL_PLAIN, title, strlen(title), 400);
        ctl_term_fresh_line(t);
    }
    cJSON_ArrayForEach(message, member(trace, "input")) {
        put_message(t, message);
    }
    int left = cJSON_GetArraySize(turns);
    cJSON_ArrayForEach(turn, turns) {
        put_turn(ctl, turn, --left == 0);
    }
    if (cJSON_IsObject(error)) {
        ctl_term_printf(t, CTL_RED, "%.60s: ", text_or(error, "code", "error"));
        ctl_term_line(t, CTL_PLAIN, text_or(error, "message", ""), strlen(text_or(error, "message", "")),
                      1000);
        ctl_term_fresh_line(t);
    }
}

int ctl_trace(struct ctl *ctl) {
    char id[CTL_ID_SIZE], path[PATH_BYTES];
    cJSON *trace = NULL;
    int code = ctl_find_job(ctl, ctl->options->words[0], id);
    if (code != CTL_OK)
        return code;
    struct buf escaped;
    buf_init(&escaped, PATH_BYTES / 2);
    int rc = ctl_escape(&escaped, id);
    snprintf(path, sizeof path, "/v1/jobs/%s/trace?format=tree", rc == 0 ? escaped.data : "");
    buf_finish(&escaped);
    code = rc < 0 ? ctl_fail(ctl, CTL_USAGE, "The id is too long.") : ctl_ask(ctl, "GET", path, NULL, &trace);
    if (code != CTL_OK)
        return code;
    if (ctl->options->json)
        code = ctl_print_json(ctl, trace, false);
    else
        put_tree(ctl, trace);
    cJSON_Delete(trace);
    return code;
}
