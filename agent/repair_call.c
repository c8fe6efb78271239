#include "agent/repair_inner.h"

#include "agent/repair_json.h"
#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 256

static const struct json_limits any_number = {.max_bytes = REPAIR_BYTES_MAX,
                                              .max_nodes = 100000,
                                              .max_depth = REPAIR_JSON_DEPTH_MAX,
                                              .any_number = true};

/* ---- names ---- */

/* Lower case, one kind of separator. */
static void plain(const char *name, size_t len, char out[NAME_MAX_BYTES]) {
    size_t i = 0;
    for (; i < len && i + 1 < NAME_MAX_BYTES; i++) {
        char c = name[i];
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c == '-' || c == '.' || c == ' ' ? '_' : c;
    }
    out[i] = '\0';
}

static bool is_variant(const char *name, const char *tool) {
    static const char prefix[] = "functions_";
    char given[NAME_MAX_BYTES], known[NAME_MAX_BYTES];
    plain(name, strlen(name), given);
    plain(tool, strlen(tool), known);
    const char *at = strncmp(given, prefix, sizeof prefix - 1) == 0 ? given + sizeof prefix - 1 : given;
    size_t n = strlen(known);
    if (n == 0 || strcmp(given, known) == 0 || strcmp(at, known) == 0)
        return n > 0;
    return strlen(at) == 2 * n && memcmp(at, known, n) == 0 && memcmp(at + n, known, n) == 0;
}

const struct agent_tool *repair_tool(const struct repair_tools *tools, const char *name,
                                     struct shapes_set *repaired) {
    const struct agent_tool *found = NULL;
    for (size_t i = 0; i < tools->n; i++)
        if (strcmp(tools->all[i].name, name) == 0)
            return &tools->all[i];
    for (size_t i = 0; i < tools->n && strlen(name) < NAME_MAX_BYTES; i++) {
        if (!is_variant(name, tools->all[i].name))
            continue;
        if (found != NULL)
            return NULL;
        found = &tools->all[i];
    }
    if (found != NULL)
        shapes_add(repaired, SHAPE_NAME_VARIANT);
    return found;
}

static int read_name(struct rawjson object, struct repair_call *call) {
    struct rawjson value;
    if (!rawjson_get(object, "name", &value)) {
        bool other = rawjson_get(object, "tool_name", &value) || rawjson_get(object, "function", &value) ||
                     rawjson_get(object, "tool", &value);
        return repair_refuse(call, "%s",
                             other ? "The key for the function's name is \"name\". " REPAIR_SHAPE
                                   : "The call has no \"name\". " REPAIR_SHAPE);
    }
    if (rawjson_type(value) != '"')
        return repair_refuse(call, "\"name\" must be a string. " REPAIR_SHAPE);
    char *name = rawjson_string(value);
    if (name == NULL)
        return -ENOMEM;
    free(call->name);
    call->name = name;
    return name[0] == '\0' ? repair_refuse(call, "\"name\" is empty.") : 0;
}

/* ---- arguments ---- */

/* The tool's name instead of the given one, where it is a variant. */
static int take_tool(const struct repair_tools *tools, struct repair_call *call,
                     const struct agent_tool **tool) {
    *tool = repair_tool(tools, call->name, &call->repaired);
    if (*tool == NULL || strcmp((*tool)->name, call->name) == 0)
        return 0;
    char *name = strdup((*tool)->name);
    if (name == NULL)
        return -ENOMEM;
    free(call->name);
    call->name = name;
    return 0;
}

static int without_arguments(struct repair_call *call, const struct agent_tool *tool, struct rawjson *value) {
    struct rawjson required, item;
    size_t at = 0;
    struct rawjson schema = tool != NULL ? rawjson_of(tool->schema, strlen(tool->schema)) : rawjson_of("", 0);
    if (rawjson_type(schema) == '{' && rawjson_get(schema, "required", &required) &&
        rawjson_next(required, &at, NULL, &item))
        return repair_refuse(call, "The call has no \"arguments\"; %.*s is required. " REPAIR_SHAPE,
                             (int)(item.len < 60 ? item.len : 60), item.text);
    shapes_add(&call->repaired, SHAPE_NO_ARGUMENTS);
    *value = rawjson_of("{}", 2);
    return 0;
}

/* The arguments' value, under whichever key. */
static int find_arguments(struct rawjson object, struct repair_call *call, const struct agent_tool *tool,
                          struct rawjson *value) {
    static const char *const others[] = {"parameters", "params", "args"};
    int found = rawjson_get(object, "arguments", value);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct rawjson other;
        if (!rawjson_get(object, others[i], &other))
            continue;
        if (found++ > 0)
            return repair_refuse(call, "The call has \"arguments\" twice, as \"%s\" too. " REPAIR_SHAPE,
                                 others[i]);
        if (i > 0) /* a habit of no model this format was taught */
            return repair_refuse(
                call, "The key for the arguments is \"arguments\", not \"%s\". " REPAIR_SHAPE, others[i]);
        *value = other;
        shapes_add(&call->repaired, SHAPE_PARAMETERS_KEY);
    }
    if (found == 0 && shapes_has(&call->repaired, SHAPE_OUTER_BRACE_MISSING))
        return repair_refuse(call, "The JSON of the call is not complete.");
    return found == 0 || rawjson_type(*value) == 'n' ? without_arguments(call, tool, value) : 0;
}

/* "{\"a\": 1}" as an object, decoded once into `out`. -EINVAL when it is none. */
static int decode(struct rawjson value, struct shapes_set *repaired, struct buf *out) {
    struct repair_json r;
    struct shapes_set noted = {0};
    char *text = rawjson_string(value);
    if (text == NULL)
        return -ENOMEM;
    repair_json_init(&r, text, strlen(text), out, &noted);
    repair_json_skip(&r);
    int rc = r.at < r.len && text[r.at] == '{' ? repair_json_value(&r) : -EINVAL;
    size_t end = out->len;
    if (rc == 0)
        repair_json_skip(&r);
    if (rc == 0 && r.at < r.len && text[r.at] == '{') { /* the same object twice is one */
        rc = repair_json_value(&r);
        if (rc == 0 && (out->len != 2 * end || memcmp(out->data, out->data + end, end) != 0))
            rc = -EINVAL;
        shapes_add(&noted, SHAPE_SEVERAL_OBJECTS);
        out->len = end;
        repair_json_skip(&r);
    }
    if (rc == 0)
        rc = r.at < r.len ? -EINVAL : json_check(out->data, end, &any_number, NULL, 0);
    rc = rc < 0 && rc != -ENOMEM ? -EINVAL : rc;
    if (rc == 0) {
        shapes_add(repaired, SHAPE_STRING_ARGUMENTS);
        shapes_merge(repaired, &noted);
    }
    repair_json_finish(&r);
    free(text);
    return rc;
}

/* `value` as the call's arguments, typed by the tool's schema. */
static int keep_arguments(struct rawjson value, struct repair_call *call, const struct agent_tool *tool) {
    struct buf out;
    bool changed = false;
    struct rawjson schema = tool != NULL ? rawjson_of(tool->schema, strlen(tool->schema)) : rawjson_of("", 0);
    buf_init(&out, REPAIR_BYTES_MAX);
    int rc = repair_coerce(value, schema, &out, &changed);
    if (changed)
        shapes_add(&call->repaired, SHAPE_STRING_SCALAR);
    if (rc == 0) {
        call->arguments = buf_take(&out, NULL);
        rc = call->arguments == NULL ? -ENOMEM : 0;
    }
    buf_finish(&out);
    return rc;
}

static int read_arguments(struct rawjson object, struct repair_call *call, const struct agent_tool *tool) {
    struct rawjson value;
    struct buf decoded;
    int rc = find_arguments(object, call, tool, &value);
    if (rc < 0 || call->error != NULL)
        return rc;
    buf_init(&decoded, REPAIR_BYTES_MAX);
    if (rawjson_type(value) == '"') {
        rc = decode(value, &call->repaired, &decoded);
        if (rc == 0)
            value = rawjson_of(decoded.data, decoded.len);
    }
    if (rc == -ENOMEM || rawjson_type(value) != '{')
        rc = rc == -ENOMEM ? rc : repair_refuse(call, "\"arguments\" must be a JSON object. " REPAIR_SHAPE);
    else
        rc = keep_arguments(value, call, tool);
    buf_finish(&decoded);
    return rc;
}

/* ---- the object ---- */

int repair_call_read(struct rawjson value, const struct repair_tools *tools, struct repair_call *call) {
    const struct agent_tool *tool = NULL;
    char why[200];
    int rc = json_check(value.text, value.len, &any_number, why, sizeof why);
    if (rc == -ENOMEM)
        return rc;
    if (rc < 0)
        return repair_refuse(call, "The call is not valid JSON (%s). " REPAIR_SHAPE, why);
    if (rawjson_type(value) != '{')
        return repair_refuse(call, "A call is one JSON object. " REPAIR_SHAPE);
    struct rawjson inner;
    if (!rawjson_get(value, "name", &inner) && rawjson_get(value, "function", &inner) &&
        rawjson_type(inner) == '{') {
        shapes_add(&call->repaired, SHAPE_OPENAI_NESTING);
        value = inner;
    }
    rc = read_name(value, call);
    if (rc == 0 && call->error == NULL)
        rc = take_tool(tools, call, &tool);
    return rc < 0 || call->error != NULL ? rc : read_arguments(value, call, tool);
}
