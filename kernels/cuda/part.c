#include "kernels/cuda/part.h"

#include "kernels/dtype.h"

#include <errno.h>

static bool columns_can_be_cut(const struct tensor *t, int n) {
    return t->cols % n == 0 && t->cols / n % dtype_info(t->type)->block_elements == 0;
}

static int check_columns(const struct tensor *t, const char *name, int layer, int n, char *err,
                         size_t errlen) {
    const struct dtype_info *info = dtype_info(t->type);
    return columns_can_be_cut(t, n)
               ? 0
               : err_set(err, errlen, -ENOTSUP,
                         "The %lld columns of '%s' in layer %d are in blocks of %d (%s), "
                         "which %d GPUs cannot share.",
                         (long long)t->cols, name, layer, info->block_elements, info->name, n);
}

int part_check(const struct kernels_model *m, int n, char *err, size_t errlen) {
    const struct {
        const char *what;
        int of;
    } all[] = {
        {"key and value heads", m->n_kv_heads}, {"heads", m->n_heads}, {"feed-forward numbers", m->ffn_dim}};
    int rc = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].of % n != 0)
            return err_set(err, errlen, -ENOTSUP, "%d GPUs cannot share the model's %d %s.", n, all[i].of,
                           all[i].what);
    if (part_head(m->n_vocab, n - 1, n).n < 1)
        return err_set(err, errlen, -ENOTSUP, "%d GPUs cannot share the model's %d tokens.", n, m->n_vocab);
    for (int i = 0; i < m->n_layers && rc == 0; i++) {
        rc = check_columns(&m->layers[i].wo, "attn_output", i, n, err, errlen);
        rc = rc ? rc : check_columns(&m->layers[i].w_down, "ffn_down", i, n, err, errlen);
    }
    return rc;
}

struct part_rows part_head(int n_vocab, int rank, int n) {
    int each = n_vocab / n + (n_vocab % n != 0);
    int64_t first = (int64_t)each * rank, left = n_vocab - first;
    return (struct part_rows){(int32_t)first, (int32_t)(left < each ? left : each)};
}

static struct tensor rows_of(const struct tensor *t, int64_t first, int64_t n) {
    struct tensor part = *t;
    part.data = (const uint8_t *)t->data + dtype_row_bytes(t->type, t->cols) * (size_t)first;
    part.rows = n;
    if (t->row_scales != NULL)
        part.row_scales = t->row_scales + first;
    return part;
}

static struct tensor share_of_rows(const struct tensor *t, int rank, int n) {
    return rows_of(t, t->rows / n * rank, t->rows / n);
}

static struct tensor share_of_columns(const struct tensor *t, int rank, int n) {
    struct tensor part = *t;
    part.cols = t->cols / n;
    part.whole_cols = t->cols;
    part.data = (const uint8_t *)t->data + dtype_row_bytes(t->type, part.cols) * (size_t)rank;
    return part;
}

void part_of(const struct kernels_model *m, int rank, int n, struct kernels_layer *layers,
             struct kernels_model *part) {
    struct part_rows head = part_head(m->n_vocab, rank, n);
    *part = *m;
    part->n_heads = m->n_heads / n;
    part->n_kv_heads = m->n_kv_heads / n;
    part->ffn_dim = m->ffn_dim / n;
    part->output = rows_of(&m->output, head.first, head.n);
    part->layers = layers;
    for (int i = 0; i < m->n_layers; i++) {
        const struct kernels_layer *l = &m->layers[i];
        layers[i] = *l;
        layers[i].wq = share_of_rows(&l->wq, rank, n);
        layers[i].wk = share_of_rows(&l->wk, rank, n);
        layers[i].wv = share_of_rows(&l->wv, rank, n);
        layers[i].wo = share_of_columns(&l->wo, rank, n);
        layers[i].w_gate = share_of_rows(&l->w_gate, rank, n);
        layers[i].w_up = share_of_rows(&l->w_up, rank, n);
        layers[i].w_down = share_of_columns(&l->w_down, rank, n);
    }
}
