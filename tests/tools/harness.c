#include "tests/tools/harness.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 20000

static char *in_build(const char *path, const char *name, const char *suffix) {
    const char *build = getenv("HERMESD_BINARY_DIR");
    char *text = NULL;
    assert_non_null(build);
    assert_true(asprintf(&text, "%s/%s%s%s", build, path, name, suffix) > 0);
    return text;
}

char *harness_plugin(const char *name) {
    return name[0] == '+' ? in_build("plugins/", name + 1, ".so")
                          : in_build("tests/tools/plugins/", name, ".so");
}

int harness_open_fds(void) {
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

bool harness_alive(int pid) {
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return false;
    int n = fscanf(f, "%*d (%*[^)]) %c", &state);
    fclose(f);
    return n == 1 && state != 'Z' && state != 'X';
}

static void report(void *arg, int level, const char *text) {
    struct harness *h = arg;
    size_t len = strlen(h->log);
    snprintf(h->log + len, sizeof h->log - len, "%d %s\n", level, text);
}

void harness_open(struct harness *h, const char *const *names) {
    char err[512] = "", *paths[32] = {NULL};
    size_t n = 0;
    for (; names[n] != NULL; n++)
        paths[n] = harness_plugin(names[n]);
    char *worker = in_build("bin/", "hermes-worker", "");
    h->fds_before = harness_open_fds();
    h->loop = poll_loop_create();
    h->log[0] = '\0';
    h->config.worker_path = worker;
    h->config.plugin_paths = (const char *const *)paths;
    h->config.loop = poll_loop_tools(h->loop);
    h->config.report = report;
    h->config.report_arg = h;
    if (tools_open(&h->config, &h->tools, err, sizeof err) != 0)
        fail_msg("tools_open: %s", err);
    for (size_t i = 0; i < n; i++)
        free(paths[i]);
    free(worker);
}

void harness_close(struct harness *h) {
    tools_close(h->tools);
    assert_int_equal(poll_loop_destroy(h->loop), 0);
    assert_int_equal(harness_open_fds(), h->fds_before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left, not even a dead one */
    assert_int_equal(errno, ECHILD);
}

static void done(void *arg, const struct tool_result *result) {
    struct outcome *o = arg;
    size_t len = result->len < sizeof o->text - 1 ? result->len : sizeof o->text - 1;
    o->result = *result;
    memcpy(o->text, result->text, len);
    o->text[len] = '\0';
    o->times++;
    o->done = true;
    o->call = NULL;
}

static void progress(void *arg, double fraction, const char *note) {
    struct outcome *o = arg;
    o->notes++;
    o->fraction = fraction;
    snprintf(o->note, sizeof o->note, "%s", note);
}

void harness_call(struct harness *h, struct outcome *o, const char *tool, const char *arguments,
                  uint32_t timeout_ms) {
    char err[512] = "";
    *o = (struct outcome){.h = h};
    struct tool_request request = {.name = tool,
                                   .arguments = arguments,
                                   .len = strlen(arguments),
                                   .idempotency_key = "job/7",
                                   .timeout_ms = timeout_ms,
                                   .done = done,
                                   .progress = progress,
                                   .arg = o};
    if (tools_call(h->tools, &request, &o->call, err, sizeof err) != 0)
        fail_msg("tools_call %s: %s", tool, err);
    assert_false(o->done); /* never from inside */
}

void harness_wait(struct outcome *o) {
    if (!poll_loop_until(o->h->loop, &o->done, WAIT_MS))
        fail_msg("the call did not end");
    assert_int_equal(o->times, 1);
}

void harness_expect(struct harness *h, struct outcome *o, const char *tool, const char *arguments,
                    enum tool_status status) {
    harness_call(h, o, tool, arguments, 0);
    harness_wait(o);
    if (o->result.status != status)
        fail_msg("%s ended as %s, not %s: %s", tool, tool_status_name(o->result.status),
                 tool_status_name(status), o->text);
}
