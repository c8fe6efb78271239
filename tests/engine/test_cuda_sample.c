/* Tokens chosen on the GPU are those that engine/sampler.c chooses from the same logits with the same seed.
 */
#include "engine/logprobs.h"
#include "engine/sampler.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/steps.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/parity.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS          6
#define LOGPROB_BOUND 1e-5

/* ---- the kernels, on given logits ---- */

struct bench {
    int n_vocab;
    struct gpu_stream *stream;
    struct cuda_sample step;
    float *logits; /* host: ROWS x n_vocab */
    uint32_t *masks;
    struct cuda_sample_how how[ROWS];
    struct cuda_logprob_step logprobs;
    void *device[20];
    int n_device;
    int32_t *host_tokens;
    struct cuda_logprob *host_of;
};

static void *device(struct bench *b, size_t bytes, enum gpu_memory kind) {
    void *p = gpu_alloc(bytes, kind);
    assert_non_null(p);
    return b->device[b->n_device++] = p;
}

static void open_bench(struct bench *b, int n_vocab) {
    size_t v = (size_t)n_vocab, words = (v + 31) / 32, chunks = (size_t)steps_sample_chunks(n_vocab);
    *b = (struct bench){.n_vocab = n_vocab};
    b->logits = malloc(ROWS * v * sizeof *b->logits);
    b->masks = malloc(ROWS * words * sizeof *b->masks);
    b->host_tokens = gpu_alloc_host(ROWS * sizeof *b->host_tokens);
    b->host_of = gpu_alloc_host(ROWS * sizeof *b->host_of);
    assert_true(b->logits != NULL && b->masks != NULL && b->host_tokens != NULL && b->host_of != NULL);
    int32_t *n = device(b, 4, GPU_KEPT);
    const int32_t rows = ROWS;
    assert_int_equal(gpu_upload_now(n, &rows, 4), 0);
    b->step = (struct cuda_sample){.batch = {.n_outputs = n},
                                   .how = device(b, sizeof b->how, GPU_KEPT),
                                   .masks = device(b, ROWS * words * 4, GPU_KEPT),
                                   .logits = device(b, ROWS * v * 4, GPU_KEPT),
                                   .work = device(b, ROWS * v * 4, GPU_TRANSIENT),
                                   .best = device(b, ROWS * chunks * 4, GPU_TRANSIENT),
                                   .best_id = device(b, ROWS * chunks * 4, GPU_TRANSIENT),
                                   .sums = device(b, ROWS * (v / 64 + 1) * 4, GPU_TRANSIENT),
                                   .counts = device(b, ROWS * CUDA_SAMPLE_BINS * 4, GPU_TRANSIENT),
                                   .weights = device(b, ROWS * CUDA_SAMPLE_BINS * 8, GPU_TRANSIENT),
                                   .tokens = device(b, ROWS * 4, GPU_TRANSIENT),
                                   .n_vocab = n_vocab};
    b->logprobs =
        (struct cuda_logprob_step){.batch = b->step.batch,
                                   .how = b->step.how,
                                   .logits = b->step.logits,
                                   .tokens = b->step.tokens,
                                   .top = device(b, ROWS * chunks * CUDA_LOGPROB_TOP * 4, GPU_TRANSIENT),
                                   .top_id = device(b, ROWS * chunks * CUDA_LOGPROB_TOP * 4, GPU_TRANSIENT),
                                   .sums = device(b, ROWS * chunks * 4, GPU_TRANSIENT),
                                   .out = device(b, ROWS * sizeof *b->host_of, GPU_TRANSIENT),
                                   .n_vocab = n_vocab};
    assert_int_equal(gpu_stream_create(&b->stream), 0);
}

static void close_bench(struct bench *b) {
    gpu_stream_destroy(b->stream);
    for (int i = 0; i < b->n_device; i++)
        gpu_free(b->device[i]);
    gpu_free_host(b->host_tokens);
    gpu_free_host(b->host_of);
    free(b->logits);
    free(b->masks);
    assert_int_equal(emu_memory_used(), 0);
}

static void upload(const void *to, const void *from, size_t bytes) {
    assert_int_equal(gpu_upload_now((void *)(uintptr_t)to, from, bytes), 0);
}

static void run_bench(struct bench *b) {
    size_t v = (size_t)b->n_vocab;
    upload(b->step.how, b->how, sizeof b->how);
    upload(b->step.masks, b->masks, ROWS * ((v + 31) / 32) * 4);
    upload(b->step.logits, b->logits, ROWS * v * 4);
    assert_int_equal(gpu_forget(b->stream), 0);
    assert_int_equal(steps_sample(b->stream, &b->step, ROWS), 0);
    assert_int_equal(steps_logprobs(b->stream, &b->logprobs, ROWS), 0);
    assert_int_equal(gpu_download(b->stream, b->host_of, b->logprobs.out, ROWS * sizeof *b->host_of), 0);
    assert_int_equal(gpu_download(b->stream, b->host_tokens, b->step.tokens, ROWS * 4), 0);
    assert_int_equal(gpu_sync(b->stream), 0);
}

/* Each row another spread of logits, some of them equal, from flat to one that stands out. */
static void draw_logits(struct bench *b, uint64_t *random) {
    static const float spread[ROWS] = {0.5f, 2, 5, 9, 14, 30};
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < b->n_vocab; i++) {
            float x = random_float(random) + random_float(random) + random_float(random);
            b->logits[(size_t)r * (size_t)b->n_vocab + (size_t)i] = roundf(x * spread[r] * 64) / 64;
        }
}

static enum cuda_sample_mode mode_of(const struct kernels_sample *s) {
    if (s->temperature <= 0 || s->top_k == 1)
        return CUDA_SAMPLE_LARGEST;
    return s->top_k == 0 && s->top_p >= 1 && s->min_p <= 0 ? CUDA_SAMPLE_ANY : CUDA_SAMPLE_SOME;
}

static void check_near(const char *what, int row, double got, double want) {
    if (!(fabs(got - want) <= LOGPROB_BOUND))
        fail_msg("row %d: the logarithm of %s is %.9g on the GPU, %.9g on the CPU", row, what, got, want);
}

/* Before anything is done to the row's logits here. */
static void check_logprobs(const struct bench *b, int r) {
    const struct cuda_sample_how *how = &b->how[r];
    const struct cuda_logprob *got = &b->host_of[r];
    struct kernels_logprobs want;
    if (how->logprobs == 0) {
        const unsigned char *bytes = (const unsigned char *)got;
        for (size_t i = 0; i < sizeof *got && emu_present(); i++)
            assert_int_equal(bytes[i], bytes[0]); /* spoiled: nobody wrote there */
        return;
    }
    int32_t token = b->host_tokens[r];
    logprobs_of(b->logits + (size_t)r * (size_t)b->n_vocab, b->n_vocab, token < 0 ? 0 : token, how->n_top,
                &want);
    double rest = (double)got->largest + log(got->sum);
    if (token >= 0)
        check_near("the token", r, (double)got->chosen - rest, (double)want.chosen);
    assert_int_equal(want.n_top, how->n_top);
    for (int i = 0; i < want.n_top; i++) {
        assert_int_equal(got->top_id[i], want.top[i].token);
        check_near("one of the likely ones", r, (double)got->top[i] - rest, (double)want.top[i].logprob);
    }
}

/* One round of all rows on both; returns how many the GPU left to the host. */
static int check_round(struct bench *b, const struct engine_sampling *how, uint64_t seed, bool masked) {
    static const int32_t recent[5] = {3, 17, 3, 900, 40};
    size_t v = (size_t)b->n_vocab, words = (v + 31) / 32;
    struct sampler samplers[ROWS];
    struct sampler_candidate *scratch = malloc(v * sizeof *scratch);
    char err[200];
    int left = 0;
    uint64_t random = seed * 2 + 1;
    assert_non_null(scratch);
    draw_logits(b, &random);
    for (size_t i = 0; i < ROWS * words; i++)
        b->masks[i] = (uint32_t)(random_float(&random) * 2e9f) | 1u;
    for (int r = 0; r < ROWS; r++) {
        struct engine_sampling h = *how;
        struct kernels_sample s;
        h.seed = seed + (uint64_t)r;
        assert_int_equal(sampler_init(&samplers[r], &h, err, sizeof err), 0);
        sampler_describe(&samplers[r], recent, 5, masked ? b->masks + (size_t)(ROWS - 1 - r) * words : NULL,
                         &s);
        b->how[r] = (struct cuda_sample_how){.draw = s.draw,
                                             .inverse = s.temperature > 0 ? 1 / s.temperature : 1,
                                             .top_p = s.top_p,
                                             .min_p = s.min_p,
                                             .penalty = s.repeat_penalty,
                                             .mode = mode_of(&s),
                                             .top_k = s.top_k,
                                             .mask = masked ? ROWS - 1 - r : -1,
                                             .logprobs = r != 2,
                                             .n_top = r < 2    ? 0
                                                      : r == 5 ? 20
                                                               : 2 * r,
                                             .n_recent = s.n_recent};
        memcpy(b->how[r].recent, s.recent, (size_t)s.n_recent * 4);
    }
    run_bench(b);
    for (int r = 0; r < ROWS; r++) {
        float *logits = b->logits + (size_t)r * v;
        check_logprobs(b, r);
        if (masked)
            sampler_mask(logits, b->n_vocab, b->masks + (size_t)(ROWS - 1 - r) * words);
        struct sampler after = samplers[r];
        int32_t want = sampler_next(&samplers[r], logits, b->n_vocab, recent, 5, scratch);
        sampler_chosen(&after);
        assert_int_equal(after.random, samplers[r].random);
        left += b->host_tokens[r] < 0 ? 1 : 0;
        if (b->host_tokens[r] >= 0 && b->host_tokens[r] != want)
            fail_msg(
                "row %d, temperature %g, top-k %d, top-p %g, min-p %g: token %d on the GPU, %d on the CPU", r,
                (double)how->temperature, how->top_k, (double)how->top_p, (double)how->min_p,
                b->host_tokens[r], want);
    }
    free(scratch);
    return left;
}

static const struct engine_sampling settings[] = {
    {.temperature = 0},
    {.temperature = 0, .repeat_penalty = 1.3f},
    {.temperature = 1, .top_k = 1},
    {.temperature = 1},
    {.temperature = 0.7f, .repeat_penalty = 1.1f},
    {.temperature = 3},
    {.temperature = 1, .top_k = 40},
    {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1.1f},
    {.temperature = 1, .top_p = 0.9f},
    {.temperature = 1, .min_p = 0.1f},
    {.temperature = 0.3f, .top_k = 900, .top_p = 0.5f},
};
#define N_SETTINGS (sizeof settings / sizeof settings[0])

static void test_as_the_cpu(void **state) {
    (void)state;
    struct bench b;
    int left = 0, all = 0;
    open_bench(&b, 3001);
    for (int order = 0; order < 3; order++)
        for (size_t i = 0; i < N_SETTINGS; i++) {
            emu_set_order(order == 0 ? EMU_FORWARD : order == 1 ? EMU_BACKWARD : EMU_RANDOM, i);
            left += check_round(&b, &settings[i], (uint64_t)order * 100 + i, (i + (size_t)order) % 2 == 0);
            all += ROWS;
        }
    close_bench(&b);
    print_message("%d of %d choices were left to the host\n", left, all);
    assert_true(left * 20 < all); /* flat ones that have to be sorted */
}

/* Llama 3's vocabulary. */
static void test_a_large_vocabulary(void **state) {
    (void)state;
    struct bench b;
    int left = 0;
    open_bench(&b, 128256);
    emu_set_order(EMU_FORWARD, 0);
    for (size_t i = 3; i < N_SETTINGS; i += 2)
        left += check_round(&b, &settings[i], i, i % 4 == 3);
    close_bench(&b);
    print_message("%d of %d choices were left to the host\n", left, ROWS * 4);
}

/* Nothing is a number, nothing may come, one token may; the same of a mask. */
static void test_odd_logits(void **state) {
    (void)state;
    struct bench b;
    open_bench(&b, 100);
    for (int mode = CUDA_SAMPLE_NOT; mode <= CUDA_SAMPLE_SOME; mode++) {
        for (int i = 0; i < ROWS * 100; i++)
            b.logits[i] = i < 100 ? NAN : i < 200 ? -INFINITY : (float)(i % 100);
        memset(b.masks, 0, ROWS * 16);
        b.masks[3 * 4 + 2] = 1; /* row 3: token 64 */
        for (int r = 0; r < ROWS; r++)
            b.how[r] = (struct cuda_sample_how){.draw = 0.5,
                                                .inverse = 1,
                                                .top_p = 0.5f,
                                                .penalty = 1,
                                                .mode = mode,
                                                .mask = r == 3   ? 3
                                                        : r == 5 ? 0
                                                                 : -1,
                                                .logprobs = 1,
                                                .n_top = 5};
        run_bench(&b);
        assert_int_equal(b.host_tokens[0], mode == CUDA_SAMPLE_NOT ? -1 : 0);
        assert_int_equal(b.host_tokens[1], mode == CUDA_SAMPLE_NOT ? -1 : 0);
        assert_int_equal(b.host_tokens[3], mode == CUDA_SAMPLE_NOT ? -1 : 64);
        assert_true(mode == CUDA_SAMPLE_NOT || b.host_tokens[4] >= 97);
        assert_int_equal(b.host_tokens[5], mode == CUDA_SAMPLE_NOT ? -1 : 0); /* nothing may come */
        if (mode == CUDA_SAMPLE_NOT)
            continue;
        assert_int_equal(b.host_of[0].top_id[0], -1);
        assert_int_equal(b.host_of[1].top_id[0], -1);
        for (int i = 0; i < 5; i++)
            assert_int_equal(b.host_of[4].top_id[i], 99 - i);
    }
    close_bench(&b);
}

/* ---- the device: a batch, also as a graph ---- */

/* `asked`: the batch came with wishes. */
static void check_device_logprobs(struct kernels_device *d, int r, int32_t token,
                                  const struct kernels_sample *how, bool asked) {
    struct kernels_logprobs got, want;
    bool there = d->ops->logprobs(d, r, &got);
    assert_int_equal(there, asked && how->wanted && how->logprobs && token >= 0);
    if (!there)
        return;
    logprobs_of(d->ops->output(d, r), 1500, token, how->n_top, &want);
    check_near("the token", r, (double)got.chosen, (double)want.chosen);
    assert_int_equal(got.n_top, how->n_top);
    for (int i = 0; i < got.n_top; i++) {
        assert_int_equal(got.top[i].token, want.top[i].token);
        check_near("one of the likely ones", r, (double)got.top[i].logprob, (double)want.top[i].logprob);
    }
}

static void test_the_device_chooses(void **state) {
    (void)state;
    struct random_shape shape = {.n_layers = 1,
                                 .n_heads = 2,
                                 .n_kv_heads = 1,
                                 .head_dim = 16,
                                 .dim = 32,
                                 .ffn_dim = 48,
                                 .n_vocab = 1500};
    struct kernels_model m;
    struct kernels_device *d = NULL;
    struct sampler s[3];
    struct sampler_candidate scratch[1500];
    static const int32_t pages[3 * PARITY_STRIDE] = {[0] = 0, [PARITY_STRIDE] = 1, [2 * PARITY_STRIDE] = 2};
    const int32_t outputs[] = {0, 1, 2};
    char err[300] = "";
    random_model_init(&m, &shape);
    struct kernels_config config = parity_config(&m, DTYPE_F16);
    if (hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &d, err, sizeof err) < 0)
        fail_msg("%s", err);
    uint64_t run = emu_graphs_run(), recorded = emu_graphs_recorded(), allocations = emu_allocations();
    for (int r = 0; r < 3; r++)
        assert_int_equal(sampler_init(&s[r], &settings[r == 0 ? 0 : r == 1 ? 3 : 7], err, sizeof err), 0);
    for (int step = 0; step < 6; step++) {
        struct kernels_row rows[3];
        struct kernels_sample how[3];
        for (int r = 0; r < 3; r++) {
            rows[r] = (struct kernels_row){.token = (step * 3 + r) % 1500, .position = step, .table = r};
            sampler_describe(&s[r], NULL, 0, NULL, &how[r]);
        }
        how[2].wanted = step != 4;
        how[0].logprobs = how[2].logprobs = step >= 3; /* of these, one gets a token and one may not */
        how[0].n_top = 3;
        const struct kernels_batch batch = {.rows = rows,
                                            .n_rows = 3,
                                            .pages = pages,
                                            .pages_stride = PARITY_STRIDE,
                                            .outputs = outputs,
                                            .n_outputs = 3,
                                            .samples = step == 5 ? NULL : how};
        d->ops->begin(d, &batch);
        d->ops->embed(d);
        d->ops->attn_in(d, 0);
        d->ops->attention(d, 0);
        d->ops->attn_out(d, 0);
        d->ops->ffn_in(d, 0);
        d->ops->ffn_out(d, 0);
        d->ops->logits(d);
        assert_int_equal(d->ops->sync(d, err, sizeof err), 0);
        for (int r = 0; r < 3; r++) {
            int32_t got = d->ops->token(d, r);
            check_device_logprobs(d, r, got, &how[r], step < 5);
            int32_t want = sampler_next(&s[r], d->ops->output(d, r), 1500, NULL, 0, scratch);
            assert_int_equal(got, step == 5 || (step == 4 && r == 2) ? -1 : want);
        }
    }
    assert_int_equal(emu_allocations(), allocations);
    assert_int_equal(emu_graphs_run() - run, emu_present() ? 6 : 0);
    assert_int_equal(emu_graphs_recorded() - recorded,
                     emu_present() ? 3 : 0); /* with choice, with probabilities, without */
    d->ops->close(d);
    random_model_finish(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_the_cpu),
        cmocka_unit_test(test_a_large_vocabulary),
        cmocka_unit_test(test_odd_logits),
        cmocka_unit_test(test_the_device_chooses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
