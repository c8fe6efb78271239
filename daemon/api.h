/* The routes of daemon/api.md and what their handlers share. [loop-thread] */
#ifndef DAEMON_API_H
#define DAEMON_API_H

#include "daemon/http.h"
#include "daemon/jobs.h"
#include "daemon/journal.h"
#include "engine/engine.h"
#include "tools/tools.h"

/* The `app` of every handler; everything is borrowed. */
struct api {
    struct jobs *jobs;
    struct tools *tools;
    struct engine *engine;
    struct journal *journal;
    struct http_server *server;
    uint64_t started_ns; /* monotonic */
};

extern const struct http_route api_routes[];
extern const size_t api_route_count;

/* api_jobs.c */
void api_jobs_submit(struct http_request *req, void *app);
void api_jobs_list(struct http_request *req, void *app);
void api_jobs_get(struct http_request *req, void *app);
void api_jobs_cancel(struct http_request *req, void *app);
void api_jobs_delete(struct http_request *req, void *app);
void api_jobs_events(struct http_request *req, void *app);
void api_jobs_trace(struct http_request *req, void *app);
/* api_tools.c */
void api_tools_list(struct http_request *req, void *app);
void api_tools_get(struct http_request *req, void *app);
void api_tools_call(struct http_request *req, void *app);
/* api_info.c */
void api_models_list(struct http_request *req, void *app);
void api_models_get(struct http_request *req, void *app);
void api_health(struct http_request *req, void *app);
void api_version(struct http_request *req, void *app);
void api_metrics(struct http_request *req, void *app);

/* ---- api.c: shared ---- */

#define API_ANSWER_MAX ((size_t)64 << 20)

struct api_answer {
    struct buf body;
    struct json_writer w;
};
void api_answer_begin(struct api_answer *a);
/* Sends it, or a 500 when it could not be built. */
void api_answer_send(struct api_answer *a, struct http_request *req, int status);
/* 500 from a sentence, 503 for a queue that is full. */
void api_fail(struct http_request *req, int rc, const char *sentence);
/* A query member as a number in a range: `fallback` when absent; false: the request was answered with 400. */
bool api_query_number(struct http_request *req, const char *name, int64_t min, int64_t max, int64_t fallback,
                      int64_t *out);

/* A request that waits for the journal. `req` is NULL when the client has left. */
struct api_pending {
    struct api *api;
    struct http_request *req;
    void (*then)(struct api_pending *pending, const struct journal_result *result);
    char job_id[JOB_ID_SIZE];
    int64_t number;
    enum http_stream_kind kind;
};
/* NULL: memory is out, and the request was answered. */
struct api_pending *api_pending_create(struct api *api, struct http_request *req,
                                       void (*then)(struct api_pending *pending,
                                                    const struct journal_result *result));
/* The journal's `done`: calls `then` while the client is there, then frees. */
void api_pending_done(void *arg, const struct journal_result *result);
/* After a read that the journal did not take: answers and frees. */
void api_pending_refuse(struct api_pending *pending, int rc);
/* Takes the request back, to answer it in another way. */
struct http_request *api_pending_take(struct api_pending *pending);

#endif
