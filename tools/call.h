/* One call, from tools_call() to its `done`. [loop-thread] */
#ifndef TOOLS_CALL_H
#define TOOLS_CALL_H

#include "tools/pool.h"
#include "tools/protocol.h"
#include "tools/tools.h"

enum call_stop { CALL_GOES_ON, CALL_CANCELLED, CALL_TIMED_OUT };

struct tool_call {
    struct tools *tools;
    struct tool *tool;
    struct tool_call *next, *previous; /* in tools->calls */
    struct tool_call *next_queued;     /* in plugin->queue */
    struct worker *worker;             /* while it runs */
    uint64_t id;
    char *arguments, *key; /* owned */
    size_t len;
    uint32_t timeout_ms;
    void (*done)(void *arg, const struct tool_result *result);
    void (*progress)(void *arg, double fraction, const char *note);
    void *arg;
    void *timer; /* waiting in the queue, running, or about to end with `soon` */
    enum call_stop stop;
    uint64_t submitted_ns, started_ns, progress_ns;
    bool ended; /* `done` is being told */
    bool is_soon;
    struct tool_result soon; /* its text is soon_text */
    char soon_text[512];
};

/* Sends it to the idle worker. Nothing has happened when it fails. */
HX_MUST_CHECK int call_start(struct tool_call *call, struct worker *worker);
/* A frame of the worker that runs it. -EPROTO when it makes no sense. May end the call. */
HX_MUST_CHECK int call_frame(struct tool_call *call, const struct frame *frame);
/* The worker has ended under it, `worker` is still there to be looked at. Ends the call. */
void call_worker_gone(struct tool_call *call, const struct worker *worker);
/* Ends a call that does not run, with a sentence; `done` comes from the loop. */
void call_end_soon(struct tool_call *call, enum tool_status status, const char *fmt, ...) HX_PRINTF(3, 4);
/* Ends it here and now. */
void call_abandon(struct tool_call *call);

#endif
