/* Which pages a session holds: taken, shared, given back, taken away. */
#include "engine/local.h"

#include <errno.h>
#include <stdlib.h>

void hold_release(struct local_engine *e, struct local_session *s) {
    /* Last first, so that of the pages kept for later the beginnings, which more sessions share, are the
     * youngest. */
    for (int i = s->n_pages - 1; i >= 0; i--)
        pages_drop(e->pages, s->pages[i]);
    s->n_pages = s->n_published = s->n_computed = 0;
}

/* Tokens to compute now. The last one of a timeline waits for a generation (or for more tokens), because its
 * logits are the first thing a generation needs. */
int hold_pending(const struct local_session *s) {
    if (s->evicted && !s->gen.running)
        return 0;
    return s->n_tokens - s->n_computed - (s->gen.running ? 0 : 1);
}

/* Takes published pages for tokens that others have computed already. */
void hold_adopt(struct local_engine *e, struct local_session *s) {
    while (s->n_computed % KERNELS_PAGE_TOKENS == 0 &&
           s->n_computed / KERNELS_PAGE_TOKENS == s->n_published && s->n_pages == s->n_published &&
           s->n_computed + KERNELS_PAGE_TOKENS < s->n_tokens && s->n_pages < s->pages_cap) {
        uint64_t parent = s->n_pages > 0 ? pages_serial(e->pages, s->pages[s->n_pages - 1]) : 0;
        int32_t page = pages_find(e->pages, parent, s->tokens + s->n_computed);
        if (page == PAGES_NONE)
            return;
        s->pages[s->n_pages++] = page;
        s->n_published++;
        s->n_computed += KERNELS_PAGE_TOKENS;
    }
}

/* Publishes the pages that a step has filled. */
void hold_publish(struct local_engine *e, struct local_session *s) {
    while ((s->n_published + 1) * KERNELS_PAGE_TOKENS <= s->n_computed) {
        int i = s->n_published;
        uint64_t parent = i > 0 ? pages_serial(e->pages, s->pages[i - 1]) : 0;
        s->pages[i] = pages_publish(e->pages, s->pages[i], parent, s->tokens + i * KERNELS_PAGE_TOKENS);
        s->n_published++;
    }
}

/* Frees pages for `s`: of sessions that wait first (longest unused first), else of the youngest that came
 * after `s`. Their timelines are computed again when they go on. False when there is none to take from. */
static bool reclaim(struct local_engine *e, const struct local_session *s) {
    struct local_session *idle = NULL, *young = NULL;
    for (struct local_session *other = e->sessions; other != NULL; other = other->next) {
        if (other == s || other->n_pages == 0 || other->n_rows > 0)
            continue;
        if (hold_pending(other) <= 0) {
            if (idle == NULL || other->used_ns < idle->used_ns)
                idle = other;
        } else if (other->order > s->order && (young == NULL || other->order > young->order)) {
            young = other;
        }
    }
    struct local_session *victim = idle != NULL ? idle : young;
    if (victim == NULL)
        return false;
    hold_release(e, victim);
    victim->evicted = !victim->gen.running;
    return true;
}

/* Makes pages for n_computed + n positions; returns how many of the n got one. */
int hold_reserve(struct local_engine *e, struct local_session *s, int n) {
    int need = (s->n_computed + n + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS;
    while (s->n_pages < need) {
        int32_t page = pages_take(e->pages);
        if (page != PAGES_NONE)
            s->pages[s->n_pages++] = page;
        else if (!reclaim(e, s))
            break;
    }
    int room = s->n_pages * KERNELS_PAGE_TOKENS - s->n_computed;
    return room < n ? room : n;
}

/* What was computed from token n on does not count any more. */
void hold_roll_back(struct local_engine *e, struct local_session *s, int n) {
    if (n < s->n_published * KERNELS_PAGE_TOKENS) { /* others may be reading this page */
        int keep = n / KERNELS_PAGE_TOKENS;
        while (s->n_pages > keep)
            pages_drop(e->pages, s->pages[--s->n_pages]);
        s->n_published = keep;
        n = keep * KERNELS_PAGE_TOKENS;
    }
    s->n_computed = s->n_computed < n ? s->n_computed : n;
}

int hold_table(struct local_engine *e, struct local_session *s) {
    if (s->pages_cap > 0)
        return 0;
    s->pages = calloc((size_t)e->step.tables_stride, sizeof *s->pages);
    if (s->pages == NULL)
        return -ENOMEM;
    s->pages_cap = e->step.tables_stride;
    return 0;
}
