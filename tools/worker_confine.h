/* How a worker process takes rights away from itself. In the worker only. */
#ifndef TOOLS_WORKER_CONFINE_H
#define TOOLS_WORKER_CONFINE_H

#include "base/err.h"

#include <stddef.h>

/* Runs every layer that belongs before the plugin is loaded, so that even its constructors are confined, and
 * writes the names of the layers that hold into `layers`, "rlimits no-new-privs …". A layer that does not
 * hold is an error: nothing is silently weaker. [one thread] */
HX_MUST_CHECK int worker_confine(char *layers, size_t size, char *err, size_t errlen);

#endif
