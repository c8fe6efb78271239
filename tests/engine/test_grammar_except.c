/* One grammar less another, against looking at every text: random pairs over three letters, all texts of up
 * to six of them. Then what the JSON of calls needs: strings, levels, ceilings. */
#include "engine/grammar_except.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEVELS 16

static uint32_t seed;

static unsigned draw(unsigned n) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 16) % n;
}

/* NULL: no text matches, or, with *too_large, -E2BIG. */
static struct grammar *compile_any(struct grammar_builder *b, uint32_t root, bool *too_large) {
    struct grammar *g = NULL;
    char err[300] = "";
    int rc = grammar_compile(b, root, LEVELS, &g, err, sizeof err);
    grammar_builder_destroy(b);
    *too_large = rc == -E2BIG;
    if (rc != 0 && rc != -E2BIG)
        assert_string_equal(err, "No text matches the grammar.");
    return g;
}

static struct grammar *compile(struct grammar_builder *b, uint32_t root) {
    bool too_large;
    struct grammar *g = compile_any(b, root, &too_large);
    assert_false(too_large);
    return g;
}

/* 'y' the text is whole, 'p' it can become one, 'n' it cannot. */
static char verdict(struct grammar *g, const char *text, size_t len, uint32_t *distance) {
    struct grammar_matcher m;
    if (g == NULL)
        return 'n';
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    int rc = grammar_matcher_bytes(&m, text, len);
    assert_in_range(rc, 0, 1);
    char is = rc == 0 ? 'n' : grammar_matcher_is_complete(&m) ? 'y' : 'p';
    *distance = grammar_matcher_distance(&m);
    grammar_matcher_finish(&m);
    return is;
}

static char is(struct grammar *g, const char *text) {
    uint32_t distance;
    return verdict(g, text, strlen(text), &distance);
}

static uint32_t lit(struct grammar_builder *b, const char *text) {
    return grammar_literal(b, text, strlen(text));
}

static uint32_t sequence(struct grammar_builder *b, uint32_t x, uint32_t y) {
    return grammar_sequence(b, (uint32_t[]){x, y}, 2);
}

static uint32_t either(struct grammar_builder *b, uint32_t x, uint32_t y) {
    return grammar_choice(b, (uint32_t[]){x, y}, 2);
}

/* ---- random ones ---- */

/* `regular`: nothing inside itself. */
static uint32_t random_expression(struct grammar_builder *b, int depth, bool regular) {
    static const char *const words[] = {"a", "b", "c", "ab", "ba", "abc", "aa", ""};
    uint32_t items[3], rule;
    unsigned n = 2 + draw(2), min;
    switch (depth == 0 ? draw(2) : draw(regular ? 8 : 9)) {
    case 0:
        return lit(b, words[draw(8)]);
    case 1:
        min = draw(3);
        return grammar_byte(b, (unsigned char)('a' + min), (unsigned char)('a' + min + draw(3 - min)));
    case 2:
    case 3:
        for (unsigned i = 0; i < n; i++)
            items[i] = random_expression(b, depth - 1, regular);
        return grammar_sequence(b, items, n);
    case 4:
    case 5:
        for (unsigned i = 0; i < n; i++)
            items[i] = random_expression(b, depth - 1, regular);
        return grammar_choice(b, items, n);
    case 6: /* rounds of something, so that no counted one may be empty */
        min = draw(3);
        return grammar_repeat(b,
                              sequence(b, random_expression(b, depth - 1, regular), lit(b, words[draw(4)])),
                              min, draw(2) ? GRAMMAR_FOREVER : min + draw(3));
    case 7:
        rule = grammar_rule(b, draw(2));
        grammar_define(b, rule, random_expression(b, depth - 1, regular));
        return grammar_call(b, rule);
    default: /* a rule inside itself */
        rule = grammar_rule(b, draw(2));
        grammar_define(b, rule,
                       either(b, random_expression(b, depth - 1, regular),
                              grammar_sequence(b,
                                               (uint32_t[]){lit(b, words[draw(4)]), grammar_call(b, rule),
                                                            random_expression(b, depth - 1, regular)},
                                               3)));
        return grammar_call(b, rule);
    }
}

static uint32_t random_without(struct grammar_builder *b) {
    uint32_t e = random_expression(b, 2, true);
    unsigned how = draw(4);
    if (how == 0)
        return either(b, sequence(b, e, grammar_anything(b)), random_expression(b, 1, true));
    return how == 1 ? either(b, e, random_expression(b, 2, true)) : e;
}

/* The pair of this number, one of them or the difference. */
static struct grammar *build(uint32_t number, int which, int *rc) {
    struct grammar_builder *b = grammar_builder_create(), *other = grammar_builder_create();
    seed = number;
    uint32_t item = random_expression(b, 3, false), without = random_without(other), left = GRAMMAR_NONE;
    *rc = 0;
    if (which == 2)
        *rc = grammar_except(b, item, other, without, &left);
    if (*rc != 0)
        left = grammar_choice(b, NULL, 0);
    bool too_large;
    struct grammar *g = which == 1 ? compile_any(other, without, &too_large)
                                   : compile_any(b, which == 0 ? item : left, &too_large);
    *rc = too_large ? -E2BIG : *rc;
    grammar_builder_destroy(which == 1 ? b : other);
    return g;
}

struct trio {
    struct grammar *all, *without, *left;
    size_t n_left, n_out;
};

/* All texts that begin so, of up to six letters. Returns whether one of them is left. */
static bool compare(struct trio *t, uint32_t number, char *text, size_t len) {
    uint32_t d, distance = 0;
    bool all = verdict(t->all, text, len, &d) == 'y', out = verdict(t->without, text, len, &d) == 'y';
    char left = verdict(t->left, text, len, &distance);
    text[len] = '\0';
    if ((left == 'y') != (all && !out))
        fail_msg("pair %u: '%s' is %d, less %d, left %c", number, text, all, out, left);
    t->n_left += left == 'y';
    t->n_out += all && out;
    bool any = left == 'y';
    for (char c = 'a'; c <= 'c' && len < 6; c++) {
        text[len] = c;
        any = compare(t, number, text, len + 1) || any;
    }
    text[len] = '\0';
    if (left == 'n' && any)
        fail_msg("pair %u: nothing may come behind '%s', but it does", number, text);
    if (left == 'p' && !any && len + distance <= 6)
        fail_msg("pair %u: '%s' is a dead end", number, text);
    return any;
}

static void test_against_every_text(void **state) {
    (void)state;
    size_t n_left = 0, n_out = 0, n_empty = 0, n_refused = 0;
    int rc;
    for (uint32_t number = 1; number <= 400; number++) {
        struct trio t = {build(number, 0, &rc), build(number, 1, &rc), build(number, 2, &rc), 0, 0};
        char text[8] = "";
        assert_true(rc == 0 || rc == -E2BIG);
        if (rc == 0)
            (void)compare(&t, number, text, 0);
        n_refused += rc != 0;
        n_left += t.n_left;
        n_out += t.n_out;
        n_empty += rc == 0 && t.left == NULL && t.all != NULL;
        grammar_unref(t.all);
        grammar_unref(t.without);
        grammar_unref(t.left);
    }
    (void)printf("%zu texts left, %zu left out, %zu pairs with nothing left, %zu refused\n", n_left, n_out,
                 n_empty, n_refused);
    assert_true(n_left > 1500 && n_out > 300 && n_empty > 20 && n_refused < 10);
}

/* ---- what calls need ---- */

static void test_strings(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create(), *other = grammar_builder_create();
    uint32_t quote = lit(b, "\""), left;
    uint32_t any = grammar_sequence(b, (uint32_t[]){quote, grammar_string(b, 0, 3), quote}, 3);
    assert_int_equal(grammar_except(b, any, other, lit(other, "\"ab\""), &left), 0);
    struct grammar *g = compile(b, left);
    grammar_builder_destroy(other);
    assert_int_equal(is(g, "\"ab\""), 'n');
    assert_int_equal(is(g, "\"ab"), 'p');
    assert_int_equal(is(g, "\"\""), 'y');
    assert_int_equal(is(g, "\"a\""), 'y');
    assert_int_equal(is(g, "\"abc\""), 'y');
    assert_int_equal(is(g, "\"abcd"), 'n');
    assert_int_equal(is(g, "\"a\xC3\xA9\\n\""), 'y');
    grammar_unref(g);
}

/* Levels that were entered together count where the two part. */
static void test_levels(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create(), *other = grammar_builder_create();
    uint32_t rule = grammar_rule(b, true), left;
    uint32_t inside = either(b, lit(b, "1"), either(b, lit(b, "2"), grammar_call(b, rule)));
    grammar_define(b, rule, grammar_sequence(b, (uint32_t[]){lit(b, "["), inside, lit(b, "]")}, 3));
    assert_int_equal(grammar_except(b, grammar_call(b, rule), other, lit(other, "[[[1]]]"), &left), 0);
    struct grammar *g = compile(b, left);
    grammar_builder_destroy(other);
    for (int n = 1; n <= LEVELS + 3; n++) {
        char text[64] = "";
        memset(text, '[', (size_t)n);
        text[n] = '2';
        memset(text + n + 1, ']', (size_t)n);
        assert_int_equal(is(g, text), n <= LEVELS ? 'y' : 'n');
        text[n] = '1';
        assert_int_equal(is(g, text), n <= LEVELS && n != 3 ? 'y' : 'n');
    }
    grammar_unref(g);
}

/* Beyond the ceiling everything that begins so is left out, and nothing that does not. */
static void test_a_long_text(void **state) {
    (void)state;
    enum { LONG = 9000 };
    struct grammar_builder *b = grammar_builder_create(), *other = grammar_builder_create();
    char *text = malloc(LONG + 1);
    memset(text, 'a', LONG);
    text[LONG] = '\0';
    uint32_t any = grammar_repeat(b, grammar_byte(b, 'a', 'b'), LONG, GRAMMAR_FOREVER), left;
    assert_int_equal(grammar_except(b, any, other, grammar_literal(other, text, LONG), &left), 0);
    struct grammar *g = compile(b, left);
    grammar_builder_destroy(other);
    assert_int_equal(is(g, text), 'n');
    text[LONG - 1] = 'b';
    assert_int_equal(is(g, text), 'n'); /* more than asked */
    text[3000] = 'b';
    assert_int_equal(is(g, text), 'y');
    text[0] = 'b';
    assert_int_equal(is(g, text), 'y');
    grammar_unref(g);
    free(text);
}

static void test_nothing_left(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create(), *other = grammar_builder_create();
    uint32_t left;
    assert_int_equal(grammar_except(b, either(b, lit(b, "x"), lit(b, "yz")), other,
                                    either(other, lit(other, "yz"), lit(other, "x")), &left),
                     0);
    assert_null(compile(b, left));
    grammar_builder_destroy(other);
    b = grammar_builder_create();
    other = grammar_builder_create();
    assert_int_equal(grammar_except(b, lit(b, "x"), other, grammar_anything(other), &left), 0);
    assert_null(compile(b, left));
    grammar_builder_destroy(other);
}

static void test_what_cannot_be_followed(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create(), *other = grammar_builder_create();
    uint32_t left, tag = grammar_tag(b, "<end>"), deep = lit(b, "x");
    assert_int_equal(grammar_except(b, tag, other, lit(other, "x"), &left), -ENOTSUP);
    for (int i = 0; i < 3000; i++) {
        uint32_t rule = grammar_rule(b, false);
        grammar_define(b, rule, deep);
        deep = grammar_call(b, rule);
    }
    assert_int_equal(grammar_except(b, deep, other, lit(other, "x"), &left), -E2BIG);
    /* the builder is as good as before */
    struct grammar *g = compile(b, either(b, tag, lit(b, "y")));
    assert_int_equal(is(g, "y"), 'y');
    grammar_unref(g);
    grammar_builder_destroy(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_every_text),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_a_long_text),
        cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_what_cannot_be_followed),
    };
    return cmocka_run_group_tests_name("grammar except", tests, NULL, NULL);
}
