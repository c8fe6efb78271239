#include "daemon/http_in.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Chunk sizes, extensions and trailers are not kept, but they must not go on for ever either. */
#define RAW_BODY_FACTOR 8
#define RAW_BODY_EXTRA  65536

HX_PRINTF(4, 5)
static int fail(struct http_in *in, int status, const char *code, const char *fmt, ...) {
    if (in->phase != HTTP_IN_FAILED) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(in->message, sizeof in->message, fmt, args);
        va_end(args);
        in->phase = HTTP_IN_FAILED;
        in->status = status;
        in->code = code;
    }
    return HPE_USER;
}

static int keep(struct http_in *in, int rc) {
    return rc == 0 ? 0 : fail(in, 500, "internal_error", "memory is out");
}

static int on_url(llhttp_t *parser, const char *at, size_t len) {
    struct http_in *in = parser->data;
    if (in->url.len + len > in->limits->max_url_bytes) {
        return fail(in, 414, "url_too_long", "the URL is longer than %zu bytes", in->limits->max_url_bytes);
    }
    return keep(in, buf_append(&in->url, at, len));
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len) {
    struct http_in *in = parser->data;
    if (in->phase != HTTP_IN_HEAD) {
        return 0; /* a trailer: not kept */
    }
    if (!in->value_open && in->header_count == in->limits->max_headers) {
        return fail(in, 431, "too_many_headers", "the request has more than %zu headers",
                    in->limits->max_headers);
    }
    if (!in->value_open) {
        in->headers[in->header_count].name = in->text.len;
        in->value_open = true;
    }
    return keep(in, buf_append(&in->text, at, len));
}

static int on_header_field_complete(llhttp_t *parser) {
    struct http_in *in = parser->data;
    if (in->phase != HTTP_IN_HEAD) {
        return 0;
    }
    int rc = keep(in, buf_putc(&in->text, '\0'));
    if (rc == 0 && strchr(in->text.data + in->headers[in->header_count].name, ' ') != NULL) {
        /* RFC 9112, 5.1: a space before the colon has let requests be read in two ways. */
        return fail(in, 400, "bad_request", "a header's name contains a space");
    }
    in->headers[in->header_count].value = in->text.len;
    return rc;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len) {
    struct http_in *in = parser->data;
    return in->phase == HTTP_IN_HEAD ? keep(in, buf_append(&in->text, at, len)) : 0;
}

static int on_header_value_complete(llhttp_t *parser) {
    struct http_in *in = parser->data;
    if (in->phase != HTTP_IN_HEAD) {
        return 0;
    }
    size_t begin = in->headers[in->header_count].value;
    while (in->text.len > begin &&
           (in->text.data[in->text.len - 1] == ' ' || in->text.data[in->text.len - 1] == '\t')) {
        in->text.len--;
    }
    in->header_count++;
    in->value_open = false;
    return keep(in, buf_putc(&in->text, '\0'));
}

static int check_head(struct http_in *in) {
    int hosts = 0;
    in->http10 = in->parser.http_minor == 0;
    for (size_t i = 0; i < in->header_count; i++) {
        const char *name = in->text.data + in->headers[i].name;
        const char *value = in->text.data + in->headers[i].value;
        if (strcasecmp(name, "host") == 0) {
            hosts++;
        } else if (strcasecmp(name, "expect") == 0) {
            if (strcasecmp(value, "100-continue") != 0) {
                return fail(in, 417, "expectation_failed", "Expect is understood as 100-continue only");
            }
            in->expect_continue = !in->http10;
        }
    }
    if (in->parser.http_major != 1) {
        return fail(in, 505, "http_version_not_supported", "this server speaks HTTP/1.1");
    }
    if (hosts > 1 || (hosts == 0 && !in->http10)) {
        return fail(in, 400, "invalid_host", "the request has %d Host headers; HTTP/1.1 wants exactly one",
                    hosts);
    }
    if ((in->parser.flags & F_CONTENT_LENGTH) != 0 &&
        in->parser.content_length > in->limits->max_body_bytes) {
        return fail(in, 413, "body_too_large", "the body has %llu bytes; at most %zu are accepted",
                    (unsigned long long)in->parser.content_length, in->limits->max_body_bytes);
    }
    return 0;
}

static int on_headers_complete(llhttp_t *parser) {
    struct http_in *in = parser->data;
    parser->upgrade = 0; /* an offer to upgrade may be ignored (RFC 9110, 7.8) */
    int rc = check_head(in);
    if (rc != 0) {
        return -1;
    }
    if (parser->method == HTTP_CONNECT) {
        fail(in, 405, "method_not_allowed", "CONNECT is not served here");
        return -1;
    }
    in->phase = HTTP_IN_BODY;
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len) {
    struct http_in *in = parser->data;
    in->expect_continue = false;
    if (in->body.len + len > in->limits->max_body_bytes) {
        return fail(in, 413, "body_too_large", "the body has more than %zu bytes",
                    in->limits->max_body_bytes);
    }
    return keep(in, buf_append(&in->body, at, len));
}

static int on_message_complete(llhttp_t *parser) {
    struct http_in *in = parser->data;
    in->keep_alive = llhttp_should_keep_alive(parser) != 0;
    in->expect_continue = false;
    in->phase = HTTP_IN_DONE;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void http_in_init(struct http_in *in, const struct http_limits *limits) {
    memset(in, 0, sizeof *in);
    in->limits = limits;
    buf_init(&in->url, limits->max_url_bytes + 1);
    buf_init(&in->text, limits->max_header_bytes + 2 * limits->max_headers + 2);
    buf_init(&in->body, limits->max_body_bytes + 1);
    llhttp_init(&in->parser, HTTP_REQUEST, &settings);
    in->parser.data = in;
}

void http_in_finish(struct http_in *in) {
    buf_finish(&in->url);
    buf_finish(&in->text);
    buf_finish(&in->body);
    free(in->headers);
    in->headers = NULL;
}

void http_in_next(struct http_in *in) {
    buf_finish(&in->url);
    buf_finish(&in->text);
    buf_finish(&in->body);
    in->phase = HTTP_IN_IDLE;
    in->header_count = 0;
    in->head_bytes = 0;
    in->raw_body_bytes = 0;
    in->line_bytes = 0;
    in->line_number = 0;
    in->line_spaces = 0;
    in->after_cr = false;
    in->value_open = false;
    in->expect_continue = false;
    /* Not llhttp_reset(): a finished request leaves the parser waiting for the next one, or, after
     * "Connection: close", refusing it, which the caller has already decided. */
    llhttp_init(&in->parser, HTTP_REQUEST, &settings);
    in->parser.data = in;
}

const char *http_in_method(const struct http_in *in) {
    return llhttp_method_name((llhttp_method_t)in->parser.method);
}

/* Walks over the head, byte by byte: where it ends, and what the parser would let through. Returns the bytes
 * that belong to the head and may be given to the parser. */
static size_t scan_head(struct http_in *in, const char *data, size_t len, bool *over) {
    for (size_t i = 0; i < len; i++) {
        char c = data[i];
        if (in->head_bytes == in->limits->max_header_bytes) {
            *over = true;
            return i;
        }
        in->head_bytes++;
        if (in->after_cr != (c == '\n')) {
            fail(in, 400, "bad_request", "a line of the head does not end with CR LF");
            return i;
        }
        in->after_cr = c == '\r';
        if (c == '\n') {
            if (in->line_bytes == 0 && in->line_number > 0) {
                return i + 1; /* the empty line */
            }
            if (in->line_number == 0 && in->line_spaces != 2 && in->line_bytes > 0) {
                fail(in, 400, "bad_request",
                     "the request line is not METHOD, one space, target, one space, version");
                return i;
            }
            in->line_number += in->line_bytes > 0;
            in->line_bytes = 0;
        } else if (c != '\r') {
            if (in->line_bytes == 0 && in->line_number > 0 && (c == ' ' || c == '\t')) {
                fail(in, 400, "bad_request", "a header line is folded; folded lines are not accepted");
                return i;
            }
            in->line_bytes++;
            in->line_spaces += in->line_number == 0 && c == ' ';
        }
    }
    return len;
}

/* What the parser said, as an HTTP answer. */
static void explain(struct http_in *in, llhttp_errno_t code) {
    if (code == HPE_PAUSED_H2_UPGRADE || code == HPE_INVALID_VERSION) {
        fail(in, 505, "http_version_not_supported", "this server speaks HTTP/1.1");
    } else if (code == HPE_INVALID_METHOD) {
        fail(in, 400, "bad_request", "the request does not begin with a method of HTTP");
    } else {
        const char *why = llhttp_get_error_reason(&in->parser);
        fail(in, 400, "bad_request", "this is not HTTP/1.1: %s", why != NULL ? why : llhttp_errno_name(code));
    }
}

static size_t execute(struct http_in *in, const char *data, size_t len) {
    llhttp_errno_t code = llhttp_execute(&in->parser, data, len);
    if (code == HPE_OK) {
        return len;
    }
    const char *at = llhttp_get_error_pos(&in->parser);
    size_t used = at >= data && at <= data + len ? (size_t)(at - data) : len;
    if (code != HPE_PAUSED || in->phase != HTTP_IN_DONE) {
        explain(in, code);
    }
    return used;
}

size_t http_in_feed(struct http_in *in, const char *data, size_t len) {
    size_t used = 0;
    if (in->headers == NULL) {
        in->headers = calloc(in->limits->max_headers + 1, sizeof *in->headers);
        if (in->headers == NULL) {
            fail(in, 500, "internal_error", "memory is out");
        }
    }
    while (in->phase < HTTP_IN_DONE && used < len) {
        if (in->phase == HTTP_IN_BODY) {
            size_t before = used;
            used += execute(in, data + used, len - used);
            in->raw_body_bytes += used - before;
            if (in->raw_body_bytes > RAW_BODY_FACTOR * in->limits->max_body_bytes + RAW_BODY_EXTRA) {
                fail(in, 413, "body_too_large", "the body's chunks have more frame than content");
            }
            continue;
        }
        bool over = false;
        in->phase = HTTP_IN_HEAD;
        size_t head = scan_head(in, data + used, len - used, &over);
        bool refused = in->phase == HTTP_IN_FAILED;
        if (refused) {
            break;
        }
        used += head > 0 ? execute(in, data + used, head) : 0;
        if (over && in->phase == HTTP_IN_HEAD) {
            fail(in, 431, "headers_too_large", "the request line and headers are longer than %zu bytes",
                 in->limits->max_header_bytes);
        }
    }
    return used;
}
