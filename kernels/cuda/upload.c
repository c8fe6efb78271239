#include "kernels/cuda/upload.h"

#include "kernels/cuda/host.h"

#include <errno.h>
#include <stdlib.h>

#define PIECES 2

struct upload {
    struct gpu_stream *stream;
    struct {
        uint8_t *memory;
        struct gpu_event *copied; /* recorded behind each copy */
    } pieces[PIECES];
    size_t bytes; /* of a piece */
    int now;      /* the piece that was taken last */
};

static void free_pieces(struct upload *u) {
    for (int i = 0; i < PIECES; i++) {
        gpu_free_host(u->pieces[i].memory);
        u->pieces[i].memory = NULL;
    }
    u->bytes = 0;
}

static int make_pieces(struct upload *u, size_t bytes) {
    for (int i = 0; i < PIECES; i++) {
        u->pieces[i].memory = gpu_alloc_host(bytes);
        if (u->pieces[i].memory == NULL) {
            free_pieces(u);
            return -ENOMEM;
        }
    }
    u->bytes = bytes;
    return 0;
}

int upload_open(size_t bytes, struct upload **out) {
    struct upload *u = calloc(1, sizeof *u);
    if (u == NULL)
        return -ENOMEM;
    int rc = gpu_stream_create(&u->stream);
    for (int i = 0; i < PIECES && rc == 0; i++)
        rc = gpu_event_create(&u->pieces[i].copied);
    rc = rc ? rc : make_pieces(u, bytes);
    if (rc < 0)
        upload_close(u);
    else
        *out = u;
    return rc;
}

void upload_close(struct upload *u) {
    if (u == NULL)
        return;
    gpu_stream_destroy(u->stream); /* waits */
    for (int i = 0; i < PIECES; i++)
        gpu_event_destroy(u->pieces[i].copied);
    free_pieces(u);
    free(u);
}

size_t upload_piece(const struct upload *u) {
    return u->bytes;
}

uint8_t *upload_take(struct upload *u, size_t least) {
    if (least > u->bytes) {
        if (upload_wait(u) < 0)
            return NULL;
        free_pieces(u);
        if (make_pieces(u, least) < 0)
            return NULL;
    }
    u->now = (u->now + 1) % PIECES;
    return gpu_event_finish(u->pieces[u->now].copied) == 0 ? u->pieces[u->now].memory : NULL;
}

int upload_copy(struct upload *u, void *device, const uint8_t *from, size_t bytes) {
    int rc = gpu_upload(u->stream, device, from, bytes);
    return rc ? rc : gpu_event_record(u->pieces[u->now].copied, u->stream);
}

int upload_wait(struct upload *u) {
    return gpu_sync(u->stream);
}
