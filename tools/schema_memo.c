#include "tools/schema_memo.h"

#include <stdlib.h>

#define CAP_FIRST 256u
#define CAP_MAX   (1u << 20) /* 8 MiB */

/* Never 0: the value's id + 1. The lowest bit is the verdict. */
static uint64_t key_of(uint32_t node, uint32_t value) {
    return (uint64_t)node << 33 | ((uint64_t)value + 1) << 1;
}

static size_t slot_of(const struct schema_memo *memo, uint64_t key) {
    uint64_t hash = key * 0x9E3779B97F4A7C15u;
    size_t i = (size_t)(hash >> 32) & (memo->cap - 1);
    while (memo->slots[i] != 0 && (memo->slots[i] & ~1ull) != key)
        i = (i + 1) & (memo->cap - 1);
    return i;
}

int schema_memo_get(const struct schema_memo *memo, uint32_t node, uint32_t value) {
    if (memo->cap == 0)
        return -1;
    uint64_t found = memo->slots[slot_of(memo, key_of(node, value))];
    return found == 0 ? -1 : (int)(found & 1);
}

static bool grow(struct schema_memo *memo) {
    struct schema_memo more = {.cap = memo->cap == 0 ? CAP_FIRST : memo->cap * 2, .n = memo->n};
    if (more.cap > CAP_MAX || (more.slots = calloc(more.cap, sizeof *more.slots)) == NULL)
        return false;
    for (size_t i = 0; i < memo->cap; i++)
        if (memo->slots[i] != 0)
            more.slots[slot_of(&more, memo->slots[i] & ~1ull)] = memo->slots[i];
    free(memo->slots);
    *memo = more;
    return true;
}

void schema_memo_put(struct schema_memo *memo, uint32_t node, uint32_t value, bool passed) {
    if ((memo->n + 1) * 2 > memo->cap && !grow(memo))
        return;
    uint64_t key = key_of(node, value);
    size_t i = slot_of(memo, key);
    memo->n += memo->slots[i] == 0;
    memo->slots[i] = key | passed;
}

void schema_memo_finish(struct schema_memo *memo) {
    free(memo->slots);
    *memo = (struct schema_memo){0};
}
