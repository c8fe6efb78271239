/* KV page bookkeeping: sharing is exact, unused pages are kept longest-unused-first, nothing is lost. */
#include "engine/gone.h"
#include "engine/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void fill(int32_t *tokens, int seed) {
    for (int i = 0; i < KERNELS_PAGE_TOKENS; i++)
        tokens[i] = seed * 1000 + i;
}

static void test_take_and_drop(void **state) {
    (void)state;
    struct pages *p = pages_create(3, NULL, NULL);
    assert_int_equal(pages_take(p), 0);
    assert_int_equal(pages_take(p), 1);
    assert_int_equal(pages_take(p), 2);
    assert_int_equal(pages_take(p), PAGES_NONE);
    assert_int_equal(pages_in_use(p), 3);
    pages_drop(p, 1);
    assert_int_equal(pages_take(p), 1);
    pages_destroy(p);
}

static void test_published_pages_are_found_by_tokens_and_parent(void **state) {
    (void)state;
    struct pages *p = pages_create(8, NULL, NULL);
    int32_t a[64], b[64];
    fill(a, 1);
    fill(b, 2);
    int32_t first = pages_publish(p, pages_take(p), PAGES_NONE, a);
    int32_t second = pages_publish(p, pages_take(p), first, b);
    assert_int_equal(pages_find(p, PAGES_NONE, b),
                     PAGES_NONE); /* the same tokens elsewhere are another page */
    assert_int_equal(pages_find(p, PAGES_NONE, a), first);
    assert_int_equal(pages_find(p, first, b), second);
    b[63]++;
    assert_int_equal(pages_find(p, first, b), PAGES_NONE);
    assert_int_equal(pages_in_use(p), 2);
    pages_destroy(p);
}

static void test_equal_page_published_twice_becomes_one(void **state) {
    (void)state;
    struct pages *p = pages_create(4, NULL, NULL);
    int32_t a[64];
    fill(a, 1);
    int32_t first = pages_publish(p, pages_take(p), PAGES_NONE, a), own = pages_take(p);
    assert_int_equal(pages_publish(p, own, PAGES_NONE, a), first);
    assert_int_equal(pages_in_use(p), 1);
    pages_drop(p, first);
    assert_int_equal(pages_in_use(p), 1);
    pages_drop(p, first);
    assert_int_equal(pages_in_use(p), 0);
    assert_int_equal(pages_find(p, PAGES_NONE, a), first); /* still there */
    pages_destroy(p);
}

static void test_longest_unused_goes_first(void **state) {
    (void)state;
    struct pages *p = pages_create(3, NULL, NULL);
    int32_t t[3][64], page[3];
    for (int i = 0; i < 3; i++) {
        fill(t[i], i);
        page[i] = pages_publish(p, pages_take(p), PAGES_NONE, t[i]);
    }
    pages_drop(p, page[1]);
    pages_drop(p, page[2]);
    pages_drop(p, page[0]);
    assert_int_equal(pages_find(p, PAGES_NONE, t[1]),
                     page[1]); /* used again, and dropped: now the youngest */
    pages_drop(p, page[1]);
    assert_int_equal(pages_take(p), page[2]);
    assert_int_equal(pages_find(p, PAGES_NONE, t[2]), PAGES_NONE);
    assert_int_equal(pages_take(p), page[0]);
    assert_int_equal(pages_take(p), page[1]);
    assert_int_equal(pages_take(p), PAGES_NONE);
    pages_destroy(p);
}

/* A child of a page that was forgotten and computed anew is not found: its parent has another serial. */
static void test_serials_are_never_reused(void **state) {
    (void)state;
    struct pages *p = pages_create(3, NULL, NULL);
    int32_t a[64], b[64], c[64];
    fill(a, 1);
    fill(b, 2);
    fill(c, 3);
    int32_t first = pages_publish(p, pages_take(p), PAGES_NONE, a);
    int32_t child = pages_publish(p, pages_take(p), first, b);
    int32_t third = pages_take(p);
    pages_drop(p, first);
    int32_t again = pages_take(p);
    assert_int_equal(again, first);
    again = pages_publish(p, again, PAGES_NONE, a);
    assert_int_equal(pages_find(p, again, b), PAGES_NONE);
    pages_drop(p, child);
    pages_drop(p, third);
    pages_destroy(p);
}

/* What a page has in common with other tokens is found, also in one that is not full; full ones that gave way
 * are remembered. */
static void test_beginnings_are_found(void **state) {
    (void)state;
    struct pages *p = pages_create(3, NULL, NULL);
    int32_t a[64], b[64], matched = 0;
    fill(a, 1);
    memcpy(b, a, sizeof b);
    b[40] = 7;
    int32_t first = pages_publish(p, pages_take(p), PAGES_NONE, a);
    assert_int_equal(pages_find_part(p, PAGES_NONE, b, 64, &matched), first);
    assert_int_equal(matched, 40);
    assert_int_equal(pages_find_part(p, PAGES_NONE, b, 30, &matched), first);
    assert_int_equal(matched, 30);
    assert_int_equal(pages_find_part(p, first, b, 64, &matched), PAGES_NONE); /* another place */
    assert_int_equal(matched, 0);
    pages_drop(p, first);
    pages_drop(p, first);

    int32_t second = pages_take(p);
    pages_leave(p, second, PAGES_NONE, b, 50);
    assert_int_equal(pages_in_use(p), 1);
    assert_int_equal(pages_find(p, PAGES_NONE, b), PAGES_NONE); /* not full: it is not shared */
    assert_int_equal(pages_find_part(p, PAGES_NONE, b, 64, &matched), second);
    assert_int_equal(matched, 50);
    assert_int_equal(pages_in_use(p), 2);
    pages_drop(p, second);
    int32_t third = pages_take(p); /* the last free one, though it was left again in vain */
    pages_leave(p, third, PAGES_NONE, b, 45);
    assert_int_equal(pages_take(p), third);

    assert_int_equal(pages_gave_way(p, PAGES_NONE, a, 64), 0);
    assert_int_equal(pages_gave_way(p, PAGES_NONE, b, 64), 0);
    assert_int_equal(pages_take(p), second); /* the one that was left has been unused longest */
    assert_int_equal(pages_gave_way(p, PAGES_NONE, b, 64), 50);
    assert_int_equal(pages_gave_way(p, PAGES_NONE, b, 49), 0);
    assert_int_equal(pages_gave_way(p, first, b, 64), 0);
    assert_int_equal(pages_find_part(p, PAGES_NONE, b, 64, &matched), first);
    assert_int_equal(matched, 40);
    pages_drop(p, first);
    pages_drop(p, first);
    assert_int_equal(pages_take(p), first);
    assert_int_equal(pages_gave_way(p, PAGES_NONE, a, 64), 64);
    assert_int_equal(pages_gave_way(p, PAGES_NONE, a, 63), 0);
    assert_int_equal(pages_find_part(p, PAGES_NONE, b, 64, &matched), PAGES_NONE);
    pages_destroy(p);
}

/* What is listed: shared pages and all before them, used last first, each behind its parent; not beyond the
 * number asked for, and none whose parent is gone. */
static void test_shared_pages_are_listed(void **state) {
    (void)state;
    struct pages *p = pages_create(8, NULL, NULL);
    struct pages_kept kept[8];
    int32_t a[64], b[64], c[64], d[64];
    fill(a, 1);
    fill(b, 2);
    fill(c, 3);
    fill(d, 4);
    int32_t first = pages_publish(p, pages_take(p), PAGES_NONE, a);
    int32_t second = pages_publish(p, pages_take(p), first, b), third = pages_take(p);
    pages_leave(p, third, second, c, 50);
    int32_t other = pages_publish(p, pages_take(p), PAGES_NONE, d);
    assert_int_equal(pages_shared(p, kept, 8), 0);
    pages_share(p, third, 20);
    pages_share(p, other, 40);
    pages_drop(p, other); /* used last */
    assert_int_equal(pages_shared(p, kept, 8), 4);
    const struct pages_kept want[] = {{.page = other, .parent = -1, .n_tokens = 40},
                                      {.page = first, .parent = -1, .n_tokens = 64},
                                      {.page = second, .parent = 1, .n_tokens = 64},
                                      {.page = third, .parent = 2, .n_tokens = 20}};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kept[i].place, -1);
        assert_true(kept[i].used);
        assert_int_equal(kept[i].page, want[i].page);
        assert_int_equal(kept[i].parent, want[i].parent);
        assert_int_equal(kept[i].n_tokens, want[i].n_tokens);
    }
    assert_memory_equal(kept[3].tokens, c, 20 * sizeof *c);
    assert_int_equal(pages_shared(p, kept, 3), 1); /* the chain of three is kept whole or not at all */
    pages_drop(p, first);
    for (int i = 0; i < 6; i++) /* all but the second page, which is in use, are forgotten */
        assert_true(pages_take(p) != PAGES_NONE);
    assert_int_equal(pages_take(p), first);
    assert_int_equal(pages_shared(p, kept, 8), 0);
    pages_destroy(p);
}

/* Pages, and places elsewhere, as numbers of what they hold. */
struct contents {
    int of[64], away[64], kept[64];
    int n_moves, n_gets, fail_at;
};

static int move(struct contents *c, int *to, const int *from) {
    if (++c->n_moves == c->fail_at)
        return -5;
    *to = *from;
    return 0;
}

static int put(void *arg, int32_t place, int32_t page) {
    struct contents *c = arg;
    return move(c, &c->away[place], &c->of[page]);
}

static int get(void *arg, int32_t page, int32_t place) {
    struct contents *c = arg;
    return move(c, &c->of[page], &c->away[place]);
}

static int get_kept(void *arg, int32_t page, int32_t place) {
    struct contents *c = arg;
    c->n_gets++;
    return move(c, &c->of[page], &c->kept[place]);
}

static struct pages *create(struct contents *c, int n_pages, int n_away, int n_kept) {
    const struct pages_store away = {.n = n_away, .arg = c, .put = put, .get = get};
    const struct pages_store kept = {.n = n_kept, .arg = c, .get = get_kept};
    struct pages *p = pages_create(n_pages, &away, &kept);
    assert_non_null(p);
    return p;
}

/* What gives way goes elsewhere and comes back with what it stands for; what has no place there is lost. */
static void test_elsewhere(void **state) {
    (void)state;
    struct contents c = {.n_moves = 0};
    struct pages *p = create(&c, 2, 2, 0);
    int32_t t[4][64], page[4], matched = 0;
    for (int i = 0; i < 4; i++)
        fill(t[i], i + 1);
    page[0] = pages_publish(p, pages_take(p), PAGES_NONE, t[0]);
    c.of[page[0]] = 100;
    page[1] = pages_take(p);
    c.of[page[1]] = 101;
    pages_leave(p, page[1], page[0], t[1], 30);
    pages_drop(p, page[0]);
    int32_t a = pages_take(p), b = pages_take(p); /* both give way */
    assert_int_equal(pages_far(p), 2);
    c.of[a] = c.of[b] = -1;
    assert_int_equal(pages_take(p), PAGES_NONE);
    assert_int_equal(pages_find(p, PAGES_NONE, t[0]), PAGES_NONE); /* there is no room to come back to */
    pages_drop(p, a);
    page[0] = pages_find(p, PAGES_NONE, t[0]);
    assert_int_equal(c.of[page[0]], 100);
    pages_drop(p, b);
    page[1] = pages_find_part(p, page[0], t[1], 64, &matched);
    assert_int_equal(matched, 30);
    assert_int_equal(c.of[page[1]], 101);
    assert_int_equal(pages_far(p), 0);
    pages_drop(p, page[1]);
    pages_drop(p, page[0]);

    /* Computed again while it is elsewhere: what stands behind it is found behind it. */
    a = pages_take(p);
    b = pages_take(p);
    assert_int_equal(pages_publish(p, a, PAGES_NONE, t[0]), a);
    assert_int_equal(pages_far(p), 1);
    pages_drop(p, b);
    assert_int_equal(pages_find_part(p, a, t[1], 64, &matched), b);
    assert_int_equal(c.of[b], 101);
    pages_drop(p, b);
    pages_drop(p, a);

    /* A move that fails loses its page and no other. */
    c.fail_at = c.n_moves + 1;
    a = pages_take(p);
    b = pages_take(p);
    assert_int_equal(pages_far(p), 1);
    pages_drop(p, a);
    pages_drop(p, b);
    page[0] = pages_find(p, PAGES_NONE, t[0]);
    assert_true(page[0] != PAGES_NONE);
    assert_int_equal(pages_find_part(p, page[0], t[1], 64, &matched), PAGES_NONE);
    assert_int_equal(matched, 0);
    pages_drop(p, page[0]);
    pages_destroy(p);
}

/* What was entered takes no page before it is wanted, costs no copy when it gives way, and is found again. */
static void test_kept(void **state) {
    (void)state;
    struct contents c = {.kept = {100, 101, 102, 103}};
    struct pages *p = create(&c, 2, 1, 6);
    int32_t t[5][64], page[3], matched = 0;
    for (int i = 0; i < 5; i++)
        fill(t[i], i + 1);
    assert_true(pages_enter(p, 0, -1, t[0], 64));
    assert_true(pages_enter(p, 1, 0, t[1], 64));
    assert_true(pages_enter(p, 2, 1, t[2], 30));
    assert_true(pages_enter(p, 3, -1, t[3], 64));
    assert_int_equal(pages_in_use(p), 0);
    assert_int_equal(c.n_gets, 0);
    assert_int_equal(pages_find(p, PAGES_NONE, t[1]), PAGES_NONE); /* it is behind another one */
    assert_true(pages_elsewhere(p, PAGES_NONE, t[0], 64, 63));
    assert_false(pages_elsewhere(p, PAGES_NONE, t[0], 50, 50));
    assert_false(pages_elsewhere(p, PAGES_NONE, t[4], 64, 0));

    page[0] = pages_find(p, PAGES_NONE, t[0]);
    page[1] = pages_find(p, page[0], t[1]);
    assert_int_equal(c.of[page[0]], 100);
    assert_int_equal(c.of[page[1]], 101);
    assert_false(pages_elsewhere(p, PAGES_NONE, t[0], 64, 0));
    assert_int_equal(pages_find(p, PAGES_NONE, t[0]), page[0]); /* the second one shares it */
    pages_drop(p, page[0]);
    assert_int_equal(c.n_gets, 2);
    assert_true(pages_elsewhere(p, page[1], t[2], 40, 0));
    assert_int_equal(pages_find_part(p, page[1], t[2], 40, &matched), PAGES_NONE); /* no page is left */

    /* Both give way, without a copy, and come back. */
    pages_drop(p, page[1]);
    pages_drop(p, page[0]);
    int32_t a = pages_take(p), b = pages_take(p);
    c.of[a] = c.of[b] = -1;
    assert_int_equal(c.n_moves, 2);
    assert_int_equal(pages_far(p), 0);
    assert_int_equal(pages_gave_way(p, PAGES_NONE, t[0], 64), 0);
    pages_drop(p, a);
    pages_drop(p, b);
    page[0] = pages_find(p, PAGES_NONE, t[0]);
    assert_int_equal(c.of[page[0]], 100);

    /* Computed again where there is no room for what is kept: it is found as this page. */
    b = pages_take(p);
    assert_int_equal(pages_publish(p, b, page[0], t[1]), b);
    assert_int_equal(c.n_gets, 3);
    pages_drop(p, page[0]);

    /* The end of one that was brought is written to: what was entered is found as before. */
    page[2] = pages_find_part(p, b, t[2], 64, &matched);
    assert_int_equal(matched, 30);
    assert_int_equal(c.of[page[2]], 102);
    assert_true(pages_claim(p, page[2], 64));
    c.of[page[2]] = -1;
    pages_drop(p, page[2]);
    page[2] = pages_find_part(p, b, t[2], 64, &matched);
    assert_int_equal(matched, 30);
    assert_int_equal(c.of[page[2]], 102);
    pages_drop(p, page[2]);
    pages_drop(p, b);
    pages_destroy(p);
}

/* What cannot be copied is lost, with what is behind it; nothing else is. */
static void test_kept_is_lost(void **state) {
    (void)state;
    struct contents c = {.kept = {100, 101, 102}, .fail_at = 1};
    struct pages *p = create(&c, 2, 1, 3);
    struct pages_kept kept[5];
    int32_t t[3][64];
    for (int i = 0; i < 3; i++) {
        fill(t[i], i + 1);
        assert_true(pages_enter(p, i, i == 1 ? 0 : -1, t[i], 64));
    }
    assert_int_equal(pages_find(p, PAGES_NONE, t[0]), PAGES_NONE);
    assert_int_equal(pages_in_use(p), 0);
    assert_false(pages_elsewhere(p, PAGES_NONE, t[0], 64, 0));
    int32_t page = pages_find(p, PAGES_NONE, t[2]);
    assert_int_equal(c.of[page], 102);
    assert_int_equal(pages_shared(p, kept, 5), 1);
    assert_int_equal(kept[0].page, page);
    /* Computed again, it has a page of its own, and what was behind it is not found behind that one. */
    int32_t own = pages_publish(p, pages_take(p), PAGES_NONE, t[0]);
    pages_drop(p, page);
    assert_int_equal(pages_find(p, own, t[1]), PAGES_NONE);
    pages_drop(p, own);
    pages_destroy(p);
}

/* The same tokens twice, and those behind a place that is not found or not full. */
static void test_kept_makes_sense(void **state) {
    (void)state;
    struct contents c = {.kept = {100}};
    struct pages *p = create(&c, 4, 0, 7);
    int32_t a[64], b[64];
    fill(a, 1);
    fill(b, 2);
    assert_true(pages_enter(p, 0, -1, a, 64));
    assert_false(pages_enter(p, 1, -1, a, 64));
    assert_false(pages_enter(p, 2, 1, b, 64)); /* as a first page it would be another one */
    assert_int_equal(pages_find(p, PAGES_NONE, b), PAGES_NONE);
    assert_true(pages_enter(p, 3, 0, b, 20));
    assert_false(pages_enter(p, 4, 0, b, 20));
    assert_true(pages_enter(p, 5, 0, b, 21));
    assert_false(pages_enter(p, 6, 3, b, 64));
    pages_destroy(p);
}

/* What is listed of them: used or not, in a page or not, in the order of places. */
static void test_kept_is_listed(void **state) {
    (void)state;
    struct contents c = {.kept = {100, 101, 102, 103}};
    struct pages *p = create(&c, 3, 0, 4);
    struct pages_kept kept[7];
    int32_t t[5][64], page;
    for (int i = 0; i < 5; i++)
        fill(t[i], i + 1);
    assert_true(pages_enter(p, 0, -1, t[0], 64));
    assert_true(pages_enter(p, 1, 0, t[1], 25));
    assert_true(pages_enter(p, 2, -1, t[2], 64));
    assert_true(pages_enter(p, 3, -1, t[3], 64));
    assert_int_equal(pages_shared(p, kept, 7), 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kept[i].place, i);
        assert_int_equal(kept[i].page, PAGES_NONE);
        assert_false(kept[i].used);
        assert_int_equal(kept[i].parent, i == 1 ? 0 : -1);
        assert_int_equal(kept[i].n_tokens, i == 1 ? 25 : 64);
    }
    assert_int_equal(pages_shared(p, kept, 2), 2);

    page = pages_publish(p, pages_take(p), PAGES_NONE, t[4]);
    pages_share(p, page, 64);
    pages_drop(p, page);
    pages_drop(p, pages_find(p, PAGES_NONE, t[3]));
    pages_drop(p, pages_find(p, PAGES_NONE, t[2]));
    int32_t all[3];
    assert_int_equal(pages_shared(p, kept, 7), 5);
    static const int place[] = {2, 3, -1, 0, 1};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(kept[i].place, place[i]);
        assert_int_equal(kept[i].used, i < 3);
        assert_int_equal(kept[i].page == PAGES_NONE, i >= 3);
    }
    for (int i = 0; i < 3; i++) /* all give way: the page that was not entered is gone */
        all[i] = pages_take(p);
    assert_int_equal(pages_shared(p, kept, 7), 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kept[i].place, i < 2 ? 2 + i : i - 2);
        assert_int_equal(kept[i].used, i < 2);
        assert_int_equal(kept[i].page, PAGES_NONE);
    }
    for (int i = 0; i < 3; i++)
        pages_drop(p, all[i]);
    pages_destroy(p);
}

/* Random work against a plain count of uses, with pages that go elsewhere and come back; what a page holds is
 * what its tokens say. */
static void test_random_work(void **state) {
    (void)state;
    enum { N = 20, KEPT = 25, STEPS = 20000 };
    struct contents c = {.n_moves = 0};
    struct pages *p = create(&c, N, 15, KEPT);
    int uses[N] = {0};
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < KEPT; i++) {
        int32_t tokens[64];
        fill(tokens, c.kept[i] = 35 + i);
        assert_true(pages_enter(p, i, -1, tokens, i % 3 > 0 ? 64 : 40));
    }
    for (int step = 0; step < STEPS; step++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        int32_t tokens[64], page;
        int seed = (int)(random >> 8 & 0xffff) % 60;
        fill(tokens, seed);
        c.fail_at = random >> 50 & 1 ? c.n_moves + 3 : 0;
        switch (random % 4) {
        case 0:
            page = pages_take(p);
            if (page == PAGES_NONE)
                break;
            assert_int_equal(uses[page], 0);
            uses[page] = 1;
            if (random >> 32 & 1) {
                c.of[page] = seed;
                int32_t kept = pages_publish(p, page, PAGES_NONE, tokens);
                assert_int_equal(c.of[kept], seed);
                uses[page]--;
                uses[kept]++;
            }
            break;
        case 1:
            page = pages_find(p, PAGES_NONE, tokens);
            if (page != PAGES_NONE) {
                assert_int_equal(c.of[page], seed);
                uses[page]++;
            }
            break;
        case 2:
            page = pages_take(p);
            if (page != PAGES_NONE) {
                c.of[page] = seed;
                pages_leave(p, page, PAGES_NONE, tokens, (int)(random >> 40 & 0xff) % 63 + 1);
            }
            break;
        default:
            page = (int32_t)(random >> 20) % N;
            page = page < 0 ? -page : page;
            if (uses[page] > 0) {
                pages_drop(p, page);
                uses[page]--;
            }
            break;
        }
        int used = 0;
        for (int i = 0; i < N; i++)
            used += uses[i] > 0;
        assert_int_equal(pages_in_use(p), used);
    }
    pages_destroy(p);
}

/* How many of a hundred and more pages are known yet, with about `after` others that gave way behind them. */
static int known_of_100(const struct pages *p, int last, int after) {
    int known = 0;
    for (int i = 0; i < 400; i++) {
        int32_t tokens[64];
        fill(tokens, last - after - 200 + i);
        known += pages_gave_way(p, PAGES_NONE, tokens, 64) == 64;
    }
    return known / 4;
}

/* For how long, as engine/gone.h says. */
static void test_which_gave_way_is_known_for_long(void **state) {
    (void)state;
    enum { N = 3 * PAGES_GONE_LEAST };
    struct pages *p = pages_create(1, NULL, NULL);
    int32_t tokens[64];
    for (int i = 0; i <= N; i++) {
        fill(tokens, i);
        pages_drop(p, pages_publish(p, pages_take(p), PAGES_NONE, tokens));
    }
    assert_int_equal(pages_gave_way(p, PAGES_NONE, tokens, 64), 0); /* the last one is there */
    assert_int_equal(known_of_100(p, N, PAGES_GONE_LEAST / 8), 100);
    assert_in_range(known_of_100(p, N, PAGES_GONE_LEAST / 2), 92, 99);
    assert_in_range(known_of_100(p, N, PAGES_GONE_LEAST), 38, 52);
    pages_destroy(p);
}

/* Eight that meet in one place: what comes again is the newest, and takes nobody's place. */
static void test_the_oldest_is_forgotten(void **state) {
    (void)state;
    struct gone g;
    assert_int_equal(gone_init(&g, 8), 0);
    for (uint64_t chain = 1; chain <= 8; chain++)
        gone_add(&g, chain);
    for (int i = 0; i < 10; i++)
        gone_add(&g, 1 + (uint64_t)i % 2);
    for (uint64_t chain = 1; chain <= 8; chain++)
        assert_true(gone_has(&g, chain));
    gone_add(&g, 9);
    for (uint64_t chain = 1; chain <= 9; chain++)
        assert_int_equal(gone_has(&g, chain), chain != 3);
    gone_finish(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take_and_drop),
        cmocka_unit_test(test_published_pages_are_found_by_tokens_and_parent),
        cmocka_unit_test(test_equal_page_published_twice_becomes_one),
        cmocka_unit_test(test_longest_unused_goes_first),
        cmocka_unit_test(test_serials_are_never_reused),
        cmocka_unit_test(test_which_gave_way_is_known_for_long),
        cmocka_unit_test(test_the_oldest_is_forgotten),
        cmocka_unit_test(test_beginnings_are_found),
        cmocka_unit_test(test_shared_pages_are_listed),
        cmocka_unit_test(test_elsewhere),
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_kept_is_lost),
        cmocka_unit_test(test_kept_makes_sense),
        cmocka_unit_test(test_kept_is_listed),
        cmocka_unit_test(test_random_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
