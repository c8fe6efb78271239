/* Loading one plugin and looking at what it says about itself. In the worker only. */
#ifndef TOOLS_WORKER_LOAD_H
#define TOOLS_WORKER_LOAD_H

#include "base/buf.h"
#include "base/err.h"
#include "plugins/hermes_plugin.h"

/* Opens the shared object, for ever, and checks the stamps, sizes and pointers of its description. The
 * strings are checked by the daemon, which trusts nothing that a worker says. */
HX_MUST_CHECK int worker_load(const char *path, const hermes_plugin **out, char *err, size_t errlen);
/* Appends PLUGIN, one TOOL per tool, and LISTED. */
HX_MUST_CHECK int worker_load_list(const hermes_plugin *plugin, struct buf *out, char *err, size_t errlen);
/* The tool at the place in the list, or NULL. */
const hermes_tool *worker_load_tool(const hermes_plugin *plugin, uint32_t index);

#endif
