/* Connections over time: slow, silent, too many, leaving early, and the end of the server. */
#include "tests/daemon/http_fixture.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define GET_HELLO "GET /v1/hello HTTP/1.1\r\nHost: localhost\r\n\r\n"

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

static struct fixture *start_quick(void) {
    struct http_limits limits = http_limits_default;
    limits.header_timeout_ms = 150;
    limits.body_timeout_ms = 150;
    limits.idle_timeout_ms = 1500; /* a pause of 100 ms may become a second on a busy machine */
    limits.max_connections = 12;
    limits.max_connections_per_uid = 8;
    return fixture_start(&limits, NULL);
}

static void wait_for(const atomic_int *value, int wanted) {
    for (int i = 0; i < 500 && *value < wanted; i++) {
        usleep(10000);
    }
    assert_int_equal(*value, wanted);
}

/* True when the other end closes within `ms`. */
static bool closes_within(int fd, int ms) {
    char byte;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) > 0 && recv(fd, &byte, 1, 0) <= 0;
}

static void a_head_that_drips_is_cut_off(void **state) {
    struct fixture *f = start_quick();
    (void)state;
    static const char text[] =
        "GET /v1/hello HTTP/1.1\r\nHost: localhost\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    int fd = fixture_connect(f);
    double begin = now_ms();
    for (size_t i = 0; i < sizeof text - 1 && send_all(fd, text + i, 1); i++) {
        usleep(10000); /* each byte is in time, the head is not */
    }
    char *r = receive_one(fd);
    assert_non_null(r);
    assert_int_equal(status_of(r), 408);
    assert_true(now_ms() - begin < 10000);
    free(r);
    close(fd);
    fixture_stop(f);
}

static void a_body_that_stops_is_cut_off(void **state) {
    struct fixture *f = start_quick();
    (void)state;
    int fd = fixture_connect(f);
    static const char text[] = "POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                               "application/json\r\nContent-Length: 10\r\n\r\n123";
    assert_true(send_all(fd, text, sizeof text - 1));
    char *r = receive_one(fd);
    assert_int_equal(status_of(r), 408);
    assert_non_null(strstr(r, "Connection: close"));
    free(r);
    assert_true(closes_within(fd, 3000));
    close(fd);
    fixture_stop(f);
}

static void an_idle_connection_is_closed_but_not_at_once(void **state) {
    struct fixture *f = start_quick();
    (void)state;
    int fd = fixture_connect(f);
    for (int i = 0; i < 3; i++) {
        assert_true(send_all(fd, GET_HELLO, sizeof GET_HELLO - 1));
        char *r = receive_one(fd);
        assert_int_equal(status_of(r), 200);
        free(r);
        usleep(100000);
    }
    double begin = now_ms();
    assert_true(closes_within(fd, 10000));
    assert_true(now_ms() - begin > 50);
    close(fd);
    fixture_stop(f);
}

static void slow_clients_do_not_hold_up_others(void **state) {
    struct fixture *f = start_quick();
    (void)state;
    int slow[5];
    for (int i = 0; i < 5; i++) {
        slow[i] = fixture_connect(f);
        assert_true(send_all(slow[i], "GET /v1", 7));
    }
    double begin = now_ms();
    for (int i = 0; i < 50; i++) {
        char *r = exchange(f, GET_HELLO);
        assert_int_equal(status_of(r), 200);
        free(r);
    }
    assert_true(now_ms() - begin < 2000);
    for (int i = 0; i < 5; i++) {
        close(slow[i]);
    }
    fixture_stop(f);
}

static void too_many_connections_are_told_so(void **state) {
    struct fixture *f = start_quick();
    (void)state;
    int held[8];
    for (int i = 0; i < 8; i++) {
        held[i] = fixture_connect(f);
        assert_true(send_all(held[i], GET_HELLO, sizeof GET_HELLO - 1));
        char *r = receive_one(held[i]);
        assert_int_equal(status_of(r), 200);
        free(r);
    }
    int fd = fixture_connect(f);
    char *r = receive_one(fd);
    assert_non_null(r);
    assert_int_equal(status_of(r), 503);
    assert_non_null(strstr(r, "too_many_connections"));
    assert_non_null(strstr(r, "Retry-After: 1"));
    free(r);
    close(fd);
    close(held[0]);
    int status = 503;
    for (int i = 0; i < 100 && status == 503; i++) {
        usleep(10000);
        r = exchange(f, GET_HELLO);
        status = status_of(r);
        free(r);
    }
    assert_int_equal(status, 200);
    for (int i = 1; i < 8; i++) {
        close(held[i]);
    }
    fixture_stop(f);
}

static void a_client_that_leaves_is_noticed(void **state) {
    struct fixture *f = start_quick();
    (void)state;
    for (int i = 0; i < 5; i++) {
        int fd = fixture_connect(f);
        static const char text[] = "GET /v1/never HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_true(send_all(fd, text, sizeof text - 1));
        wait_for(&f->handled, i + 1);
        close(fd);
        wait_for(&f->closed, i + 1);
    }
    fixture_stop(f);
}

static void a_client_that_closes_only_its_sending_side_is_answered(void **state) {
    struct fixture *f = start_quick();
    (void)state;
    char *r = exchange(f, "GET /v1/later HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_string_equal(body_of(r), "{\"later\": true}");
    free(r);
    fixture_stop(f);
}

static void stopping_finishes_what_was_begun(void **state) {
    struct fixture *f = start_quick();
    (void)state;
    int fd = fixture_connect(f);
    static const char text[] = "GET /v1/later HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_true(send_all(fd, text, sizeof text - 1));
    wait_for(&f->handled, 1);
    f->drain_asked = true;
    uv_async_send(&f->wake);
    char *r = receive_one(fd);
    assert_int_equal(status_of(r), 200);
    assert_non_null(strstr(r, "Connection: close"));
    free(r);
    assert_true(closes_within(fd, 3000));
    close(fd);
    for (int i = 0; i < 100 && access(f->path, F_OK) == 0; i++) {
        usleep(10000);
    }
    assert_int_not_equal(access(f->path, F_OK), 0);
    fixture_stop(f);
}

static void the_end_of_the_server_closes_everything(void **state) {
    struct fixture *f = start_quick();
    (void)state;
    int fds[3];
    static const char *const requests[] = {
        "GET /v1/never HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v1/silent HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v1/hel",
    };
    for (int i = 0; i < 3; i++) {
        fds[i] = fixture_connect(f);
        assert_true(send_all(fds[i], requests[i], strlen(requests[i])));
    }
    wait_for(&f->handled, 2);
    fixture_stop(f); /* asserts that every handle of the loop is closed */
    for (int i = 0; i < 3; i++) {
        char *rest = receive_all(fds[i]);
        free(rest);
        close(fds[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_that_drips_is_cut_off),
        cmocka_unit_test(a_body_that_stops_is_cut_off),
        cmocka_unit_test(an_idle_connection_is_closed_but_not_at_once),
        cmocka_unit_test(slow_clients_do_not_hold_up_others),
        cmocka_unit_test(too_many_connections_are_told_so),
        cmocka_unit_test(a_client_that_leaves_is_noticed),
        cmocka_unit_test(a_client_that_closes_only_its_sending_side_is_answered),
        cmocka_unit_test(stopping_finishes_what_was_begun),
        cmocka_unit_test(the_end_of_the_server_closes_everything),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
