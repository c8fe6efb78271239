/* Which pages gave way: a hash of all tokens up to the end of each. Private to engine/pages.c and its tests.
 *
 * A table of fixed size, in sets of eight, where the newest pushes out the oldest: of pages that gave way 95
 * of 100 are known yet when half as many more have as the table has entries, and 45 when as many have. */
#ifndef ENGINE_GONE_H
#define ENGINE_GONE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct gone {
    uint64_t *chains; /* 0: none */
    uint32_t n;       /* a power of two */
};

/* `n`: a power of two, 8 at least. -ENOMEM. */
HX_MUST_CHECK int gone_init(struct gone *g, uint32_t n);
void gone_finish(struct gone *g);
void gone_add(struct gone *g, uint64_t chain);
bool gone_has(const struct gone *g, uint64_t chain);

#endif
