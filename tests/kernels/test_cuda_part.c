/* What a rank has of a model: shapes, and the same numbers as the whole; uploaded, the same bytes as a matrix
 * that was cut by hand. */
#include "kernels/cuda/part.h"

#include "kernels/cpu/convert.h"
#include "kernels/cuda/host.h"
#include "kernels/cuda/pack.h"
#include "kernels/dtype.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/random_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct random_shape shape = {.n_layers = 2,
                                          .n_heads = 8,
                                          .n_kv_heads = 4,
                                          .head_dim = 128,
                                          .dim = 256,
                                          .ffn_dim = 1024,
                                          .n_vocab = 77,
                                          .seed = 3};

/* ---- shapes and numbers ---- */

static void row_of(const struct tensor *t, size_t pitch, int64_t row, float *out) {
    convert_row(t->type, (const uint8_t *)t->data + pitch * (size_t)row, t->cols, out);
    for (int64_t i = 0; i < t->cols && t->row_scales != NULL; i++)
        out[i] *= t->row_scales[row];
}

/* Part `rank` of `n` is rows first_row … and columns first_col … of the whole. */
static void check_tensor(const struct tensor *whole, const struct tensor *part, int64_t first_row,
                         int64_t first_col) {
    float *want = malloc((size_t)whole->cols * sizeof *want), *got = malloc((size_t)part->cols * sizeof *got);
    size_t pitch = dtype_row_bytes(whole->type, whole->cols);
    assert_true(want != NULL && got != NULL);
    for (int64_t i = 0; i < part->rows; i++) {
        row_of(whole, pitch, first_row + i, want);
        row_of(part, dtype_row_bytes(part->type, part->whole_cols > 0 ? part->whole_cols : part->cols), i,
               got);
        assert_memory_equal(got, want + first_col, (size_t)part->cols * sizeof *got);
    }
    free(want);
    free(got);
}

static void check_share(const struct tensor *whole, const struct tensor *part, int rank, int n,
                        bool columns) {
    assert_int_equal(part->rows, columns ? whole->rows : whole->rows / n);
    assert_int_equal(part->cols, columns ? whole->cols / n : whole->cols);
    check_tensor(whole, part, columns ? 0 : part->rows * rank, columns ? part->cols * rank : 0);
}

static void check_part(const struct kernels_model *m, int rank, int n) {
    struct kernels_layer layers[2];
    struct kernels_model part;
    part_of(m, rank, n, layers, &part);
    assert_ptr_equal(part.layers, layers);
    assert_int_equal(part.n_heads, 8 / n);
    assert_int_equal(part.n_kv_heads, 4 / n);
    assert_int_equal(part.ffn_dim, 1024 / n);
    assert_int_equal(part.dim, 256);
    assert_int_equal(part.n_vocab, 77);
    for (int i = 0; i < 2; i++) {
        const struct kernels_layer *l = &m->layers[i], *p = &layers[i];
        assert_ptr_equal(p->attn_norm.data, l->attn_norm.data);
        assert_ptr_equal(p->ffn_norm.data, l->ffn_norm.data);
        check_share(&l->wq, &p->wq, rank, n, false);
        check_share(&l->wk, &p->wk, rank, n, false);
        check_share(&l->wv, &p->wv, rank, n, false);
        check_share(&l->wo, &p->wo, rank, n, true);
        check_share(&l->w_gate, &p->w_gate, rank, n, false);
        check_share(&l->w_up, &p->w_up, rank, n, false);
        check_share(&l->w_down, &p->w_down, rank, n, true);
    }
    struct part_rows head = part_head(77, rank, n);
    assert_int_equal(part.output.rows, head.n);
    check_tensor(&m->output, &part.output, head.first, 0);
    assert_ptr_equal(part.tok_embd.data, m->tok_embd.data);
    assert_int_equal(part.tok_embd.rows, 77);
}

static void test_parts_of_all_types(void **state) {
    (void)state;
    float scales[1024];
    for (int i = 0; i < 1024; i++)
        scales[i] = 0.5f + (float)(i % 7) / 4;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        struct random_shape s = shape;
        struct kernels_model m;
        s.type = (enum dtype)t;
        random_model_init(&m, &s);
        for (int i = 0; i < 2 && s.type == DTYPE_F8_E4M3; i++) {
            struct kernels_layer *y = (struct kernels_layer *)(uintptr_t)&m.layers[i];
            y->wq.row_scales = y->wk.row_scales = y->wv.row_scales = y->wo.row_scales = scales;
            y->w_gate.row_scales = y->w_up.row_scales = y->w_down.row_scales = scales;
            m.output.row_scales = scales;
        }
        for (int n = 1; n <= 4; n *= 2)
            for (int rank = 0; rank < n; rank++)
                check_part(&m, rank, n);
        random_model_finish(&m);
    }
}

static void test_every_token_is_in_one_part(void **state) {
    (void)state;
    static const int sizes[] = {77, 80, 4, 128256};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int next = 0;
        for (int rank = 0; rank < 4; rank++) {
            struct part_rows head = part_head(sizes[i], rank, 4);
            assert_int_equal(head.first, next);
            assert_true(head.n > 0);
            next += head.n;
        }
        assert_int_equal(next, sizes[i]);
    }
}

static void refuse(struct random_shape s, int n, const char *sentence) {
    struct kernels_model m;
    char err[200] = "";
    random_model_init(&m, &s);
    assert_int_equal(part_check(&m, 1, err, sizeof err), 0);
    assert_int_equal(part_check(&m, n, err, sizeof err), -ENOTSUP);
    assert_string_equal(err, sentence);
    random_model_finish(&m);
}

static void test_what_cannot_be_shared(void **state) {
    (void)state;
    struct random_shape s = shape;
    refuse(s, 8, "8 GPUs cannot share the model's 4 key and value heads.");
    refuse(s, 3, "3 GPUs cannot share the model's 4 key and value heads.");
    s.ffn_dim = 1023;
    refuse(s, 2, "2 GPUs cannot share the model's 1023 feed-forward numbers.");
    s = shape;
    s.n_vocab = 5;
    refuse(s, 4, "4 GPUs cannot share the model's 5 tokens.");
    s = shape;
    s.type = DTYPE_Q4_K;
    s.ffn_dim = 768;
    refuse(
        s, 2,
        "The 768 columns of 'ffn_down' in layer 0 are in blocks of 256 (Q4_K), which 2 GPUs cannot share.");
    s.head_dim = 32;
    refuse(s, 4,
           "The 256 columns of 'attn_output' in layer 0 are in blocks of 256 (Q4_K), which 4 GPUs cannot "
           "share.");
    s.type = DTYPE_Q8_0;
    s.ffn_dim = 672;
    refuse(s, 2,
           "The 672 columns of 'ffn_down' in layer 0 are in blocks of 32 (Q8_0), which 2 GPUs cannot share.");
}

/* ---- uploaded ---- */

static void compare_plane(const uint8_t *a, const uint8_t *b, size_t bytes) {
    uint8_t *x = malloc(bytes + 1), *y = malloc(bytes + 1);
    assert_true(x != NULL && y != NULL && (a == NULL) == (b == NULL));
    if (bytes > 0) {
        assert_int_equal(gpu_download_now(x, a, bytes), 0);
        assert_int_equal(gpu_download_now(y, b, bytes), 0);
        assert_memory_equal(x, y, bytes);
    }
    free(x);
    free(y);
}

static void compare(const struct cuda_matrix *a, const struct cuda_matrix *b) {
    size_t rows = (size_t)a->rows;
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->cols, b->cols);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->chunks, b->chunks);
    compare_plane(a->values, b->values, rows * (size_t)a->chunks * 16);
    compare_plane(a->high, b->high, rows * (size_t)a->high_bytes);
    compare_plane(a->scales, b->scales, rows * (size_t)a->scale_bytes);
}

static void check_columns(const struct tensor *w, int rank, int n) {
    size_t pitch = dtype_row_bytes(w->type, w->cols), own = pitch / (size_t)n;
    uint8_t *cut = malloc(own * (size_t)w->rows);
    char err[200];
    struct cuda_matrix want, got;
    assert_non_null(cut);
    struct tensor part = *w, by_hand = *w;
    part.cols = by_hand.cols = w->cols / n;
    part.whole_cols = w->cols;
    part.data = (const uint8_t *)w->data + own * (size_t)rank;
    by_hand.data = cut;
    for (size_t i = 0; i < (size_t)w->rows; i++)
        memcpy(cut + own * i, (const uint8_t *)part.data + pitch * i, own);
    assert_int_equal(pack_upload(&by_hand, false, &want, err, sizeof err), 0);
    assert_int_equal(pack_upload(&part, false, &got, err, sizeof err), 0);
    compare(&got, &want);
    pack_free(&want);
    pack_free(&got);
    free(cut);
}

static void check_rows(const struct tensor *w, int32_t first, int32_t n) {
    char err[200];
    struct cuda_matrix all, want;
    struct tensor part = *w;
    part.data = (const uint8_t *)w->data + dtype_row_bytes(w->type, w->cols) * (size_t)first;
    part.rows = n;
    assert_int_equal(pack_upload(w, false, &all, err, sizeof err), 0);
    assert_int_equal(pack_upload(&part, false, &want, err, sizeof err), 0);
    struct cuda_matrix got = pack_part(&all, first, n);
    compare(&got, &want);
    pack_free(&all);
    pack_free(&want);
}

static void test_parts_are_uploaded(void **state) {
    (void)state;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        uint64_t seed = 9;
        struct tensor w = random_tensor((enum dtype)t, 10, 1024, 1, &seed);
        for (int rank = 0; rank < 4; rank++)
            check_columns(&w, rank, 4);
        check_rows(&w, 0, 3);
        check_rows(&w, 7, 3);
        free((void *)(uintptr_t)w.data);
    }
    assert_int_equal(emu_memory_used(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_of_all_types),
        cmocka_unit_test(test_every_token_is_in_one_part),
        cmocka_unit_test(test_what_cannot_be_shared),
        cmocka_unit_test(test_parts_are_uploaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
