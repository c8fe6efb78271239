#include "daemon/sse.h"

#include "base/json.h"
#include "daemon/conn.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One event; what is larger is refused. */
#define EVENT_MAX (16u << 20)

struct http_stream {
    struct conn *conn;
    enum http_stream_kind kind;
    bool chunked;
    bool keep_alive;
    bool closing; /* nothing more is sent; waits for the connection to go */
    bool written; /* since the last tick */
    void (*on_close)(struct http_stream *stream, void *arg);
    void *arg;
};

int sse_format(struct buf *out, enum http_stream_kind kind, int64_t id, const char *name, const char *json,
               size_t len) {
    int rc = 0;
    if (kind == HTTP_SSE && id >= 0) {
        rc = buf_printf(out, "id: %" PRId64 "\n", id);
    }
    if (rc == 0 && kind == HTTP_SSE && name != NULL) {
        rc = buf_printf(out, "event: %s\n", name);
    }
    if (rc == 0 && kind == HTTP_SSE) {
        rc = buf_puts(out, "data: ");
    }
    if (rc == 0) {
        rc = buf_append(out, json, len);
    }
    return rc != 0 ? rc : buf_puts(out, kind == HTTP_SSE ? "\n\n" : "\n");
}

struct http_stream *http_stream_begin(struct http_request *req, enum http_stream_kind kind,
                                      void (*on_close)(struct http_stream *stream, void *arg), void *arg) {
    struct conn *conn = req->conn;
    struct http_stream *stream = calloc(1, sizeof *stream);
    struct buf head;
    buf_init(&head, 65536);
    if (stream != NULL) {
        stream->conn = conn;
        stream->kind = kind;
        stream->on_close = on_close;
        stream->arg = arg;
        stream->chunked = !req->in.http10;
        stream->keep_alive = stream->chunked && http_keep_alive(req);
        if (http_response_head(&head, req, 200,
                               kind == HTTP_SSE ? "text/event-stream" : "application/x-ndjson", -1,
                               stream->keep_alive) != 0) {
            free(stream);
            stream = NULL;
        }
    }
    if (stream == NULL) {
        buf_finish(&head);
        http_reply_error(req, 500, "server_error", "internal_error", NULL, "memory is out");
        return NULL;
    }
    bool head_only = strcmp(http_method(req), "HEAD") == 0;
    conn->request = NULL;
    conn->stream = stream;
    http_request_destroy(req);
    if (conn->phase == CONN_CLOSING) {
        buf_finish(&head);
        stream->closing = true;
        return stream;
    }
    conn->phase = CONN_STREAM;
    if (conn_write(conn, &head) != 0) {
        stream->closing = true;
        conn_close(conn);
    } else if (head_only) {
        stream->closing = true;
        conn_linger(conn);
    }
    conn_arm(conn);
    return stream;
}

/* Sends the text as one chunk of the body. */
static int send_text(struct http_stream *stream, const char *text, size_t len) {
    struct buf out;
    buf_init(&out, EVENT_MAX + 64);
    int rc = stream->chunked ? buf_printf(&out, "%zx\r\n", len) : 0;
    if (rc == 0) {
        rc = buf_append(&out, text, len);
    }
    if (rc == 0 && stream->chunked) {
        rc = buf_puts(&out, "\r\n");
    }
    if (rc == 0) {
        rc = conn_write(stream->conn, &out);
    }
    buf_finish(&out);
    if (rc != 0) {
        stream->closing = true;
        conn_close(stream->conn);
    }
    stream->written = true;
    return rc == 0 ? 0 : rc == -EPIPE ? -EPIPE : -ENOMEM;
}

/* The client is too slow: say so, for the case that it wakes up, and go. */
static int give_up(struct http_stream *stream) {
    static const char json[] =
        "{\"type\": \"error\", \"error\": {\"message\": \"the client reads too slowly; reconnect "
        "with Last-Event-ID\", \"type\": \"server_error\", \"param\": null, \"code\": "
        "\"slow_consumer\"}}";
    struct buf out;
    buf_init(&out, 4096);
    if (sse_format(&out, stream->kind, -1, "error", json, sizeof json - 1) == 0) {
        (void)!send_text(stream, out.data, out.len);
    }
    buf_finish(&out);
    stream->closing = true;
    conn_linger(stream->conn);
    return -EPIPE;
}

int http_stream_raw(struct http_stream *stream, const char *text, size_t len) {
    if (stream->closing || stream->conn->phase != CONN_STREAM) {
        return -EPIPE;
    }
    if (conn_queued(stream->conn) > stream->conn->server->limits.stream_close_bytes) {
        return give_up(stream);
    }
    return len > 0 ? send_text(stream, text, len) : 0;
}

int http_stream_event(struct http_stream *stream, int64_t id, const char *name, const char *json,
                      size_t len) {
    if (stream->closing || stream->conn->phase != CONN_STREAM) {
        return -EPIPE;
    }
    if (id == HTTP_EVENT_DELTA &&
        conn_queued(stream->conn) > stream->conn->server->limits.stream_drop_bytes) {
        return -EAGAIN;
    }
    struct buf out;
    buf_init(&out, EVENT_MAX);
    int rc = sse_format(&out, stream->kind, id, name, json, len);
    if (rc == 0) {
        rc = http_stream_raw(stream, out.data, out.len);
    } else {
        rc = -ENOMEM;
        stream->closing = true;
        conn_close(stream->conn);
    }
    buf_finish(&out);
    return rc;
}

size_t http_stream_queued(const struct http_stream *stream) {
    return conn_queued(stream->conn);
}

void http_stream_end(struct http_stream *stream) {
    struct conn *conn = stream->conn;
    bool keep_alive = stream->keep_alive && !conn->server->stopping;
    conn->stream = NULL;
    if (!stream->closing && conn->phase == CONN_STREAM) {
        struct buf last;
        buf_init(&last, 16);
        if (stream->chunked && (buf_puts(&last, "0\r\n\r\n") != 0 || conn_write(conn, &last) != 0)) {
            conn_close(conn);
        }
        buf_finish(&last);
        conn_answered(conn, keep_alive);
    }
    free(stream);
}

void http_stream_gone(struct http_stream *stream) {
    if (stream->on_close != NULL) {
        stream->on_close(stream, stream->arg);
    }
    free(stream);
}

void http_stream_tick(struct http_stream *stream) {
    if (!stream->written && stream->kind == HTTP_SSE && !stream->closing && conn_queued(stream->conn) == 0) {
        (void)!send_text(stream, ": ka\n\n", 6);
    }
    stream->written = false;
}
