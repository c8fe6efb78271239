/* A model that several emulated GPUs share: against the oracle step by step, against one GPU in logits and in
 * greedy tokens, and what happens when the GPUs, their connection or their memory are not there. */
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/link.h"
#include "kernels/dtype.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/parity.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Sums in F32 against sums in double, as on one GPU (test_cuda.c). */
#define BOUND 2e-5
/* The same products in F32, whose sums are cut where the ranks' parts end and put together in any order. */
#define CUT_BOUND 4e-6
/* Rows rounded to 8 bits or F16, from sums that differ by CUT_BOUND: one step of a few numbers. */
#define ROUNDED_BOUND 2e-3

#define GPUS 4

static const enum emu_order orders[] = {EMU_FORWARD, EMU_BACKWARD, EMU_RANDOM};

/* What 2 ranks have of a row is one block of 256; a vocabulary that they do not divide. */
static const struct random_shape large_blocks = {.n_layers = 1,
                                                 .n_heads = 4,
                                                 .n_kv_heads = 2,
                                                 .head_dim = 128,
                                                 .dim = 256,
                                                 .ffn_dim = 512,
                                                 .n_vocab = 77,
                                                 .seed = 3};
/* What 4 ranks have of a row is one block of 32. */
static const struct random_shape small_blocks = {.n_layers = 1,
                                                 .n_heads = 4,
                                                 .n_kv_heads = 4,
                                                 .head_dim = 32,
                                                 .dim = 64,
                                                 .ffn_dim = 128,
                                                 .n_vocab = 77,
                                                 .seed = 4};
/* Widths that no chunk divides. */
static const struct random_shape ragged = {.n_layers = 1,
                                           .n_heads = 8,
                                           .n_kv_heads = 4,
                                           .head_dim = 12,
                                           .dim = 52,
                                           .ffn_dim = 76,
                                           .n_vocab = 99,
                                           .rope_layout = ROPE_HALF_SPLIT,
                                           .seed = 5};

/* A real GPU's exponential, root and division are approximate. */
static double allowed(double bound) {
    return emu_present() ? bound : 10 * bound;
}

/* For what only the emulator can do. */
static void need_emulator(void) {
    if (emu_present())
        return;
    print_message("skipped: real GPUs cannot be made to fail\n");
    skip();
}

/* A real machine has what it has. */
static void need_gpus(int n) {
    struct gpus gpus = {.n = n};
    char err[300] = "";
    size_t left = 0;
    emu_set_gpus(GPUS);
    for (int i = 0; i < n; i++)
        gpus.ids[i] = i;
    if (hermesd_cuda_memory(CUDA_MODULE_VERSION, &gpus, &left, err, sizeof err) == 0)
        return;
    print_message("skipped: %s\n", err);
    skip();
}

static int open_ranks(const struct kernels_config *config, int n, struct kernels_device **out, char *err,
                      size_t errlen) {
    struct kernels_config c = *config;
    emu_set_gpus(GPUS);
    c.gpus.n = n;
    for (int i = 0; i < n; i++)
        c.gpus.ids[i] = n == GPUS || !emu_present() ? i : GPUS - 1 - i; /* two of four: 3 and 2 */
    return hermesd_cuda_open(CUDA_MODULE_VERSION, &c, out, err, errlen);
}

static struct kernels_device *must_open(const struct kernels_config *config, int n) {
    struct kernels_device *d = NULL;
    char err[300] = "";
    if (open_ranks(config, n, &d, err, sizeof err) < 0)
        fail_msg("%s", err);
    return d;
}

static void close_all(struct kernels_device *a, struct kernels_device *b) {
    a->ops->close(a);
    b->ops->close(b);
    assert_int_equal(emu_memory_used(), 0);
}

/* ---- the library alone ---- */

#define N_VALUES 1000

/* One GPU adds up by itself: what the library gives back is what it got, queued and from a graph. */
static void test_a_sum_of_one(void **state) {
    (void)state;
    const struct gpus first = {.n = 1};
    struct gpu_link *l = NULL;
    struct gpu_stream *s = NULL;
    struct gpu_graph *g = NULL;
    char text[300] = "";
    emu_set_gpus(GPUS);
    assert_int_equal(gpu_open(0, text, sizeof text, text, sizeof text), 0);
    if (gpu_link_open(&first, &l, text, sizeof text) < 0) {
        print_message("skipped: %s\n", text);
        skip();
    }
    float *host = gpu_alloc_host(N_VALUES * sizeof *host), *device = gpu_alloc(N_VALUES * 4, GPU_KEPT);
    assert_true(host != NULL && device != NULL && gpu_stream_create(&s) == 0);
    for (int i = 0; i < N_VALUES; i++)
        host[i] = (float)i * 0.25f;
    int rc = gpu_upload(s, device, host, N_VALUES * 4);
    rc = rc ? rc : gpu_link_begin(l);
    rc = rc ? rc : gpu_link_sum(l, 0, s, device, N_VALUES);
    rc = rc ? rc : gpu_link_end(l);
    rc = rc ? rc : gpu_sync(s);
    rc = rc ? rc : gpu_graph_begin(s);
    rc = rc ? rc : gpu_link_begin(l);
    rc = rc ? rc : gpu_link_sum(l, 0, s, device, N_VALUES);
    rc = rc ? rc : gpu_link_end(l);
    rc = rc ? rc : gpu_graph_end(s, &g);
    for (int i = 0; i < 3 && rc == 0; i++)
        rc = gpu_graph_launch(g, s);
    rc = rc ? rc : gpu_sync(s);
    memset(host, 0, N_VALUES * 4);
    rc = rc ? rc : gpu_download(s, host, device, N_VALUES * 4);
    rc = rc ? rc : gpu_sync_all(&s, 1, NULL, NULL);
    if (rc < 0)
        fail_msg("%s", gpu_failure());
    for (int i = 0; i < N_VALUES; i++)
        assert_true(host[i] == (float)i * 0.25f);
    gpu_graph_destroy(g);
    gpu_link_close(l);
    gpu_stream_destroy(s);
    gpu_free_host(host);
    gpu_free(device);
}

/* ---- against the oracle, every state after every step ---- */

static void check_steps(const struct random_shape *shape, enum dtype type, enum dtype kv, int n, int order,
                        double bound) {
    struct random_shape s = *shape;
    struct kernels_model m;
    char err[300];
    s.type = type;
    random_model_init(&m, &s);
    struct kernels_config config = parity_config(&m, kv);
    struct parity p = {.m = &m, .bound = allowed(bound)};
    emu_set_order(orders[order], (uint64_t)n);
    assert_int_equal(cpu_reference_open(&config, &p.want, err, sizeof err), 0);
    p.got = must_open(&config, n);
    parity_sessions(&p, 0);
    close_all(p.want, p.got);
    print_message("%d ranks, dim %3d, %-4s: at most %.2f of the bound %g\n", n, s.dim,
                  dtype_info(s.type)->name, p.worst, bound);
    random_model_finish(&m);
}

static void test_steps_of_two(void **state) {
    (void)state;
    need_gpus(2);
    check_steps(&ragged, DTYPE_F32, DTYPE_F32, 2, 0, BOUND);
    check_steps(&ragged, DTYPE_F32, DTYPE_F16, 2, 2, 3e-3);
}

static void test_steps_of_four(void **state) {
    (void)state;
    need_gpus(4);
    check_steps(&ragged, DTYPE_BF16, DTYPE_F32, 4, 1, BOUND);
    check_steps(&ragged, DTYPE_F16, DTYPE_F32, 4, 2, BOUND);
    struct random_shape two_layers = small_blocks;
    two_layers.n_layers = 2;
    check_steps(&two_layers, DTYPE_Q8_0, DTYPE_F32, 4, 2, BOUND);
}

/* ---- against one GPU ---- */

struct pair {
    struct kernels_device *one, *several;
    int n_layers, n_vocab, position;
    double worst;
};

/* The next `n` tokens on both; how far their logits are apart. */
static void run_both(struct pair *p, const int32_t *tokens, int n) {
    static const int32_t pages[PARITY_STRIDE] = {3, 1, 2, 0, 4, 5};
    struct kernels_row rows[PARITY_MAX_ROWS];
    for (int i = 0; i < n; i++)
        rows[i] = (struct kernels_row){.token = tokens[i], .position = p->position + i};
    const int32_t output = n - 1;
    const struct kernels_batch batch = {.rows = rows,
                                        .n_rows = n,
                                        .pages = pages,
                                        .pages_stride = PARITY_STRIDE,
                                        .outputs = &output,
                                        .n_outputs = 1};
    parity_steps(p->one, &batch, p->n_layers);
    parity_steps(p->several, &batch, p->n_layers);
    double d = parity_difference(p->several->ops->output(p->several, 0), p->one->ops->output(p->one, 0),
                                 (size_t)p->n_vocab);
    p->worst = d > p->worst ? d : p->worst;
    p->position += n;
}

static struct pair open_pair(const struct kernels_model *m, bool exact, int n) {
    struct kernels_config config = parity_config(m, DTYPE_F32);
    config.exact = exact;
    return (struct pair){.one = must_open(&config, 1),
                         .several = must_open(&config, n),
                         .n_layers = m->n_layers,
                         .n_vocab = m->n_vocab};
}

/* One row, several, and of some types many. */
static void check_type(enum dtype type, int n) {
    static const int sizes[] = {1, 9, 66};
    bool many = type == DTYPE_BF16 || type == DTYPE_Q4_K; /* by the library; F8: test_cuda_ranks_f8.c */
    struct random_shape s = n == 2 ? large_blocks : small_blocks;
    struct kernels_model m;
    int32_t tokens[PARITY_MAX_ROWS];
    s.type = type;
    random_model_init(&m, &s);
    emu_set_order(orders[(int)type % 3], 7);
    struct pair p = open_pair(&m, false, n);
    for (int i = 0; i < (many ? 3 : 2); i++) {
        for (int k = 0; k < sizes[i]; k++)
            tokens[k] = (p.position + k) * 5 % s.n_vocab;
        run_both(&p, tokens, sizes[i]);
    }
    close_all(p.one, p.several);
    double bound = type == DTYPE_F32 ? CUT_BOUND : ROUNDED_BOUND;
    print_message("%d ranks, %-8s logits differ by %.2g from one's, bound %g\n", n, dtype_info(type)->name,
                  p.worst, bound);
    assert_true(p.worst <= bound);
    random_model_finish(&m);
}

static void check_types(int n) {
    need_gpus(n);
    for (int t = 0; t < DTYPE_COUNT; t++)
        if ((dtype_info((enum dtype)t)->block_elements > 32) == (n == 2))
            check_type((enum dtype)t, n);
}

static void test_blocks_of_256(void **state) {
    (void)state;
    check_types(2);
}

static void test_all_other_types(void **state) {
    (void)state;
    check_types(4);
}

static int32_t largest(const float *logits, int n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* A prompt, then 64 greedy steps, each of which replays a graph on every rank. */
static void check_greedy_tokens(int n) {
    struct kernels_model m;
    need_gpus(n);
    random_model_init(&m, &ragged);
    int32_t prompt[24], seen[99] = {0}, kinds = 0;
    emu_set_order(EMU_RANDOM, (uint64_t)n);
    struct pair p = open_pair(&m, true, n);
    uint64_t sums = emu_link_sums(), allocations = emu_allocations();
    for (int i = 0; i < 24; i++)
        prompt[i] = (i * 31 + 5) % 99;
    run_both(&p, prompt, 24);
    for (int step = 0; step < 64; step++) {
        int32_t want = largest(p.one->ops->output(p.one, 0), 99);
        assert_int_equal(largest(p.several->ops->output(p.several, 0), 99), want);
        kinds += seen[want]++ == 0;
        run_both(&p, &want, 1);
    }
    assert_int_equal(emu_allocations(), allocations);
    /* Two a layer and one for the logits, when the prompt was recorded and when the first step was. */
    assert_int_equal(emu_link_sums() - sums, emu_present() ? 2 * (2 + 1) : 0);
    close_all(p.one, p.several);
    print_message("%d ranks: 64 greedy tokens, %d of them different ones, logits within %.2g\n", n, kinds,
                  p.worst);
    assert_true(kinds > 10 && p.worst <= CUT_BOUND);
    random_model_finish(&m);
}

static void test_greedy_tokens_of_two(void **state) {
    (void)state;
    check_greedy_tokens(2);
}

static void test_greedy_tokens_of_four(void **state) {
    (void)state;
    check_greedy_tokens(4);
}

static void check_logprobs(struct kernels_device *one, struct kernels_device *two) {
    struct kernels_logprobs want, got;
    assert_true(one->ops->logprobs(one, 0, &want) && two->ops->logprobs(two, 0, &got));
    assert_true(want.n_top == 5 && got.n_top == 5);
    assert_true(fabsf(got.chosen - want.chosen) <= 1e-4f);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(got.top[i].token, want.top[i].token);
        assert_true(fabsf(got.top[i].logprob - want.top[i].logprob) <= 1e-4f);
    }
}

/* The leader chooses from what all have: each kind of choice in turn, most of them by graphs that run again.
 */
static void test_chosen_tokens(void **state) {
    (void)state;
    need_gpus(2);
    static const int32_t pages[PARITY_STRIDE] = {1};
    struct kernels_model m;
    random_model_init(&m, &ragged);
    struct kernels_config config = parity_config(&m, DTYPE_F32);
    struct kernels_device *one = must_open(&config, 1), *two = must_open(&config, 2);
    uint32_t mask[4] = {0x5a5a5a5a, 0x0f0f0f0f, 0, 4};
    for (int i = 0; i < 24; i++) {
        const struct kernels_row row = {.token = 11 * i % 99, .position = i};
        const int32_t output = 0;
        const struct kernels_sample how = {.wanted = true,
                                           .logprobs = i % 3 == 1,
                                           .n_top = 5,
                                           .temperature = i % 4 < 2 ? 0 : 0.8f,
                                           .top_p = 1,
                                           .repeat_penalty = 1,
                                           .draw = 0.04 * i,
                                           .mask = i % 2 == 0 ? mask : NULL};
        const struct kernels_batch batch = {.rows = &row,
                                            .n_rows = 1,
                                            .pages = pages,
                                            .pages_stride = 1,
                                            .outputs = &output,
                                            .n_outputs = 1,
                                            .samples = i % 5 == 4 ? NULL : &how};
        parity_steps(one, &batch, m.n_layers);
        int32_t best = largest(one->ops->output(one, 0), 99); /* not kept while the other works on its GPU */
        parity_steps(two, &batch, m.n_layers);
        int32_t token = two->ops->token(two, 0);
        assert_int_equal(token, one->ops->token(one, 0));
        assert_true(i % 5 == 4 ? token == -1 : i % 2 == 1 || (mask[token / 32] >> token % 32 & 1) != 0);
        assert_int_equal(largest(two->ops->output(two, 0), 99), best);
        if (how.logprobs && i % 5 != 4)
            check_logprobs(one, two);
    }
    close_all(one, two);
    random_model_finish(&m);
}

/* ---- pages ---- */

static void test_pages(void **state) {
    (void)state;
    need_gpus(2);
    struct kernels_model m;
    random_model_init(&m, &ragged);
    struct kernels_config config = parity_config(&m, DTYPE_F16);
    struct kernels_device *one = must_open(&config, 1), *two = must_open(&config, 2);
    assert_int_equal(two->ops->page_bytes(two), one->ops->page_bytes(one));
    assert_string_equal(one->ops->page_layout(one), "cuda 1 F16");
    assert_string_equal(two->ops->page_layout(two), "cuda 1 F16 of 2");
    assert_non_null(strstr(two->ops->describe(two), ", 2 GPUs"));
    one->ops->close(one);
    parity_pages(two, &m);
    two->ops->close(two);
    random_model_finish(&m);
}

/* Weights, states, keys and values of a rank are about its share; embeddings and x are whole. */
static void test_memory_is_shared_out(void **state) {
    (void)state;
    need_emulator();
    struct random_shape s = small_blocks;
    struct kernels_model m;
    s.n_layers = 6;
    random_model_init(&m, &s);
    struct kernels_config config = parity_config(&m, DTYPE_F32);
    struct kernels_device *d = must_open(&config, 1);
    size_t whole = emu_memory_used();
    d->ops->close(d);
    d = must_open(&config, 4);
    for (int i = 0; i < GPUS; i++) {
        print_message("GPU %d: %zu of %zu bytes\n", i, emu_memory_used_of(i), whole);
        assert_true(emu_memory_used_of(i) > whole / 4 && emu_memory_used_of(i) < whole * 35 / 100);
    }
    d->ops->close(d);
    random_model_finish(&m);
}

/* ---- what fails ---- */

static void refuse(const struct kernels_config *config, int n, int code, const char *says) {
    struct kernels_device *d = NULL;
    char err[300] = "";
    assert_int_equal(open_ranks(config, n, &d, err, sizeof err), code);
    if (strstr(err, says) == NULL)
        fail_msg("'%s' does not say '%s'", err, says);
    assert_null(d);
    assert_int_equal(emu_memory_used(), 0);
}

static void test_what_is_refused(void **state) {
    (void)state;
    need_emulator();
    struct random_shape s = ragged;
    struct kernels_model m;
    random_model_init(&m, &s);
    struct kernels_config config = parity_config(&m, DTYPE_F32);
    struct kernels_device *d = NULL;
    char err[300] = "";
    refuse(&config, 3, -ENOTSUP, "3 GPUs cannot share the model's 4 key and value heads.");
    emu_set_link(false);
    refuse(&config, 2, -ENODEV, "Several GPUs need NCCL");
    d = must_open(&config, 1); /* one does not */
    d->ops->close(d);
    emu_set_link(true);
    config.gpus = (struct gpus){.n = 2, .ids = {0, 7}};
    assert_int_equal(hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &d, err, sizeof err), -ENODEV);
    assert_non_null(strstr(err, "There is no GPU 7; the emulator has 4"));
    assert_int_equal(emu_memory_used(), 0);
    random_model_finish(&m);
}

static void test_memory_runs_out(void **state) {
    (void)state;
    need_emulator();
    struct kernels_model m;
    random_model_init(&m, &ragged);
    struct kernels_config config = parity_config(&m, DTYPE_F16);
    struct kernels_device *d = must_open(&config, 2);
    size_t most = emu_memory_used_of(3);
    d->ops->close(d);
    for (size_t limit = 1000; limit < most; limit += most / 7) {
        emu_set_memory(limit);
        refuse(&config, 2, -ENOMEM, "MiB");
        refuse(&config, 2, -ENOMEM, "GPU 3: ");
    }
    emu_set_memory((size_t)16 << 30);
    random_model_finish(&m);
}

static void test_memory_that_is_left(void **state) {
    (void)state;
    need_emulator();
    struct kernels_model m;
    random_model_init(&m, &ragged);
    struct kernels_config config = parity_config(&m, DTYPE_F16);
    emu_set_gpus(GPUS);
    emu_set_memory((size_t)1 << 30);
    const struct gpus two = {.n = 2, .ids = {0, 1}}, first = {0};
    char err[300];
    size_t left = 0, used;
    struct kernels_device *d = NULL;
    config.gpus = (struct gpus){.n = 1, .ids = {1}};
    assert_int_equal(hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &d, err, sizeof err), 0);
    used = emu_memory_used_of(1);
    assert_true(used > 0 && emu_memory_used() == used);
    assert_int_equal(hermesd_cuda_memory(CUDA_MODULE_VERSION, &two, &left, err, sizeof err), 0);
    assert_int_equal(left, 2 * (((size_t)1 << 30) - used)); /* twice what GPU 1 has */
    assert_int_equal(hermesd_cuda_memory(CUDA_MODULE_VERSION, &first, &left, err, sizeof err), 0);
    assert_int_equal(left, (size_t)1 << 30);
    d->ops->close(d);
    emu_set_memory((size_t)16 << 30);
    random_model_finish(&m);
}

/* A failure stays, whichever rank it comes from, and closing does not wait for it. */
static void test_a_failed_gpu(void **state) {
    (void)state;
    need_emulator();
    static const int32_t pages[PARITY_STRIDE] = {0};
    static const struct kernels_row row = {.token = 1};
    struct kernels_batch batch = {.rows = &row, .n_rows = 1, .pages = pages, .pages_stride = PARITY_STRIDE};
    struct kernels_model m;
    char err[300];
    random_model_init(&m, &ragged);
    struct kernels_config config = parity_config(&m, DTYPE_F32);
    for (int when = 0; when < 3; when++) {
        struct kernels_device *d = must_open(&config, 2);
        if (when > 0)
            parity_steps(d, &batch, m.n_layers);
        d->ops->begin(d, &batch); /* recorded, then one that runs again */
        d->ops->embed(d);
        if (when == 2) { /* in a queue: others wait for it */
            d->ops->peek(d, KERNELS_STATE_X, 0, (float[52]){0});
            d->ops->attn_in(d, 0);
            d->ops->attention(d, 0);
            d->ops->attn_out(d, 0);
        }
        emu_set_failure("an illegal memory access");
        for (int i = 0; i < 2; i++) {
            d->ops->ffn_in(d, 0);
            assert_int_equal(d->ops->sync(d, err, sizeof err), -EIO);
            assert_non_null(strstr(err, "an illegal memory access"));
        }
        d->ops->close(d);
        emu_set_failure(NULL);
        assert_int_equal(emu_memory_used(), 0);
    }
    random_model_finish(&m);
}

/* What connects the GPUs breaks while sums are queued: none of them ever ends, no GPU has failed, and the
 * device fails all the same in place of waiting; so does whoever looks in between, and closing ends. */
static void test_a_broken_connection(void **state) {
    (void)state;
    need_emulator();
    static const int32_t pages[PARITY_STRIDE] = {0};
    static const struct kernels_row row = {.token = 1};
    struct kernels_batch batch = {.rows = &row, .n_rows = 1, .pages = pages, .pages_stride = PARITY_STRIDE};
    struct kernels_model m;
    char err[300];
    float x[52];
    random_model_init(&m, &ragged);
    struct kernels_config config = parity_config(&m, DTYPE_F32);
    for (int when = 0; when < 9; when++) {
        emu_set_order(orders[when / 3], (uint64_t)when);
        struct kernels_device *d = must_open(&config, 2);
        if (when % 3 > 0)
            parity_steps(d, &batch, m.n_layers); /* recorded; then it runs again */
        emu_set_link_broken(true);
        d->ops->begin(d, &batch);
        d->ops->embed(d);
        d->ops->attn_in(d, 0);
        d->ops->attention(d, 0);
        d->ops->attn_out(d, 0);
        if (when % 3 == 2)
            assert_int_equal(d->ops->peek(d, KERNELS_STATE_X, 0, x), -EIO);
        d->ops->ffn_in(d, 0);
        d->ops->ffn_out(d, 0);
        d->ops->logits(d);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(d->ops->sync(d, err, sizeof err), -EIO);
            assert_non_null(
                strstr(err, "The GPU has failed: remote process exited or there was a network error"));
            d->ops->begin(d, &batch);
        }
        d->ops->close(d);
        emu_set_link_broken(false);
        emu_set_failure(NULL);
        assert_int_equal(emu_memory_used(), 0);
    }
    random_model_finish(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sum_of_one),
        cmocka_unit_test(test_steps_of_two),
        cmocka_unit_test(test_steps_of_four),
        cmocka_unit_test(test_blocks_of_256),
        cmocka_unit_test(test_all_other_types),
        cmocka_unit_test(test_greedy_tokens_of_two),
        cmocka_unit_test(test_greedy_tokens_of_four),
        cmocka_unit_test(test_chosen_tokens),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_memory_is_shared_out),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_memory_that_is_left),
        cmocka_unit_test(test_a_failed_gpu),
        cmocka_unit_test(test_a_broken_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
