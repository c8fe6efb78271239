/* Which KV page belongs to whom.
 *
 * A page holds 64 positions. A page whose 64 tokens are all computed can be published: it is then found by
 * the same tokens after the same earlier pages, so sessions with equal beginnings share it. "The same earlier
 * pages" is the serial number of the page before it, given anew with every publication, so equality is exact
 * and not a matter of hashes. A published page that nobody uses any more keeps its content until its memory
 * is needed, longest unused first. So does the last page of a session that is over, as far as it is filled:
 * others copy what they have in common with it.
 *
 * With a place for them elsewhere (host memory, where pages are a GPU's), pages that give way go there,
 * longest unused first, and are brought back when they are found again. So are those that were entered as the
 * content of a store that nothing is written to (a file of an earlier process): they take no page before
 * somebody wants them, and when they give way they are found there as before.
 *
 * Of pages that gave way, published or left, a hash of all tokens up to their end is kept, so that it can be
 * counted how often they would have been needed again. What that does not know: the beginning of a page of
 * which the rest is not wanted, at most 63 tokens of a prompt; and what was pushed out. There are 16 to 32
 * entries for each page, those of both stores too, and PAGES_GONE_LEAST at least (engine/gone.h). Nothing
 * outlives the process. */
#ifndef ENGINE_PAGES_H
#define ENGINE_PAGES_H

#include "base/err.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stdint.h>

#define PAGES_NONE       (-1)
#define PAGES_GONE_LEAST 4096

struct pages;

/* Where content of pages is kept elsewhere, in places 0 … n-1. Each copies one page: 0, or a negative errno,
 * and the content is lost. */
struct pages_store {
    int n;
    void *arg;
    int (*put)(void *arg, int32_t place, int32_t page);
    int (*get)(void *arg, int32_t page, int32_t place);
};

/* n_pages page numbers 0 … n_pages-1, all free; `away` takes what gives way, `kept` has what is entered and
 * is never put to (each NULL: there is none; copied). NULL when memory is out. */
struct pages *pages_create(int n_pages, const struct pages_store *away, const struct pages_store *kept);
void pages_destroy(struct pages *p);

/* A page for one user, content undefined; PAGES_NONE when all are in use. Low numbers first. */
int32_t pages_take(struct pages *p);
/* Whether pages_take() would give one. A page that is elsewhere is found only where it would. */
bool pages_available(const struct pages *p);
/* One more use of a page that is in use or published. */
void pages_use(struct pages *p, int32_t page);
/* Gives one use back. */
void pages_drop(struct pages *p, int32_t page);

/* Before all else: place `place` of `kept` holds the first n tokens behind those of place `parent` (-1: it is
 * a first page). They count as shared, and as used before all that is used from now on, place 0 last. False
 * where it is not found: an earlier place has the same, or `parent` is not full and found itself. */
bool pages_enter(struct pages *p, int place, int parent, const int32_t *tokens, int n);

/* In what follows `parent` is the published page before, in use by the caller; PAGES_NONE for a first page.
 */

/* The published page of these 64 tokens after `parent`, with one more use; or PAGES_NONE. */
int32_t pages_find(struct pages *p, int32_t parent, const int32_t *tokens);
/* The page after `parent` that begins with the most of these n tokens, with one more use, and how many in
 * *matched (at least one); or PAGES_NONE. Of pages that begin with the same token 256 are looked at, those
 * published or left last. Its content may be copied, not shared. */
int32_t pages_find_part(struct pages *p, int32_t parent, const int32_t *tokens, int n, int *matched);
/* Whether these n tokens after `parent` are found elsewhere, so that pages_find() and pages_find_part() need
 * a page for them; more of them than `than`. */
bool pages_elsewhere(struct pages *p, int32_t parent, const int32_t *tokens, int n, int than);
/* Makes a page that was left, that the caller alone uses and that has at most n tokens, the caller's own
 * again, which nobody finds. False when it is none of that. */
bool pages_claim(struct pages *p, int32_t page, int n);
/* Publishes `page` (in use by the caller alone, computed whole). When an equal one exists already, the
 * caller's use moves to that one and `page` is dropped. Returns the page that the caller uses from now on. */
int32_t pages_publish(struct pages *p, int32_t page, int32_t parent, const int32_t *tokens);
/* Gives back `page` (in use by the caller alone, its first n positions computed, n < 64) and lets
 * pages_find_part() find it. */
void pages_leave(struct pages *p, int32_t page, int32_t parent, const int32_t *tokens, int n);

/* Another user took over the first n tokens of the page: they are no single session's. */
void pages_share(struct pages *p, int32_t page, int n);
/* A page of which the first n_tokens are shared, and the page before it. */
struct pages_kept {
    int32_t page;  /* PAGES_NONE: it is in no page */
    int32_t place; /* of `kept`, where it is or was found; -1: it was not entered */
    bool used;     /* since it was entered */
    int parent;    /* index in the list; -1: none */
    int n_tokens;
    const int32_t *tokens; /* the page's */
};
/* The shared pages that `away` has not got, with those before them, at most `most`, those used last first,
 * but each behind the one before it. Returns how many, or -ENOMEM. */
HX_MUST_CHECK int pages_shared(const struct pages *p, struct pages_kept *list, int most);

/* How many of these n tokens after `parent` pages had that gave way, as far as it is remembered. */
int pages_gave_way(const struct pages *p, int32_t parent, const int32_t *tokens, int n);

/* Pages in use, and all; those that `away` has. */
int pages_far(const struct pages *p);
int pages_in_use(const struct pages *p);
int pages_total(const struct pages *p);

#endif
