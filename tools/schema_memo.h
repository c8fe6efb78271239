/* Verdicts that were found, by schema node and value, so that a schema whose parts refer to each other cannot
 * ask the same question again and again. One thread at a time. */
#ifndef TOOLS_SCHEMA_MEMO_H
#define TOOLS_SCHEMA_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero at first. A full table, or no memory for it, only means that later verdicts are not kept. */
struct schema_memo {
    uint64_t *slots; /* node, value and verdict in one; 0: free */
    size_t n, cap;   /* cap is a power of two */
};

/* 1 passed, 0 failed, -1 not known. `node` is below 2^31. */
int schema_memo_get(const struct schema_memo *memo, uint32_t node, uint32_t value);
void schema_memo_put(struct schema_memo *memo, uint32_t node, uint32_t value, bool passed);
void schema_memo_finish(struct schema_memo *memo);

#endif
