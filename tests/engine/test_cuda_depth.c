/* A Llama-3.1-shaped model at sampled positions up to 131,071 on the emulated GPU, against the oracle: RoPE
 * at depth, and attention over as many keys. Keys and values are those of a few pages that the page table
 * repeats; the page that is written is one of its own. */
#include "engine/forward.h"
#include "tests/engine/cuda_module.h"
#include "tests/engine/random_engine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CONTEXT 131072
#define TABLE   (CONTEXT / KERNELS_PAGE_TOKENS)
#define FILLED  4      /* pages that stand for all others */
#define OWN     FILLED /* and the one that is written */

/* Sums over all keys in F32 against double; logits span about -10 to 10. */
#define BOUND_EXACT 2e-4
/* Queries, keys, values and the weights of softmax in F16. */
#define BOUND_HALF 3e-2

static struct random_engine model;

static struct forward *open_forward(bool gpu, enum dtype kv) {
    const struct forward_config config = {.max_rows = KERNELS_PAGE_TOKENS,
                                          .max_outputs = 1,
                                          .max_context = CONTEXT,
                                          .n_pages = FILLED + 1,
                                          .kv_type = kv,
                                          .n_threads = 1,
                                          .exact = true,
                                          .reference = !gpu,
                                          .gpu_module = gpu ? cuda_module_path() : NULL};
    struct forward *f = NULL;
    char err[400] = "";
    if (forward_open(&model.model, &config, &f, err, sizeof err) < 0)
        fail_msg("%s", err);
    return f;
}

/* Rows first … first + n - 1 of a session; logits of the last. */
static const float *run(struct forward *f, const int32_t *table, int first, int n) {
    struct kernels_row rows[KERNELS_PAGE_TOKENS];
    char err[400] = "";
    for (int i = 0; i < n; i++)
        rows[i] =
            (struct kernels_row){.token = ((first + i) * 7 + 3) % model.model.n_vocab, .position = first + i};
    const int32_t output = n - 1;
    const struct kernels_batch batch = {
        .rows = rows, .n_rows = n, .pages = table, .pages_stride = TABLE, .outputs = &output, .n_outputs = 1};
    if (forward_run(f, &batch, err, sizeof err) < 0)
        fail_msg("%s", err);
    return forward_logits(f, 0);
}

/* The session's first pages. */
static void fill(struct forward *f) {
    int32_t table[TABLE];
    for (int i = 0; i < TABLE; i++)
        table[i] = i < FILLED ? i : OWN;
    for (int i = 0; i < FILLED; i++)
        (void)run(f, table, i * KERNELS_PAGE_TOKENS, KERNELS_PAGE_TOKENS);
}

/* Which page stands for entry i of the table: not in a regular order, so that a wrong entry is seen. */
static int32_t repeated(int i) {
    return (int32_t)((uint32_t)i * 2654435761u >> 24) % FILLED;
}

/* `n` rows that end at `last`, in a page of their own whose earlier keys are those of another. */
static const float *run_deep(struct forward *f, int last, int n) {
    int32_t table[TABLE];
    for (int i = 0; i < TABLE; i++)
        table[i] = i == last / KERNELS_PAGE_TOKENS ? OWN : repeated(i);
    forward_copy_page(f, OWN, 1);
    return run(f, table, last - n + 1, n);
}

static double largest_difference(const float *a, const float *b) {
    double worst = 0;
    for (int i = 0; i < model.model.n_vocab; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        worst = d <= worst ? worst : d; /* also what is no number */
    }
    return worst;
}

/* Ends of parts of attention, of what the model was first trained for, and of its context; alone, as a few
 * rows, and as a tile of tensor cores. */
static const struct {
    int last, n;
} samples[] = {{8191, 1}, {8192, 1}, {40000, 3}, {65535, 1}, {131071, 1}, {131071, 6}};

static void check_depth(enum dtype kv, double bound) {
    struct forward *oracle = open_forward(false, kv), *gpu = open_forward(true, kv);
    fill(oracle);
    fill(gpu);
    double worst = 0;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        int last = samples[i].last;
        const float *want = run_deep(oracle, last, samples[i].n), *got = run_deep(gpu, last, samples[i].n);
        double d = largest_difference(want, got);
        worst = fmax(worst, d);
        if (!(d <= bound))
            fail_msg("%d rows to position %d: a logit differs by %g, bound %g", samples[i].n, last, d, bound);
    }
    print_message("%s: a logit differs by at most %.2g, bound %g\n", kv == DTYPE_F32 ? "F32" : "F16", worst,
                  bound);
    forward_close(oracle);
    forward_close(gpu);
}

static void test_f32(void **state) {
    (void)state;
    check_depth(DTYPE_F32, BOUND_EXACT);
}

static void test_f16(void **state) {
    (void)state;
    check_depth(DTYPE_F16, BOUND_HALF);
}

/* What the bounds are good for: the last position is not an earlier one, and without the scaling of 3.1 it is
 * another one too. */
static void test_depth_counts(void **state) {
    (void)state;
    struct forward *oracle = open_forward(false, DTYPE_F32);
    float last[256], before[256];
    assert_true(model.model.n_vocab <= 256);
    size_t bytes = (size_t)model.model.n_vocab * sizeof *last;
    fill(oracle);
    memcpy(last, run_deep(oracle, CONTEXT - 1, 1), bytes);
    /* the same token, and the same keys but for one */
    memcpy(before, run_deep(oracle, CONTEXT - 1 - model.model.n_vocab, 1), bytes);
    forward_close(oracle);
    double step = largest_difference(last, before);
    random_engine_set_rope(&model, false);
    oracle = open_forward(false, DTYPE_F32);
    fill(oracle);
    double other = largest_difference(last, run_deep(oracle, CONTEXT - 1, 1));
    random_engine_set_rope(&model, true);
    forward_close(oracle);
    print_message("%d positions before: %.2g; without scaling: %.2g\n", model.model.n_vocab, step, other);
    assert_true(step > 2 * BOUND_HALF && other > 2 * BOUND_HALF);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depth_counts),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_f16),
    };
    const struct random_shape shape = {.n_layers = 2,
                                       .n_heads = 4,
                                       .n_kv_heads = 1,
                                       .head_dim = 32,
                                       .dim = 64,
                                       .ffn_dim = 96,
                                       .n_vocab = 96,
                                       .type = DTYPE_F32,
                                       .rope_layout = ROPE_HALF_SPLIT,
                                       .seed = 31};
    random_engine_init(&model, &shape, CONTEXT);
    random_engine_set_rope(&model, true);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    random_engine_finish(&model);
    return failed;
}
