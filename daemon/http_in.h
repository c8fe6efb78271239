/* Bytes in, one request out: the only file pair that knows the parser (llhttp).
 *
 * What the parser lets through and we do not: folded header lines, bare LF, spaces in a header's name, more
 * than one space in the request line, a missing or second Host on HTTP/1.1, other versions than 1.0 and 1.1;
 * and it has no limits of its own. [loop-thread] */
#ifndef DAEMON_HTTP_IN_H
#define DAEMON_HTTP_IN_H

#include "daemon/http.h"

#include <llhttp.h>

enum http_in_phase {
    HTTP_IN_IDLE,   /* no byte of a request yet */
    HTTP_IN_HEAD,   /* inside the request line or the headers */
    HTTP_IN_BODY,   /* headers are complete */
    HTTP_IN_DONE,   /* a whole request is here: http_in_next() starts another */
    HTTP_IN_FAILED, /* status, code and message say why; the connection has to close */
};

struct http_in_header {
    size_t name; /* offsets into text.data */
    size_t value;
};

#define HTTP_IN_HEADERS_MAX 256

struct http_in {
    const struct http_limits *limits; /* borrowed */
    llhttp_t parser;
    enum http_in_phase phase;
    struct buf url;
    struct buf text;                /* names and values, each NUL-terminated */
    struct http_in_header *headers; /* owned; limits->max_headers of them, allocated with the first request */
    size_t header_count;
    struct buf body;
    size_t head_bytes;
    size_t raw_body_bytes;
    size_t line_bytes;  /* of the line the scan is in */
    size_t line_number; /* 0: the request line */
    int line_spaces;
    bool after_cr;
    bool value_open;      /* a header value was begun */
    bool expect_continue; /* the client waits for "100 Continue" */
    bool keep_alive;      /* valid in DONE */
    bool http10;
    int status; /* valid in FAILED */
    const char *code;
    char message[160];
};

void http_in_init(struct http_in *in, const struct http_limits *limits);
void http_in_finish(struct http_in *in);
/* Takes bytes until a request is complete or wrong; returns how many were used. */
size_t http_in_feed(struct http_in *in, const char *data, size_t len);
/* Forgets the request and waits for the next one. */
void http_in_next(struct http_in *in);
/* "GET", … of the request. */
const char *http_in_method(const struct http_in *in);

#endif
