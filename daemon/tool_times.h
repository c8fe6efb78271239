/* How long calls took, by tool: what a job that waits for a call can expect. Pure. [loop-thread] */
#ifndef DAEMON_TOOL_TIMES_H
#define DAEMON_TOOL_TIMES_H

#include "base/err.h"

/* Bounds of what is expected: shorter waits are not worth anybody's while, and memory is not held longer. */
#define TOOL_TIMES_LEAST_MS   1000.0
#define TOOL_TIMES_MOST_MS    600000.0
#define TOOL_TIMES_UNKNOWN_MS 10000.0 /* of a tool that never ran */

struct tool_times; /* zeroed by tool_times_create() */

/* NULL when memory is out. */
struct tool_times *tool_times_create(void);
void tool_times_destroy(struct tool_times *t);
/* A call took so long. Only the last 64 of each tool count. Without memory it is not remembered. */
void tool_times_add(struct tool_times *t, const char *tool, double ms);
/* Of 100 calls, 95 took no longer than this; within the bounds. */
double tool_times_expect(const struct tool_times *t, const char *tool);

#endif
