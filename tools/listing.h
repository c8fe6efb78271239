/* What a worker says about its plugin, believed only after it was checked. [loop-thread] */
#ifndef TOOLS_LISTING_H
#define TOOLS_LISTING_H

#include "tools/pool.h"
#include "tools/protocol.h"

/* A PLUGIN, TOOL or LISTED frame of the plugin's first worker. 0, or -EPROTO/-EINVAL/-ENOMEM with a sentence
 * that names the tool. */
HX_MUST_CHECK int listing_frame(struct plugin *p, const struct frame *frame, char *err, size_t errlen);
/* FNV-1a, to tell whether a later worker lists the same. */
uint64_t listing_hash(uint64_t hash, const struct frame *frame);
void listing_free_tool(struct tool *tool);

#endif
