/* Calls in the notations of other models, where a whole message is one; and the JSON in an answer. */
#include "agent/repair_inner.h"

#include "agent/repair_json.h"
#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct text {
    const char *at;
    size_t len;
};

static struct text trim(struct text t) {
    struct rawjson r = rawjson_of(t.at, t.len);
    return (struct text){r.text, r.len};
}

static bool starts(struct text t, const char *what) {
    size_t n = strlen(what);
    return t.len >= n && memcmp(t.at, what, n) == 0;
}

static bool ends(struct text t, const char *what) {
    size_t n = strlen(what);
    return t.len >= n && memcmp(t.at + t.len - n, what, n) == 0;
}

/* Takes one fence off: ```word, a line, ```. */
static bool take_fence(struct text *t) {
    const char *line = t->len >= 6 ? memchr(t->at, '\n', t->len) : NULL;
    if (!starts(*t, "```") || !ends(*t, "```") || line == NULL)
        return false;
    for (const char *at = t->at + 3; at < line; at++)
        if (strchr(" \t\r", *at) == NULL && !((*at | 0x20) >= 'a' && (*at | 0x20) <= 'z'))
            return false;
    size_t head = (size_t)(line - t->at);
    *t = trim((struct text){line, t->len - head - 3});
    return t->len > 0;
}

static bool take_wrapper(struct text *t) {
    static const char *const names[] = {"function_call", "function_calls", "tool", "tools", "tool_use",
                                        "response",      "json",           "JSON", "xml"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (t->len < 2 * n + 5 || t->at[0] != '<' || memcmp(t->at + 1, names[i], n) != 0 ||
            t->at[n + 1] != '>')
            continue;
        const char *tail = t->at + t->len - n - 3;
        if (memcmp(tail, "</", 2) != 0 || memcmp(tail + 2, names[i], n) != 0 || tail[n + 2] != '>')
            continue;
        *t = trim((struct text){t->at + n + 2, t->len - 2 * n - 5});
        return true;
    }
    return false;
}

/* Every call can run and names a tool that exists. */
static bool all_known(const struct repair_calls *calls, const struct repair_tools *tools) {
    struct shapes_set unused = {0};
    for (size_t i = 0; i < calls->n; i++)
        if (calls->all[i].error != NULL || repair_tool(tools, calls->all[i].name, &unused) == NULL)
            return false;
    return calls->n > 0;
}

/* {tool => "name", …}: only recognised, to say how it is written. */
static int read_bracketed(struct text t, const struct repair_tools *tools, struct repair_calls *out) {
    static const char open[] = "[TOOL_CALL]";
    for (size_t i = 0; starts(t, open) && i < tools->n; i++) {
        if (memmem(t.at, t.len, tools->all[i].name, strlen(tools->all[i].name)) == NULL)
            continue;
        struct repair_call *call = repair_add(out);
        return call == NULL
                   ? -ENOMEM
                   : repair_refuse(call, "[TOOL_CALL] is not understood here. Write <tool_call>, then "
                                         "{\"name\": <function-name>, \"arguments\": <args-dict>}, "
                                         "then </tool_call>.");
    }
    return 0;
}

int repair_message(const char *text, size_t len, const struct repair_tools *tools, struct repair_calls *out,
                   int *row) {
    struct text t = trim((struct text){text, len});
    *out = (struct repair_calls){0};
    *row = 0;
    int rc = read_bracketed(t, tools, out);
    if (rc < 0 || out->n > 0) {
        *row = 50;
        return rc;
    }
    bool fenced = take_fence(&t);
    bool wrapped = take_wrapper(&t) || repair_markup_is(t.at, t.len);
    if (t.len < 2 || t.at[0] == '[' || (t.at[0] != '{' && !repair_markup_is(t.at, t.len)))
        return 0;
    struct repair_block block = {.raw = t.at, .len = t.len};
    rc = repair_read(&block, tools, out);
    if (rc == 0 && all_known(out, tools))
        *row = wrapped ? SHAPE_FOREIGN_WRAPPER : fenced ? SHAPE_FENCED_CALL : SHAPE_BARE_CALL;
    else
        repair_finish(out);
    for (size_t i = 0; i < out->n; i++)
        shapes_add(&out->all[i].repaired, (enum shapes_row) * row);
    return rc;
}

/* ---- JSON mode ---- */

/* The length of the JSON value at the beginning; 0 for none. */
static size_t value_length(struct text t) {
    long n = t.len > 0 && (t.at[0] == '{' || t.at[0] == '[') ? json_value_span(t.at, t.len) : 0;
    return n > 0 && json_check(t.at, (size_t)n, NULL, NULL, 0) == 0 ? (size_t)n : 0;
}

int repair_answer(const char *text, size_t len, size_t *from, size_t *n, bool *taken) {
    struct text t = trim((struct text){text, len}), whole = t;
    if (t.len > 0 && json_check(t.at, t.len, NULL, NULL, 0) == 0) {
        *from = (size_t)(t.at - text);
        *n = t.len;
        *taken = false;
        return 0;
    }
    (void)take_fence(&t);
    const char *found = NULL;
    size_t found_len = 0;
    for (size_t i = 0, tries = 0; i < t.len && tries < 64; i++) {
        if (t.at[i] != '{' && t.at[i] != '[')
            continue;
        tries++;
        size_t span = value_length((struct text){t.at + i, t.len - i});
        if (span == 0)
            continue;
        if (found != NULL)
            return -EINVAL;
        found = t.at + i;
        found_len = span;
        i += span - 1;
    }
    if (found == NULL || whole.len == 0)
        return -EINVAL;
    *from = (size_t)(found - text);
    *n = found_len;
    *taken = true;
    return 0;
}

int repair_answer_json(const char *text, size_t len, struct buf *out, struct shapes_set *repaired, char *why,
                       size_t whylen) {
    size_t from, n;
    bool taken;
    if (repair_answer(text, len, &from, &n, &taken) == 0) {
        if (taken)
            shapes_add(repaired, SHAPE_FENCED_JSON);
        return buf_append(out, text + from, n);
    }
    struct text t = trim((struct text){text, len});
    struct repair_json r;
    if (take_fence(&t))
        shapes_add(repaired, SHAPE_FENCED_JSON);
    repair_json_init(&r, t.at, t.len, out, repaired);
    r.what = "answer";
    repair_json_skip(&r);
    int rc = repair_json_value(&r);
    if (rc == 0) {
        repair_json_skip(&r);
        if (r.at < r.len)
            rc = err_set(r.why, sizeof r.why, -EINVAL, "Something stands behind the JSON of the answer.");
    }
    if (rc == -EINVAL)
        rc = err_set(why, whylen, rc, "%s", r.why);
    repair_json_finish(&r);
    return rc;
}
