/* hello: the smallest plugin there is. Copy it and change the name, the description, the schema and the
 * function. */
#include "hermes_plugin.h"

static int hello(void *state, hermes_call *call, hermes_str args_json) {
    const hermes_host *host = state;
    char name[256];
    if (hermes_arg_string(args_json, "name", name, sizeof name) == NULL)
        return hermes_refuse(host, call, HERMES_E_ARGS, "name must be a text of at most 255 bytes");
    return hermes_reply_json(host, call, "{\"greeting\": \"Hello, %s\"}", name);
}

static const hermes_tool tool_hello = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_CLOSED_WORLD,
    .name = "hello",
    .description = "Say hello to a person.",
    .args_schema = "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\"}}, "
                   "\"required\": [\"name\"], \"additionalProperties\": false}",
    .timeout_ms = 2000,
    .invoke = hello,
};

static const hermes_tool *const tools[] = {&tool_hello, NULL};

HERMES_PLUGIN("hello", "1.0.0", tools);
