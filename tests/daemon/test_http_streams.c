/* Event streams: framing, chunks, signs of life, readers that are too slow. */
#include "daemon/sse.h"
#include "tests/daemon/http_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void check_format(enum http_stream_kind kind, int64_t id, const char *name, const char *want) {
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(sse_format(&out, kind, id, name, "{\"a\": 1}", 8), 0);
    assert_string_equal(out.data, want);
    buf_finish(&out);
}

static void each_form_is_written_as_specified(void **state) {
    (void)state;
    check_format(HTTP_SSE, 7, "job.queued", "id: 7\nevent: job.queued\ndata: {\"a\": 1}\n\n");
    check_format(HTTP_SSE, -1, "delta", "event: delta\ndata: {\"a\": 1}\n\n");
    check_format(HTTP_SSE, 0, NULL, "id: 0\ndata: {\"a\": 1}\n\n");
    check_format(HTTP_NDJSON, 7, "job.queued", "{\"a\": 1}\n");
    struct buf out;
    buf_init(&out, 10);
    assert_int_equal(sse_format(&out, HTTP_SSE, 7, "job.queued", "{\"a\": 1}", 8), -ENOBUFS);
    buf_finish(&out);
}

/* The chunks of a body put together; false when they are not well formed to the end. */
static bool join_chunks(const char *body, char *out, size_t size) {
    size_t len = 0;
    for (;;) {
        char *end = NULL;
        unsigned long n = strtoul(body, &end, 16);
        if (end == body || strncmp(end, "\r\n", 2) != 0 || n >= size - len) {
            return false;
        }
        body = end + 2;
        if (n == 0) {
            out[len] = '\0';
            return strncmp(body, "\r\n", 2) == 0;
        }
        memcpy(out + len, body, n);
        len += n;
        body += n;
        if (strncmp(body, "\r\n", 2) != 0) {
            return false;
        }
        body += 2;
    }
}

static void a_stream_is_chunked_and_the_connection_goes_on(void **state) {
    struct fixture *f = fixture_start(NULL, NULL);
    char text[1024];
    (void)state;
    char *r = exchange(f, "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/hello HTTP/1.1\r\nHost: "
                          "localhost\r\n\r\n");
    assert_int_equal(status_of(r), 200);
    assert_non_null(strstr(r, "Content-Type: text/event-stream"));
    assert_true(join_chunks(body_of(r), text, sizeof text));
    assert_string_equal(
        text,
        "id: 1\nevent: one\ndata: {\"n\": 1}\n\nevent: two\ndata: {\"n\": 2}\n\nid: 2\ndata: {\"n\": 3}\n\n");
    const char *second = strstr(body_of(r), "HTTP/1.1 200");
    assert_non_null(second);
    assert_string_equal(body_of(second), "{\"hello\": \"world\"}");
    free(r);
    r = exchange(f, "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nAccept: "
                    "application/x-ndjson\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(r, "Content-Type: application/x-ndjson"));
    assert_true(join_chunks(body_of(r), text, sizeof text));
    assert_string_equal(text, "{\"n\": 1}\n{\"n\": 2}\n{\"n\": 3}\n");
    free(r);
    fixture_stop(f);
}

static void a_silent_stream_gives_signs_of_life(void **state) {
    struct http_limits limits = http_limits_default;
    (void)state;
    limits.keepalive_ms = 60;
    struct fixture *f = fixture_start(&limits, NULL);
    int fd = fixture_connect(f);
    char got[4096] = "";
    size_t len = 0;
    static const char text[] = "GET /v1/silent HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_true(send_all(fd, text, sizeof text - 1));
    const char *second = NULL;
    while (second == NULL && len < sizeof got - 1) {
        ssize_t n = recv(fd, got + len, sizeof got - 1 - len, 0);
        assert_true(n > 0);
        len += (size_t)n;
        got[len] = '\0';
        const char *first = strstr(got, ": ka\n\n");
        second = first != NULL ? strstr(first + 1, ": ka\n\n") : NULL;
    }
    assert_non_null(second);
    close(fd);
    for (int i = 0; i < 300 && f->closed == 0; i++) {
        usleep(10000);
    }
    assert_int_equal(f->closed, 1);
    fixture_stop(f);
}

/* Reads nothing until the server gave up, then everything. */
static void a_reader_that_sleeps_loses_deltas_then_the_stream(void **state) {
    struct http_limits limits = http_limits_default;
    (void)state;
    limits.stream_drop_bytes = 256u << 10;
    limits.stream_close_bytes = 512u << 10;
    struct fixture *f = fixture_start(&limits, NULL);
    int fd = fixture_connect(f);
    int small = 65536;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    static const char text[] = "GET /v1/flood HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_true(send_all(fd, text, sizeof text - 1));
    for (int i = 0; i < 2000 && f->slow == 0; i++) {
        usleep(5000);
    }
    assert_int_equal(f->slow, 1);
    assert_true(f->dropped > 0);
    char *r = receive_all(fd);
    /* No durable event is missing up to the end, and the end has its name. */
    const char *at = r;
    int next = 0;
    char id[32];
    for (;; next++) {
        snprintf(id, sizeof id, "id: %d\n", next);
        const char *found = strstr(at, id);
        if (found == NULL) {
            break;
        }
        at = found;
    }
    assert_true(next > 10);
    assert_true(next >= f->durable - 1);
    assert_non_null(strstr(at, "event: error\n"));
    assert_non_null(strstr(at, "slow_consumer"));
    free(r);
    close(fd);
    for (int i = 0; i < 500 && f->closed == 0; i++) {
        usleep(10000);
    }
    assert_int_equal(f->closed, 1);
    fixture_stop(f);
}

static void a_reader_that_keeps_up_loses_nothing(void **state) {
    struct fixture *f = fixture_start(NULL, NULL);
    (void)state;
    int fd = fixture_connect(f);
    static char got[65536];
    size_t total = 0;
    static const char text[] = "GET /v1/flood HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_true(send_all(fd, text, sizeof text - 1));
    while (total < (8u << 20)) {
        ssize_t n = recv(fd, got, sizeof got, 0);
        assert_true(n > 0);
        total += (size_t)n;
    }
    assert_int_equal(f->slow, 0);
    close(fd);
    for (int i = 0; i < 500 && f->closed == 0; i++) {
        usleep(10000);
    }
    assert_int_equal(f->closed, 1);
    fixture_stop(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_is_written_as_specified),
        cmocka_unit_test(a_stream_is_chunked_and_the_connection_goes_on),
        cmocka_unit_test(a_silent_stream_gives_signs_of_life),
        cmocka_unit_test(a_reader_that_sleeps_loses_deltas_then_the_stream),
        cmocka_unit_test(a_reader_that_keeps_up_loses_nothing),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
