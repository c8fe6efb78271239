/* Scores and outputs of one page, of every instruction set: near those of plain C, the wide ones equal to
 * each other in every bit, whatever heads are worked on together, and nothing is read or written beside them.
 */
#include "kernels/cpu/convert.h"
#include "kernels/cpu/ops.h"
#include "tests/kernels/random_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define HEADS     11
#define DIM       136
#define STRIDE    112
#define UNTOUCHED 12345.0f

static const int dims[] = {2, 6, 16, 40, 64, 128, 136};
static const int counts[] = {1, 7, 16, 17, 33, 48, 49, 63, 64};

/* One page of keys or values that ends where memory does. */
struct page {
    uint8_t *map;
    size_t bytes;
    void *at;
};

static void page_init(struct page *p, bool half, int dim, uint64_t *seed) {
    size_t n = (size_t)dim * 64, size = n * (half ? 2 : 4), whole = (size + 4095) / 4096 * 4096;
    p->bytes = whole + 4096;
    p->map = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p->map != MAP_FAILED);
    assert_int_equal(mprotect(p->map + whole, 4096, PROT_NONE), 0);
    p->at = p->map + whole - size;
    for (size_t i = 0; i < n; i++) {
        float v = random_float(seed);
        if (half)
            ((uint16_t *)p->at)[i] = convert_f32_to_f16(v);
        else
            ((float *)p->at)[i] = v;
    }
}

struct results {
    float scores[HEADS * STRIDE], out[HEADS * DIM];
};

/* With n_heads in one call, or one call for each. */
static void run(const struct cpu_ops *ops, const struct page *page, bool half, int dim, int n, bool together,
                const float *q, const float *weights, struct results *r) {
    for (int i = 0; i < HEADS * STRIDE; i++)
        r->scores[i] = UNTOUCHED;
    for (int i = 0; i < HEADS * DIM; i++)
        r->out[i] = i < HEADS * dim ? 0.25f : UNTOUCHED;
    /* What is asked for early must not be read: here it is where there is no memory. */
    struct kv_page kv = {.at = page->at,
                         .half = half,
                         .head_dim = dim,
                         .n = n,
                         .next = page->map + page->bytes - 4096,
                         .next_bytes = together ? 4096 : 0};
    for (int h = 0; h < HEADS; h += together ? HEADS : 1) {
        int heads = together ? HEADS : 1;
        ops->scores(r->scores + h * STRIDE, STRIDE, &kv, q + h * dim, heads, 0.125f);
        ops->mix(r->out + h * dim, &kv, weights + h * STRIDE, STRIDE, heads);
    }
}

static void check_near(const struct results *got, const struct results *want, const char *name, int dim,
                       int n) {
    for (int h = 0; h < HEADS; h++) {
        for (int t = 0; t < n; t++)
            if (fabsf(got->scores[h * STRIDE + t] - want->scores[h * STRIDE + t]) > 1e-5f)
                fail_msg("%s: score %d of head %d, %d elements", name, t, h, dim);
        for (int t = (n + 15) / 16 * 16; t < STRIDE; t++)
            if (got->scores[h * STRIDE + t] != UNTOUCHED)
                fail_msg("%s: score %d of %d is written", name, t, n);
    }
    for (int i = 0; i < HEADS * DIM; i++)
        if (fabsf(got->out[i] - want->out[i]) > 1e-4f)
            fail_msg("%s: element %d of the output, %d elements a head, %d positions", name, i, dim, n);
}

static void check(bool half, int dim, int n, uint64_t *seed) {
    static const char *const names[] = {"avx2", "avx512"};
    static struct results want, got[2], apart;
    struct page page;
    float q[HEADS * DIM], weights[HEADS * STRIDE];
    for (int i = 0; i < HEADS * DIM; i++)
        q[i] = random_float(seed);
    for (int i = 0; i < HEADS * STRIDE; i++)
        weights[i] = random_float(seed);
    page_init(&page, half, dim, seed);
    run(cpu_ops_find("portable"), &page, half, dim, n, true, q, weights, &want);
    bool both = true;
    for (int i = 0; i < 2; i++) {
        const struct cpu_ops *ops = cpu_ops_find(names[i]);
        both = both && ops != NULL;
        if (ops == NULL)
            continue;
        run(ops, &page, half, dim, n, true, q, weights, &got[i]);
        run(ops, &page, half, dim, n, false, q, weights, &apart);
        check_near(&got[i], &want, names[i], dim, n);
        for (int h = 0; h < HEADS; h++)
            assert_memory_equal(got[i].scores + h * STRIDE, apart.scores + h * STRIDE, (size_t)n * 4);
        assert_memory_equal(got[i].out, apart.out, sizeof apart.out);
    }
    for (int h = 0; h < HEADS && both; h++)
        assert_memory_equal(got[0].scores + h * STRIDE, got[1].scores + h * STRIDE, (size_t)n * 4);
    if (both)
        assert_memory_equal(got[0].out, got[1].out, sizeof got[0].out);
    assert_int_equal(munmap(page.map, page.bytes), 0);
}

static void test_every_shape(void **state) {
    (void)state;
    uint64_t seed = 11;
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            check(true, dims[i], counts[k], &seed);
            check(false, dims[i], counts[k], &seed);
        }
    for (int i = 0; i < 2; i++)
        if (cpu_ops_find(i == 0 ? "avx2" : "avx512") == NULL)
            print_message("skipped: this CPU cannot run the %s kernels\n", i == 0 ? "avx2" : "avx512");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_shape)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
