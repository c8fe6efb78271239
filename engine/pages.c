#include "engine/pages.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Pages that are looked at for a common beginning. */
#define MAX_CANDIDATES 256

struct page {
    int uses;
    int n_tokens;    /* of `tokens`; 0: not published */
    int shared;      /* of these, how many another user has taken over */
    uint64_t stamp;  /* of its last use */
    int32_t before;  /* page of the parent, while that has the parent's serial */
    uint64_t serial; /* of a published page that is full, else 0 */
    uint64_t parent; /* serial */
    uint64_t chain;
    uint64_t hash;        /* of parent and tokens */
    int32_t bucket_next;  /* in its hash chain; full pages */
    int32_t begin_next;   /* in the chain of parent and first token */
    int32_t newer, older; /* in the list of unused published pages */
    int32_t tokens[KERNELS_PAGE_TOKENS];
};

struct pages {
    int n_pages, n_used;
    struct page *pages;
    int32_t *free; /* stack of pages without content */
    int n_free;
    int32_t *buckets; /* n_buckets, a power of two */
    int32_t *begins;  /* the same number */
    uint32_t n_buckets;
    uint64_t *gone; /* n_gone, a power of two: chains of pages that gave way, by their lowest bits */
    uint32_t n_gone;
    int32_t newest, oldest; /* unused published pages */
    uint64_t last_serial, last_stamp;
};

struct pages *pages_create(int n_pages) {
    struct pages *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->n_pages = n_pages;
    p->n_buckets = 16;
    while (p->n_buckets < (uint32_t)n_pages)
        p->n_buckets *= 2;
    p->pages = calloc((size_t)n_pages, sizeof *p->pages);
    p->free = calloc((size_t)n_pages, sizeof *p->free);
    p->buckets = malloc(p->n_buckets * sizeof *p->buckets);
    p->begins = malloc(p->n_buckets * sizeof *p->begins);
    p->n_gone = p->n_buckets < 256 ? 4096 : p->n_buckets * 16;
    p->gone = calloc(p->n_gone, sizeof *p->gone);
    if (p->pages == NULL || p->free == NULL || p->buckets == NULL || p->begins == NULL || p->gone == NULL) {
        pages_destroy(p);
        return NULL;
    }
    for (uint32_t i = 0; i < p->n_buckets; i++)
        p->buckets[i] = p->begins[i] = PAGES_NONE;
    for (int i = n_pages - 1; i >= 0; i--)
        p->free[p->n_free++] = i;
    p->newest = p->oldest = PAGES_NONE;
    return p;
}

void pages_destroy(struct pages *p) {
    if (p == NULL)
        return;
    free(p->pages);
    free(p->free);
    free(p->buckets);
    free(p->begins);
    free(p->gone);
    free(p);
}

/* FNV-1a over a start and tokens, ids as 32-bit units. */
static uint64_t hash_of(uint64_t from, const int32_t *tokens, int n) {
    uint64_t h = 0xCBF29CE484222325u ^ from;
    for (int i = 0; i < n; i++)
        h = (h ^ (uint32_t)tokens[i]) * 0x100000001B3u;
    return h ^ h >> 29;
}

static int32_t *bucket_of(struct pages *p, uint64_t hash) {
    return &p->buckets[hash & (p->n_buckets - 1)];
}

static int32_t *begin_of(struct pages *p, uint64_t parent, int32_t token) {
    return &p->begins[hash_of(parent, &token, 1) & (p->n_buckets - 1)];
}

uint64_t pages_chain(const struct pages *p, int32_t page) {
    return page != PAGES_NONE ? p->pages[page].chain : 0;
}

uint64_t pages_chain_next(uint64_t chain, const int32_t *tokens) {
    return hash_of(chain, tokens, KERNELS_PAGE_TOKENS);
}

bool pages_gave_way(const struct pages *p, uint64_t chain) {
    return p->gone[chain & (p->n_gone - 1)] == chain;
}

static uint64_t serial_of(const struct pages *p, int32_t page) {
    return page != PAGES_NONE ? p->pages[page].serial : 0;
}

static void unused_remove(struct pages *p, int32_t id) {
    struct page *page = &p->pages[id];
    if (page->newer == PAGES_NONE)
        p->newest = page->older;
    else
        p->pages[page->newer].older = page->older;
    if (page->older == PAGES_NONE)
        p->oldest = page->newer;
    else
        p->pages[page->older].newer = page->newer;
}

static void unused_add(struct pages *p, int32_t id) {
    struct page *page = &p->pages[id];
    page->newer = PAGES_NONE;
    page->older = p->newest;
    if (p->newest == PAGES_NONE)
        p->oldest = id;
    else
        p->pages[p->newest].newer = id;
    p->newest = id;
}

static void unlink_page(struct pages *p, int32_t *link, int32_t id, bool begin) {
    while (*link != id)
        link = begin ? &p->pages[*link].begin_next : &p->pages[*link].bucket_next;
    *link = begin ? p->pages[id].begin_next : p->pages[id].bucket_next;
}

static void forget(struct pages *p, int32_t id) {
    struct page *page = &p->pages[id];
    unlink_page(p, begin_of(p, page->parent, page->tokens[0]), id, true);
    if (page->serial != 0) {
        unlink_page(p, bucket_of(p, page->hash), id, false);
        p->gone[page->chain & (p->n_gone - 1)] = page->chain;
    }
    page->serial = 0;
    page->n_tokens = 0;
}

int32_t pages_take(struct pages *p) {
    int32_t id;
    if (p->n_free > 0) {
        id = p->free[--p->n_free];
    } else if (p->oldest != PAGES_NONE) {
        id = p->oldest;
        unused_remove(p, id);
        forget(p, id);
    } else {
        return PAGES_NONE;
    }
    p->pages[id].uses = 1;
    p->pages[id].shared = 0;
    p->n_used++;
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
        p->free[p->n_free++] = id;
}

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

int32_t pages_find(struct pages *p, int32_t parent, const int32_t *tokens) {
    uint64_t serial = serial_of(p, parent);
    int32_t id = find(p, hash_of(serial, tokens, KERNELS_PAGE_TOKENS), serial, tokens);
    if (id != PAGES_NONE)
        pages_use(p, id);
    return id;
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
    int32_t id = find_part(p, serial_of(p, parent), tokens, n, matched);
    if (id != PAGES_NONE)
        pages_use(p, id);
    return id;
}

/* What a published page has of its tokens, and its place among those that begin alike. */
static void describe(struct pages *p, int32_t id, int32_t before, const int32_t *tokens, int n) {
    struct page *page = &p->pages[id];
    uint64_t parent = serial_of(p, before);
    int32_t *begin = begin_of(p, parent, tokens[0]);
    page->parent = parent;
    page->before = before;
    page->n_tokens = n;
    memcpy(page->tokens, tokens, (size_t)n * sizeof *tokens);
    page->begin_next = *begin;
    *begin = id;
}

int32_t pages_publish(struct pages *p, int32_t id, int32_t parent, const int32_t *tokens) {
    uint64_t serial = serial_of(p, parent), hash = hash_of(serial, tokens, KERNELS_PAGE_TOKENS);
    int32_t same = find(p, hash, serial, tokens);
    if (same != PAGES_NONE) {
        pages_use(p, same);
        pages_share(p, same, KERNELS_PAGE_TOKENS);
        pages_drop(p, id);
        return same;
    }
    struct page *page = &p->pages[id];
    describe(p, id, parent, tokens, KERNELS_PAGE_TOKENS);
    page->serial = ++p->last_serial;
    page->chain = pages_chain_next(pages_chain(p, parent), tokens);
    page->hash = hash;
    int32_t *bucket = bucket_of(p, hash);
    page->bucket_next = *bucket;
    *bucket = id;
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

struct listing {
    const struct pages *p;
    struct pages_kept *list;
    int n, most;
    int *index; /* of each page in the list; -1: not in it */
};

/* Whether all pages before this one are there; *n: those that are not listed yet, itself included. */
static bool is_whole(const struct listing *l, int32_t id, int *n) {
    for (*n = 0; l->index[id] < 0; (*n)++) {
        const struct page *page = &l->p->pages[id];
        if (page->parent == 0) {
            (*n)++;
            return true;
        }
        if (page->before == PAGES_NONE || l->p->pages[page->before].serial != page->parent)
            return false;
        id = page->before;
    }
    return true;
}

/* Lists the n pages that end with this one, in their order. */
static void add_chain(struct listing *l, int32_t id, int n, int n_tokens) {
    int at = l->n + n - 1;
    l->n += n;
    for (; n > 0; n--, at--) {
        const struct page *page = &l->p->pages[id];
        int before = page->parent == 0 ? -1 : n > 1 ? at - 1 : l->index[page->before];
        l->list[at] = (struct pages_kept){id, before, n_tokens, page->tokens};
        l->index[id] = at;
        if (before >= 0)
            l->list[before].n_tokens = KERNELS_PAGE_TOKENS;
        n_tokens = KERNELS_PAGE_TOKENS;
        id = page->before;
    }
}

struct stamped {
    uint64_t stamp;
    int32_t page;
};

static int compare_stamps(const void *a, const void *b) {
    const struct stamped *x = a, *y = b;
    return (x->stamp < y->stamp) - (x->stamp > y->stamp);
}

int pages_shared(const struct pages *p, struct pages_kept *list, int most) {
    struct listing l = {.p = p, .list = list, .most = most};
    struct stamped *order = calloc((size_t)p->n_pages, sizeof *order);
    int n_order = 0, n = 0;
    l.index = calloc((size_t)p->n_pages, sizeof *l.index);
    if (order == NULL || l.index == NULL) {
        free(order);
        free(l.index);
        return -ENOMEM;
    }
    for (int32_t i = 0; i < p->n_pages; i++) {
        l.index[i] = -1;
        if (p->pages[i].n_tokens > 0 && p->pages[i].shared > 0)
            order[n_order++] = (struct stamped){p->pages[i].stamp, i};
    }
    qsort(order, (size_t)n_order, sizeof *order, compare_stamps);
    for (int i = 0; i < n_order; i++) {
        const struct page *page = &p->pages[order[i].page];
        if (is_whole(&l, order[i].page, &n) && n > 0 && l.n + n <= most)
            add_chain(&l, order[i].page, n, page->shared < page->n_tokens ? page->shared : page->n_tokens);
    }
    free(order);
    free(l.index);
    return l.n;
}

int pages_in_use(const struct pages *p) {
    return p->n_used;
}

int pages_total(const struct pages *p) {
    return p->n_pages;
}
