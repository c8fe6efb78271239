/* Workers: warm ones, several at a time, a queue with an end, crashes that count, and nothing left behind. */
#include "tests/tools/harness.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static struct harness h;
static struct outcome o, many[80];

static void open_with(const char *name, void (*change)(struct tools_config *)) {
    const char *const names[] = {name, NULL};
    memset(&h, 0, sizeof h);
    h.config = tools_config_default();
    h.config.kill_grace_ms = 100;
    if (change != NULL)
        change(&h.config);
    harness_open(&h, names);
}

/* Ids of the processes whose parent is this one. */
static int children(int *pids, int max) {
    int n = 0, pid;
    FILE *f = fopen("/proc/thread-self/children", "r");
    if (f == NULL)
        return -1;
    while (n < max && fscanf(f, "%d", &pid) == 1)
        pids[n++] = pid;
    fclose(f);
    return n;
}

static int count_children(void) {
    int pids[256];
    return children(pids, 256);
}

static int wait_for_children(int wanted) {
    for (int i = 0; i < 500 && count_children() != wanted; i++)
        poll_loop_for(h.loop, 10);
    return count_children();
}

static void leave_soon(struct tools_config *config) {
    config->idle_ms = 100;
}

static void test_warm(void **state) {
    (void)state;
    open_with("hostile", leave_soon);
    assert_int_equal(count_children(), 1); /* the worker that listed the tools is the spare */
    int pids[1] = {0}, same = 0;
    assert_int_equal(children(pids, 1), 1);
    for (int i = 0, last = pids[0]; i < 20; i++, last = o.result.pid) {
        harness_expect(&h, &o, "echo", "{}", TOOL_OK);
        same += o.result.pid == last;
    }
    assert_true(same >= 10); /* a busy machine takes so long now and then that a spare comes up beside */
    assert_int_equal(wait_for_children(1), 1);
    assert_int_equal(children(pids, 1), 1);
    /* A spare that dies is replaced. */
    kill(pids[0], SIGKILL);
    poll_loop_for(h.loop, 20);
    assert_int_equal(wait_for_children(1), 1);
    harness_expect(&h, &o, "echo", "{}", TOOL_OK);
    assert_int_not_equal(o.result.pid, pids[0]);
    assert_non_null(strstr(h.log, "plugin hostile: it crashed between calls: signal 9"));
    harness_close(&h);
}

static void more_spares(struct tools_config *config) {
    config->spares = 3;
}

static void no_spares(struct tools_config *config) {
    config->spares = 0;
    config->idle_ms = 600000; /* the one that listed the tools leaves at once all the same */
}

static void test_spares(void **state) {
    (void)state;
    open_with("hostile", more_spares);
    assert_int_equal(wait_for_children(3), 3);
    harness_close(&h);
    open_with("hostile", no_spares);
    assert_int_equal(wait_for_children(0), 0);
    harness_expect(&h, &o, "echo", "{}", TOOL_OK);
    harness_close(&h);
}

/* A spare that is ready only when the call it came up beside has ended is one too many: a worker leaves,
 * without another call. */
static void test_late_spare(void **state) {
    (void)state;
    open_with("slow_init", leave_soon);
    harness_expect(&h, &o, "hello", "{}", TOOL_OK);
    assert_int_equal(wait_for_children(2), 2);
    assert_int_equal(wait_for_children(1), 1);
    harness_close(&h);
}

/* While a call lasts a spare comes up, so that its end in a crash costs the next call no start. */
static void test_spare_beside_a_long_call(void **state) {
    (void)state;
    open_with("hostile", NULL);
    harness_call(&h, &o, "wait", "{}", 0);
    assert_int_equal(wait_for_children(2), 2);
    struct outcome other;
    harness_expect(&h, &other, "echo", "{}", TOOL_OK);
    assert_int_not_equal(other.result.pid, tool_call_pid(o.call));
    harness_close(&h); /* the first call still runs */
    assert_true(o.done);
    assert_int_equal(o.times, 1);
    assert_int_equal(o.result.status, TOOL_CANCELLED);
    assert_string_equal(o.text, "wait was cancelled: the daemon stops");
}

/* "ms" allows one call at a time, "ms3" three. */
static void test_concurrency(void **state) {
    int pids[3] = {0};
    (void)state;
    open_with("hostile", NULL);
    for (int i = 0; i < 3; i++)
        harness_call(&h, &many[i], "ms", "{\"ms\": 60}", 0);
    assert_true(tool_call_pid(many[0].call) > 0);
    assert_int_equal(tool_call_pid(many[1].call), 0);
    for (int i = 0; i < 3; i++) {
        harness_wait(&many[i]);
        assert_int_equal(many[i].result.status, TOOL_OK);
    }
    for (int i = 0; i < 5; i++)
        harness_call(&h, &many[i], "ms3", "{\"ms\": 400}", 0);
    for (int round = 0; round < 200 && tool_call_pid(many[2].call) == 0; round++)
        poll_loop_once(h.loop, 10);
    for (int i = 0; i < 3; i++)
        pids[i] = tool_call_pid(many[i].call);
    assert_true(pids[0] > 0 && pids[1] > 0 && pids[2] > 0);
    assert_true(pids[0] != pids[1] && pids[1] != pids[2] && pids[0] != pids[2]);
    assert_int_equal(tool_call_pid(many[3].call), 0);
    for (int i = 0; i < 5; i++) {
        harness_wait(&many[i]);
        assert_int_equal(many[i].result.status, TOOL_OK);
    }
    harness_close(&h);
}

static void short_queue(struct tools_config *config) {
    config->max_queue = 4;
}

static void test_queue_is_bounded(void **state) {
    char err[256];
    struct tool_call *call = NULL;
    struct tool_request request = {.name = "ms", .arguments = "{\"ms\": 30}", .len = 10};
    (void)state;
    open_with("hostile", short_queue);
    for (int i = 0; i < 5; i++)
        harness_call(&h, &many[i], "ms", "{\"ms\": 30}", 0);
    assert_int_equal(tools_call(h.tools, &request, &call, err, sizeof err), -EAGAIN);
    assert_string_equal(err, "4 calls of ms wait already; try again later");
    /* Another tool of the plugin is not held up. */
    harness_expect(&h, &o, "echo", "{}", TOOL_OK);
    /* One that waits is cancelled without a worker. */
    tools_cancel(many[4].call);
    assert_false(many[4].done);
    harness_wait(&many[4]);
    assert_int_equal(many[4].result.status, TOOL_CANCELLED);
    assert_string_equal(many[4].text, "ms was cancelled before it began");
    for (int i = 0; i < 4; i++) {
        harness_wait(&many[i]);
        assert_int_equal(many[i].result.status, TOOL_OK);
    }
    harness_close(&h);
}

static void test_waiting_has_an_end(void **state) {
    (void)state;
    open_with("hostile", NULL);
    harness_call(&h, &o, "ms", "{\"ms\": 400}", 0);
    harness_call(&h, &many[0], "ms", "{}", 100);
    harness_wait(&many[0]);
    assert_int_equal(many[0].result.status, TOOL_TRANSIENT);
    assert_string_equal(many[0].text, "ms did not begin: all its workers were busy for 100 ms");
    harness_wait(&o);
    assert_int_equal(o.result.status, TOOL_OK);
    harness_close(&h);
}

static void short_rest(struct tools_config *config) {
    config->quarantine_ms = 300;
}

static void test_quarantine(void **state) {
    (void)state;
    open_with("hostile", short_rest);
    for (int i = 0; i < 5; i++)
        harness_expect(&h, &o, "abort", "{}", TOOL_CRASHED);
    harness_expect(&h, &o, "echo", "{}", TOOL_UNAVAILABLE);
    assert_non_null(
        strstr(o.text, "echo is not available: its plugin crashed 5 times within a minute and rests for"));
    assert_non_null(strstr(h.log, "plugin hostile: crashed 5 times within a minute; it rests for 0.3 s"));
    assert_int_equal(o.result.pid, 0);
    poll_loop_for(h.loop, 500);
    harness_expect(&h, &o, "echo", "{}", TOOL_OK);
    harness_close(&h);
}

/* The more crashes, the later a spare comes back by itself; a call does not wait for that. */
static void test_spares_hold_back(void **state) {
    (void)state;
    open_with("hostile", NULL);
    for (int i = 0; i < 4; i++)
        harness_expect(&h, &o, "abort", "{}", TOOL_CRASHED);
    poll_loop_for(h.loop, 100); /* of 1,600 ms */
    assert_int_equal(count_children(), 0);
    harness_expect(&h, &o, "echo", "{}", TOOL_OK);
    kill(o.result.pid, SIGSTOP); /* it stays, and is busy */
    harness_call(&h, &many[0], "echo", "{}", 0);
    assert_int_equal(wait_for_children(2), 2);
    kill(o.result.pid, SIGCONT);
    harness_wait(&many[0]);
    harness_close(&h);
}

/* Those that wait when the plugin begins to rest are told. */
static void test_quarantine_ends_waiting(void **state) {
    (void)state;
    open_with("hostile", short_rest);
    for (int i = 0; i < 4; i++)
        harness_expect(&h, &o, "abort", "{}", TOOL_CRASHED);
    harness_call(&h, &many[0], "abort", "{}", 0);
    harness_call(&h, &many[1], "abort", "{}", 0);
    harness_wait(&many[0]);
    harness_wait(&many[1]);
    assert_int_equal(many[0].result.status, TOOL_CRASHED);
    assert_int_equal(many[1].result.status, TOOL_UNAVAILABLE);
    harness_close(&h);
}

/* A crash in one call leaves the calls beside it alone. */
static void test_company(void **state) {
    (void)state;
    open_with("hostile", NULL);
    harness_call(&h, &many[0], "ms3", "{\"ms\": 300}", 0);
    harness_call(&h, &many[1], "ms3", "{\"ms\": 300}", 0);
    harness_expect(&h, &o, "abort", "{}", TOOL_CRASHED);
    harness_expect(&h, &o, "exit", "{}", TOOL_CRASHED);
    for (int i = 0; i < 2; i++) {
        harness_wait(&many[i]);
        assert_int_equal(many[i].result.status, TOOL_OK);
    }
    harness_close(&h);
}

/* From inside `done`: another call, and the end of one that runs. */
static struct outcome second;

static void call_again(void *arg, const struct tool_result *result) {
    bool *flag = arg;
    assert_int_equal(result->status, TOOL_OK);
    harness_call(&h, &second, "echo", "{\"again\": 1}", 0);
    tools_cancel(many[0].call);
    *flag = true;
}

static void test_from_inside_done(void **state) {
    char err[256];
    bool flag = false;
    struct tool_call *call;
    struct tool_request request = {
        .name = "echo", .arguments = "{}", .len = 2, .done = call_again, .arg = &flag};
    (void)state;
    open_with("hostile", NULL);
    harness_call(&h, &many[0], "wait", "{}", 0);
    assert_int_equal(tools_call(h.tools, &request, &call, err, sizeof err), 0);
    assert_true(poll_loop_until(h.loop, &flag, 10000));
    harness_wait(&second);
    assert_string_equal(second.text, "{\"again\": 1}");
    harness_wait(&many[0]);
    assert_int_equal(many[0].result.status, TOOL_CANCELLED);
    harness_close(&h);
}

static void refuse_while_closing(void *arg, const struct tool_result *result) {
    char err[256];
    struct tool_call *call = NULL;
    struct tool_request request = {
        .name = "echo", .arguments = "{}", .len = 2, .done = refuse_while_closing, .arg = arg};
    assert_int_equal(result->status, TOOL_CANCELLED);
    if (++*(int *)arg > 1) /* the first one was cancelled before */
        assert_int_equal(tools_call(h.tools, &request, &call, err, sizeof err), -ESHUTDOWN);
}

static void test_close_ends_all(void **state) {
    char err[256];
    int ended = 0;
    struct tool_call *call;
    struct tool_request request = {
        .name = "ms3", .arguments = "{\"ms\": 5000}", .len = 12, .done = refuse_while_closing, .arg = &ended};
    (void)state;
    open_with("hostile", NULL);
    for (int i = 0; i < 6; i++) /* three run, three wait */
        assert_int_equal(tools_call(h.tools, &request, &call, err, sizeof err), 0);
    tools_cancel(call);
    poll_loop_for(h.loop, 30);
    assert_int_equal(ended, 1);
    harness_close(&h);
    assert_int_equal(ended, 6);
}

/* A megabyte of arguments goes out in pieces while the worker is still busy reading. */
static void test_large_arguments(void **state) {
    size_t len = 1000 * 1000;
    char *arguments = malloc(len + 1);
    (void)state;
    assert_non_null(arguments);
    memset(arguments, 'x', len);
    memcpy(arguments, "{\"a\": \"", 7);
    memcpy(arguments + len - 2, "\"}", 3);
    open_with("hostile", NULL);
    harness_expect(&h, &o, "echo", arguments, TOOL_OK);
    assert_int_equal(o.result.len, len);
    assert_true(o.result.is_json);
    harness_close(&h);
    free(arguments);
}

/* Descriptors and children stay the same over many calls, some of which crash: harness_close() counts. */
static void test_nothing_leaks(void **state) {
    (void)state;
    open_with("hostile", leave_soon);
    harness_expect(&h, &o, "echo", "{}", TOOL_OK);
    int fds = harness_open_fds();
    for (int i = 0; i < 4; i++) {
        harness_expect(&h, &o, i % 2 == 0 ? "abort" : "exit", "{}", TOOL_CRASHED);
        for (int j = 0; j < 50; j++)
            harness_expect(&h, &o, "echo", "{}", TOOL_OK);
    }
    assert_int_equal(wait_for_children(1), 1);
    assert_int_equal(harness_open_fds(), fds);
    harness_close(&h);
}

/* A daemon of its own: opens the tools, begins a call that never ends, says which processes there are, and is
 * killed. */
static void doomed_daemon(int fd) {
    int pids[2] = {0};
    open_with("hostile", NULL);
    harness_expect(&h, &o, "echo", "{}", TOOL_OK);
    harness_call(&h, &o, "loop", "{}", 0);
    while (o.notes == 0)
        poll_loop_once(h.loop, 100);
    pids[0] = tool_call_pid(o.call);
    struct outcome spare;
    harness_expect(&h, &spare, "echo", "{}", TOOL_OK);
    pids[1] = spare.result.pid;
    if (write(fd, pids, sizeof pids) != sizeof pids)
        abort();
    raise(SIGKILL);
}

static void test_no_worker_outlives_the_daemon(void **state) {
    int fds[2], pids[2] = {0}, status = 0;
    (void)state;
    assert_int_equal(pipe(fds), 0);
    pid_t daemon = fork();
    if (daemon == 0)
        doomed_daemon(fds[1]);
    close(fds[1]);
    assert_int_equal(waitpid(daemon, &status, 0), daemon);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(read(fds[0], pids, sizeof pids), sizeof pids);
    close(fds[0]);
    assert_true(pids[0] > 0 && pids[1] > 0 && pids[0] != pids[1]);
    for (int i = 0; i < 300 && (harness_alive(pids[0]) || harness_alive(pids[1])); i++)
        poll(NULL, 0, 10);
    assert_false(harness_alive(pids[0])); /* the endless loop */
    assert_false(harness_alive(pids[1])); /* the spare */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_worker_outlives_the_daemon),
        cmocka_unit_test(test_warm),
        cmocka_unit_test(test_spares),
        cmocka_unit_test(test_late_spare),
        cmocka_unit_test(test_spare_beside_a_long_call),
        cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_waiting_has_an_end),
        cmocka_unit_test(test_quarantine),
        cmocka_unit_test(test_spares_hold_back),
        cmocka_unit_test(test_quarantine_ends_waiting),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_from_inside_done),
        cmocka_unit_test(test_close_ends_all),
        cmocka_unit_test(test_large_arguments),
        cmocka_unit_test(test_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
