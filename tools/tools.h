/* Tools: what plugins offer, and calls into the worker processes that hold them.
 *
 * The daemon never loads a plugin. One worker process loads one plugin; it is started with posix_spawn,
 * speaks frames on one socketpair (tools/protocol.h), and is watched through a pidfd. Everything here is
 * [loop-thread] and never blocks, except tools_open(), which lists the plugins before the loop runs. */
#ifndef TOOLS_TOOLS_H
#define TOOLS_TOOLS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tools; /* all of them */
struct tool_call;

/* What tools/ needs of an event loop; daemon/ gives it in terms of libuv, tests in terms of poll(2). Handles
 * are owned by the loop's side until unwatch/untimer, which may be called from inside the callback. */
struct tools_loop {
    void *ctx;
    /* `ready(arg)` whenever fd is readable (want_write: or writable). NULL when it cannot be watched. */
    void *(*watch)(void *ctx, int fd, bool want_write, void (*ready)(void *arg, bool readable, bool writable),
                   void *arg);
    void (*rewatch)(void *ctx, void *watch, bool want_write);
    void (*unwatch)(void *ctx, void *watch);
    /* `fired(arg)` once after delay_ms. */
    void *(*timer)(void *ctx, uint64_t delay_ms, void (*fired)(void *arg), void *arg);
    void (*untimer)(void *ctx, void *timer);
};

struct tools_config {
    const char *worker_path;         /* the hermes-worker executable */
    const char *const *plugin_paths; /* folders or .so files, NULL-terminated, searched in order */
    const char *workspace;           /* folder that file tools may use; NULL = none */
    const char *state_dir;           /* folder for what plugins keep (memory); NULL = none */
    const char *documents;           /* folder that retrieve indexes; NULL = none */
    bool allow_private_addresses;    /* http_fetch may reach loopback and private networks */
    /* Further settings for one plugin: the text of a JSON object, whose members are added to the ones above
     * and win over them; borrowed until the call returned. NULL, or a NULL result = none. Called once per
     * plugin, from tools_open(). */
    const char *(*plugin_config)(void *arg, const char *plugin_name);
    void *plugin_config_arg;
    uint32_t default_timeout_ms; /* 0 = 30,000 */
    uint32_t kill_grace_ms;      /* between cancel and SIGKILL; 0 = 500 */
    size_t max_result_bytes;     /* 0 = 1 MiB */
    int spares;                  /* warm workers per plugin; default 1 via tools_config_default */
    uint32_t idle_ms; /* a worker above the spares leaves when it was idle for about this long; 0 = 10,000 */
    const struct tools_loop *loop; /* borrowed */
    /* One line for the log about a plugin or worker; level as in base/log.h. */
    void (*report)(void *arg, int level, const char *text);
    void *report_arg;
    size_t max_queue;          /* waiting calls per tool; 0 = 64 */
    uint32_t start_timeout_ms; /* from the start of a worker until its plugin is ready; 0 = 5,000 */
    uint32_t quarantine_ms; /* rest after five crashes within a minute, doubled each time up to ten minutes; 0
                               = 30,000 */
};

/* All zero but `spares`, which is 1. */
struct tools_config tools_config_default(void);

/* Lists every plugin in a worker, which stays as its first spare. The config and its strings are copied; loop
 * and callbacks must last until tools_close(). A plugin that is refused (wrong ABI, missing symbol, duplicate
 * or bad tool name, schema that is not supported, crash in init, file writable by others) is reported by name
 * and left out; the others go on. Fails only when nothing can work at all (no worker executable). */
HX_MUST_CHECK int tools_open(const struct tools_config *config, struct tools **out, char *err, size_t errlen);
/* Cancels what runs (their done callbacks fire with CANCELLED), kills and reaps all workers. Not from inside
 * a callback of tools/. */
void tools_close(struct tools *t);

/* ---- what there is ---- */

struct tool_info {
    const char *name, *description;
    const char *schema; /* JSON text of the arguments' schema, as the plugin gave it */
    const char *plugin, *plugin_version, *plugin_path;
    uint32_t flags; /* HERMES_T_… of plugins/hermes_plugin.h */
    uint32_t timeout_ms;
    const char *confinement; /* which layers held in its last worker, e.g. "rlimits no-new-privs fds env" */
};
/* Sorted by name (byte order). Borrowed until tools_close(). */
size_t tools_count(const struct tools *t);
const struct tool_info *tools_get(const struct tools *t, size_t i);
const struct tool_info *tools_find(const struct tools *t, const char *name);
/* The known name closest to `name` (for "did you mean"), or NULL. */
const char *tools_suggest(const struct tools *t, const char *name);

/* Arguments against the tool's schema: 0, or -EINVAL with a sentence for the model that names the path and
 * what was expected. */
HX_MUST_CHECK int tools_check(const struct tools *t, const char *name, const char *arguments, size_t len,
                              char *err, size_t errlen);

/* ---- calling ---- */

enum tool_status {
    TOOL_OK,
    TOOL_ERROR,     /* the plugin said no: text for the model */
    TOOL_INVALID,   /* arguments refused (schema, or HERMES_E_ARGS) */
    TOOL_TRANSIENT, /* nothing happened; may be tried again */
    TOOL_TIMEOUT,
    TOOL_CANCELLED,
    TOOL_CRASHED,    /* the worker ended: signal or exit code say how */
    TOOL_TOO_LARGE,  /* result above max_result_bytes */
    TOOL_UNKNOWN,    /* HERMES_E_UNKNOWN: it may or may not have taken effect */
    TOOL_UNAVAILABLE /* no worker could be started, or the plugin is quarantined after repeated crashes */
};
const char *tool_status_name(enum tool_status s);

struct tool_result {
    enum tool_status status;
    const char *text; /* result or one sentence; borrowed during the callback */
    size_t len;
    bool is_json;         /* text is one valid JSON value */
    double duration_ms;   /* from dispatch to the last byte */
    double first_byte_us; /* from tools_call() to the plugin's function being entered, as the worker stamps it
                             (CLOCK_MONOTONIC); < 0 unknown */
    int pid, exit_code, signal; /* of the worker; signal/exit only for CRASHED and TIMEOUT */
    double cpu_ms;
    long max_rss_kib;
};

struct tool_request {
    const char *name;
    const char *arguments; /* JSON object text, already checked with tools_check() or checked again here */
    size_t len;
    const char *idempotency_key; /* "job/seq" */
    uint32_t timeout_ms;         /* 0 = the tool's; never above it unless the tool says 0 */
    void (*done)(void *arg,
                 const struct tool_result
                     *result); /* exactly once per call that was accepted; never from inside tools_call() */
    void (*progress)(void *arg, double fraction, const char *note); /* may be NULL */
    void *arg;
};
/* Hands the call to a warm worker (or starts one, or queues it behind max_concurrency). -ENOENT for an
 * unknown tool, -EINVAL for bad arguments, -EAGAIN when the queue of the tool is full, -ESHUTDOWN from inside
 * tools_close(), -ENOMEM. On success *out stays
 * valid until `done` returned. */
HX_MUST_CHECK int tools_call(struct tools *t, const struct tool_request *request, struct tool_call **out,
                             char *err, size_t errlen);
/* Asks the worker to stop, kills it after the grace; `done` comes with CANCELLED (or OK if the result won the
 * race). */
void tools_cancel(struct tool_call *call);

/* Process id of the worker serving the call, 0 while queued. */
int tool_call_pid(const struct tool_call *call);

#endif
