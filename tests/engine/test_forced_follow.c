/* forced_follow() by itself, with a tokenizer that makes more tokens of "abcd" than a model has to. */
#include "engine/bpe.h"
#include "engine/forced.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BC = 256, CD, AB, TAG, END, N_TOKENS };

static struct tokenizer *tokenizer;
static struct grammar_vocab *vocab;

struct play {
    struct forced f;
    struct grammar *g;
    struct grammar_matcher m;
    struct token_list ids;
    size_t sure;
    uint32_t most;
};

static void begin(struct play *p, struct grammar_builder *b, uint32_t root, uint32_t most) {
    char err[200] = "";
    *p = (struct play){.most = most};
    if (grammar_compile(b, root, 8, &p->g, err, sizeof err) != 0)
        fail_msg("%s", err);
    grammar_builder_destroy(b);
    assert_int_equal(grammar_matcher_init(&p->m, p->g), 0);
}

static void finish(struct play *p) {
    forced_finish(&p->f);
    token_list_finish(&p->ids);
    grammar_matcher_finish(&p->m);
    grammar_unref(p->g);
}

static void choose(struct play *p, int32_t token) {
    if (token >= 0)
        assert_int_equal(grammar_matcher_token(&p->m, vocab, token), 1);
    assert_int_equal(forced_follow(&p->f, tokenizer, vocab, &p->m, p->ids.v + p->sure, p->ids.n - p->sure,
                                   token, p->most - (uint32_t)p->ids.n),
                     0);
    p->ids.n = p->sure;
    assert_int_equal(token_list_append(&p->ids, p->f.ids.v, p->f.ids.n), 0);
    p->sure += p->f.n_sure;
}

static void expect(const struct play *p, const int32_t *ids, size_t n) {
    assert_int_equal(p->ids.n, n);
    if (n > 0)
        assert_memory_equal(p->ids.v, ids, n * sizeof *ids);
}

/* "abc", then perhaps "d": nothing is written as long as "d" may make other tokens of it. */
static void begin_open(struct play *p, uint32_t most) {
    struct grammar_builder *b = grammar_builder_create();
    uint32_t items[] = {grammar_literal(b, "abc", 3), grammar_repeat(b, grammar_literal(b, "d", 1), 0, 1)};
    begin(p, b, grammar_sequence(b, items, 2), most);
    choose(p, FORCED_BEGIN);
    expect(p, NULL, 0);
    choose(p, AB);
    expect(p, (const int32_t[]){AB}, 1);
    assert_int_equal(p->sure, 0);
}

static void test_the_end_of_a_turn_settles(void **state) {
    (void)state;
    struct play p;
    begin_open(&p, 100);
    choose(&p, 'c');
    expect(&p, (const int32_t[]){AB, 'c'}, 2);
    choose(&p, FORCED_END);
    expect(&p, (const int32_t[]){'a', BC}, 2);
    assert_int_equal(p.sure, 2);
    finish(&p);
}

static void test_the_end_of_the_grammar_settles(void **state) {
    (void)state;
    struct play p;
    begin_open(&p, 3);
    choose(&p, CD);
    expect(&p, (const int32_t[]){'a', BC, 'd'}, 3);
    assert_true(p.f.over);
    finish(&p);
    begin_open(&p, 2); /* there is no room for three */
    choose(&p, CD);
    expect(&p, (const int32_t[]){AB, CD}, 2);
    finish(&p);
}

static void test_an_added_token_settles(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t either[] = {grammar_tag(b, "<tag>"), grammar_literal(b, "d", 1)};
    uint32_t items[] = {grammar_literal(b, "abc", 3), grammar_choice(b, either, 2),
                        grammar_repeat(b, grammar_literal(b, "e", 1), 0, 1)};
    struct play p;
    begin(&p, b, grammar_sequence(b, items, 3), 100);
    choose(&p, FORCED_BEGIN);
    choose(&p, AB);
    choose(&p, 'c');
    choose(&p, TAG);
    expect(&p, (const int32_t[]){'a', BC, TAG}, 3);
    assert_int_equal(p.sure, 3);
    finish(&p);
}

/* More tokens than were chosen are written only where the rest of the grammar (" xyz") keeps its room. */
static void test_room_for_the_rest(void **state) {
    (void)state;
    for (uint32_t most = 6; most <= 7; most++) {
        struct grammar_builder *b = grammar_builder_create();
        uint32_t either[] = {grammar_literal(b, "d xyz", 5), grammar_literal(b, "d uvw", 5),
                             grammar_literal(b, "e", 1)};
        uint32_t items[] = {grammar_literal(b, "abc", 3), grammar_choice(b, either, 3)};
        struct play p;
        begin(&p, b, grammar_sequence(b, items, 2), most);
        choose(&p, FORCED_BEGIN);
        choose(&p, AB);
        choose(&p, CD);
        if (most == 6)
            expect(&p, (const int32_t[]){AB, CD}, 2);
        else
            expect(&p, (const int32_t[]){'a', BC, 'd'}, 3);
        choose(&p, ' ');
        choose(&p, 'x');
        if (most == 6) { /* what is owed stays in the way: the model chooses on */
            choose(&p, 'y');
            choose(&p, 'z');
        }
        assert_int_equal(p.f.over, most == 7);
        assert_int_equal(p.ids.n, most);
        assert_true(grammar_matcher_is_complete(&p.m));
        finish(&p);
    }
}

static void spell(int byte, int *extra, char out[4]) {
    bool plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    int c = plain ? byte : (*extra)++;
    size_t n = 0;
    if (c >= 128)
        out[n++] = (char)(0xC0 | c >> 6);
    out[n++] = (char)(c < 128 ? c : (0x80 | (c & 63)));
    out[n] = '\0';
}

static int set_up(void **state) {
    (void)state;
    static char names[256][4];
    static struct bpe_text tokens[N_TOKENS];
    static bool added[N_TOKENS];
    static const char *const more[] = {"bc", "cd", "ab", "<tag>", "<end>"};
    static const struct bpe_text merges[] = {{"b c", 3}, {"c d", 3}, {"a b", 3}};
    static const int32_t ends[] = {END};
    int extra = 256;
    char err[300] = "";
    for (int i = 0; i < 256; i++) {
        spell(i, &extra, names[i]);
        tokens[i] = (struct bpe_text){names[i], strlen(names[i])};
    }
    for (int i = 256; i < N_TOKENS; i++) {
        tokens[i] = (struct bpe_text){more[i - 256], strlen(more[i - 256])};
        added[i] = i >= TAG;
    }
    struct bpe_source source = {N_TOKENS, tokens, added, merges, 3, true};
    if (bpe_create(&source, &tokenizer, err, sizeof err) != 0 ||
        grammar_vocab_create(tokenizer, ends, 1, &vocab, err, sizeof err) != 0)
        fail_msg("%s", err);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    grammar_vocab_destroy(vocab);
    tokenizer_destroy(tokenizer);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_end_of_a_turn_settles),
        cmocka_unit_test(test_the_end_of_the_grammar_settles),
        cmocka_unit_test(test_an_added_token_settles),
        cmocka_unit_test(test_room_for_the_rest),
    };
    return cmocka_run_group_tests_name("forced_follow", tests, set_up, tear_down);
}
