#include "kernels/kernels.h"

#include "kernels/dtype.h"

#include <errno.h>

size_t kernels_page_bytes(const struct kernels_model *m, enum dtype kv_type) {
    size_t element = kv_type == DTYPE_F16 ? 2 : 4;
    return element * 2 * (size_t)m->n_layers * (size_t)m->n_kv_heads * (size_t)m->head_dim *
           KERNELS_PAGE_TOKENS;
}

static int check_tensor(const struct tensor *t, const char *name, int64_t rows, int64_t cols, char *err,
                        size_t errlen) {
    if (t->data == NULL)
        return err_set(err, errlen, -EINVAL, "The model has no tensor '%s'; use a complete model file.",
                       name);
    if ((int)t->type < 0 || t->type >= DTYPE_COUNT)
        return err_set(err, errlen, -ENOTSUP, "Tensor '%s' has element type %d, which no kernel knows.", name,
                       (int)t->type);
    if (t->rows != rows || t->cols != cols)
        return err_set(err, errlen, -EINVAL,
                       "Tensor '%s' is %lld x %lld, the model's shape needs %lld x %lld.", name,
                       (long long)t->rows, (long long)t->cols, (long long)rows, (long long)cols);
    const struct dtype_info *info = dtype_info(t->type);
    if (cols % info->block_elements != 0)
        return err_set(err, errlen, -EINVAL,
                       "Tensor '%s' is %s with %lld columns, which is not a multiple of %d.", name,
                       info->name, (long long)cols, info->block_elements);
    return 0;
}

static int check_norm(const struct tensor *t, const char *name, int64_t cols, char *err, size_t errlen) {
    int rc = check_tensor(t, name, 1, cols, err, errlen);
    if (rc == 0 && t->type != DTYPE_F32)
        rc = err_set(err, errlen, -ENOTSUP, "Tensor '%s' must be F32.", name);
    return rc;
}

static int check_layer(const struct kernels_model *m, const struct kernels_layer *l, char *err,
                       size_t errlen) {
    int64_t d = m->dim, f = m->ffn_dim;
    int64_t q = (int64_t)m->n_heads * m->head_dim;
    int64_t kv = (int64_t)m->n_kv_heads * m->head_dim;
    int rc = check_norm(&l->attn_norm, "attn_norm", d, err, errlen);
    rc = rc ? rc : check_tensor(&l->wq, "attn_q", q, d, err, errlen);
    rc = rc ? rc : check_tensor(&l->wk, "attn_k", kv, d, err, errlen);
    rc = rc ? rc : check_tensor(&l->wv, "attn_v", kv, d, err, errlen);
    rc = rc ? rc : check_tensor(&l->wo, "attn_output", d, q, err, errlen);
    rc = rc ? rc : check_norm(&l->ffn_norm, "ffn_norm", d, err, errlen);
    rc = rc ? rc : check_tensor(&l->w_gate, "ffn_gate", f, d, err, errlen);
    rc = rc ? rc : check_tensor(&l->w_up, "ffn_up", f, d, err, errlen);
    rc = rc ? rc : check_tensor(&l->w_down, "ffn_down", d, f, err, errlen);
    return rc;
}

int kernels_check_config(const struct kernels_config *config, char *err, size_t errlen) {
    const struct kernels_model *m = &config->model;
    if (m->n_layers <= 0 || m->dim <= 0 || m->ffn_dim <= 0 || m->n_vocab <= 0 || m->n_kv_heads <= 0 ||
        m->n_heads <= 0 || m->n_heads % m->n_kv_heads != 0 || m->head_dim <= 0 || m->head_dim % 2 != 0 ||
        m->rope_inv_freq == NULL || m->layers == NULL)
        return err_set(
            err, errlen, -EINVAL,
            "The model's shape is impossible: %d layers, %d heads, %d kv heads, head size %d, width %d.",
            m->n_layers, m->n_heads, m->n_kv_heads, m->head_dim, m->dim);
    if (config->max_rows <= 0 || config->max_outputs <= 0 || config->max_context <= 0 || config->n_pages <= 0)
        return err_set(err, errlen, -EINVAL, "A device needs at least one row, output, position and page.");
    if (config->kv_type != DTYPE_F32 && config->kv_type != DTYPE_F16)
        return err_set(err, errlen, -ENOTSUP, "Keys and values can be kept in F32 or F16 only.");
    int rc = check_tensor(&m->tok_embd, "token_embd", m->n_vocab, m->dim, err, errlen);
    rc = rc ? rc : check_norm(&m->output_norm, "output_norm", m->dim, err, errlen);
    rc = rc ? rc : check_tensor(&m->output, "output", m->n_vocab, m->dim, err, errlen);
    for (int l = 0; l < m->n_layers && rc == 0; l++)
        rc = check_layer(m, &m->layers[l], err, errlen);
    return rc;
}

bool kernels_page_fits(const struct kernels_config *config, int32_t page) {
    return page >= 0 && page < config->n_pages;
}

bool kernels_batch_fits(const struct kernels_config *config, const struct kernels_batch *batch) {
    if (batch->n_rows < 0 || batch->n_rows > config->max_rows || batch->n_outputs < 0 ||
        batch->n_outputs > config->max_outputs)
        return false;
    for (int i = 0; i < batch->n_rows; i++) {
        const struct kernels_row *r = &batch->rows[i];
        if (r->token < 0 || r->token >= config->model.n_vocab || r->position < 0 ||
            r->position >= config->max_context || r->table < 0 ||
            r->position / KERNELS_PAGE_TOKENS >= batch->pages_stride)
            return false;
        int32_t page = batch->pages[(size_t)r->table * (size_t)batch->pages_stride +
                                    (size_t)(r->position / KERNELS_PAGE_TOKENS)];
        if (!kernels_page_fits(config, page))
            return false;
    }
    for (int i = 0; i < batch->n_outputs; i++)
        if (batch->outputs[i] < 0 || batch->outputs[i] >= batch->n_rows)
            return false;
    return true;
}
