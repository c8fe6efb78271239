/* What the daemon says about itself: model, health, version, figures. */
#include "daemon/api.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* ---- the model ---- */

static void write_model(struct json_writer *w, const struct engine_info *info) {
    json_object_begin(w);
    json_key(w, "id");
    json_string(w, info->model_name);
    json_key(w, "object");
    json_string(w, "model");
    json_key(w, "created");
    json_int(w, 0);
    json_key(w, "owned_by");
    json_string(w, "local");
    json_key(w, "device");
    json_string(w, info->device);
    json_key(w, "format");
    json_string(w, info->format);
    json_key(w, "parameters");
    json_int(w, (int64_t)info->n_params);
    json_key(w, "context_length");
    json_int(w, info->max_context);
    json_key(w, "vocabulary");
    json_int(w, info->n_vocab);
    json_key(w, "kv_type");
    json_string(w, engine_kv_name(info->kv));
    json_key(w, "kv_bytes_per_token");
    json_int(w, (int64_t)info->kv_bytes_per_token);
    json_object_end(w);
}

void api_models_list(struct http_request *req, void *app) {
    const struct api *api = app;
    struct engine_info info;
    struct api_answer a;
    engine_info(api->engine, &info);
    api_answer_begin(&a);
    json_object_begin(&a.w);
    json_key(&a.w, "object");
    json_string(&a.w, "list");
    json_key(&a.w, "data");
    json_array_begin(&a.w);
    write_model(&a.w, &info);
    json_array_end(&a.w);
    json_key(&a.w, "first_id");
    json_string(&a.w, info.model_name);
    json_key(&a.w, "last_id");
    json_string(&a.w, info.model_name);
    json_key(&a.w, "has_more");
    json_bool(&a.w, false);
    json_object_end(&a.w);
    api_answer_send(&a, req, 200);
}

void api_models_get(struct http_request *req, void *app) {
    const struct api *api = app;
    struct engine_info info;
    const char *id = http_param(req, "id");
    engine_info(api->engine, &info);
    if (strcmp(id, info.model_name) != 0) {
        http_reply_error(req, 404, "invalid_request_error", "model_not_found", NULL,
                         "the model '%.200s' is not loaded; '%s' is", id, info.model_name);
        return;
    }
    struct api_answer a;
    api_answer_begin(&a);
    write_model(&a.w, &info);
    api_answer_send(&a, req, 200);
}

/* ---- health and version ---- */

void api_health(struct http_request *req, void *app) {
    const struct api *api = app;
    bool stopping = jobs_draining(api->jobs);
    struct engine_info info;
    struct api_answer a;
    engine_info(api->engine, &info);
    api_answer_begin(&a);
    json_object_begin(&a.w);
    json_key(&a.w, "status");
    json_string(&a.w, stopping ? "stopping" : "ok");
    json_key(&a.w, "version");
    json_string(&a.w, HERMESD_VERSION);
    json_key(&a.w, "uptime_s");
    json_int(&a.w, (int64_t)((clock_mono_ns() - api->started_ns) / 1000000000u));
    json_key(&a.w, "pid");
    json_int(&a.w, getpid());
    json_key(&a.w, "model");
    json_string(&a.w, info.model_name);
    json_key(&a.w, "jobs");
    json_object_begin(&a.w);
    json_key(&a.w, "queued");
    json_int(&a.w, jobs_count(api->jobs, false));
    json_key(&a.w, "working");
    json_int(&a.w, jobs_count(api->jobs, true));
    json_object_end(&a.w);
    json_key(&a.w, "tools");
    json_int(&a.w, (int64_t)tools_count(api->tools));
    json_key(&a.w, "connections");
    json_int(&a.w, http_server_connections(api->server));
    json_object_end(&a.w);
    if (stopping) {
        http_add_header(req, "Retry-After", "1");
    }
    api_answer_send(&a, req, stopping ? 503 : 200);
}

void api_version(struct http_request *req, void *app) {
    static const char *const features[] = {"jobs",  "events",      "tools",
                                           "trace", "idempotency", "response_format"};
    (void)app;
    struct api_answer a;
    api_answer_begin(&a);
    json_object_begin(&a.w);
    json_key(&a.w, "version");
    json_string(&a.w, HERMESD_VERSION);
    json_key(&a.w, "api_version");
    json_string(&a.w, HTTP_API_VERSION);
    json_key(&a.w, "min_api_version");
    json_string(&a.w, HTTP_API_VERSION);
    json_key(&a.w, "build");
    json_string(&a.w, "C11, " __VERSION__);
    json_key(&a.w, "features");
    json_array_begin(&a.w);
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        json_string(&a.w, features[i]);
    }
    json_array_end(&a.w);
    json_object_end(&a.w);
    api_answer_send(&a, req, 200);
}

/* ---- figures: the text format of Prometheus, version 0.0.4 ---- */

struct metric {
    struct buf *out;
    int rc;
};

static void head(struct metric *m, const char *name, const char *type, const char *help) {
    m->rc = m->rc == 0 ? buf_printf(m->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type) : m->rc;
}

static void value(struct metric *m, const char *name, const char *label, const char *text, uint64_t n) {
    if (m->rc == 0) {
        m->rc = label != NULL ? buf_printf(m->out, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, text, n)
                              : buf_printf(m->out, "%s %" PRIu64 "\n", name, n);
    }
}

static void job_metrics(struct metric *m, const struct api *api) {
    const struct jobs_counters *c = jobs_counters(api->jobs);
    head(m, "hermesd_jobs", "gauge", "Unfinished jobs by status.");
    value(m, "hermesd_jobs", "status", "queued", (uint64_t)jobs_count(api->jobs, false));
    value(m, "hermesd_jobs", "status", "working", (uint64_t)jobs_count(api->jobs, true));
    head(m, "hermesd_jobs_accepted_total", "counter", "Jobs accepted since the start.");
    value(m, "hermesd_jobs_accepted_total", NULL, NULL, c->accepted);
    head(m, "hermesd_jobs_refused_total", "counter", "Jobs refused because of a full queue or a quota.");
    value(m, "hermesd_jobs_refused_total", NULL, NULL, c->refused);
    head(m, "hermesd_jobs_total", "counter", "Jobs that ended since the start, by status.");
    value(m, "hermesd_jobs_total", "status", "completed", c->completed);
    value(m, "hermesd_jobs_total", "status", "failed", c->failed);
    value(m, "hermesd_jobs_total", "status", "cancelled", c->cancelled);
    head(m, "hermesd_tokens_total", "counter", "Tokens of finished turns, by type.");
    value(m, "hermesd_tokens_total", "type", "input", c->input_tokens);
    value(m, "hermesd_tokens_total", "type", "output", c->output_tokens);
    value(m, "hermesd_tokens_total", "type", "cached", c->cached_tokens);
    value(m, "hermesd_tokens_total", "type", "drafted", c->drafted_tokens);
    value(m, "hermesd_tokens_total", "type", "accepted", c->accepted_tokens);
    value(m, "hermesd_tokens_total", "type", "ahead", c->ahead_tokens);
    head(m, "hermesd_prefix_miss_tokens_total", "counter",
         "Tokens that were computed again though they had been before, by reason.");
    for (int i = 0; i < ENGINE_MISS_REASONS; i++) {
        value(m, "hermesd_prefix_miss_tokens_total", "reason", engine_miss_name((enum engine_miss)i),
              c->missed_tokens[i]);
    }
    head(m, "hermesd_tool_calls_total", "counter", "Calls of jobs, by outcome.");
    for (int i = 0; i <= TOOL_UNAVAILABLE; i++) {
        value(m, "hermesd_tool_calls_total", "outcome", tool_status_name((enum tool_status)i), c->calls[i]);
    }
    head(m, "hermesd_tool_calls_refused_total", "counter",
         "Calls that were not run: no such tool, wrong arguments, a limit.");
    value(m, "hermesd_tool_calls_refused_total", NULL, NULL, c->calls_refused);
}

void api_metrics(struct http_request *req, void *app) {
    const struct api *api = app;
    struct engine_info info;
    struct buf out;
    buf_init(&out, 65536);
    struct metric m = {.out = &out};
    engine_info(api->engine, &info);
    job_metrics(&m, api);
    head(&m, "hermesd_engine_computed_tokens_total", "counter",
         "Tokens that the model has computed, also of turns that are not finished.");
    value(&m, "hermesd_engine_computed_tokens_total", NULL, NULL, engine_computed_tokens(api->engine));
    head(&m, "hermesd_connections", "gauge", "Open client connections.");
    value(&m, "hermesd_connections", NULL, NULL, http_server_connections(api->server));
    head(&m, "hermesd_tools", "gauge", "Registered tools.");
    value(&m, "hermesd_tools", NULL, NULL, tools_count(api->tools));
    head(&m, "hermesd_uptime_seconds", "gauge", "Seconds since the start.");
    value(&m, "hermesd_uptime_seconds", NULL, NULL, (clock_mono_ns() - api->started_ns) / 1000000000u);
    head(&m, "hermesd_journal_queued_bytes", "gauge", "Bytes that wait to be committed.");
    value(&m, "hermesd_journal_queued_bytes", NULL, NULL, journal_queued_bytes(api->journal));
    head(&m, "hermesd_build_info", "gauge", "The version, as a label.");
    value(&m, "hermesd_build_info", "version", HERMESD_VERSION, 1);
    if (m.rc == 0) {
        http_reply_text(req, 200, "text/plain; version=0.0.4", out.data, out.len);
    } else {
        api_fail(req, m.rc, "memory is out");
    }
    buf_finish(&out);
}
