/* Host memory for the content of KV pages that a device has no room for: the "elsewhere" of engine/pages.h.
 * Mapped, so memory is taken when a page first goes there. Private to engine/. [engine-thread] */
#ifndef ENGINE_HOST_PAGES_H
#define ENGINE_HOST_PAGES_H

#include "base/err.h"
#include "engine/forward.h"

#include <stddef.h>

struct host_pages;

/* Room for as many whole pages of the device as `bytes` holds, at most eight times the n_pages it has. *out
 * is NULL where that is none. -ENOMEM. */
HX_MUST_CHECK int host_pages_create(struct forward *f, int n_pages, size_t bytes, struct host_pages **out);
void host_pages_destroy(struct host_pages *h);
/* NULL: 0. */
int host_pages_count(const struct host_pages *h);
/* A pages_move; arg: the struct host_pages. */
HX_MUST_CHECK int host_pages_move(void *arg, int32_t to, int32_t from);

#endif
