/* Which pages a session holds: taken, shared, copied, given back, taken away. */
#include "engine/local.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int hold_pending(const struct local_session *s) {
    if (s->rests && !s->gen.running)
        return 0;
    return s->n_tokens - s->n_computed - (s->gen.running ? 0 : 1);
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

/* ---- what was computed before ---- */

/* The first n tokens were computed before. While older ones are owed yet, they keep their reason. */
static void know(struct local_session *s, int n, enum engine_miss why) {
    if (s->n_known > s->n_computed || n <= s->n_computed)
        return;
    s->n_known = n;
    s->known_why = why;
}

void hold_count(struct local_session *s) {
    int end = s->n_computed + s->n_rows, again = (end < s->n_known ? end : s->n_known) - s->n_computed;
    again = again > 0 ? again : 0;
    s->n_run += s->n_rows;
    s->missed[s->known_why] += again;
    if (s->n_at_once > again)
        s->missed[ENGINE_MISS_AT_ONCE] += s->n_at_once - again;
    s->n_at_once = 0;
}

/* The page before page i. */
static int32_t parent_of(const struct local_session *s, int i) {
    return i > 0 ? s->pages[i - 1] : PAGES_NONE;
}

/* Pages with the next tokens were there once, and gave way. */
static void recall(struct local_engine *e, struct local_session *s) {
    int i = s->n_computed / KERNELS_PAGE_TOKENS, first = i * KERNELS_PAGE_TOKENS;
    if (s->n_known > s->n_computed || s->n_published != i)
        return;
    int gone = pages_gave_way(e->pages, parent_of(s, i), s->tokens + first, s->n_tokens - first);
    know(s, first + gone, ENGINE_MISS_EVICTED);
}

/* ---- giving way ---- */

void hold_release(struct local_engine *e, struct local_session *s, enum engine_miss why) {
    int i = s->n_published, filled = s->n_computed - i * KERNELS_PAGE_TOKENS;
    bool left = why != ENGINE_MISS_FAILED && s->n_pages > i && filled > 0;
    if (s->n_computed >= s->n_known) {
        s->n_known = s->n_computed;
        s->known_why = why;
    }
    /* Last first, so that of the pages kept for later the beginnings, which more sessions share, are the
     * youngest. */
    while (s->n_pages > 0) {
        int32_t page = s->pages[--s->n_pages];
        if (left && s->n_pages == i)
            pages_leave(e->pages, page, parent_of(s, i), s->tokens + i * KERNELS_PAGE_TOKENS, filled);
        else
            pages_drop(e->pages, page);
    }
    s->n_published = s->n_computed = 0;
}

/* Of two sessions that wait, whether `a` loses its pages first: one that should have been back by now, or
 * whose return is not known, longest unused first; of those that will be, the one that takes longest. */
static bool goes_first(const struct local_session *a, const struct local_session *b, uint64_t now) {
    bool a_due = a->back_ns > now, b_due = b->back_ns > now;
    if (a_due != b_due)
        return b_due;
    return a_due ? a->back_ns > b->back_ns : a->used_ns < b->used_ns;
}

/* Frees pages for `s`: of sessions that wait first, else of the last one behind `s`. Their timelines are
 * computed again when they go on. False when there is none to take from. */
static bool reclaim(struct local_engine *e, const struct local_session *s) {
    struct local_session *idle = NULL, *last = NULL;
    uint64_t now = clock_mono_ns();
    for (struct local_session *other = e->sessions; other != NULL; other = other->next) {
        if (other == s || other->n_pages == 0 || other->n_rows > 0)
            continue;
        if (hold_pending(other) <= 0) {
            if (idle == NULL || goes_first(other, idle, now))
                idle = other;
        } else if (plan_before(s, other) && (last == NULL || plan_before(last, other))) {
            last = other;
        }
    }
    struct local_session *victim = idle != NULL ? idle : last;
    if (victim == NULL)
        return false;
    hold_release(e, victim, ENGINE_MISS_EVICTED);
    victim->rests = !victim->gen.running;
    return true;
}

/* What is elsewhere comes back only to a page of its own: of the session's next n tokens from its page i on,
 * when that is more than it has. */
static void make_room(struct local_engine *e, const struct local_session *s, int i, int n) {
    int first = i * KERNELS_PAGE_TOKENS;
    if (!pages_available(e->pages) &&
        pages_elsewhere(e->pages, parent_of(s, i), s->tokens + first, n, s->n_computed - first))
        (void)reclaim(e, s);
}

/* ---- sharing ---- */

static int common(const int32_t *a, const int32_t *b, int n) {
    int i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* Whether both have the same first i pages. */
static bool same_pages(const struct local_session *a, const struct local_session *b, int i) {
    return a->n_pages >= i && b->n_pages >= i && parent_of(a, i) == parent_of(b, i);
}

/* The page that has the most of the session's next n tokens behind its first i pages, with one more use:
 * published, left, or one that another session is filling. */
static int32_t find_part(struct local_engine *e, const struct local_session *s, int i, int n, int *matched) {
    const int32_t *tokens = s->tokens + i * KERNELS_PAGE_TOKENS;
    int32_t best = pages_find_part(e->pages, parent_of(s, i), tokens, n, matched);
    for (const struct local_session *o = e->sessions; o != NULL && *matched < n; o = o->next) {
        if (o == s || o->n_published > i || o->n_pages <= i || !same_pages(o, s, i))
            continue;
        int filled = o->n_computed - i * KERNELS_PAGE_TOKENS;
        int same = common(o->tokens + i * KERNELS_PAGE_TOKENS, tokens, filled < n ? filled : n);
        if (same <= *matched)
            continue;
        if (best != PAGES_NONE)
            pages_drop(e->pages, best);
        best = o->pages[i];
        pages_use(e->pages, best);
        *matched = same;
    }
    return best;
}

/* Puts what is in `from` into the session's page i; false where there is no page. The use of `from` is gone.
 * Where there is nothing else in it, or no other page, it is taken over instead of copied. */
static bool take_part(struct local_engine *e, struct local_session *s, int i, int32_t from, int matched) {
    bool next = s->n_pages == i; /* it has no page i yet */
    bool own = next && pages_claim(e->pages, from, matched);
    if (!own && hold_reserve(e, s, 1) == 1) {
        forward_copy_page(e->forward, s->pages[i], from);
        pages_drop(e->pages, from);
        return true;
    }
    own = own || (next && pages_claim(e->pages, from, KERNELS_PAGE_TOKENS));
    if (own)
        s->pages[s->n_pages++] = from;
    else
        pages_drop(e->pages, from);
    return own;
}

/* Takes over the beginning of the next page from one that has it, at most up to token `most`; the timeline
 * counts up to token `limit`. */
static void adopt_part(struct local_engine *e, struct local_session *s, int most, int limit) {
    int i = s->n_computed / KERNELS_PAGE_TOKENS, first = i * KERNELS_PAGE_TOKENS, matched = 0;
    int left = limit - first, n = left < KERNELS_PAGE_TOKENS ? left : KERNELS_PAGE_TOKENS;
    if (n <= 0 || most < s->n_computed)
        return;
    make_room(e, s, i, n);
    int32_t from = find_part(e, s, i, n, &matched);
    if (from == PAGES_NONE)
        return;
    int end = first + matched < most ? first + matched : most;
    if (end <= s->n_computed) {
        pages_drop(e->pages, from);
    } else {
        if (end > s->n_known) /* it is not its own of before */
            pages_share(e->pages, from, matched);
        s->n_computed = take_part(e, s, i, from, matched) ? end : s->n_computed;
    }
    if (s->n_computed == end)
        know(s, first + matched, ENGINE_MISS_LAST_TOKEN);
}

static void adopt_whole(struct local_engine *e, struct local_session *s, int most) {
    while (s->n_computed % KERNELS_PAGE_TOKENS == 0 &&
           s->n_computed / KERNELS_PAGE_TOKENS == s->n_published && s->n_pages == s->n_published &&
           s->n_computed + KERNELS_PAGE_TOKENS <= most && s->n_pages < s->pages_cap) {
        make_room(e, s, s->n_pages, KERNELS_PAGE_TOKENS);
        int32_t page = pages_find(e->pages, parent_of(s, s->n_pages), s->tokens + s->n_computed);
        if (page == PAGES_NONE)
            break;
        s->pages[s->n_pages++] = page;
        s->n_published++;
        s->n_computed += KERNELS_PAGE_TOKENS;
        if (s->n_computed > s->n_known) /* it is not its own of before */
            pages_share(e->pages, page, KERNELS_PAGE_TOKENS);
    }
}

void hold_adopt(struct local_engine *e, struct local_session *s) {
    int most = s->n_tokens - 1, before;
    do {
        before = s->n_computed;
        adopt_whole(e, s, most);
        adopt_part(e, s, most, s->n_tokens);
        hold_publish(e, s);
    } while (s->n_computed > before && s->n_computed % KERNELS_PAGE_TOKENS == 0);
    recall(e, s);
}

bool hold_waits(const struct local_engine *e, const struct local_session *s) {
    int i = s->n_computed / KERNELS_PAGE_TOKENS, first = i * KERNELS_PAGE_TOKENS;
    int need = s->n_computed + LOCAL_MIN_ROWS;
    if (need >= s->n_tokens)
        return false;
    for (const struct local_session *o = e->sessions; o != NULL; o = o->next)
        if (o != s && o->n_rows > 0 && o->n_computed + o->n_rows >= need && same_pages(o, s, i) &&
            common(o->tokens + first, s->tokens + first, need - first) == need - first)
            return true;
    return false;
}

void hold_see_at_once(const struct local_engine *e, struct local_session *s) {
    int i = s->n_computed / KERNELS_PAGE_TOKENS, first = i * KERNELS_PAGE_TOKENS;
    for (const struct local_session *o = e->sessions; o != NULL; o = o->next) {
        if (o == s || o->n_rows == 0 || !same_pages(o, s, i))
            continue;
        int end = s->n_computed + s->n_rows, other_end = o->n_computed + o->n_rows;
        int same =
            first + common(o->tokens + first, s->tokens + first, (other_end < end ? other_end : end) - first);
        if (same - s->n_computed > s->n_at_once)
            s->n_at_once = same - s->n_computed;
    }
}

void hold_publish(struct local_engine *e, struct local_session *s) {
    while ((s->n_published + 1) * KERNELS_PAGE_TOKENS <= s->n_computed) {
        int i = s->n_published;
        s->pages[i] =
            pages_publish(e->pages, s->pages[i], parent_of(s, i), s->tokens + i * KERNELS_PAGE_TOKENS);
        s->n_published++;
    }
}

/* ---- pages of its own ---- */

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

void hold_roll_back(struct local_engine *e, struct local_session *s, int n, bool changed) {
    if (n >= s->n_computed)
        return;
    if (changed && s->n_known > n)
        s->n_known = n;
    int computed = changed ? n : s->n_computed;
    if (n < s->n_published * KERNELS_PAGE_TOKENS) { /* others may be reading this page: go on from a copy */
        int keep = n / KERNELS_PAGE_TOKENS;
        while (s->n_pages > keep)
            pages_drop(e->pages, s->pages[--s->n_pages]);
        s->n_published = keep;
        s->n_computed = keep * KERNELS_PAGE_TOKENS;
        adopt_part(e, s, n, changed ? n : s->n_tokens);
    } else {
        s->n_computed = n;
    }
    know(s, computed, changed ? ENGINE_MISS_ROLLED_BACK : ENGINE_MISS_LAST_TOKEN);
}
