/* The oracle device: every step as the formula reads, one thread, sums in double. */
#include "kernels/cpu/convert.h"
#include "kernels/cpu/cpu.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct reference {
    struct kernels_device base;
    struct kernels_config config;
    const struct kernels_batch *batch; /* NULL: no valid batch */
    int status;
    float *x;        /* max_rows x dim */
    float *q;        /* max_rows x H*E */
    float *attn;     /* max_rows x H*E */
    float *h;        /* max_rows x ffn_dim */
    float *logits;   /* max_outputs x n_vocab */
    float *norm;     /* widest */
    float *row;      /* widest */
    double *weights; /* max_context */
    float *kv;       /* n_pages x layers x {keys, values} x G x 64 x E */
};

static struct reference *reference_of(struct kernels_device *d) {
    return (struct reference *)(void *)d;
}

static void rms_norm(const struct reference *d, const float *x, const struct tensor *w, float *out) {
    int n = d->config.model.dim;
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    double scale = 1.0 / sqrt(sum / n + (double)d->config.model.rms_eps);
    for (int i = 0; i < n; i++)
        out[i] = (float)((double)x[i] * scale * (double)convert_element(DTYPE_F32, w->data, i));
}

static float dot(struct reference *d, const struct tensor *w, int64_t r, const float *x) {
    convert_row(w->type, (const char *)w->data + convert_row_bytes(w->type, w->cols) * (size_t)r, w->cols,
                d->row);
    double sum = 0;
    for (int64_t i = 0; i < w->cols; i++)
        sum += (double)d->row[i] * (double)x[i];
    return (float)(w->row_scales != NULL ? sum * (double)w->row_scales[r] : sum);
}

static float *kv_at(struct reference *d, const struct kernels_row *row, int position, int layer, int values,
                    int g) {
    const struct kernels_model *m = &d->config.model;
    size_t e = (size_t)m->head_dim, heads = (size_t)m->n_kv_heads;
    size_t page = (size_t)d->batch->pages[(size_t)row->table * (size_t)d->batch->pages_stride +
                                          (size_t)(position / KERNELS_PAGE_TOKENS)];
    size_t block = ((page * (size_t)m->n_layers + (size_t)layer) * 2 + (size_t)values) * heads + (size_t)g;
    return d->kv + (block * KERNELS_PAGE_TOKENS + (size_t)(position % KERNELS_PAGE_TOKENS)) * e;
}

static void rotate(const struct reference *d, float *head, int position) {
    const struct kernels_model *m = &d->config.model;
    int half = m->head_dim / 2;
    for (int i = 0; i < half; i++) {
        double angle = (double)((float)position * m->rope_inv_freq[i]);
        int first = m->rope_layout == ROPE_ADJACENT ? 2 * i : i;
        int second = m->rope_layout == ROPE_ADJACENT ? 2 * i + 1 : i + half;
        double a = (double)head[first], b = (double)head[second];
        head[first] = (float)(a * cos(angle) - b * sin(angle));
        head[second] = (float)(a * sin(angle) + b * cos(angle));
    }
}

static void step_begin(struct kernels_device *base, const struct kernels_batch *batch) {
    struct reference *d = reference_of(base);
    d->batch = kernels_batch_fits(&d->config, batch) ? batch : NULL;
    if (d->batch == NULL)
        d->status = -EINVAL;
}

static void step_embed(struct kernels_device *base) {
    struct reference *d = reference_of(base);
    const struct tensor *w = &d->config.model.tok_embd;
    for (int r = 0; d->batch != NULL && r < d->batch->n_rows; r++) {
        int32_t token = d->batch->rows[r].token;
        float *x = d->x + (int64_t)r * w->cols;
        convert_row(w->type, (const char *)w->data + convert_row_bytes(w->type, w->cols) * (size_t)token,
                    w->cols, x);
        for (int64_t i = 0; i < w->cols && w->row_scales != NULL; i++)
            x[i] *= w->row_scales[token];
    }
}

static void step_attn_in(struct kernels_device *base, int layer) {
    struct reference *d = reference_of(base);
    const struct kernels_model *m = &d->config.model;
    const struct kernels_layer *l = &m->layers[layer];
    int e = m->head_dim;
    for (int r = 0; d->batch != NULL && r < d->batch->n_rows; r++) {
        const struct kernels_row *row = &d->batch->rows[r];
        float *q = d->q + (size_t)r * (size_t)m->n_heads * (size_t)e;
        rms_norm(d, d->x + (size_t)r * (size_t)m->dim, &l->attn_norm, d->norm);
        for (int i = 0; i < m->n_heads * e; i++)
            q[i] = dot(d, &l->wq, i, d->norm);
        for (int h = 0; h < m->n_heads; h++)
            rotate(d, q + h * e, row->position);
        for (int g = 0; g < m->n_kv_heads; g++) {
            float *k = kv_at(d, row, row->position, layer, 0, g),
                  *v = kv_at(d, row, row->position, layer, 1, g);
            for (int i = 0; i < e; i++) {
                k[i] = dot(d, &l->wk, (int64_t)g * e + i, d->norm);
                v[i] = dot(d, &l->wv, (int64_t)g * e + i, d->norm);
            }
            rotate(d, k, row->position);
            for (int i = 0; i < e && d->config.kv_type == DTYPE_F16; i++) {
                k[i] = convert_f16_to_f32(convert_f32_to_f16(k[i]));
                v[i] = convert_f16_to_f32(convert_f32_to_f16(v[i]));
            }
        }
    }
}

static double score(struct reference *d, const struct kernels_row *row, int layer, int g, const float *q,
                    int t) {
    const float *k = kv_at(d, row, t, layer, 0, g);
    double sum = 0;
    for (int i = 0; i < d->config.model.head_dim; i++)
        sum += (double)q[i] * (double)k[i];
    return sum / sqrt((double)d->config.model.head_dim);
}

/* attn of one row and head: weights are softmax(scores). */
static void attend(struct reference *d, int r, int h, int layer) {
    const struct kernels_model *m = &d->config.model;
    const struct kernels_row *row = &d->batch->rows[r];
    int e = m->head_dim, g = h / (m->n_heads / m->n_kv_heads);
    size_t at = ((size_t)r * (size_t)m->n_heads + (size_t)h) * (size_t)e;
    double largest = -INFINITY, sum = 0;
    for (int t = 0; t <= row->position; t++) {
        d->weights[t] = score(d, row, layer, g, d->q + at, t);
        largest = fmax(largest, d->weights[t]);
    }
    for (int t = 0; t <= row->position; t++) {
        d->weights[t] = exp(d->weights[t] - largest);
        sum += d->weights[t];
    }
    for (int i = 0; i < e; i++) {
        double mixed = 0;
        for (int t = 0; t <= row->position; t++)
            mixed += d->weights[t] / sum * (double)kv_at(d, row, t, layer, 1, g)[i];
        d->attn[at + (size_t)i] = (float)mixed;
    }
}

static void step_attention(struct kernels_device *base, int layer) {
    struct reference *d = reference_of(base);
    for (int r = 0; d->batch != NULL && r < d->batch->n_rows; r++)
        for (int h = 0; h < d->config.model.n_heads; h++)
            attend(d, r, h, layer);
}

static void add_projection(struct reference *d, const struct tensor *w, const float *input) {
    for (int r = 0; d->batch != NULL && r < d->batch->n_rows; r++)
        for (int64_t i = 0; i < w->rows; i++)
            d->x[(int64_t)r * w->rows + i] += dot(d, w, i, input + (int64_t)r * w->cols);
}

static void step_attn_out(struct kernels_device *base, int layer) {
    struct reference *d = reference_of(base);
    add_projection(d, &d->config.model.layers[layer].wo, d->attn);
}

static void step_ffn_in(struct kernels_device *base, int layer) {
    struct reference *d = reference_of(base);
    const struct kernels_model *m = &d->config.model;
    const struct kernels_layer *l = &m->layers[layer];
    for (int r = 0; d->batch != NULL && r < d->batch->n_rows; r++) {
        rms_norm(d, d->x + (size_t)r * (size_t)m->dim, &l->ffn_norm, d->norm);
        for (int i = 0; i < m->ffn_dim; i++) {
            double gate = (double)dot(d, &l->w_gate, i, d->norm);
            d->h[(size_t)r * (size_t)m->ffn_dim + (size_t)i] =
                (float)(gate / (1.0 + exp(-gate)) * (double)dot(d, &l->w_up, i, d->norm));
        }
    }
}

static void step_ffn_out(struct kernels_device *base, int layer) {
    struct reference *d = reference_of(base);
    add_projection(d, &d->config.model.layers[layer].w_down, d->h);
}

static void step_logits(struct kernels_device *base) {
    struct reference *d = reference_of(base);
    const struct kernels_model *m = &d->config.model;
    for (int o = 0; d->batch != NULL && o < d->batch->n_outputs; o++) {
        rms_norm(d, d->x + (size_t)d->batch->outputs[o] * (size_t)m->dim, &m->output_norm, d->norm);
        for (int i = 0; i < m->n_vocab; i++)
            d->logits[(size_t)o * (size_t)m->n_vocab + (size_t)i] = dot(d, &m->output, i, d->norm);
    }
}

static int device_sync(struct kernels_device *base, char *err, size_t errlen) {
    struct reference *d = reference_of(base);
    int rc = d->status;
    d->status = 0;
    return rc < 0 ? err_set(err, errlen, rc, "A row, page or output of the batch is out of range.") : 0;
}

static float *device_output(struct kernels_device *base, int o) {
    struct reference *d = reference_of(base);
    return d->logits + (size_t)o * (size_t)d->config.model.n_vocab;
}

static int device_peek(struct kernels_device *base, enum kernels_state what, int row, float *out) {
    struct reference *d = reference_of(base);
    const struct kernels_model *m = &d->config.model;
    if (d->batch == NULL || row < 0 || row >= d->batch->n_rows)
        return -EINVAL;
    size_t q = (size_t)m->n_heads * (size_t)m->head_dim;
    const float *from[] = {d->x, d->q, d->attn, d->h};
    const size_t width[] = {(size_t)m->dim, q, q, (size_t)m->ffn_dim};
    memcpy(out, from[what] + (size_t)row * width[what], width[what] * sizeof *out);
    return 0;
}

static size_t device_page_bytes(const struct kernels_device *base) {
    const struct reference *d = (const struct reference *)(const void *)base;
    return kernels_page_bytes(&d->config.model, DTYPE_F32);
}

static const char *device_page_layout(const struct kernels_device *base) {
    (void)base;
    return "cpu reference 1";
}

static float *page_at(struct reference *d, int32_t page) {
    return d->kv + (size_t)page * (kernels_page_bytes(&d->config.model, DTYPE_F32) / sizeof(float));
}

static void device_copy_page(struct kernels_device *base, int32_t to, int32_t from) {
    struct reference *d = reference_of(base);
    if (kernels_page_fits(&d->config, to) && kernels_page_fits(&d->config, from))
        memcpy(page_at(d, to), page_at(d, from), device_page_bytes(base));
    else if (d->status == 0)
        d->status = -EINVAL;
}

static int device_read_page(struct kernels_device *base, int32_t page, void *out) {
    struct reference *d = reference_of(base);
    if (!kernels_page_fits(&d->config, page))
        return -EINVAL;
    memcpy(out, page_at(d, page), device_page_bytes(base));
    return 0;
}

static int device_write_page(struct kernels_device *base, int32_t page, const void *from) {
    struct reference *d = reference_of(base);
    if (!kernels_page_fits(&d->config, page))
        return -EINVAL;
    memcpy(page_at(d, page), from, device_page_bytes(base));
    return 0;
}

static const char *device_describe(const struct kernels_device *base) {
    (void)base;
    return "cpu (reference)";
}

static void device_close(struct kernels_device *base) {
    struct reference *d = reference_of(base);
    float *owned[] = {d->x, d->q, d->attn, d->h, d->logits, d->norm, d->row, d->kv};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        free(owned[i]);
    free(d->weights);
    free(d);
}

static const struct kernels_ops reference_ops = {
    .name = "cpu-reference",
    .begin = step_begin,
    .embed = step_embed,
    .attn_in = step_attn_in,
    .attention = step_attention,
    .attn_out = step_attn_out,
    .ffn_in = step_ffn_in,
    .ffn_out = step_ffn_out,
    .logits = step_logits,
    .sync = device_sync,
    .output = device_output,
    .peek = device_peek,
    .page_bytes = device_page_bytes,
    .page_layout = device_page_layout,
    .copy_page = device_copy_page,
    .read_page = device_read_page,
    .write_page = device_write_page,
    .describe = device_describe,
    .close = device_close,
};

int cpu_reference_open(const struct kernels_config *config, struct kernels_device **out, char *err,
                       size_t errlen) {
    int rc = kernels_check_config(config, err, errlen);
    if (rc < 0)
        return rc;
    const struct kernels_model *m = &config->model;
    size_t rows = (size_t)config->max_rows, dim = (size_t)m->dim, ffn = (size_t)m->ffn_dim;
    size_t q = (size_t)m->n_heads * (size_t)m->head_dim;
    size_t widest = dim > ffn ? dim : ffn;
    widest = widest > q ? widest : q;
    struct reference *d = calloc(1, sizeof *d);
    if (d == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the reference device.");
    d->base.ops = &reference_ops;
    d->config = *config;
    d->x = calloc(rows * dim, sizeof(float));
    d->q = calloc(rows * q, sizeof(float));
    d->attn = calloc(rows * q, sizeof(float));
    d->h = calloc(rows * ffn, sizeof(float));
    d->logits = calloc((size_t)config->max_outputs * (size_t)m->n_vocab, sizeof(float));
    d->norm = calloc(widest, sizeof(float));
    d->row = calloc(widest, sizeof(float));
    d->weights = calloc((size_t)config->max_context, sizeof(double));
    d->kv = calloc((size_t)config->n_pages, kernels_page_bytes(m, DTYPE_F32));
    if (d->x == NULL || d->q == NULL || d->attn == NULL || d->h == NULL || d->logits == NULL ||
        d->norm == NULL || d->row == NULL || d->weights == NULL || d->kv == NULL) {
        device_close(&d->base);
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the reference device.");
    }
    *out = &d->base;
    return 0;
}
