#include "engine/pages.h"

#include "engine/gone.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Pages that are looked at for a common beginning. */
#define MAX_CANDIDATES 256

struct page {
    int uses;
    int32_t home;    /* number of its place in `kept`; 0: it has none */
    int n_tokens;    /* of `tokens`; 0: not published */
    int shared;      /* of these, how many another user has taken over */
    uint64_t stamp;  /* of its last use */
    uint64_t serial; /* of a published page that is full, else 0 */
    uint64_t parent; /* serial */
    uint64_t chain;
    uint64_t hash;        /* of parent and tokens */
    int32_t bucket_next;  /* in its hash chain; full pages */
    int32_t begin_next;   /* in the chain of parent and first token */
    int32_t newer, older; /* in the list of unused published pages */
    int32_t tokens[KERNELS_PAGE_TOKENS];
};

/* Unused pages with content. Those of `kept` are in none: they do not give way. */
struct list {
    int32_t newest, oldest;
};

/* Pages without content. */
struct stack {
    int32_t *ids;
    int n;
};

struct pages {
    int n_pages, n_all, n_used;
    struct pages_store away, kept;
    struct page *pages; /* n_pages, then those of `away`, then those of `kept` */
    struct stack free, far_free;
    struct list unused, far;
    int32_t *buckets; /* n_buckets, a power of two */
    int32_t *begins;  /* the same number */
    uint32_t n_buckets;
    struct gone gone;
    uint64_t last_serial, last_stamp;
};

/* Low numbers first. */
static int fill_stack(struct stack *s, int from, int n) {
    s->ids = calloc((size_t)n + 1, sizeof *s->ids);
    for (int i = n - 1; s->ids != NULL && i >= 0; i--)
        s->ids[s->n++] = from + i;
    return s->ids == NULL ? -ENOMEM : 0;
}

struct pages *pages_create(int n_pages, const struct pages_store *away, const struct pages_store *kept) {
    struct pages *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->away = away != NULL ? *away : (struct pages_store){0};
    p->kept = kept != NULL ? *kept : (struct pages_store){0};
    size_t n_all = (size_t)n_pages + (size_t)p->away.n + (size_t)p->kept.n;
    p->n_pages = n_pages;
    p->n_all = (int)n_all;
    p->last_stamp = (uint64_t)p->kept.n;
    p->n_buckets = 16;
    while (p->n_buckets < n_all)
        p->n_buckets *= 2;
    p->pages = calloc(n_all, sizeof *p->pages);
    p->buckets = malloc(p->n_buckets * sizeof *p->buckets);
    p->begins = malloc(p->n_buckets * sizeof *p->begins);
    uint32_t n_gone = p->n_buckets * 16 < PAGES_GONE_LEAST ? PAGES_GONE_LEAST : p->n_buckets * 16;
    if (p->pages == NULL || p->buckets == NULL || p->begins == NULL || gone_init(&p->gone, n_gone) < 0 ||
        fill_stack(&p->free, 0, n_pages) < 0 || fill_stack(&p->far_free, n_pages, p->away.n) < 0) {
        pages_destroy(p);
        return NULL;
    }
    for (uint32_t i = 0; i < p->n_buckets; i++)
        p->buckets[i] = p->begins[i] = PAGES_NONE;
    p->unused = p->far = (struct list){PAGES_NONE, PAGES_NONE};
    return p;
}

void pages_destroy(struct pages *p) {
    if (p == NULL)
        return;
    free(p->pages);
    free(p->free.ids);
    free(p->far_free.ids);
    free(p->buckets);
    free(p->begins);
    gone_finish(&p->gone);
    free(p);
}

/* FNV-1a over a start and tokens, ids as 32-bit units. */
static uint64_t hash_begin(uint64_t from) {
    return 0xCBF29CE484222325u ^ from;
}

static uint64_t hash_add(uint64_t h, int32_t token) {
    return (h ^ (uint32_t)token) * 0x100000001B3u;
}

static uint64_t hash_end(uint64_t h) {
    return h ^ h >> 29;
}

static uint64_t hash_of(uint64_t from, const int32_t *tokens, int n) {
    uint64_t h = hash_begin(from);
    for (int i = 0; i < n; i++)
        h = hash_add(h, tokens[i]);
    return hash_end(h);
}

static int32_t *bucket_of(struct pages *p, uint64_t hash) {
    return &p->buckets[hash & (p->n_buckets - 1)];
}

static int32_t *begin_of(struct pages *p, uint64_t parent, int32_t token) {
    return &p->begins[hash_of(parent, &token, 1) & (p->n_buckets - 1)];
}

/* Stands for all tokens up to the end of a published page; 0 for PAGES_NONE. */
static uint64_t chain_of(const struct pages *p, int32_t page) {
    return page != PAGES_NONE ? p->pages[page].chain : 0;
}

int pages_gave_way(const struct pages *p, int32_t parent, const int32_t *tokens, int n) {
    uint64_t chain = chain_of(p, parent), next;
    int known = 0;
    for (; known + KERNELS_PAGE_TOKENS <= n; known += KERNELS_PAGE_TOKENS, chain = next) {
        next = hash_of(chain, tokens + known, KERNELS_PAGE_TOKENS);
        if (!gone_has(&p->gone, next))
            break;
    }
    int first = known; /* from here on in a page that was not full */
    uint64_t h = hash_begin(chain);
    for (int i = first; i < n && i < first + KERNELS_PAGE_TOKENS - 1; i++) {
        h = hash_add(h, tokens[i]);
        known = gone_has(&p->gone, hash_end(h)) ? i + 1 : known;
    }
    return known;
}

static uint64_t serial_of(const struct pages *p, int32_t page) {
    return page != PAGES_NONE ? p->pages[page].serial : 0;
}

/* ---- unused pages ---- */

static bool is_elsewhere(const struct pages *p, int32_t id) {
    return id >= p->n_pages;
}

static int32_t first_kept(const struct pages *p) {
    return p->n_pages + p->away.n;
}

static bool is_kept(const struct pages *p, int32_t id) {
    return id >= first_kept(p);
}

static void unused_remove(struct pages *p, int32_t id) {
    struct page *page = &p->pages[id];
    struct list *l = is_elsewhere(p, id) ? &p->far : &p->unused;
    if (is_kept(p, id))
        return;
    if (page->newer == PAGES_NONE)
        l->newest = page->older;
    else
        p->pages[page->newer].older = page->older;
    if (page->older == PAGES_NONE)
        l->oldest = page->newer;
    else
        p->pages[page->older].newer = page->newer;
}

static void unused_add(struct pages *p, int32_t id) {
    struct page *page = &p->pages[id];
    struct list *l = is_elsewhere(p, id) ? &p->far : &p->unused;
    if (is_kept(p, id))
        return;
    page->newer = PAGES_NONE;
    page->older = l->newest;
    if (l->newest == PAGES_NONE)
        l->oldest = id;
    else
        p->pages[l->newest].newer = id;
    l->newest = id;
}

static int32_t *begin_link(struct pages *p, int32_t id) {
    int32_t *link = begin_of(p, p->pages[id].parent, p->pages[id].tokens[0]);
    while (*link != id)
        link = &p->pages[*link].begin_next;
    return link;
}

static int32_t *bucket_link(struct pages *p, int32_t id) {
    int32_t *link = bucket_of(p, p->pages[id].hash);
    while (*link != id)
        link = &p->pages[*link].bucket_next;
    return link;
}

static void forget(struct pages *p, int32_t id) {
    struct page *page = &p->pages[id];
    *begin_link(p, id) = page->begin_next;
    if (page->serial != 0)
        *bucket_link(p, id) = page->bucket_next;
    gone_add(&p->gone, page->chain);
    page->serial = 0;
    page->n_tokens = 0;
}

/* All that `from` stands for is at `to` from now on. */
static void relocate(struct pages *p, int32_t to, int32_t from) {
    struct page *page = &p->pages[from];
    *begin_link(p, from) = to;
    if (page->serial != 0)
        *bucket_link(p, from) = to;
    p->pages[to] = *page;
    page->serial = 0;
    page->n_tokens = 0;
}

/* What the page was found as is found in `kept` again. */
static void go_home(struct pages *p, int32_t id) {
    int32_t home = p->pages[id].home;
    relocate(p, home, id);
    p->pages[home].uses = 0;
}

/* Empties an unused page, which is in no list: its content goes elsewhere where there is a place. */
static void empty(struct pages *p, int32_t id) {
    if (p->pages[id].home != 0) {
        go_home(p, id);
        return;
    }
    if (p->far_free.n == 0 && p->far.oldest != PAGES_NONE) {
        int32_t oldest = p->far.oldest;
        unused_remove(p, oldest);
        forget(p, oldest);
        p->far_free.ids[p->far_free.n++] = oldest;
    }
    if (p->far_free.n == 0 ||
        p->away.put(p->away.arg, p->far_free.ids[p->far_free.n - 1] - p->n_pages, id) < 0) {
        forget(p, id);
        return;
    }
    int32_t to = p->far_free.ids[--p->far_free.n];
    relocate(p, to, id);
    unused_add(p, to);
}

bool pages_available(const struct pages *p) {
    return p->free.n > 0 || p->unused.oldest != PAGES_NONE;
}

int32_t pages_take(struct pages *p) {
    int32_t id = PAGES_NONE;
    if (p->free.n > 0) {
        id = p->free.ids[--p->free.n];
    } else if (p->unused.oldest != PAGES_NONE) {
        id = p->unused.oldest;
        unused_remove(p, id);
        empty(p, id);
    } else {
        return PAGES_NONE;
    }
    p->pages[id].uses = 1;
    p->pages[id].shared = 0;
    p->pages[id].home = 0;
    p->n_used++;
    return id;
}

/* Copies what is elsewhere to a page. */
static int get(struct pages *p, int32_t to, int32_t from) {
    return is_kept(p, from) ? p->kept.get(p->kept.arg, to, from - first_kept(p))
                            : p->away.get(p->away.arg, to, from - p->n_pages);
}

/* What is elsewhere, in a page with one use; or PAGES_NONE. */
static int32_t bring(struct pages *p, int32_t from) {
    unused_remove(p, from); /* so that it does not give way to what gives way for it */
    int32_t id = pages_take(p);
    if (id == PAGES_NONE) {
        unused_add(p, from);
        return PAGES_NONE;
    }
    if (get(p, id, from) < 0) {
        forget(p, from);
        pages_drop(p, id);
        id = PAGES_NONE;
    } else {
        relocate(p, id, from);
        p->pages[id].uses = 1;
        p->pages[id].stamp = ++p->last_stamp;
    }
    if (!is_kept(p, from))
        p->far_free.ids[p->far_free.n++] = from;
    return id;
}

void pages_drop(struct pages *p, int32_t id) {
    struct page *page = &p->pages[id];
    assert(page->uses > 0);
    page->stamp = ++p->last_stamp;
    if (--page->uses > 0)
        return;
    p->n_used--;
    if (page->n_tokens > 0)
        unused_add(p, id);
    else
        p->free.ids[p->free.n++] = id;
}

/* ---- finding ---- */

void pages_use(struct pages *p, int32_t id) {
    p->pages[id].stamp = ++p->last_stamp;
    if (p->pages[id].uses++ == 0) {
        unused_remove(p, id);
        p->n_used++;
    }
}

static int32_t find(struct pages *p, uint64_t hash, uint64_t parent, const int32_t *tokens) {
    int32_t id = *bucket_of(p, hash);
    for (; id != PAGES_NONE; id = p->pages[id].bucket_next) {
        const struct page *page = &p->pages[id];
        if (page->hash == hash && page->parent == parent &&
            memcmp(page->tokens, tokens, sizeof page->tokens) == 0)
            break;
    }
    return id;
}

static int32_t use_or_bring(struct pages *p, int32_t id) {
    if (id != PAGES_NONE && is_elsewhere(p, id))
        return bring(p, id);
    if (id != PAGES_NONE)
        pages_use(p, id);
    return id;
}

int32_t pages_find(struct pages *p, int32_t parent, const int32_t *tokens) {
    uint64_t serial = serial_of(p, parent);
    return use_or_bring(p, find(p, hash_of(serial, tokens, KERNELS_PAGE_TOKENS), serial, tokens));
}

/* Without a use. */
static int32_t find_part(struct pages *p, uint64_t parent, const int32_t *tokens, int n, int *matched) {
    int32_t best = PAGES_NONE, id = *begin_of(p, parent, tokens[0]);
    *matched = 0;
    for (int i = 0; id != PAGES_NONE && i < MAX_CANDIDATES && *matched < n;
         i++, id = p->pages[id].begin_next) {
        const struct page *page = &p->pages[id];
        int most = page->n_tokens < n ? page->n_tokens : n, same = 0;
        while (page->parent == parent && same < most && page->tokens[same] == tokens[same])
            same++;
        if (same > *matched) {
            best = id;
            *matched = same;
        }
    }
    return best;
}

int32_t pages_find_part(struct pages *p, int32_t parent, const int32_t *tokens, int n, int *matched) {
    *matched = 0;
    if (n <= 0)
        return PAGES_NONE;
    int32_t id = use_or_bring(p, find_part(p, serial_of(p, parent), tokens, n, matched));
    *matched = id != PAGES_NONE ? *matched : 0;
    return id;
}

bool pages_elsewhere(struct pages *p, int32_t parent, const int32_t *tokens, int n, int than) {
    uint64_t serial = serial_of(p, parent);
    int32_t id = PAGES_NONE;
    int matched = n;
    if (n == KERNELS_PAGE_TOKENS)
        id = find(p, hash_of(serial, tokens, n), serial, tokens);
    if (id == PAGES_NONE && n > 0)
        id = find_part(p, serial, tokens, n, &matched);
    return id != PAGES_NONE && is_elsewhere(p, id) && matched > than;
}

bool pages_claim(struct pages *p, int32_t id, int n) {
    struct page *page = &p->pages[id];
    if (page->uses != 1 || page->n_tokens == 0 || page->n_tokens > n || page->serial != 0)
        return false;
    if (page->home != 0)
        go_home(p, id);
    else
        forget(p, id);
    page->home = 0;
    return true;
}

/* What a published page has of its tokens, and its place among those that begin alike. */
static void describe(struct pages *p, int32_t id, int32_t parent, const int32_t *tokens, int n) {
    struct page *page = &p->pages[id];
    page->parent = serial_of(p, parent);
    page->chain = hash_of(chain_of(p, parent), tokens, n);
    int32_t *begin = begin_of(p, page->parent, tokens[0]);
    page->n_tokens = n;
    memcpy(page->tokens, tokens, (size_t)n * sizeof *tokens);
    page->begin_next = *begin;
    *begin = id;
}

/* The same of a full one, `hash` being that of all that. */
static void describe_full(struct pages *p, int32_t id, int32_t parent, const int32_t *tokens, uint64_t hash) {
    struct page *page = &p->pages[id];
    describe(p, id, parent, tokens, KERNELS_PAGE_TOKENS);
    page->serial = ++p->last_serial;
    page->hash = hash;
    int32_t *bucket = bucket_of(p, hash);
    page->bucket_next = *bucket;
    *bucket = id;
}

bool pages_enter(struct pages *p, int place, int parent, const int32_t *tokens, int n) {
    int32_t id = first_kept(p) + place, before = parent >= 0 ? first_kept(p) + parent : PAGES_NONE;
    uint64_t serial = serial_of(p, before), hash = hash_of(serial, tokens, n);
    bool full = n == KERNELS_PAGE_TOKENS;
    int matched = n;
    int32_t same = full ? find(p, hash, serial, tokens) : find_part(p, serial, tokens, n, &matched);
    if ((parent >= 0 && serial == 0) || (same != PAGES_NONE && matched == n))
        return false;
    if (full)
        describe_full(p, id, before, tokens, hash);
    else
        describe(p, id, before, tokens, n);
    p->pages[id].home = id;
    p->pages[id].shared = n;
    p->pages[id].stamp = (uint64_t)(p->kept.n - place);
    return true;
}

int32_t pages_publish(struct pages *p, int32_t id, int32_t parent, const int32_t *tokens) {
    uint64_t serial = serial_of(p, parent), hash = hash_of(serial, tokens, KERNELS_PAGE_TOKENS);
    int32_t same = find(p, hash, serial, tokens);
    if (same != PAGES_NONE && is_elsewhere(p, same)) { /* it is back, then, and pages behind it find it */
        unused_remove(p, same);
        relocate(p, id, same);
        p->pages[id].uses = 1;
        p->pages[id].stamp = ++p->last_stamp;
        if (!is_kept(p, same))
            p->far_free.ids[p->far_free.n++] = same;
        return id;
    }
    if (same != PAGES_NONE) {
        pages_use(p, same);
        pages_share(p, same, KERNELS_PAGE_TOKENS);
        pages_drop(p, id);
        return same;
    }
    describe_full(p, id, parent, tokens, hash);
    return id;
}

void pages_leave(struct pages *p, int32_t id, int32_t parent, const int32_t *tokens, int n) {
    int matched = 0;
    if (n > 0)
        (void)find_part(p, serial_of(p, parent), tokens, n, &matched);
    if (matched < n)
        describe(p, id, parent, tokens, n);
    pages_drop(p, id);
}

/* ---- what is shared ---- */

void pages_share(struct pages *p, int32_t page, int n) {
    if (n > p->pages[page].shared)
        p->pages[page].shared = n;
}

struct numbered {
    uint64_t number; /* stamp or serial */
    int32_t page;
};

struct listing {
    const struct pages *p;
    struct pages_kept *list;
    int n, most;
    int *index;               /* of each page in the list; -1: not in it */
    struct numbered *serials; /* of all full pages, ascending */
    int n_serials;
};

static int compare_numbers(const void *a, const void *b) {
    const struct numbered *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

/* The page before this one, which has one; PAGES_NONE: it is not there any more, or `away` has it. */
static int32_t page_before(const struct listing *l, int32_t id) {
    struct numbered wanted = {.number = l->p->pages[id].parent};
    const struct numbered *found =
        bsearch(&wanted, l->serials, (size_t)l->n_serials, sizeof wanted, compare_numbers);
    return found != NULL ? found->page : PAGES_NONE;
}

/* Whether all pages before this one are there; *n: those that are not listed yet, itself included. */
static bool is_whole(const struct listing *l, int32_t id, int *n) {
    for (*n = 0; l->index[id] < 0; (*n)++) {
        const struct page *page = &l->p->pages[id];
        if (page->parent == 0) {
            (*n)++;
            return true;
        }
        id = page_before(l, id);
        if (id == PAGES_NONE)
            return false;
    }
    return true;
}

/* Lists the n pages that end with this one, in their order. */
static void add_chain(struct listing *l, int32_t id, int n, int n_tokens) {
    int at = l->n + n - 1;
    l->n += n;
    for (; n > 0; n--, at--) {
        const struct page *page = &l->p->pages[id];
        int32_t before_id = page->parent == 0 ? PAGES_NONE : page_before(l, id);
        int before = before_id == PAGES_NONE ? -1 : n > 1 ? at - 1 : l->index[before_id];
        l->list[at] = (struct pages_kept){.page = is_kept(l->p, id) ? PAGES_NONE : id,
                                          .place = page->home != 0 ? page->home - first_kept(l->p) : -1,
                                          .used = page->home == 0 || page->stamp > (uint64_t)l->p->kept.n,
                                          .parent = before,
                                          .n_tokens = n_tokens,
                                          .tokens = page->tokens};
        l->index[id] = at;
        if (before >= 0)
            l->list[before].n_tokens = KERNELS_PAGE_TOKENS;
        n_tokens = KERNELS_PAGE_TOKENS;
        id = before_id;
    }
}

int pages_shared(const struct pages *p, struct pages_kept *list, int most) {
    size_t total = (size_t)p->n_all;
    struct listing l = {.p = p, .list = list, .most = most};
    struct numbered *stamps = calloc(total, sizeof *stamps);
    int n_stamps = 0, n = 0;
    l.index = calloc(total, sizeof *l.index);
    l.serials = calloc(total, sizeof *l.serials);
    bool enough = stamps != NULL && l.index != NULL && l.serials != NULL;
    for (int32_t i = 0; enough && i < p->n_all; i++) {
        const struct page *page = &p->pages[i];
        l.index[i] = -1;
        if (is_elsewhere(p, i) && !is_kept(p, i))
            continue;
        if (page->serial != 0)
            l.serials[l.n_serials++] = (struct numbered){page->serial, i};
        if (page->n_tokens > 0 && page->shared > 0)
            stamps[n_stamps++] = (struct numbered){page->stamp, i};
    }
    if (enough) {
        qsort(l.serials, (size_t)l.n_serials, sizeof *l.serials, compare_numbers);
        qsort(stamps, (size_t)n_stamps, sizeof *stamps, compare_numbers);
    }
    for (int i = n_stamps - 1; i >= 0; i--) {
        const struct page *page = &p->pages[stamps[i].page];
        if (is_whole(&l, stamps[i].page, &n) && n > 0 && l.n + n <= most)
            add_chain(&l, stamps[i].page, n, page->shared < page->n_tokens ? page->shared : page->n_tokens);
    }
    free(stamps);
    free(l.index);
    free(l.serials);
    return enough ? l.n : -ENOMEM;
}

int pages_far(const struct pages *p) {
    return p->away.n - p->far_free.n;
}

int pages_in_use(const struct pages *p) {
    return p->n_used;
}

int pages_total(const struct pages *p) {
    return p->n_pages;
}
