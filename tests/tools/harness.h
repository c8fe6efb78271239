/* What the tests of calls do over and over. */
#ifndef TESTS_TOOLS_HARNESS_H
#define TESTS_TOOLS_HARNESS_H

#include "tests/tools/poll_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* Tools over some plugins, with a loop, and everything that was reported. */
struct harness {
    struct poll_loop *loop;
    struct tools_config config;
    struct tools *tools;
    char log[1024 * 1024];
    int fds_before;
};

/* One call and what came of it. */
struct outcome {
    struct harness *h;
    struct tool_call *call;
    bool done;
    int times; /* that `done` came */
    struct tool_result result;
    char text[4096]; /* the beginning of the result */
    int notes;       /* of progress */
    double fraction;
    char note[256];
};

/* The path of a plugin of this folder, or of plugins/ when the name begins with '+'; the caller frees it. */
char *harness_plugin(const char *name);
/* Opens the named plugins, in order; the list ends with NULL. Config that is set in h->config before stays.
 */
void harness_open(struct harness *h, const char *const *names);
/* Closes; fails the test for descriptors, children, watches or timers that are left. */
void harness_close(struct harness *h);
void harness_call(struct harness *h, struct outcome *o, const char *tool, const char *arguments,
                  uint32_t timeout_ms);
void harness_wait(struct outcome *o);
/* Both, and checks that it ended so. */
void harness_expect(struct harness *h, struct outcome *o, const char *tool, const char *arguments,
                    enum tool_status status);
int harness_open_fds(void);
/* Whether a process with this id exists and is no zombie. */
bool harness_alive(int pid);

#endif
