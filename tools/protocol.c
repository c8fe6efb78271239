#include "tools/protocol.h"

#include <errno.h>
#include <string.h>

struct header {
    uint32_t len;
    uint32_t type;
    uint64_t call;
};
_Static_assert(sizeof(struct header) == FRAME_HEADER_BYTES, "the header has no padding");

long frame_parse(const char *data, size_t len, size_t max_payload, struct frame *frame) {
    struct header header;
    if (len < sizeof header)
        return 0;
    memcpy(&header, data, sizeof header);
    if (header.len > max_payload)
        return -EPROTO;
    if (len - sizeof header < header.len)
        return 0;
    frame->type = header.type;
    frame->call = header.call;
    frame->payload = data + sizeof header;
    frame->len = header.len;
    return (long)(sizeof header + header.len);
}

static void put(struct frame_writer *w, const void *bytes, size_t len) {
    if (w->status == 0)
        w->status = buf_append(w->out, bytes, len);
}

void frame_begin(struct frame_writer *w, struct buf *out, enum frame_type type, uint64_t call) {
    struct header header = {.type = type, .call = call};
    *w = (struct frame_writer){.out = out, .start = out->len};
    put(w, &header, sizeof header);
}

void frame_u32(struct frame_writer *w, uint32_t value) {
    put(w, &value, sizeof value);
}

void frame_u64(struct frame_writer *w, uint64_t value) {
    put(w, &value, sizeof value);
}

void frame_text(struct frame_writer *w, const char *text, size_t len) {
    if (len > UINT32_MAX && w->status == 0)
        w->status = -ENOBUFS;
    frame_u32(w, (uint32_t)len);
    put(w, text, len);
}

int frame_end(struct frame_writer *w) {
    size_t len = w->out->len - w->start - (w->status == 0 ? FRAME_HEADER_BYTES : 0);
    if (w->status == 0 && len > UINT32_MAX)
        w->status = -ENOBUFS;
    if (w->status != 0) {
        w->out->len = w->start;
        return w->status;
    }
    uint32_t stamp = (uint32_t)len;
    memcpy(w->out->data + w->start, &stamp, sizeof stamp);
    return 0;
}

void frame_read(struct frame_reader *r, const struct frame *frame) {
    *r = (struct frame_reader){.at = frame->payload, .left = frame->len};
}

/* The next `len` bytes, or NULL from the first time that they are not there. */
static const char *take(struct frame_reader *r, size_t len) {
    if (r->short_of || r->left < len) {
        r->short_of = true;
        return NULL;
    }
    const char *at = r->at;
    r->at += len;
    r->left -= len;
    return at;
}

uint32_t frame_read_u32(struct frame_reader *r) {
    uint32_t value = 0;
    const char *at = take(r, sizeof value);
    if (at != NULL)
        memcpy(&value, at, sizeof value);
    return value;
}

uint64_t frame_read_u64(struct frame_reader *r) {
    uint64_t value = 0;
    const char *at = take(r, sizeof value);
    if (at != NULL)
        memcpy(&value, at, sizeof value);
    return value;
}

const char *frame_read_text(struct frame_reader *r, size_t *len) {
    *len = frame_read_u32(r);
    const char *at = take(r, *len);
    if (at == NULL)
        *len = 0;
    return at != NULL ? at : "";
}

int frame_done(const struct frame_reader *r) {
    return r->short_of || r->left > 0 ? -EPROTO : 0;
}
