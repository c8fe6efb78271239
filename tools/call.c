#include "tools/call.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "tools/registry.h"
#include "tools/result.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGUMENTS_MAX     (1u << 20)
#define KEY_MAX           1024
#define PROGRESS_EVERY_NS 50000000u /* notes that come faster are dropped */

static void call_timer_fired(void *arg);

/* ---- its place among the others ---- */

static void link_call(struct tool_call *call) {
    struct tools *t = call->tools;
    call->next = t->calls;
    if (call->next != NULL)
        call->next->previous = call;
    t->calls = call;
}

static void unlink_call(struct tool_call *call) {
    if (call->next != NULL)
        call->next->previous = call->previous;
    if (call->previous != NULL)
        call->previous->next = call->next;
    else
        call->tools->calls = call->next;
}

static void enqueue(struct tool_call *call) {
    struct tool_call **at = &call->tool->plugin->queue;
    while (*at != NULL)
        at = &(*at)->next_queued;
    *at = call;
    call->tool->queued++;
}

/* Whether it was in the queue. */
static bool dequeue(struct tool_call *call) {
    for (struct tool_call **at = &call->tool->plugin->queue; *at != NULL; at = &(*at)->next_queued) {
        if (*at != call)
            continue;
        *at = call->next_queued;
        call->next_queued = NULL;
        call->tool->queued--;
        return true;
    }
    return false;
}

static void untimer(struct tool_call *call) {
    if (call->timer != NULL)
        call->tools->loop.untimer(call->tools->loop.ctx, call->timer);
    call->timer = NULL;
}

/* False when the loop has no timer to give. */
static bool set_timer(struct tool_call *call, uint64_t delay_ms) {
    untimer(call);
    call->timer = call->tools->loop.timer(call->tools->loop.ctx, delay_ms, call_timer_fired, call);
    return call->timer != NULL;
}

static void call_free(struct tool_call *call) {
    free(call->arguments);
    free(call->key);
    free(call);
}

/* ---- ends ---- */

/* The call leaves all lists before anybody is told, so `done` may do what it likes. */
static void finish(struct tool_call *call, const struct tool_result *result) {
    untimer(call);
    (void)dequeue(call);
    unlink_call(call);
    call->ended = true;
    call->done(call->arg, result);
    call_free(call);
}

void call_end_soon(struct tool_call *call, enum tool_status status, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(call->soon_text, sizeof call->soon_text, fmt, ap);
    va_end(ap);
    (void)dequeue(call);
    call->is_soon = true;
    call->soon = (struct tool_result){
        .status = status, .text = call->soon_text, .len = strlen(call->soon_text), .first_byte_us = -1};
    /* Without a timer the one of the queue stays: later, but never from here. */
    void *timer = call->tools->loop.timer(call->tools->loop.ctx, 0, call_timer_fired, call);
    if (timer != NULL) {
        untimer(call);
        call->timer = timer;
    }
}

void call_abandon(struct tool_call *call) {
    if (!call->is_soon) {
        snprintf(call->soon_text, sizeof call->soon_text, "%s was cancelled: the daemon stops",
                 call->tool->info.name);
        call->soon = (struct tool_result){.status = TOOL_CANCELLED,
                                          .text = call->soon_text,
                                          .len = strlen(call->soon_text),
                                          .first_byte_us = -1};
        call->soon.pid = tool_call_pid(call);
    }
    if (call->worker != NULL) {
        call->worker->call = NULL;
        call->tool->running--;
    }
    finish(call, &call->soon);
}

/* ---- running ---- */

int call_start(struct tool_call *call, struct worker *worker) {
    struct buf out;
    struct frame_writer w;
    uint64_t now_ns = clock_mono_ns();
    buf_init(&out, ARGUMENTS_MAX + KEY_MAX + 256);
    frame_begin(&w, &out, FRAME_CALL, call->id);
    frame_u32(&w, call->tool->index);
    frame_u32(&w, (uint32_t)call->tool->max_result_bytes);
    frame_u64(&w, now_ns + (uint64_t)call->timeout_ms * 1000000u);
    frame_text(&w, call->key, strlen(call->key));
    frame_text(&w, call->arguments, call->len);
    int rc = frame_end(&w);
    if (rc == 0)
        rc = process_send(worker->process, &out);
    buf_finish(&out);
    if (rc != 0)
        return rc;
    (void)dequeue(call);
    call->started_ns = now_ns;
    call->worker = worker;
    worker->call = call;
    worker->phase = WORKER_BUSY;
    worker->notes = 0;
    call->tool->running++;
    /* Its timer so far ends the wait in the queue. If the loop has no other to give, that one ends the call,
     * sooner. */
    void *timer = call->tools->loop.timer(call->tools->loop.ctx, call->timeout_ms, call_timer_fired, call);
    if (timer != NULL) {
        untimer(call);
        call->timer = timer;
    }
    return 0;
}

/* Lets go of the worker: what it does next is the pool's decision, made before anybody is told. */
static struct worker *let_go(struct tool_call *call) {
    struct worker *worker = call->worker;
    worker->call = NULL;
    call->worker = NULL;
    call->tool->running--;
    return worker;
}

static int call_ended(struct tool_call *call, const struct frame *frame) {
    struct buf text;
    struct tool_result result;
    struct plugin *plugin = call->tool->plugin;
    buf_init(&text, 3 * call->tool->max_result_bytes + 1024); /* cleaning may make it longer */
    int rc = result_of_end(call, frame, &text, &result);
    if (rc == 0) {
        pool_release(let_go(call), result.max_rss_kib);
        finish(call, &result);
        pool_dispatch(plugin);
    }
    buf_finish(&text);
    return rc;
}

static void call_progress(struct tool_call *call, struct frame_reader *r) {
    uint64_t bits = frame_read_u64(r), now_ns = clock_mono_ns();
    size_t len;
    const char *note = frame_read_text(r, &len);
    double fraction;
    struct buf clean;
    if (call->progress == NULL || (call->progress_ns != 0 && now_ns - call->progress_ns < PROGRESS_EVERY_NS))
        return;
    call->progress_ns = now_ns;
    memcpy(&fraction, &bits, sizeof fraction);
    if (!(fraction >= 0 && fraction <= 1))
        fraction = -1;
    buf_init(&clean, 16u * 1024);
    if (result_clean(&clean, note, len) == 0)
        call->progress(call->arg, fraction, clean.data != NULL ? clean.data : "");
    buf_finish(&clean);
}

int call_frame(struct tool_call *call, const struct frame *frame) {
    struct frame_reader r;
    frame_read(&r, frame);
    if (frame->type == FRAME_END)
        return frame->call == call->id ? call_ended(call, frame) : -EPROTO;
    if (frame->type != FRAME_PROGRESS)
        return -EPROTO;
    if (frame->call == call->id) /* a thread of the plugin may still talk about an earlier one */
        call_progress(call, &r);
    return 0;
}

void call_worker_gone(struct tool_call *call, const struct worker *worker) {
    char text[512];
    struct tool_result result;
    result_of_death(call, worker, text, sizeof text, &result);
    if (result.status == TOOL_CRASHED)
        registry_report(call->tools, LOG_WARN, "plugin %s: %s", plugin_label(call->tool->plugin), text);
    (void)let_go(call);
    finish(call, &result);
}

/* ---- time ---- */

static void call_timer_fired(void *arg) {
    struct tool_call *call = arg;
    struct tools *t = call->tools;
    call->timer = NULL;
    if (call->is_soon) {
        finish(call, &call->soon);
    } else if (call->worker != NULL) {
        call->stop = CALL_TIMED_OUT;
        process_stop(call->worker->process, t->config.kill_grace_ms);
    } else {
        call_end_soon(call, TOOL_TRANSIENT, "%s did not begin: all its workers were busy for %u ms",
                      call->tool->info.name, (unsigned)call->timeout_ms);
        if (call->timer == NULL)
            finish(call, &call->soon);
    }
}

void tools_cancel(struct tool_call *call) {
    if (call->ended || call->is_soon || call->stop != CALL_GOES_ON)
        return;
    call->stop = CALL_CANCELLED;
    if (call->worker != NULL) {
        process_stop(call->worker->process, call->tools->config.kill_grace_ms);
    } else {
        call_end_soon(call, TOOL_CANCELLED, "%s was cancelled before it began", call->tool->info.name);
    }
}

int tool_call_pid(const struct tool_call *call) {
    return call->worker != NULL ? (int)call->worker->process->pid : 0;
}

/* ---- beginning ---- */

static int check_arguments(const struct tool *tool, const char *arguments, size_t len, char *err,
                           size_t errlen) {
    static const struct json_limits limits = {
        .max_bytes = ARGUMENTS_MAX, .max_nodes = 100000, .max_depth = 64};
    struct value_document *json = NULL;
    char why[256];
    int rc = value_parse(arguments, len, &limits, &json, why, sizeof why);
    if (rc == -ENOMEM)
        return err_set(err, errlen, rc, "no memory to read the arguments");
    if (rc != 0)
        return err_set(err, errlen, -EINVAL, "the arguments are not valid JSON: %s", why);
    rc = schema_check(tool->schema, value_root(json), err, errlen);
    value_destroy(json);
    return rc == -E2BIG ? -EINVAL : rc;
}

static int no_such_tool(const struct tools *t, const char *name, char *err, size_t errlen) {
    const char *close = tools_suggest(t, name);
    if (close != NULL)
        return err_set(err, errlen, -ENOENT, "there is no tool '%.64s'; did you mean '%s'?", name, close);
    return err_set(err, errlen, -ENOENT, "there is no tool '%.64s'", name);
}

int tools_check(const struct tools *t, const char *name, const char *arguments, size_t len, char *err,
                size_t errlen) {
    const struct tool *tool = registry_find(t, name);
    if (tool == NULL)
        return no_such_tool(t, name, err, errlen);
    return check_arguments(tool, arguments, len, err, errlen);
}

static struct tool_call *create(struct tools *t, struct tool *tool, const struct tool_request *request) {
    const char *key = request->idempotency_key != NULL ? request->idempotency_key : "";
    struct tool_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    *call = (struct tool_call){.tools = t,
                               .tool = tool,
                               .id = ++t->last_call_id,
                               .arguments = strndup(request->arguments, request->len),
                               .key = strndup(key, KEY_MAX),
                               .len = request->len,
                               .timeout_ms = tool->info.timeout_ms,
                               .done = request->done,
                               .progress = request->progress,
                               .arg = request->arg,
                               .submitted_ns = clock_mono_ns()};
    if (request->timeout_ms != 0 && (request->timeout_ms < call->timeout_ms || tool->unlimited))
        call->timeout_ms = request->timeout_ms;
    if (call->arguments == NULL || call->key == NULL || !set_timer(call, call->timeout_ms)) {
        call_free(call);
        return NULL;
    }
    return call;
}

int tools_call(struct tools *t, const struct tool_request *request, struct tool_call **out, char *err,
               size_t errlen) {
    uint64_t submitted_ns = clock_mono_ns();
    struct tool *tool = registry_find(t, request->name);
    if (t->closing)
        return err_set(err, errlen, -ESHUTDOWN, "the daemon stops");
    if (tool == NULL)
        return no_such_tool(t, request->name, err, errlen);
    int rc = check_arguments(tool, request->arguments, request->len, err, errlen);
    if (rc != 0)
        return rc;
    if (tool->queued >= t->config.max_queue)
        return err_set(err, errlen, -EAGAIN, "%u calls of %s wait already; try again later", tool->queued,
                       tool->info.name);
    struct tool_call *call = create(t, tool, request);
    if (call == NULL)
        return err_set(err, errlen, -ENOMEM, "no memory for a call of %s", tool->info.name);
    call->submitted_ns = submitted_ns;
    link_call(call);
    *out = call;
    uint64_t rest_ms = pool_rest_ms(tool->plugin);
    if (rest_ms > 0) {
        call_end_soon(call, TOOL_UNAVAILABLE,
                      "%s is not available: its plugin crashed %d times within a minute and rests for %.0f s",
                      tool->info.name, POOL_CRASHES_MAX, (double)rest_ms / 1000 + 0.5);
        return 0;
    }
    enqueue(call);
    pool_dispatch(tool->plugin);
    return 0;
}
