#include "engine/pages.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct page {
    int uses;
    uint64_t serial; /* 0: not published */
    uint64_t parent;
    uint64_t hash;
    int32_t bucket_next;  /* in its hash chain */
    int32_t newer, older; /* in the list of unused published pages */
    int32_t tokens[KERNELS_PAGE_TOKENS];
};

struct pages {
    int n_pages, n_used;
    struct page *pages;
    int32_t *free; /* stack of pages without content */
    int n_free;
    int32_t *buckets; /* n_buckets, a power of two */
    uint32_t n_buckets;
    int32_t newest, oldest; /* unused published pages */
    uint64_t last_serial;
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
    if (p->pages == NULL || p->free == NULL || p->buckets == NULL) {
        pages_destroy(p);
        return NULL;
    }
    for (uint32_t i = 0; i < p->n_buckets; i++)
        p->buckets[i] = PAGES_NONE;
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
    free(p);
}

/* FNV-1a over the parent and the tokens; equality is checked in full, so this only spreads. */
static uint64_t hash_of(uint64_t parent, const int32_t *tokens) {
    uint64_t h = 0xCBF29CE484222325u ^ parent;
    for (int i = 0; i < KERNELS_PAGE_TOKENS; i++)
        h = (h ^ (uint32_t)tokens[i]) * 0x100000001B3u;
    return h ^ h >> 29;
}

static int32_t *bucket_of(struct pages *p, uint64_t hash) {
    return &p->buckets[hash & (p->n_buckets - 1)];
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

static void forget(struct pages *p, int32_t id) {
    struct page *page = &p->pages[id];
    int32_t *link = bucket_of(p, page->hash);
    while (*link != id)
        link = &p->pages[*link].bucket_next;
    *link = page->bucket_next;
    page->serial = 0;
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
    p->n_used++;
    return id;
}

void pages_drop(struct pages *p, int32_t id) {
    struct page *page = &p->pages[id];
    assert(page->uses > 0);
    if (--page->uses > 0)
        return;
    p->n_used--;
    if (page->serial != 0)
        unused_add(p, id);
    else
        p->free[p->n_free++] = id;
}

uint64_t pages_serial(const struct pages *p, int32_t page) {
    return p->pages[page].serial;
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

static void use(struct pages *p, int32_t id) {
    if (p->pages[id].uses++ == 0) {
        unused_remove(p, id);
        p->n_used++;
    }
}

int32_t pages_find(struct pages *p, uint64_t parent, const int32_t *tokens) {
    int32_t id = find(p, hash_of(parent, tokens), parent, tokens);
    if (id != PAGES_NONE)
        use(p, id);
    return id;
}

int32_t pages_publish(struct pages *p, int32_t id, uint64_t parent, const int32_t *tokens) {
    uint64_t hash = hash_of(parent, tokens);
    int32_t same = find(p, hash, parent, tokens);
    if (same != PAGES_NONE) {
        use(p, same);
        pages_drop(p, id);
        return same;
    }
    struct page *page = &p->pages[id];
    page->serial = ++p->last_serial;
    page->parent = parent;
    page->hash = hash;
    memcpy(page->tokens, tokens, sizeof page->tokens);
    int32_t *bucket = bucket_of(p, hash);
    page->bucket_next = *bucket;
    *bucket = id;
    return id;
}

int pages_in_use(const struct pages *p) {
    return p->n_used;
}

int pages_total(const struct pages *p) {
    return p->n_pages;
}
