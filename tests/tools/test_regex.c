/* Patterns: what they find, what is refused, and that no pattern takes long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/regex.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLENTY ((uint64_t)1000000)

static struct regex *compiled(const char *pattern) {
    struct regex *regex = NULL;
    char err[256] = "";
    if (regex_compile(pattern, &regex, err, sizeof err) != 0)
        fail_msg("%s: %s", pattern, err);
    return regex;
}

static void finds(const char *pattern, const char *text, int wanted) {
    struct regex *regex = compiled(pattern);
    uint64_t budget = PLENTY;
    int found = regex_search(regex, text, strlen(text), &budget);
    if (found != wanted)
        fail_msg("%s in '%s' gave %d", pattern, text, found);
    regex_destroy(regex);
}

struct find {
    const char *pattern, *text;
    int found;
};

static void all(const struct find *cases, size_t n) {
    for (size_t i = 0; i < n; i++)
        finds(cases[i].pattern, cases[i].text, cases[i].found);
}
#define ALL(cases) all(cases, sizeof(cases) / sizeof((cases)[0]))

static void test_search(void **state) {
    static const struct find cases[] = {
        {"b", "abc", 1},        {"^b", "abc", 0},    {"^a", "abc", 1},     {"c$", "abc", 1},
        {"b$", "abc", 0},       {"^abc$", "abc", 1}, {"^$", "", 1},        {"^$", "a", 0},
        {"", "a", 1},           {"a$", "a\n", 0},    {"a|bc", "xbc", 1},   {"^(a|bc)$", "bc", 1},
        {"^(a|bc)$", "abc", 0}, {"^a|b$", "ax", 1},  {"^a|b$", "xb", 1},   {"^a|b$", "xbx", 0},
        {"^(|a)$", "", 1},      {"a^b", "ab", 0},    {"(^|,)x", "y,x", 1},
    };
    (void)state;
    ALL(cases);
}

static void test_repeats(void **state) {
    static const struct find cases[] = {
        {"^a*$", "", 1},         {"^a*$", "aaa", 1},         {"^a+$", "", 0},
        {"^a?b$", "ab", 1},      {"^a?b$", "aab", 0},        {"^a{2}$", "aa", 1},
        {"^a{2}$", "aaa", 0},    {"^a{2,}$", "aaaa", 1},     {"^a{2,}$", "a", 0},
        {"^a{1,3}$", "aaa", 1},  {"^a{1,3}$", "aaaa", 0},    {"^a{0}$", "", 1},
        {"^a{0}$", "a", 0},      {"^(ab){2}c$", "ababc", 1}, {"^(a{2}){2}$", "aaaa", 1},
        {"^(a*)*$", "aaa", 1},   {"^(a*)+b$", "aab", 1},     {"^(a|b)*?c$", "abac", 1},
        {"^a+?$", "aa", 1},      {"^(a?){3}$", "aa", 1},     {"^(){5}$", "", 1},
        {"^a{,3}$", "a{,3}", 1}, {"^x{$", "x{", 1},          {"^{a}$", "{a}", 1},
    };
    (void)state;
    ALL(cases);
}

static void test_characters(void **state) {
    static const struct find cases[] = {
        {"^.$", "\xf0\x9f\x98\x80", 1},
        {"^.$", "\n", 0},
        {"^.$", "\xe2\x80\xa8", 0},
        {"^..$", "\xc3\xa9", 0},
        {"^[a-c]$", "b", 1},
        {"^[a-c]$", "d", 0},
        {"^[^a-c]$", "d", 1},
        {"^[^a-c]$", "\xc3\xa9", 1},
        {"^[]$", "a", 0},
        {"^[^]$", "\n", 1},
        {"^[a-]$", "-", 1},
        {"^[-a]$", "-", 1},
        {"^[\\w-.]$", "-", 1},
        {"^[a-\\d]$", "-", 1},
        {"^[\\]]$", "]", 1},
        {"^[\\b]$", "\b", 1},
        {"^\\d$", "5", 1},
        {"^\\d$", "\xd9\xa5", 0},
        {"^\\D$", "\xd9\xa5", 1},
        {"^\\w$", "_", 1},
        {"^\\w$", "\xc3\xa9", 0},
        {"^\\W$", "\xc3\xa9", 1},
        {"^\\s$", "\xc2\xa0", 1},
        {"^\\s$", "\xef\xbb\xbf", 1},
        {"^\\S$", " ", 0},
        {"^[\\s\\S]$", "\n", 1},
        {"^\\x41\\u0042\\u{43}$", "ABC", 1},
        {"^\\ud83d\\ude00$", "\xf0\x9f\x98\x80", 1},
        {"^\\t\\n\\v\\f\\r$", "\t\n\v\f\r", 1},
        {"^\\cA$", "\x01", 1},
        {"^\\/\\.\\-\\_$", "/.-_", 1},
        {"^[\xc3\xa0-\xc3\xbf]$", "\xc3\xa9", 1},
        {"\\bfoo\\b", "a foo.", 1},
        {"\\bfoo\\b", "afoo", 0},
        {"\\Boo\\B", "foox", 1},
        {"^(?:a|b)(?<n>c)$", "bc", 1},
        {"^\xf0\x9f\x90\xb2*$", "\xf0\x9f\x90\xb2\xf0\x9f\x90\xb2", 1},
    };
    (void)state;
    ALL(cases);
}

static void test_refused(void **state) {
    static const struct {
        const char *pattern;
        int rc;
        const char *why;
    } cases[] = {
        {"(a", -EINVAL, "a '(' that is not closed at byte 2 of the pattern"},
        {"a)", -EINVAL, "a ')' that was not opened at byte 1 of the pattern"},
        {"[a", -EINVAL, "a '[' that is not closed at byte 2 of the pattern"},
        {"[z-a]", -EINVAL, "a range of characters that ends before it begins at byte 4 of the pattern"},
        {"*a", -EINVAL, "nothing to repeat at byte 0 of the pattern"},
        {"a**", -EINVAL, "nothing to repeat at byte 2 of the pattern"},
        {"^*", -EINVAL, "nothing to repeat at byte 1 of the pattern"},
        {"a{3,2}", -EINVAL, "a repetition whose most is below its least at byte 6 of the pattern"},
        {"a\\", -EINVAL, "a backslash without a character at byte 2 of the pattern"},
        {"\\a", -EINVAL, "an escape that does not exist at byte 1 of the pattern"},
        {"\\Z", -EINVAL, "an escape that does not exist at byte 1 of the pattern"},
        {"\\x4", -EINVAL, "an escape that does not exist at byte 1 of the pattern"},
        {"\\u12", -EINVAL, "\\u without four hexadecimal digits at byte 2 of the pattern"},
        {"\\u{110000}", -EINVAL, "\\u{…} without a code point at byte 3 of the pattern"},
        {"\\07", -EINVAL, "an octal escape at byte 2 of the pattern"},
        {"(?P<a>b)", -EINVAL, "a kind of group that does not exist at byte 2 of the pattern"},
        {"(?<1>b)", -EINVAL, "a group whose name is none at byte 2 of the pattern"},
        {"(?=a)", -ENOTSUP, "look-ahead is not supported at byte 2 of the pattern"},
        {"a(?!b)", -ENOTSUP, "look-ahead is not supported at byte 3 of the pattern"},
        {"(?<=a)", -ENOTSUP, "look-behind is not supported at byte 2 of the pattern"},
        {"(?i:a)", -ENOTSUP, "a group with flags is not supported at byte 2 of the pattern"},
        {"(a)\\1", -ENOTSUP, "a back-reference is not supported at byte 4 of the pattern"},
        {"\\k<a>", -ENOTSUP, "a back-reference is not supported at byte 1 of the pattern"},
        {"[\\p{L}]", -ENOTSUP, "\\p{…} (a Unicode property) is not supported at byte 2 of the pattern"},
        {"((a{1,100}){1,100}){1,100}", -E2BIG, "the pattern needs more than 8192 states"},
        {"a{100000000000}", -E2BIG, "the pattern needs more than 8192 states"},
        {"(((a{0}){1000}){1000}){1000}", -E2BIG, "the pattern needs more than 8192 states"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct regex *regex = NULL;
        char err[256] = "";
        int rc = regex_compile(cases[i].pattern, &regex, err, sizeof err);
        if (rc != cases[i].rc || strcmp(err, cases[i].why) != 0)
            fail_msg("%s gave %d: %s", cases[i].pattern, rc, err);
        assert_null(regex);
    }
}

static void test_ceilings(void **state) {
    struct regex *regex = NULL;
    char err[256], *text = malloc(200001);
    (void)state;
    assert_non_null(text);
    memset(text, '(', 200000);
    text[200000] = '\0';
    assert_int_equal(regex_compile(text, &regex, err, sizeof err), -E2BIG);
    text[REGEX_DEPTH_MAX + 1] = '\0';
    assert_int_equal(regex_compile(text, &regex, err, sizeof err), -E2BIG);
    assert_non_null(strstr(err, "deeper"));
    free(text);
    regex = compiled("^.{0,4000}$");
    assert_true(regex_states(regex) > 8000 && regex_states(regex) <= REGEX_STATES_MAX);
    regex_destroy(regex);
}

/* What takes a backtracking engine for ever is linear here, and a budget ends what is too much all the same.
 */
static void test_catastrophes(void **state) {
    static const char *const patterns[] = {"(a|aa)+$",          "(a*)*c$",  "^(a+)+$",
                                           "(.*)(.*)(.*)(.*)x", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$"};
    size_t len = 20000;
    char *text = malloc(len + 1);
    (void)state;
    assert_non_null(text);
    memset(text, 'a', len);
    text[len - 1] = 'b';
    text[len] = '\0';
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct regex *regex = compiled(patterns[i]);
        uint64_t budget = (uint64_t)len * 64;
        int found = regex_search(regex, text, len, &budget);
        if (found != 0)
            fail_msg("%s gave %d", patterns[i], found);
        regex_destroy(regex);
    }
    struct regex *regex = compiled("a.{0,4000}c");
    uint64_t budget = PLENTY;
    assert_int_equal(regex_search(regex, text, len, &budget), -E2BIG);
    assert_true(budget == 0);
    regex_destroy(regex);
    free(text);
}

static void test_tree(void **state) {
    struct regex *regex = compiled("^(?:[b-da]|x{2,})$");
    const struct regex_node *root = regex_tree(regex), *alt = root->children[1];
    (void)state;
    assert_string_equal(regex_source(regex), "^(?:[b-da]|x{2,})$");
    assert_int_equal(root->kind, REGEX_CAT);
    assert_int_equal(root->n_children, 3);
    assert_int_equal(root->children[0]->kind, REGEX_BEGIN);
    assert_int_equal(root->children[2]->kind, REGEX_END);
    assert_int_equal(alt->kind, REGEX_ALT);
    assert_int_equal(alt->children[0]->kind, REGEX_SET);
    assert_int_equal(alt->children[0]->n_ranges, 1);
    assert_int_equal(alt->children[0]->ranges[0].first, 'a');
    assert_int_equal(alt->children[0]->ranges[0].last, 'd');
    assert_int_equal(alt->children[1]->kind, REGEX_REPEAT);
    assert_int_equal(alt->children[1]->min, 2);
    assert_true(alt->children[1]->max == REGEX_FOREVER);
    regex_destroy(regex);
    regex = compiled("[^a]");
    root = regex_tree(regex);
    assert_int_equal(root->n_ranges, 3); /* around the a, and no surrogates */
    assert_int_equal(root->ranges[1].last, 0xD7FF);
    assert_int_equal(root->ranges[2].first, 0xE000);
    regex_destroy(regex);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search),  cmocka_unit_test(test_repeats),  cmocka_unit_test(test_characters),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_ceilings), cmocka_unit_test(test_catastrophes),
        cmocka_unit_test(test_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
