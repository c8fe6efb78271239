#include "tools/pool.h"

#include "base/clock.h"
#include "base/log.h"
#include "tools/call.h"
#include "tools/handshake.h"
#include "tools/listing.h"
#include "tools/registry.h"
#include "tools/result.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS     1000000000u
#define SERVED_MAX    1000 /* calls, then a worker is replaced: what a plugin leaks has a short life */
#define AGE_MAX_NS    (3600ull * SECOND_NS)
#define RSS_MAX_KIB   (512L * 1024)
#define NOTES_MAX     32 /* log lines per call */
#define CRASH_SPAN_NS (60ull * SECOND_NS)
#define REST_MAX_MS   600000u
#define TEND_SOON_MS  20    /* a spare is started when a call lasts longer than this */
#define TEND_LATER_MS 10000 /* the next try, at the latest, where a spare could not be started */
#define BACKOFF_MS    100   /* a spare is not started for twice as long after the first crash, and so on */
#define WORKERS_MAX   128   /* per plugin */

static int on_frame(void *arg, const struct frame *frame);
static void on_printed(void *arg, const char *line);
static void on_ended(void *arg);
static void tend_later(struct plugin *p, uint64_t delay_ms);

/* ---- plugins ---- */

struct plugin *plugin_create(struct tools *tools, const char *path) {
    struct plugin *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->tools = tools;
    p->rest_ms = tools->config.quarantine_ms;
    p->path = strdup(path);
    if (p->path == NULL) {
        free(p);
        return NULL;
    }
    return p;
}

static void untimer(struct plugin *p, void **timer) {
    if (*timer != NULL)
        p->tools->loop.untimer(p->tools->loop.ctx, *timer);
    *timer = NULL;
}

static void worker_destroy(struct worker *w) {
    untimer(w->plugin, &w->start_timer);
    process_destroy(w->process);
    free(w);
}

void plugin_destroy(struct plugin *p) {
    if (p == NULL)
        return;
    untimer(p, &p->tend_timer);
    for (struct worker *w = p->workers; w != NULL; w = w->next)
        process_kill(w->process); /* all at once; then they are waited for */
    while (p->workers != NULL) {
        struct worker *w = p->workers;
        p->workers = w->next;
        worker_destroy(w);
    }
    for (size_t i = 0; i < p->tool_count; i++)
        listing_free_tool(p->tool[i]);
    free(p->tool);
    free(p->path);
    free(p->name);
    free(p->version);
    cJSON_free(p->config_json);
    free(p);
}

const char *plugin_label(const struct plugin *p) {
    return p->name != NULL ? p->name : p->path;
}

static unsigned count(const struct plugin *p, enum worker_phase phase) {
    unsigned n = 0;
    for (const struct worker *w = p->workers; w != NULL; w = w->next)
        n += w->phase == phase;
    return n;
}

/* ---- crashes ---- */

/* Milliseconds from now until a time, rounded up; 0: it is past. */
static uint64_t ms_until(uint64_t ns) {
    uint64_t now_ns = clock_mono_ns();
    return ns > now_ns ? (ns - now_ns) / 1000000u + 1 : 0;
}

uint64_t pool_rest_ms(const struct plugin *p) {
    return ms_until(p->rests_until_ns);
}

static unsigned recent_crashes(const struct plugin *p) {
    unsigned n = 0;
    uint64_t now_ns = clock_mono_ns();
    for (size_t i = 0; i < POOL_CRASHES_MAX; i++)
        n += p->crash_ns[i] != 0 && now_ns - p->crash_ns[i] < CRASH_SPAN_NS;
    return n;
}

/* Everything that waits is told why it will not run. */
static void fail_waiting(struct plugin *p, const char *why) {
    while (p->queue != NULL)
        call_end_soon(p->queue, TOOL_UNAVAILABLE, "%s is not available: %s", p->queue->tool->info.name, why);
}

static void note_crash(struct plugin *p) {
    memmove(p->crash_ns + 1, p->crash_ns, (POOL_CRASHES_MAX - 1) * sizeof p->crash_ns[0]);
    p->crash_ns[0] = clock_mono_ns();
    p->spares_after_ns = p->crash_ns[0] + ((uint64_t)BACKOFF_MS << recent_crashes(p)) * 1000000u;
    if (recent_crashes(p) < POOL_CRASHES_MAX)
        return;
    char why[128];
    snprintf(why, sizeof why, "its plugin crashed %d times within a minute and rests for %.1f s",
             POOL_CRASHES_MAX, (double)p->rest_ms / 1000);
    registry_report(p->tools, LOG_ERROR, "plugin %s: crashed %d times within a minute; it rests for %.1f s",
                    plugin_label(p), POOL_CRASHES_MAX, (double)p->rest_ms / 1000);
    p->rests_until_ns = p->crash_ns[0] + p->rest_ms * 1000000u;
    p->rest_ms = p->rest_ms * 2 < REST_MAX_MS ? p->rest_ms * 2 : REST_MAX_MS;
    memset(p->crash_ns, 0, sizeof p->crash_ns);
    fail_waiting(p, why);
}

/* ---- starting ---- */

static void start_timed_out(void *arg) {
    struct worker *w = arg;
    w->start_timer = NULL;
    snprintf(w->why, sizeof w->why, "it was not ready within %u ms",
             (unsigned)w->plugin->tools->config.start_timeout_ms);
    process_kill(w->process);
}

static int watch_start(struct worker *w, char *err, size_t errlen) {
    struct tools *t = w->plugin->tools;
    if (w->phase == WORKER_STARTING)
        w->start_timer = t->loop.timer(t->loop.ctx, t->config.start_timeout_ms, start_timed_out, w);
    if (w->phase == WORKER_STARTING && w->start_timer == NULL)
        return err_set(err, errlen, -ENOMEM, "the loop has no timer for a worker");
    return process_attach(w->process, &t->loop, err, errlen);
}

int pool_start(struct plugin *p, char *err, size_t errlen) {
    struct worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        return err_set(err, errlen, -ENOMEM, "no memory for a worker");
    const struct process_owner owner = {
        .frame = on_frame, .printed = on_printed, .ended = on_ended, .arg = w};
    size_t max_payload = p->tools->config.max_result_bytes + (2u << 20);
    *w = (struct worker){.plugin = p, .phase = WORKER_STARTING, .started_ns = clock_mono_ns()};
    int rc =
        process_create(p->tools->config.worker_path, p->path, max_payload, &owner, &w->process, err, errlen);
    if (rc == 0 && p->serving)
        rc = watch_start(w, err, errlen);
    if (rc != 0) {
        worker_destroy(w);
        return rc;
    }
    w->next = p->workers;
    p->workers = w;
    return 0;
}

int pool_serve(struct plugin *p, char *err, size_t errlen) {
    int rc = 0;
    p->serving = true;
    for (struct worker *w = p->workers; w != NULL && rc == 0; w = w->next) {
        w->idle_ns = 0; /* no call has warmed it: where no spares are wanted it leaves at once */
        rc = watch_start(w, err, errlen);
    }
    if (rc == 0)
        tend_later(p, TEND_SOON_MS);
    return rc;
}

/* One more worker for calls that wait; when it cannot be had and there is no other, they are told. */
static bool start_for_calls(struct plugin *p) {
    char err[512];
    if (pool_start(p, err, sizeof err) == 0)
        return true;
    registry_report(p->tools, LOG_ERROR, "plugin %s: %s", plugin_label(p), err);
    if (count(p, WORKER_STARTING) + count(p, WORKER_IDLE) + count(p, WORKER_BUSY) == 0)
        fail_waiting(p, "no worker could be started");
    return false;
}

/* ---- giving out calls ---- */

static struct worker *idle_worker(struct plugin *p) {
    for (struct worker *w = p->workers; w != NULL; w = w->next)
        if (w->phase == WORKER_IDLE)
            return w;
    return NULL;
}

void pool_dispatch(struct plugin *p) {
    unsigned wanted = 0;
    if (p->tools->closing || pool_rest_ms(p) > 0)
        return;
    for (size_t i = 0; i < p->tool_count; i++)
        p->tool[i]->planned = 0;
    for (struct tool_call *call = p->queue, *next; call != NULL; call = next) {
        struct tool *tool = call->tool;
        struct worker *w = NULL;
        next = call->next_queued;
        if (tool->running + tool->planned >= tool->max_concurrency)
            continue;
        while ((w = idle_worker(p)) != NULL && call_start(call, w) != 0) {
            w->phase = WORKER_LEAVING; /* it died while it was idle, which is not this call's fault */
            process_kill(w->process);
        }
        if (w == NULL) {
            tool->planned++;
            wanted++;
        }
    }
    for (unsigned starting = count(p, WORKER_STARTING); starting < wanted && starting < WORKERS_MAX;
         starting++)
        if (!start_for_calls(p))
            break;
    if (count(p, WORKER_IDLE) + count(p, WORKER_STARTING) < (unsigned)p->tools->config.spares)
        tend_later(p, TEND_SOON_MS);
}

static void worker_idles(struct worker *w) {
    w->phase = WORKER_IDLE;
    w->idle_ns = clock_mono_ns();
    if (count(w->plugin, WORKER_IDLE) > (unsigned)w->plugin->tools->config.spares)
        tend_later(w->plugin, w->plugin->tools->config.idle_ms);
}

void pool_release(struct worker *w, long max_rss_kib) {
    struct plugin *p = w->plugin;
    w->served++;
    p->rest_ms = p->tools->config.quarantine_ms;
    bool worn =
        w->served >= SERVED_MAX || max_rss_kib > RSS_MAX_KIB || clock_mono_ns() - w->started_ns > AGE_MAX_NS;
    if (w->process->ending || w->process->closing || worn) {
        w->phase = WORKER_LEAVING;
        process_stop(w->process, p->tools->config.kill_grace_ms);
        tend_later(p, TEND_SOON_MS);
        return;
    }
    worker_idles(w);
}

/* ---- spares ---- */

static void start_spares(struct plugin *p) {
    char err[512];
    unsigned spares = (unsigned)p->tools->config.spares,
             ready = count(p, WORKER_IDLE) + count(p, WORKER_STARTING);
    uint64_t wait_ms = ms_until(p->spares_after_ns);
    if (ready < spares && wait_ms > 0) {
        tend_later(p, wait_ms);
        return;
    }
    for (; ready < spares; ready++)
        if (pool_start(p, err, sizeof err) != 0) {
            registry_report(p->tools, LOG_ERROR, "plugin %s: %s", plugin_label(p), err);
            tend_later(p, TEND_LATER_MS);
            return;
        }
}

/* Those above the spares that were idle for long leave; the others are looked at again in time. */
static void dismiss_idle(struct plugin *p) {
    unsigned spares = (unsigned)p->tools->config.spares, idle = count(p, WORKER_IDLE);
    uint64_t next_ms = UINT64_MAX;
    for (struct worker *w = p->workers; w != NULL && idle > spares; w = w->next) {
        if (w->phase != WORKER_IDLE)
            continue;
        uint64_t wait_ms = ms_until(w->idle_ns + p->tools->config.idle_ms * 1000000ull);
        if (wait_ms > 0) {
            next_ms = wait_ms < next_ms ? wait_ms : next_ms;
            continue;
        }
        w->phase = WORKER_LEAVING;
        process_stop(w->process, p->tools->config.kill_grace_ms);
        idle--;
    }
    if (idle > spares)
        tend_later(p, next_ms);
}

static void tend(void *arg) {
    struct plugin *p = arg;
    p->tend_timer = NULL;
    uint64_t rest_ms = pool_rest_ms(p);
    if (rest_ms > 0) {
        tend_later(p, rest_ms);
        return;
    }
    start_spares(p);
    dismiss_idle(p);
}

/* One timer, for the earliest of what is to be done; without one (no memory), the next call brings up what is
 * missing. */
static void tend_later(struct plugin *p, uint64_t delay_ms) {
    uint64_t due_ns = clock_mono_ns() + delay_ms * 1000000u;
    if (!p->serving || p->tools->closing || (p->tend_timer != NULL && p->tend_due_ns <= due_ns))
        return;
    untimer(p, &p->tend_timer);
    p->tend_due_ns = due_ns;
    p->tend_timer = p->tools->loop.timer(p->tools->loop.ctx, delay_ms, tend, p);
}

/* ---- what a worker does ---- */

static void pass_note(struct worker *w, const struct frame *frame) {
    struct frame_reader r;
    struct buf clean;
    size_t len;
    frame_read(&r, frame);
    uint32_t level = frame_read_u32(&r);
    const char *text = frame_read_text(&r, &len);
    if (++w->notes > NOTES_MAX)
        return;
    buf_init(&clean, 16u * 1024);
    if (frame_done(&r) == 0 && result_clean(&clean, text, len) == 0)
        registry_report(w->plugin->tools, level <= LOG_ERROR ? (int)level : LOG_INFO, "plugin %s: %s%s",
                        plugin_label(w->plugin), clean.data != NULL ? clean.data : "",
                        w->notes == NOTES_MAX ? " (more of this call is dropped)" : "");
    buf_finish(&clean);
}

static void worker_ready(struct worker *w) {
    untimer(w->plugin, &w->start_timer);
    worker_idles(w);
    w->notes = 0;
    if (w->plugin->serving)
        pool_dispatch(w->plugin);
}

static int on_frame(void *arg, const struct frame *frame) {
    struct worker *w = arg;
    if (frame->type == FRAME_LOG)
        pass_note(w, frame);
    if (w->phase == WORKER_STARTING) {
        int rc = w->why[0] == '\0' ? handshake_frame(w, frame, w->why, sizeof w->why) : 0;
        if (rc < 0)
            process_kill(w->process);
        if (rc > 0)
            worker_ready(w);
        return 0;
    }
    if (frame->type == FRAME_LOG)
        return 0;
    if (w->call != NULL)
        return call_frame(w->call, frame);
    return frame->type == FRAME_PROGRESS || w->phase == WORKER_LEAVING ? 0 : -EPROTO;
}

static void on_printed(void *arg, const char *line) {
    const struct worker *w = arg;
    struct buf clean;
    buf_init(&clean, 8192);
    if (result_clean(&clean, line, strlen(line)) == 0)
        registry_report(w->plugin->tools, LOG_INFO, "plugin %s prints: %s", plugin_label(w->plugin),
                        clean.data);
    buf_finish(&clean);
}

static void explain_end(struct worker *w) {
    const struct process *process = w->process;
    if (w->why[0] != '\0')
        return;
    const char *when = w->phase == WORKER_STARTING ? w->plugin->listed ? "in its init" : "while it was loaded"
                                                   : "between calls";
    if (process->broke != NULL)
        snprintf(w->why, sizeof w->why, "its worker was killed because %s", process->broke);
    else if (process->end.signal != 0)
        snprintf(w->why, sizeof w->why, "it crashed %s: signal %d (%s)", when, process->end.signal,
                 strsignal(process->end.signal));
    else
        snprintf(w->why, sizeof w->why, "it ended the process %s, with exit code %d", when,
                 process->end.exit_code);
}

static void unlink_worker(struct worker *w) {
    struct worker **at = &w->plugin->workers;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
}

static void on_ended(void *arg) {
    struct worker *w = arg;
    struct plugin *p = w->plugin;
    struct tool_call *call = w->call;
    bool crashed = w->phase != WORKER_LEAVING && (call == NULL || call->stop == CALL_GOES_ON);
    bool started = w->phase != WORKER_STARTING;
    if (!p->serving) {
        explain_end(w); /* tools_open() reads it there */
        return;
    }
    unlink_worker(w);
    if (crashed && call == NULL) {
        explain_end(w);
        registry_report(p->tools, LOG_WARN, "plugin %s: %s", plugin_label(p), w->why);
    }
    if (crashed)
        note_crash(p);
    if (!started && count(p, WORKER_STARTING) + count(p, WORKER_IDLE) + count(p, WORKER_BUSY) == 0)
        fail_waiting(p, w->why);
    if (call != NULL)
        call_worker_gone(call, w);
    worker_destroy(w);
    pool_dispatch(p);
    tend_later(p, TEND_SOON_MS);
}
