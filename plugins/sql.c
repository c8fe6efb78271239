/* sql: reading queries on SQLite files of the workspace. */
#include "plugins/door.h"
#include "plugins/sql_run.h"

static int query(void *state, hermes_call *call, hermes_str args_json) {
    struct door_folder *workspace = state;
    struct door_call c = {.host = workspace->host, .call = call};
    struct text result;
    char err[512];
    int root = door_folder_open(workspace, err, sizeof err);
    if (root < 0)
        return door_refuse(&c, HERMES_E_TOOL, err);
    cJSON *arguments = door_arguments(args_json);
    text_init(&result, 1024 * 1024);
    int status = sql_run(root, door_string(arguments, "database", ""), door_string(arguments, "query", ""),
                         door_should_stop, &c, &result, err, sizeof err);
    cJSON_Delete(arguments);
    if (status == 0)
        return door_reply(&c, &result);
    text_finish(&result);
    return door_refuse(&c, door_code(status), err);
}

static const hermes_tool sql_query = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_FS_READ |
             HERMES_T_PRIVATE_DATA,
    .name = "sql_query",
    .description = "Run a read-only SQL query on a database file.",
    .args_schema =
        "{\"type\": \"object\", \"properties\": {\"database\": {\"type\": \"string\"}, \"query\": {\"type\": "
        "\"string\"}}, \"required\": [\"database\", \"query\"], \"additionalProperties\": false}",
    .timeout_ms = 10000,
    .max_concurrency = 4,
    .invoke = query,
};

static const hermes_tool *const tools[] = {&sql_query, NULL};

static const hermes_plugin plugin = {
    HERMES_PLUGIN_INIT,       .name = "sql", .version = "1.0.0", .tools = tools, .init = door_init_workspace,
    .fini = door_folder_fini,
};

HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void) {
    return &plugin;
}
