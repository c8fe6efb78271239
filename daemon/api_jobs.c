/* Jobs over HTTP: reading what a client asks, answering with what is known. */
#include "daemon/api.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MAX_S     600
#define CANCEL_WAIT_MS 2000
/* An owner that no job has: who may see its jobs may see all. */
#define NOBODY  (-2)
#define KEY_MAX 255

static void no_such_job(struct http_request *req, const char *id) {
    http_reply_error(req, 404, "invalid_request_error", "job_not_found", NULL, "there is no job '%.64s'", id);
}

static void reply_row(struct http_request *req, int status, const struct journal_job *row) {
    struct api_answer a;
    api_answer_begin(&a);
    job_object_write(&a.w, row);
    api_answer_send(&a, req, status);
}

/* ---- submitting ---- */

static bool wants_stream(struct http_request *req, enum http_stream_kind *kind) {
    bool sse = http_accepts(req, "text/event-stream");
    bool ndjson = http_accepts(req, "application/x-ndjson");
    *kind = ndjson && !sse ? HTTP_NDJSON : HTTP_SSE;
    return sse || ndjson;
}

/* "wait=30" of the Prefer header (RFC 7240), in seconds; 0 for none. */
static int64_t preferred_wait(const struct http_request *req) {
    const char *prefer = http_header(req, "prefer");
    while (prefer != NULL && *prefer != '\0') {
        prefer += strspn(prefer, " \t,;");
        if (strncasecmp(prefer, "wait=", 5) == 0) {
            long n = strtol(prefer + 5, NULL, 10);
            return n < 0 ? 0 : n > WAIT_MAX_S ? WAIT_MAX_S : n;
        }
        prefer += strcspn(prefer, ",;");
    }
    return 0;
}

static void answer_existing(struct api_pending *pending, const struct journal_result *result) {
    if (result->status != 0) {
        api_fail(api_pending_take(pending), result->status, result->err);
        return;
    }
    struct job *job = jobs_find(pending->api->jobs, result->jobs[0].id);
    http_add_header(pending->req, "Idempotent-Replayed", "true");
    reply_row(api_pending_take(pending), 200, job != NULL ? job_row(job) : &result->jobs[0]);
}

/* The key is known: the same request gets the first job, as a stream where a stream was asked for. */
static void on_existing(struct api_pending *pending, const struct jobs_accepted *result) {
    struct api *api = pending->api;
    struct http_request *req = api_pending_take(pending);
    if (!result->same) {
        http_reply_error(req, 422, "invalid_request_error", "idempotency_key_reused", "Idempotency-Key",
                         "the key was used for job %s with another body", result->existing);
        return;
    }
    enum http_stream_kind kind;
    if (wants_stream(req, &kind)) {
        jobs_watch(api->jobs, req, kind, result->existing, 0);
        return;
    }
    struct api_pending *next = api_pending_create(api, req, answer_existing);
    if (next != NULL) {
        int rc = journal_read_job(api->journal, result->existing, api_pending_done, next);
        if (rc != 0) {
            api_pending_refuse(next, rc);
        }
    }
}

static void reply_problem(struct http_request *req, int rc, const struct job_problem *problem) {
    const char *param = problem->param[0] != '\0' ? problem->param : NULL;
    if (rc == -EAGAIN) {
        http_reply_error(req, 429, "rate_limit_error", problem->code, param, "%s", problem->message);
    } else if (rc == -ESHUTDOWN) {
        http_reply_error(req, 503, "server_error", problem->code, param, "%s", problem->message);
    } else if (rc == -EINVAL) {
        http_reply_error(req, 400, "invalid_request_error", problem->code, param, "%s", problem->message);
    } else {
        http_reply_error(req, 500, "server_error", problem->code, param, "%s", problem->message);
    }
}

static void on_accepted(void *arg, const struct jobs_accepted *result) {
    struct api_pending *pending = arg;
    if (pending->req == NULL) {
        free(pending);
        return;
    }
    if (result->status == -EEXIST) {
        on_existing(pending, result);
        free(pending);
        return;
    }
    struct api *api = pending->api;
    struct http_request *req = api_pending_take(pending);
    free(pending);
    if (result->problem != NULL) {
        reply_problem(req, result->status, result->problem);
        return;
    }
    if (result->status != 0) {
        api_fail(req, result->status, result->err);
        return;
    }
    char location[64];
    enum http_stream_kind kind;
    const char *id = job_row(result->job)->id;
    (void)!err_set(location, sizeof location, 0, "/v1/jobs/%s", id);
    http_add_header(req, "Location", location);
    if (wants_stream(req, &kind)) {
        jobs_watch(api->jobs, req, kind, id, 0);
    } else {
        jobs_wait(result->job, req, (uint64_t)preferred_wait(req) * 1000, 202);
    }
}

void api_jobs_submit(struct http_request *req, void *app) {
    struct api *api = app;
    struct job_request request;
    struct job_problem problem = {0};
    const char *key = http_header(req, "idempotency-key");
    size_t len = 0;
    const char *body = http_body(req, &len);
    if (jobs_draining(api->jobs)) {
        http_reply_error(req, 503, "server_error", "shutting_down", NULL, "the daemon is stopping");
        return;
    }
    if (key != NULL && (key[0] == '\0' || strlen(key) > KEY_MAX)) {
        http_reply_error(req, 400, "invalid_request_error", "invalid_value", "Idempotency-Key",
                         "the key must have 1 to %d bytes", KEY_MAX);
        return;
    }
    int rc = job_request_parse(body, len, &request, &problem);
    if (rc != 0) {
        reply_problem(req, rc, &problem);
        return;
    }
    if (request.priority > 0 && !jobs_may_see(req, NOBODY)) {
        http_reply_error(req, 403, "permission_error", "priority_not_allowed", "priority",
                         "a priority above 0 is for root and the user of the daemon");
        job_request_finish(&request);
        return;
    }
    struct api_pending *pending = api_pending_create(api, req, NULL);
    if (pending == NULL) {
        job_request_finish(&request);
        return;
    }
    uid_t uid = http_peer_uid(req);
    rc = jobs_submit(api->jobs, &request, body, len, uid == (uid_t)-1 ? -1 : (int64_t)uid, key, on_accepted,
                     pending, &problem);
    if (rc != 0) {
        reply_problem(api_pending_take(pending), rc, &problem);
        free(pending);
    }
}

/* ---- listing ---- */

static void answer_list(struct api_pending *pending, const struct journal_result *result) {
    if (result->status == -ENOENT) {
        http_reply_error(api_pending_take(pending), 400, "invalid_request_error", "invalid_value", "after",
                         "'after' is the id of no job");
        return;
    }
    if (result->status != 0) {
        api_fail(api_pending_take(pending), result->status, result->err);
        return;
    }
    struct api_answer a;
    api_answer_begin(&a);
    json_object_begin(&a.w);
    json_key(&a.w, "object");
    json_string(&a.w, "list");
    json_key(&a.w, "data");
    json_array_begin(&a.w);
    for (size_t i = 0; i < result->n_jobs; i++) {
        const struct job *live = jobs_find(pending->api->jobs, result->jobs[i].id);
        job_object_write(&a.w, live != NULL ? job_row(live) : &result->jobs[i]);
    }
    json_array_end(&a.w);
    json_key(&a.w, "first_id");
    json_string(&a.w, result->n_jobs > 0 ? result->jobs[0].id : NULL);
    json_key(&a.w, "last_id");
    json_string(&a.w, result->n_jobs > 0 ? result->jobs[result->n_jobs - 1].id : NULL);
    json_key(&a.w, "has_more");
    json_bool(&a.w, result->has_more);
    json_object_end(&a.w);
    api_answer_send(&a, api_pending_take(pending), 200);
}

static bool list_query(struct http_request *req, struct journal_jobs_query *query) {
    static const char *const states[] = {"queued",    "working",   "input_required",
                                         "completed", "cancelled", "failed"};
    const char *order = http_query(req, "order");
    int64_t limit = 0;
    bool known = false;
    query->status = http_query(req, "status");
    query->after = http_query(req, "after");
    query->match = http_query(req, "match");
    for (size_t i = 0; query->status != NULL && i < sizeof states / sizeof *states; i++) {
        known |= strcmp(query->status, states[i]) == 0;
    }
    if (query->status != NULL && !known) {
        http_reply_error(req, 400, "invalid_request_error", "invalid_value", "status",
                         "'status' must be a job state, such as working or completed");
        return false;
    }
    if (order != NULL && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0) {
        http_reply_error(req, 400, "invalid_request_error", "invalid_value", "order",
                         "'order' must be asc or desc");
        return false;
    }
    if (!api_query_number(req, "limit", 1, 100, 20, &limit)) {
        return false;
    }
    query->limit = (int)limit;
    query->oldest_first = order != NULL && order[0] == 'a';
    query->client_uid = jobs_may_see(req, NOBODY) ? -1 : (int64_t)http_peer_uid(req);
    return true;
}

void api_jobs_list(struct http_request *req, void *app) {
    struct api *api = app;
    struct journal_jobs_query query = {0};
    if (!list_query(req, &query)) {
        return;
    }
    struct api_pending *pending = api_pending_create(api, req, answer_list);
    int rc = pending != NULL ? journal_read_jobs(api->journal, &query, api_pending_done, pending) : 0;
    if (rc != 0) {
        api_pending_refuse(pending, rc);
    }
}

/* ---- one job ---- */

/* The live job of the path, or NULL after asking the journal for it (`then`) or answering 404. */
static struct job *find(struct http_request *req, struct api *api,
                        void (*then)(struct api_pending *pending, const struct journal_result *result),
                        struct api_pending **out) {
    const char *id = http_param(req, "id");
    struct job *job = jobs_find(api->jobs, id);
    *out = NULL;
    if (strlen(id) >= JOB_ID_SIZE || (job != NULL && !jobs_may_see(req, (int64_t)job_owner(job)))) {
        no_such_job(req, id);
        return NULL;
    }
    if (job != NULL) {
        return job;
    }
    struct api_pending *pending = api_pending_create(api, req, then);
    if (pending != NULL) {
        strncpy(pending->job_id, id, sizeof pending->job_id - 1);
        int rc = journal_read_job(api->journal, id, api_pending_done, pending);
        if (rc != 0) {
            api_pending_refuse(pending, rc);
            pending = NULL;
        }
    }
    *out = pending;
    return NULL;
}

/* False: the request was answered. */
static bool is_there(struct api_pending *pending, const struct journal_result *result) {
    if (result->status != 0 && result->status != -ENOENT) {
        api_fail(api_pending_take(pending), result->status, result->err);
        return false;
    }
    if (result->status == -ENOENT || !jobs_may_see(pending->req, result->jobs[0].client_uid)) {
        no_such_job(api_pending_take(pending), pending->job_id);
        return false;
    }
    return true;
}

static void answer_row(struct api_pending *pending, const struct journal_result *result) {
    if (is_there(pending, result)) {
        reply_row(api_pending_take(pending), 200, &result->jobs[0]);
    }
}

void api_jobs_get(struct http_request *req, void *app) {
    struct api_pending *pending = NULL;
    struct job *job = find(req, app, answer_row, &pending);
    if (job != NULL) {
        reply_row(req, 200, job_row(job));
    }
}

void api_jobs_cancel(struct http_request *req, void *app) {
    struct api_pending *pending = NULL;
    struct job *job = find(req, app, answer_row, &pending);
    if (job != NULL) {
        jobs_cancel(job);
        jobs_wait(job, req, CANCEL_WAIT_MS, 200);
    }
}

static void answer_deleted(struct api_pending *pending, const struct journal_result *result) {
    if (result->status == 0) {
        http_reply_json(api_pending_take(pending), 204, NULL);
    } else if (result->status == -ENOENT) {
        no_such_job(api_pending_take(pending), pending->job_id);
    } else {
        api_fail(api_pending_take(pending), result->status, result->err);
    }
}

static void delete_row(struct api_pending *pending, const struct journal_result *result) {
    if (!is_there(pending, result)) {
        return;
    }
    struct api *api = pending->api;
    struct http_request *req = api_pending_take(pending);
    struct api_pending *next = api_pending_create(api, req, answer_deleted);
    struct journal_batch *batch = journal_batch_create();
    if (next == NULL) {
        journal_batch_destroy(batch);
        return;
    }
    memcpy(next->job_id, pending->job_id, sizeof next->job_id);
    int rc = -ENOMEM;
    if (batch != NULL) {
        journal_add_job_deleted(batch, next->job_id);
        rc = journal_submit(api->journal, batch, api_pending_done, next);
    }
    if (rc != 0) {
        api_pending_refuse(next, rc);
    }
}

void api_jobs_delete(struct http_request *req, void *app) {
    struct api_pending *pending = NULL;
    struct job *job = find(req, app, delete_row, &pending);
    if (job != NULL) {
        http_reply_error(req, 409, "invalid_request_error", "job_not_terminal", NULL,
                         "the job %s has not ended; cancel it first", job_row(job)->id);
    }
}

/* ---- events ---- */

static void answer_events(struct api_pending *pending, const struct journal_result *result) {
    if (is_there(pending, result)) {
        struct api *api = pending->api;
        jobs_watch(api->jobs, api_pending_take(pending), pending->kind, pending->job_id, pending->number);
    }
}

void api_jobs_events(struct http_request *req, void *app) {
    struct api *api = app;
    struct api_pending *pending = NULL;
    enum http_stream_kind kind;
    int64_t after = 0;
    const char *last = http_header(req, "last-event-id");
    (void)wants_stream(req, &kind);
    if (!api_query_number(req, "starting_after", 0, INT64_MAX, 0, &after)) {
        return;
    }
    if (last != NULL) {
        char *end = NULL;
        errno = 0;
        after = strtoll(last, &end, 10);
        if (end == last || *end != '\0' || errno != 0 || after < 0) {
            http_reply_error(req, 400, "invalid_request_error", "invalid_value", "Last-Event-ID",
                             "Last-Event-ID must be the number of an event");
            return;
        }
    }
    struct job *job = find(req, api, answer_events, &pending);
    if (job != NULL) {
        jobs_watch(api->jobs, req, kind, job_row(job)->id, after);
    } else if (pending != NULL) {
        pending->kind = kind;
        pending->number = after;
    }
}

/* ---- the trace ---- */

static void answer_trace(struct api_pending *pending, const struct journal_result *result) {
    if (is_there(pending, result)) {
        const struct job *live = jobs_find(pending->api->jobs, pending->job_id);
        struct api_answer a;
        api_answer_begin(&a);
        job_trace_write(&a.w, live != NULL ? job_row(live) : &result->jobs[0], result);
        api_answer_send(&a, api_pending_take(pending), 200);
    }
}

void api_jobs_trace(struct http_request *req, void *app) {
    struct api *api = app;
    const char *id = http_param(req, "id");
    const char *format = http_query(req, "format");
    if (format != NULL && strcmp(format, "tree") != 0) {
        http_reply_error(req, 400, "invalid_request_error", "invalid_value", "format",
                         "'format' must be tree");
        return;
    }
    if (strlen(id) >= JOB_ID_SIZE) {
        no_such_job(req, id);
        return;
    }
    struct api_pending *pending = api_pending_create(api, req, answer_trace);
    if (pending == NULL) {
        return;
    }
    strncpy(pending->job_id, id, sizeof pending->job_id - 1);
    int rc = journal_read_trace(api->journal, id, api_pending_done, pending);
    if (rc != 0) {
        api_pending_refuse(pending, rc);
    }
}
