#include "daemon/api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct http_route api_routes[] = {
    {"POST", "/v1/jobs", api_jobs_submit},
    {"GET", "/v1/jobs", api_jobs_list},
    {"GET", "/v1/jobs/{id}", api_jobs_get},
    {"DELETE", "/v1/jobs/{id}", api_jobs_delete},
    {"GET", "/v1/jobs/{id}/events", api_jobs_events},
    {"POST", "/v1/jobs/{id}/cancel", api_jobs_cancel},
    {"GET", "/v1/jobs/{id}/trace", api_jobs_trace},
    {"GET", "/v1/tools", api_tools_list},
    {"GET", "/v1/tools/{name}", api_tools_get},
    {"POST", "/v1/tools/{name}/call", api_tools_call},
    {"GET", "/v1/models", api_models_list},
    {"GET", "/v1/models/{id}", api_models_get},
    {"GET", "/health", api_health},
    {"GET", "/v1/health", api_health},
    {"GET", "/version", api_version},
    {"GET", "/metrics", api_metrics},
};
const size_t api_route_count = sizeof api_routes / sizeof *api_routes;

void api_answer_begin(struct api_answer *a) {
    buf_init(&a->body, API_ANSWER_MAX);
    json_writer_begin(&a->w, &a->body);
}

void api_answer_send(struct api_answer *a, struct http_request *req, int status) {
    if (json_writer_end(&a->w) == 0) {
        http_reply_json(req, status, &a->body);
    } else {
        api_fail(req, -ENOMEM, "the answer is too large, or memory is out");
    }
    buf_finish(&a->body);
}

void api_fail(struct http_request *req, int rc, const char *sentence) {
    if (rc == -EAGAIN) {
        http_reply_error(req, 503, "server_error", "busy", NULL, "%s", sentence);
    } else if (rc == -ENOSPC) {
        http_reply_error(req, 503, "server_error", "disk_full", NULL, "%s", sentence);
    } else {
        http_reply_error(req, 500, "server_error", "internal_error", NULL, "%s", sentence);
    }
}

bool api_query_number(struct http_request *req, const char *name, int64_t min, int64_t max, int64_t fallback,
                      int64_t *out) {
    const char *text = http_query(req, name);
    char *end = NULL;
    *out = fallback;
    if (text == NULL) {
        return true;
    }
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (text[strspn(text, "0123456789")] != '\0' || text[0] == '\0' || errno != 0 || n < min || n > max) {
        http_reply_error(req, 400, "invalid_request_error", "invalid_value", name,
                         "'%s' must be a whole number from %lld to %lld", name, (long long)min,
                         (long long)max);
        return false;
    }
    *out = n;
    return true;
}

/* ---- requests that wait for the journal ---- */

static void on_client_left(struct http_request *req, void *arg) {
    (void)req;
    struct api_pending *pending = arg;
    pending->req = NULL;
}

struct api_pending *api_pending_create(struct api *api, struct http_request *req,
                                       void (*then)(struct api_pending *pending,
                                                    const struct journal_result *result)) {
    struct api_pending *pending = calloc(1, sizeof *pending);
    if (pending == NULL) {
        api_fail(req, -ENOMEM, "memory is out");
        return NULL;
    }
    pending->api = api;
    pending->req = req;
    pending->then = then;
    http_on_close(req, on_client_left, pending);
    return pending;
}

void api_pending_done(void *arg, const struct journal_result *result) {
    struct api_pending *pending = arg;
    if (pending->req != NULL) {
        pending->then(pending, result);
    }
    free(pending);
}

void api_pending_refuse(struct api_pending *pending, int rc) {
    api_fail(api_pending_take(pending), rc, "the journal is busy; try again");
    free(pending);
}

struct http_request *api_pending_take(struct api_pending *pending) {
    struct http_request *req = pending->req;
    pending->req = NULL;
    http_on_close(req, NULL, NULL);
    return req;
}
