/* retrieve: passages of the user's documents, with ids to cite. */
#include "plugins/door.h"
#include "plugins/retrieve_index.h"

#include <stdio.h>
#include <stdlib.h>

struct retriever {
    const hermes_host *host;
    char *folder;                 /* NULL: none is configured */
    struct retrieve_index *index; /* opened by the first call */
};

static int retriever_init(const hermes_host *host, hermes_str config_json, void **state) {
    struct retriever *r = calloc(1, sizeof *r);
    if (r == NULL)
        return HERMES_E_INTERNAL;
    r->host = host;
    r->folder = door_setting(config_json, "documents");
    *state = r;
    return HERMES_OK;
}

static void retriever_fini(void *state) {
    struct retriever *r = state;
    retrieve_index_close(r->index);
    free(r->folder);
    free(r);
}

static int retriever_ready(struct retriever *r, char *err, size_t errlen) {
    int status = 0;
    if (r->folder == NULL) {
        snprintf(err, errlen, "no documents folder is configured");
        return -1;
    }
    if (r->index == NULL)
        status = retrieve_index_open(r->folder, &r->index, err, errlen);
    return status != 0 ? status : retrieve_index_refresh(r->index, err, errlen);
}

static int retrieve(void *state, hermes_call *call, hermes_str args_json) {
    struct retriever *r = state;
    struct door_call c = {.host = r->host, .call = call};
    struct text result;
    char err[512];
    int status = retriever_ready(r, err, sizeof err);
    if (status != 0)
        return door_refuse(&c, door_code(status), err);
    cJSON *arguments = door_arguments(args_json);
    const cJSON *limit = cJSON_GetObjectItemCaseSensitive(arguments, "limit");
    int count = cJSON_IsNumber(limit) ? limit->valueint : RETRIEVE_LIMIT;
    if (count < 1 || count > RETRIEVE_LIMIT_MAX)
        count = count < 1 ? 1 : RETRIEVE_LIMIT_MAX;
    text_init(&result, 256 * 1024);
    status =
        retrieve_index_query(r->index, door_string(arguments, "query", ""), count, &result, err, sizeof err);
    cJSON_Delete(arguments);
    if (status == 0)
        return door_reply(&c, &result);
    text_finish(&result);
    return door_refuse(&c, door_code(status), err);
}

static const hermes_tool tool_retrieve = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_FS_READ |
             HERMES_T_PRIVATE_DATA,
    .name = "retrieve",
    .description = "Search the documents and return passages to cite.",
    .args_schema = "{\"type\": \"object\", \"properties\": {\"query\": {\"type\": \"string\"}, \"limit\": "
                   "{\"type\": \"integer\", \"minimum\": 1, \"maximum\": 10}}, \"required\": [\"query\"], "
                   "\"additionalProperties\": false}",
    .timeout_ms = 20000,
    .max_concurrency = 4,
    .invoke = retrieve,
};

static const hermes_tool *const tools[] = {&tool_retrieve, NULL};

static const hermes_plugin plugin = {
    HERMES_PLUGIN_INIT, .name = "retrieve",     .version = "1.0.0",
    .tools = tools,     .init = retriever_init, .fini = retriever_fini,
};

HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void) {
    return &plugin;
}
