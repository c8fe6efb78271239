/* Time from tools_call() to the first instruction of the plugin's function, time until `done`, and what a
 * spare worker costs.
 *
 *     bench_tools [-n CALLS] [-p PAUSE_MS] PLUGIN.so TOOL ARGUMENTS
 *
 * PAUSE_MS: idle time between calls (default 2), so that the worker sleeps before each one, as it does behind
 * a model. */
#include "base/clock.h"
#include "tests/tools/poll_loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bench {
    struct poll_loop *loop;
    struct tools *tools;
    const char *tool, *arguments;
    int calls, pause_ms;
    double *entry_us, *whole_us;
    bool done;
    struct tool_result result;
};

static void done(void *arg, const struct tool_result *result) {
    struct bench *b = arg;
    b->result = *result;
    b->done = true;
}

static void report(void *arg, int level, const char *text) {
    (void)arg, (void)level;
    fprintf(stderr, "%s\n", text);
}

static int compare(const void *a, const void *b) {
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void print_times(const char *what, double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, compare);
    printf("%-34s p50 %8.1f us   p90 %8.1f us   p99 %8.1f us   max %8.1f us\n", what, values[n / 2],
           values[n * 9 / 10], values[n * 99 / 100], values[n - 1]);
}

/* A number of /proc/PID/smaps_rollup in KiB, -1 when it cannot be read. */
static long memory_kib(int pid, const char *key) {
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            (void)sscanf(line + strlen(key), "%ld", &kib);
    if (f != NULL)
        fclose(f);
    return kib;
}

static void print_memory(int pid) {
    printf("%-34s PSS %ld KiB, RSS %ld KiB, private %ld KiB\n", "the worker half way",
           memory_kib(pid, "Pss:"), memory_kib(pid, "Rss:"), memory_kib(pid, "Private_Dirty:"));
}

static int one_call(struct bench *b, int i) {
    char err[512];
    struct tool_call *call;
    struct tool_request request = {.name = b->tool,
                                   .arguments = b->arguments,
                                   .len = strlen(b->arguments),
                                   .idempotency_key = "bench/1",
                                   .done = done,
                                   .arg = b};
    uint64_t from_ns = clock_mono_ns();
    b->done = false;
    if (tools_call(b->tools, &request, &call, err, sizeof err) != 0) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    if (!poll_loop_until(b->loop, &b->done, 60000) || b->result.status != TOOL_OK) {
        fprintf(stderr, "call %d ended as %s\n", i, b->done ? tool_status_name(b->result.status) : "nothing");
        return 1;
    }
    b->entry_us[i] = b->result.first_byte_us;
    b->whole_us[i] = (double)(clock_mono_ns() - from_ns) / 1e3;
    if (i == b->calls / 2)
        print_memory(b->result.pid);
    return 0;
}

static int run(struct bench *b, const char *plugin) {
    char err[512], self[4096];
    const char *const paths[] = {plugin, NULL};
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 64);
    self[n > 0 ? n : 0] = '\0';
    for (int i = 0; i < 3; i++) /* BUILD/tests/bench/bench_tools */
        if (strrchr(self, '/') != NULL)
            *strrchr(self, '/') = '\0';
    memcpy(self + strlen(self), "/bin/hermes-worker", sizeof "/bin/hermes-worker");
    struct tools_config config = tools_config_default();
    config.worker_path = self;
    config.plugin_paths = paths;
    config.loop = poll_loop_tools(b->loop);
    config.report = report;
    uint64_t from_ns = clock_mono_ns();
    if (tools_open(&config, &b->tools, err, sizeof err) != 0) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    printf("%-34s %.2f ms\n", "listing the plugin, first spare", (double)(clock_mono_ns() - from_ns) / 1e6);
    for (int i = 0; i < b->calls; i++) {
        if (one_call(b, i) != 0)
            return 1;
        if (b->pause_ms > 0)
            poll_loop_for(b->loop, b->pause_ms);
    }
    print_times("tools_call() to the plugin", b->entry_us, b->calls);
    print_times("tools_call() to done", b->whole_us, b->calls);
    return 0;
}

int main(int argc, char **argv) {
    struct bench b = {.calls = 2000, .pause_ms = 2};
    int option;
    while ((option = getopt(argc, argv, "n:p:")) != -1) {
        if (option == 'n')
            b.calls = (int)strtol(optarg, NULL, 10);
        else if (option == 'p')
            b.pause_ms = (int)strtol(optarg, NULL, 10);
        else
            return 2;
    }
    if (argc - optind != 3 || b.calls < 1) {
        fprintf(stderr, "usage: bench_tools [-n CALLS] [-p PAUSE_MS] PLUGIN.so TOOL ARGUMENTS\n");
        return 2;
    }
    b.tool = argv[optind + 1];
    b.arguments = argv[optind + 2];
    b.entry_us = calloc((size_t)b.calls, sizeof(double));
    b.whole_us = calloc((size_t)b.calls, sizeof(double));
    if (b.entry_us == NULL || b.whole_us == NULL)
        return 1;
    b.loop = poll_loop_create();
    int rc = run(&b, argv[optind]);
    tools_close(b.tools);
    (void)poll_loop_destroy(b.loop);
    free(b.entry_us);
    free(b.whole_us);
    return rc;
}
