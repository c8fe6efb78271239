#include "daemon/conn.h"
#include "daemon/http_url.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void http_make_request_id(struct http_server *server, char id[HTTP_REQUEST_ID_SIZE]) {
    /* Unlike in every run of the daemon, and in order within one. */
    server->request_count++;
    snprintf(id, HTTP_REQUEST_ID_SIZE, "req_%08" PRIx64 "%08" PRIx64, server->request_salt & 0xffffffffu,
             server->request_count & 0xffffffffu);
}

struct http_request *http_request_create(struct conn *conn) {
    struct http_request *req = calloc(1, sizeof *req);
    if (req == NULL) {
        return NULL;
    }
    req->conn = conn;
    req->in = conn->in;
    http_in_init(&conn->in, &conn->server->limits);
    buf_init(&req->extra, 4096);
    http_make_request_id(conn->server, req->id);
    return req;
}

void http_request_destroy(struct http_request *req) {
    while (req->made != NULL) {
        struct http_made *one = req->made;
        req->made = one->next;
        free(one->key);
        free(one->text);
        free(one);
    }
    for (int i = 0; i < ROUTER_PARAMS; i++) {
        free(req->params[i]);
    }
    buf_finish(&req->extra);
    http_in_finish(&req->in);
    free(req);
}

/* ---- getters ---- */

const char *http_method(const struct http_request *req) {
    return http_in_method(&req->in);
}

const char *http_path(const struct http_request *req) {
    return req->path;
}

const char *http_param(const struct http_request *req, const char *name) {
    for (int i = 0; i < req->match.param_count; i++) {
        if (strlen(name) == req->match.params[i].name_len &&
            memcmp(name, req->match.params[i].name, req->match.params[i].name_len) == 0) {
            return req->params[i];
        }
    }
    return NULL;
}

static const char *made_find(const struct http_request *req, char kind, const char *name) {
    for (const struct http_made *one = req->made; one != NULL; one = one->next) {
        if (one->key[0] == kind && strcmp(one->key + 1, name) == 0) {
            return one->text;
        }
    }
    return NULL;
}

/* Keeps `text` (taken) for the getter that built it. The getters are const for their callers; what they
 * remember is not part of the request. */
static const char *made_keep(const struct http_request *req, char kind, const char *name, char *text) {
    struct http_request *owner = (struct http_request *)(uintptr_t)req;
    size_t len = strlen(name);
    struct http_made *one = malloc(sizeof *one);
    char *key = malloc(len + 2);
    if (one == NULL || key == NULL) {
        free(one);
        free(key);
        free(text);
        return NULL;
    }
    key[0] = kind;
    memcpy(key + 1, name, len + 1);
    one->key = key;
    one->text = text;
    one->next = owner->made;
    owner->made = one;
    return text;
}

const char *http_query(const struct http_request *req, const char *name) {
    const char *known = made_find(req, '?', name);
    char *value = NULL;
    if (known != NULL || http_url_query(req->query, name, &value) != 0) {
        return known;
    }
    return made_keep(req, '?', name, value);
}

static const char *header_value(const struct http_request *req, size_t i) {
    return req->in.text.data + req->in.headers[i].value;
}

static bool header_is(const struct http_request *req, size_t i, const char *name) {
    return strcasecmp(req->in.text.data + req->in.headers[i].name, name) == 0;
}

const char *http_header(const struct http_request *req, const char *name) {
    const char *first = NULL;
    const char *known = made_find(req, ':', name);
    struct buf joined;
    if (known != NULL) {
        return known;
    }
    buf_init(&joined, req->in.text.max + 2 * req->in.header_count);
    for (size_t i = 0; i < req->in.header_count; i++) {
        if (!header_is(req, i, name)) {
            continue;
        }
        if (first == NULL) {
            first = header_value(req, i);
        } else if ((joined.len == 0 && buf_puts(&joined, first) != 0) || buf_puts(&joined, ", ") != 0 ||
                   buf_puts(&joined, header_value(req, i)) != 0) {
            buf_finish(&joined);
            return NULL;
        }
    }
    if (joined.len == 0) {
        return first;
    }
    size_t len = 0;
    return made_keep(req, ':', name, buf_take(&joined, &len));
}

bool http_accepts(const struct http_request *req, const char *type) {
    const char *accept = http_header(req, "accept");
    size_t type_len = strlen(type);
    while (accept != NULL && *accept != '\0') {
        accept += strspn(accept, " \t,");
        size_t len = strcspn(accept, ",; \t");
        if (len == type_len && strncasecmp(accept, type, len) == 0) {
            return true;
        }
        accept += strcspn(accept, ",");
    }
    return false;
}

const char *http_body(const struct http_request *req, size_t *len) {
    *len = req->in.body.len;
    return req->in.body.data != NULL ? req->in.body.data : "";
}

char *http_body_take(struct http_request *req, size_t *len) {
    return buf_take(&req->in.body, len);
}

uid_t http_peer_uid(const struct http_request *req) {
    return req->conn->uid;
}

const char *http_request_id(const struct http_request *req) {
    return req->id;
}

void http_on_close(struct http_request *req, void (*on_close)(struct http_request *req, void *arg),
                   void *arg) {
    req->on_close = on_close;
    req->on_close_arg = arg;
}

bool http_keep_alive(const struct http_request *req) {
    return req->in.keep_alive && !req->conn->server->stopping;
}

/* ---- dispatch ---- */

static bool same_text(const char *a, const char *b) {
    /* Takes the same time whatever the first wrong byte is. */
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    unsigned char wrong = a_len != b_len;
    for (size_t i = 0; i < a_len; i++) {
        wrong |= (unsigned char)(a[i] ^ b[b_len > 0 ? i % b_len : 0]);
    }
    return wrong == 0;
}

/* "localhost", "127.0.0.1" or "[::1]", with any port; a page of the web that rebinds its name cannot send
 * this. */
static bool is_local_host(const char *host) {
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t len = strlen(names[i]);
        if (strncasecmp(host, names[i], len) == 0 &&
            (host[len] == '\0' ||
             (host[len] == ':' && host[len + 1 + strspn(host + len + 1, "0123456789")] == '\0'))) {
            return true;
        }
    }
    return false;
}

static bool is_local_origin(const char *origin) {
    return (strncasecmp(origin, "http://", 7) == 0 && is_local_host(origin + 7)) ||
           (strncasecmp(origin, "https://", 8) == 0 && is_local_host(origin + 8));
}

/* What a TCP client has to show. False: answered. */
static bool tcp_may_enter(struct http_request *req) {
    const char *host = http_header(req, "host");
    const char *origin = http_header(req, "origin");
    const char *authorization = http_header(req, "authorization");
    const char *token = req->conn->listener->token;
    if (host != NULL && !is_local_host(host)) {
        http_reply_error(req, 403, "permission_error", "host_not_allowed", NULL,
                         "the Host header must be localhost, 127.0.0.1 or [::1]");
        return false;
    }
    if (origin != NULL && !is_local_origin(origin)) {
        http_reply_error(req, 403, "permission_error", "origin_not_allowed", NULL,
                         "requests from web pages of other origins are not accepted");
        return false;
    }
    bool bearer = authorization != NULL && strncasecmp(authorization, "bearer ", 7) == 0;
    if (token != NULL && !(bearer && same_text(authorization + 7, token))) {
        http_add_header(req, "WWW-Authenticate", "Bearer");
        http_reply_error(req, 401, "authentication_error", "invalid_api_key", NULL,
                         "send the daemon's token as \"Authorization: Bearer TOKEN\"");
        return false;
    }
    return true;
}

/* A web form can send other types to a local port without asking; JSON it cannot. */
static bool is_json_if_body(const struct http_request *req) {
    const char *type = http_header(req, "content-type");
    const char *method = http_method(req);
    if (strcmp(method, "POST") != 0 && strcmp(method, "PUT") != 0 && strcmp(method, "PATCH") != 0) {
        return true;
    }
    if (type == NULL) {
        return req->in.body.len == 0;
    }
    size_t len = strcspn(type, "; \t");
    return len == strlen("application/json") && strncasecmp(type, "application/json", len) == 0;
}

static bool decode_params(struct http_request *req) {
    for (int i = 0; i < req->match.param_count; i++) {
        size_t len = req->match.params[i].value_len;
        req->params[i] = malloc(len + 1);
        if (req->params[i] == NULL ||
            http_url_decode(req->match.params[i].value, len, false, req->params[i]) != 0) {
            return false;
        }
    }
    return true;
}

void http_request_dispatch(struct http_request *req) {
    struct http_server *server = req->conn->server;
    char *url = req->in.url.data;
    if (url == NULL || http_url_split(url, &req->path, &req->query) != 0 || !http_url_valid(req->path) ||
        !http_url_valid(req->query)) {
        http_reply_error(req, 400, "invalid_request_error", "invalid_url", NULL,
                         "the request's target is no path with an optional query");
        return;
    }
    if (req->conn->listener->is_tcp && !tcp_may_enter(req)) {
        return;
    }
    router_find(server->routes, server->route_count, http_method(req), req->path, &req->match);
    if (req->match.allow[0] == '\0') {
        http_reply_error(req, 404, "invalid_request_error", "route_not_found", NULL,
                         "nothing is served at %s; GET /v1/jobs and GET /v1/tools are", req->path);
    } else if (req->match.route == NULL) {
        http_add_header(req, "Allow", req->match.allow);
        http_reply_error(req, 405, "invalid_request_error", "method_not_allowed", NULL,
                         "%s is not possible on %s; use %s", http_method(req), req->path, req->match.allow);
    } else if (!is_json_if_body(req)) {
        http_reply_error(req, 415, "invalid_request_error", "unsupported_media_type", NULL,
                         "send the body with \"Content-Type: application/json\"");
    } else if (!decode_params(req)) {
        http_reply_error(req, 400, "invalid_request_error", "invalid_url", NULL,
                         "the path cannot be decoded");
    } else {
        req->match.route->handle(req, server->app);
    }
}
