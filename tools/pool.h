/* The workers of one plugin: started, kept warm, given calls, replaced, and left alone for a while when they
 * crash too often. [loop-thread] */
#ifndef TOOLS_POOL_H
#define TOOLS_POOL_H

#include "tools/process.h"
#include "tools/schema.h"
#include "tools/tools.h"

#define POOL_CRASHES_MAX 5 /* within a minute; then the plugin rests */

struct tool {
    struct tool_info info; /* its own strings are owned, those of the plugin are the plugin's */
    struct schema *schema; /* owned */
    struct plugin *plugin;
    uint32_t index; /* in the plugin's list */
    uint32_t max_concurrency;
    size_t max_result_bytes;
    unsigned running, queued;
    bool unlimited;   /* names no timeout of its own: a request may set a longer one */
    unsigned planned; /* scratch of pool_dispatch() */
};

enum worker_phase {
    WORKER_STARTING, /* until READY */
    WORKER_IDLE,
    WORKER_BUSY,
    WORKER_LEAVING /* gets no more calls; its end is awaited */
};

struct worker {
    struct plugin *plugin;
    struct worker *next;
    struct process *process; /* owned */
    enum worker_phase phase;
    struct tool_call *call; /* while BUSY */
    unsigned served;
    unsigned notes; /* log lines of the present call */
    uint64_t started_ns;
    uint64_t idle_ns; /* while IDLE: since when */
    uint64_t hash;    /* of what it listed so far */
    void *start_timer;
    char why[512]; /* why it cannot be used; "" */
};

struct plugin {
    struct tools *tools;
    char *path, *name, *version; /* name and version: NULL until listed */
    struct tool **tool;          /* in the plugin's order; owned */
    size_t tool_count;
    bool listed;
    bool serving;          /* the loop is at work: before, tools_open() looks after the one worker */
    uint64_t hash;         /* of the list: a later worker must list the same */
    char confinement[256]; /* of the last worker */
    char *config_json;
    struct worker *workers;
    struct tool_call *queue;
    uint64_t crash_ns[POOL_CRASHES_MAX]; /* the last ones; 0: none */
    uint64_t rests_until_ns;             /* quarantine; 0: none */
    uint64_t rest_ms;                    /* the next one's length */
    uint64_t spares_after_ns; /* the last crash is too fresh for a new spare before; calls start one anyway */
    void *tend_timer;
    uint64_t tend_due_ns; /* while the timer is set */
};

struct plugin *plugin_create(struct tools *tools, const char *path);
/* Destroys its workers too. NULL is fine. */
void plugin_destroy(struct plugin *p);
/* Its name, or its path before it was listed; for sentences. */
const char *plugin_label(const struct plugin *p);

/* Starts a worker; it becomes IDLE when its plugin is ready. */
HX_MUST_CHECK int pool_start(struct plugin *p, char *err, size_t errlen);
/* Puts the plugin's worker of tools_open() under the loop. */
HX_MUST_CHECK int pool_serve(struct plugin *p, char *err, size_t errlen);
/* Gives waiting calls to idle workers and starts more where they are wanted. Calls no `done`. */
void pool_dispatch(struct plugin *p);
/* The worker's call has ended: it becomes idle, or leaves when it has served enough. */
void pool_release(struct worker *w, long max_rss_kib);
/* How long the plugin still rests, 0 when it does not. */
uint64_t pool_rest_ms(const struct plugin *p);

#endif
