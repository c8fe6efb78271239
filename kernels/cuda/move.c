/* Pages on their way to host memory and back, queued between steps; nobody waits for them.
 *
 * A page that goes is first copied to a slot in device memory, in the queue of the steps, so that the next
 * step may write to the page; from the slot it goes to the host in a queue of its own, beside the steps. One
 * that comes back is copied in the queue of the steps, which need it. Two events of a slot keep the order:
 *
 *   full    the slot has its page: the queue of moves waits for it before it copies
 *   empty   the host has it: the queue of the steps waits for it before it fills the slot again, and before
 * it reads that place of the host */
#include "kernels/cuda/device.h"

#include <errno.h>
#include <string.h>

#define SLOT_BYTES ((size_t)64 << 20) /* of all slots together, or one page */

static struct cuda_device *cuda_of(struct kernels_device *d) {
    return (struct cuda_device *)(void *)d;
}

static uint8_t *slot_at(const struct cuda_device *d, int i) {
    return d->moves.memory + (size_t)i * (size_t)d->cache.page_bytes;
}

/* Once, when memory is asked for. */
static int open(struct cuda_device *d) {
    struct cuda_moves *m = &d->moves;
    size_t page = (size_t)d->cache.page_bytes, n = SLOT_BYTES / page;
    if (m->memory != NULL)
        return 0;
    n = n < 1 ? 1 : n > CUDA_MOVE_SLOTS ? CUDA_MOVE_SLOTS : n;
    m->memory = gpu_alloc(n * page, GPU_KEPT);
    if (m->memory == NULL)
        return -ENOMEM;
    m->n_slots = (int)n;
    int rc = gpu_stream_create(&m->stream);
    for (int i = 0; i < m->n_slots && rc == 0; i++) {
        rc = gpu_event_create(&m->slots[i].full);
        rc = rc ? rc : gpu_event_create(&m->slots[i].empty);
    }
    if (rc < 0)
        move_finish(d);
    return rc;
}

void move_finish(struct cuda_device *d) {
    struct cuda_moves *m = &d->moves;
    gpu_stream_destroy(m->stream); /* waits */
    for (int i = 0; i < CUDA_MOVE_SLOTS; i++) {
        gpu_event_destroy(m->slots[i].full);
        gpu_event_destroy(m->slots[i].empty);
    }
    gpu_free(m->memory);
    memset(m, 0, sizeof *m);
}

void *move_alloc_host(struct kernels_device *base, size_t bytes) {
    return open(cuda_of(base)) < 0 ? NULL : gpu_alloc_host(bytes);
}

void move_free_host(struct kernels_device *base, void *memory) {
    struct cuda_device *d = cuda_of(base);
    cuda_keep(d, gpu_sync(d->stream));
    if (d->moves.stream != NULL)
        cuda_keep(d, gpu_sync(d->moves.stream));
    gpu_free_host(memory);
}

/* The page goes to the slot, and from there to the host. */
static int store(struct cuda_device *d, const uint8_t *page, struct cuda_move_slot *slot, uint8_t *at,
                 void *host) {
    size_t bytes = (size_t)d->cache.page_bytes;
    struct gpu_stream *moves = d->moves.stream;
    int rc = slot->host != NULL ? gpu_event_wait(slot->empty, d->stream) : 0;
    rc = rc ? rc : gpu_copy(d->stream, at, page, bytes);
    rc = rc ? rc : gpu_event_record(slot->full, d->stream);
    rc = rc ? rc : gpu_event_wait(slot->full, moves);
    rc = rc ? rc : gpu_download(moves, host, at, bytes);
    rc = rc ? rc : gpu_event_record(slot->empty, moves);
    slot->host = host;
    return rc;
}

void move_store_page(struct kernels_device *base, int32_t page, void *host) {
    struct cuda_device *d = cuda_of(base);
    struct cuda_moves *m = &d->moves;
    const uint8_t *from = cuda_page_at(d, page, "stored");
    if (from == NULL)
        return;
    int i = m->next;
    m->next = (i + 1) % m->n_slots;
    cuda_keep(d, store(d, from, &m->slots[i], slot_at(d, i), host));
}

void move_fetch_page(struct kernels_device *base, int32_t page, const void *host) {
    struct cuda_device *d = cuda_of(base);
    uint8_t *to = cuda_page_at(d, page, "fetched");
    if (to == NULL)
        return;
    /* Of a slot that has had another page since, the queue of the steps has waited for the one before. */
    for (int i = 0; i < d->moves.n_slots; i++)
        if (d->moves.slots[i].host == host)
            cuda_keep(d, gpu_event_wait(d->moves.slots[i].empty, d->stream));
    cuda_keep(d, gpu_upload(d->stream, to, host, (size_t)d->cache.page_bytes));
}
