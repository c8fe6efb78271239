/* The frames between the daemon and a worker, on one stream socketpair (descriptor 3 in the worker).
 *
 * A frame is a header of 16 bytes (length of the payload, type, id of the call or 0) and a payload of fields:
 * u32, u64 and texts with a u32 length, in the machine's byte order: both ends are on one machine and from
 * one build. The worker's side is hostile: every length is checked against a ceiling and against what is
 * there, before anything is allocated.
 *
 *     worker                          daemon
 *     HELLO layers                →
 *     PLUGIN name, version        →
 *     TOOL … (one per tool)       →
 *     LISTED                      →
 *                                 ←   INIT config_json
 *     READY                       →
 *                                 ←   CALL tool, ceiling, deadline, key, arguments
 *     PROGRESS, LOG …             →
 *     END status, figures, result →
 *     REFUSED sentence            →   in place of any of the first six: the plugin cannot be used
 *
 * Two things are said without a frame. The daemon shuts its sending direction: the call should stop, and the
 * worker ends after it (an idle one at once). The daemon's end is gone: the worker ends now. */
#ifndef TOOLS_PROTOCOL_H
#define TOOLS_PROTOCOL_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_FD      3 /* in the worker */
#define PROTOCOL_VERSION 1

enum frame_type {
    FRAME_HELLO = 1, /* u32 PROTOCOL_VERSION, text: names of the layers of confinement that hold */
    FRAME_PLUGIN,    /* text name, text version */
    FRAME_TOOL,      /* u32 flags, timeout_ms, max_result_bytes, max_concurrency; text name, description,
                        args_schema, result_schema */
    FRAME_LISTED,    /* u32 number of tools */
    FRAME_READY,
    FRAME_REFUSED,  /* text: why */
    FRAME_PROGRESS, /* u64 fraction (bits of a double), text note */
    FRAME_LOG,      /* u32 level (HERMES_LOG_…), text */
    FRAME_END, /* u32 status (HERMES_…), u32 result was cut, u64 entered_ns, cpu_us, max_rss_kib, text result
                */

    FRAME_INIT = 32, /* text config_json */
    FRAME_CALL /* u32 tool, u32 max_result_bytes, u64 deadline_ns (CLOCK_MONOTONIC), text key, text arguments
                */
};

#define FRAME_HEADER_BYTES 16

struct frame {
    uint32_t type;
    uint64_t call;
    const char *payload; /* borrowed from the buffer it was read from */
    size_t len;
};

/* The first frame of data[0..len): its whole size in bytes (> 0), 0 when more bytes are needed, -EPROTO when
 * its length is above `max_payload`. */
HX_MUST_CHECK long frame_parse(const char *data, size_t len, size_t max_payload, struct frame *frame);

/* Appends a frame: begin, fields, end. The first failure (ceiling, memory) sticks; frame_end() returns it,
 * and the buffer is then as it was before frame_begin(). */
struct frame_writer {
    struct buf *out; /* borrowed */
    size_t start;
    int status;
};
void frame_begin(struct frame_writer *w, struct buf *out, enum frame_type type, uint64_t call);
void frame_u32(struct frame_writer *w, uint32_t value);
void frame_u64(struct frame_writer *w, uint64_t value);
void frame_text(struct frame_writer *w, const char *text, size_t len);
HX_MUST_CHECK int frame_end(struct frame_writer *w);

/* Reads the fields of a payload in order. After the first one that is not there, all are 0 or empty and
 * frame_done() says so. */
struct frame_reader {
    const char *at;
    size_t left;
    bool short_of;
};
void frame_read(struct frame_reader *r, const struct frame *frame);
uint32_t frame_read_u32(struct frame_reader *r);
uint64_t frame_read_u64(struct frame_reader *r);
/* Borrowed, without a NUL; never NULL. */
const char *frame_read_text(struct frame_reader *r, size_t *len);
/* 0 when every field was there and nothing is left over, else -EPROTO. */
HX_MUST_CHECK int frame_done(const struct frame_reader *r);

#endif
