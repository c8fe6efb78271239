#include "engine/host_pages.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MOST_TIMES 8

struct host_pages {
    struct forward *f;
    bool queued; /* the device copies beside its steps, to and from memory of its own kind */
    size_t page_bytes;
    int n;       /* places */
    int at_once; /* pages of a piece of memory */
    int n_pieces;
    uint8_t **pieces; /* NULL: not taken yet */
};

static size_t piece_bytes(const struct host_pages *h) {
    return (size_t)h->at_once * h->page_bytes;
}

/* Takes piece i. Mapped memory costs nothing before it is written. */
static int take(struct host_pages *h, int i) {
    void *memory = h->queued ? forward_alloc_host(h->f, piece_bytes(h))
                             : mmap(NULL, piece_bytes(h), PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || memory == NULL)
        return -ENOMEM;
    h->pieces[i] = memory;
    return 0;
}

int host_pages_create(struct forward *f, int n_pages, size_t bytes, size_t at_once, struct host_pages **out) {
    size_t page_bytes = forward_device_page_bytes(f), n = bytes / page_bytes;
    *out = NULL;
    n = n < (size_t)n_pages * MOST_TIMES ? n : (size_t)n_pages * MOST_TIMES;
    if (n == 0)
        return 0;
    struct host_pages *h = calloc(1, sizeof *h);
    if (h == NULL)
        return -ENOMEM;
    *h = (struct host_pages){.f = f, .queued = forward_moves_pages(f), .page_bytes = page_bytes, .n = (int)n};
    size_t pages = h->queued ? at_once / page_bytes : n;
    h->at_once = pages < 1 ? 1 : pages < n ? (int)pages : (int)n;
    h->n_pieces = (h->n + h->at_once - 1) / h->at_once;
    h->pieces = calloc((size_t)h->n_pieces, sizeof *h->pieces);
    if (h->pieces == NULL || take(h, 0) < 0) {
        host_pages_destroy(h);
        return -ENOMEM;
    }
    *out = h;
    return 0;
}

void host_pages_destroy(struct host_pages *h) {
    if (h == NULL)
        return;
    for (int i = 0; h->pieces != NULL && i < h->n_pieces; i++) {
        if (h->pieces[i] == NULL)
            continue;
        if (h->queued)
            forward_free_host(h->f, h->pieces[i]);
        else
            munmap(h->pieces[i], piece_bytes(h));
    }
    free(h->pieces);
    free(h);
}

/* Where page i is kept here; NULL when there is no memory for it. */
static uint8_t *place(struct host_pages *h, int i) {
    int piece = i / h->at_once;
    if (h->pieces[piece] == NULL && take(h, piece) < 0)
        return NULL;
    return h->pieces[piece] + (size_t)(i % h->at_once) * h->page_bytes;
}

static int put(void *arg, int32_t to, int32_t page) {
    struct host_pages *h = arg;
    uint8_t *here = place(h, to);
    if (here == NULL)
        return -ENOMEM;
    if (!h->queued)
        return forward_read_page(h->f, page, here);
    forward_store_page(h->f, page, here);
    return 0;
}

/* Only of a place that was put to. */
static int get(void *arg, int32_t page, int32_t from) {
    struct host_pages *h = arg;
    const uint8_t *here = place(h, from);
    if (!h->queued)
        return forward_write_page(h->f, page, here);
    forward_fetch_page(h->f, page, here);
    return 0;
}

struct pages_store host_pages_store(struct host_pages *h) {
    return (struct pages_store){.n = h != NULL ? h->n : 0, .arg = h, .put = put, .get = get};
}
