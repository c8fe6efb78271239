/* Masks against trying every token, with a small vocabulary and with the 128,256 tokens of Llama 3. */
#include "engine/grammar.h"
#include "engine/grammar_program.h"
#include "engine/grammar_vocab.h"
#include "engine/model.h"
#include "tests/engine/fixture.h"
#include "tests/engine/llama3.h"
#include "tests/engine/random_grammar.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct model *small, *llama3;
static struct grammar_vocab *small_vocab, *large_vocab;

/* Text, then <tool_call>{"name": …, "text": …, "n": …}, again and again: strings of all kinds, a choice, and
 * a number. */
static struct grammar *sample_grammar(void) {
    struct grammar_builder *b = grammar_builder_create();
    uint32_t quote = grammar_literal(b, "\"", 1), end = grammar_literal(b, "}", 1);
    uint32_t names[] = {grammar_literal(b, "hello", 5), grammar_literal(b, "hell", 4),
                        grammar_literal(b, "read_file", 9)};
    uint32_t digits = grammar_repeat(b, grammar_byte(b, '0', '9'), 1, 30);
    uint32_t items[] = {grammar_text_until(b, "<tool_call>"),
                        grammar_literal(b, "{\"name\": \"", 10),
                        grammar_choice(b, names, 3),
                        grammar_literal(b, "\", \"a\": \"", 9),
                        grammar_string(b, 0, GRAMMAR_FOREVER),
                        grammar_literal(b, "\", \"b\": \"", 9),
                        grammar_string(b, 2, 40),
                        grammar_literal(b, "\", \"c\": \"", 9),
                        grammar_string(b, 0, 5),
                        quote,
                        digits,
                        end};
    uint32_t call = grammar_sequence(b, items, sizeof items / sizeof *items);
    uint32_t whole[] = {grammar_repeat(b, call, 0, GRAMMAR_FOREVER), grammar_text_without(b, "<tool_call>")};
    struct grammar *g = NULL;
    char err[200] = "";
    if (grammar_compile(b, grammar_sequence(b, whole, 2), 8, &g, err, sizeof err) < 0)
        fail_msg("%s", err);
    grammar_builder_destroy(b);
    return g;
}

/* The mask at a place, twice (made, and kept), and with a limit, against a clone that tries each token. */
static void compare(struct grammar_matcher *m, const struct grammar_vocab *v, uint32_t within) {
    size_t words = grammar_vocab_words(v);
    uint32_t *mask = calloc(words, sizeof *mask), *again = calloc(words, sizeof *again);
    assert_true(mask != NULL && again != NULL);
    assert_int_equal(grammar_matcher_mask(m, v, within, mask), 0);
    assert_int_equal(grammar_matcher_mask(m, v, within, again), 0);
    assert_memory_equal(mask, again, words * sizeof *mask);
    int allowed = 0;
    for (int32_t id = 0; id < v->n_tokens; id++) {
        struct grammar_matcher clone;
        assert_int_equal(grammar_matcher_clone(&clone, m), 0);
        size_t len;
        const char *text = grammar_vocab_text(v, (uint32_t)id, &len);
        int rc = grammar_matcher_token(&clone, v, id);
        assert_in_range(rc, 0, 1);
        if (rc == 1 && within != GRAMMAR_FOREVER && v->tokens[id].kind != GRAMMAR_TOKEN_END)
            rc = grammar_matcher_distance(&clone) < within;
        if ((mask[id / 32] >> id % 32 & 1) != (uint32_t)rc)
            fail_msg("token %d '%.*s' is %s, but the mask says otherwise; distance %u", id, (int)len, text,
                     rc == 1 ? "allowed" : "not allowed", grammar_matcher_distance(m));
        allowed += rc;
        grammar_matcher_finish(&clone);
    }
    assert_in_range(allowed, 1, v->n_tokens);
    free(mask);
    free(again);
}

static const char sample[] = "Hello <tool_call>{\"name\": \"hello\", \"a\": \"x\\n\xC3\xA4\", \"b\": "
                             "\"1234567890123456789012345678901234567890\", \"c\": \"12345\"123}<tool_ca";

static void compare_along(const struct grammar_vocab *v, size_t step) {
    struct grammar *g = sample_grammar();
    struct grammar_matcher m;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    for (size_t i = 0; i < sizeof sample - 1; i++) {
        if (i % step == 0) {
            compare(&m, v, GRAMMAR_FOREVER);
            compare(&m, v, grammar_matcher_distance(&m) + 1);
            compare(&m, v, grammar_matcher_distance(&m) + 3);
        }
        assert_int_equal(grammar_matcher_byte(&m, (unsigned char)sample[i]), 1);
    }
    grammar_matcher_finish(&m);
    grammar_unref(g);
}

static void test_small(void **state) {
    (void)state;
    compare_along(small_vocab, 1);
}

static void test_llama3(void **state) {
    (void)state;
    compare_along(large_vocab, 7);
}

/* At each place of the text in a grammar: a pattern or a string, in quotes. */
static void compare_in(const struct grammar_vocab *v, const char *what,
                       uint32_t (*make)(struct grammar_builder *), const char *text, size_t step) {
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = NULL;
    struct grammar_matcher m;
    char err[200] = "";
    uint32_t quote = grammar_literal(b, "\"", 1);
    uint32_t items[] = {quote, make(b), quote, grammar_literal(b, ", \"next\"", 8)};
    if (grammar_compile(b, grammar_sequence(b, items, 4), 8, &g, err, sizeof err) < 0)
        fail_msg("%s: %s", what, err);
    grammar_builder_destroy(b);
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    for (size_t i = 0; text[i] != '\0'; i++) {
        if (i % step == 0)
            compare(&m, v, GRAMMAR_FOREVER);
        if (grammar_matcher_byte(&m, (unsigned char)text[i]) != 1)
            fail_msg("%s: byte %zu of '%s'", what, i, text);
    }
    grammar_matcher_finish(&m);
    grammar_unref(g);
}

static uint32_t counted_70(struct grammar_builder *b) {
    return grammar_string(b, 2, 70);
}

static uint32_t counted_100(struct grammar_builder *b) {
    return grammar_string(b, 0, 100);
}

static uint32_t counted_3(struct grammar_builder *b) {
    return grammar_string(b, 3, 3);
}

/* Either of two strings that count, or a word: what is longer than one may still be the other. */
static uint32_t two_counts(struct grammar_builder *b) {
    uint32_t ways[] = {grammar_string(b, 1, 4), grammar_string(b, 7, 20),
                       grammar_literal(b, "hello world", 11)};
    return grammar_choice(b, ways, 3);
}

static const struct grammar_range word_set[] = {{'-', '-'}, {'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct grammar_range no_space[] = {{'!', '!'}, {'#', '['}, {']', '~'}, {0x80, 0x10FFFF}};

static uint32_t identifier(struct grammar_builder *b) {
    uint32_t items[] = {grammar_chars(b, word_set + 2, 3),
                        grammar_repeat(b, grammar_chars(b, word_set, 5), 0, GRAMMAR_FOREVER)};
    return grammar_sequence(b, items, 2);
}

static uint32_t short_identifier(struct grammar_builder *b) {
    return grammar_repeat(b, grammar_chars(b, word_set, 5), 1, 24);
}

/* (\S+\s){0,19}\S+ */
static uint32_t some_words(struct grammar_builder *b) {
    uint32_t word = grammar_repeat(b, grammar_chars(b, no_space, 4), 1, GRAMMAR_FOREVER);
    uint32_t more[] = {word, grammar_literal(b, " ", 1)};
    uint32_t items[] = {grammar_repeat(b, grammar_sequence(b, more, 2), 0, 19), word};
    return grammar_sequence(b, items, 2);
}

/* Runs of one character, of which vocabularies have long tokens. */
static uint32_t lines(struct grammar_builder *b) {
    static const struct grammar_range set[] = {{' ', ' '}, {'*', '/'}, {'=', '='}, {'a', 'z'}};
    return grammar_repeat(b, grammar_chars(b, set, 4), 0, 80);
}

static void compare_patterns(const struct grammar_vocab *v, size_t step) {
    compare_in(v, "70 characters", counted_70,
               "\"Hello w\xC3\xA4rld\\n12345678901234567890123456789012345678901", step);
    compare_in(v, "100 characters", counted_100, "\"abc", step);
    compare_in(v, "3 characters", counted_3, "\"abc", 1);
    compare_in(v, "two counts", two_counts, "\"hello wo", step);
    compare_in(v, "identifier", identifier, "\"My_id-2\"", step);
    compare_in(v, "short identifier", short_identifier, "\"My_id-2890123456789012", step);
    compare_in(v, "words", some_words, "\"some w\xC3\xB6rds that", step);
    compare_in(v, "lines", lines, "\"== a ========", step);
}

static void test_patterns_small(void **state) {
    (void)state;
    compare_patterns(small_vocab, 1);
}

static void test_patterns_llama3(void **state) {
    (void)state;
    compare_patterns(large_vocab, 4);
}

/* An added token passes as a tag and in free text only, never as the bytes that spell it. */
static void test_added_tokens(void **state) {
    (void)state;
    struct grammar *g = sample_grammar();
    struct grammar_matcher m;
    const int32_t tag = FIXTURE_END + 1, im_start = FIXTURE_END + 2;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    assert_int_equal(grammar_matcher_token(&m, small_vocab, im_start), 1);
    assert_int_equal(grammar_matcher_token(&m, small_vocab, FIXTURE_END), 1);
    assert_int_equal(grammar_matcher_bytes(&m, "<tool", 5), 1);
    assert_int_equal(grammar_matcher_token(&m, small_vocab, tag), 1);
    assert_false(grammar_matcher_is_complete(&m));
    assert_int_equal(grammar_matcher_token(&m, small_vocab, FIXTURE_END), 0);
    assert_int_equal(grammar_matcher_bytes(&m, "{\"name\": \"hell\", \"a\": \"", 23), 1);
    assert_int_equal(grammar_matcher_token(&m, small_vocab, tag), 0);
    assert_int_equal(grammar_matcher_token(&m, small_vocab, im_start), 0);
    assert_int_equal(grammar_matcher_bytes(&m, "<tool_call>", 11), 1);
    assert_int_equal(grammar_matcher_token(&m, small_vocab, -1), 0);
    assert_int_equal(grammar_matcher_token(&m, small_vocab, FIXTURE_VOCAB), 0);
    grammar_matcher_finish(&m);
    grammar_unref(g);
}

/* A limit below what is needed leaves nothing. */
static void test_too_late(void **state) {
    (void)state;
    struct grammar *g = sample_grammar();
    struct grammar_matcher m;
    uint32_t mask[(FIXTURE_VOCAB + 31) / 32];
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    assert_int_equal(grammar_matcher_bytes(&m, "<tool_call>{", 12), 1);
    assert_int_equal(grammar_matcher_mask(&m, small_vocab, 5, mask), -ENODATA);
    assert_int_equal(grammar_matcher_mask(&m, small_vocab, grammar_matcher_distance(&m) + 1, mask), 0);
    grammar_matcher_finish(&m);
    grammar_unref(g);
}

/* A grammar outlives engines: the next vocabulary may lie where the last one lay, and is another one. Here a
 * token of text ends the turn in the second, so that it may not stand in a name there. */
static void test_same_address(void **state) {
    (void)state;
    struct grammar *g = sample_grammar();
    struct grammar_matcher m;
    struct grammar_vocab *other = NULL, place;
    uint32_t mask[(FIXTURE_VOCAB + 31) / 32];
    char err[200] = "";
    int32_t end = 0;
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    assert_int_equal(grammar_matcher_bytes(&m, "<tool_call>{\"name\": \"", 21), 1);
    place = *small_vocab;
    assert_int_equal(grammar_matcher_mask(&m, &place, GRAMMAR_FOREVER, mask), 0);
    while ((mask[end / 32] >> end % 32 & 1) == 0 || place.tokens[end].len < 2)
        assert_true(++end < place.n_tokens);
    if (grammar_vocab_create(small->tokenizer, &end, 1, &other, err, sizeof err) != 0)
        fail_msg("%s", err);
    place = *other;
    compare(&m, &place, GRAMMAR_FOREVER);
    grammar_matcher_finish(&m);
    grammar_unref(g);
    grammar_vocab_destroy(other);
}

/* ---- random grammars ---- */

/* The mask against trying tokens: every `step`th from a random one on. A mask that was cut may lack some; and
 * in such a grammar a token may be too much work when the others tried have driven out the states of the
 * mask. */
static void compare_some(struct grammar_matcher *m, const struct grammar_vocab *v, uint32_t *mask,
                         int32_t step) {
    size_t cut = m->grammar->n_cut;
    assert_int_equal(grammar_matcher_mask(m, v, GRAMMAR_FOREVER, mask), 0);
    cut = m->grammar->n_cut - cut;
    for (int32_t id = (int32_t)random_below((uint32_t)step); id < v->n_tokens; id += step) {
        struct grammar_matcher clone;
        assert_int_equal(grammar_matcher_clone(&clone, m), 0);
        int rc = grammar_matcher_token(&clone, v, id);
        bool allowed = (mask[id / 32] >> id % 32 & 1) != 0;
        size_t len;
        const char *text = grammar_vocab_text(v, (uint32_t)id, &len);
        bool heavy = rc == -E2BIG && m->grammar->n_cut > 0;
        if (!heavy && (allowed ? rc != 1 : rc != 0 && cut == 0))
            fail_msg("token %d '%.*s' gives %d, but the mask says otherwise", id, (int)len, text, rc);
        grammar_matcher_finish(&clone);
    }
}

/* A random token of the mask. */
static int32_t any_of(const uint32_t *mask, const struct grammar_vocab *v) {
    uint32_t from = random_below((uint32_t)v->n_tokens);
    for (uint32_t i = 0; i < (uint32_t)v->n_tokens; i++) {
        uint32_t id = (from + i) % (uint32_t)v->n_tokens;
        if ((mask[id / 32] >> id % 32 & 1) != 0)
            return (int32_t)id;
    }
    fail_msg("the mask is empty");
    return -1;
}

/* Along random texts of random grammars. */
static void compare_random(const struct grammar_vocab *v, int grammars, int32_t step) {
    uint32_t *mask = calloc(grammar_vocab_words(v), sizeof *mask);
    int compiled = 0, masks = 0, cut = 0;
    assert_non_null(mask);
    for (int i = 0; i < grammars; i++) {
        random_begin((uint64_t)(i + 1));
        struct grammar_builder *b = grammar_builder_create();
        struct grammar *g = NULL;
        struct grammar_matcher m;
        int rc = grammar_compile(b, random_grammar(b, 4), 8, &g, NULL, 0);
        grammar_builder_destroy(b);
        if (rc < 0)
            continue;
        compiled++;
        assert_int_equal(grammar_matcher_init(&m, g), 0);
        for (int k = 0; k < 6 && grammar_matcher_distance(&m) > 0; k++) {
            compare_some(&m, v, mask, step);
            masks++;
            assert_int_equal(grammar_matcher_token(&m, v, any_of(mask, v)), 1);
        }
        cut += (int)g->n_cut;
        grammar_matcher_finish(&m);
        grammar_unref(g);
    }
    assert_in_range(compiled, grammars / 2, grammars);
    assert_in_range(cut, 0, masks / 20);
    free(mask);
}

static void test_random_small(void **state) {
    (void)state;
    compare_random(small_vocab, 400, 1);
}

static void test_random_llama3(void **state) {
    (void)state;
    compare_random(large_vocab, 120, 11);
}

/* ---- the ceiling of work ---- */

/* Hundreds of counters that all go on with every letter: any two places have another state. */
static struct grammar *hostile_grammar(uint32_t n) {
    struct grammar_builder *b = grammar_builder_create();
    uint32_t ways[3000];
    char err[200] = "";
    struct grammar *g = NULL;
    assert_in_range(n, 1, 3000);
    for (uint32_t i = 0; i < n; i++) {
        char end[16];
        int len = snprintf(end, sizeof end, "%u", i);
        uint32_t items[] = {grammar_repeat(b, grammar_byte(b, 'A', 'z'), 1 + i % 7, 2000 + i),
                            grammar_literal(b, end, (size_t)len)};
        ways[i] = grammar_sequence(b, items, 2);
    }
    if (grammar_compile(b, grammar_choice(b, ways, n), 8, &g, err, sizeof err) < 0)
        fail_msg("%s", err);
    grammar_builder_destroy(b);
    return g;
}

/* Work stays below the ceiling and one step; what the mask has is allowed; single bytes are all in it; and
 * the end is reached. */
static void test_ceiling(void **state) {
    (void)state;
    size_t words = grammar_vocab_words(large_vocab);
    uint32_t *mask = calloc(words, sizeof *mask);
    struct grammar *g = hostile_grammar(1000);
    struct grammar_matcher m;
    struct grammar_info info;
    const uint32_t one_step = GRAMMAR_WORK_STEP + GRAMMAR_THREADS_MAX * (GRAMMAR_WORK_THREAD + 1);
    assert_non_null(mask);
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    for (int i = 0; i < 40 && grammar_matcher_distance(&m) > 0; i++) {
        uint32_t within = i < 10 ? GRAMMAR_FOREVER : grammar_matcher_distance(&m) + 1;
        assert_int_equal(grammar_matcher_mask(&m, large_vocab, within, mask), 0);
        assert_in_range(g->automaton.work, 0, GRAMMAR_WORK_MAX + 2 * one_step);
        for (int32_t id = 0; id < large_vocab->n_tokens; id += 1 + (int32_t)random_below(200)) {
            struct grammar_matcher clone;
            if ((mask[id / 32] >> id % 32 & 1) == 0)
                continue;
            assert_int_equal(grammar_matcher_clone(&clone, &m), 0);
            assert_int_equal(grammar_matcher_token(&clone, large_vocab, id), 1);
            grammar_matcher_finish(&clone);
        }
        for (int byte = 0; byte < 256 && within == GRAMMAR_FOREVER; byte++) {
            struct grammar_matcher clone;
            uint32_t id = large_vocab->byte_tokens[byte];
            assert_int_equal(grammar_matcher_clone(&clone, &m), 0);
            assert_int_equal(grammar_matcher_byte(&clone, (unsigned char)byte), mask[id / 32] >> id % 32 & 1);
            grammar_matcher_finish(&clone);
        }
        uint32_t letter = large_vocab->byte_tokens['k'];
        int32_t token = within == GRAMMAR_FOREVER ? (int32_t)letter : any_of(mask, large_vocab);
        assert_int_equal(grammar_matcher_token(&m, large_vocab, token), 1);
        assert_in_range(g->automaton.work, 0, GRAMMAR_WORK_TOKEN + one_step);
    }
    assert_int_equal(grammar_matcher_distance(&m), 0);
    grammar_info(g, &info);
    assert_in_range(info.n_cut, 10, 40);
    grammar_matcher_finish(&m);
    grammar_unref(g);
    free(mask);
}

/* States and masks that are kept stay below their ceilings, however many there would be. */
static void test_memory(void **state) {
    (void)state;
    uint32_t *mask = calloc(grammar_vocab_words(large_vocab), sizeof *mask);
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = NULL;
    struct grammar_matcher m;
    struct grammar_info info;
    char err[200] = "";
    uint32_t items[] = {grammar_repeat(b, grammar_byte(b, 'a', 'z'), 1, 4000), grammar_literal(b, "\"", 1)};
    assert_non_null(mask);
    if (grammar_compile(b, grammar_sequence(b, items, 2), 8, &g, err, sizeof err) < 0)
        fail_msg("%s", err);
    grammar_builder_destroy(b);
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    size_t most_masks = 0;
    for (int i = 0; i < 1500; i++) {
        assert_int_equal(grammar_matcher_mask(&m, large_vocab, GRAMMAR_FOREVER, mask), 0);
        assert_int_equal(grammar_matcher_byte(&m, 'k'), 1);
        grammar_info(g, &info);
        most_masks = info.mask_bytes > most_masks ? info.mask_bytes : most_masks;
        assert_in_range(info.state_bytes + info.mask_bytes, 0, 1000000);
    }
    assert_in_range(most_masks, GRAMMAR_MASK_BYTES / 2, GRAMMAR_MASK_BYTES + (64u << 10));
    grammar_matcher_finish(&m);
    grammar_unref(g);
    free(mask);
}

static int set_up(void **state) {
    (void)state;
    char err[300] = "";
    small = fixture_open("mask.gguf");
    int rc = grammar_vocab_create(small->tokenizer, small->eog_ids, (size_t)small->n_eog_ids, &small_vocab,
                                  err, sizeof err);
    if (rc < 0)
        (void)printf("%s\n", err);
    return rc;
}

static int tear_down(void **state) {
    (void)state;
    grammar_vocab_destroy(small_vocab);
    model_close(small);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),        cmocka_unit_test(test_patterns_small),
        cmocka_unit_test(test_added_tokens), cmocka_unit_test(test_too_late),
        cmocka_unit_test(test_same_address), cmocka_unit_test(test_random_small)};
    const struct CMUnitTest large[] = {cmocka_unit_test(test_llama3), cmocka_unit_test(test_patterns_llama3),
                                       cmocka_unit_test(test_random_llama3), cmocka_unit_test(test_ceiling),
                                       cmocka_unit_test(test_memory)};
    int failed = cmocka_run_group_tests_name("grammar masks", tests, set_up, tear_down);
    if (failed != 0)
        return 1;
    llama3 = llama3_open();
    large_vocab = llama3_vocab(llama3);
    failed = cmocka_run_group_tests_name("grammar masks, Llama 3", large, NULL, NULL);
    grammar_vocab_destroy(large_vocab);
    model_close(llama3);
    return failed;
}
