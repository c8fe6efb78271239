/* Tokens of several bytes, taken at once, against their bytes one by one in another copy of the grammar. */
#include "engine/grammar.h"
#include "engine/grammar_names.h"
#include "engine/grammar_program.h"
#include "engine/grammar_vocab.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "tests/engine/llama3.h"
#include "tests/engine/random_grammar.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct model *model;
static struct grammar_vocab *vocab;

static struct grammar *compile(uint64_t seed) {
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = NULL;
    random_begin(seed);
    int rc = grammar_compile(b, random_grammar(b, 4), 8, &g, NULL, 0);
    grammar_builder_destroy(b);
    return rc < 0 ? NULL : g;
}

struct three {
    struct grammar *g[3];
    struct grammar_matcher tokens, bytes, masks;
};

static bool begin(struct three *t, uint64_t seed) {
    for (int i = 0; i < 3; i++)
        t->g[i] = compile(seed);
    if (t->g[0] == NULL)
        return false;
    assert_int_equal(grammar_matcher_init(&t->tokens, t->g[0]), 0);
    assert_int_equal(grammar_matcher_init(&t->bytes, t->g[1]), 0);
    assert_int_equal(grammar_matcher_init(&t->masks, t->g[2]), 0);
    return true;
}

static void finish(struct three *t) {
    grammar_matcher_finish(&t->tokens);
    grammar_matcher_finish(&t->bytes);
    grammar_matcher_finish(&t->masks);
    for (int i = 0; i < 3; i++)
        grammar_unref(t->g[i]);
}

/* Bytes, or an added token. */
static int take_apart(struct grammar_matcher *m, int32_t token) {
    size_t len;
    const char *text = grammar_vocab_text(vocab, (uint32_t)token, &len);
    if (vocab->tokens[token].kind != GRAMMAR_TOKEN_BYTES)
        return grammar_matcher_token(m, vocab, token);
    return grammar_matcher_bytes(m, text, len);
}

static void compare(const struct grammar_matcher *x, const struct grammar_matcher *y) {
    assert_int_equal(grammar_matcher_is_complete(x), grammar_matcher_is_complete(y));
    assert_int_equal(grammar_matcher_distance(x), grammar_matcher_distance(y));
    const struct grammar_state *a = &x->grammar->automaton.states[x->state];
    const struct grammar_state *b = &y->grammar->automaton.states[y->state];
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->plain, b->plain);
    assert_int_equal(a->text, b->text);
}

/* Every `step`th token from a random one on, from a copy of the place; twice: the second time it is known. */
static void try_some(const struct three *t, int32_t step) {
    for (int32_t id = (int32_t)random_below((uint32_t)step); id < vocab->n_tokens; id += step) {
        struct grammar_matcher x, y;
        assert_int_equal(grammar_matcher_clone(&x, &t->tokens), 0);
        assert_int_equal(grammar_matcher_clone(&y, &t->bytes), 0);
        int rc = grammar_matcher_token(&x, vocab, id), expected = take_apart(&y, id);
        if (rc != expected)
            fail_msg("token %d gives %d, its bytes %d", id, rc, expected);
        compare(&x, &y);
        grammar_matcher_finish(&x);
        assert_int_equal(grammar_matcher_clone(&x, &t->tokens), 0);
        assert_int_equal(grammar_matcher_token(&x, vocab, id), rc);
        compare(&x, &y);
        grammar_matcher_finish(&x);
        grammar_matcher_finish(&y);
    }
}

static int32_t any_of(const uint32_t *mask) {
    uint32_t n = (uint32_t)vocab->n_tokens, id = random_below(n);
    while ((mask[id / 32] >> id % 32 & 1) == 0)
        id = (id + 1) % n;
    return (int32_t)id;
}

/* Along random texts of random grammars; masks have a copy of their own, so that they make no states that the
 * tokens could go along. */
static void test_random(void **state) {
    (void)state;
    uint32_t *mask = calloc(grammar_vocab_words(vocab), sizeof *mask);
    int compiled = 0;
    assert_non_null(mask);
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct three t = {.g = {NULL}};
        if (!begin(&t, seed))
            continue;
        compiled++;
        for (int k = 0; k < 8 && grammar_matcher_distance(&t.masks) > 0; k++) {
            assert_int_equal(grammar_matcher_mask(&t.masks, vocab, GRAMMAR_FOREVER, mask), 0);
            int32_t token = any_of(mask);
            assert_int_equal(grammar_matcher_token(&t.masks, vocab, token), 1);
            assert_int_equal(grammar_matcher_token(&t.tokens, vocab, token), 1);
            assert_int_equal(take_apart(&t.bytes, token), 1);
            compare(&t.tokens, &t.bytes);
            try_some(&t, 1009);
        }
        finish(&t);
    }
    assert_in_range(compiled, 100, 200);
    free(mask);
}

/* What is on the way is not kept: a token of many bytes makes one state. */
static void test_keeps_the_end_only(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = NULL;
    struct grammar_matcher m;
    const char text[] = " international";
    assert_int_equal(grammar_compile(b, grammar_literal(b, text, sizeof text - 1), 8, &g, NULL, 0), 0);
    grammar_builder_destroy(b);
    int32_t token = 0;
    for (size_t len; token < vocab->n_tokens; token++) {
        const char *own = grammar_vocab_text(vocab, (uint32_t)token, &len);
        if (len == sizeof text - 1 && memcmp(own, text, len) == 0)
            break;
    }
    assert_in_range(token, 1, vocab->n_tokens - 1);
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    uint32_t before = g->automaton.n_states;
    assert_int_equal(grammar_matcher_token(&m, vocab, token), 1);
    assert_int_equal(g->automaton.n_states, before + 1);
    assert_true(grammar_matcher_is_complete(&m));
    grammar_matcher_finish(&m);
    grammar_unref(g);
}

/* (a|a|…)*: however many ways there are to each place, it is one place. */
static void test_many_ways(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = NULL;
    struct grammar_matcher m;
    uint32_t ways[40], from = grammar_rule(b, false), any = grammar_byte(b, 1, 255);
    for (uint32_t i = 0; i < 40; i++)
        ways[i] = grammar_sequence(b, (uint32_t[]){any, grammar_repeat(b, any, 0, 1 + i)}, 2);
    grammar_define(b, from, grammar_repeat(b, grammar_choice(b, ways, 40), 0, GRAMMAR_FOREVER));
    assert_int_equal(grammar_compile(b, grammar_call(b, from), 8, &g, NULL, 0), 0);
    grammar_builder_destroy(b);
    int32_t longest = 0;
    size_t most = 0;
    for (int32_t id = 0; id < vocab->n_tokens; id++) {
        size_t len = vocab->tokens[id].len;
        if (vocab->tokens[id].kind == GRAMMAR_TOKEN_BYTES && len > most && len <= 24) {
            most = len;
            longest = id;
        }
    }
    assert_in_range(most, 20, 24);
    assert_int_equal(grammar_matcher_init(&m, g), 0);
    assert_int_equal(grammar_matcher_token(&m, vocab, longest), 1);
    assert_in_range(g->automaton.n_passed, 1, 2000);
    grammar_matcher_finish(&m);
    grammar_unref(g);
}

/* Every token has the bytes of the tokenizer, short or long. */
static void test_texts(void **state) {
    (void)state;
    int n_long = 0;
    for (int32_t id = 0; id < vocab->n_tokens; id++) {
        size_t len, expected_len = 0;
        const char *text = grammar_vocab_text(vocab, (uint32_t)id, &len);
        const char *expected = tokenizer_piece(model->tokenizer, id, &expected_len);
        if (expected == NULL)
            expected_len = 0;
        assert_int_equal(len, expected_len);
        if (len > 0)
            assert_memory_equal(text, expected, len);
        n_long += len > sizeof vocab->tokens->own;
        bool special = vocab->tokens[id].kind != GRAMMAR_TOKEN_BYTES;
        for (size_t i = 0; i < len && !special; i++)
            special = memchr("\"\\,{}[]", text[i], 7) != NULL;
        if (vocab->tokens[id].kind != GRAMMAR_TOKEN_UNUSED && len > 0)
            assert_int_equal(vocab->tokens[id].plain, !special);
    }
    assert_in_range(n_long, 1000, vocab->n_tokens);
}

static void take_each(struct grammar_names *n, const char *bytes, size_t len) {
    for (size_t i = 0; i < len; i++)
        assert_int_equal(grammar_names_byte(n, (unsigned char)bytes[i]), 1);
}

/* In an object that has the name `whole`: behind what was taken of it, its rest at once. */
static void write_again(const char *whole, const char *before, const char *rest) {
    struct grammar_names n = {0};
    assert_int_equal(grammar_names_begin(&n, '{'), 1);
    take_each(&n, "\"", 1);
    take_each(&n, whole, strlen(whole));
    take_each(&n, "\":\"a", 4);
    assert_int_equal(grammar_names_plain(&n, rest, strlen(rest)), 1); /* in a string it is no name */
    take_each(&n, "\\", 1);
    assert_int_equal(grammar_names_plain(&n, "name", 4), 1);
    take_each(&n, "\"", 1);
    assert_int_equal(grammar_names_plain(&n, " ", 1), 1);
    take_each(&n, ",\"", 2);
    take_each(&n, before, strlen(before));
    assert_false(grammar_names_has_this(&n));
    assert_int_equal(grammar_names_plain(&n, rest, strlen(rest)), 1);
    assert_true(grammar_names_has_this(&n));
    assert_int_equal(grammar_names_byte(&n, '"'), 0);
    grammar_names_finish(&n);
}

static void test_names_at_once(void **state) {
    (void)state;
    write_again("name", "", "name");
    write_again("name", "na", "me");
    write_again("\name", "\\", "name");  /* in an escape: \n */
    write_again("Abc", "\\u00", "41bc"); /* in the digits */
    write_again("\xF0\x9F\x98\x80x", "\\ud83d\\ude", "00x");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random), cmocka_unit_test(test_texts), cmocka_unit_test(test_names_at_once),
        cmocka_unit_test(test_keeps_the_end_only), cmocka_unit_test(test_many_ways)};
    model = llama3_open();
    vocab = llama3_vocab(model);
    int failed = cmocka_run_group_tests_name("tokens of several bytes", tests, NULL, NULL);
    grammar_vocab_destroy(vocab);
    model_close(model);
    return failed;
}
