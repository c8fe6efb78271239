/* The fixture checks with assert(), in every build type. */
#undef NDEBUG

#include "tests/daemon/http_fixture.h"

#include "base/json.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void reply(struct http_request *req, const char *text) {
    http_reply_text(req, 200, "application/json", text, strlen(text));
}

static void hello(struct http_request *req, void *app) {
    ((struct fixture *)app)->handled++;
    reply(req, "{\"hello\": \"world\"}");
}

static void echo(struct http_request *req, void *app) {
    size_t len = 0;
    const char *body = http_body(req, &len);
    ((struct fixture *)app)->handled++;
    char *copy = malloc(len + 1);
    memcpy(copy, body, len + 1);
    http_reply_text(req, 200, "application/json", copy, len);
    free(copy);
}

static void thing(struct http_request *req, void *app) {
    struct buf out;
    struct json_writer w;
    ((struct fixture *)app)->handled++;
    buf_init(&out, 65536);
    json_writer_begin(&w, &out);
    json_object_begin(&w);
    json_key(&w, "id");
    json_string(&w, http_param(req, "id"));
    json_key(&w, "q");
    json_string(&w, http_query(req, "q"));
    json_key(&w, "twice");
    json_string(&w, http_header(req, "X-Twice"));
    json_key(&w, "uid");
    json_int(&w, (int64_t)http_peer_uid(req));
    json_object_end(&w);
    assert(json_writer_end(&w) == 0);
    http_reply_json(req, 200, &out);
    buf_finish(&out);
}

static void left(struct http_request *req, void *arg) {
    struct fixture *f = arg;
    if (f->later == req) {
        uv_timer_stop(&f->timer);
        f->later = NULL;
    }
    f->closed++;
}

static void on_later(uv_timer_t *timer) {
    struct fixture *f = timer->data;
    struct http_request *req = f->later;
    f->later = NULL;
    reply(req, "{\"later\": true}");
}

static void later(struct http_request *req, void *app) {
    struct fixture *f = app;
    f->handled++;
    f->later = req;
    http_on_close(req, left, f);
    uv_timer_start(&f->timer, on_later, 30, 0);
}

static void never(struct http_request *req, void *app) {
    ((struct fixture *)app)->handled++;
    http_on_close(req, left, app);
}

static void stream_left(struct http_stream *stream, void *arg) {
    struct fixture *f = arg;
    if (f->stream == stream) {
        f->stream = NULL;
        uv_timer_stop(&f->pump);
    }
    f->closed++;
}

static void stream(struct http_request *req, void *app) {
    struct http_stream *s = http_stream_begin(
        req, http_accepts(req, "application/x-ndjson") ? HTTP_NDJSON : HTTP_SSE, stream_left, app);
    assert(http_stream_event(s, 1, "one", "{\"n\": 1}", 8) == 0);
    assert(http_stream_event(s, HTTP_EVENT_DELTA, "two", "{\"n\": 2}", 8) == 0);
    assert(http_stream_event(s, 2, NULL, "{\"n\": 3}", 8) == 0);
    http_stream_end(s);
}

static void on_pump(uv_timer_t *timer) {
    struct fixture *f = timer->data;
    char json[1200];
    int len = snprintf(json, sizeof json, "{\"pad\": \"%01000d\"}", 0);
    int rc = http_stream_event(f->stream, f->durable, "durable", json, (size_t)len);
    f->durable++;
    for (int i = 0; i < 64 && rc != -EPIPE; i++) {
        rc = http_stream_event(f->stream, HTTP_EVENT_DELTA, "delta", json, (size_t)len);
        f->dropped += rc == -EAGAIN;
    }
    if (rc == -EPIPE) {
        f->slow++;
        uv_timer_stop(timer);
    }
}

static void flood(struct http_request *req, void *app) {
    struct fixture *f = app;
    f->handled++;
    f->stream = http_stream_begin(req, HTTP_SSE, stream_left, f);
    uv_timer_start(&f->pump, on_pump, 0, 1);
}

static void silent(struct http_request *req, void *app) {
    ((struct fixture *)app)->handled++;
    assert(http_stream_begin(req, HTTP_SSE, stream_left, app) != NULL);
}

static const struct http_route routes[] = {
    {"GET", "/v1/hello", hello}, {"POST", "/v1/echo", echo},    {"GET", "/v1/things/{id}/part", thing},
    {"GET", "/v1/later", later}, {"GET", "/v1/never", never},   {"GET", "/v1/stream", stream},
    {"GET", "/v1/flood", flood}, {"GET", "/v1/silent", silent}, {"DELETE", "/v1/hello", hello},
};

static void on_done(void *arg) {
    struct fixture *f = arg;
    uv_close((uv_handle_t *)&f->wake, NULL);
    uv_close((uv_handle_t *)&f->timer, NULL);
    uv_close((uv_handle_t *)&f->pump, NULL);
}

static void on_wake(uv_async_t *wake) {
    struct fixture *f = wake->data;
    if (f->stop_asked) {
        http_server_destroy(f->server, on_done, f);
    } else if (f->drain_asked) {
        http_server_stop(f->server);
    }
}

static void *run_loop(void *arg) {
    struct fixture *f = arg;
    uv_run(&f->loop, UV_RUN_DEFAULT);
    return NULL;
}

struct fixture *fixture_start(const struct http_limits *limits, const char *token) {
    char err[256] = "";
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/hermesd-http-XXXXXX");
    assert(mkdtemp(f->folder) != NULL);
    snprintf(f->path, sizeof f->path, "%s/run/api.sock", f->folder);
    uv_loop_init(&f->loop);
    uv_async_init(&f->loop, &f->wake, on_wake);
    uv_timer_init(&f->loop, &f->timer);
    uv_timer_init(&f->loop, &f->pump);
    f->wake.data = f->timer.data = f->pump.data = f;
    f->server = http_server_create(&f->loop, routes, sizeof routes / sizeof *routes, f, limits);
    if (http_server_listen_unix(f->server, f->path, err, sizeof err) != 0) {
        fprintf(stderr, "%s\n", err);
        abort();
    }
    if (token != NULL &&
        http_server_listen_tcp(f->server, "127.0.0.1", 0, token, &f->tcp_port, err, sizeof err) != 0) {
        fprintf(stderr, "%s\n", err);
        abort();
    }
    pthread_create(&f->thread, NULL, run_loop, f);
    return f;
}

void fixture_stop(struct fixture *f) {
    char path[128];
    f->stop_asked = true;
    uv_async_send(&f->wake);
    pthread_join(f->thread, NULL);
    assert(uv_loop_close(&f->loop) == 0);
    assert(access(f->path, F_OK) != 0);
    snprintf(path, sizeof path, "%s.lock", f->path);
    unlink(path);
    snprintf(path, sizeof path, "%s/run", f->folder);
    rmdir(path);
    rmdir(f->folder);
    free(f);
}

int fixture_connect(const struct fixture *f) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        assert(errno == EAGAIN || errno == EINTR);
    }
    return fd;
}

int fixture_connect_tcp(const struct fixture *f) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->tcp_port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

bool send_all(int fd, const char *text, size_t len) {
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        text += n;
        len -= (size_t)n;
    }
    return true;
}

char *receive_all(int fd) {
    size_t len = 0;
    size_t cap = 1 << 16;
    char *data = malloc(cap + 1);
    for (;;) {
        if (len == cap) {
            cap *= 2;
            data = realloc(data, cap + 1);
        }
        ssize_t n = recv(fd, data + len, cap - len, 0);
        if (n <= 0) {
            data[len] = '\0';
            return data;
        }
        len += (size_t)n;
    }
}

static bool receive_exactly(int fd, char *data, size_t len) {
    while (len > 0) {
        ssize_t n = recv(fd, data, len, 0);
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

char *receive_one(int fd) {
    char *data = malloc((16u << 20) + 1);
    size_t len = 0;
    /* The head byte by byte, so that nothing of the next response is taken. */
    while (len < 65536 && receive_exactly(fd, data + len, 1)) {
        data[++len] = '\0';
        if (len < 4 || strcmp(data + len - 4, "\r\n\r\n") != 0) {
            continue;
        }
        const char *length = strstr(data, "Content-Length: ");
        size_t body = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
        if (!receive_exactly(fd, data + len, body)) {
            break;
        }
        data[len + body] = '\0';
        return data;
    }
    free(data);
    return NULL;
}

char *exchange(const struct fixture *f, const char *text) {
    int fd = fixture_connect(f);
    send_all(fd, text, strlen(text));
    shutdown(fd, SHUT_WR);
    char *response = receive_all(fd);
    close(fd);
    return response;
}

int status_of(const char *response) {
    return strncmp(response, "HTTP/1.1 ", 9) == 0 ? (int)strtol(response + 9, NULL, 10) : 0;
}

const char *body_of(const char *response) {
    const char *end = strstr(response, "\r\n\r\n");
    return end != NULL ? end + 4 : "";
}
