#include "daemon/conn.h"

#include "base/clock.h"
#include "daemon/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of requests that may wait behind the one being handled. */
#define PENDING_MAX (2 * CONN_READ_BYTES)
/* Answers that may wait for a client that sends request after request and reads nothing. */
#define ANSWERS_MAX (1u << 20)
/* How long a last answer is given to arrive while the client still sends. */
#define LINGER_MS    2000
#define HALF_OPEN_MS 1000

struct conn_write {
    uv_write_t req;
    char *data;
};

static void conn_consume(struct conn *conn);
static void conn_read(struct conn *conn);

/* ---- closing ---- */

static void on_handle_closed(uv_handle_t *handle) {
    struct conn *conn = handle->data;
    if (--conn->open_handles > 0) {
        return;
    }
    if (conn->request != NULL) {
        struct http_request *req = conn->request;
        if (req->on_close != NULL) {
            req->on_close(req, req->on_close_arg);
        }
        http_request_destroy(req);
    }
    if (conn->stream != NULL) {
        http_stream_gone(conn->stream);
    }
    http_in_finish(&conn->in);
    buf_finish(&conn->pending);
    http_server_remove(conn->server, conn);
    free(conn);
}

void conn_close(struct conn *conn) {
    if (conn->phase == CONN_CLOSING) {
        return;
    }
    conn->phase = CONN_CLOSING;
    uv_close(&conn->io.handle, on_handle_closed);
    uv_close((uv_handle_t *)&conn->timer, on_handle_closed);
}

static void on_shutdown(uv_shutdown_t *shutdown, int status) {
    struct conn *conn = shutdown->data;
    if (conn->phase == CONN_CLOSING) {
        return;
    }
    if (status != 0 || conn->eof) {
        conn_close(conn);
        return;
    }
    conn->lingering = true;
    conn_arm(conn);
}

void conn_linger(struct conn *conn) {
    if (conn->phase == CONN_CLOSING || conn->phase == CONN_LINGER) {
        return;
    }
    conn->phase = CONN_LINGER;
    conn->lingering = false;
    buf_finish(&conn->pending);
    conn->shutdown.data = conn;
    if (uv_shutdown(&conn->shutdown, &conn->io.stream, on_shutdown) != 0) {
        conn_close(conn);
        return;
    }
    conn_read(conn);
    conn_arm(conn);
}

/* ---- the timer ---- */

static uint64_t now_ms(const struct conn *conn) {
    return uv_now(conn->server->loop);
}

static void on_timer(uv_timer_t *timer);

static uint64_t reading_timeout(const struct conn *conn) {
    const struct http_limits *limits = &conn->server->limits;
    if (conn_queued(conn) > 0) {
        return limits->write_timeout_ms;
    }
    if (conn->in.phase == HTTP_IN_BODY) {
        return limits->body_timeout_ms;
    }
    if (conn->in.phase == HTTP_IN_HEAD) {
        uint64_t now = now_ms(conn);
        return conn->head_deadline_ms > now ? conn->head_deadline_ms - now : 1;
    }
    return limits->idle_timeout_ms;
}

void conn_arm(struct conn *conn) {
    uint64_t wait = 0;
    switch (conn->phase) {
    case CONN_READING:
        wait = reading_timeout(conn);
        break;
    case CONN_HANDLING:
        wait = conn->eof ? HALF_OPEN_MS : 0;
        break;
    case CONN_STREAM:
        wait = conn->eof ? HALF_OPEN_MS : conn->server->limits.keepalive_ms;
        break;
    case CONN_LINGER:
        wait = conn->lingering ? LINGER_MS : conn->server->limits.write_timeout_ms;
        break;
    case CONN_CLOSING:
        return;
    }
    conn->queue_seen = conn_queued(conn);
    if (wait == 0) {
        uv_timer_stop(&conn->timer);
    } else {
        uv_timer_start(&conn->timer, on_timer, wait, 0);
    }
}

static bool client_left(const struct conn *conn) {
    uv_os_fd_t fd = -1;
    return uv_fileno(&conn->io.handle, &fd) != 0 || peer_gone(fd);
}

static void on_reading_timeout(struct conn *conn) {
    size_t queued = conn_queued(conn);
    if (queued > 0 && queued != conn->queue_seen) {
        conn_arm(conn); /* slow, but reading */
    } else if (queued == 0 && conn->in.phase == HTTP_IN_HEAD) {
        http_refuse(conn, 408, "invalid_request_error", "request_timeout",
                    "the request's headers did not arrive in time");
    } else if (queued == 0 && conn->in.phase == HTTP_IN_BODY) {
        http_refuse(conn, 408, "invalid_request_error", "request_timeout",
                    "the request's body stopped arriving");
    } else {
        conn_close(conn);
    }
}

static void on_timer(uv_timer_t *timer) {
    struct conn *conn = timer->data;
    if (conn->phase == CONN_READING) {
        on_reading_timeout(conn);
    } else if (conn->phase == CONN_LINGER) {
        conn_close(conn);
    } else if (conn->eof && client_left(conn)) {
        conn_close(conn);
    } else {
        if (conn->phase == CONN_STREAM) {
            http_stream_tick(conn->stream);
        }
        conn_arm(conn);
    }
}

/* ---- writing ---- */

size_t conn_queued(const struct conn *conn) {
    return uv_stream_get_write_queue_size(&conn->io.stream);
}

static void on_written(uv_write_t *req, int status) {
    struct conn_write *write = (struct conn_write *)req;
    struct conn *conn = req->handle->data;
    free(write->data);
    free(write);
    if (conn->phase == CONN_CLOSING) {
        return;
    }
    if (status != 0) {
        conn_close(conn);
    } else if (conn->phase == CONN_READING && conn_queued(conn) < ANSWERS_MAX) {
        conn_consume(conn);
    }
}

int conn_write(struct conn *conn, struct buf *bytes) {
    if (conn->phase == CONN_CLOSING || conn->phase == CONN_LINGER) {
        buf_finish(bytes);
        return -EPIPE;
    }
    struct conn_write *write = malloc(sizeof *write);
    size_t len = 0;
    char *data = write != NULL ? buf_take(bytes, &len) : NULL;
    if (data == NULL) {
        free(write);
        buf_finish(bytes);
        return -ENOMEM;
    }
    write->data = data;
    uv_buf_t part = uv_buf_init(data, (unsigned)len);
    int rc = uv_write(&write->req, &conn->io.stream, &part, 1, on_written);
    if (rc != 0) {
        free(data);
        free(write);
        return -EPIPE;
    }
    return 0;
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    (void)suggested;
    struct conn *conn = handle->data;
    *out = uv_buf_init(conn->server->read_bytes, sizeof conn->server->read_bytes);
}

static void on_end(struct conn *conn) {
    conn->reading = false;
    conn->eof = true;
    uv_read_stop(&conn->io.stream);
    bool busy = conn->phase == CONN_HANDLING || conn->phase == CONN_STREAM;
    if (conn->phase == CONN_LINGER) {
        /* Closing now would throw away what the shutdown still waits for. */
        if (conn->lingering) {
            conn_close(conn);
        }
    } else if (busy && !conn->listener->is_tcp && !client_left(conn)) {
        conn_arm(conn); /* only its writing side is closed (a pipe into a socket tool): answer it */
    } else if (!busy && conn->pending.len > 0 && conn_queued(conn) > 0) {
        conn_arm(conn); /* requests that wait until their predecessors' answers are read */
    } else if (!busy && conn->in.phase == HTTP_IN_IDLE && conn_queued(conn) > 0) {
        conn_linger(conn);
    } else {
        conn_close(conn);
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes) {
    struct conn *conn = stream->data;
    if (n == 0 || conn->phase == CONN_CLOSING) {
        return;
    }
    if (n < 0) {
        if (n == UV_EOF) {
            on_end(conn);
        } else {
            conn_close(conn);
        }
        return;
    }
    if (conn->phase == CONN_LINGER) {
        return;
    }
    if (buf_append(&conn->pending, bytes->base, (size_t)n) != 0) {
        conn_close(conn);
        return;
    }
    if (conn->phase == CONN_READING) {
        conn_consume(conn);
    }
    if (conn->phase != CONN_CLOSING && conn->phase != CONN_LINGER && conn->pending.len >= CONN_READ_BYTES) {
        conn->reading = false;
        uv_read_stop(&conn->io.stream);
    }
}

static void conn_read(struct conn *conn) {
    if (!conn->reading && !conn->eof && conn->phase != CONN_CLOSING) {
        conn->reading = uv_read_start(&conn->io.stream, on_alloc, on_read) == 0;
        if (!conn->reading) {
            conn_close(conn);
        }
    }
}

static void dispatch(struct conn *conn) {
    struct http_request *req = http_request_create(conn);
    if (req == NULL) {
        http_refuse(conn, 500, "server_error", "internal_error", "memory is out");
        return;
    }
    conn->request = req;
    conn->phase = CONN_HANDLING;
    conn_arm(conn);
    http_request_dispatch(req);
}

static void say_continue(struct conn *conn) {
    struct buf text;
    conn->in.expect_continue = false;
    buf_init(&text, 64);
    if (buf_puts(&text, "HTTP/1.1 100 Continue\r\n\r\n") != 0 || conn_write(conn, &text) != 0) {
        conn_close(conn);
    }
}

/* One piece of what is pending: up to the end of a request at most. */
static void feed(struct conn *conn) {
    bool idle = conn->in.phase == HTTP_IN_IDLE;
    size_t used = http_in_feed(&conn->in, conn->pending.data, conn->pending.len);
    buf_consume(&conn->pending, used);
    if (idle) {
        conn->head_deadline_ms = now_ms(conn) + conn->server->limits.header_timeout_ms;
    }
    if (conn->in.phase == HTTP_IN_FAILED) {
        http_refuse(conn, conn->in.status, conn->in.status == 500 ? "server_error" : "invalid_request_error",
                    conn->in.code, conn->in.message);
    } else if (conn->in.phase == HTTP_IN_DONE) {
        dispatch(conn);
    } else if (conn->in.expect_continue) {
        say_continue(conn);
    }
}

static void conn_consume(struct conn *conn) {
    if (conn->consuming) {
        return;
    }
    conn->consuming = true;
    while (conn->phase == CONN_READING && conn->pending.len > 0 && conn_queued(conn) < ANSWERS_MAX) {
        feed(conn);
    }
    conn->consuming = false;
    if (conn->phase == CONN_READING && conn->eof && conn->pending.len == 0) {
        conn_linger(conn);
    } else if (conn->phase == CONN_READING) {
        if (conn->pending.len < CONN_READ_BYTES) {
            conn_read(conn);
        }
        conn_arm(conn);
    }
}

static void on_resume(uv_timer_t *timer) {
    struct conn *conn = timer->data;
    if (conn->phase == CONN_READING) {
        conn_consume(conn);
    }
}

void conn_answered(struct conn *conn, bool keep_alive) {
    if (conn->phase == CONN_CLOSING || conn->phase == CONN_LINGER) {
        return;
    }
    if (!keep_alive) {
        conn_linger(conn);
        return;
    }
    conn->phase = CONN_READING;
    http_in_next(&conn->in);
    if (!conn->consuming) {
        /* Not from here: the next handler must not run inside a call that another handler made. */
        uv_timer_start(&conn->timer, on_resume, 0, 0);
    }
}

/* ---- accepting ---- */

static int open_handle(struct conn *conn, struct listener *listener) {
    uv_loop_t *loop = conn->server->loop;
    int rc = listener->is_tcp ? uv_tcp_init(loop, &conn->io.tcp) : uv_pipe_init(loop, &conn->io.pipe, 0);
    if (rc != 0) {
        return rc;
    }
    uv_timer_init(loop, &conn->timer);
    conn->io.handle.data = conn;
    conn->timer.data = conn;
    conn->open_handles = 2;
    return 0;
}

void conn_accept(struct http_server *server, struct listener *listener) {
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return;
    }
    conn->server = server;
    conn->listener = listener;
    conn->uid = (uid_t)-1;
    if (open_handle(conn, listener) != 0) {
        free(conn);
        return;
    }
    http_in_init(&conn->in, &server->limits);
    buf_init(&conn->pending, PENDING_MAX);
    int rc = uv_accept(&listener->io.stream, &conn->io.stream);
    uv_os_fd_t fd = -1;
    if (rc == 0 && !listener->is_tcp) {
        rc = uv_fileno(&conn->io.handle, &fd);
        rc = rc == 0 ? peer_uid(fd, &conn->uid) : rc;
    }
    const char *full = rc == 0 ? http_server_full(server, conn->uid) : "";
    conn->counted = full == NULL;
    http_server_add(server, conn);
    if (full == NULL) {
        if (listener->is_tcp) {
            uv_tcp_nodelay(&conn->io.tcp, 1);
        }
        conn_read(conn);
        conn_arm(conn);
    } else if (full[0] == '\0') {
        conn_close(conn);
    } else {
        http_refuse(conn, 503, "server_error", server->stopping ? "shutting_down" : "too_many_connections",
                    full);
    }
}
