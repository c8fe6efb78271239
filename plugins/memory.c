/* memory: notes that a model may keep from one job to the next. */
#include "plugins/door.h"
#include "plugins/memory_notes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct memory {
    const hermes_host *host;
    char *folder;               /* NULL: the daemon has no state folder */
    struct memory_notes *notes; /* opened by the first call: listing the tools leaves no file behind */
};

static int memory_init(const hermes_host *host, hermes_str config_json, void **state) {
    struct memory *m = calloc(1, sizeof *m);
    if (m == NULL)
        return HERMES_E_INTERNAL;
    m->host = host;
    m->folder = door_setting(config_json, "state_dir");
    *state = m;
    return HERMES_OK;
}

static void memory_fini(void *state) {
    struct memory *m = state;
    memory_notes_close(m->notes);
    free(m->folder);
    free(m);
}

static int memory_ready(struct memory *m, char *err, size_t errlen) {
    if (m->folder == NULL) {
        snprintf(err, errlen, "no folder for notes is configured");
        return -1;
    }
    return m->notes != NULL ? 0 : memory_notes_open(m->folder, &m->notes, err, errlen);
}

static int remember(void *state, hermes_call *call, hermes_str args_json) {
    struct memory *m = state;
    struct door_call c = {.host = m->host, .call = call};
    char err[512];
    cJSON *arguments = door_arguments(args_json);
    const char *key = door_string(arguments, "key", "");
    int status = memory_ready(m, err, sizeof err);
    if (status == 0)
        status = memory_notes_put(m->notes, key, door_string(arguments, "value", ""), err, sizeof err);
    int code = status == 0 ? door_reply_pair(&c, "stored", key) : door_refuse(&c, door_code(status), err);
    cJSON_Delete(arguments);
    return code;
}

static int recall(void *state, hermes_call *call, hermes_str args_json) {
    struct memory *m = state;
    struct door_call c = {.host = m->host, .call = call};
    struct text value;
    char err[512];
    cJSON *arguments = door_arguments(args_json);
    text_init(&value, MEMORY_VALUE_MAX);
    int status = memory_ready(m, err, sizeof err);
    if (status == 0)
        status = memory_notes_get(m->notes, door_string(arguments, "key", ""), &value, err, sizeof err);
    int code =
        status == 0 ? door_reply_pair(&c, "value", value.data) : door_refuse(&c, door_code(status), err);
    text_finish(&value);
    cJSON_Delete(arguments);
    return code;
}

static const hermes_tool tool_remember = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_IDEMPOTENT | HERMES_T_CLOSED_WORLD | HERMES_T_FS_READ | HERMES_T_FS_WRITE,
    .name = "remember",
    .description = "Store a note under a key.",
    .args_schema =
        "{\"type\": \"object\", \"properties\": {\"key\": {\"type\": \"string\"}, \"value\": {\"type\": "
        "\"string\"}}, \"required\": [\"key\", \"value\"], \"additionalProperties\": false}",
    .timeout_ms = 10000,
    .invoke = remember,
};

static const hermes_tool tool_recall = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_FS_READ |
             HERMES_T_FS_WRITE | HERMES_T_PRIVATE_DATA,
    .name = "recall",
    .description = "Read the note stored under a key.",
    .args_schema = "{\"type\": \"object\", \"properties\": {\"key\": {\"type\": \"string\"}}, \"required\": "
                   "[\"key\"], \"additionalProperties\": false}",
    .timeout_ms = 10000,
    .max_concurrency = 4,
    .invoke = recall,
};

static const hermes_tool *const tools[] = {&tool_remember, &tool_recall, NULL};

static const hermes_plugin plugin = {
    HERMES_PLUGIN_INIT, .name = "memory",    .version = "1.0.0",
    .tools = tools,     .init = memory_init, .fini = memory_fini,
};

HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void) {
    return &plugin;
}
