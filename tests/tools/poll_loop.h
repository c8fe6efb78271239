/* struct tools_loop in terms of poll(2), for tests and benches. One thread. */
#ifndef TESTS_TOOLS_POLL_LOOP_H
#define TESTS_TOOLS_POLL_LOOP_H

#include "tools/tools.h"

struct poll_loop;

struct poll_loop *poll_loop_create(void);
/* Everything must have been unwatched and untimed before: what is left over is counted. */
size_t poll_loop_destroy(struct poll_loop *loop);
const struct tools_loop *poll_loop_tools(struct poll_loop *loop);
/* Waits for one event, at most timeout_ms, and calls back. */
void poll_loop_once(struct poll_loop *loop, int timeout_ms);
/* Runs until *flag, or until timeout_ms have passed: then false. */
bool poll_loop_until(struct poll_loop *loop, const bool *flag, int timeout_ms);
void poll_loop_for(struct poll_loop *loop, int ms);

#endif
