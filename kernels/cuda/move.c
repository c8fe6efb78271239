/* Pages on their way to host memory and back, queued between steps; nobody waits for them.
 *
 * A page that goes is first copied to a slot in device memory, in the queue of the steps, so that the next
 * step may write to the page; from the slot it goes to the host in a queue of its own, beside the steps. One
 * that comes back is copied in the queue of the steps, which need it. Two events of a slot keep the order:
 *
 *   full    the slot has its page: the queue of moves waits for it before it copies
 *   empty   the host has it: the queue of the steps waits for it before it fills the slot again, and before
 * it reads that place of the host
 *
 * Each of several GPUs moves its own part of a page (see ranks.h), with slots and a queue of its own. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/ranks.h"

#include <errno.h>
#include <string.h>

static struct cuda_device *cuda_of(struct kernels_device *d) {
    return (struct cuda_device *)(void *)d;
}

static uint8_t *slot_at(const struct cuda_device *d, int i) {
    return d->moves.memory + (size_t)i * (size_t)d->cache.page_bytes;
}

/* On one rank, whose GPU is in use. */
static int open_rank(struct cuda_device *d) {
    struct cuda_moves *m = &d->moves;
    size_t n = cuda_move_slots((size_t)d->cache.page_bytes);
    m->memory = gpu_alloc(n * (size_t)d->cache.page_bytes, GPU_KEPT);
    if (m->memory == NULL)
        return -ENOMEM;
    m->n_slots = (int)n;
    int rc = gpu_stream_create(&m->stream);
    for (int i = 0; i < m->n_slots && rc == 0; i++) {
        rc = gpu_event_create(&m->slots[i].full);
        rc = rc ? rc : gpu_event_create(&m->slots[i].empty);
    }
    return rc;
}

/* Once, when memory is asked for. */
static int open(struct cuda_device *d) {
    int rc = 0;
    if (d->moves.memory != NULL)
        return gpu_use(d->gpu);
    for (int i = 0; i < d->n_ranks && rc == 0; i++) {
        rc = gpu_use(d->ranks[i]->gpu);
        rc = rc ? rc : open_rank(d->ranks[i]);
    }
    for (int i = 0; i < d->n_ranks && rc < 0; i++) {
        (void)gpu_use(d->ranks[i]->gpu);
        move_finish(d->ranks[i]);
    }
    return rc ? rc : gpu_use(d->gpu);
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
    cuda_keep(d, ranks_sync(d));
    for (int i = 0; i < d->n_ranks; i++)
        if (d->ranks[i]->moves.stream != NULL)
            cuda_keep(d, gpu_sync(d->ranks[i]->moves.stream));
    gpu_free_host(memory);
}

/* The rank's part of a page goes to a slot, and from there to the host. */
static int store(struct cuda_device *r, int32_t page, void *host) {
    struct cuda_moves *m = &r->moves;
    size_t bytes = (size_t)r->cache.page_bytes;
    struct cuda_move_slot *slot = &m->slots[m->next];
    uint8_t *at = slot_at(r, m->next);
    m->next = (m->next + 1) % m->n_slots;
    int rc = gpu_use(r->gpu);
    if (slot->host != NULL)
        rc = rc ? rc : gpu_event_wait(slot->empty, r->stream);
    rc = rc ? rc : gpu_copy(r->stream, at, cuda_page_at(r, page), bytes);
    rc = rc ? rc : gpu_event_record(slot->full, r->stream);
    rc = rc ? rc : gpu_event_wait(slot->full, m->stream);
    rc = rc ? rc : gpu_download(m->stream, host, at, bytes);
    rc = rc ? rc : gpu_event_record(slot->empty, m->stream);
    slot->host = host;
    return rc;
}

/* Of a slot that has had another page since, the queue of the steps has waited for the one before. */
static int fetch(struct cuda_device *r, int32_t page, const void *host) {
    int rc = gpu_use(r->gpu);
    for (int i = 0; i < r->moves.n_slots && rc == 0; i++)
        if (r->moves.slots[i].host == host)
            rc = gpu_event_wait(r->moves.slots[i].empty, r->stream);
    return rc ? rc : gpu_upload(r->stream, cuda_page_at(r, page), host, (size_t)r->cache.page_bytes);
}

void move_store_page(struct kernels_device *base, int32_t page, void *host) {
    struct cuda_device *d = cuda_of(base);
    size_t bytes = (size_t)d->cache.page_bytes;
    for (int i = 0; i < d->n_ranks && cuda_page_fits(d, page, "stored"); i++)
        cuda_keep(d, store(d->ranks[i], page, (uint8_t *)host + (size_t)i * bytes));
}

void move_fetch_page(struct kernels_device *base, int32_t page, const void *host) {
    struct cuda_device *d = cuda_of(base);
    size_t bytes = (size_t)d->cache.page_bytes;
    for (int i = 0; i < d->n_ranks && cuda_page_fits(d, page, "fetched"); i++)
        cuda_keep(d, fetch(d->ranks[i], page, (const uint8_t *)host + (size_t)i * bytes));
}
