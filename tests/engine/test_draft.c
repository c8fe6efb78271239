/* The index of what stood in a timeline before. */
#include "engine/draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST 8

/* What follows the text, every byte a token, as text; `sure` bytes of it are indexed. */
static const char *guess(const char *text, int sure, int most, int *matched) {
    static char out[MOST + 1];
    int32_t ids[256], found[MOST];
    int n = (int)strlen(text);
    struct draft d = {0};
    for (int i = 0; i < n; i++)
        ids[i] = (unsigned char)text[i];
    assert_int_equal(draft_index(&d, ids, sure < 0 ? n : sure), 0);
    int got = draft_find(&d, ids, n, found, most, matched);
    draft_finish(&d);
    for (int i = 0; i < got; i++)
        out[i] = (char)found[i];
    out[got] = '\0';
    return out;
}

static void test_finds_what_followed(void **state) {
    (void)state;
    int matched;
    assert_string_equal(guess("the weather in Paris is what? the weather ", -1, 8, &matched), "in Paris");
    assert_int_equal(matched, 12);
    assert_string_equal(guess("the weather in Paris is what? the weather ", -1, 2, &matched), "in");
    assert_string_equal(guess("abc1 xbc2 abc", -1, 2, &matched), "1 "); /* the longer piece wins */
    assert_string_equal(guess("xbc1 xbc2 xbc", -1, 2, &matched), "2 "); /* of equal ones the later */
}

static void test_nothing_to_find(void **state) {
    (void)state;
    int matched;
    assert_string_equal(guess("", -1, 8, &matched), "");
    assert_string_equal(guess("ab", -1, 8, &matched), "");
    assert_string_equal(guess("abcdefgh", -1, 8, &matched), "");
    assert_string_equal(guess("ab1xab2yab", -1, 8, &matched), ""); /* two are too few */
    assert_int_equal(matched, 0);
    assert_string_equal(guess("abc abc", -1, 0, &matched), "");
}

/* A guess may go on where the timeline ends. */
static void test_repetition(void **state) {
    (void)state;
    int matched;
    assert_string_equal(guess("aaaa", -1, 8, &matched), "aaaaaaaa");
    assert_string_equal(guess("xyxyxy", -1, 8, &matched), "xyxyxyxy");
}

/* Tokens that may still be replaced are matched against but not indexed. */
static void test_unsure_tail(void **state) {
    (void)state;
    int matched;
    assert_string_equal(guess("abcd abc", 5, 3, &matched), "d a");
    assert_string_equal(guess("abcd abc", 2, 3, &matched), "");
}

/* Grown in steps of any size, it is the index made at once; and every guess is what stood there. */
static void test_grows(void **state) {
    (void)state;
    enum { N = 5000 };
    int32_t *ids = malloc(N * sizeof *ids), a[MOST], b[MOST];
    assert_non_null(ids);
    uint64_t seed = 1;
    int found = 0;
    for (int i = 0; i < N; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)(seed >> 61); /* 0 … 7: much repeats */
    }
    struct draft steps = {0};
    for (int n = 1; n < N; n += 1 + n % 37) {
        struct draft once = {0};
        int matched, same;
        assert_int_equal(draft_index(&steps, ids, n), 0);
        int got = draft_find(&steps, ids, n, a, MOST, &matched);
        if (n % 5 == 0) {
            assert_int_equal(draft_index(&once, ids, n), 0);
            assert_int_equal(draft_find(&once, ids, n, b, MOST, &same), got);
            assert_int_equal(matched, same);
            assert_memory_equal(a, b, (size_t)got * sizeof *a);
            draft_finish(&once);
        }
        found += got > 0;
        bool stood = got == 0;
        for (int at = 0; at + matched < n && !stood; at++)
            stood = memcmp(ids + at, ids + n - matched, (size_t)matched * sizeof *ids) == 0 &&
                    a[0] == ids[at + matched];
        assert_true(stood);
    }
    assert_true(found > 100);
    draft_finish(&steps);
    free(ids);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_what_followed),
        cmocka_unit_test(test_nothing_to_find),
        cmocka_unit_test(test_repetition),
        cmocka_unit_test(test_unsure_tail),
        cmocka_unit_test(test_grows),
    };
    return cmocka_run_group_tests_name("drafts", tests, NULL, NULL);
}
