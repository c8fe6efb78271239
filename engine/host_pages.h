/* Host memory for the content of KV pages that a device has no room for: the `away` of engine/pages.h.
 * Private to engine/. [engine-thread] */
#ifndef ENGINE_HOST_PAGES_H
#define ENGINE_HOST_PAGES_H

#include "base/err.h"
#include "engine/forward.h"
#include "engine/pages.h"

#include <stddef.h>

struct host_pages;

/* Memory that a device can copy to beside its steps is taken in pieces of this size, or of one page. */
#define HOST_PAGES_AT_ONCE ((size_t)64 << 20)

/* Room for as many whole pages of the device as `bytes` holds, at most eight times the n_pages it has. *out
 * is NULL where that is none. Memory is taken when pages first go there: where the device queues its copies,
 * `at_once` bytes of it, the first of them now; else a page. -ENOMEM. */
HX_MUST_CHECK int host_pages_create(struct forward *f, int n_pages, size_t bytes, size_t at_once,
                                    struct host_pages **out);
void host_pages_destroy(struct host_pages *h);
/* How pages find it; NULL: it has no place. Where the device queues its copies, a failure of one comes with
 * its next batch. */
struct pages_store host_pages_store(struct host_pages *h);

#endif
