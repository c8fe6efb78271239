/* Forced tokens in calls of functions from the Berkeley leaderboard, with the vocabulary of the default model
 * and that of Llama 3. Right answers come out token by token as the tokenizer writes them. Of calls that are
 * drawn at random, byte by byte where it comes so, every word with forced bytes in it does. No call's closing
 * brace is there a step before its </tool_call>, at which it starts. HERMESD_CALLS and HERMESD_LLAMA3_CALLS
 * say how many are drawn (200, 16). */
#include "engine/model.h"
#include "tests/agent/bfcl.h"
#include "tests/agent/forced_writer.h"
#include "tests/engine/llama3.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL "models/hermes-tiny.gguf"

static struct bfcl data;

static size_t wanted(const char *name, size_t usual) {
    const char *text = getenv(name);
    return text != NULL ? strtoul(text, NULL, 10) : usual;
}

/* What closes the call came with the model's last choice. */
static void expect_close(const struct forced_text *t) {
    static const char close[] = "}\n</tool_call>";
    size_t n = sizeof close - 1;
    assert_true(t->text.len > n);
    assert_memory_equal(t->text.data + t->text.len - n, close, n);
    if (t->last > t->text.len - n)
        fail_msg("the last choice came behind the brace, at byte %zu: %s", t->last, t->text.data);
}

static void write_answers(struct forced_writer w, size_t step) {
    size_t n_calls = 0, n_tokens = 0, n_forced = 0;
    w.max_tokens = 4000;
    for (size_t i = 0; i < data.n; i += step)
        for (size_t k = 0; k < data.entries[i].n_calls; k++) {
            struct forced_text t;
            w.target = data.entries[i].calls[k];
            forced_writer_run(&w, data.entries[i].grammar, &t);
            assert_true(t.complete);
            assert_string_equal(t.text.data, w.target);
            if (!forced_text_is_canonical(&t, w.tokenizer))
                fail_msg("other tokens than the tokenizer's: %s", w.target);
            expect_close(&t);
            assert_int_equal(t.n_replaced, 0); /* who writes as the tokenizer does is never corrected */
            n_calls++;
            n_tokens += t.ids.n;
            n_forced += t.ids.n - t.n_choices;
            forced_text_free(&t);
        }
    (void)printf("%zu right answers of %zu tokens, %.1f %% of them forced\n", n_calls, n_tokens,
                 100.0 * (double)n_forced / (double)n_tokens);
    assert_true(n_forced * 5 > n_tokens * 2);
}

static void draw_calls(struct forced_writer w, size_t n, uint32_t most) {
    size_t n_words = 0, n_replaced = 0;
    for (size_t i = 0; i < n; i++) {
        struct forced_text t;
        size_t words = 0;
        w.random = i;
        w.max_tokens = most;
        forced_writer_run(&w, data.entries[i * 997 % data.n].grammar, &t);
        assert_true(t.complete);
        expect_close(&t);
        size_t others = forced_text_others(&t, w.tokenizer, &words);
        if (others > 0)
            fail_msg("call %zu: %zu of %zu words have other tokens: %s", i, others, words, t.text.data);
        n_words += words;
        n_replaced += t.n_replaced;
        forced_text_free(&t);
    }
    (void)printf("%zu drawn calls: %zu words with forced bytes, all as the tokenizer writes them; %zu times "
                 "the chosen tokens were others\n",
                 n, n_words, n_replaced);
    assert_true(n_replaced > 0 || n < 16);
}

static void check(const struct model *m, size_t step, size_t n) {
    struct grammar_vocab *v = llama3_vocab(m);
    struct forced_writer w = {
        .tokenizer = m->tokenizer, .vocab = v, .mask = calloc(grammar_vocab_words(v), sizeof(uint32_t))};
    assert_non_null(w.mask);
    write_answers(w, step);
    draw_calls(w, n, 3000);
    free(w.mask);
    grammar_vocab_destroy(v);
}

static void test_default_model(void **state) {
    (void)state;
    struct model *m = NULL;
    char err[300] = "";
    if (access(MODEL, R_OK) != 0)
        skip();
    if (model_open(MODEL, &m, err, sizeof err) != 0)
        fail_msg("%s", err);
    check(m, 12, wanted("HERMESD_CALLS", 200));
    model_close(m);
}

static void test_llama3(void **state) {
    (void)state;
    struct model *m = llama3_open();
    check(m, 60, wanted("HERMESD_LLAMA3_CALLS", 16));
    model_close(m);
}

static int set_up(void **state) {
    (void)state;
    bfcl_read(&data, true);
    (void)printf("%zu right answers; %zu are not valid calls\n", data.n_calls, data.n_left_out);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    bfcl_free(&data);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_default_model), cmocka_unit_test(test_llama3)};
    return cmocka_run_group_tests_name("forced calls", tests, set_up, tear_down);
}
