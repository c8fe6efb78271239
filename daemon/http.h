/* HTTP/1.1 as a handler sees it: a request that came in whole, and three ways to answer it.
 *
 * A handler is called once per request, after the whole body has arrived. It answers at once or keeps the
 * pointer and answers later: exactly one of http_reply_*() or http_stream_begin() ends the request, and the
 * pointer must not be used after that. If the client leaves first, the on_close callback runs (always from
 * the loop, never from inside a call made by the handler) and the pointer is gone when it returns.
 *
 * Requests on one connection are handled one at a time, in order. Every answer carries x-request-id and
 * Hermesd-Api-Version. Everything here is [loop-thread].
 *
 * Limits, error codes and events: daemon/api.md; errors have the OpenAI shape. */
#ifndef DAEMON_HTTP_H
#define DAEMON_HTTP_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#define HTTP_API_VERSION "1.0"

struct http_request;
struct http_stream;
struct http_server;

/* ---- routes ---- */

/* `pattern`: segments between slashes; "{name}" matches one segment (percent-decoded) and is read with
 * http_param(). A literal segment wins over a parameter. HEAD is answered by the GET route without a body. */
struct http_route {
    const char *method;
    const char *pattern;
    void (*handle)(struct http_request *req, void *app);
};

/* ---- reading a request; texts are NUL-terminated and borrowed until the request ends ---- */

const char *http_method(const struct http_request *req);
const char *http_path(const struct http_request *req); /* as sent, without the query */
/* A parameter of the route's pattern; NULL when the pattern has none of that name. */
const char *http_param(const struct http_request *req, const char *name);
/* A query member, decoded ('+' is a space); "" when present without a value, NULL when absent. */
const char *http_query(const struct http_request *req, const char *name);
/* A header by its name in any case; values of repeated headers are joined with ", ". NULL when absent. */
const char *http_header(const struct http_request *req, const char *name);
/* True when the Accept header names `type` ("text/event-stream"); wildcards do not count. */
bool http_accepts(const struct http_request *req, const char *type);
/* The body; NUL-terminated one byte past *len. Never NULL. */
const char *http_body(const struct http_request *req, size_t *len);
/* The body, given away: the caller frees it. NULL when memory is out. */
char *http_body_take(struct http_request *req, size_t *len);
/* The uid at the other end of the Unix socket (SO_PEERCRED at accept); (uid_t)-1 for TCP. */
uid_t http_peer_uid(const struct http_request *req);
const char *http_request_id(const struct http_request *req);

/* ---- a request that is answered later ---- */

/* A handler that answers later must set this. Called once if the connection goes away before the request is
 * answered. The request is freed when it returns; do not answer it. */
void http_on_close(struct http_request *req, void (*on_close)(struct http_request *req, void *arg),
                   void *arg);

/* ---- answering ---- */

/* Adds one response header before the answer ("Location", "Retry-After"). Text with CR or LF is dropped. */
void http_add_header(struct http_request *req, const char *name, const char *value);
/* Every reply copies what it needs and ends the request. `body` is JSON, borrowed; NULL sends no body. */
void http_reply_json(struct http_request *req, int status, const struct buf *body);
void http_reply_text(struct http_request *req, int status, const char *content_type, const char *text,
                     size_t len);
/* {"error":{"message","type","param","code"}}. `type` is "invalid_request_error", "server_error", …; `param`
 * is the request member at fault or NULL. 429 and 503 get "Retry-After: 1" unless one was added. A 500 gets
 * "x-should-retry: false" unless that header was added. */
void http_reply_error(struct http_request *req, int status, const char *type, const char *code,
                      const char *param, const char *fmt, ...) HX_PRINTF(6, 7);

/* ---- event streams ---- */

enum http_stream_kind { HTTP_SSE, HTTP_NDJSON };

/* Sends 200 and the headers; the request ends, the stream begins. `on_close` runs once, from the loop, if the
 * connection goes away before http_stream_end() (the client left, or was too slow); the stream is freed when
 * it returns. Until then http_stream_event() does nothing. A comment line keeps an idle SSE stream alive.
 * NULL when memory is out (the request was then answered with 500). */
struct http_stream *http_stream_begin(struct http_request *req, enum http_stream_kind kind,
                                      void (*on_close)(struct http_stream *stream, void *arg), void *arg);

#define HTTP_EVENT_DELTA (-1) /* no id; dropped while more than 1 MiB waits for the client */
#define HTTP_EVENT_PLAIN (-2) /* no id; never dropped */

/* One event: `id` >= 0 is sent as its id and never dropped. `name` may be NULL (SSE without "event:"; NDJSON
 * never shows name or id, the JSON repeats them). `json` is one line. Above 4 MiB waiting, the client gets
 * "event: error" with the code slow_consumer and the connection closes.
 * Returns 0, -EAGAIN (a delta was dropped), -EPIPE (the stream is closing), -ENOMEM (closing too). */
int http_stream_event(struct http_stream *stream, int64_t id, const char *name, const char *json, size_t len);
/* Raw text of a stream with its own ending ("data: [DONE]\n\n"); never dropped. Results as above. */
int http_stream_raw(struct http_stream *stream, const char *text, size_t len);
/* Ends the stream in order; on_close is not called; the pointer is gone. */
void http_stream_end(struct http_stream *stream);
/* Bytes that still wait for this client. */
size_t http_stream_queued(const struct http_stream *stream);

/* ---- the server (used by main and by tests) ---- */

struct http_limits {
    size_t max_header_bytes;    /* request line + headers, 431 */
    size_t max_headers;         /* 431 */
    size_t max_url_bytes;       /* 414 */
    size_t max_body_bytes;      /* 413 */
    unsigned header_timeout_ms; /* first byte to end of headers, 408 */
    unsigned body_timeout_ms;   /* without a byte of the body, 408 */
    unsigned idle_timeout_ms;   /* kept-alive connection without a request: closed */
    unsigned write_timeout_ms;  /* answer not read at all for so long: closed */
    unsigned keepalive_ms;      /* comment line on a silent event stream */
    unsigned max_connections;
    unsigned max_connections_per_uid;
    size_t stream_drop_bytes;  /* above: deltas are dropped */
    size_t stream_close_bytes; /* above: slow_consumer */
};
/* 16 KiB, 100, 8 KiB, 8 MiB, 10 s, 30 s, 75 s, 60 s, 15 s, 256, 64, 1 MiB, 4 MiB. */
extern const struct http_limits http_limits_default;

/* `routes` (borrowed for the server's life) and `app` (given to every handler). `limits` NULL: the defaults.
 * NULL when memory is out. */
struct http_server *http_server_create(uv_loop_t *loop, const struct http_route *routes, size_t route_count,
                                       void *app, const struct http_limits *limits);
/* Listens on a Unix socket at `path`: 0600, in a folder that is created 0700 when missing, under a lock file
 * "<path>.lock". -ENAMETOOLONG, -EADDRINUSE (a live daemon, or something that is no socket of ours),
 * -EACCES (the folder is writable by others), or another errno; the sentence names the path. */
HX_MUST_CHECK int http_server_listen_unix(struct http_server *server, const char *path, char *err,
                                          size_t errlen);
/* Listens on loopback TCP (`host` 127.0.0.1 or ::1; port 0 picks one). `token` (copied) is wanted as
 * "Authorization: Bearer TOKEN"; NULL means that the operator wrote out that none is needed. *port gets the
 * real port; may be NULL. */
HX_MUST_CHECK int http_server_listen_tcp(struct http_server *server, const char *host, int port,
                                         const char *token, int *bound_port, char *err, size_t errlen);
/* Stops accepting and removes the socket file. Open connections finish what they are at and get
 * "Connection: close". */
void http_server_stop(struct http_server *server);
/* Closes every connection (their on_close callbacks run) and frees the server; `done` runs after the last
 * handle is closed. Run the loop until then. */
void http_server_destroy(struct http_server *server, void (*done)(void *arg), void *arg);
unsigned http_server_connections(const struct http_server *server);

#endif
