#include "daemon/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Connections above the limit that may wait for their 503 at once; more are closed without a word. */
#define REFUSED_MAX 64

const struct http_limits http_limits_default = {
    .max_header_bytes = 16384,
    .max_headers = 100,
    .max_url_bytes = 8192,
    .max_body_bytes = 8u << 20,
    .header_timeout_ms = 10000,
    .body_timeout_ms = 30000,
    .idle_timeout_ms = 75000,
    .write_timeout_ms = 60000,
    .keepalive_ms = 15000,
    .max_connections = 256,
    .max_connections_per_uid = 64,
    .stream_drop_bytes = 1u << 20,
    .stream_close_bytes = 4u << 20,
};

struct http_server *http_server_create(uv_loop_t *loop, const struct http_route *routes, size_t route_count,
                                       void *app, const struct http_limits *limits) {
    struct http_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return NULL;
    }
    server->loop = loop;
    server->routes = routes;
    server->route_count = route_count;
    server->app = app;
    server->limits = limits != NULL ? *limits : http_limits_default;
    if (getrandom(&server->request_salt, sizeof server->request_salt, GRND_NONBLOCK) < 0) {
        server->request_salt = (uint64_t)getpid();
    }
    return server;
}

static void free_listeners(struct http_server *server) {
    while (server->listeners != NULL) {
        struct listener *one = server->listeners;
        server->listeners = one->next;
        free(one->path);
        free(one->token);
        free(one);
    }
}

static void finish_if_empty(struct http_server *server) {
    if (!server->destroying || server->conns != NULL || server->open_handles > 0) {
        return;
    }
    void (*done)(void *) = server->done;
    void *arg = server->done_arg;
    free_listeners(server);
    free(server);
    if (done != NULL) {
        done(arg);
    }
}

static void on_listener_closed(uv_handle_t *handle) {
    struct listener *listener = handle->data;
    struct http_server *server = listener->server;
    /* The lock goes last: whoever gets it finds the path free. */
    if (listener->lock_fd >= 0) {
        close(listener->lock_fd);
        listener->lock_fd = -1;
    }
    server->open_handles--;
    finish_if_empty(server);
}

static void on_connection(uv_stream_t *stream, int status) {
    struct listener *listener = stream->data;
    if (status == 0) {
        conn_accept(listener->server, listener);
    }
}

/* Listeners stay in the list, with their token, until the server goes: connections point to them. */
static int add_listener(struct http_server *server, struct listener *listener, int fd, char *err,
                        size_t errlen) {
    int rc = listener->is_tcp ? uv_tcp_init(server->loop, &listener->io.tcp)
                              : uv_pipe_init(server->loop, &listener->io.pipe, 0);
    if (rc != 0) {
        close(fd);
        if (listener->lock_fd >= 0) {
            close(listener->lock_fd);
        }
        free(listener->path);
        free(listener->token);
        free(listener);
        return err_set(err, errlen, rc, "cannot listen: %s", uv_strerror(rc));
    }
    listener->server = server;
    listener->io.handle.data = listener;
    listener->next = server->listeners;
    server->listeners = listener;
    server->open_handles++;
    rc = listener->is_tcp ? uv_tcp_open(&listener->io.tcp, fd) : uv_pipe_open(&listener->io.pipe, fd);
    if (rc != 0) {
        close(fd);
    } else {
        rc = uv_listen(&listener->io.stream, 128, on_connection);
    }
    if (rc != 0) {
        listener_remove_file(listener);
        uv_close(&listener->io.handle, on_listener_closed);
        return err_set(err, errlen, rc, "cannot listen: %s", uv_strerror(rc));
    }
    return 0;
}

int http_server_listen_unix(struct http_server *server, const char *path, char *err, size_t errlen) {
    struct listener *listener = calloc(1, sizeof *listener);
    char *copy = strdup(path);
    if (listener == NULL || copy == NULL) {
        free(listener);
        free(copy);
        return err_set(err, errlen, -ENOMEM, "memory is out");
    }
    int fd = -1;
    int rc = listener_bind_unix(path, &fd, &listener->lock_fd, err, errlen);
    struct stat st;
    if (rc != 0 || lstat(path, &st) != 0) {
        free(listener);
        free(copy);
        return rc != 0 ? rc : err_set(err, errlen, -EIO, "the socket %s vanished while it was made", path);
    }
    listener->path = copy;
    listener->dev = st.st_dev;
    listener->ino = st.st_ino;
    return add_listener(server, listener, fd, err, errlen);
}

int http_server_listen_tcp(struct http_server *server, const char *host, int port, const char *token,
                           int *bound_port, char *err, size_t errlen) {
    struct listener *listener = calloc(1, sizeof *listener);
    char *copy = token != NULL ? strdup(token) : NULL;
    if (listener == NULL || (token != NULL && copy == NULL)) {
        free(listener);
        free(copy);
        return err_set(err, errlen, -ENOMEM, "memory is out");
    }
    int fd = -1;
    int rc = listener_bind_tcp(host, port, &fd, &listener->port, err, errlen);
    if (rc != 0) {
        free(listener);
        free(copy);
        return rc;
    }
    listener->is_tcp = true;
    listener->lock_fd = -1;
    listener->token = copy;
    rc = add_listener(server, listener, fd, err, errlen);
    if (rc == 0 && bound_port != NULL) {
        *bound_port = listener->port;
    }
    return rc;
}

void http_server_stop(struct http_server *server) {
    server->stopping = true;
    for (struct listener *one = server->listeners; one != NULL; one = one->next) {
        if (!uv_is_closing(&one->io.handle)) {
            listener_remove_file(one);
            uv_close(&one->io.handle, on_listener_closed);
        }
    }
}

void http_server_destroy(struct http_server *server, void (*done)(void *arg), void *arg) {
    server->done = done;
    server->done_arg = arg;
    server->destroying = true;
    http_server_stop(server);
    for (struct conn *conn = server->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        conn_close(conn);
    }
    finish_if_empty(server);
}

unsigned http_server_connections(const struct http_server *server) {
    return server->conn_counted;
}

void http_server_add(struct http_server *server, struct conn *conn) {
    conn->prev = NULL;
    conn->next = server->conns;
    if (conn->next != NULL) {
        conn->next->prev = conn;
    }
    server->conns = conn;
    server->conn_total++;
    server->conn_counted += conn->counted ? 1 : 0;
}

void http_server_remove(struct http_server *server, struct conn *conn) {
    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        server->conns = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    server->conn_total--;
    server->conn_counted -= conn->counted ? 1 : 0;
    finish_if_empty(server);
}

const char *http_server_full(const struct http_server *server, uid_t uid) {
    if (server->conn_total >= server->limits.max_connections + REFUSED_MAX) {
        return "";
    }
    if (server->stopping) {
        return "the daemon is shutting down";
    }
    if (server->conn_counted >= server->limits.max_connections) {
        return "too many connections; close some or try again";
    }
    unsigned same = 0;
    for (const struct conn *conn = server->conns; conn != NULL; conn = conn->next) {
        same += conn->counted && conn->uid == uid ? 1 : 0;
    }
    return same >= server->limits.max_connections_per_uid
               ? "too many connections of one user; close some or try again"
               : NULL;
}
