#include "agent/render_compat.h"

#include "base/json.h"

#include <errno.h>
#include <string.h>

static const char before[] =
    "<|im_start|>system\nYou are a function calling AI model. You are provided with function signatures "
    "within "
    "<tools></tools> XML tags. You may call one or more functions to assist with the user query. Don't make "
    "assumptions about what values to plug into functions. Here are the available tools: <tools>";
/* The brace too many is in the published text. */
static const char after[] =
    "</tools>Use the following pydantic model json schema for each tool call you will make: {\"properties\": "
    "{\"name\": {\"title\": \"Name\", \"type\": \"string\"}, \"arguments\": {\"title\": \"Arguments\", "
    "\"type\": \"object\"}}, \"required\": [\"name\", \"arguments\"], \"title\": \"FunctionCall\", \"type\": "
    "\"object\"}}\nFor each function call return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags as follows:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
    "<args-dict>}\n</tool_call><|im_end|>\n";

static const char *basic_type(const char *type) {
    static const char *const names[][2] = {
        {"string", "str"}, {"number", "float"}, {"integer", "int"}, {"boolean", "bool"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(type, names[i][0]) == 0)
            return names[i][1];
    return NULL;
}

static int put_type(struct buf *out, const cJSON *schema);

static int put_named_type(struct buf *out, const char *type, const cJSON *schema) {
    const char *basic = basic_type(type);
    if (basic != NULL)
        return buf_puts(out, basic);
    if (strcmp(type, "array") ==
        0) /* the template asks the member list for a type, which is an empty union */
        return buf_puts(out, "list[Union[]]");
    if (strcmp(type, "object") != 0)
        return buf_puts(out, "Any");
    const cJSON *more = cJSON_GetObjectItemCaseSensitive(schema, "additionalProperties");
    if (more == NULL)
        return buf_puts(out, "dict");
    int rc = buf_puts(out, "dict[str, ");
    rc = rc ? rc : put_type(out, more);
    return rc ? rc : buf_putc(out, ']');
}

/* As deep as json_parse() lets a schema be. */
static int put_type(struct buf *out, const cJSON *schema) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(schema, "type");
    if (cJSON_IsString(type))
        return put_named_type(out, type->valuestring, schema);
    if (type != NULL && !cJSON_IsArray(type))
        return buf_puts(out, "Any");
    int rc = buf_puts(out, "Union[");
    const cJSON *one;
    cJSON_ArrayForEach(one, type) {
        if (rc == 0 && one != type->child)
            rc = buf_putc(out, ',');
        if (rc == 0)
            rc = put_named_type(out, cJSON_IsString(one) ? one->valuestring : "", NULL);
    }
    return rc ? rc : buf_putc(out, ']');
}

static int put_trimmed(struct buf *out, const char *text) {
    static const char space[] = " \t\n\r\v\f";
    text += strspn(text, space);
    size_t n = strlen(text);
    while (n > 0 && strchr(space, text[n - 1]) != NULL)
        n--;
    return buf_append(out, text, n);
}

/* name(a: str, b: int) - what it does, and the arguments as a Python docstring lists them */
static int put_signature(struct buf *out, const struct agent_tool *tool, const cJSON *properties) {
    const cJSON *p;
    int rc = buf_printf(out, "%s(", tool->name);
    cJSON_ArrayForEach(p, properties) {
        rc = rc ? rc : buf_printf(out, "%s%s: ", p == properties->child ? "" : ", ", p->string);
        rc = rc ? rc : put_type(out, p);
    }
    rc = rc ? rc : buf_printf(out, ") - %s\n\n", tool->description);
    cJSON_ArrayForEach(p, properties) {
        const char *about = json_get_string(p, "description");
        if (p == properties->child)
            rc = rc ? rc : buf_puts(out, "    Args:\n");
        rc = rc ? rc : buf_printf(out, "        %s(", p->string);
        rc = rc ? rc : put_type(out, p);
        rc = rc ? rc : buf_puts(out, "): ");
        rc = rc ? rc : put_trimmed(out, about != NULL ? about : "");
    }
    return rc;
}

static int put_tool(struct buf *out, const struct agent_tool *tool) {
    cJSON *schema;
    int rc = json_parse(tool->schema, strlen(tool->schema), NULL, &schema, NULL, 0);
    if (rc < 0)
        return rc == -ENOMEM ? rc : -EINVAL;
    const cJSON *properties = cJSON_GetObjectItemCaseSensitive(schema, "properties");
    if (!cJSON_IsObject(properties) || properties->child == NULL)
        properties = NULL;
    rc = buf_printf(out, "{\"type\": \"function\", \"function\": {\"name\": \"%s\", \"description\": \"",
                    tool->name);
    rc = rc ? rc : put_signature(out, tool, properties);
    rc = rc ? rc : buf_puts(out, "\", \"parameters\": ");
    if (properties == NULL)
        rc = rc ? rc : buf_puts(out, "{}");
    else
        rc = rc ? rc : json_respace(out, tool->schema, strlen(tool->schema), false);
    cJSON_Delete(schema);
    return rc ? rc : buf_putc(out, '}'); /* one brace too few, as published */
}

void render_compat_tools(struct render *r, const struct agent_tool *tools, size_t n_tools) {
    render_trusted(r, before);
    render_put(r, AGENT_SPAN_UNTRUSTED, " ", 1);
    for (size_t i = 0; i < n_tools && r->status == 0; i++) {
        if (i > 0)
            render_put(r, AGENT_SPAN_UNTRUSTED, "\n", 1);
        render_begin(r, AGENT_SPAN_UNTRUSTED);
        if (r->status == 0)
            render_note(r, put_tool(&r->text, &tools[i]));
    }
    render_put(r, AGENT_SPAN_UNTRUSTED, " ", 1);
    render_trusted(r, after);
}
