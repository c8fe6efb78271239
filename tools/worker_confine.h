/* How a worker process takes rights away from itself. In the worker only. */
#ifndef TOOLS_WORKER_CONFINE_H
#define TOOLS_WORKER_CONFINE_H

#include "base/err.h"

#include <stddef.h>

/* Whose process it is: what it needs differs. A plugin gets 1 GiB of address space; a model's reader maps
 * files of any size and gets 4 GiB of data of its own. */
enum worker_of { WORKER_OF_A_PLUGIN, WORKER_OF_A_MODEL };

/* Runs every layer that belongs before the plugin is loaded, so that even its constructors are confined, and
 * writes the names of the layers that hold into `layers`, "rlimits no-new-privs …". A layer that does not
 * hold is an error: nothing is silently weaker. [one thread] */
HX_MUST_CHECK int worker_confine(enum worker_of of, char *layers, size_t size, char *err, size_t errlen);

#endif
