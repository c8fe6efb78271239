/* The event loop as tools/ sees it. */
#include "daemon/tools_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct seen {
    uv_loop_t loop;
    struct tools_loop table;
    void *handle;
    int fd;
    int readable, writable, fired;
};

static void setup_loop(struct seen *s) {
    memset(s, 0, sizeof *s);
    assert_int_equal(uv_loop_init(&s->loop), 0);
    tools_loop_init(&s->table, &s->loop);
}

static void teardown_loop(struct seen *s) {
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

static void on_ready(void *arg, bool readable, bool writable) {
    struct seen *s = arg;
    char byte;
    s->readable += readable;
    s->writable += writable;
    if (writable) {
        s->table.rewatch(s->table.ctx, s->handle, false);
    }
    if (readable && read(s->fd, &byte, 1) <= 0) {
        s->table.unwatch(s->table.ctx, s->handle); /* from inside its own callback */
        close(s->fd);
    }
}

static void a_descriptor_is_watched_both_ways(void **state) {
    struct seen s;
    int pair[2];
    (void)state;
    setup_loop(&s);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    s.fd = pair[0];
    s.handle = s.table.watch(s.table.ctx, pair[0], true, on_ready, &s);
    assert_non_null(s.handle);
    uv_run(&s.loop, UV_RUN_ONCE);
    assert_int_equal(s.writable, 1);
    assert_int_equal(s.readable, 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    uv_run(&s.loop, UV_RUN_ONCE);
    assert_int_equal(s.writable, 1); /* no longer wanted */
    assert_int_equal(s.readable, 1);
    close(pair[1]);
    teardown_loop(&s); /* the end is readable, and ends the watch */
    assert_int_equal(s.readable, 2);
}

static void a_descriptor_that_cannot_be_watched_gives_null(void **state) {
    struct seen s;
    (void)state;
    setup_loop(&s);
    assert_null(s.table.watch(s.table.ctx, 999999, false, on_ready, &s));
    teardown_loop(&s);
}

static void on_fired(void *arg) {
    struct seen *s = arg;
    s->fired++;
}

static void on_fired_stop(void *arg) {
    struct seen *s = arg;
    s->fired++;
    s->table.untimer(s->table.ctx, s->handle);
}

static void a_timer_fires_once_and_is_gone(void **state) {
    struct seen s;
    (void)state;
    setup_loop(&s);
    uint64_t begin = uv_hrtime();
    assert_non_null(s.table.timer(s.table.ctx, 20, on_fired, &s));
    uv_run(&s.loop, UV_RUN_DEFAULT);
    assert_int_equal(s.fired, 1);
    assert_true(uv_hrtime() - begin >= 19000000);
    s.handle = s.table.timer(s.table.ctx, 1, on_fired_stop, &s);
    teardown_loop(&s);
    assert_int_equal(s.fired, 2);
}

static void a_timer_that_is_stopped_does_not_fire(void **state) {
    struct seen s;
    (void)state;
    setup_loop(&s);
    void *timer = s.table.timer(s.table.ctx, 1, on_fired, &s);
    s.table.untimer(s.table.ctx, timer);
    teardown_loop(&s);
    assert_int_equal(s.fired, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_is_watched_both_ways),
        cmocka_unit_test(a_descriptor_that_cannot_be_watched_gives_null),
        cmocka_unit_test(a_timer_fires_once_and_is_gone),
        cmocka_unit_test(a_timer_that_is_stopped_does_not_fire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
