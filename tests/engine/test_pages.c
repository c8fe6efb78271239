/* KV page bookkeeping: sharing is exact, unused pages are kept longest-unused-first, nothing is lost. */
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
    struct pages *p = pages_create(3, 0, NULL, NULL);
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
    struct pages *p = pages_create(8, 0, NULL, NULL);
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
    struct pages *p = pages_create(4, 0, NULL, NULL);
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
    struct pages *p = pages_create(3, 0, NULL, NULL);
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
    struct pages *p = pages_create(3, 0, NULL, NULL);
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
    struct pages *p = pages_create(3, 0, NULL, NULL);
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

    uint64_t chain = pages_chain_next(pages_chain(p, PAGES_NONE), a);
    assert_int_equal(chain, pages_chain(p, first));
    assert_false(pages_gave_way(p, chain));
    assert_int_equal(pages_take(p), second); /* the one that was left has been unused longest */
    assert_int_equal(pages_find_part(p, PAGES_NONE, b, 64, &matched), first);
    assert_int_equal(matched, 40);
    pages_drop(p, first);
    pages_drop(p, first);
    assert_int_equal(pages_take(p), first);
    assert_true(pages_gave_way(p, chain));
    assert_int_equal(pages_find_part(p, PAGES_NONE, b, 64, &matched), PAGES_NONE);
    pages_destroy(p);
}

/* What is listed: shared pages and all before them, used last first, each behind its parent; not beyond the
 * number asked for, and none whose parent is gone. */
static void test_shared_pages_are_listed(void **state) {
    (void)state;
    struct pages *p = pages_create(8, 0, NULL, NULL);
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
    const struct pages_kept want[] = {
        {other, -1, 40, NULL}, {first, -1, 64, NULL}, {second, 1, 64, NULL}, {third, 2, 20, NULL}};
    for (int i = 0; i < 4; i++) {
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

/* Pages and places elsewhere as numbers of what they hold. */
struct contents {
    int of[64];
    int n_moves, fail_at;
};

static int move(void *arg, int32_t to, int32_t from) {
    struct contents *c = arg;
    if (++c->n_moves == c->fail_at)
        return -5;
    c->of[to] = c->of[from];
    return 0;
}

/* What gives way goes elsewhere and comes back with what it stands for; what has no place there is lost. */
static void test_elsewhere(void **state) {
    (void)state;
    struct contents c = {{0}, 0, 0};
    struct pages *p = pages_create(2, 2, move, &c);
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

/* Random work against a plain count of uses, with pages that go elsewhere and come back; what a page holds is
 * what its tokens say. */
static void test_random_work(void **state) {
    (void)state;
    enum { N = 20, STEPS = 20000 };
    struct contents c = {{0}, 0, 0};
    struct pages *p = pages_create(N, 15, move, &c);
    int uses[N] = {0};
    uint64_t random = 88172645463325252u;
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take_and_drop),
        cmocka_unit_test(test_published_pages_are_found_by_tokens_and_parent),
        cmocka_unit_test(test_equal_page_published_twice_becomes_one),
        cmocka_unit_test(test_longest_unused_goes_first),
        cmocka_unit_test(test_serials_are_never_reused),
        cmocka_unit_test(test_beginnings_are_found),
        cmocka_unit_test(test_shared_pages_are_listed),
        cmocka_unit_test(test_elsewhere),
        cmocka_unit_test(test_random_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
