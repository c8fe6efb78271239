/* Event streams on a connection: framing, queue limits, comment lines. The handler's side is daemon/http.h.
 * Format: WHATWG HTML, "Server-sent events"; NDJSON is one JSON object per line. [loop-thread] */
#ifndef DAEMON_SSE_H
#define DAEMON_SSE_H

#include "daemon/http.h"

/* Appends one event in the form of `kind`; `id` < 0 and `name` NULL are left out. 0, -ENOBUFS, -ENOMEM. */
HX_MUST_CHECK int sse_format(struct buf *out, enum http_stream_kind kind, int64_t id, const char *name,
                             const char *json, size_t len);

#endif
