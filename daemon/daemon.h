/* The daemon as a whole: opens its parts in order, runs the loop, closes them in order. Main thread, which
 * becomes the loop thread. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include "daemon/config.h"
#include "engine/engine.h"

/* Exit codes. */
enum daemon_exit {
    DAEMON_EXIT_OK = 0,
    DAEMON_EXIT_FAILED = 1,
    DAEMON_EXIT_USAGE = 64,     /* wrong flags */
    DAEMON_EXIT_IO = 74,        /* the journal, the state folder or the socket */
    DAEMON_EXIT_TEMPORARY = 75, /* start me again */
    DAEMON_EXIT_CONFIG = 78     /* settings, model */
};

/* Serves until SIGTERM or SIGINT; then jobs get their grace, a second signal ends it. Returns the exit code.
 * *at_once: the process has to end by _exit(), because a GPU that has failed may keep exit() for ever; the
 * journal is closed, and nothing is left to be written. */
int daemon_serve(const struct config *config, bool *at_once);
/* Loads every plugin and prints tools and layers of confinement. Returns the exit code: FAILED when a plugin
 * was refused or complained. */
int daemon_check(const struct config *config);

/* CONFIG_DEVICE, CONFIG_DEVICES and CONFIG_KV as the engine takes them. */
enum engine_device daemon_wanted_device(const struct config *config);
struct gpus daemon_wanted_gpus(const struct config *config);
enum engine_kv daemon_wanted_kv(const struct config *config);

#endif
