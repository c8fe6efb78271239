/* One client connection: reads requests one at a time, hands them to a handler, writes what it answers. Inner
 * header of the HTTP files; handlers include daemon/http.h only. [loop-thread]
 *
 * A connection is freed in one place: conn_close() closes its two handles, and when both are closed, the
 * callback of a request or stream that was still open runs and everything goes. */
#ifndef DAEMON_CONN_H
#define DAEMON_CONN_H

#include "daemon/http.h"
#include "daemon/http_in.h"
#include "daemon/listener.h"
#include "daemon/router.h"

#define HTTP_REQUEST_ID_SIZE 32
#define CONN_READ_BYTES      65536

enum conn_phase {
    CONN_READING,  /* waits for a request, or is inside one */
    CONN_HANDLING, /* a handler has the request */
    CONN_STREAM,   /* an event stream is open */
    CONN_LINGER,   /* the last answer is on its way; what still comes in is thrown away */
    CONN_CLOSING,
};

struct http_made {
    struct http_made *next;
    char *key;
    char *text;
};

struct http_request {
    struct conn *conn;
    struct http_in in; /* the parsed request, moved out of the connection */
    char *path;
    char *query;
    struct router_match match;
    char *params[ROUTER_PARAMS]; /* decoded values */
    struct http_made *made;      /* texts that getters had to build, freed with the request */
    struct buf extra;            /* response headers that the handler added */
    bool has_retry_after;
    bool has_should_retry;
    char id[HTTP_REQUEST_ID_SIZE];
    void (*on_close)(struct http_request *req, void *arg);
    void *on_close_arg;
};

struct conn {
    struct http_server *server;
    struct conn *prev;
    struct conn *next;
    const struct listener *listener;
    union {
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
        uv_handle_t handle;
    } io;
    uv_timer_t timer;
    uv_shutdown_t shutdown;
    int open_handles;
    enum conn_phase phase;
    uid_t uid;
    bool counted;      /* in the server's connection counts */
    bool reading;      /* uv_read_start() is on */
    bool eof;          /* the client will send no more */
    bool consuming;    /* conn_consume() is on the stack */
    bool lingering;    /* CONN_LINGER: everything is written */
    size_t queue_seen; /* write queue at the timer's last look */
    uint64_t head_deadline_ms;
    struct http_in in;
    struct buf pending; /* bytes not parsed yet */
    struct http_request *request;
    struct http_stream *stream;
};

/* Takes the connection that waits at `listener` and starts reading it. */
void conn_accept(struct http_server *server, struct listener *listener);
void conn_close(struct conn *conn);
/* Gives `bytes` to the socket; the buffer is emptied. 0, -ENOMEM or -EPIPE (the connection is closing). */
int conn_write(struct conn *conn, struct buf *bytes);
size_t conn_queued(const struct conn *conn);
/* The request or stream has been answered: read the next one or, without `keep_alive`, close in order. */
void conn_answered(struct conn *conn, bool keep_alive);
/* Sends what is queued, then closes. */
void conn_linger(struct conn *conn);
/* Sets the timer that this phase wants. */
void conn_arm(struct conn *conn);

/* ---- http_request.c ---- */

/* Moves the parsed request out of `conn->in`. NULL when memory is out. */
struct http_request *http_request_create(struct conn *conn);
void http_request_destroy(struct http_request *req);
/* Finds the handler and calls it, or answers with the error. */
void http_request_dispatch(struct http_request *req);
/* Status line and headers up to the empty line. `length` < 0: no Content-Length. */
int http_response_head(struct buf *out, const struct http_request *req, int status, const char *content_type,
                       int64_t length, bool keep_alive);
/* An error answer to bytes that never became a request; then the connection closes. */
void http_refuse(struct conn *conn, int status, const char *type, const char *code, const char *message);
void http_make_request_id(struct http_server *server, char id[HTTP_REQUEST_ID_SIZE]);
bool http_keep_alive(const struct http_request *req);

/* ---- sse.c ---- */

/* The connection is gone: runs the callback and frees the stream. */
void http_stream_gone(struct http_stream *stream);
/* A tick of the connection's timer: a comment line for a silent client. */
void http_stream_tick(struct http_stream *stream);

/* ---- http_server.c ---- */

struct http_server {
    uv_loop_t *loop;
    const struct http_route *routes;
    size_t route_count;
    void *app;
    struct http_limits limits;
    struct listener *listeners;
    struct conn *conns;
    unsigned conn_total;   /* all, refused ones included */
    unsigned conn_counted; /* those that may send requests */
    unsigned open_handles; /* listeners that are still closing */
    bool stopping;
    bool destroying;
    void (*done)(void *arg);
    void *done_arg;
    uint64_t request_salt;
    uint64_t request_count;
    char read_bytes[CONN_READ_BYTES];
};

void http_server_add(struct http_server *server, struct conn *conn);
void http_server_remove(struct http_server *server, struct conn *conn);
/* NULL, or the sentence why this client may not have one more connection. */
const char *http_server_full(const struct http_server *server, uid_t uid);

#endif
