/* Forced tokens in the engine: fewer steps, the tokenizer's tokens, keys and values that fit them, and what
 * ends a generation in the middle. Random weights with the vocabulary of the fixture, whose merges make one
 * token of "hello". */
#include "engine/engine.h"
#include "engine/grammar.h"
#include "engine/local.h"
#include "engine/tokenizer.h"
#include "tests/engine/fixture.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTEXT 768

static struct model *fixture; /* its tokenizer */
static struct random_engine weights;

static void start(struct harness *h, size_t kv_bytes) {
    char err[300] = "";
    harness_init(h);
    struct engine_config config = {
        .max_context = CONTEXT, .kv_bytes = kv_bytes, .n_threads = 1, .wake = harness_wake, .wake_arg = h};
    if (local_open_model(&config, &weights.model, false, &h->engine, err, sizeof err) != 0)
        fail_msg("%s", err);
}

static struct grammar *compile(struct grammar_builder *b, uint32_t root) {
    struct grammar *g = NULL;
    char err[200] = "";
    if (grammar_compile(b, root, 8, &g, err, sizeof err) != 0)
        fail_msg("%s", err);
    grammar_builder_destroy(b);
    return g;
}

static struct grammar *literal(const char *text) {
    struct grammar_builder *b = grammar_builder_create();
    return compile(b, grammar_literal(b, text, strlen(text)));
}

/* One of the texts, min to max times; then `end`. */
static struct grammar *repeated(const char *const *texts, size_t n, uint32_t min, uint32_t max,
                                const char *end) {
    struct grammar_builder *b = grammar_builder_create();
    uint32_t items[8];
    for (size_t i = 0; i < n; i++)
        items[i] = grammar_literal(b, texts[i], strlen(texts[i]));
    uint32_t parts[] = {grammar_repeat(b, grammar_choice(b, items, n), min, max),
                        grammar_literal(b, end, strlen(end))};
    return compile(b, grammar_sequence(b, parts, 2));
}

static void ask(struct harness *h, struct engine_session *s, const struct engine_generate *how) {
    char err[300] = "";
    struct outcome *o = harness_outcome(h, s);
    free(o->text);
    free(o->tokens);
    *o = (struct outcome){.session = s};
    if (engine_session_generate(s, how, err, sizeof err) != 0)
        fail_msg("%s", err);
}

/* A new session generates after "call"; its outcome. */
static struct outcome *run(struct harness *h, struct engine_session **s, const struct engine_generate *how) {
    *s = harness_session(h);
    harness_append_text(*s, "call");
    ask(h, *s, how);
    struct outcome *o = harness_wait(h, *s);
    assert_true(o->done);
    return o;
}

static uint64_t steps_of(struct harness *h) {
    struct local_engine *e = (struct local_engine *)(void *)h->engine;
    pthread_mutex_lock(&e->lock);
    uint64_t n = e->n_steps;
    pthread_mutex_unlock(&e->lock);
    return n;
}

/* The ids are the whole text, and what the timeline has. */
static void expect_whole(const struct outcome *o, const struct engine_session *s, int prompt) {
    size_t at = 0;
    for (int i = 0; i < o->n_tokens; i++) {
        size_t len = 0;
        const char *piece = tokenizer_piece(fixture->tokenizer, o->tokens[i], &len);
        assert_non_null(piece);
        assert_true(at + len <= o->len);
        assert_memory_equal(o->text + at, piece, len);
        at += len;
    }
    assert_int_equal(at, o->len);
    assert_int_equal(engine_session_length(s), prompt + o->n_tokens);
    const struct local_session *l = (const struct local_session *)(const void *)s;
    assert_memory_equal(l->tokens + prompt, o->tokens, (size_t)o->n_tokens * sizeof *o->tokens);
}

static bool is_canonical(const struct outcome *o) {
    struct token_list ids = {0};
    assert_int_equal(tokenizer_encode_template(fixture->tokenizer, o->text, o->len, &ids), 0);
    bool same = ids.n == (size_t)o->n_tokens && memcmp(ids.v, o->tokens, ids.n * sizeof *ids.v) == 0;
    token_list_finish(&ids);
    return same;
}

static int prompt_length(struct harness *h) {
    struct engine_session *s = harness_session(h);
    harness_append_text(s, "call");
    int n = engine_session_length(s);
    harness_destroy(h, s);
    return n;
}

/* A text without a choice: only the steps that compute it, many tokens in each. */
static void test_forced_text_costs_no_step(void **state) {
    (void)state;
    static const char text[] = "hello hello {\"a\": 1, \"b\": [true, false, \"hello\"]}\n<|im_start|>";
    struct harness h;
    struct engine_session *s;
    start(&h, 0);
    struct grammar *g = literal(text);
    int prompt = prompt_length(&h);
    uint64_t before = steps_of(&h);
    struct engine_generate how = {.max_tokens = 200, .grammar = g};
    struct outcome *o = run(&h, &s, &how);
    assert_string_equal(o->text, text);
    assert_int_equal(o->last.finish, ENGINE_FINISH_STOP);
    assert_int_equal(o->last.forced_tokens, o->n_tokens);
    assert_true(o->n_tokens > 40);
    assert_in_range(steps_of(&h) - before, 1, 10);
    expect_whole(o, s, prompt);
    struct token_list ids = {0};
    assert_int_equal(tokenizer_encode_text(fixture->tokenizer, text, strlen(text), &ids), 0);
    assert_int_equal(ids.n, o->n_tokens);
    assert_memory_equal(ids.v, o->tokens, ids.n * sizeof *ids.v);
    token_list_finish(&ids);
    /* Without, the text is the same, with a step for each token. */
    how.no_forced = true;
    before = steps_of(&h);
    o = run(&h, &s, &how);
    assert_string_equal(o->text, text);
    assert_int_equal(o->last.forced_tokens, 0);
    assert_true(steps_of(&h) - before >= (uint64_t)o->n_tokens);
    harness_finish(&h);
    grammar_unref(g);
}

/* What is behind a tag is a text of its own; the tag is its added token. */
static void test_tags_are_added_tokens(void **state) {
    (void)state;
    struct harness h;
    struct engine_session *s;
    start(&h, 0);
    struct grammar_builder *b = grammar_builder_create();
    uint32_t parts[] = {grammar_literal(b, "hell", 4), grammar_tag(b, "<tool_call>"),
                        grammar_literal(b, "o hello\n", 8), grammar_tag(b, "<no_such_tag>")};
    struct grammar *g = compile(b, grammar_sequence(b, parts, 4));
    struct engine_generate how = {.max_tokens = 100, .grammar = g};
    struct outcome *o = run(&h, &s, &how);
    assert_string_equal(o->text, "hell<tool_call>o hello\n<no_such_tag>");
    assert_true(is_canonical(o));
    assert_int_equal(o->last.forced_tokens, o->n_tokens);
    int32_t tag = tokenizer_find_added(fixture->tokenizer, "<tool_call>");
    assert_true(tag >= 0);
    assert_int_equal(o->tokens[1], tag);
    harness_finish(&h);
    grammar_unref(g);
}

/* A forced token may end the turn as well. */
static void test_stop_token(void **state) {
    (void)state;
    static const char *const stops[] = {"<tool_call>", NULL};
    struct harness h;
    struct engine_session *s;
    start(&h, 0);
    struct grammar_builder *b = grammar_builder_create();
    uint32_t parts[] = {grammar_literal(b, "hell", 4), grammar_tag(b, "<tool_call>"),
                        grammar_literal(b, "hello", 5)};
    struct grammar *g = compile(b, grammar_sequence(b, parts, 3));
    struct engine_generate how = {.max_tokens = 100, .grammar = g, .stop_tokens = stops};
    struct outcome *o = run(&h, &s, &how);
    assert_string_equal(o->text, "hell");
    assert_int_equal(o->last.finish, ENGINE_FINISH_STOP);
    expect_whole(o, s, engine_session_length(s) - 1);
    harness_finish(&h);
    grammar_unref(g);
}

/* A published page is found by the tokens of its session. */
static void expect_pages(struct harness *h, const struct engine_session *s) {
    struct local_engine *e = (struct local_engine *)(void *)h->engine;
    const struct local_session *l = (const struct local_session *)(const void *)s;
    pthread_mutex_lock(&e->lock);
    for (int i = 0; i < l->n_published; i++) {
        int32_t parent = i > 0 ? l->pages[i - 1] : PAGES_NONE;
        int32_t page = pages_find(e->pages, parent, l->tokens + i * KERNELS_PAGE_TOKENS);
        assert_int_equal(page, l->pages[i]);
        pages_drop(e->pages, page);
    }
    pthread_mutex_unlock(&e->lock);
}

/* Whatever tokens the model takes for the bytes that it may choose, in the end they are the tokenizer's, and
 * the keys and values are theirs: another engine that computes the same timeline at once goes on alike. */
static void test_healing(void **state) {
    (void)state;
    static const char *const texts[] = {"hello ", "help", " hell", "he. ", "l\n \n"};
    struct grammar *g = repeated(texts, 5, 100, 100, "hello");
    struct harness h, other;
    int replaced = 0;
    start(&h, 0);
    start(&other, 0);
    int prompt = prompt_length(&h);
    for (uint64_t seed = 0; seed < 12; seed++) {
        struct engine_session *s, *again = harness_session(&other);
        struct engine_generate how = {
            .sampling = {.temperature = 1.5f, .seed = seed}, .max_tokens = 600, .grammar = g};
        struct outcome *o = run(&h, &s, &how);
        assert_int_equal(o->last.finish, ENGINE_FINISH_STOP);
        expect_whole(o, s, prompt);
        if (!is_canonical(o))
            fail_msg("seed %d: %s", (int)seed, o->text);
        expect_pages(&h, s);
        replaced += o->last.forced_tokens < o->n_tokens;
        harness_append_text(again, "call");
        harness_append_tokens(again, o->tokens, (size_t)o->n_tokens);
        harness_generate(&h, s, NULL, 20);
        harness_generate(&other, again, NULL, 20);
        o = harness_wait(&h, s);
        const struct outcome *same = harness_wait(&other, again);
        assert_int_equal(o->n_tokens, same->n_tokens);
        assert_memory_equal(o->tokens, same->tokens, (size_t)o->n_tokens * sizeof *o->tokens);
        harness_destroy(&h, s);
        harness_destroy(&other, again);
    }
    assert_int_equal(replaced, 12);
    harness_finish(&h);
    harness_finish(&other);
    grammar_unref(g);
}

/* The word at the end of a turn is settled by the turn's end. */
static void test_turn_ends_in_a_word(void **state) {
    (void)state;
    struct grammar_builder *b = grammar_builder_create();
    uint32_t parts[] = {grammar_literal(b, "{hel", 4), grammar_repeat(b, grammar_literal(b, "l", 1), 0, 1),
                        grammar_repeat(b, grammar_literal(b, "o", 1), 0, 1)};
    struct grammar *g = compile(b, grammar_sequence(b, parts, 3));
    struct harness h;
    start(&h, 0);
    int ended = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct engine_session *s;
        struct engine_generate how = {
            .sampling = {.temperature = 1.5f, .seed = seed}, .max_tokens = 20, .grammar = g};
        struct outcome *o = run(&h, &s, &how);
        if (!is_canonical(o))
            fail_msg("seed %d: %s", (int)seed, o->text);
        ended += strcmp(o->text, "{hell") == 0;
        harness_destroy(&h, s);
    }
    assert_in_range(ended, 1, 39);
    harness_finish(&h);
    grammar_unref(g);
}

/* What closes a call is told in the step of its last brace: agents start a call at its closing tag. */
static void test_a_call_closes_at_its_brace(void **state) {
    (void)state;
    static const char *const texts[] = {"hello ", "help "};
    struct grammar_builder *b = grammar_builder_create();
    uint32_t items[] = {grammar_literal(b, "a", 1), grammar_literal(b, "bb", 2)};
    uint32_t words[] = {grammar_literal(b, texts[0], strlen(texts[0])),
                        grammar_literal(b, texts[1], strlen(texts[1]))};
    uint32_t parts[] = {grammar_literal(b, "{", 1), grammar_repeat(b, grammar_choice(b, items, 2), 1, 6),
                        grammar_literal(b, "}}\n", 3), grammar_tag(b, "<tool_call>"),
                        grammar_repeat(b, grammar_choice(b, words, 2), 3, 3)};
    struct grammar *g = compile(b, grammar_sequence(b, parts, 5));
    struct harness h;
    start(&h, 0);
    int n_events = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct engine_session *s;
        struct engine_generate how = {
            .sampling = {.temperature = 1.5f, .seed = seed}, .max_tokens = 60, .grammar = g};
        struct outcome *o = run(&h, &s, &how);
        const char *brace = strchr(o->text, '}'), *tag = strstr(o->text, "<tool_call>");
        assert_true(brace != NULL && tag != NULL && o->n_text_events <= HARNESS_TEXT_ENDS);
        size_t from = (size_t)(brace - o->text), to = (size_t)(tag - o->text) + strlen("<tool_call>");
        for (int i = 0; i < o->n_text_events; i++)
            if (o->text_ends[i] > from && o->text_ends[i] < to)
                fail_msg("seed %d: the brace came without the tag: %.*s", (int)seed, (int)o->text_ends[i],
                         o->text);
        n_events += o->n_text_events;
        harness_destroy(&h, s);
    }
    assert_true(n_events > 20); /* steps that were not waited for share an event */
    harness_finish(&h);
    grammar_unref(g);
}

/* Every number of tokens is kept, in the middle of a forced text too. */
static void test_max_tokens(void **state) {
    (void)state;
    static const char *const texts[] = {"hello there, ", "help, "};
    struct grammar *g = repeated(texts, 2, 4, 4, "hello hello!");
    struct harness h;
    start(&h, 0);
    int prompt = prompt_length(&h), whole = 0;
    for (int most = 1; most < 70; most++) {
        struct engine_session *s;
        struct engine_generate how = {
            .sampling = {.temperature = 1, .seed = 3}, .max_tokens = most, .grammar = g};
        struct outcome *o = run(&h, &s, &how);
        expect_whole(o, s, prompt);
        assert_true(o->n_tokens <= most);
        if (o->last.finish == ENGINE_FINISH_STOP) {
            whole++;
            assert_true(o->len > 12 && strcmp(o->text + o->len - 12, "hello hello!") == 0);
        } else {
            assert_int_equal(o->last.finish, ENGINE_FINISH_LENGTH);
            assert_int_equal(o->n_tokens, most);
            assert_true(most < 4 * 6 + 12); /* bytes of the shortest text: from there on it is in time */
        }
        harness_destroy(&h, s);
    }
    assert_true(whole >= 70 - (4 * 6 + 12));
    harness_finish(&h);
    grammar_unref(g);
}

static void test_context_ceiling(void **state) {
    (void)state;
    static const char *const texts[] = {"hello there, ", "help, "};
    struct grammar *g = repeated(texts, 2, 4, GRAMMAR_FOREVER, "hello hello!");
    struct harness h;
    start(&h, 0);
    int32_t filler[CONTEXT];
    for (int i = 0; i < CONTEXT; i++)
        filler[i] = 'a' + i % 26;
    for (int left = 0; left < 60; left++) {
        struct engine_session *s = harness_session(&h);
        harness_append_tokens(s, filler, (size_t)(CONTEXT - 1 - left));
        int prompt = engine_session_length(s);
        struct engine_generate how = {
            .sampling = {.temperature = 1, .seed = (uint64_t)left}, .max_tokens = 500, .grammar = g};
        ask(&h, s, &how);
        struct outcome *o = harness_wait(&h, s);
        assert_true(o->done);
        expect_whole(o, s, prompt);
        assert_true(prompt + o->n_tokens <= CONTEXT);
        if (CONTEXT - prompt > 4 * 6 + 12)
            assert_int_equal(o->last.finish, ENGINE_FINISH_STOP);
        else if (o->last.finish != ENGINE_FINISH_STOP)
            assert_int_equal(o->last.finish, ENGINE_FINISH_CONTEXT_FULL);
        harness_destroy(&h, s);
    }
    harness_finish(&h);
    grammar_unref(g);
}

/* At any moment: what was sent is what stands on the timeline, and the session goes on. */
static void test_cancel(void **state) {
    (void)state;
    static const char *const texts[] = {"hello there, ", "help. ", "he"};
    struct grammar *g = repeated(texts, 3, 60, 60, "hello");
    struct harness h;
    start(&h, 0);
    int prompt = prompt_length(&h), cancelled = 0;
    for (int i = 0; i < 60; i++) {
        struct engine_session *s = harness_session(&h);
        struct engine_generate how = {
            .sampling = {.temperature = 1, .seed = (uint64_t)i}, .max_tokens = 600, .grammar = g};
        harness_append_text(s, "call");
        ask(&h, s, &how);
        if (i % 3 > 0)
            harness_wait_tokens(&h, s, i);
        engine_session_cancel(s);
        struct outcome *o = harness_wait(&h, s);
        assert_true(o->done);
        cancelled += o->last.finish == ENGINE_FINISH_CANCELLED;
        expect_whole(o, s, prompt);
        harness_generate(&h, s, NULL, 4);
        assert_true(harness_wait(&h, s)->done);
        harness_destroy(&h, s);
    }
    assert_true(cancelled > 20);
    harness_finish(&h);
    grammar_unref(g);
}

/* Sessions that take the pages of each other write what they write alone. */
static void test_eviction(void **state) {
    (void)state;
    static const char *const texts[] = {"hello there, ", "help. ", "he", " hell"};
    struct grammar *g = repeated(texts, 4, 60, 60, "hello");
    struct engine_session *s[6];
    int32_t *alone[6];
    int n[6];
    struct harness h;
    start(&h, 0);
    for (int i = 0; i < 6; i++) {
        struct engine_generate how = {
            .sampling = {.temperature = 1, .seed = (uint64_t)i}, .max_tokens = 600, .grammar = g};
        struct outcome *o = run(&h, &s[0], &how);
        n[i] = o->n_tokens;
        alone[i] = malloc((size_t)n[i] * sizeof(int32_t));
        assert_non_null(alone[i]);
        memcpy(alone[i], o->tokens, (size_t)n[i] * sizeof(int32_t));
        harness_destroy(&h, s[0]);
    }
    harness_finish(&h);
    start(&h, forward_page_bytes(&weights.model, DTYPE_F16) * (CONTEXT / KERNELS_PAGE_TOKENS + 2));
    for (int i = 0; i < 6; i++) {
        struct engine_generate how = {
            .sampling = {.temperature = 1, .seed = (uint64_t)i}, .max_tokens = 600, .grammar = g};
        s[i] = harness_session(&h);
        harness_append_text(s[i], "call");
        ask(&h, s[i], &how);
    }
    for (int i = 0; i < 6; i++) {
        struct outcome *o = harness_wait(&h, s[i]);
        assert_true(o->done);
        assert_int_equal(o->n_tokens, n[i]);
        assert_memory_equal(o->tokens, alone[i], (size_t)n[i] * sizeof(int32_t));
        free(alone[i]);
    }
    harness_finish(&h);
    grammar_unref(g);
}

static int set_up(void **state) {
    (void)state;
    fixture = fixture_open("forced.gguf");
    static const struct random_shape shape = {.n_layers = 2,
                                              .n_heads = 2,
                                              .n_kv_heads = 1,
                                              .head_dim = 8,
                                              .dim = 16,
                                              .ffn_dim = 16,
                                              .n_vocab = FIXTURE_VOCAB,
                                              .type = DTYPE_F32,
                                              .seed = 5};
    random_engine_init(&weights, &shape, CONTEXT);
    random_engine_speak(&weights, fixture);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    random_engine_finish(&weights);
    model_close(fixture);
    return 0;
}

/* ---- beside others ---- */

struct beside {
    const struct local_session *forced, *other;
    sem_t begun, go;
    int n_seen, n_late; /* steps with forced tokens to compute while a prompt is read; that left some out */
};

static void look(void *arg, const struct local_engine *e) {
    struct beside *b = arg;
    const struct local_session *s = b->forced;
    ((struct local_engine *)(uintptr_t)e)->always_rows = LOCAL_MIN_ROWS;
    if (s == NULL || b->other == NULL) {
        sem_post(&b->begun);
        sem_wait(&b->go);
        return;
    }
    int pending = s->n_tokens - s->n_computed, wanted = pending < e->step.budget ? pending : e->step.budget;
    if (!s->gen.running || s->n_computed < s->gen.first || pending < 2 ||
        b->other->n_computed + e->step.budget >= b->other->gen.first)
        return;
    b->n_seen++;
    b->n_late += s->n_rows < wanted;
}

/* What was forced is computed before what is left of anybody's prompt, also of one that asked first. */
static void test_forced_tokens_go_before_prompts(void **state) {
    (void)state;
    static const char *const texts[] = {
        "a: [true, false, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]",
        "b: [true, false, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]"};
    struct harness h;
    struct beside b = {0};
    int32_t ids[600];
    for (int i = 0; i < 600; i++)
        ids[i] = 40 + i * 7 % 50;
    sem_init(&b.begun, 0, 0);
    sem_init(&b.go, 0, 0);
    start(&h, 0);
    struct local_engine *e = (struct local_engine *)(void *)h.engine;
    pthread_mutex_lock(&e->lock);
    e->observe = look;
    e->observe_arg = &b;
    pthread_mutex_unlock(&e->lock);
    struct grammar *g = repeated(texts, 2, 3, 3, ".");
    struct engine_session *first = harness_session(&h), *other = harness_session(&h),
                          *s = harness_session(&h);
    harness_append_tokens(first, ids, 3); /* holds the engine in its first step */
    harness_generate(&h, first, NULL, 1);
    sem_wait(&b.begun);
    harness_append_tokens(other, ids, 600);
    harness_generate(&h, other, NULL, 2);
    engine_session_about(s, &(struct engine_about){.client = 1}); /* its prompt has its share */
    harness_append_text(s, "call");
    ask(&h, s, &(struct engine_generate){.max_tokens = 400, .grammar = g});
    b.forced = (const struct local_session *)(const void *)s;
    b.other = (const struct local_session *)(const void *)other;
    sem_post(&b.go);
    assert_true(harness_wait(&h, s)->done);
    assert_int_equal(harness_outcome(&h, s)->len, 3 * strlen(texts[0]) + 1);
    assert_true(harness_wait(&h, other)->done);
    assert_true(b.n_seen > 2);
    assert_int_equal(b.n_late, 0);
    grammar_unref(g);
    harness_finish(&h);
    sem_destroy(&b.begun);
    sem_destroy(&b.go);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forced_text_costs_no_step),
        cmocka_unit_test(test_forced_tokens_go_before_prompts),
        cmocka_unit_test(test_tags_are_added_tokens),
        cmocka_unit_test(test_stop_token),
        cmocka_unit_test(test_healing),
        cmocka_unit_test(test_turn_ends_in_a_word),
        cmocka_unit_test(test_a_call_closes_at_its_brace),
        cmocka_unit_test(test_max_tokens),
        cmocka_unit_test(test_context_ceiling),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_eviction),
    };
    return cmocka_run_group_tests_name("forced tokens", tests, set_up, tear_down);
}
