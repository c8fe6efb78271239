#include "tests/kernels/parity.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct kernels_config parity_config(const struct kernels_model *m, enum dtype kv) {
    return (struct kernels_config){.model = *m,
                                   .max_rows = PARITY_MAX_ROWS,
                                   .max_outputs = 4,
                                   .max_context = PARITY_STRIDE * KERNELS_PAGE_TOKENS,
                                   .n_pages = PARITY_PAGES,
                                   .kv_type = kv,
                                   .exact = true};
}

double parity_difference(const float *got, const float *want, size_t n) {
    double d = 0, w = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(got[i]))
            fail_msg("element %zu of %zu is %g", i, n, (double)got[i]);
        d += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        w += (double)want[i] * (double)want[i];
    }
    return sqrt(d / (w + 1e-30));
}

static void check(struct parity *p, const float *got, const float *want, size_t n, double bound,
                  const char *what, int row) {
    double d = parity_difference(got, want, n);
    p->worst = fmax(p->worst, d / bound);
    if (d > bound)
        fail_msg("%s: row %d differs by %g from the oracle, bound %g", what, row, d, bound);
}

static void compare(struct parity *p, enum kernels_state what, int n_rows, size_t width, const char *step) {
    float *a = malloc(width * sizeof *a), *b = malloc(width * sizeof *b);
    assert_true(a != NULL && b != NULL);
    for (int r = 0; r < n_rows; r++) {
        assert_int_equal(p->want->ops->peek(p->want, what, r, a), 0);
        assert_int_equal(p->got->ops->peek(p->got, what, r, b), 0);
        check(p, b, a, width, what == KERNELS_STATE_ATTN ? 4 * p->bound : p->bound, step, r);
    }
    free(a);
    free(b);
}

static void run_layer(struct parity *p, const struct kernels_batch *batch, int l) {
    struct kernels_device *both[] = {p->want, p->got};
    size_t q = (size_t)p->m->n_heads * (size_t)p->m->head_dim;
    for (int i = 0; i < 2; i++)
        both[i]->ops->attn_in(both[i], l);
    compare(p, KERNELS_STATE_Q, batch->n_rows, q, "attn_in");
    for (int i = 0; i < 2; i++)
        both[i]->ops->attention(both[i], l);
    compare(p, KERNELS_STATE_ATTN, batch->n_rows, q, "attention");
    for (int i = 0; i < 2; i++)
        both[i]->ops->attn_out(both[i], l);
    compare(p, KERNELS_STATE_X, batch->n_rows, (size_t)p->m->dim, "attn_out");
    for (int i = 0; i < 2; i++)
        both[i]->ops->ffn_in(both[i], l);
    compare(p, KERNELS_STATE_H, batch->n_rows, (size_t)p->m->ffn_dim, "ffn_in");
    for (int i = 0; i < 2; i++)
        both[i]->ops->ffn_out(both[i], l);
    compare(p, KERNELS_STATE_X, batch->n_rows, (size_t)p->m->dim, "ffn_out");
}

void parity_steps(struct kernels_device *d, const struct kernels_batch *batch, int n_layers) {
    char err[300];
    d->ops->begin(d, batch);
    d->ops->embed(d);
    for (int l = 0; l < n_layers; l++) {
        d->ops->attn_in(d, l);
        d->ops->attention(d, l);
        d->ops->attn_out(d, l);
        d->ops->ffn_in(d, l);
        d->ops->ffn_out(d, l);
    }
    d->ops->logits(d);
    if (d->ops->sync(d, err, sizeof err) < 0)
        fail_msg("%s", err);
}

void parity_run(struct parity *p, const struct kernels_batch *batch) {
    struct kernels_device *both[] = {p->want, p->got};
    char err[300];
    for (int i = 0; i < 2; i++) {
        both[i]->ops->begin(both[i], batch);
        both[i]->ops->embed(both[i]);
    }
    compare(p, KERNELS_STATE_X, batch->n_rows, (size_t)p->m->dim, "embed");
    for (int l = 0; l < p->m->n_layers; l++)
        run_layer(p, batch, l);
    for (int i = 0; i < 2; i++) {
        both[i]->ops->logits(both[i]);
        if (both[i]->ops->sync(both[i], err, sizeof err) < 0)
            fail_msg("%s", err);
    }
    for (int o = 0; o < batch->n_outputs; o++)
        check(p, p->got->ops->output(p->got, o), p->want->ops->output(p->want, o), (size_t)p->m->n_vocab,
              p->bound, "logits", o);
}

void parity_sessions(struct parity *p, int more) {
    static const int32_t pages[2 * PARITY_STRIDE] = {7, 2,  9, 4, 0, 23, 22, 14, 13, 12, 20, 19,
                                                     3, 11, 1, 5, 6, 8,  10, 15, 16, 17, 18, 21};
    struct kernels_row rows[PARITY_MAX_ROWS];
    int n = 0, position = 0;
    for (; position < 70; position++)
        rows[n++] = (struct kernels_row){.token = (position * 7 + 1) % p->m->n_vocab, .position = position};
    for (int i = 0; i < 9; i++)
        rows[n++] = (struct kernels_row){.token = (i * 5 + 2) % p->m->n_vocab, .position = i, .table = 1};
    int32_t outputs[] = {69, 78};
    struct kernels_batch batch = {.rows = rows,
                                  .n_rows = n,
                                  .pages = pages,
                                  .pages_stride = PARITY_STRIDE,
                                  .outputs = outputs,
                                  .n_outputs = 2};
    parity_run(p, &batch);
    rows[0] = (struct kernels_row){.token = 4, .position = 9, .table = 1};
    rows[1] = (struct kernels_row){.token = 3, .position = position++, .table = 0};
    outputs[0] = 0;
    outputs[1] = 1;
    batch.n_rows = 2;
    parity_run(p, &batch);
    for (int left = 61 + more, take; left > 0; left -= take) {
        take = left > 61 && more < 61 ? 61 : left < PARITY_MAX_ROWS ? left : PARITY_MAX_ROWS;
        for (int i = 0; i < take; i++, position++)
            rows[i] = (struct kernels_row){.token = position * 3 % p->m->n_vocab, .position = position};
        outputs[0] = take - 1;
        batch.n_rows = take;
        batch.n_outputs = 1;
        parity_run(p, &batch);
    }
}

/* ---- pages that are copied, read and written ---- */

static void run_rows(struct kernels_device *d, const struct kernels_model *m, const struct kernels_row *rows,
                     int n, const int32_t *table) {
    int32_t output = n - 1;
    struct kernels_batch batch = {.rows = rows,
                                  .n_rows = n,
                                  .pages = table,
                                  .pages_stride = PARITY_STRIDE,
                                  .outputs = &output,
                                  .n_outputs = 1};
    parity_steps(d, &batch, m->n_layers);
}

/* Whether the token behind 70 others, which lie in the pages of `table`, has these logits. */
static bool goes_on_as(struct kernels_device *d, const struct kernels_model *m, const int32_t *table,
                       const float *logits) {
    struct kernels_row row = {.token = 3, .position = 70};
    run_rows(d, m, &row, 1, table);
    return memcmp(d->ops->output(d, 0), logits, (size_t)m->n_vocab * sizeof *logits) == 0;
}

/* The same pages by way of the host, in the place of each other and back, with nobody waiting between. */
static void check_moves(struct kernels_device *d, const struct kernels_model *m, const float *logits) {
    static const int32_t second[PARITY_STRIDE] = {5, 3};
    size_t bytes = d->ops->page_bytes(d);
    uint8_t *host = d->ops->alloc_host(d, 2 * bytes);
    char err[300];
    assert_non_null(host);
    d->ops->store_page(d, 5, host);
    d->ops->store_page(d, 3, host + bytes);
    d->ops->fetch_page(d, 5, host + bytes);
    d->ops->fetch_page(d, 3, host);
    assert_false(goes_on_as(d, m, second, logits));
    d->ops->fetch_page(d, 5, host);
    d->ops->fetch_page(d, 3, host + bytes);
    assert_true(goes_on_as(d, m, second, logits));
    d->ops->store_page(d, 1 << 20, host);
    assert_int_equal(d->ops->sync(d, err, sizeof err), -EINVAL);
    d->ops->fetch_page(d, -1, host);
    assert_int_equal(d->ops->sync(d, err, sizeof err), -EINVAL);
    d->ops->store_page(d, 5, host + bytes); /* the memory goes while it is under way */
    d->ops->free_host(d, host);
    assert_true(goes_on_as(d, m, second, logits));
}

void parity_pages(struct kernels_device *d, const struct kernels_model *m) {
    static const int32_t first[PARITY_STRIDE] = {7, 2}, second[PARITY_STRIDE] = {5, 3};
    struct kernels_row rows[71];
    char err[300];
    float *logits = malloc((size_t)m->n_vocab * sizeof *logits);
    void *page = malloc(d->ops->page_bytes(d));
    assert_true(logits != NULL && page != NULL && d->ops->page_layout(d)[0] != '\0');
    for (int i = 0; i < 70; i++)
        rows[i] = (struct kernels_row){.token = (i * 7 + 1) % m->n_vocab, .position = i};
    rows[70] = (struct kernels_row){.token = 3, .position = 70};
    run_rows(d, m, rows, 71, first);
    memcpy(logits, d->ops->output(d, 0), (size_t)m->n_vocab * sizeof *logits);
    d->ops->copy_page(d, 5, 7);
    d->ops->copy_page(d, 3, 2);
    assert_true(goes_on_as(d, m, second, logits));
    assert_int_equal(d->ops->read_page(d, 5, page), 0);
    d->ops->copy_page(d, 5, 3);
    assert_false(goes_on_as(d, m, second, logits));
    assert_int_equal(d->ops->write_page(d, 5, page), 0);
    assert_true(goes_on_as(d, m, second, logits));
    assert_true(goes_on_as(d, m, first, logits));

    if (d->ops->store_page != NULL)
        check_moves(d, m, logits);

    assert_int_equal(d->ops->read_page(d, -1, page), -EINVAL);
    assert_int_equal(d->ops->write_page(d, 1 << 20, page), -EINVAL);
    d->ops->copy_page(d, 1 << 20, 7);
    assert_int_equal(d->ops->sync(d, err, sizeof err), -EINVAL);
    d->ops->copy_page(d, 7, -1);
    assert_int_equal(d->ops->sync(d, err, sizeof err), -EINVAL);
    assert_true(goes_on_as(d, m, first, logits));
    free(logits);
    free(page);
}
