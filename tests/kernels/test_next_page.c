/* Attention goes through a row's pages in order, and what it asks for early is what it reads next. The inner
 * loops are replaced by ones that write down what they are given. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/device.h"
#include "tests/kernels/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define KV_HEADS 2
#define E        16
#define CONTEXT  320
#define PAGES    ((CONTEXT + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS)

static struct kv_page seen[64];
static int n_seen;

static void see(const struct kv_page *page) {
    assert_true(n_seen < 64);
    seen[n_seen++] = *page;
}

static void see_scores(float *scores, size_t stride, const struct kv_page *keys, const float *q, int n_heads,
                       float scale) {
    (void)scores, (void)stride, (void)q, (void)n_heads, (void)scale;
    see(keys);
}

static void see_mix(float *out, const struct kv_page *values, const float *scores, size_t stride,
                    int n_heads) {
    (void)out, (void)scores, (void)stride, (void)n_heads;
    see(values);
}

/* The pages of one kv head: keys, then values, n positions each. */
static void check_head(const struct kv_page *page, enum dtype kv, int n) {
    int count = (n + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS;
    size_t block = kernels_kv_block_bytes(kv, E);
    for (int i = 0; i < 2 * count; i++) {
        bool last_of_kind = i % count == count - 1;
        assert_int_equal(page[i].n, last_of_kind ? n - (count - 1) * KERNELS_PAGE_TOKENS : 64);
        if (i == 2 * count - 1) {
            assert_int_equal(page[i].next_bytes, 0);
            break;
        }
        assert_ptr_equal(page[i].next, page[i + 1].at);
        bool values = i + 1 >= count;
        size_t wanted = values ? block * (size_t)page[i + 1].n / KERNELS_PAGE_TOKENS : block;
        assert_int_equal(page[i].next_bytes, wanted);
    }
}

static void check_row(struct cpu_device *d, enum dtype kv, int n) {
    struct kernels_row row = {.token = 7, .position = n - 1};
    int32_t pages[PAGES], output = 0;
    char err[300] = "";
    for (int i = 0; i < PAGES; i++)
        pages[i] = (i * 3 + 1) % PAGES; /* not in the order of memory */
    struct kernels_batch batch = {
        .rows = &row, .n_rows = 1, .pages = pages, .pages_stride = PAGES, .outputs = &output, .n_outputs = 1};
    const struct kernels_ops *ops = d->base.ops;
    ops->begin(&d->base, &batch);
    ops->embed(&d->base);
    ops->attn_in(&d->base, 0);
    n_seen = 0;
    ops->attention(&d->base, 0);
    assert_int_equal(ops->sync(&d->base, err, sizeof err), 0);
    int each = 2 * ((n + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS);
    assert_int_equal(n_seen, KV_HEADS * each);
    for (int h = 0; h < KV_HEADS; h++)
        check_head(seen + h * each, kv, n);
}

static void test_what_is_asked_for(void **state) {
    static const enum dtype types[] = {DTYPE_F16, DTYPE_F32, DTYPE_Q8_0};
    static const int lengths[] = {1, 63, 64, 65, 128, 200, CONTEXT};
    struct random_shape shape = {.n_layers = 1,
                                 .n_heads = 4,
                                 .n_kv_heads = KV_HEADS,
                                 .head_dim = E,
                                 .dim = 64,
                                 .ffn_dim = 64,
                                 .n_vocab = 256,
                                 .type = DTYPE_F32,
                                 .seed = 3};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct kernels_model model;
        struct kernels_device *device;
        char err[300] = "";
        random_model_init(&model, &shape);
        struct kernels_config config = {.model = model,
                                        .max_rows = 1,
                                        .max_outputs = 1,
                                        .max_context = CONTEXT,
                                        .n_pages = PAGES,
                                        .kv_type = types[i],
                                        .n_threads = 1};
        assert_int_equal(cpu_open(&config, "portable", &device, err, sizeof err), 0);
        struct cpu_device *d = (struct cpu_device *)(void *)device;
        struct cpu_ops ops = *d->ops;
        ops.scores = see_scores;
        ops.mix = see_mix;
        const struct kv8_ops kv8 = {.name = "seen", .scores = see_scores, .mix = see_mix};
        d->ops = &ops;
        d->kv8 = d->kv8 != NULL ? &kv8 : NULL;
        for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++)
            check_row(d, types[i], lengths[k]);
        device->ops->close(device);
        random_model_finish(&model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_asked_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
