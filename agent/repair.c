#include "agent/repair_inner.h"

#include "agent/repair_json.h"
#include "agent/toolcall.h"
#include "base/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the list ---- */

struct repair_call *repair_add(struct repair_calls *calls) {
    struct repair_call *all = realloc(calls->all, (calls->n + 1) * sizeof *all);
    if (all == NULL)
        return NULL;
    calls->all = all;
    all[calls->n] = (struct repair_call){.name = strdup("")};
    return all[calls->n].name != NULL ? &all[calls->n++] : NULL;
}

static void clear(struct repair_calls *calls, size_t keep) {
    while (calls->n > keep) {
        struct repair_call *call = &calls->all[--calls->n];
        free(call->name);
        free(call->arguments);
        free(call->error);
    }
}

void repair_finish(struct repair_calls *calls) {
    clear(calls, 0);
    free(calls->all);
    *calls = (struct repair_calls){0};
}

int repair_refuse(struct repair_call *call, const char *fmt, ...) {
    char text[500];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (call->error == NULL)
        call->error = strdup(text);
    return call->error == NULL ? -ENOMEM : 0;
}

/* The block is one call that cannot run. */
static int refuse_all(struct repair_calls *calls, const char *why) {
    clear(calls, calls->n > 0 ? 1 : 0);
    struct repair_call *call = calls->n > 0 ? &calls->all[0] : repair_add(calls);
    if (call == NULL)
        return -ENOMEM;
    free(call->arguments);
    call->arguments = NULL;
    return repair_refuse(call, "%s", why);
}

/* ---- the values of a block ---- */

struct values {
    struct buf json; /* one behind the other */
    size_t ends[REPAIR_CALLS_MAX];
    size_t n;
    struct shapes_set repaired;
    char why[240]; /* of an -EINVAL */
};

/* Markup behind the JSON: </word>, </word cut off, or the beginning of </tool_call>. Its length, 0 for none.
 */
static size_t closing_markup(const char *text, size_t len) {
    size_t n = 2;
    if (len < 2 || text[0] != '<' || text[1] != '/')
        return len == 1 && text[0] == '<' ? 1 : 0;
    while (n < len && n < 48 && strchr("<> \t\r\n{", text[n]) == NULL)
        n++;
    if (n < len && text[n] == '>')
        return n + 1;
    static const char own[] = "</tool_call>";
    return n < sizeof own && memcmp(text, own, n) == 0 ? n : 0;
}

/* What stands behind a value, up to the next one or the end. */
static int behind(struct repair_json *r, struct values *v) {
    for (;;) {
        repair_json_skip(r);
        if (r->at >= r->len)
            return 0;
        const char *at = r->text + r->at;
        size_t markup = closing_markup(at, r->len - r->at);
        if (*at == '{' || *at == '[')
            return 0;
        if (*at == '}' || *at == ']')
            shapes_add(&v->repaired, SHAPE_EXTRA_CLOSERS);
        else if (*at == ';' || *at == ',')
            shapes_add(&v->repaired, SHAPE_SEPARATORS);
        else if (markup > 0)
            shapes_add(&v->repaired, SHAPE_WRONG_CLOSE);
        else
            return err_set(v->why, sizeof v->why, -EINVAL,
                           "Something stands behind the JSON of the call. Write one JSON object in each "
                           "<tool_call>.");
        r->at += markup > 0 ? markup : 1;
    }
}

static int read_values(const struct repair_block *block, struct values *v) {
    struct repair_json r;
    int rc = 0;
    repair_json_init(&r, block->raw, block->len, &v->json, &v->repaired);
    r.may_close = block->closed;
    repair_json_skip(&r);
    if (r.at >= r.len || (r.text[r.at] != '{' && r.text[r.at] != '['))
        rc = err_set(v->why, sizeof v->why, -EINVAL, "The call is not a JSON object. " REPAIR_SHAPE);
    while (rc == 0 && r.at < r.len) {
        if (v->n == REPAIR_CALLS_MAX)
            rc = err_set(v->why, sizeof v->why, -EINVAL, "One <tool_call> holds more than %d calls.",
                         REPAIR_CALLS_MAX);
        if (rc == 0 && (rc = repair_json_value(&r)) == -EINVAL)
            snprintf(v->why, sizeof v->why, "%s", r.why);
        if (rc == 0) {
            v->ends[v->n++] = v->json.len;
            rc = behind(&r, v);
        }
    }
    repair_json_finish(&r);
    if (rc == -ENOBUFS)
        rc = err_set(v->why, sizeof v->why, -EINVAL, "The call is too long.");
    return rc;
}

/* Objects that say the same are one: false when this one was there before. */
static bool is_new(const struct values *v, size_t i, int *status) {
    uint64_t one, other;
    size_t from = i > 0 ? v->ends[i - 1] : 0;
    *status = toolcall_signature("", v->json.data + from, v->ends[i] - from, &one);
    for (size_t k = 0; k < i && *status == 0; k++) {
        size_t start = k > 0 ? v->ends[k - 1] : 0;
        *status = toolcall_signature("", v->json.data + start, v->ends[k] - start, &other);
        if (*status == 0 && one == other)
            return false;
    }
    return true;
}

/* ---- calls ---- */

static int add_call(struct rawjson value, const struct repair_tools *tools, struct repair_calls *out,
                    const struct shapes_set *repaired) {
    struct repair_call *call = repair_add(out);
    if (call == NULL)
        return -ENOMEM;
    call->repaired = *repaired;
    return repair_call_read(value, tools, call);
}

static int add_value(struct rawjson value, const struct repair_tools *tools, struct repair_calls *out,
                     struct shapes_set *repaired) {
    struct rawjson item, inner;
    size_t at = 0;
    if (rawjson_type(value) != '[' || !rawjson_next(value, &at, NULL, &item) || rawjson_type(item) != '{')
        return add_call(value, tools, out, repaired);
    shapes_add(repaired, SHAPE_ARRAY_OF_CALLS);
    int rc = add_call(item, tools, out, repaired);
    while (rc == 0 && rawjson_next(value, &at, NULL, &inner)) {
        if (out->n >= REPAIR_CALLS_MAX)
            return refuse_all(out, "One <tool_call> holds too many calls.");
        rc = add_call(inner, tools, out, repaired);
    }
    return rc;
}

static int add_values(struct values *v, const struct repair_tools *tools, struct repair_calls *out) {
    int rc = 0;
    for (size_t i = 0; i < v->n && rc == 0; i++) {
        size_t from = i > 0 ? v->ends[i - 1] : 0;
        if (v->n > 1)
            shapes_add(&v->repaired, SHAPE_SEVERAL_OBJECTS);
        if (is_new(v, i, &rc) && rc == 0)
            rc = add_value(rawjson_of(v->json.data + from, v->ends[i] - from), tools, out, &v->repaired);
    }
    /* Several objects are several calls only when each of them says which. */
    for (size_t i = 0; i < out->n && rc == 0 && v->n > 1; i++)
        if (out->all[i].name[0] == '\0')
            return refuse_all(out,
                              "Several objects stand in one <tool_call>. Write one JSON object in each.");
    return rc;
}

/* What the model is told about a block that is no JSON. */
static const char *hint(const struct repair_block *block, const char *why) {
    struct rawjson text = rawjson_of(block->raw, block->len);
    static const char element[] = "<function>";
    if (text.len >= sizeof element - 1 && memcmp(text.text, element, sizeof element - 1) == 0)
        return "<function> is not understood here. " REPAIR_SHAPE;
    return why;
}

int repair_read(const struct repair_block *block, const struct repair_tools *tools,
                struct repair_calls *out) {
    struct values v = {.repaired = block->repaired};
    *out = (struct repair_calls){0};
    if (repair_markup_is(block->raw, block->len)) {
        int rc = repair_markup_read(block->raw, block->len, tools, out);
        for (size_t i = 0; i < out->n; i++)
            shapes_merge(&out->all[i].repaired, &block->repaired);
        return rc;
    }
    buf_init(&v.json, REPAIR_BYTES_MAX);
    int rc = read_values(block, &v);
    if (rc == 0)
        rc = add_values(&v, tools, out);
    else if (rc == -EINVAL)
        rc = refuse_all(out, hint(block, v.why));
    if (rc == 0 && block->half_open && out->n > 1)
        rc = refuse_all(out, "The tag <tool_call> was not complete. Write it before each call.");
    buf_finish(&v.json);
    return rc;
}
