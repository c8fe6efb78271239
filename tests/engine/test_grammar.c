/* Grammars over bytes: what each expression lets pass, what is refused when compiled, how far the end is. */
#include "engine/grammar.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct grammar *compile(struct grammar_builder *b, uint32_t root) {
    struct grammar *g = NULL;
    char err[300] = "";
    if (grammar_compile(b, root, 16, &g, err, sizeof err) != 0)
        fail_msg("%s", err);
    grammar_builder_destroy(b);
    return g;
}

static void refuse(struct grammar_builder *b, uint32_t root, int status, const char *sentence) {
    struct grammar *g = NULL;
    char err[300] = "";
    assert_int_equal(grammar_compile(b, root, 16, &g, err, sizeof err), status);
    if (strstr(err, sentence) == NULL)
        fail_msg("'%s' does not say '%s'", err, sentence);
    assert_null(g);
    grammar_builder_destroy(b);
}

/* Byte by byte: 'y' the text is whole, 'p' it can become one, 'n' it cannot. */
static char verdict(struct grammar *g, const char *text, size_t len) {
    struct grammar_matcher m;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    char result = 0;
    for (size_t i = 0; i < len && result == 0; i++) {
        int rc = grammar_matcher_byte(&m, (unsigned char)text[i]);
        assert_in_range(rc, 0, 1);
        if (rc == 0)
            result = 'n';
    }
    if (result == 0)
        result = grammar_matcher_is_complete(&m) ? 'y' : 'p';
    assert_int_equal(grammar_matcher_distance(&m) == 0, grammar_matcher_is_complete(&m));
    grammar_matcher_finish(&m);
    return result;
}

struct sample {
    char verdict;
    const char *text;
};

static void check(struct grammar *g, const struct sample *samples, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char is = verdict(g, samples[i].text, strlen(samples[i].text));
        if (is != samples[i].verdict)
            fail_msg("'%s' is %c, not %c", samples[i].text, is, samples[i].verdict);
    }
}

#define CHECK(g, ...)                                                                                        \
    do {                                                                                                     \
        static const struct sample samples[] = {__VA_ARGS__};                                                \
        check(g, samples, sizeof samples / sizeof *samples);                                                 \
    } while (0)

static uint32_t text(struct grammar_builder *b, const char *literal) {
    return grammar_literal(b, literal, strlen(literal));
}

static uint32_t two(struct grammar_builder *b, uint32_t x, uint32_t y) {
    return grammar_sequence(b, (uint32_t[]){x, y}, 2);
}

static uint32_t either(struct grammar_builder *b, uint32_t x, uint32_t y) {
    return grammar_choice(b, (uint32_t[]){x, y}, 2);
}

static void test_words(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t words[] = {text(b, "read"), text(b, "read_file"), text(b, "write")};
    struct grammar *g = compile(b, two(b, grammar_choice(b, words, 3), text(b, "!")));
    CHECK(g, {'p', ""}, {'p', "read"}, {'y', "read!"}, {'y', "read_file!"}, {'p', "read_fil"},
          {'n', "read_fil!"}, {'y', "write!"}, {'n', "writ!"}, {'n', "read!!"}, {'n', "x"});
    grammar_unref(g);
}

static void test_repeat(void **state) {
    (void)state;
    static const struct {
        uint32_t min, max;
    } counts[] = {{0, 0}, {0, 1}, {1, 1},  {0, GRAMMAR_FOREVER}, {1, GRAMMAR_FOREVER},
                  {2, 2}, {2, 5}, {0, 70}, {3, GRAMMAR_FOREVER}};
    char as[81];
    memset(as, 'a', sizeof as);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct grammar_builder *b = grammar_builder_create();
        uint32_t many = grammar_repeat(b, text(b, "a"), counts[i].min, counts[i].max);
        struct grammar *g = compile(b, two(b, many, text(b, "b")));
        for (uint32_t n = 0; n <= 80; n++) {
            as[n] = 'b';
            char expected = n >= counts[i].min && n <= counts[i].max ? 'y' : 'n';
            assert_int_equal(verdict(g, as, n + 1), expected);
            as[n] = 'a';
        }
        grammar_unref(g);
    }
}

/* Two counters, one in the other, with separators: ((a{2,3},){2}){1,2} */
static void test_nested_counters(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t inner = two(b, grammar_repeat(b, text(b, "a"), 2, 3), text(b, ","));
    struct grammar *g = compile(b, grammar_repeat(b, grammar_repeat(b, inner, 2, 2), 1, 2));
    CHECK(g, {'p', ""}, {'p', "aa,"}, {'y', "aa,aaa,"}, {'p', "aa,aaa,aa,"}, {'y', "aa,aaa,aa,aa,"},
          {'n', "aa,aaa,aa,aa,a"}, {'n', "a,"}, {'n', "aaaa"});
    grammar_unref(g);
}

/* A counter costs no instructions, and what is counted is not unrolled. */
static void test_counters_are_not_unrolled(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = compile(b, grammar_repeat(b, text(b, "ab"), 1000000, 2000000));
    struct grammar_info info;
    grammar_info(g, &info);
    assert_in_range(info.n_instructions, 1, 20);
    struct grammar_matcher m;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    assert_int_equal(grammar_matcher_distance(&m), 2000000);
    for (int i = 0; i < 1000000; i++) {
        assert_false(grammar_matcher_is_complete(&m));
        assert_int_equal(grammar_matcher_bytes(&m, "ab", 2), 1);
    }
    assert_true(grammar_matcher_is_complete(&m));
    grammar_info(g, &info); /* states come and go */
    assert_in_range(info.state_bytes, 1, 4u << 20);
    grammar_matcher_finish(&m);
    grammar_unref(g);
}

static void test_recursion(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t list = grammar_rule(b, true), call = grammar_call(b, list);
    uint32_t more = grammar_repeat(b, two(b, text(b, ","), call), 0, GRAMMAR_FOREVER);
    uint32_t items = grammar_repeat(b, two(b, call, more), 0, 1);
    grammar_define(b, list, grammar_sequence(b, (uint32_t[]){text(b, "["), items, text(b, "]")}, 3));
    struct grammar *g = compile(b, call);
    CHECK(g, {'y', "[]"}, {'y', "[[],[[]],[]]"}, {'p', "[[],"}, {'n', "[,"}, {'n', "[[],]"}, {'n', "[]]"});
    /* 16 levels and no more, with no place from which the end cannot be reached. */
    CHECK(g, {'y', "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"}, {'n', "[[[[[[[[[[[[[[[[["});
    grammar_unref(g);
}

/* What needs two levels more is not begun at the last but one. */
static void test_nesting_leaves_room(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t leaf = grammar_rule(b, true), node = grammar_rule(b, true);
    grammar_define(b, leaf, text(b, "x"));
    uint32_t inside = either(b, grammar_call(b, node), grammar_call(b, leaf));
    uint32_t deep = grammar_sequence(b, (uint32_t[]){text(b, "("), inside, text(b, ")")}, 3);
    grammar_define(b, node, deep);
    struct grammar *g = NULL;
    char err[200];
    assert_int_equal(grammar_compile(b, grammar_call(b, node), 3, &g, err, sizeof err), 0);
    CHECK(g, {'y', "(x)"}, {'y', "((x))"}, {'n', "((("});
    grammar_unref(g);
    assert_int_equal(grammar_compile(b, grammar_call(b, node), 1, &g, err, sizeof err), -E2BIG);
    assert_non_null(strstr(err, "nested deeper"));
    grammar_builder_destroy(b);
}

/* Each code point from U+0000 to U+10FFFF against the ranges, by its UTF-8. */
static void test_characters(void **state) {
    (void)state;
    static const struct grammar_range ranges[] = {{0x41, 0x5A},     {0x7F, 0x81},      {0x7FE, 0x801},
                                                  {0xD7FF, 0xE001}, {0xFFFF, 0x10000}, {0x1F600, 0x1F64F}};
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = compile(b, grammar_chars(b, ranges, 6));
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        char utf8[5];
        int n = c < 0x80    ? snprintf(utf8, 5, "%c", (int)c)
                : c < 0x800 ? snprintf(utf8, 5, "%c%c", (int)(0xC0 | c >> 6), (int)(0x80 | (c & 63)))
                : c < 0x10000
                    ? snprintf(utf8, 5, "%c%c%c", (int)(0xE0 | c >> 12), (int)(0x80 | (c >> 6 & 63)),
                               (int)(0x80 | (c & 63)))
                    : snprintf(utf8, 5, "%c%c%c%c", (int)(0xF0 | c >> 18), (int)(0x80 | (c >> 12 & 63)),
                               (int)(0x80 | (c >> 6 & 63)), (int)(0x80 | (c & 63)));
        bool in = false;
        for (size_t i = 0; i < 6; i++)
            in = in || (c >= ranges[i].first && c <= ranges[i].last);
        if ((verdict(g, utf8, (size_t)n) == 'y') != in)
            fail_msg("U+%04X is taken wrongly", c);
    }
    CHECK(g, {'n', "\xED\xA0\x80"}, {'n', "\xC0\x80"}, {'n', "\xE0\x9F"}, {'n', "\xF4\x90"},
          {'p', "\xF0\x9F"});
    grammar_unref(g);
}

static void test_strings(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = compile(b, two(b, grammar_string(b, 2, 4), text(b, "\"")));
    CHECK(g, {'y', "ab\""}, {'n', "a\""}, {'y', "abcd\""}, {'n', "abcde"},
          {'y', "\xC3\xA4\xF0\x9F\x98\x80\""}, {'y', "\\n\\\"\\\\\\/\""}, {'n', "\\x"},
          {'y', "\\u00e4\\uD83d\\uDE00\""}, {'n', "\\u0000"}, {'y', "\\u0001\\ud7ff\""},
          {'n', "\\uD83d\\u00"}, {'n', "\\uDE"}, {'n', "a\nb"}, {'n', "\x1f"}, {'n', "\xff"},
          {'y', "\x7f~\""}, {'y', "\\uFFFF\\uE000\""});
    grammar_unref(g);
    b = grammar_builder_create();
    g = compile(b, two(b, grammar_string(b, 1, GRAMMAR_FOREVER), text(b, "\"")));
    CHECK(g, {'n', "\""}, {'y', "a\""}, {'y', "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""});
    grammar_unref(g);
}

static void test_dispatch(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t turn = two(b, grammar_text_until(b, "<aab>"), text(b, "{}"));
    uint32_t turns = grammar_repeat(b, turn, 0, GRAMMAR_FOREVER);
    struct grammar *g = compile(b, two(b, turns, grammar_text_without(b, "<aab>")));
    CHECK(g, {'y', ""}, {'y', "any <text>\xff\n"}, {'y', "<aa"}, {'p', "<aab>"}, {'n', "<aab>x"},
          {'y', "<aab>{}"}, {'y', "<aab>{}<aab"}, {'p', "<<a<aab>{"}, {'y', "<aaab>x"},
          {'y', "<aab>{} and <aab>{}."}, {'n', "<aab>{} and <aab>."}, {'p', "<aa<aab>"});
    grammar_unref(g);
}

/* Where the end is, in bytes. */
static void test_distance(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t item = two(b, grammar_string(b, 2, 9), text(b, "."));
    struct grammar *g = compile(
        b, grammar_sequence(b, (uint32_t[]){text(b, "<"), grammar_repeat(b, item, 2, 4), text(b, "/>")}, 3));
    static const struct {
        const char *text;
        uint32_t distance;
    } at[] = {{"", 9},      {"<", 8},       {"<a", 7},       {"<aa", 6},      {"<aaaa", 6}, {"<aa.", 5},
              {"<aa.a", 4}, {"<aa.aa.", 2}, {"<aa.aa.a", 3}, {"<aa.aa./", 1}, {"<\\", 8},   {"<\\u", 11}};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        struct grammar_matcher m;
        assert_int_equal(grammar_matcher_init(&m, g), 0);
        assert_int_equal(grammar_matcher_bytes(&m, at[i].text, strlen(at[i].text)), 1);
        if (grammar_matcher_distance(&m) != at[i].distance)
            fail_msg("behind '%s' the end is %u bytes off", at[i].text, grammar_matcher_distance(&m));
        grammar_matcher_finish(&m);
    }
    grammar_unref(g);
}

static void test_forced(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t names = either(b, text(b, "\"name\": 1"), text(b, "\"names\": [\xC3\xA4]"));
    struct grammar *g = compile(b, two(b, text(b, "{"), two(b, names, text(b, "}"))));
    struct grammar_matcher m, copy;
    char bytes[64];
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    assert_int_equal(grammar_matcher_forced(&m, bytes, 3), 3);
    assert_int_equal(grammar_matcher_forced(&m, bytes, sizeof bytes), 6);
    assert_memory_equal(bytes, "{\"name", 6);
    assert_int_equal(grammar_matcher_bytes(&m, "{\"name", 6), 1);
    assert_int_equal(grammar_matcher_clone(&copy, &m), 0);
    assert_int_equal(grammar_matcher_forced(&m, bytes, sizeof bytes), 0);
    assert_int_equal(grammar_matcher_byte(&m, 's'), 1);
    assert_int_equal(grammar_matcher_forced(&m, bytes, sizeof bytes), 8);
    assert_memory_equal(bytes, "\": [\xC3\xA4]}", 8);
    /* The other matcher is where it was; what is not allowed moves nothing. */
    assert_int_equal(grammar_matcher_bytes(&copy, "\": 2", 4), 0);
    assert_int_equal(grammar_matcher_bytes(&copy, "\": 1}", 5), 1);
    assert_true(grammar_matcher_is_complete(&copy));
    assert_int_equal(grammar_matcher_forced(&copy, bytes, sizeof bytes), 0);
    grammar_matcher_finish(&m);
    grammar_matcher_finish(&copy);
    grammar_matcher_finish(&copy);
    grammar_unref(g);
}

static void test_refusals(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t rule = grammar_rule(b, false);
    refuse(b, grammar_call(b, rule), -EINVAL, "not defined");

    b = grammar_builder_create();
    rule = grammar_rule(b, false);
    grammar_define(b, rule, either(b, text(b, "a"), two(b, grammar_call(b, rule), text(b, "b"))));
    refuse(b, grammar_call(b, rule), -EINVAL, "calls itself");

    b = grammar_builder_create(); /* behind what may be empty, and over another rule */
    rule = grammar_rule(b, false);
    uint32_t other = grammar_rule(b, false), space = grammar_repeat(b, text(b, " "), 0, 3);
    grammar_define(b, other, two(b, space, two(b, grammar_call(b, rule), text(b, "x"))));
    grammar_define(b, rule, either(b, text(b, "a"), two(b, grammar_call(b, other), text(b, "y"))));
    refuse(b, grammar_call(b, rule), -EINVAL, "calls itself");

    b = grammar_builder_create(); /* nothing but itself */
    rule = grammar_rule(b, false);
    grammar_define(b, rule, two(b, text(b, "a"), two(b, grammar_call(b, rule), text(b, "b"))));
    refuse(b, grammar_call(b, rule), -EINVAL, "No text matches");

    b = grammar_builder_create();
    refuse(b, two(b, text(b, "a"), grammar_choice(b, NULL, 0)), -EINVAL, "No text matches");

    b = grammar_builder_create();
    refuse(b, grammar_repeat(b, grammar_repeat(b, text(b, "a"), 0, 1), 0, 5000), -EINVAL, "may be empty");

    b = grammar_builder_create();
    refuse(b, grammar_call(b, 3), -EINVAL, "does not exist");

    b = grammar_builder_create();
    uint32_t long_text = grammar_literal(b, "", 0);
    char *many = calloc(1, GRAMMAR_INSTRUCTIONS_MAX);
    assert_non_null(many);
    long_text = grammar_literal(b, many, GRAMMAR_INSTRUCTIONS_MAX);
    free(many);
    refuse(b, long_text, -E2BIG, "instructions");

    b = grammar_builder_create();
    uint32_t deep = text(b, "a");
    for (int i = 0; i < GRAMMAR_DEPTH_MAX + 1; i++)
        deep = two(b, deep, text(b, "a"));
    refuse(b, deep, -E2BIG, "deep");
}

/* A branch that leads nowhere is not entered; a rule may follow itself behind a byte, also behind a counter.
 */
static void test_dead_branches(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t rule = grammar_rule(b, false);
    uint32_t digits = grammar_repeat(b, grammar_byte(b, '0', '9'), 2, 3);
    uint32_t again = grammar_repeat(b, grammar_call(b, rule), 0, 1);
    grammar_define(b, rule, two(b, digits, two(b, again, text(b, "."))));
    uint32_t nowhere = two(b, text(b, "abc"), grammar_choice(b, NULL, 0));
    struct grammar *g = compile(b, either(b, grammar_call(b, rule), nowhere));
    CHECK(g, {'n', "a"}, {'y', "12."}, {'y', "1234.."}, {'p', "1234."}, {'n', "1."});
    grammar_unref(g);
}

/* States are dropped and built again while several matchers stand somewhere inside. */
static void test_many_states(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t letter = grammar_byte(b, 'a', 'z');
    uint32_t word = two(b, grammar_repeat(b, letter, 1, 60000), text(b, ";"));
    struct grammar *g = compile(b, grammar_repeat(b, word, 3, 3));
    struct grammar_matcher slow, fast;
    assert_int_equal(grammar_matcher_init(&slow, g), 0);
    assert_int_equal(grammar_matcher_init(&fast, g), 0);
    for (int w = 0; w < 3; w++) {
        for (int i = 0; i < 60000; i++)
            assert_int_equal(grammar_matcher_byte(&fast, (unsigned char)('a' + i % 26)), 1);
        assert_int_equal(grammar_matcher_byte(&fast, 'a'), 0);
        assert_int_equal(grammar_matcher_byte(&fast, ';'), 1);
        assert_int_equal(grammar_matcher_bytes(&slow, "ab", 2), 1);
    }
    assert_true(grammar_matcher_is_complete(&fast));
    assert_int_equal(grammar_matcher_bytes(&slow, "c;d;e;", 6), 1);
    assert_true(grammar_matcher_is_complete(&slow));
    struct grammar_info info;
    grammar_info(g, &info);
    assert_in_range(info.state_bytes, 1, 3u << 20);
    grammar_unref(g); /* the matchers keep it */
    assert_int_equal(grammar_matcher_byte(&slow, 'x'), 0);
    grammar_matcher_finish(&slow);
    grammar_matcher_finish(&fast);
}

/* More ways from one place than are followed: refused, with a list that has grown until then. */
static void test_too_many_ways(void **state) {
    (void)state;
    enum { WAYS = 24000 };
    static uint32_t ways[WAYS];
    struct grammar_builder *b = grammar_builder_create();
    for (uint32_t i = 0; i < WAYS; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "%u", i);
        ways[i] = text(b, number);
    }
    refuse(b, grammar_choice(b, ways, WAYS), -E2BIG,
           "The beginning of the grammar has too many ways to go, or no memory.");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),           cmocka_unit_test(test_repeat),
        cmocka_unit_test(test_nested_counters), cmocka_unit_test(test_counters_are_not_unrolled),
        cmocka_unit_test(test_recursion),       cmocka_unit_test(test_nesting_leaves_room),
        cmocka_unit_test(test_characters),      cmocka_unit_test(test_strings),
        cmocka_unit_test(test_dispatch),        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_forced),          cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_dead_branches),   cmocka_unit_test(test_many_states),
        cmocka_unit_test(test_too_many_ways),
    };
    return cmocka_run_group_tests_name("grammar", tests, NULL, NULL);
}
