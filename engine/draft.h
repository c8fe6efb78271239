/* Guesses at the next tokens of a timeline: what followed the last time that its end stood in it.
 *
 * An agent copies much: names and numbers of the prompt and of tool results, the calls it made before. So the
 * longest piece of the timeline that equals its end is looked for, and what stands behind it is the draft
 * (SuffixDecoding, arXiv 2411.04975, searches a suffix tree for the same; here it is chains of positions with
 * equal hashes of three tokens, as LZ77 compressors keep them). Nothing is promised of a draft: whoever uses
 * it computes it beside the real thing and throws it away where they differ. Private to engine/. One thread
 * at a time. */
#ifndef ENGINE_DRAFT_H
#define ENGINE_DRAFT_H

#include "base/err.h"

#include <stdint.h>

/* Tokens that must be equal at least, and up to which longer pieces are told apart. */
#define DRAFT_MATCH_MIN 3
#define DRAFT_MATCH_MAX 32

/* Zeroed: nothing indexed. */
struct draft {
    uint32_t n_slots; /* a power of two, or 0 */
    int32_t *last;    /* n_slots: the latest position of a hash, -1 for none; a piece's last token names it */
    int32_t *before;  /* by position: the one before with the same hash */
    int cap;          /* elements of `before` */
    int n;            /* tokens that are indexed */
};
void draft_finish(struct draft *d);

/* Takes the first n tokens of the timeline into the index; those it has already must not have changed.
 * -ENOMEM leaves it as it was. */
HX_MUST_CHECK int draft_index(struct draft *d, const int32_t *tokens, int n);
/* What may follow the n tokens: up to `most` ids into `out`. Returns their number, 0 for no guess; *matched:
 * how many tokens of the end stood there before (DRAFT_MATCH_MAX at most). */
int draft_find(const struct draft *d, const int32_t *tokens, int n, int32_t *out, int most, int *matched);

#endif
