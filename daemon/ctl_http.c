#include "daemon/ctl_http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define BODY_MAX  ((size_t)256 << 20)
#define TICK_MS   200
#define CONNECT_S 10L

struct ctl_http {
    CURLM *multi;
    char *socket_path; /* NULL over TCP */
    char *base;        /* "http://localhost" or what was given */
    char *where, *token;
};

/* One exchange. */
struct exchange {
    CURL *easy;
    struct curl_slist *headers;
    const struct ctl_stream *stream; /* NULL: everything goes to the reply */
    struct ctl_reply *reply;
    int failure; /* of a callback, or of memory */
};

void ctl_reply_finish(struct ctl_reply *reply) {
    buf_finish(&reply->body);
}

const char *ctl_http_where(const struct ctl_http *h) {
    return h->where;
}

/* ---- opening ---- */

static int set_unix(struct ctl_http *h, const char *path, char *err, size_t errlen) {
    struct sockaddr_un address;
    if (strlen(path) >= sizeof address.sun_path)
        return err_set(err, errlen, -ENAMETOOLONG, "The socket path '%s' is too long: at most %zu bytes.",
                       path, sizeof address.sun_path - 1);
    h->socket_path = strdup(path);
    h->base = strdup("http://localhost");
    if (asprintf(&h->where, "unix://%s", path) < 0)
        h->where = NULL;
    return 0;
}

int ctl_http_open(const char *host, const char *token, struct ctl_http **out, char *err, size_t errlen) {
    bool tcp = strncmp(host, "http://", 7) == 0;
    const char *path = strncmp(host, "unix://", 7) == 0 ? host + 7 : host;
    if (!tcp && strstr(path, "://") != NULL)
        return err_set(err, errlen, -EINVAL, "'%s' is neither unix:///path nor http://127.0.0.1:PORT.", host);
    if (!tcp && *path == '\0')
        return err_set(err, errlen, -EINVAL, "The socket path is empty.");
    struct ctl_http *h = calloc(1, sizeof *h);
    if (h == NULL)
        return err_set(err, errlen, -ENOMEM, "Memory is out.");
    int rc = 0;
    if (tcp) {
        size_t len = strlen(host);
        h->base = strndup(host, len > 0 && host[len - 1] == '/' ? len - 1 : len);
        h->where = strdup(host);
    } else {
        rc = set_unix(h, path, err, errlen);
    }
    h->token = strdup(token != NULL ? token : "");
    h->multi = curl_multi_init();
    if (rc == 0 && (h->base == NULL || h->where == NULL || h->token == NULL || h->multi == NULL ||
                    (!tcp && h->socket_path == NULL)))
        rc = err_set(err, errlen, -ENOMEM, "Memory is out.");
    if (rc < 0) {
        ctl_http_close(h);
        return rc;
    }
    *out = h;
    return 0;
}

void ctl_http_close(struct ctl_http *h) {
    if (h == NULL)
        return;
    curl_multi_cleanup(h->multi);
    free(h->socket_path);
    free(h->base);
    free(h->where);
    free(h->token);
    free(h);
}

/* ---- one exchange ---- */

static size_t on_body(char *bytes, size_t size, size_t n, void *arg) {
    struct exchange *x = arg;
    long status = 0;
    (void)size; /* always 1 */
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    if (x->stream != NULL && status >= 200 && status < 300) {
        if (x->stream->data(x->stream->arg, bytes, n) != 0)
            x->failure = -ECANCELED;
    } else {
        x->failure = buf_append(&x->reply->body, bytes, n);
    }
    return x->failure == 0 ? n : 0;
}

static void add_header(struct exchange *x, const char *name, const char *value) {
    char *line = NULL;
    if (value == NULL)
        return;
    struct curl_slist *longer =
        asprintf(&line, "%s: %s", name, value) >= 0 ? curl_slist_append(x->headers, line) : NULL;
    free(line);
    if (longer == NULL)
        x->failure = -ENOMEM;
    else
        x->headers = longer;
}

static void prepare_headers(const struct ctl_http *h, struct exchange *x, const struct ctl_request *request) {
    add_header(x, "Accept", request->accept != NULL ? request->accept : "application/json");
    add_header(x, "User-Agent", "hermesctl/" HERMESD_VERSION);
    add_header(x, "Expect", ""); /* no 100-continue: the socket is local */
    if (request->body != NULL || strcmp(request->method, "POST") == 0)
        add_header(x, "Content-Type", "application/json");
    add_header(x, "Idempotency-Key", request->idempotency_key);
    add_header(x, "Last-Event-ID", request->last_event_id);
    if (h->token[0] != '\0') {
        char *bearer = NULL;
        if (asprintf(&bearer, "Bearer %s", h->token) < 0)
            x->failure = -ENOMEM;
        else
            add_header(x, "Authorization", bearer);
        free(bearer);
    }
}

static int prepare(const struct ctl_http *h, struct exchange *x, const struct ctl_request *request) {
    char *url = NULL;
    x->easy = curl_easy_init();
    prepare_headers(h, x, request);
    if (x->easy == NULL || x->failure != 0 || asprintf(&url, "%s%s", h->base, request->path) < 0)
        return -ENOMEM;
    CURLcode rc = curl_easy_setopt(x->easy, CURLOPT_URL, url);
    free(url);
    if (rc == CURLE_OK && h->socket_path != NULL)
        rc = curl_easy_setopt(x->easy, CURLOPT_UNIX_SOCKET_PATH, h->socket_path);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, request->method);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
    if (rc == CURLE_OK && request->body != NULL)
        rc = curl_easy_setopt(x->easy, CURLOPT_POSTFIELDS, request->body); /* borrowed during the exchange */
    if (rc == CURLE_OK && request->body == NULL && strcmp(request->method, "POST") == 0)
        rc = curl_easy_setopt(x->easy, CURLOPT_POSTFIELDS, "{}"); /* every POST carries JSON */
    if (rc != CURLE_OK)
        return -ENOMEM;
    curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(x->easy, CURLOPT_PROXY, ""); /* never over a proxy */
    curl_easy_setopt(x->easy, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    curl_easy_setopt(x->easy, CURLOPT_TIMEOUT_MS, request->timeout_ms);
    curl_easy_setopt(x->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    return 0;
}

/* What libcurl says, as an errno and a sentence. */
static int code_of(const struct ctl_http *h, CURL *easy, CURLcode rc, char *err, size_t errlen) {
    long os = 0;
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os);
    switch (rc) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        return err_set(err, errlen,
                       os == EACCES || os == EPERM ? -EACCES
                       : os > 0                    ? -(int)os
                                                   : -ECONNREFUSED,
                       "Cannot reach hermesd at %s: %s.", h->where,
                       os > 0 ? strerror((int)os) : curl_easy_strerror(rc));
    case CURLE_OPERATION_TIMEDOUT:
        return err_set(err, errlen, -ETIMEDOUT, "hermesd at %s did not answer in time.", h->where);
    case CURLE_OUT_OF_MEMORY:
        return err_set(err, errlen, -ENOMEM, "Memory is out.");
    default:
        return err_set(err, errlen, -ECONNRESET, "The connection to hermesd at %s broke: %s.", h->where,
                       curl_easy_strerror(rc));
    }
}

static int drive(struct ctl_http *h, struct exchange *x, CURLcode *result) {
    int running = 1;
    while (running > 0 && x->failure == 0) {
        if (curl_multi_perform(h->multi, &running) != CURLM_OK)
            return -ENOMEM;
        if (running == 0 || x->failure != 0)
            break;
        struct curl_waitfd extra = {.fd = x->stream != NULL ? x->stream->wake_fd : -1,
                                    .events = CURL_WAIT_POLLIN};
        if (curl_multi_poll(h->multi, extra.fd >= 0 ? &extra : NULL, extra.fd >= 0 ? 1 : 0, TICK_MS, NULL) !=
            CURLM_OK)
            return -ENOMEM;
        if (x->stream != NULL && x->stream->tick(x->stream->arg) != 0)
            x->failure = -ECANCELED;
    }
    int left;
    CURLMsg *message = curl_multi_info_read(h->multi, &left);
    *result =
        message != NULL && message->msg == CURLMSG_DONE ? message->data.result : CURLE_ABORTED_BY_CALLBACK;
    return 0;
}

static int exchange(struct ctl_http *h, const struct ctl_request *request, const struct ctl_stream *stream,
                    struct ctl_reply *reply, char *err, size_t errlen) {
    struct exchange x = {.stream = stream, .reply = reply};
    CURLcode result = CURLE_OK;
    reply->status = 0;
    buf_init(&reply->body, BODY_MAX);
    int rc = prepare(h, &x, request);
    if (rc == 0 && curl_multi_add_handle(h->multi, x.easy) != CURLM_OK)
        rc = -ENOMEM;
    if (rc == 0)
        rc = drive(h, &x, &result);
    if (rc == 0)
        rc = x.failure;
    if (rc == 0 && result != CURLE_OK)
        rc = code_of(h, x.easy, result, err, errlen);
    else if (rc == -ENOMEM || rc == -ENOBUFS)
        err_set(err, errlen, rc,
                rc == -ENOMEM ? "Memory is out." : "The answer of hermesd at %s is too large.", h->where);
    if (x.easy != NULL) {
        curl_easy_getinfo(x.easy, CURLINFO_RESPONSE_CODE, &reply->status);
        curl_multi_remove_handle(h->multi, x.easy);
        curl_easy_cleanup(x.easy);
    }
    curl_slist_free_all(x.headers);
    return rc;
}

int ctl_http_send(struct ctl_http *h, const struct ctl_request *request, struct ctl_reply *reply, char *err,
                  size_t errlen) {
    return exchange(h, request, NULL, reply, err, errlen);
}

int ctl_http_stream(struct ctl_http *h, const struct ctl_request *request, const struct ctl_stream *stream,
                    struct ctl_reply *reply, char *err, size_t errlen) {
    return exchange(h, request, stream, reply, err, errlen);
}
