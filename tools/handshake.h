/* From a started process to a plugin that is ready. [loop-thread] */
#ifndef TOOLS_HANDSHAKE_H
#define TOOLS_HANDSHAKE_H

#include "tools/pool.h"
#include "tools/protocol.h"

/* A frame of a worker that is STARTING: 1 when its plugin is ready, 0 to go on, or negative with the reason
 * why it cannot be used. */
HX_MUST_CHECK int handshake_frame(struct worker *w, const struct frame *frame, char *err, size_t errlen);

#endif
