/* Masks against trying every token, with a small vocabulary and with the 128,256 tokens of Llama 3. */
#include "engine/grammar.h"
#include "engine/grammar_vocab.h"
#include "engine/model.h"
#include "tests/engine/fixture.h"
#include "tests/engine/llama3.h"

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
        int rc = grammar_matcher_token(&clone, v, id);
        assert_in_range(rc, 0, 1);
        if (rc == 1 && within != GRAMMAR_FOREVER && v->kinds[id] != GRAMMAR_TOKEN_END)
            rc = grammar_matcher_distance(&clone) < within;
        if ((mask[id / 32] >> id % 32 & 1) != (uint32_t)rc)
            fail_msg("token %d is %s, but the mask says otherwise", id, rc == 1 ? "allowed" : "not allowed");
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
    while ((mask[end / 32] >> end % 32 & 1) == 0 || place.offsets[end + 1] - place.offsets[end] < 2)
        assert_true(++end < place.n_tokens);
    if (grammar_vocab_create(small->tokenizer, &end, 1, &other, err, sizeof err) != 0)
        fail_msg("%s", err);
    place = *other;
    compare(&m, &place, GRAMMAR_FOREVER);
    grammar_matcher_finish(&m);
    grammar_unref(g);
    grammar_vocab_destroy(other);
}

static int set_up(void **state) {
    (void)state;
    char path[256], err[300] = "";
    struct fixture f;
    fixture_gguf(&f, NULL);
    fixture_write(fixture_path(path, "mask.gguf"), f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    int rc = model_open(path, &small, err, sizeof err);
    (void)unlink(path);
    if (rc == 0)
        rc = grammar_vocab_create(small->tokenizer, small->eog_ids, (size_t)small->n_eog_ids, &small_vocab,
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small), cmocka_unit_test(test_added_tokens),
                                       cmocka_unit_test(test_too_late), cmocka_unit_test(test_same_address)};
    const struct CMUnitTest large[] = {cmocka_unit_test(test_llama3)};
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
