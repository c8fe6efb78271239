/* Requests as bytes: whole, split, broken, too large, many at once. */
#include "tests/daemon/http_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define HOST "Host: localhost\r\n"

static int setup(void **state) {
    *state = fixture_start(NULL, "secret");
    return 0;
}

static int teardown(void **state) {
    fixture_stop(*state);
    return 0;
}

static void answers_with_the_two_headers(void **state) {
    char *r = exchange(*state, "GET /v1/hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(status_of(r), 200);
    assert_string_equal(body_of(r), "{\"hello\": \"world\"}");
    assert_non_null(strstr(r, "\r\nx-request-id: req_"));
    assert_non_null(strstr(r, "\r\nHermesd-Api-Version: 1.0\r\n"));
    assert_non_null(strstr(r, "\r\nContent-Type: application/json\r\n"));
    free(r);
}

static void head_sends_no_body(void **state) {
    char *r = exchange(*state, "HEAD /v1/hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(status_of(r), 200);
    assert_non_null(strstr(r, "Content-Length: 18"));
    assert_string_equal(body_of(r), "");
    free(r);
    r = exchange(*state, "HEAD /v1/silent HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(status_of(r), 200);
    assert_string_equal(body_of(r), "");
    free(r);
}

static void gives_path_query_and_headers_decoded(void **state) {
    char want[256];
    char *r = exchange(
        *state,
        "GET /v1/things/a%2Fb%20c/part?x=1&q=17%25+of HTTP/1.1\r\nx-twice: a \r\nX-Twice: b\r\n" HOST "\r\n");
    snprintf(want, sizeof want, "{\"id\": \"a/b c\", \"q\": \"17%% of\", \"twice\": \"a, b\", \"uid\": %u}",
             getuid());
    assert_string_equal(body_of(r), want);
    free(r);
}

static void a_request_may_arrive_in_any_two_pieces(void **state) {
    static const char text[] =
        "\r\nPOST /v1/echo HTTP/1.1\r\n" HOST
        "Content-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\n[1,\r\n4;x=y\r\n 22]\r\n0\r\nTrailer: t\r\n\r\nGET /v1/hello HTTP/1.1\r\n" HOST
        "Connection: close\r\n\r\n";
    for (size_t cut = 1; cut < sizeof text - 1; cut++) {
        int fd = fixture_connect(*state);
        assert_true(send_all(fd, text, cut));
        usleep(300);
        assert_true(send_all(fd, text + cut, sizeof text - 1 - cut));
        char *r = receive_all(fd);
        const char *second = strstr(body_of(r), "HTTP/1.1 200");
        assert_int_equal(status_of(r), 200);
        assert_int_equal(strncmp(body_of(r), "[1, 22]", 7), 0);
        assert_non_null(second);
        assert_string_equal(body_of(second), "{\"hello\": \"world\"}");
        free(r);
        close(fd);
    }
}

static void a_request_may_arrive_byte_by_byte(void **state) {
    static const char text[] =
        "POST /v1/echo HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nContent-Length: 4\r\n\r\n1234";
    int fd = fixture_connect(*state);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        assert_true(send_all(fd, text + i, 1));
        usleep(200);
    }
    char *r = receive_one(fd);
    assert_string_equal(body_of(r), "1234");
    free(r);
    close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state) {
    struct fixture *f = *state;
    int fd = fixture_connect(f);
    char text[8192] = "";
    size_t len = 0;
    for (int i = 0; i < 20; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "GET %s HTTP/1.1\r\n" HOST "\r\n",
                                i % 5 == 3 ? "/v1/later" : "/v1/hello");
    }
    assert_true(send_all(fd, text, len));
    for (int i = 0; i < 20; i++) {
        char *r = receive_one(fd);
        assert_non_null(r);
        assert_string_equal(body_of(r), i % 5 == 3 ? "{\"later\": true}" : "{\"hello\": \"world\"}");
        free(r);
    }
    close(fd);
}

static void a_client_that_never_reads_cannot_pile_up_answers(void **state) {
    static const char one[] = "GET /v1/hello HTTP/1.1\r\n" HOST "\r\n";
    struct fixture *f = *state;
    int fd = fixture_connect(f);
    struct timeval wait = {.tv_usec = 300000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    size_t sent = 0;
    int before = f->handled;
    while (sent < 1000000 && send_all(fd, one, sizeof one - 1)) {
        sent++;
    }
    assert_true(sent < 1000000);
    /* 1 MiB of answers of about 300 bytes, plus the kernel's buffers: far below what was asked for. */
    assert_true(f->handled - before < 40000);
    close(fd);
}

struct bad {
    const char *text;
    int status;
    const char *code;
};

#define JSON "Content-Type: application/json\r\n"

static const struct bad bad[] = {
    {"GET /nothing HTTP/1.1\r\n" HOST "\r\n", 404, "route_not_found"},
    {"GET /v1/hello/ HTTP/1.1\r\n" HOST "\r\n", 404, "route_not_found"},
    {"GET /v1/things//part HTTP/1.1\r\n" HOST "\r\n", 404, "route_not_found"},
    {"GET /v1/things/%00/part HTTP/1.1\r\n" HOST "\r\n", 400, "invalid_url"},
    {"GET /v1/things/%zz/part HTTP/1.1\r\n" HOST "\r\n", 400, "invalid_url"},
    {"GET /v1/hello?a=%2 HTTP/1.1\r\n" HOST "\r\n", 400, "invalid_url"},
    {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 400, "invalid_url"},
    {"PUT /v1/hello HTTP/1.1\r\n" HOST "\r\n", 405, "method_not_allowed"},
    {"CONNECT localhost:80 HTTP/1.1\r\n" HOST "\r\n", 405, "method_not_allowed"},
    {"POST /v1/echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}", 415, "unsupported_media_type"},
    {"POST /v1/echo HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415,
     "unsupported_media_type"},
    {"POST /v1/echo HTTP/1.1\r\n" HOST "Content-Type: application/jsonx\r\n\r\n", 415,
     "unsupported_media_type"},
    {"GET /v1/hello HTTP/1.1\r\n\r\n", 400, "invalid_host"},
    {"GET /v1/hello HTTP/1.1\r\n" HOST HOST "\r\n", 400, "invalid_host"},
    {"GET /v1/hello HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", 400, "bad_request"},
    {"GET /v1/hello HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n", 400, "bad_request"},
    {"GET  /v1/hello HTTP/1.1\r\n" HOST "\r\n", 400, "bad_request"},
    {"GET /v1/hello  HTTP/1.1\r\n" HOST "\r\n", 400, "bad_request"},
    {"GET /v1/hello\r\n\r\n", 400, "bad_request"},
    {"get /v1/hello HTTP/1.1\r\n" HOST "\r\n", 400, "bad_request"},
    {"\x16\x03\x01\x02", 400, "bad_request"},
    {"{\"jsonrpc\": \"2.0\"}\n", 400, "bad_request"},
    {"GET /v1/hello HTTP/1.1\r\n" HOST "\n", 400, "bad_request"},
    {"GET /v1/hello HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n", 400, "bad_request"},
    {"GET /v1/hello HTTP/1.1\n" HOST "\n", 400, "bad_request"},
    {"GET /v1/hello HTTP/1.1\r\nHost : localhost\r\n\r\n", 400, "bad_request"},
    {"GET /v1/hello HTTP/1.1\r\n" HOST "X: a\x01z\r\n\r\n", 400, "bad_request"},
    {"GET /v1/hello HTTP/1.2\r\n" HOST "\r\n", 505, "http_version_not_supported"},
    {"GET /v1/hello HTTP/2.0\r\n" HOST "\r\n", 505, "http_version_not_supported"},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version_not_supported"},
    {"POST /v1/echo HTTP/1.1\r\n" HOST JSON
     "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     400, "bad_request"},
    {"POST /v1/echo HTTP/1.1\r\n" HOST JSON "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400,
     "bad_request"},
    {"POST /v1/echo HTTP/1.1\r\n" HOST JSON "Content-Length: +2\r\n\r\n{}", 400, "bad_request"},
    {"POST /v1/echo HTTP/1.1\r\n" HOST JSON "Content-Length: 99999999999999999999\r\n\r\n{}", 400,
     "bad_request"},
    {"POST /v1/echo HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", 400,
     "bad_request"},
    {"POST /v1/echo HTTP/1.1\r\n" HOST JSON "Content-Length: 8388609\r\n\r\n", 413, "body_too_large"},
    {"POST /v1/echo HTTP/1.1\r\n" HOST JSON "Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}", 417,
     "expectation_failed"},
};

static void each_broken_request_has_its_answer(void **state) {
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char code[80];
        int fd = fixture_connect(*state);
        send_all(fd, bad[i].text, strlen(bad[i].text));
        char *r = receive_one(fd);
        snprintf(code, sizeof code, "\"code\": \"%s\"}}", bad[i].code);
        if (r == NULL || status_of(r) != bad[i].status || strstr(r, code) == NULL) {
            fail_msg("request %zu (%.40s): wanted %d %s, got %s", i, bad[i].text, bad[i].status, bad[i].code,
                     r != NULL ? r : "nothing");
        }
        assert_non_null(strstr(r, "x-request-id: req_"));
        free(r);
        close(fd);
    }
    char *r = exchange(*state, "PUT /v1/hello HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(r, "\r\nAllow: GET, HEAD, DELETE\r\n"));
    free(r);
}

static void each_size_has_its_limit(void **state) {
    static char text[1 << 16];
    size_t len = (size_t)snprintf(text, sizeof text, "GET /v1/hello?x=%09000d HTTP/1.1\r\n" HOST "\r\n", 0);
    char *r = exchange(*state, text);
    assert_int_equal(status_of(r), 414);
    free(r);
    len = (size_t)snprintf(text, sizeof text,
                           "GET /v1/hello?x=%08000d HTTP/1.1\r\n" HOST "X: %07000d\r\n\r\n", 0, 0);
    r = exchange(*state, text);
    assert_int_equal(status_of(r), 200);
    free(r);
    snprintf(text, sizeof text, "GET /v1/hello HTTP/1.1\r\n" HOST "X: %017000d\r\n\r\n", 0);
    r = exchange(*state, text);
    assert_int_equal(status_of(r), 431);
    free(r);
    for (int count = 99; count <= 100; count++) {
        len = (size_t)snprintf(text, sizeof text, "GET /v1/hello HTTP/1.1\r\n" HOST);
        for (int i = 0; i < count; i++) {
            len += (size_t)snprintf(text + len, sizeof text - len, "A: b\r\n");
        }
        snprintf(text + len, sizeof text - len, "\r\n");
        r = exchange(*state, text);
        assert_int_equal(status_of(r), count == 99 ? 200 : 431);
        free(r);
    }
    /* The body's limit, chunked, so that no length warns the server. */
    int fd = fixture_connect(*state);
    static char chunk[65536 + 16];
    size_t n = (size_t)snprintf(chunk, sizeof chunk, "10000\r\n%065536d\r\n", 0);
    snprintf(text, sizeof text, "POST /v1/echo HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n");
    assert_true(send_all(fd, text, strlen(text)));
    for (int i = 0; i < 129 && send_all(fd, chunk, n); i++) {
    }
    r = receive_one(fd);
    assert_int_equal(status_of(r), 413);
    free(r);
    close(fd);
}

static void the_largest_body_comes_back(void **state) {
    size_t size = 8u << 20;
    char *body = malloc(size);
    char head[160];
    memset(body, '7', size);
    int fd = fixture_connect(*state);
    int n = snprintf(
        head, sizeof head,
        "POST /v1/echo HTTP/1.1\r\n" HOST JSON "Expect: 100-continue\r\nContent-Length: %zu\r\n\r\n", size);
    assert_true(send_all(fd, head, (size_t)n));
    char *r = receive_one(fd);
    assert_int_equal(status_of(r), 100);
    free(r);
    assert_true(send_all(fd, body, size));
    r = receive_one(fd);
    assert_int_equal(status_of(r), 200);
    assert_memory_equal(body_of(r), body, size);
    free(r);
    free(body);
    close(fd);
}

static void http_1_0_closes_unless_asked(void **state) {
    int fd = fixture_connect(*state);
    assert_true(send_all(fd, "GET /v1/hello HTTP/1.0\r\n\r\n", 26));
    char *r = receive_all(fd);
    assert_int_equal(status_of(r), 200);
    assert_non_null(strstr(r, "Connection: close"));
    free(r);
    close(fd);
    r = exchange(*state, "GET /v1/stream HTTP/1.0\r\n\r\n");
    assert_string_equal(body_of(r),
                        "id: 1\nevent: one\ndata: {\"n\": 1}\n\nevent: two\ndata: {\"n\": 2}\n\nid: 2\ndata: "
                        "{\"n\": 3}\n\n");
    free(r);
}

static char *over_tcp(struct fixture *f, const char *text) {
    int fd = fixture_connect_tcp(f);
    assert_true(send_all(fd, text, strlen(text)));
    char *r = receive_one(fd);
    close(fd);
    assert_non_null(r);
    return r;
}

static void tcp_wants_the_token_a_local_host_and_no_foreign_page(void **state) {
    static const struct {
        const char *headers;
        int status;
    } table[] = {
        {HOST "Authorization: Bearer secret\r\n", 200},
        {"Host: 127.0.0.1:8765\r\nAuthorization: bearer secret\r\n", 200},
        {HOST "Authorization: Bearer secret\r\nOrigin: http://localhost:3000\r\n", 200},
        {HOST, 401},
        {HOST "Authorization: Bearer secre\r\n", 401},
        {HOST "Authorization: Bearer secretsecret\r\n", 401},
        {HOST "Authorization: Basic secret\r\n", 401},
        {"Host: evil.example\r\nAuthorization: Bearer secret\r\n", 403},
        {"Host: localhost.evil.example\r\nAuthorization: Bearer secret\r\n", 403},
        {HOST "Authorization: Bearer secret\r\nOrigin: http://evil.example\r\n", 403},
        {HOST "Authorization: Bearer secret\r\nOrigin: null\r\n", 403},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[512];
        snprintf(text, sizeof text, "GET /v1/hello HTTP/1.1\r\n%s\r\n", table[i].headers);
        char *r = over_tcp(*state, text);
        if (status_of(r) != table[i].status) {
            fail_msg("%s: %s", table[i].headers, r);
        }
        free(r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_with_the_two_headers),
        cmocka_unit_test(head_sends_no_body),
        cmocka_unit_test(gives_path_query_and_headers_decoded),
        cmocka_unit_test(a_request_may_arrive_in_any_two_pieces),
        cmocka_unit_test(a_request_may_arrive_byte_by_byte),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_client_that_never_reads_cannot_pile_up_answers),
        cmocka_unit_test(each_broken_request_has_its_answer),
        cmocka_unit_test(each_size_has_its_limit),
        cmocka_unit_test(the_largest_body_comes_back),
        cmocka_unit_test(http_1_0_closes_unless_asked),
        cmocka_unit_test(tcp_wants_the_token_a_local_host_and_no_foreign_page),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, setup, teardown);
}
