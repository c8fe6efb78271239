/* The engine with a model from a file and its tokenizer: spans to tokens, tokens to text, replay of what was
 * generated, seeds, stop tokens. */
#include "engine/engine.h"
#include "tests/engine/fixture.h"
#include "tests/engine/harness.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char model[256];

static const struct engine_sampling warm = {.temperature = 1.2f, .top_k = 100, .top_p = 0.98f, .seed = 11};

static void start(struct harness *h) {
    char err[400] = "";
    harness_init(h);
    struct engine_config config = {.model_path = model, .n_threads = 2, .wake = harness_wake, .wake_arg = h};
    if (engine_open(&config, &h->engine, err, sizeof err) < 0)
        fail_msg("%s", err);
}

static int append(struct engine_session *s, enum engine_span_kind kind, const char *text) {
    char err[300] = "";
    struct engine_span span = {.kind = kind, .data = text, .len = strlen(text)};
    int rc = engine_session_append(s, &span, 1, err, sizeof err);
    if (rc < 0)
        fail_msg("%s", err);
    return rc;
}

static void test_what_the_file_says(void **state) {
    (void)state;
    struct harness h;
    struct engine_info info;
    start(&h);
    engine_info(h.engine, &info);
    assert_string_equal(info.model_name, "fixture");
    assert_string_equal(info.format, "GGUF v3 F16");
    assert_int_equal(info.n_vocab, FIXTURE_VOCAB);
    assert_int_equal(info.max_context, 64);
    assert_int_equal(info.kv_bytes_per_token, 32);
    assert_int_equal(engine_count_tokens(h.engine, "hello", 5), 1);
    assert_int_equal(engine_count_tokens(h.engine, "<|im_end|>", 10), 10);
    harness_finish(&h);
}

/* BOS first and once; control tokens from templates only. */
static void test_spans_become_tokens(void **state) {
    (void)state;
    struct harness h;
    start(&h);
    struct engine_session *s = harness_session(&h);
    assert_int_equal(append(s, ENGINE_SPAN_TEMPLATE, "<|im_start|>"), 2);
    assert_int_equal(append(s, ENGINE_SPAN_TEXT, "hello<|im_end|>"), 11);
    assert_int_equal(append(s, ENGINE_SPAN_TEMPLATE, "hello<|im_end|>"), 2);
    assert_int_equal(engine_session_length(s), 15);
    struct engine_session *other = harness_session(&h);
    assert_int_equal(append(other, ENGINE_SPAN_TEMPLATE, "<|begin_of_text|><|im_start|>"), 2);
    /* Spans are encoded apart: two halves of a control token are text. */
    struct engine_span halves[] = {{ENGINE_SPAN_TEMPLATE, "<|im_", 5}, {ENGINE_SPAN_TEMPLATE, "end|>", 5}};
    char err[300];
    assert_int_equal(engine_session_append(other, halves, 2, err, sizeof err), 10);
    harness_finish(&h);
}

static void generate(struct harness *h, struct engine_session *s, uint64_t seed, int n,
                     struct outcome *keep) {
    struct engine_sampling how = warm;
    how.seed = seed;
    harness_generate(h, s, &how, n);
    struct outcome *o = harness_wait(h, s);
    assert_true(o->done);
    *keep = *o;
    keep->text = NULL;
    keep->tokens = malloc((size_t)(o->n_tokens + 1) * sizeof *keep->tokens);
    assert_non_null(keep->tokens);
    memcpy(keep->tokens, o->tokens, (size_t)o->n_tokens * sizeof *keep->tokens);
}

static bool same_tokens(const struct outcome *a, const struct outcome *b) {
    return a->n_tokens == b->n_tokens &&
           memcmp(a->tokens, b->tokens, (size_t)a->n_tokens * sizeof *a->tokens) == 0;
}

/* The same seed gives the same tokens, alone and beside others; another seed gives others. */
static void test_seeds(void **state) {
    (void)state;
    struct harness h;
    struct outcome runs[4];
    static const uint64_t seeds[] = {5, 5, 6, 5};
    start(&h);
    struct engine_session *noise[3];
    for (int i = 0; i < 4; i++) {
        if (i == 3) /* the last one in company */
            for (int k = 0; k < 3; k++) {
                noise[k] = harness_session(&h);
                append(noise[k], ENGINE_SPAN_TEXT, "hell he ll");
                harness_generate(&h, noise[k], &warm, 50);
            }
        struct engine_session *s = harness_session(&h);
        append(s, ENGINE_SPAN_TEXT, "hello he");
        generate(&h, s, seeds[i], 40, &runs[i]);
    }
    for (int k = 0; k < 3; k++)
        assert_true(harness_wait(&h, noise[k])->done);
    assert_true(runs[0].n_tokens > 0);
    assert_true(same_tokens(&runs[0], &runs[1]));
    assert_false(same_tokens(&runs[0], &runs[2]));
    assert_true(same_tokens(&runs[0], &runs[3]));
    for (int i = 0; i < 4; i++)
        free(runs[i].tokens);
    harness_finish(&h);
}

/* What was generated, put on a new timeline as ids, goes on as the first one did. */
static void test_replay_goes_on(void **state) {
    (void)state;
    struct harness h;
    struct outcome first, second, again;
    start(&h);
    struct engine_session *s = harness_session(&h), *t = harness_session(&h);
    append(s, ENGINE_SPAN_TEXT, "hello");
    generate(&h, s, 3, 12, &first);
    append(s, ENGINE_SPAN_TEMPLATE, "<|im_end|>");
    generate(&h, s, 4, 12, &second);
    append(t, ENGINE_SPAN_TEXT, "hello");
    harness_append_tokens(t, first.tokens, (size_t)first.n_tokens);
    append(t, ENGINE_SPAN_TEMPLATE, "<|im_end|>");
    generate(&h, t, 4, 12, &again);
    assert_true(same_tokens(&second, &again));
    free(first.tokens);
    free(second.tokens);
    free(again.tokens);
    harness_finish(&h);
}

/* Text events are the pieces of their tokens, whole characters only. */
static void test_text_is_the_pieces(void **state) {
    (void)state;
    struct harness h;
    start(&h);
    int n_text = 0;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct engine_session *s = harness_session(&h);
        struct engine_sampling how = warm;
        how.seed = seed;
        how.top_k = 0;
        append(s, ENGINE_SPAN_TEXT, "he");
        harness_generate(&h, s, &how, 50);
        struct outcome *o = harness_wait(&h, s);
        assert_true(o->done);
        size_t plain = 0; /* ASCII pieces come through as they are */
        for (int i = 0; i < o->n_tokens; i++)
            plain += o->tokens[i] >= 33 && o->tokens[i] < 127 ? 1 : 0;
        size_t ascii = 0;
        for (size_t i = 0; i < o->len; i++)
            ascii += o->text[i] > 32 && o->text[i] < 127 ? 1 : 0;
        assert_true(ascii >= plain);
        assert_int_equal(engine_session_length(s), 2 + o->n_tokens); /* BOS, he */
        n_text += o->n_text_events;
        harness_destroy(&h, s);
    }
    assert_true(n_text > 30);
    harness_finish(&h);
}

/* A stop token ends the turn and is not kept; a text that is no control token stops nothing. */
static void test_stop_tokens(void **state) {
    (void)state;
    static const char *const stops[] = {"<tool_call>", "hello", "<|nonsense|>", NULL};
    struct harness h;
    start(&h);
    int stopped = 0, went_on = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct engine_session *s = harness_session(&h);
        struct engine_generate how = {.sampling = warm, .max_tokens = 55, .stop_tokens = stops};
        how.sampling.seed = seed;
        how.sampling.top_k = 0;
        how.sampling.top_p = 1;
        char err[300];
        append(s, ENGINE_SPAN_TEXT, "he");
        assert_int_equal(engine_session_generate(s, &how, err, sizeof err), 0);
        struct outcome *o = harness_wait(&h, s);
        for (int i = 0; i < o->n_tokens; i++) {
            assert_int_not_equal(o->tokens[i], FIXTURE_END);
            assert_int_not_equal(o->tokens[i], 262); /* <tool_call> */
        }
        if (o->last.finish == ENGINE_FINISH_STOP)
            stopped++;
        else
            went_on++;
        harness_destroy(&h, s);
    }
    assert_true(stopped > 10 && went_on > 10);
    harness_finish(&h);
}

static void test_refusals(void **state) {
    (void)state;
    struct harness h;
    char err[300] = "";
    struct engine *none = NULL;
    struct engine_config config = {.model_path = "/nonexistent/model.gguf"};
    assert_int_equal(engine_open(&config, &none, err, sizeof err), -ENOENT);
    assert_non_null(strstr(err, "/nonexistent/model.gguf"));
    config = (struct engine_config){.model_path = model, .kv_bytes = 100};
    assert_int_equal(engine_open(&config, &none, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "100 bytes"));
    start(&h);
    struct engine_session *s = harness_session(&h);
    char text[200];
    memset(text, 'x', sizeof text);
    struct engine_span span = {.kind = ENGINE_SPAN_TEXT, .data = text, .len = sizeof text};
    assert_int_equal(engine_session_append(s, &span, 1, err, sizeof err), -E2BIG);
    assert_non_null(strstr(err, "holds 64 tokens: 0 are used and 201 more"));
    assert_int_equal(engine_session_length(s), 0);
    harness_finish(&h);
}

static int setup(void **state) {
    (void)state;
    struct fixture f;
    fixture_gguf(&f, NULL);
    fixture_write(fixture_path(model, "text.gguf"), f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return unlink(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_file_says),
        cmocka_unit_test(test_spans_become_tokens),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_replay_goes_on),
        cmocka_unit_test(test_text_is_the_pieces),
        cmocka_unit_test(test_stop_tokens),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
