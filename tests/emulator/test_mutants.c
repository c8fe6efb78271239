/* The product kernels of kernels/cuda with one fault each (mutants_*.txt) are caught, and without one are
 * right: embedding, preparation and product of a small matrix, one after the other as a model runs them.
 * Right is also that weights are fetched before the wait for the kernel before. */
#include "kernels/cpu/convert.h"
#include "kernels/cuda/pack.h"
#include "tests/emulator/apart.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/random_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Three times what a tensor core kernel takes at a time; of a row alone, several groups of what is loaded
 * ahead and some units more, and more pairs than warps. */
#define COLS       768
#define COLS_ALONE 4352
#define OUTPUTS    47
#define OUTS_ALONE 131
#define ROWS       5
#define FAR        3e-2 /* inputs of 8 bits are nearer than this, as a part of the norm */

enum mutant_kind { TENSOR, PREPARE, ROWS_ALONE };

struct mutant {
    const char *name;
    enum mutant_kind kind;
    enum dtype type;
    const char *says; /* NULL: a wrong result; "": it is right */
    int (*run)(struct gpu_stream *s, const struct cuda_product *p, int n_rows);
};

#define MUTANT(name, kind, type, says)                                                                       \
    int mutant_##name(struct gpu_stream *s, const struct cuda_product *p, int n_rows);
#include <prepare/mutants.inc>
#include <rows/mutants.inc>
#include <tensor/mutants.inc>
#include <wide/mutants.inc>
#undef MUTANT
#define MUTANT(name, kind, type, says) {#name, kind, type, says, mutant_##name},
static const struct mutant mutants[] = {
#include <prepare/mutants.inc>
#include <rows/mutants.inc>
#include <tensor/mutants.inc>
#include <wide/mutants.inc>
};

static void *device(size_t bytes) {
    void *p = gpu_alloc(bytes, GPU_KEPT);
    if (p == NULL)
        abort();
    return p;
}

static void *device_copy(const void *from, size_t bytes) {
    void *p = device(bytes);
    if (gpu_upload_now(p, from, bytes) < 0)
        abort();
    return p;
}

/* Header, rows, outputs; see struct cuda_batch. */
static struct cuda_batch make_batch(int n_rows) {
    int32_t ints[4 + ROWS * 3 + ROWS] = {n_rows, n_rows, 1};
    for (int i = 0; i < ROWS; i++) {
        ints[4 + i * 3] = i;
        ints[4 + ROWS * 3 + i] = i;
    }
    const int32_t *at = device_copy(ints, sizeof ints);
    return (struct cuda_batch){.n_rows = at,
                               .n_outputs = at + 1,
                               .stride = at + 2,
                               .rows = (const struct cuda_row *)(const void *)(at + 4),
                               .outputs = at + 4 + ROWS * 3};
}

static struct cuda_matrix upload(const struct tensor *t) {
    struct cuda_matrix m;
    char err[200];
    if (pack_upload(t, false, &m, err, sizeof err) < 0)
        abort();
    return m;
}

static struct cuda_product make_product(const struct cuda_matrix *w, int n_rows) {
    float norm[COLS_ALONE];
    size_t cols = (size_t)w->cols, outputs = (size_t)w->rows;
    for (size_t i = 0; i < cols; i++)
        norm[i] = 1;
    struct cuda_product p = {.batch = make_batch(n_rows),
                             .shape.eps = 1e-5f,
                             .step = CUDA_LOGITS,
                             .cols = w->cols,
                             .input = device(ROWS * cols * sizeof(float)),
                             .norm = device_copy(norm, cols * sizeof(float)),
                             .input_stride = w->cols,
                             .out = device(ROWS * outputs * sizeof(float)),
                             .out_stride = w->rows,
                             .families = 1 << steps_family(w->type),
                             .forms = steps_form(steps_family(w->type)),
                             .prepared = {.bf16 = device(ROWS * cols * 2),
                                          .f16 = device(ROWS * cols * 2),
                                          .factors = device(ROWS * sizeof(float)),
                                          .rounded = device(ROWS * cols),
                                          .records = device(ROWS * cols / 32 * sizeof(struct cuda_rounded))}};
    steps_add_section(&p, w, w, (w->rows + 1) / 2);
    uint32_t none = 0;
    p.wide_parts = device(CUDA_WIDE_BYTES); /* of one tile, as OUTPUTS make */
    p.wide_tickets = device_copy(&none, sizeof none);
    p.wide_tiles = 1;
    return p;
}

/* Row r of x, normalised, times row i of w. */
static double wanted(const struct tensor *x, const struct tensor *w, int r, int i) {
    static float in[COLS_ALONE], weights[COLS_ALONE];
    int64_t cols = x->cols;
    double sum = 0, squares = 0;
    convert_row(x->type, (const uint8_t *)x->data + (size_t)r * convert_row_bytes(x->type, cols), cols, in);
    convert_row(w->type, (const uint8_t *)w->data + (size_t)i * convert_row_bytes(w->type, cols), cols,
                weights);
    for (int64_t k = 0; k < cols; k++) {
        squares += (double)in[k] * (double)in[k];
        sum += (double)in[k] * (double)weights[k];
    }
    return sum / sqrt(squares / (double)cols + 1e-5);
}

static int compare(const struct tensor *x, const struct tensor *w, const float *got, int n_rows) {
    double far = 0, norm = 0;
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < (int)w->rows; i++) {
            double want = wanted(x, w, r, i), d = (double)got[r * (int)w->rows + i] - want;
            far += d * d;
            norm += want * want;
        }
    return sqrt(far / norm) <= FAR ? 0 : 1; /* what is no number is wrong */
}

static int run_mutant(void *arg) {
    const struct mutant *m = arg;
    uint64_t seed = 11, early = emu_early_bytes();
    bool alone = m->kind == ROWS_ALONE;
    int n_rows = alone ? 1 : ROWS, rc = 0, cols = alone ? COLS_ALONE : COLS;
    size_t outputs = alone ? OUTS_ALONE : OUTPUTS;
    struct tensor x = random_tensor(DTYPE_F32, ROWS, cols, 1, &seed);
    struct tensor w = random_tensor(m->type, (int)outputs, cols, 1, &seed);
    struct cuda_matrix table = upload(&x), weights = upload(&w);
    struct cuda_product p = make_product(&weights, n_rows);
    const struct cuda_embed embed = {
        .batch = p.batch, .table = table, .x = (float *)(uintptr_t)p.input, .x_stride = cols};
    float *out = gpu_alloc_host(ROWS * outputs * sizeof *out);
    struct gpu_stream *s = NULL;
    if (out == NULL || gpu_stream_create(&s) < 0)
        abort();
    rc = steps_embed(s, &embed, n_rows);
    if (m->kind == TENSOR)
        rc = rc ? rc : steps_prepare(s, &p, n_rows);
    rc = rc ? rc : m->run(s, &p, n_rows);
    if (m->kind == PREPARE)
        rc = rc ? rc : steps_product_tensor(s, &p, steps_family(weights.type), n_rows);
    rc = rc ? rc : gpu_download(s, out, p.out, (size_t)n_rows * outputs * sizeof *out);
    rc = rc ? rc : gpu_sync(s);
    rc = rc ? rc : compare(&x, &w, out, n_rows);
    if (m->kind != PREPARE && emu_early_bytes() == early)
        rc = 1; /* a product fetches weights before its inputs are there */
    gpu_stream_destroy(s);
    free((void *)(uintptr_t)x.data);
    free((void *)(uintptr_t)w.data);
    return rc;
}

static void test_mutants(void **state) {
    (void)state;
    static char out[65536];
    for (size_t i = 0; i < sizeof mutants / sizeof mutants[0]; i++) {
        struct mutant m = mutants[i];
        if (m.says == NULL || m.says[0] != '\0') {
            apart_must_be_caught(m.name, run_mutant, &m, m.says);
            continue;
        }
        for (int order = 0; order < APART_ORDERS; order++)
            if (apart_run(run_mutant, &m, order, out, sizeof out) != 0)
                fail_msg("%s is not right: %s", m.name, out);
        print_message("%-26s right\n", m.name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutants)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
