/* Which KV page belongs to whom.
 *
 * A page holds 64 positions. A page whose 64 tokens are all computed can be published: it is then found by
 * the same tokens after the same earlier pages, so sessions with equal beginnings share it. "The same earlier
 * pages" is the serial number of the page before it, given anew with every publication, so equality is exact
 * and not a matter of hashes. A published page that nobody uses any more keeps its content until its memory
 * is needed, longest unused first. */
#ifndef ENGINE_PAGES_H
#define ENGINE_PAGES_H

#include "base/err.h"
#include "kernels/kernels.h"

#include <stdint.h>

#define PAGES_NONE (-1)

struct pages;

/* n_pages page numbers 0 … n_pages-1, all free. NULL when memory is out. */
struct pages *pages_create(int n_pages);
void pages_destroy(struct pages *p);

/* A page for one user, content undefined; PAGES_NONE when all are in use. Low numbers first. */
int32_t pages_take(struct pages *p);
/* Gives one use back. */
void pages_drop(struct pages *p, int32_t page);

/* Serial of a published page, 0 for any other. The parent of a first page is 0. */
uint64_t pages_serial(const struct pages *p, int32_t page);
/* The published page of these 64 tokens after `parent`, with one more use; or PAGES_NONE. */
int32_t pages_find(struct pages *p, uint64_t parent, const int32_t *tokens);
/* Publishes `page` (in use by the caller alone, computed whole). When an equal one exists already, the
 * caller's use moves to that one and `page` is dropped. Returns the page that the caller uses from now on. */
int32_t pages_publish(struct pages *p, int32_t page, uint64_t parent, const int32_t *tokens);

/* Pages in use, and free pages (those kept for later counted in). */
int pages_in_use(const struct pages *p);
int pages_total(const struct pages *p);

#endif
