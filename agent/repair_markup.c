#include "agent/repair_inner.h"

#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTION_OPEN   "<function="
#define FUNCTION_CLOSE  "</function>"
#define PARAMETER_OPEN  "<parameter="
#define PARAMETER_CLOSE "</parameter>"

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

static void drop(struct text *t, size_t n) {
    t->at += n;
    t->len -= n;
}

/* What stands before `what`, which is dropped as well; false when it is not there. */
static bool until(struct text *t, const char *what, struct text *before) {
    const char *found = t->len > 0 ? memmem(t->at, t->len, what, strlen(what)) : NULL;
    if (found == NULL)
        return false;
    *before = (struct text){t->at, (size_t)(found - t->at)};
    drop(t, before->len + strlen(what));
    return true;
}

bool repair_markup_is(const char *text, size_t len) {
    return starts(trim((struct text){text, len}), FUNCTION_OPEN);
}

static bool is_string(struct rawjson schema) {
    struct rawjson type;
    return rawjson_type(schema) == '{' && rawjson_get(schema, "type", &type) && type.len == 8 &&
           memcmp(type.text, "\"string\"", 8) == 0;
}

/* A value as JSON: by the property's type, and as text where nothing says otherwise. */
static int put_value(struct text value, struct rawjson schema, struct buf *out) {
    if (value.len > 0 && value.at[0] == '\n')
        drop(&value, 1);
    if (value.len > 0 && value.at[value.len - 1] == '\n')
        value.len--;
    struct text inner = trim(value);
    bool typed = rawjson_type(schema) == '{' && !is_string(schema);
    int rc = typed ? json_check(inner.at, inner.len, NULL, NULL, 0) : -EINVAL;
    if (rc == 0 || rc == -ENOMEM)
        return rc == 0 ? buf_append(out, inner.at, inner.len) : rc;
    return json_quote(out, value.at, value.len, false);
}

/* The parameters as one JSON object. -EINVAL for anything else between them. */
static int put_parameters(struct text body, struct rawjson schema, struct buf *out) {
    int rc = buf_putc(out, '{'), n = 0;
    for (body = trim(body); rc == 0 && body.len > 0; body = trim(body)) {
        struct text key, value;
        if (!starts(body, PARAMETER_OPEN))
            return -EINVAL;
        drop(&body, sizeof PARAMETER_OPEN - 1);
        if (!until(&body, ">", &key) || !until(&body, PARAMETER_CLOSE, &value) ||
            memmem(value.at, value.len, PARAMETER_OPEN, sizeof PARAMETER_OPEN - 1) != NULL)
            return -EINVAL;
        key = trim(key);
        char *name = strndup(key.at, key.len);
        rc = name == NULL ? -ENOMEM : 0;
        rc = rc ? rc : buf_puts(out, n++ > 0 ? ", " : "");
        rc = rc ? rc : json_quote(out, key.at, key.len, false);
        rc = rc ? rc : buf_puts(out, ": ");
        rc =
            rc ? rc : put_value(value, name != NULL ? repair_property(schema, name) : rawjson_of("", 0), out);
        free(name);
    }
    return rc ? rc : buf_putc(out, '}');
}

/* The call as the object it would have been, which is then read like any other. */
static int put_call(struct text name, struct text body, const struct repair_tools *tools, struct buf *out,
                    struct shapes_set *repaired) {
    char *key = strndup(name.at, name.len);
    if (key == NULL)
        return -ENOMEM;
    const struct agent_tool *tool = repair_tool(tools, key, repaired);
    struct rawjson schema = tool != NULL ? rawjson_of(tool->schema, strlen(tool->schema)) : rawjson_of("", 0);
    free(key);
    int rc = buf_puts(out, "{\"name\": ");
    rc = rc ? rc : json_quote(out, name.at, name.len, false);
    rc = rc ? rc : buf_puts(out, ", \"arguments\": ");
    body = trim(body);
    if (rc == 0)
        rc = starts(body, "{") ? buf_append(out, body.at, body.len) : put_parameters(body, schema, out);
    return rc ? rc : buf_putc(out, '}');
}

static int read_one(struct text *t, const struct repair_tools *tools, struct repair_call *call) {
    struct text name, body;
    struct buf json;
    drop(t, sizeof FUNCTION_OPEN - 1);
    if (!until(t, ">", &name) || !until(t, FUNCTION_CLOSE, &body))
        return repair_refuse(call, "The call is not complete. " REPAIR_SHAPE);
    shapes_add(&call->repaired, SHAPE_FUNCTION_MARKUP);
    buf_init(&json, REPAIR_BYTES_MAX);
    int rc = put_call(trim(name), body, tools, &json, &call->repaired);
    if (rc == 0)
        rc = repair_call_read(rawjson_of(json.data, json.len), tools, call);
    else if (rc == -EINVAL)
        rc = repair_refuse(call, "The parameters of the call cannot be read. " REPAIR_SHAPE);
    buf_finish(&json);
    return rc;
}

int repair_markup_read(const char *text, size_t len, const struct repair_tools *tools,
                       struct repair_calls *calls) {
    struct text t = trim((struct text){text, len});
    int rc = 0;
    do {
        struct repair_call *call = repair_add(calls);
        if (call == NULL)
            return -ENOMEM;
        bool more = calls->n <= REPAIR_CALLS_MAX && starts(t, FUNCTION_OPEN);
        rc = more ? read_one(&t, tools, call)
                  : repair_refuse(call, "Something stands behind the call. " REPAIR_SHAPE);
        if (!more || call->error != NULL)
            return rc;
        t = trim(t);
    } while (rc == 0 && t.len > 0);
    return rc;
}
