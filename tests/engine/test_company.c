/* What a session writes does not depend on who else is there, for every type of weights: alone, with others,
 * with others that are cancelled and destroyed, and with so little memory that all take pages from each
 * other, to be computed again, or to go to host memory and back. It can be promised because each dot product
 * of a row runs in one fixed order (kernels/kernels.h). */
#include "engine/local.h"
#include "kernels/dtype.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define CONTEXT  256
#define VOCAB    300
#define SESSIONS 4
#define TOKENS   16

enum company { ALONE, TOGETHER, WITH_CANCELLED, LITTLE_MEMORY, HOST_MEMORY };

static struct random_engine weights;

static void start(struct harness *h, int n_pages, int n_host, int threads) {
    size_t page = forward_page_bytes(&weights.model, DTYPE_F16);
    char err[300] = "";
    harness_init(h);
    struct engine_config config = {.max_context = CONTEXT,
                                   .kv_bytes = (size_t)n_pages * page,
                                   .host_kv_bytes = (size_t)n_host * page,
                                   .n_threads = threads,
                                   .wake = harness_wake,
                                   .wake_arg = h};
    if (local_open_model(&config, &weights.model, false, &h->engine, err, sizeof err) < 0)
        fail_msg("%s", err);
}

/* Prompts of 31 to 160 tokens; two of them begin alike. */
static struct engine_session *begin(struct harness *h, int i) {
    struct engine_session *s = harness_session(h);
    int32_t ids[CONTEXT];
    int n = 31 + i * 43, alike = i < 2 ? 20 : 0;
    for (int t = 0; t < n; t++)
        ids[t] = t < alike ? t * 3 % VOCAB : (t * 17 + i * 101 + t * t) % VOCAB;
    harness_append_tokens(s, ids, (size_t)n);
    return s;
}

/* Two turns. */
static void finish(struct harness *h, struct engine_session *s, int32_t *tokens, int *evicted) {
    static const int32_t more[] = {5, 6, 7};
    for (int turn = 0; turn < 2; turn++) {
        if (turn == 1) {
            harness_append_tokens(s, more, 3);
            harness_generate(h, s, NULL, TOKENS / 2);
        }
        struct outcome *o = harness_wait(h, s);
        assert_int_equal(o->n_tokens, TOKENS / 2);
        memcpy(tokens + turn * TOKENS / 2, o->tokens, TOKENS / 2 * sizeof *tokens);
        *evicted += o->last.missed_tokens[ENGINE_MISS_EVICTED];
    }
}

/* Others that come, write a little and go. */
static void disturb(struct harness *h) {
    struct engine_session *cancelled = begin(h, 3), *destroyed = begin(h, 2), *unread = begin(h, 1);
    harness_generate(h, cancelled, NULL, 60);
    harness_generate(h, destroyed, NULL, 60);
    harness_generate(h, unread, NULL, 60);
    harness_destroy(h, unread);
    harness_wait_tokens(h, cancelled, 3);
    engine_session_cancel(cancelled);
    harness_wait(h, cancelled);
    harness_destroy(h, destroyed);
    harness_destroy(h, cancelled);
}

static int run(enum company company, int32_t tokens[SESSIONS][TOKENS]) {
    struct harness h;
    struct engine_session *s[SESSIONS];
    int evicted = 0;
    if (company == ALONE) {
        for (int i = 0; i < SESSIONS; i++) {
            start(&h, 0, 0, 1);
            s[i] = begin(&h, i);
            harness_generate(&h, s[i], NULL, TOKENS / 2);
            finish(&h, s[i], tokens[i], &evicted);
            harness_finish(&h);
        }
        return evicted;
    }
    start(&h, company >= LITTLE_MEMORY ? CONTEXT / KERNELS_PAGE_TOKENS + 1 : 0,
          company == HOST_MEMORY ? 30 : 0, 2);
    for (int i = 0; i < SESSIONS; i++) {
        s[i] = begin(&h, i);
        harness_generate(&h, s[i], NULL, TOKENS / 2);
    }
    if (company == WITH_CANCELLED)
        disturb(&h);
    for (int i = 0; i < SESSIONS; i++)
        finish(&h, s[i], tokens[i], &evicted);
    harness_finish(&h);
    return evicted;
}

static void test_every_type(void **state) {
    (void)state;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        const struct random_shape shape = {.n_layers = 1,
                                           .n_heads = 4,
                                           .n_kv_heads = 2,
                                           .head_dim = 64,
                                           .dim = 256,
                                           .ffn_dim = 256,
                                           .n_vocab = VOCAB,
                                           .type = (enum dtype)t,
                                           .seed = 7};
        int32_t want[SESSIONS][TOKENS], got[SESSIONS][TOKENS];
        random_engine_init(&weights, &shape, CONTEXT);
        assert_int_equal(run(ALONE, want), 0);
        for (int i = 1; i < SESSIONS; i++) /* they say something, and not all the same */
            assert_memory_not_equal(want[i], want[0], sizeof want[0]);
        for (enum company c = TOGETHER; c <= HOST_MEMORY; c++) {
            int evicted = run(c, got);
            if (memcmp(got, want, sizeof got) != 0)
                fail_msg("%s: other tokens in company %d", dtype_info(shape.type)->name, (int)c);
            assert_int_equal(evicted > 0, c == LITTLE_MEMORY);
        }
        random_engine_finish(&weights);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_type)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
