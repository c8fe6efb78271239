/* All plugins and their tools. [loop-thread] */
#ifndef TOOLS_REGISTRY_H
#define TOOLS_REGISTRY_H

#include "tools/pool.h"
#include "tools/tools.h"

struct tools {
    struct tools_config config; /* the strings that are used later are owned: see registry.c */
    struct tools_loop loop;
    struct plugin **plugin; /* owned */
    size_t plugin_count;
    struct tool **tool; /* sorted by name; the plugins' */
    size_t tool_count;
    struct tool_call *calls; /* every one that has not ended */
    uint64_t last_call_id;
    bool closing;
};

struct tool *registry_find(const struct tools *t, const char *name);
/* One line for the daemon's log; level as in base/log.h. */
void registry_report(const struct tools *t, int level, const char *fmt, ...) HX_PRINTF(3, 4);

#endif
