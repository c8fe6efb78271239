/* Nothing is computed twice: exact counts of what sessions computed, and of what they computed again.
 * Sessions that come together: test_at_once.c. */
#include "engine/local.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTEXT 512
#define VOCAB   300

static const struct random_shape shape = {.n_layers = 2,
                                          .n_heads = 4,
                                          .n_kv_heads = 2,
                                          .head_dim = 16,
                                          .dim = 64,
                                          .ffn_dim = 96,
                                          .n_vocab = VOCAB,
                                          .type = DTYPE_Q8_0,
                                          .seed = 11};

static struct random_engine weights;

/* An engine with so many pages, 0: enough for all; host memory for more; and a file, NULL: none. */
static void start_on(struct harness *h, int n_pages, int n_host, const char *prefix_path) {
    size_t page = forward_page_bytes(&weights.model, DTYPE_F16);
    char err[300] = "";
    harness_init(h);
    struct engine_config config = {.max_context = CONTEXT,
                                   .kv_bytes = (size_t)n_pages * page,
                                   .host_kv_bytes = (size_t)n_host * page,
                                   .prefix_path = prefix_path,
                                   .prefix_bytes = prefix_path != NULL ? (size_t)1 << 24 : 0,
                                   .n_threads = 2,
                                   .wake = harness_wake,
                                   .wake_arg = h};
    if (local_open_model(&config, &weights.model, false, &h->engine, err, sizeof err) < 0)
        fail_msg("%s", err);
}

static void start_with(struct harness *h, int n_pages, int n_host) {
    start_on(h, n_pages, n_host, NULL);
}

static void start(struct harness *h, int n_pages) {
    start_with(h, n_pages, 0);
}

static struct outcome *generate(struct harness *h, struct engine_session *s, int n) {
    harness_generate(h, s, NULL, n);
    struct outcome *o = harness_wait(h, s);
    assert_true(o->done);
    return o;
}

/* Twenty turns on one timeline: each computes the tokens that are new, and those once. */
static void test_turns_compute_new_tokens(void **state) {
    (void)state;
    struct harness h;
    start(&h, 0);
    struct engine_session *s = harness_session(&h);
    int length = 0;
    for (int turn = 0; turn < 20; turn++) {
        harness_append_drawn(s, 3 + turn % 5 * 4, turn, VOCAB);
        int before = length, prompt = engine_session_length(s);
        struct outcome *o = generate(&h, s, 6);
        assert_int_equal(o->last.cached_tokens, before > 0 ? before - 1 : 0);
        assert_int_equal(o->last.prompt_tokens, prompt);
        length = engine_session_length(s);
        /* The last token of a turn is computed with the next one. */
        assert_int_equal(o->last.computed_tokens, length - before - (turn == 0));
        assert_int_equal(harness_missed(o), 0);
    }
    harness_finish(&h);
}

/* The second one copies its part of a page from a session that lives, and the third one from what is left of
 * those that do not. */
static void test_equal_beginnings(void **state) {
    (void)state;
    struct harness h;
    start(&h, 0);
    for (int i = 0; i < 3; i++) {
        struct engine_session *s = harness_session(&h);
        harness_append_drawn(s, 150, 1, VOCAB);
        harness_append_drawn(s, 30, 2 + i, VOCAB);
        struct outcome *o = generate(&h, s, 5);
        assert_int_equal(o->last.cached_tokens, i == 0 ? 0 : 150);
        assert_int_equal(o->last.computed_tokens, (i == 0 ? 180 : 30) + 4);
        assert_int_equal(harness_missed(o), 0);
        if (i == 1) /* both go */
            for (int j = 0; j < HARNESS_SESSIONS; j++)
                if (h.outcomes[j].session != NULL)
                    harness_destroy(&h, h.outcomes[j].session);
    }
    harness_finish(&h);
}

/* The same prompt again: its last token, because logits are not kept. */
static void test_the_same_prompt(void **state) {
    (void)state;
    struct harness h;
    start(&h, 0);
    static const int lengths[] = {128, 150, 1};
    for (int i = 0; i < 3; i++)
        for (int again = 0; again < 2; again++) {
            struct engine_session *s = harness_session(&h);
            harness_append_drawn(s, lengths[i], 3 + i, VOCAB);
            struct outcome *o = generate(&h, s, 1);
            assert_int_equal(o->last.computed_tokens, again ? 1 : lengths[i]);
            assert_int_equal(o->last.missed_tokens[ENGINE_MISS_LAST_TOKEN], again);
            assert_int_equal(harness_missed(o), again);
        }
    harness_finish(&h);
}

/* A turn that ends at once, with a whole page computed, and another one with nothing between. */
static void test_nothing_appended(void **state) {
    (void)state;
    struct harness h;
    start(&h, 0);
    struct engine_session *s = harness_session(&h);
    harness_append_drawn(s, 63, 1, VOCAB);
    int32_t tokens[2];
    memcpy(tokens, generate(&h, s, 2)->tokens, sizeof tokens);
    assert_true(tokens[0] != tokens[1]);
    weights.model.eog_ids = &tokens[1];
    weights.model.n_eog_ids = 1;
    s = harness_session(&h);
    harness_append_drawn(s, 63, 1, VOCAB);
    for (int i = 0; i < 2; i++) {
        struct outcome *o = generate(&h, s, 4);
        assert_int_equal(o->last.finish, ENGINE_FINISH_STOP);
        assert_int_equal(o->n_tokens, i == 0 ? 1 : 0);
        assert_int_equal(engine_session_length(s), 64);
        assert_int_equal(o->last.missed_tokens[ENGINE_MISS_LAST_TOKEN], 1);
        assert_int_equal(o->last.computed_tokens, i == 0 ? 2 : 1);
        assert_int_equal(harness_missed(o), 1);
    }
    weights.model.n_eog_ids = 0;
    harness_finish(&h);
}

/* A pool of eight pages: a session that waits loses them to one that needs all, and goes on. */
static void test_evicted(void **state) {
    (void)state;
    struct harness h;
    start(&h, 8);
    struct engine_session *s = harness_session(&h), *other = harness_session(&h);
    harness_append_drawn(s, 300, 1, VOCAB);
    (void)generate(&h, s, 5);
    harness_append_drawn(other, 500, 2, VOCAB);
    (void)generate(&h, other, 2);
    harness_append_drawn(s, 10, 3, VOCAB);
    struct outcome *o = generate(&h, s, 5);
    assert_int_equal(o->last.cached_tokens, 0);
    assert_int_equal(o->last.missed_tokens[ENGINE_MISS_EVICTED], 304);
    assert_int_equal(harness_missed(o), 304);
    assert_int_equal(o->last.computed_tokens, 304 + 11 + 4);

    /* Those of sessions that are no more are remembered, by whole pages. */
    harness_destroy(&h, s);
    harness_destroy(&h, other);
    s = harness_session(&h);
    harness_append_drawn(s, 500, 4, VOCAB);
    (void)generate(&h, s, 2);
    harness_destroy(&h, s);
    s = harness_session(&h);
    harness_append_drawn(s, 300, 1, VOCAB);
    o = generate(&h, s, 5);
    assert_int_equal(o->last.missed_tokens[ENGINE_MISS_EVICTED], 256);
    assert_int_equal(harness_missed(o), 256);
    harness_finish(&h);
}

/* One session at a time: n tokens of `seed`, then `more` of another; how many of them were evicted. */
static int evicted_in(struct harness *h, int n, int seed, int more, int other) {
    struct engine_session *s = harness_session(h);
    harness_append_drawn(s, n, seed, VOCAB);
    harness_append_drawn(s, more, other, VOCAB);
    struct outcome *o = generate(h, s, 1);
    int evicted = o->last.missed_tokens[ENGINE_MISS_EVICTED];
    assert_int_equal(harness_missed(o), evicted);
    harness_destroy(h, s);
    return evicted;
}

/* Of sessions that are over, the last page counts as well where all that was in it is wanted again, and what
 * is left of a page of which another session has the beginning. */
static void test_evicted_pages_that_are_not_whole(void **state) {
    (void)state;
    struct harness h;
    start(&h, 8);
    assert_int_equal(evicted_in(&h, 300, 1, 0, 0), 0);
    assert_int_equal(evicted_in(&h, 500, 2, 0, 0), 0); /* takes all pages */
    assert_int_equal(evicted_in(&h, 300, 1, 20, 3), 300);
    assert_int_equal(evicted_in(&h, 500, 4, 0, 0), 0);
    assert_int_equal(evicted_in(&h, 299, 1, 20, 5), 256); /* a part of that page: it is not known */
    harness_finish(&h);

    start(&h, 8);
    assert_int_equal(evicted_in(&h, 256, 1, 0, 0), 0);
    assert_int_equal(evicted_in(&h, 500, 2, 0, 0), 0);
    assert_int_equal(evicted_in(&h, 74, 1, 20, 3), 64);
    assert_int_equal(evicted_in(&h, 256, 1, 20, 4), 256 - 74);
    harness_finish(&h);
}

/* The same with host memory: pages go there and come back, the partial last one too. */
static void test_evicted_to_host_memory(void **state) {
    (void)state;
    struct harness h, whole;
    start_with(&h, 8, 16);
    start(&whole, 0);
    struct engine_session *s = harness_session(&h), *other = harness_session(&h), *same;
    harness_append_drawn(s, 300, 1, VOCAB);
    (void)generate(&h, s, 5);
    harness_append_drawn(other, 500, 2, VOCAB);
    (void)generate(&h, other, 2);
    harness_append_drawn(s, 10, 3, VOCAB);
    struct outcome *o = generate(&h, s, 5);
    assert_int_equal(harness_missed(o), 0);
    assert_int_equal(o->last.computed_tokens, 11 + 4);
    same = harness_session(&whole);
    harness_append_drawn(same, 300, 1, VOCAB);
    (void)generate(&whole, same, 5);
    harness_append_drawn(same, 10, 3, VOCAB);
    assert_memory_equal(generate(&whole, same, 5)->tokens, o->tokens, 5 * sizeof(int32_t));
    harness_append_drawn(other, 3, 4, VOCAB); /* and the other one is back as well */
    o = generate(&h, other, 1);
    assert_int_equal(harness_missed(o), 0);
    assert_int_equal(o->last.computed_tokens, 4);
    struct local_engine *e = (struct local_engine *)(void *)h.engine;
    pthread_mutex_lock(&e->lock);
    assert_in_range(pages_far(e->pages), 4, 16);
    pthread_mutex_unlock(&e->lock);
    harness_finish(&whole);
    harness_finish(&h);

    /* Five sessions of eight pages with room for three beside the one that runs: the oldest two are lost. */
    start_with(&h, 8, 24);
    for (int i = 0; i < 5; i++) {
        s = harness_session(&h);
        harness_append_drawn(s, 500, 5 + i, VOCAB);
        (void)generate(&h, s, 2);
        harness_destroy(&h, s);
    }
    static const int again[] = {9, 8, 7, 5};
    for (int i = 0; i < 4; i++) {
        s = harness_session(&h);
        harness_append_drawn(s, 500, again[i], VOCAB);
        o = generate(&h, s, 1);
        assert_int_equal(o->last.missed_tokens[ENGINE_MISS_EVICTED], i < 3 ? 0 : 448);
        assert_int_equal(o->last.computed_tokens, i < 3 ? 1 : 500);
        harness_destroy(&h, s);
    }
    harness_finish(&h);
}

/* Only as many pages as are needed are taken: what is left of the others is taken over again. */
static void test_evicted_in_part(void **state) {
    (void)state;
    struct harness h;
    start(&h, 8);
    struct engine_session *s = harness_session(&h), *other = harness_session(&h);
    harness_append_drawn(s, 300, 1, VOCAB); /* five pages */
    (void)generate(&h, s, 5);
    harness_append_drawn(other, 250, 2, VOCAB); /* four pages: one of the five goes, the last */
    (void)generate(&h, other, 2);
    harness_destroy(&h, other);
    harness_append_drawn(s, 10, 3, VOCAB);
    struct outcome *o = generate(&h, s, 5);
    assert_int_equal(o->last.missed_tokens[ENGINE_MISS_EVICTED], 304 - 256);
    assert_int_equal(harness_missed(o), 304 - 256);
    harness_finish(&h);
}

/* Sixteen pages: of three sessions that wait, the one of which nothing is expected gives way, though it ran
 * last; then the one that takes longest. */
static void test_who_is_expected_back_keeps_its_pages(void **state) {
    (void)state;
    struct harness h;
    struct engine_session *s[5];
    start(&h, 16);
    for (int i = 0; i < 5; i++)
        s[i] = harness_session(&h);
    for (int i = 0; i < 3; i++) { /* four pages each */
        harness_append_drawn(s[i], 200, 1 + i, VOCAB);
        (void)generate(&h, s[i], 2);
    }
    engine_session_waits(s[0], 3600 * 1000);
    engine_session_waits(s[1], 600 * 1000);
    engine_session_waits(s[2], 0);
    harness_append_drawn(s[3], 500, 7, VOCAB); /* eight: four are free */
    (void)generate(&h, s[3], 2);
    engine_session_waits(s[3], 60 * 1000);
    harness_append_drawn(s[4], 200, 8, VOCAB);
    (void)generate(&h, s[4], 2);
    engine_session_destroy(s[4]);
    h.outcomes[4].session = NULL;
    static const int evicted[] = {201, 0, 201, 0};
    static const int order[] = {1, 3, 0, 2}; /* the two that have theirs first */
    for (int i = 0; i < 4; i++) {
        harness_append_drawn(s[order[i]], 3, 9, VOCAB);
        struct outcome *o = generate(&h, s[order[i]], 1);
        if (o->last.missed_tokens[ENGINE_MISS_EVICTED] != evicted[order[i]])
            fail_msg("session %d computed %d tokens again", order[i],
                     o->last.missed_tokens[ENGINE_MISS_EVICTED]);
        if (i == 1) { /* room for the others */
            harness_destroy(&h, s[1]);
            harness_destroy(&h, s[3]);
        }
    }
    harness_finish(&h);
}

/* What the session's owner says was computed in another process. */
static void test_replayed(void **state) {
    (void)state;
    struct harness h;
    start(&h, 0);
    struct engine_session *first = harness_session(&h), *s = harness_session(&h);
    harness_append_drawn(first, 100, 1, VOCAB);
    (void)generate(&h, first, 1);
    engine_session_about(s, &(struct engine_about){.replayed = true});
    harness_append_drawn(s, 100, 1, VOCAB);
    harness_append_drawn(s, 60, 2, VOCAB);
    engine_session_about(s, &(struct engine_about){0});
    harness_append_drawn(s, 20, 3, VOCAB);
    struct outcome *o = generate(&h, s, 5);
    assert_int_equal(o->last.missed_tokens[ENGINE_MISS_RESTART], 60);
    assert_int_equal(harness_missed(o), 60);
    assert_int_equal(o->last.computed_tokens, 60 + 20 + 4);
    assert_string_equal(engine_miss_name(ENGINE_MISS_RESTART), "restart");
    harness_finish(&h);
}

static int setup(void **state) {
    (void)state;
    random_engine_init(&weights, &shape, CONTEXT);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    random_engine_finish(&weights);
    return 0;
}

static int keep(struct harness *h) {
    char err[300] = "";
    int n = engine_keep_prefixes(h->engine, err, sizeof err);
    assert_string_equal(err, "");
    harness_finish(h);
    return n;
}

static int kept_tokens(const struct harness *h) {
    struct engine_info info;
    engine_info(h->engine, &info);
    assert_null(info.kept_ignored);
    assert_null(info.kept_lost);
    return info.kept_tokens;
}

/* What two sessions had in common is there for those of another engine: several at once; one for which
 * another one has to give way; and again after it gave way itself, where there is no host memory. */
static void test_kept_on_disk(void **state) {
    (void)state;
    struct harness h;
    struct engine_session *s[3];
    struct outcome *o;
    int32_t first[5];
    char path[] = "/tmp/hermesd-kept-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(unlink(path), 0);
    start_on(&h, 0, 0, path);
    assert_int_equal(kept_tokens(&h), 0);
    for (int i = 0; i < 2; i++) {
        s[i] = harness_session(&h);
        harness_append_drawn(s[i], 300, 1, VOCAB);
        harness_append_drawn(s[i], 10, 7, VOCAB);
        memcpy(first, generate(&h, s[i], 5)->tokens, sizeof first);
        harness_destroy(&h, s[i]);
    }
    assert_int_equal(keep(&h), 5);

    start_on(&h, 0, 0, path);
    assert_int_equal(kept_tokens(&h), 310);
    for (int i = 0; i < 3; i++) {
        s[i] = harness_session(&h);
        harness_append_drawn(s[i], 300, 1, VOCAB);
        harness_append_drawn(s[i], 10, i == 0 ? 7 : 8 + i, VOCAB);
        harness_generate(&h, s[i], NULL, 5);
    }
    for (int i = 0; i < 3; i++) {
        o = harness_wait(&h, s[i]);
        assert_true(o->done);
        assert_in_range(o->last.cached_tokens, 300, 309);
        assert_int_equal(harness_missed(o), i == 0); /* the last token, for its logits */
        if (i == 0)
            assert_memory_equal(o->tokens, first, sizeof first);
    }
    assert_true(keep(&h) >= 5);

    start_on(&h, 8, 0, path);
    assert_true(kept_tokens(&h) >= 300);
    for (int round = 0; round < 2; round++) {
        s[0] = harness_session(&h);
        harness_append_drawn(s[0], 500, 2 + round, VOCAB);
        assert_int_equal(generate(&h, s[0], 2)->last.cached_tokens, 0);
        s[1] = harness_session(&h);
        harness_append_drawn(s[1], 300, 1, VOCAB);
        harness_append_drawn(s[1], 10, 20, VOCAB);
        o = generate(&h, s[1], 5);
        assert_int_equal(o->last.cached_tokens, 300);
        assert_int_equal(o->last.computed_tokens, 10 + 4);
        harness_destroy(&h, s[1]);
        harness_destroy(&h, s[0]);
    }
    assert_true(keep(&h) >= 5);
    assert_int_equal(unlink(path), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns_compute_new_tokens),
        cmocka_unit_test(test_equal_beginnings),
        cmocka_unit_test(test_the_same_prompt),
        cmocka_unit_test(test_nothing_appended),
        cmocka_unit_test(test_evicted),
        cmocka_unit_test(test_evicted_pages_that_are_not_whole),
        cmocka_unit_test(test_evicted_to_host_memory),
        cmocka_unit_test(test_kept_on_disk),
        cmocka_unit_test(test_evicted_in_part),
        cmocka_unit_test(test_who_is_expected_back_keeps_its_pages),
        cmocka_unit_test(test_replayed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
