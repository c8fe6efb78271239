/* What tools/ needs of an event loop, in terms of libuv. [loop-thread] */
#ifndef DAEMON_TOOLS_LOOP_H
#define DAEMON_TOOLS_LOOP_H

#include "tools/tools.h"

#include <uv.h>

/* A table over `loop` (borrowed), which outlives everything that is watched. */
void tools_loop_init(struct tools_loop *table, uv_loop_t *loop);

#endif
