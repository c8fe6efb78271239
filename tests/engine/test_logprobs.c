/* Log-probabilities: of known distributions, ties, what is no number, lists longer than the vocabulary; and
 * those that events carry, beside the ones of the logits that the model gives at that place. */
#include "engine/events.h"
#include "engine/logprobs.h"
#include "engine/grammar.h"
#include "engine/local.h"
#include "tests/engine/fixture.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void expect_near(float got, double want) {
    if (!(fabs((double)got - want) < 1e-6))
        fail_msg("%.9g, not %.9g", (double)got, want);
}

/* Of weights 1, 2, 3 and 4, whatever is added to all logits. */
static void test_a_known_distribution(void **state) {
    (void)state;
    static const float moved[] = {0, 80, -300};
    for (int m = 0; m < 3; m++) {
        struct kernels_logprobs of;
        float logits[4];
        for (int i = 0; i < 4; i++)
            logits[i] = (float)(log(i + 1) + (double)moved[m]);
        double slack = m == 0 ? 0 : 2e-5; /* of the logits themselves */
        logprobs_of(logits, 4, 1, 2, &of);
        assert_true(fabs((double)of.chosen - log(0.2)) < 1e-6 + slack);
        assert_int_equal(of.n_top, 2);
        assert_int_equal(of.top[0].token, 3);
        assert_int_equal(of.top[1].token, 2);
        assert_true(fabs((double)of.top[0].logprob - log(0.4)) < 1e-6 + slack);
        assert_true(fabs((double)of.top[1].logprob - log(0.3)) < 1e-6 + slack);
    }
}

/* Probabilities of a whole list sum up to one, best first, of equal ones the lower token. */
static void test_order(void **state) {
    (void)state;
    static const float logits[] = {1, 3, 2, 3, 2, -1, 3};
    static const int32_t order[] = {1, 3, 6, 2, 4, 0, 5};
    struct kernels_logprobs of;
    double sum = 0;
    logprobs_of(logits, 7, 0, KERNELS_TOP_LOGPROBS, &of);
    assert_int_equal(of.n_top, 7);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(of.top[i].token, order[i]);
        sum += exp((double)of.top[i].logprob);
    }
    expect_near((float)sum, 1);
    logprobs_of(logits, 7, 0, 4, &of);
    assert_int_equal(of.n_top, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(of.top[i].token, order[i]);
    logprobs_of(logits, 7, 6, 0, &of);
    assert_int_equal(of.n_top, 0);
    struct kernels_logprobs best;
    logprobs_of(logits, 7, 1, 1, &best);
    expect_near(of.chosen, (double)best.top[0].logprob);
}

/* What cannot be and what is no number counts for nothing. */
static void test_no_numbers(void **state) {
    (void)state;
    const float logits[] = {NAN, 0, -INFINITY, 0, NAN};
    struct kernels_logprobs of;
    logprobs_of(logits, 5, 3, 5, &of);
    assert_int_equal(of.n_top, 2);
    assert_int_equal(of.top[0].token, 1);
    assert_int_equal(of.top[1].token, 3);
    expect_near(of.chosen, log(0.5));
    logprobs_of(logits, 5, 2, 0, &of);
    assert_true(isinf(of.chosen) && of.chosen < 0);
}

/* ---- of a generation ---- */

#define CONTEXT  128
#define N_PROMPT 10

static struct model *fixture; /* its tokenizer */
static struct random_engine random_one;

static void start(struct harness *h) {
    char err[300] = "";
    const struct engine_config config = {
        .max_context = CONTEXT, .max_sessions = 2, .n_threads = 1, .wake = harness_wake, .wake_arg = h};
    harness_init(h);
    if (local_open_model(&config, &random_one.model, true, &h->engine, err, sizeof err) != 0)
        fail_msg("%s", err);
}

/* One generation; the whole timeline in `tokens`. */
static const struct outcome *generate(struct harness *h, const struct engine_generate *how, int32_t *tokens) {
    char err[300] = "";
    struct engine_session *s = harness_session(h);
    for (int i = 0; i < N_PROMPT; i++)
        tokens[i] = 'a' + i * 7 % 26;
    harness_append_tokens(s, tokens, N_PROMPT);
    if (engine_session_generate(s, how, err, sizeof err) != 0)
        fail_msg("%s", err);
    const struct outcome *o = harness_wait(h, s);
    assert_true(o->done);
    memcpy(tokens + N_PROMPT, o->tokens, (size_t)o->n_tokens * sizeof *tokens);
    return o;
}

/* Of every token of the generation, by a forward pass of its own. Returns for how many there was nothing. */
static int check_told(const struct outcome *o, const int32_t *tokens, int n_top) {
    static const int32_t pages[CONTEXT / KERNELS_PAGE_TOKENS] = {0, 1};
    struct kernels_row rows[CONTEXT];
    int32_t outputs[CONTEXT];
    char err[300] = "";
    int n = N_PROMPT + o->n_tokens - 1, silent = 0;
    const struct forward_config config = {.max_rows = CONTEXT,
                                          .max_outputs = CONTEXT,
                                          .max_context = CONTEXT,
                                          .n_pages = 2,
                                          .kv_type = DTYPE_F32,
                                          .n_threads = 1,
                                          .exact = true};
    struct forward *f = NULL;
    assert_int_equal(forward_open(&random_one.model, &config, &f, err, sizeof err), 0);
    for (int i = 0; i < n; i++) {
        rows[i] = (struct kernels_row){.token = tokens[i], .position = i};
        outputs[i] = i;
    }
    const struct kernels_batch batch = {
        .rows = rows, .n_rows = n, .pages = pages, .pages_stride = 2, .outputs = outputs, .n_outputs = n};
    assert_int_equal(forward_run(f, &batch, err, sizeof err), 0);
    for (int i = 0; i < o->n_tokens; i++) {
        const struct engine_logprobs *got = &o->logprobs[i];
        struct kernels_logprobs want;
        logprobs_of(forward_logits(f, N_PROMPT - 1 + i), FIXTURE_VOCAB, o->tokens[i], n_top, &want);
        silent += !got->there;
        if (!got->there)
            continue;
        expect_near(got->logprob, (double)want.chosen);
        assert_int_equal(got->n_top, n_top);
        for (int k = 0; k < n_top; k++) {
            assert_int_equal(got->top[k].token, want.top[k].token);
            expect_near(got->top[k].logprob, (double)want.top[k].logprob);
        }
    }
    forward_close(f);
    return silent;
}

/* Whatever is done to the logits, the numbers are of the model's own. */
static void test_of_free_text(void **state) {
    (void)state;
    static const struct engine_sampling ways[] = {
        {.temperature = 0, .repeat_penalty = 1.5f},
        {.temperature = 1.3f, .seed = 2},
        {.temperature = 0.5f, .top_k = 4, .top_p = 0.8f, .repeat_penalty = 1.2f, .seed = 3}};
    struct harness h;
    int32_t tokens[CONTEXT];
    start(&h);
    for (int i = 0; i < 3; i++) {
        const struct engine_generate how = {
            .sampling = ways[i], .max_tokens = 60, .logprobs = true, .top_logprobs = 10 * i};
        const struct outcome *o = generate(&h, &how, tokens);
        assert_non_null(o->logprobs);
        assert_int_equal(check_told(o, tokens, 10 * i), 0);
        harness_destroy(&h, o->session);
    }
    harness_finish(&h);
}

/* Under a grammar too; of tokens that cost no step there is nothing to tell. */
static void test_of_forced_tokens(void **state) {
    (void)state;
    static const char *const texts[] = {"hello ", "help", "x: hello there\n", "l\n \n"};
    struct grammar_builder *b = grammar_builder_create();
    struct grammar *g = NULL;
    struct harness h;
    int32_t tokens[CONTEXT];
    uint32_t items[4];
    char err[200] = "";
    for (int i = 0; i < 4; i++)
        items[i] = grammar_literal(b, texts[i], strlen(texts[i]));
    uint32_t root = grammar_repeat(b, grammar_choice(b, items, 4), 9, 9);
    assert_int_equal(grammar_compile(b, root, 8, &g, err, sizeof err), 0);
    grammar_builder_destroy(b);
    start(&h);
    int silent = 0, forced = 0, n = 0;
    for (int i = 0; i < 6; i++) {
        const struct engine_generate how = {.sampling = {.temperature = 1.5f, .seed = (uint64_t)i},
                                            .max_tokens = 100,
                                            .grammar = g,
                                            .no_forced = i == 5,
                                            .logprobs = true,
                                            .top_logprobs = 3};
        const struct outcome *o = generate(&h, &how, tokens);
        int none = check_told(o, tokens, 3);
        assert_true(none >= o->last.forced_tokens); /* others were replaced */
        if (how.no_forced)
            assert_int_equal(none, 0);
        silent += none;
        forced += o->last.forced_tokens;
        n += o->n_tokens;
        harness_destroy(&h, o->session);
    }
    print_message("%d tokens, %d of them forced, nothing told of %d\n", n, forced, silent);
    assert_true(forced > 5 && n - silent > 50);
    harness_finish(&h);
    grammar_unref(g);
}

/* Text that was not taken yet is joined, and what is told of its tokens with it. */
static void test_joined_events(void **state) {
    (void)state;
    struct events q;
    struct engine_session s = {0};
    events_init(&q, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        const int32_t ids[2] = {10 * i, 10 * i + 1};
        struct buf text;
        buf_init(&text, 16);
        assert_int_equal(buf_puts(&text, "a"), 0);
        struct engine_event *event = events_new(&s, ENGINE_EVENT_TEXT, &text, ids, 2);
        event->logprobs = calloc(2, sizeof *event->logprobs);
        assert_non_null(event->logprobs);
        for (int k = 0; k < 2; k++)
            event->logprobs[k] = (struct engine_logprobs){.there = true, .logprob = (float)-ids[k]};
        events_push(&q, event);
    }
    struct engine_event *event = events_take(&q);
    assert_null(event->next);
    assert_int_equal(event->n_tokens, 6);
    for (int i = 0; i < 6; i++)
        assert_true(event->logprobs[i].there && event->logprobs[i].logprob == (float)-event->tokens[i]);
    engine_event_free(event);
    events_finish(&q);
}

static void test_refused(void **state) {
    (void)state;
    struct harness h;
    char err[300] = "";
    start(&h);
    struct engine_session *s = harness_session(&h);
    harness_append_text(s, "hello");
    for (int n = -1; n <= ENGINE_TOP_LOGPROBS + 1; n += ENGINE_TOP_LOGPROBS + 2) {
        const struct engine_generate how = {.max_tokens = 5, .logprobs = true, .top_logprobs = n};
        assert_int_equal(engine_session_generate(s, &how, err, sizeof err), -EINVAL);
        assert_non_null(strstr(err, "top_logprobs"));
    }
    harness_finish(&h);
}

static int set_up(void **state) {
    (void)state;
    fixture = fixture_open("logprobs.gguf");
    const struct random_shape shape = {.n_layers = 1,
                                       .n_heads = 2,
                                       .n_kv_heads = 1,
                                       .head_dim = 16,
                                       .dim = 32,
                                       .ffn_dim = 64,
                                       .n_vocab = FIXTURE_VOCAB,
                                       .type = DTYPE_F32,
                                       .seed = 5};
    random_engine_init(&random_one, &shape, CONTEXT);
    random_engine_speak(&random_one, fixture);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    random_engine_finish(&random_one);
    model_close(fixture);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_known_distribution),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_no_numbers),
        cmocka_unit_test(test_of_free_text),
        cmocka_unit_test(test_of_forced_tokens),
        cmocka_unit_test(test_joined_events),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("log-probabilities", tests, set_up, tear_down);
}
