/* Pages that give way to others go to host memory and come back: content in all pieces of that memory, on the
 * CPU, on the GPU (an emulated one), which copies beside its steps, and on two that share the model; and
 * sessions that take pages from each other there write what they write alone, with nothing computed again. */
#include "engine/host_pages.h"
#include "engine/local.h"
#include "tests/engine/harness.h"
#include "tests/engine/random_engine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTEXT  256
#define N_PAGES  6
#define N_HOST   20
#define SESSIONS 3
#define TOKENS   4

static struct random_engine weights;
static const struct gpus one = {.n = 1}, two = {.n = 2, .ids = {1, 0}};

static const char *module_path(void) {
    static char path[4096];
    const char *build = getenv("HERMESD_BINARY_DIR");
    (void)snprintf(path, sizeof path, "%s/lib/hermes-cuda-emulated.so", build != NULL ? build : "build/dev");
    return path;
}

/* ---- content ---- */

static struct forward *open_forward(const char *module, const struct gpus *gpus) {
    const struct forward_config config = {.max_rows = 8,
                                          .max_outputs = 1,
                                          .max_context = CONTEXT,
                                          .n_pages = N_PAGES,
                                          .kv_type = DTYPE_F32,
                                          .n_threads = 1,
                                          .gpu_module = module,
                                          .gpus = *gpus};
    struct forward *f = NULL;
    char err[400] = "";
    if (forward_open(&weights.model, &config, &f, err, sizeof err) < 0)
        fail_msg("%s", err);
    return f;
}

static void fill(uint8_t *page, size_t bytes, int content) {
    for (size_t i = 0; i < bytes; i++)
        page[i] = (uint8_t)((size_t)content * 37 + i + i / 251);
}

static void put(struct forward *f, int32_t page, int content) {
    size_t bytes = forward_device_page_bytes(f);
    uint8_t *from = malloc(bytes);
    assert_non_null(from);
    fill(from, bytes, content);
    assert_int_equal(forward_write_page(f, page, from), 0);
    free(from);
}

static void expect(struct forward *f, int32_t page, int content) {
    size_t bytes = forward_device_page_bytes(f);
    uint8_t *got = malloc(bytes), *want = malloc(bytes);
    assert_true(got != NULL && want != NULL);
    fill(want, bytes, content);
    assert_int_equal(forward_read_page(f, page, got), 0);
    assert_memory_equal(got, want, bytes);
    free(got);
    free(want);
}

/* All places are filled by way of two pages, a few pages of memory at once, then read in another order. */
static void check_places(const char *module, const struct gpus *gpus, size_t pages_at_once, size_t more) {
    struct forward *f = open_forward(module, gpus);
    struct host_pages *h = NULL;
    size_t bytes = forward_device_page_bytes(f);
    assert_int_equal(host_pages_create(f, N_PAGES, bytes * N_HOST + more, bytes * pages_at_once, &h), 0);
    const struct pages_store store = host_pages_store(h);
    assert_int_equal(store.n, N_HOST);
    for (int i = 0; i < N_HOST; i++) {
        put(f, i % 2, i);
        assert_int_equal(store.put(store.arg, i, i % 2), 0);
    }
    put(f, 0, 99);
    put(f, 1, 99);
    for (int i = 0; i < N_HOST; i++) {
        int place = i * 7 % N_HOST, page = 2 + i % 4;
        assert_int_equal(store.get(store.arg, page, place), 0);
        expect(f, page, place);
    }
    expect(f, 0, 99);
    host_pages_destroy(h);
    forward_close(f);
}

static void test_places(void **state) {
    (void)state;
    const char *modules[] = {NULL, module_path(), module_path()};
    for (int i = 0; i < 3; i++) {
        const struct gpus *gpus = i < 2 ? &one : &two;
        check_places(modules[i], gpus, 3, 5); /* the last piece is not full */
        check_places(modules[i], gpus, 0, 0); /* a piece is one page at least */
        check_places(modules[i], gpus, 1000, 0);
    }
}

static void test_sizes(void **state) {
    (void)state;
    struct forward *f = open_forward(module_path(), &one);
    struct host_pages *h = NULL;
    size_t bytes = forward_device_page_bytes(f);
    assert_int_equal(host_pages_create(f, N_PAGES, bytes - 1, bytes, &h), 0);
    assert_null(h);
    assert_int_equal(host_pages_store(h).n, 0);
    host_pages_destroy(h);
    assert_int_equal(host_pages_create(f, N_PAGES, bytes * 1000000, bytes, &h), 0);
    assert_int_equal(host_pages_store(h).n, 8 * N_PAGES);
    host_pages_destroy(h);
    forward_close(f);
}

/* ---- sessions ---- */

static void start(struct harness *h, const struct gpus *gpus, int n_pages, int n_host, const char *kept) {
    size_t page = forward_page_bytes(&weights.model, DTYPE_F32);
    char err[300] = "";
    harness_init(h);
    const struct engine_config config = {.device = ENGINE_DEVICE_CUDA,
                                         .gpu_module = module_path(),
                                         .gpus = *gpus,
                                         .max_context = CONTEXT,
                                         .max_sessions = SESSIONS,
                                         .kv_bytes = (size_t)n_pages * page,
                                         .host_kv_bytes = (size_t)n_host * page,
                                         .prefix_path = kept,
                                         .prefix_bytes = kept != NULL ? (size_t)1 << 24 : 0,
                                         .wake = harness_wake,
                                         .wake_arg = h};
    if (local_open_model(&config, &weights.model, true, &h->engine, err, sizeof err) < 0)
        fail_msg("%s", err);
}

/* Each session in turn, three times: whoever is next has lost its pages to the ones before. */
static void run(const struct gpus *gpus, int n_pages, int n_host, int32_t tokens[SESSIONS][3 * TOKENS],
                int *computed, int *missed) {
    struct harness h;
    struct engine_session *s[SESSIONS];
    int32_t ids[CONTEXT];
    *computed = *missed = 0;
    start(&h, gpus, n_pages, n_host, NULL);
    for (int i = 0; i < SESSIONS; i++)
        s[i] = harness_session(&h);
    for (int turn = 0; turn < 3; turn++)
        for (int i = 0; i < SESSIONS; i++) {
            int n = turn == 0 ? 100 + 20 * i : 3;
            for (int t = 0; t < n; t++)
                ids[t] = (t * 7 + i * 11 + turn) % weights.model.n_vocab;
            harness_append_tokens(s[i], ids, (size_t)n);
            harness_generate(&h, s[i], NULL, TOKENS);
            struct outcome *o = harness_wait(&h, s[i]);
            assert_int_equal(o->n_tokens, TOKENS);
            memcpy(tokens[i] + turn * TOKENS, o->tokens, TOKENS * sizeof *o->tokens);
            *computed += o->last.computed_tokens;
            for (int why = 0; why < ENGINE_MISS_REASONS; why++)
                *missed += o->last.missed_tokens[why];
        }
    harness_finish(&h);
}

static void test_sessions(void **state) {
    (void)state;
    int32_t want[SESSIONS][3 * TOKENS], got[SESSIONS][3 * TOKENS];
    int computed[2], missed[2];
    const int few = CONTEXT / KERNELS_PAGE_TOKENS;
    run(&one, 20, 0, want, &computed[0], &missed[0]);
    for (int i = 0; i < 2; i++) {
        const struct gpus *gpus = i == 0 ? &one : &two;
        run(gpus, few, 20, got, &computed[1], &missed[1]);
        assert_memory_equal(want, got, sizeof want);
        assert_int_equal(missed[1], 0);
        assert_int_equal(computed[1], computed[0]);
        run(gpus, few, 1, got, &computed[1], &missed[1]); /* without a place for most */
        assert_memory_equal(want, got, sizeof want);
        assert_true(missed[1] > 200);
    }
}

/* A session of n tokens that depend on `seed`; what it writes. */
static struct outcome *ask(struct harness *h, int n, int seed) {
    int32_t ids[CONTEXT];
    for (int t = 0; t < n; t++)
        ids[t] = (t * 7 + seed * 11 + t * t * seed) % weights.model.n_vocab;
    struct engine_session *s = harness_session(h);
    harness_append_tokens(s, ids, (size_t)n);
    harness_generate(h, s, NULL, TOKENS);
    struct outcome *o = harness_wait(h, s);
    assert_int_equal(o->n_tokens, TOKENS);
    return o;
}

/* Pages from a file go to the GPU for who wants them, beside pages that go to host memory for it and back. */
static void test_kept_on_disk(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        const struct gpus *gpus = i == 0 ? &one : &two;
        struct harness h;
        char path[] = "/tmp/hermesd-kept-XXXXXX", err[300] = "";
        int32_t want[TOKENS], other[TOKENS], last;
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(unlink(path), 0);
        start(&h, gpus, 20, 4, path);
        (void)ask(&h, 100, 1);
        memcpy(want, ask(&h, 100, 1)->tokens, sizeof want);
        memcpy(other, ask(&h, 150, 2)->tokens, sizeof other);
        assert_int_equal(engine_keep_prefixes(h.engine, err, sizeof err), 2);
        harness_finish(&h);

        start(&h, gpus, CONTEXT / KERNELS_PAGE_TOKENS, 4, path);
        struct outcome *first = ask(&h, 150, 2);
        assert_int_equal(first->last.cached_tokens, 0);
        struct outcome *o = ask(&h, 100, 1);
        assert_int_equal(o->last.cached_tokens, 99);
        assert_memory_equal(o->tokens, want, sizeof want);
        last = other[TOKENS - 1];
        assert_memory_equal(first->tokens, other, sizeof other);
        harness_append_tokens(first->session, &last, 1);
        harness_generate(&h, first->session, NULL, 1);
        o = harness_wait(&h, first->session);
        assert_int_equal(o->last.computed_tokens, 2); /* the last one that it wrote, and the new one */
        assert_int_equal(o->last.missed_tokens[ENGINE_MISS_EVICTED], 0);
        harness_finish(&h);
        assert_int_equal(unlink(path), 0);
    }
}

static int set_up(void **state) {
    (void)state;
    const struct random_shape shape = {.n_layers = 2,
                                       .n_heads = 2,
                                       .n_kv_heads = 2,
                                       .head_dim = 16,
                                       .dim = 32,
                                       .ffn_dim = 32,
                                       .n_vocab = 60,
                                       .type = DTYPE_F32,
                                       .seed = 9};
    random_engine_init(&weights, &shape, CONTEXT);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    random_engine_finish(&weights);
    return 0;
}

int main(void) {
    (void)setenv("EMULATOR_GPUS", "2", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_kept_on_disk),
    };
    return cmocka_run_group_tests_name("pages in host memory", tests, set_up, tear_down);
}
