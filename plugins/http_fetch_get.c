#include "plugins/http_fetch_get.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct fetch {
    const struct http_fetch_request *request;
    struct text body;
    bool refused;   /* an address was private */
    bool truncated; /* the page was longer than the ceiling */
    bool stopped;
};

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address) {
    struct fetch *f = arg;
    (void)purpose;
    if (f->request->may_connect != NULL && !f->request->may_connect(&address->addr)) {
        f->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t take_body(char *bytes, size_t size, size_t count, void *arg) {
    struct fetch *f = arg;
    size_t len = size * count, room = f->body.max - f->body.len;
    if (text_add(&f->body, bytes, len > room ? room : len) != 0)
        return 0;
    f->truncated = f->body.len > HTTP_FETCH_BODY_MAX;
    return f->truncated ? 0 : len; /* a short count ends the transfer */
}

static int take_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    struct fetch *f = arg;
    (void)a, (void)b, (void)c, (void)d;
    f->stopped = f->stopped || f->request->stop(f->request->arg);
    return f->stopped;
}

static CURLcode set_options(CURL *curl, struct fetch *f) {
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_NOPROGRESS, 0},
        {CURLOPT_FOLLOWLOCATION, 1},
        {CURLOPT_MAXREDIRS, HTTP_FETCH_REDIRECTS_MAX},
        {CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
        {CURLOPT_TIMEOUT_MS, f->request->timeout_ms},
        {CURLOPT_CONNECTTIMEOUT_MS, f->request->timeout_ms < 10000 ? f->request->timeout_ms : 10000},
        {CURLOPT_NETRC, CURL_NETRC_IGNORED},
        {CURLOPT_FRESH_CONNECT, 1},
        {CURLOPT_FORBID_REUSE, 1},
        {CURLOPT_BUFFERSIZE, 16 * 1024},
    };
    const struct {
        CURLoption option;
        const char *value;
    } strings[] = {
        {CURLOPT_URL, f->request->url},
        {CURLOPT_PROTOCOLS_STR, "http,https"},
        {CURLOPT_REDIR_PROTOCOLS_STR, "http,https"},
        {CURLOPT_PROXY, ""},
        {CURLOPT_USERAGENT, "hermesd"},
        {CURLOPT_ACCEPT_ENCODING, ""},
    };
    CURLcode code = CURLE_OK;
    for (size_t i = 0; code == CURLE_OK && i < sizeof numbers / sizeof numbers[0]; i++)
        code = curl_easy_setopt(curl, numbers[i].option, numbers[i].value);
    for (size_t i = 0; code == CURLE_OK && i < sizeof strings / sizeof strings[0]; i++)
        code = curl_easy_setopt(curl, strings[i].option, strings[i].value);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, f);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_WRITEDATA, f);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, take_progress);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_XFERINFODATA, f);
    return code;
}

static int explain(const struct fetch *f, CURLcode code, char *err, size_t errlen) {
    int status = -EIO;
    if (f->stopped) {
        snprintf(err, errlen, "the fetch was cancelled");
        status = -ECANCELED;
    } else if (f->refused && code == CURLE_COULDNT_CONNECT) {
        snprintf(err, errlen, "the address is private or local, it may not be fetched");
        status = -EACCES;
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        snprintf(err, errlen, "the page took too long");
        status = -ETIMEDOUT;
    } else if (code == CURLE_URL_MALFORMAT) {
        snprintf(err, errlen, "not a web address, use one like https://example.org/");
        status = -EINVAL;
    } else if (code == CURLE_UNSUPPORTED_PROTOCOL) {
        snprintf(err, errlen, "only http and https addresses can be fetched");
        status = -EINVAL;
    } else if (code == CURLE_LOGIN_DENIED) {
        snprintf(err, errlen, "addresses with a user name or password cannot be fetched");
        status = -EINVAL;
    } else if (code == CURLE_COULDNT_RESOLVE_HOST) {
        snprintf(err, errlen, "no such host");
    } else if (code == CURLE_COULDNT_CONNECT) {
        snprintf(err, errlen, "the server does not answer");
    } else if (code == CURLE_TOO_MANY_REDIRECTS) {
        snprintf(err, errlen, "the page redirects more than %d times", HTTP_FETCH_REDIRECTS_MAX);
    } else if (code == CURLE_OUT_OF_MEMORY) {
        snprintf(err, errlen, "no memory for the page");
        status = -ENOMEM;
    } else {
        snprintf(err, errlen, "the page cannot be fetched: %s", curl_easy_strerror(code));
    }
    return status;
}

static bool contains(const char *type, const char *part) {
    return type != NULL && strcasestr(type, part) != NULL;
}

/* Text by its declared type; without a declaration whatever is free of U+0000. */
static bool is_text(const char *type, const struct text *body) {
    static const char *const kinds[] = {"text/", "json", "xml", "javascript", "urlencoded", "yaml", "csv"};
    if (body->len > 0 && memchr(body->data, '\0', body->len) != NULL)
        return false;
    bool known = type == NULL || type[0] == '\0';
    for (size_t i = 0; !known && i < sizeof kinds / sizeof kinds[0]; i++)
        known = contains(type, kinds[i]);
    return known || (body->len == 0);
}

/* The body as a JSON string, cut between characters. */
static int put_body(const struct fetch *f, const char *type, struct text *out) {
    const char *data = f->body.data;
    size_t len = text_cut(data, f->body.len, HTTP_FETCH_BODY_MAX);
    if (contains(type, "iso-8859-1") && len > 0) {
        struct text utf8;
        text_init(&utf8, 2 * len);
        for (size_t i = 0; i < len; i++) {
            unsigned char c = (unsigned char)data[i];
            char pair[2] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
            text_add(&utf8, c < 0x80 ? (const char *)&data[i] : pair, c < 0x80 ? 1 : 2);
        }
        int status = utf8.status != 0 ? utf8.status : text_quote(out, utf8.data, utf8.len);
        text_finish(&utf8);
        return status;
    }
    return text_quote(out, data, len);
}

int http_fetch_get(const struct http_fetch_request *request, struct text *out, char *err, size_t errlen) {
    struct fetch f = {.request = request};
    CURL *curl = curl_easy_init();
    text_init(&f.body, HTTP_FETCH_BODY_MAX + 1); /* one more tells that there is more */
    CURLcode code = curl == NULL ? CURLE_OUT_OF_MEMORY : set_options(curl, &f);
    int status = 0;
    if (strlen(request->url) > HTTP_FETCH_URL_MAX || strncasecmp(request->url, "http", 4) != 0)
        code = strstr(request->url, "://") != NULL && strlen(request->url) <= HTTP_FETCH_URL_MAX
                   ? CURLE_UNSUPPORTED_PROTOCOL
                   : CURLE_URL_MALFORMAT; /* curl would guess a scheme from the host's name */
    if (code == CURLE_OK)
        code = curl_easy_perform(curl);
    if (code == CURLE_WRITE_ERROR && f.truncated && f.body.status == 0)
        code = CURLE_OK;
    long http_status = 0;
    char *type = NULL;
    if (code == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http_status);
        curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
    }
    if (code != CURLE_OK) {
        status = explain(&f, code, err, errlen);
    } else if (!is_text(type, &f.body)) {
        snprintf(err, errlen, "the page is not text but %.100s", type == NULL ? "binary data" : type);
        status = -EIO;
    } else {
        text_format(out, "{\"status\": %ld, \"body\": ", http_status);
        put_body(&f, type, out);
        status = text_put(out, f.truncated ? ", \"truncated\": true}" : "}");
        if (status != 0)
            snprintf(err, errlen, "no memory for the page");
    }
    text_finish(&f.body);
    curl_easy_cleanup(curl);
    return status;
}
