/* A server with a few routes on a real Unix socket, its loop in a thread of its own, and raw clients. */
#ifndef TESTS_DAEMON_HTTP_FIXTURE_H
#define TESTS_DAEMON_HTTP_FIXTURE_H

#include "daemon/http.h"

#include <pthread.h>
#include <stdatomic.h>

struct fixture {
    char folder[64];
    char path[96];
    uv_loop_t loop;
    uv_async_t wake;
    pthread_t thread;
    struct http_server *server;
    struct http_limits limits;
    struct http_request *later; /* a request of /later, loop thread only */
    uv_timer_t timer;
    struct http_stream *stream;
    uv_timer_t pump;
    bool pumping;
    int tcp_port;
    atomic_int closed;  /* requests and streams whose client left */
    atomic_int handled; /* requests that reached a handler */
    atomic_int dropped; /* deltas that were dropped */
    atomic_int durable; /* ids that were sent */
    atomic_int slow;    /* streams that ended in -EPIPE */
    atomic_bool stop_asked;
    atomic_bool drain_asked;
};

/* NULL limits: the defaults. Routes:
 *   GET  /v1/hello             {"hello": "world"}
 *   POST /v1/echo              the body, as application/json
 *   GET  /v1/things/{id}/part  {"id": …, "q": …}
 *   GET  /v1/later             answered after 30 ms; a client that leaves is counted in `closed`
 *   GET  /v1/never             never answered; as above
 *   GET  /v1/stream            SSE (or NDJSON): three events and the end
 *   GET  /v1/flood             a durable event and 64 deltas of 1 KiB, again and again, without end
 *   GET  /v1/silent            an SSE stream without events */
struct fixture *fixture_start(const struct http_limits *limits, const char *token);
void fixture_stop(struct fixture *f);

int fixture_connect(const struct fixture *f);
int fixture_connect_tcp(const struct fixture *f);
/* Writes everything; false when the other end is gone. */
bool send_all(int fd, const char *text, size_t len);
/* Reads until the end of the connection; NUL-terminated, freed by the caller. */
char *receive_all(int fd);
/* Reads one response with a Content-Length (or the headers of one without); NUL-terminated, freed by the
 * caller. NULL at the end of the connection. */
char *receive_one(int fd);
/* Connects, sends, closes the writing side, reads to the end. */
char *exchange(const struct fixture *f, const char *text);
int status_of(const char *response);
const char *body_of(const char *response);

#endif
