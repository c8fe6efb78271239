/* How answers look on the wire. */
#include "daemon/conn.h"

#include "base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* An answer above this is a mistake of ours, not of the client. */
#define ANSWER_MAX (256u << 20)
#define HEAD_MAX   16384

static const char *reason(int status) {
    static const struct {
        int status;
        const char *text;
    } table[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].status == status) {
            return table[i].text;
        }
    }
    return "Unknown";
}

static int head_text(struct buf *out, const char *id, int status, const char *content_type, int64_t length,
                     bool keep_alive, bool http10) {
    char date[64];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    int rc =
        buf_printf(out,
                   "HTTP/1.1 %d %s\r\nDate: %s\r\nx-request-id: %s\r\nHermesd-Api-Version: " HTTP_API_VERSION
                   "\r\nCache-Control: no-store\r\n",
                   status, reason(status), date, id);
    if (rc == 0 && content_type != NULL) {
        rc = buf_printf(out, "Content-Type: %s\r\n", content_type);
    }
    if (rc == 0 && length >= 0) {
        rc = buf_printf(out, "Content-Length: %" PRId64 "\r\n", length);
    }
    if (rc == 0 && !keep_alive) {
        rc = buf_puts(out, "Connection: close\r\n");
    } else if (rc == 0 && http10) {
        rc = buf_puts(out, "Connection: keep-alive\r\n");
    }
    return rc;
}

int http_response_head(struct buf *out, const struct http_request *req, int status, const char *content_type,
                       int64_t length, bool keep_alive) {
    int rc = head_text(out, req->id, status, content_type, length, keep_alive, req->in.http10);
    if (rc == 0 && length < 0 && status != 204) {
        rc = req->in.http10 ? 0 : buf_puts(out, "Transfer-Encoding: chunked\r\n");
    }
    if (rc == 0 && req->extra.len > 0) {
        rc = buf_append(out, req->extra.data, req->extra.len);
    }
    return rc != 0 ? rc : buf_puts(out, "\r\n");
}

void http_add_header(struct http_request *req, const char *name, const char *value) {
    size_t before = req->extra.len;
    if (strpbrk(name, "\r\n") != NULL || strpbrk(value, "\r\n") != NULL) {
        return;
    }
    if (buf_printf(&req->extra, "%s: %s\r\n", name, value) != 0) {
        req->extra.len = before;
        return;
    }
    req->has_retry_after |= strcasecmp(name, "retry-after") == 0;
    req->has_should_retry |= strcasecmp(name, "x-should-retry") == 0;
}

void http_reply_text(struct http_request *req, int status, const char *content_type, const char *text,
                     size_t len) {
    struct conn *conn = req->conn;
    bool keep_alive = http_keep_alive(req);
    bool head_only = strcmp(http_method(req), "HEAD") == 0;
    struct buf out;
    buf_init(&out, ANSWER_MAX + HEAD_MAX);
    int rc = http_response_head(&out, req, status, len > 0 ? content_type : NULL,
                                status == 204 ? -1 : (int64_t)len, keep_alive);
    if (rc == 0 && !head_only && status != 204 && len > 0) {
        rc = buf_append(&out, text, len);
    }
    conn->request = NULL;
    http_request_destroy(req);
    if (rc == 0) {
        rc = conn_write(conn, &out);
    }
    buf_finish(&out);
    if (rc != 0) {
        conn_close(conn);
    } else {
        conn_answered(conn, keep_alive);
    }
}

void http_reply_json(struct http_request *req, int status, const struct buf *body) {
    bool some = body != NULL && body->len > 0;
    http_reply_text(req, status, "application/json", some ? body->data : "", some ? body->len : 0);
}

static int error_body(struct buf *out, const char *type, const char *code, const char *param,
                      const char *message) {
    struct json_writer w;
    json_writer_begin(&w, out);
    json_object_begin(&w);
    json_key(&w, "error");
    json_object_begin(&w);
    json_key(&w, "message");
    json_string(&w, message);
    json_key(&w, "type");
    json_string(&w, type);
    json_key(&w, "param");
    json_string(&w, param);
    json_key(&w, "code");
    json_string(&w, code);
    json_object_end(&w);
    json_object_end(&w);
    return json_writer_end(&w);
}

void http_reply_error(struct http_request *req, int status, const char *type, const char *code,
                      const char *param, const char *fmt, ...) {
    char message[1024];
    struct buf body;
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    if ((status == 429 || status == 503) && !req->has_retry_after) {
        http_add_header(req, "Retry-After", "1");
    }
    if (status == 500 && !req->has_should_retry) {
        http_add_header(req, "x-should-retry", "false");
    }
    buf_init(&body, HEAD_MAX);
    if (error_body(&body, type, code, param, message) != 0) {
        buf_clear(&body);
    }
    http_reply_json(req, status, &body);
    buf_finish(&body);
}

void http_refuse(struct conn *conn, int status, const char *type, const char *code, const char *message) {
    char id[HTTP_REQUEST_ID_SIZE];
    struct buf body;
    struct buf out;
    http_make_request_id(conn->server, id);
    buf_init(&body, HEAD_MAX);
    buf_init(&out, 2 * HEAD_MAX);
    int rc = error_body(&body, type, code, NULL, message);
    if (rc == 0) {
        rc = head_text(&out, id, status, "application/json", (int64_t)body.len, false, false);
    }
    if (rc == 0 && status == 503) {
        rc = buf_puts(&out, "Retry-After: 1\r\n");
    }
    if (rc == 0) {
        rc = buf_puts(&out, "\r\n");
    }
    if (rc == 0) {
        rc = buf_append(&out, body.data, body.len);
    }
    if (rc == 0) {
        rc = conn_write(conn, &out);
    }
    buf_finish(&body);
    buf_finish(&out);
    if (rc == 0) {
        conn_linger(conn);
    } else {
        conn_close(conn);
    }
}
