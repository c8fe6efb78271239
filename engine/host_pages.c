#include "engine/host_pages.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MOST_TIMES 8

struct host_pages {
    struct forward *f;
    uint8_t *memory; /* n x page_bytes */
    size_t page_bytes;
    int n_pages, n; /* of the device; here */
};

int host_pages_create(struct forward *f, int n_pages, size_t bytes, struct host_pages **out) {
    size_t page_bytes = forward_device_page_bytes(f), n = bytes / page_bytes;
    *out = NULL;
    n = n < (size_t)n_pages * MOST_TIMES ? n : (size_t)n_pages * MOST_TIMES;
    if (n == 0)
        return 0;
    struct host_pages *h = calloc(1, sizeof *h);
    void *memory = mmap(NULL, n * page_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (h == NULL || memory == MAP_FAILED) {
        if (memory != MAP_FAILED)
            munmap(memory, n * page_bytes);
        free(h);
        return -ENOMEM;
    }
    *h = (struct host_pages){
        .f = f, .memory = memory, .page_bytes = page_bytes, .n_pages = n_pages, .n = (int)n};
    *out = h;
    return 0;
}

void host_pages_destroy(struct host_pages *h) {
    if (h == NULL)
        return;
    munmap(h->memory, (size_t)h->n * h->page_bytes);
    free(h);
}

int host_pages_count(const struct host_pages *h) {
    return h != NULL ? h->n : 0;
}

int host_pages_move(void *arg, int32_t to, int32_t from) {
    struct host_pages *h = arg;
    if (to >= h->n_pages)
        return forward_read_page(h->f, from, h->memory + (size_t)(to - h->n_pages) * h->page_bytes);
    return forward_write_page(h->f, to, h->memory + (size_t)(from - h->n_pages) * h->page_bytes);
}
