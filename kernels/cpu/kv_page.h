/* Keys or values of one page, layer and kv head, as the inner loops of attention read them. */
#ifndef KERNELS_CPU_KV_PAGE_H
#define KERNELS_CPU_KV_PAGE_H

#include <stdbool.h>
#include <stddef.h>

struct kv_page {
    const void *at; /* keys [E][64], values [64][E]: F32, F16, or as in kernels/cpu/kv8.h */
    bool half;      /* F16, else F32; of no account to kv8.h */
    int head_dim;   /* E */
    int n;          /* positions that count: 1 … 64 */
    /* What is read next, another place in memory, which the processor cannot foresee: its lines are asked for
     * while this page is worked on. A hint: nothing is read there. */
    const void *next;
    size_t next_bytes; /* 0: nothing is asked for */
};

/* Asks for the lines of what is read next that begin at one of its bytes `from` to from + bytes - 1, into the
 * second-level cache: the first has too few requests under way (see docs/performance.md). */
static inline __attribute__((always_inline)) void kv_page_ask(const struct kv_page *page, size_t from,
                                                              size_t bytes) {
    for (size_t i = (from + 63) / 64 * 64; i < from + bytes && i < page->next_bytes; i += 64)
        __builtin_prefetch((const char *)page->next + i, 0, 2);
}

/* Bytes to ask for in each of so many steps, for memory to have something to do in all of them. */
static inline size_t kv_page_share(const struct kv_page *page, int steps) {
    return (page->next_bytes + (size_t)steps - 1) / (size_t)steps;
}

#endif
