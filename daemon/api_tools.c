/* Tools over HTTP: what there is, and one call with no model and no job. */
#include "daemon/api.h"
#include "daemon/job_request.h"
#include "plugins/hermes_plugin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void write_tool(struct json_writer *w, const struct tool_info *tool) {
    json_object_begin(w);
    json_key(w, "name");
    json_string(w, tool->name);
    json_key(w, "object");
    json_string(w, "tool");
    json_key(w, "description");
    json_string(w, tool->description);
    json_key(w, "parameters");
    json_raw(w, tool->schema, strlen(tool->schema));
    json_key(w, "plugin");
    json_string(w, tool->plugin);
    json_key(w, "plugin_version");
    json_string(w, tool->plugin_version);
    json_key(w, "read_only");
    json_bool(w, (tool->flags & HERMES_T_READ_ONLY) != 0);
    json_key(w, "idempotent");
    json_bool(w, (tool->flags & (HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT)) != 0);
    json_key(w, "poller");
    json_bool(w, (tool->flags & HERMES_T_POLL) != 0);
    json_key(w, "timeout_ms");
    json_int(w, tool->timeout_ms);
    json_key(w, "confinement");
    json_string(w, tool->confinement);
    json_object_end(w);
}

void api_tools_list(struct http_request *req, void *app) {
    const struct api *api = app;
    size_t n = tools_count(api->tools);
    struct api_answer a;
    api_answer_begin(&a);
    json_object_begin(&a.w);
    json_key(&a.w, "object");
    json_string(&a.w, "list");
    json_key(&a.w, "data");
    json_array_begin(&a.w);
    for (size_t i = 0; i < n; i++) {
        write_tool(&a.w, tools_get(api->tools, i));
    }
    json_array_end(&a.w);
    json_key(&a.w, "first_id");
    json_string(&a.w, n > 0 ? tools_get(api->tools, 0)->name : NULL);
    json_key(&a.w, "last_id");
    json_string(&a.w, n > 0 ? tools_get(api->tools, n - 1)->name : NULL);
    json_key(&a.w, "has_more");
    json_bool(&a.w, false);
    json_object_end(&a.w);
    api_answer_send(&a, req, 200);
}

/* NULL: answered with 404. */
static const struct tool_info *find(struct http_request *req, const struct api *api) {
    const char *name = http_param(req, "name");
    const struct tool_info *tool = tools_find(api->tools, name);
    const char *near = tool == NULL ? tools_suggest(api->tools, name) : NULL;
    if (near != NULL) {
        http_reply_error(req, 404, "invalid_request_error", "tool_not_found", NULL,
                         "tool '%.64s' is not registered; did you mean '%s'?", name, near);
    } else if (tool == NULL) {
        http_reply_error(req, 404, "invalid_request_error", "tool_not_found", NULL,
                         "tool '%.64s' is not registered; GET /v1/tools names those that are", name);
    }
    return tool;
}

void api_tools_get(struct http_request *req, void *app) {
    const struct tool_info *tool = find(req, app);
    if (tool != NULL) {
        struct api_answer a;
        api_answer_begin(&a);
        write_tool(&a.w, tool);
        api_answer_send(&a, req, 200);
    }
}

/* ---- calling ---- */

struct direct_call {
    struct http_request *req; /* NULL: the client has left */
    struct tool_call *running;
    char name[65];
};

static void on_client_left(struct http_request *req, void *arg) {
    (void)req;
    struct direct_call *call = arg;
    call->req = NULL;
    tools_cancel(call->running);
}

static void write_result(struct json_writer *w, const struct direct_call *call,
                         const struct tool_result *result) {
    /* The words of daemon/api.md: what they leave out is an error that the text explains. */
    bool own =
        result->status == TOOL_ERROR || result->status == TOOL_TRANSIENT || result->status == TOOL_TOO_LARGE;
    json_object_begin(w);
    json_key(w, "object");
    json_string(w, "tool_result");
    json_key(w, "name");
    json_string(w, call->name);
    json_key(w, "status");
    json_string(w, own ? "error" : tool_status_name(result->status));
    json_key(w, "is_error");
    json_bool(w, result->status != TOOL_OK);
    json_key(w, "output");
    json_string_n(w, result->text != NULL ? result->text : "", result->text != NULL ? result->len : 0);
    json_key(w, "is_json");
    json_bool(w, result->is_json);
    json_key(w, "duration_ms");
    json_number(w, result->duration_ms);
    json_key(w, "pid");
    json_int(w, result->pid);
    json_key(w, "exit_code");
    json_int(w, result->exit_code);
    json_key(w, "signal");
    json_int(w, result->signal);
    json_object_end(w);
}

static void on_done(void *arg, const struct tool_result *result) {
    struct direct_call *call = arg;
    if (call->req != NULL) {
        struct api_answer a;
        api_answer_begin(&a);
        write_result(&a.w, call, result);
        http_on_close(call->req, NULL, NULL);
        api_answer_send(&a, call->req, 200);
    }
    free(call);
}

static void start(struct http_request *req, const struct api *api, const struct tool_info *tool,
                  const char *arguments, size_t len) {
    struct direct_call *call = calloc(1, sizeof *call);
    char err[512] = "";
    if (call == NULL) {
        api_fail(req, -ENOMEM, "memory is out");
        return;
    }
    struct tool_request request = {
        .name = tool->name,
        .arguments = arguments,
        .len = len,
        .idempotency_key = http_header(req, "idempotency-key"),
        .done = on_done,
        .arg = call,
    };
    call->req = req;
    (void)!err_set(call->name, sizeof call->name, 0, "%s", tool->name);
    if (request.idempotency_key == NULL) {
        request.idempotency_key = http_request_id(req);
    }
    int rc = tools_check(api->tools, tool->name, arguments, len, err, sizeof err);
    rc = rc == 0 ? tools_call(api->tools, &request, &call->running, err, sizeof err) : rc;
    if (rc == 0) {
        http_on_close(req, on_client_left, call);
        return;
    }
    free(call);
    if (rc == -EINVAL) {
        http_reply_error(req, 400, "invalid_request_error", "invalid_arguments", "arguments", "%s", err);
    } else if (rc == -EAGAIN) {
        http_reply_error(req, 429, "rate_limit_error", "queue_full", NULL, "%s", err);
    } else {
        api_fail(req, rc, err);
    }
}

void api_tools_call(struct http_request *req, void *app) {
    const struct api *api = app;
    cJSON *json = NULL;
    char err[256] = "";
    size_t len = 0;
    if (jobs_draining(api->jobs)) {
        http_reply_error(req, 503, "server_error", "shutting_down", NULL, "the daemon is stopping");
        return;
    }
    const struct tool_info *tool = find(req, api);
    if (tool == NULL) {
        return;
    }
    const char *body = http_body(req, &len);
    int rc = json_parse(body, len, &json_limits_default, &json, err, sizeof err);
    const cJSON *arguments = rc == 0 ? cJSON_GetObjectItemCaseSensitive(json, "arguments") : NULL;
    if (rc != 0) {
        http_reply_error(req, 400, "invalid_request_error", "invalid_json", NULL,
                         "the body is no JSON that is accepted here: %s", err);
    } else if (!cJSON_IsObject(arguments)) {
        http_reply_error(req, 400, "invalid_request_error", "invalid_value", "arguments",
                         "'arguments' must be an object");
    } else {
        char *text = cJSON_PrintUnformatted(arguments);
        if (text == NULL) {
            api_fail(req, -ENOMEM, "memory is out");
        } else {
            start(req, api, tool, text, strlen(text));
        }
        cJSON_free(text);
    }
    cJSON_Delete(json);
}
