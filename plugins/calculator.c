/* calculator: exact arithmetic for models, which cannot count. */
#include "plugins/calculator_evaluate.h"
#include "plugins/door.h"

#include <string.h>

static int calculate(void *state, hermes_call *call, hermes_str args_json) {
    struct door_call c = {.host = state, .call = call};
    char value[DECIMAL_TEXT], err[256];
    cJSON *arguments = door_arguments(args_json);
    const char *expression = door_string(arguments, "expression", "");
    int status = calculator_evaluate(expression, strlen(expression), value, err, sizeof err);
    cJSON_Delete(arguments);
    if (status != 0)
        return door_refuse(&c, door_code(status), err);
    return door_reply_pair(&c, "result", value);
}

static const hermes_tool calculator = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_CLOSED_WORLD,
    .name = "calculator",
    .description = "Evaluate an arithmetic expression.",
    .args_schema =
        "{\"type\": \"object\", \"properties\": {\"expression\": {\"type\": \"string\", \"description\": "
        "\"e.g. 17% * 2340\"}}, \"required\": [\"expression\"], \"additionalProperties\": false}",
    .timeout_ms = 5000,
    .max_concurrency = 4,
    .invoke = calculate,
};

static const hermes_tool *const tools[] = {&calculator, NULL};

static const hermes_plugin plugin = {
    HERMES_PLUGIN_INIT, .name = "calculator",   .version = "1.0.0",
    .tools = tools,     .init = door_init_host, .fini = NULL,
};

HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void) {
    return &plugin;
}
