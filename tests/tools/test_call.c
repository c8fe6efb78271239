/* Calls that misbehave, each in a worker: every one ends with its own named error, and the next call works.
 */
#include "tests/tools/harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

static struct harness h;
static struct outcome o;

static int open_hostile(void **state) {
    static const char *const names[] = {"hostile", NULL};
    (void)state;
    memset(&h, 0, sizeof h);
    h.config = tools_config_default();
    h.config.kill_grace_ms = 300; /* a busy machine is late */
    harness_open(&h, names);
    assert_int_equal(tools_count(h.tools), 28);
    return 0;
}

static int close_hostile(void **state) {
    (void)state;
    harness_close(&h);
    return 0;
}

static void echo_works(void) {
    harness_expect(&h, &o, "echo", "{\"a\": [1, true]}", TOOL_OK);
    assert_string_equal(o.text, "{\"a\": [1, true]}");
}

static void test_result(void **state) {
    (void)state;
    echo_works();
    assert_true(o.result.is_json);
    assert_true(o.result.first_byte_us > 0 && o.result.first_byte_us < 1e7);
    assert_true(o.result.duration_ms > 0);
    assert_true(o.result.pid > 0);
    assert_true(o.result.max_rss_kib > 0);
    harness_expect(&h, &o, "end", "{\"status\": 0, \"text\": \"plain words\"}", TOOL_OK);
    assert_string_equal(o.text, "plain words");
    assert_false(o.result.is_json);
    harness_expect(&h, &o, "end", "{\"status\": 0}", TOOL_OK);
    assert_int_equal(o.result.len, 0);
    harness_expect(&h, &o, "not_utf8", "{}", TOOL_OK);
    assert_string_equal(o.text, "a\xef\xbf\xbd\xef\xbf\xbd"
                                "b\xef\xbf\xbd\xef\xbf\xbd");
}

static void test_statuses(void **state) {
    static const struct {
        int plugin;
        enum tool_status status;
        const char *said;
    } cases[] = {{1, TOOL_ERROR, "end failed and gave no reason"},
                 {2, TOOL_INVALID, "end refused its arguments"},
                 {3, TOOL_TRANSIENT, "end could not be done now; it may work later"},
                 {4, TOOL_UNKNOWN, "it is not known whether end took effect"},
                 {5, TOOL_CANCELLED, "end was cancelled"},
                 {6, TOOL_TIMEOUT, "end did not finish within 30000 ms"},
                 {7, TOOL_TOO_LARGE, "the result of end is larger than 1048576 bytes; ask for less"},
                 {8, TOOL_ERROR, "end failed and gave no reason"},
                 {99, TOOL_ERROR, "end ended with the unknown status 99"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char arguments[64];
        snprintf(arguments, sizeof arguments, "{\"status\": %d}", cases[i].plugin);
        harness_expect(&h, &o, "end", arguments, cases[i].status);
        assert_string_equal(o.text, cases[i].said);
        snprintf(arguments, sizeof arguments, "{\"status\": %d, \"text\": \"its words\"}", cases[i].plugin);
        harness_expect(&h, &o, "end", arguments, cases[i].status);
        assert_string_equal(o.text, "its words");
    }
}

static void test_request_refused(void **state) {
    char err[256];
    struct tool_call *call = NULL;
    struct tool_request request = {.name = "ekho", .arguments = "{}", .len = 2};
    (void)state;
    assert_int_equal(tools_call(h.tools, &request, &call, err, sizeof err), -ENOENT);
    assert_string_equal(err, "there is no tool 'ekho'; did you mean 'echo'?");
    request.name = "echo";
    request.arguments = "[]";
    assert_int_equal(tools_call(h.tools, &request, &call, err, sizeof err), -EINVAL);
    assert_string_equal(err, "arguments must be an object, not an array");
    request.arguments = "{]";
    assert_int_equal(tools_call(h.tools, &request, &call, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "not valid JSON"));
    assert_null(call);
    assert_int_equal(tools_check(h.tools, "echo", "{}", 2, err, sizeof err), 0);
    assert_int_equal(tools_check(h.tools, "none", "{}", 2, err, sizeof err), -ENOENT);
}

static void crashes(const char *tool, const char *arguments, int signal_or_0, int exit_code,
                    const char *said) {
    harness_expect(&h, &o, tool, arguments, TOOL_CRASHED);
    if (o.result.signal != signal_or_0 || o.result.exit_code != exit_code || strstr(o.text, said) == NULL)
        fail_msg("%s: signal %d, exit code %d: %s", tool, o.result.signal, o.result.exit_code, o.text);
    assert_true(o.result.pid > 0);
    assert_false(harness_alive(o.result.pid));
    echo_works();
}

static void test_exit(void **state) {
    (void)state;
    crashes("exit", "{}", 0, 0, "exit crashed: its worker ended with exit code 0 before it answered");
    crashes("exit", "{\"code\": 7}", 0, 7, "exit code 7");
}

static void test_abort(void **state) {
    (void)state;
    crashes("abort", "{}", SIGABRT, -1, "abort crashed: its worker was ended by signal 6 (Aborted)");
}

static void test_segv(void **state) {
    (void)state;
    crashes("segv", "{}", SIGSEGV, -1, "signal 11");
    crashes("overflow", "{}", SIGSEGV, -1, "signal 11");
}

static void test_descriptors_closed(void **state) {
    (void)state;
    crashes("close_all", "{}", 0, 74, "close_all crashed");
}

static void test_garbage(void **state) {
    (void)state;
    crashes("garbage", "{}", SIGKILL, -1,
            "garbage crashed: its worker was killed because it sent what makes no sense");
    crashes("forge", "{}", SIGKILL, -1, "it sent what makes no sense");
}

/* What the plugin started ends with it, though it holds the socket and the output. */
static void test_child(void **state) {
    int child = 0;
    (void)state;
    crashes("child", "{}", SIGABRT, -1, "signal 6");
    harness_expect(&h, &o, "child", "{}", TOOL_CRASHED);
    assert_int_equal(sscanf(o.note, "child %d", &child), 1);
    assert_true(child > 0);
    for (int i = 0; i < 100 && harness_alive(child); i++)
        poll_loop_for(h.loop, 10);
    assert_false(harness_alive(child));
}

static void test_endless(void **state) {
    (void)state;
    harness_expect(&h, &o, "loop", "{}", TOOL_TIMEOUT);
    assert_string_equal(o.text, "loop did not finish within 200 ms and was killed");
    assert_int_equal(o.result.signal, SIGKILL);
    assert_true(o.result.duration_ms >= 490 && o.result.duration_ms < 20000);
    assert_true(o.result.cpu_ms > 0);
    echo_works();
    harness_expect(&h, &o, "never", "{}", TOOL_TIMEOUT);
    echo_works();
}

static void test_too_large(void **state) {
    (void)state;
    harness_expect(&h, &o, "gigabyte", "{}", TOOL_TOO_LARGE);
    assert_string_equal(o.text, "the result of gigabyte is larger than 1048576 bytes; ask for less");
    echo_works();
    harness_expect(&h, &o, "small", "{\"a\": 12345}", TOOL_TOO_LARGE);
    harness_expect(&h, &o, "small", "{\"a\": 123}", TOOL_OK);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static void test_memory_limit(void **state) {
    (void)state;
    harness_expect(&h, &o, "memory", "{}", TOOL_OK);
    assert_string_equal(o.text, "\"no more\"");
    int worn = o.result.pid;
    echo_works(); /* by another worker: that one was too large to stay */
    assert_int_not_equal(o.result.pid, worn);
}
#endif

static void test_cancel(void **state) {
    (void)state;
    harness_call(&h, &o, "wait", "{}", 0);
    while (o.notes == 0)
        poll_loop_once(h.loop, 1000);
    assert_string_equal(o.note, "waiting");
    assert_true(o.fraction > 0.49 && o.fraction < 0.51);
    assert_true(tool_call_pid(o.call) > 0);
    tools_cancel(o.call);
    tools_cancel(o.call); /* once is enough, twice is harmless */
    assert_false(o.done);
    harness_wait(&o);
    assert_int_equal(o.result.status, TOOL_CANCELLED);
    assert_string_equal(o.text, "wait was cancelled");
    echo_works();
    /* The result wins the race. */
    harness_call(&h, &o, "wait", "{\"stubborn\": true}", 0);
    while (o.notes == 0)
        poll_loop_once(h.loop, 1000);
    tools_cancel(o.call);
    harness_wait(&o);
    assert_int_equal(o.result.status, TOOL_OK);
    assert_string_equal(o.text, "\"done all the same\"");
    /* Nobody listens: killed after the grace. */
    harness_call(&h, &o, "loop_long", "{}", 0);
    while (o.notes == 0)
        poll_loop_once(h.loop, 1000);
    int pid = tool_call_pid(o.call);
    tools_cancel(o.call);
    harness_wait(&o);
    assert_int_equal(o.result.status, TOOL_CANCELLED);
    assert_false(harness_alive(pid));
    echo_works();
}

static void test_cancel_at_once(void **state) {
    (void)state;
    harness_call(&h, &o, "wait", "{}", 0);
    tools_cancel(o.call);
    harness_wait(&o);
    assert_int_equal(o.result.status, TOOL_CANCELLED);
    echo_works();
}

static void test_timeout_cancels_first(void **state) {
    (void)state;
    harness_expect(&h, &o, "wait_short", "{}", TOOL_TIMEOUT);
    assert_string_equal(o.text, "wait_short did not finish within 200 ms");
    assert_int_equal(o.result.signal, 0); /* it stopped by itself */
    harness_expect(&h, &o, "wait_short", "{\"stubborn\": true}", TOOL_OK);
    /* A request may shorten the tool's time, not lengthen it. */
    harness_call(&h, &o, "wait", "{}", 100);
    harness_wait(&o);
    assert_int_equal(o.result.status, TOOL_TIMEOUT);
    assert_string_equal(o.text, "wait did not finish within 100 ms");
    harness_call(&h, &o, "wait_short", "{}", 60000);
    harness_wait(&o);
    assert_string_equal(o.text, "wait_short did not finish within 200 ms");
    echo_works();
}

static void test_asynchronous(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        harness_expect(&h, &o, "errand", "{\"n\": 1}", TOOL_OK);
        assert_string_equal(o.text, "{\"n\": 1}");
    }
    poll_loop_for(h.loop, 50);
    assert_non_null(strstr(h.log, "finish() for a call that has ended"));
    harness_expect(&h, &o, "no_start", "{}", TOOL_ERROR);
    assert_string_equal(o.text, "not today");
    harness_call(&h, &o, "on_cancel", "{}", 0);
    while (o.notes == 0)
        poll_loop_once(h.loop, 1000);
    tools_cancel(o.call);
    harness_wait(&o);
    assert_int_equal(o.result.status, TOOL_CANCELLED);
    assert_string_equal(o.text, "\"stopped by cancel()\"");
    echo_works();
}

static void test_progress(void **state) {
    (void)state;
    harness_expect(&h, &o, "progress", "{}", TOOL_OK);
    assert_true(o.notes >= 2 && o.notes <= 4);
    assert_string_equal(o.note, "a quarter \xe2\x82\xac");
}

static int times_said(const char *what) {
    int n = 0;
    for (const char *at = h.log; (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

static void test_words(void **state) {
    (void)state;
    harness_expect(&h, &o, "print", "{}", TOOL_OK);
    poll_loop_for(h.loop, 50);
    assert_int_equal(times_said("plugin hostile prints: first line"), 1);
    assert_int_equal(times_said("prints too much"), 1);
    echo_works();
    harness_expect(&h, &o, "log", "{}", TOOL_OK);
    assert_true(times_said("a line") > 0 && times_said("a line") <= 32);
    echo_works();
}

static void test_confinement(void **state) {
    (void)state;
    setenv("SECRET_OF_THE_DAEMON", "x", 1);
    harness_expect(&h, &o, "probe", "{}", TOOL_OK);
    unsetenv("SECRET_OF_THE_DAEMON");
    /* standard descriptors, the socket, and the worker's own cancel descriptor */
    assert_non_null(strstr(o.text, "\"fds\": 5, "));
    assert_non_null(strstr(o.text, "\"core\": 0, \"files\": 256, \"no_new_privs\": 1, \"dumpable\": 0, "
                                   "\"leader\": 1, \"key\": \"job/7\""));
    int variables = 0, remaining = 0;
    assert_int_equal(sscanf(strstr(o.text, "\"variables\""), "\"variables\": %d", &variables), 1);
    assert_true(variables <= 3);
    assert_int_equal(sscanf(strstr(o.text, "\"remaining\""), "\"remaining\": %d", &remaining), 1);
    assert_true(remaining > 0 && remaining <= 4000);
    assert_string_equal(tools_find(h.tools, "probe")->confinement,
                        "fds rlimits env session no-new-privs undumpable");
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, open_hostile, close_hostile)
    const struct CMUnitTest tests[] = {
        WITH(test_result),
        WITH(test_statuses),
        WITH(test_request_refused),
        WITH(test_exit),
        WITH(test_abort),
        WITH(test_segv),
        WITH(test_garbage),
        WITH(test_child),
        WITH(test_descriptors_closed),
        WITH(test_endless),
        WITH(test_too_large),
        WITH(test_cancel),
        WITH(test_progress),
        WITH(test_words),
        WITH(test_timeout_cancels_first),
        WITH(test_cancel_at_once),
        WITH(test_asynchronous),
        WITH(test_confinement),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        WITH(test_memory_limit),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
