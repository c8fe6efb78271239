#include "engine/gone.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What one read of memory brings. */
#define SET 8

int gone_init(struct gone *g, uint32_t n) {
    *g = (struct gone){.chains = calloc(n, sizeof *g->chains), .n = n};
    return g->chains == NULL ? -ENOMEM : 0;
}

void gone_finish(struct gone *g) {
    free(g->chains);
}

static uint64_t *set_of(const struct gone *g, uint64_t chain) {
    return &g->chains[chain & (g->n - 1) & ~(uint64_t)(SET - 1)];
}

bool gone_has(const struct gone *g, uint64_t chain) {
    const uint64_t *set = set_of(g, chain);
    int i = 0;
    while (i < SET && set[i] != chain)
        i++;
    return i < SET;
}

void gone_add(struct gone *g, uint64_t chain) {
    uint64_t *set = set_of(g, chain);
    int at = 0;
    while (at < SET - 1 && set[at] != chain) /* what is there already only becomes the newest */
        at++;
    memmove(set + 1, set, (size_t)at * sizeof *set);
    set[0] = chain;
}
