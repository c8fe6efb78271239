/* Serving calls: the host's functions that a plugin sees, and the one place where a plugin's tool is entered.
 * In the worker only. */
#ifndef TOOLS_WORKER_SERVE_H
#define TOOLS_WORKER_SERVE_H

#include "plugins/hermes_plugin.h"
#include "tools/worker_link.h"

/* Waits for INIT, starts the plugin, says READY and serves calls until the daemon wants no more. Gives the
 * exit code of the process. The main thread runs the plugin; a second one watches for the daemon's wish to
 * stop and for its end, and costs nothing while a call goes through. [main thread] */
int worker_serve(const hermes_plugin *plugin, struct worker_link *link);
/* Says REFUSED with the sentence; gives the exit code. [main thread] */
int worker_serve_refuse(struct worker_link *link, const char *sentence);

#endif
