/* Calls the tools of a plugin in the test's own process, without a daemon: compile the plugin's sources into
 * the test.
 *
 *     #include "plugin_test.h"
 *     int main(void) {
 *         struct hermes_test t;
 *         hermes_test_start(&t, hermes_plugin_v1(), "{}");
 *         assert(HERMES_TEST_CALL(&t, "hello", "{\"name\": \"Ada\"}") == HERMES_OK);
 *         assert(strcmp(t.text, "{\"greeting\": \"Hello, Ada\"}") == 0);
 *         hermes_test_finish(&t);
 *     }
 *
 * The arguments are handed over as they are: a test may give what the daemon's schema check would stop. C11,
 * POSIX; no library. */
#ifndef HERMES_PLUGIN_TEST_H
#define HERMES_PLUGIN_TEST_H

#include "hermes_plugin.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct hermes_test {
    const hermes_plugin *plugin;
    void *state;
    hermes_host host;
    /* What the last call gave. */
    int status; /* HERMES_OK, HERMES_E_… */
    char *text; /* what it wrote, NUL-terminated; valid until the next call */
    size_t len;
    /* What the next calls meet: set them between start and call. */
    size_t max_result_bytes; /* write() refuses more; starts at 1 MiB */
    int64_t timeout_ms;      /* what remaining_ms() counts down from; starts at 30,000 */
    int cancel;              /* non-zero: cancelled from the start */
    int64_t deadline_ms;
    int finished; /* asynchronous tools: finish() was called */
};

struct hermes_call {
    struct hermes_test *test;
};

static inline int64_t hermes_test_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Says what is wrong with the plugin or the test, and ends the process. */
static inline void hermes_test_die(const char *what, const char *which) {
    fprintf(stderr, "plugin_test: %s: %s\n", what, which);
    abort();
}

static inline int hermes_test_write(hermes_call *call, const void *bytes, size_t len) {
    struct hermes_test *t = call->test;
    if (len > t->max_result_bytes - t->len)
        return HERMES_E_LIMIT;
    char *text = (char *)realloc(t->text, t->len + len + 1);
    if (text == NULL)
        return HERMES_E_LIMIT;
    t->text = text;
    if (len > 0)
        memcpy(text + t->len, bytes, len);
    t->len += len;
    text[t->len] = '\0';
    return HERMES_OK;
}

static inline int hermes_test_cancelled(const hermes_call *call) {
    return call->test->cancel;
}

static inline int hermes_test_cancel_fd(const hermes_call *call) {
    (void)call;
    return -1;
}

static inline int64_t hermes_test_remaining_ms(const hermes_call *call) {
    return call->test->deadline_ms - hermes_test_now_ms();
}

static inline const char *hermes_test_key(const hermes_call *call) {
    (void)call;
    return "test/1";
}

static inline void hermes_test_progress(hermes_call *call, double fraction, hermes_str note) {
    (void)call, (void)fraction, (void)note;
}

static inline void hermes_test_log(const hermes_call *call, int level, hermes_str message) {
    (void)call;
    fprintf(stderr, "plugin_test: log level %d: %.*s\n", level, (int)message.n, message.p);
}

static inline void hermes_test_finished(hermes_call *call, int status) {
    call->test->status = status;
    call->test->finished++;
}

static inline const void *hermes_test_extension(const char *id) {
    (void)id;
    return NULL;
}

/* Checks the plugin's stamps and runs its init; `config_json` is borrowed for this call. Returns init's
 * status. */
static inline int hermes_test_start(struct hermes_test *t, const hermes_plugin *plugin,
                                    const char *config_json) {
    memset(t, 0, sizeof *t);
    if (plugin == NULL || plugin->magic != HERMES_TOOL_MAGIC || plugin->abi_major != HERMES_TOOL_ABI_MAJOR)
        hermes_test_die("not a plugin of this ABI", plugin == NULL ? "NULL" : plugin->name);
    t->plugin = plugin;
    t->max_result_bytes = 1024 * 1024;
    t->timeout_ms = 30000;
    t->host.size = (uint32_t)sizeof t->host;
    t->host.abi_major = HERMES_TOOL_ABI_MAJOR;
    t->host.abi_minor = HERMES_TOOL_ABI_MINOR;
    t->host.write = hermes_test_write;
    t->host.cancelled = hermes_test_cancelled;
    t->host.cancel_fd = hermes_test_cancel_fd;
    t->host.remaining_ms = hermes_test_remaining_ms;
    t->host.idempotency_key = hermes_test_key;
    t->host.progress = hermes_test_progress;
    t->host.log = hermes_test_log;
    t->host.finish = hermes_test_finished;
    t->host.extension = hermes_test_extension;
    hermes_str config = {config_json, strlen(config_json)};
    return plugin->init == NULL ? HERMES_OK : plugin->init(&t->host, config, &t->state);
}

static inline const hermes_tool *hermes_test_tool(const struct hermes_test *t, const char *name) {
    for (const hermes_tool *const *tool = t->plugin->tools; *tool != NULL; tool++)
        if (strcmp((*tool)->name, name) == 0)
            return *tool;
    hermes_test_die("the plugin has no such tool", name);
    return NULL;
}

/* Calls the tool and waits for its end: t->status, t->text, t->len. Returns the status. */
static inline int hermes_test_call(struct hermes_test *t, const char *name, const char *args_json) {
    const hermes_tool *tool = hermes_test_tool(t, name);
    hermes_call call = {t};
    hermes_str args = {args_json, strlen(args_json)};
    free(t->text);
    t->text = NULL;
    t->len = 0;
    t->finished = 0;
    t->deadline_ms = hermes_test_now_ms() + t->timeout_ms;
    hermes_test_write(&call, "", 0);
    if (tool->invoke != NULL)
        return t->status = tool->invoke(t->state, &call, args);
    int status = tool->start(t->state, &call, args);
    if (status != HERMES_OK)
        return t->status = status;
    while (!t->finished)
        poll(NULL, 0, 1);
    return t->status;
}
#define HERMES_TEST_CALL(test, tool, args_json) hermes_test_call(test, tool, args_json)

/* Runs fini and frees what the last call wrote. */
static inline void hermes_test_finish(struct hermes_test *t) {
    if (t->plugin->fini != NULL)
        t->plugin->fini(t->state);
    free(t->text);
    t->text = NULL;
}

#endif
