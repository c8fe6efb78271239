/* http_fetch: one page of the web. */
#include "plugins/door.h"
#include "plugins/http_fetch_address.h"
#include "plugins/http_fetch_get.h"

#include <stdlib.h>

#define TIMEOUT_MS 30000

struct fetcher {
    const hermes_host *host;
    bool allow_private_addresses;
};

static int fetcher_init(const hermes_host *host, hermes_str config_json, void **state) {
    struct fetcher *f = calloc(1, sizeof *f);
    if (f == NULL)
        return HERMES_E_INTERNAL;
    f->host = host;
    f->allow_private_addresses = door_setting_flag(config_json, "allow_private_addresses");
    *state = f;
    return HERMES_OK;
}

static bool cancelled(void *arg) {
    const struct door_call *c = arg;
    return c->host->cancelled(c->call) != 0;
}

static int fetch(void *state, hermes_call *call, hermes_str args_json) {
    const struct fetcher *f = state;
    struct door_call c = {.host = f->host, .call = call};
    struct text result;
    char err[512];
    /* Somewhat before the host's own deadline, so that the model is told what took long. */
    int64_t left = f->host->remaining_ms(call) - 250;
    cJSON *arguments = door_arguments(args_json);
    struct http_fetch_request request = {
        .url = door_string(arguments, "url", ""),
        .may_connect = f->allow_private_addresses ? NULL : http_fetch_address_is_public,
        .timeout_ms = left < 1            ? 1
                      : left > TIMEOUT_MS ? TIMEOUT_MS
                                          : (long)left,
        .stop = cancelled,
        .arg = &c,
    };
    text_init(&result, 2 * 1024 * 1024); /* escapes may make the body longer */
    int status = http_fetch_get(&request, &result, err, sizeof err);
    cJSON_Delete(arguments);
    if (status == 0)
        return door_reply(&c, &result);
    text_finish(&result);
    return door_refuse(&c, door_code(status), err);
}

static const hermes_tool http_fetch = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_NET,
    .name = "http_fetch",
    .description = "Fetch a web page.",
    .args_schema = "{\"type\": \"object\", \"properties\": {\"url\": {\"type\": \"string\"}}, \"required\": "
                   "[\"url\"], \"additionalProperties\": false}",
    .timeout_ms = 30000,
    .max_concurrency = 8,
    .invoke = fetch,
};

static const hermes_tool *const tools[] = {&http_fetch, NULL};

static const hermes_plugin plugin = {
    HERMES_PLUGIN_INIT, .name = "http_fetch", .version = "1.0.0",
    .tools = tools,     .init = fetcher_init, .fini = free,
};

HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void) {
    return &plugin;
}
