/* The fast CPU device: the steps cut into chunks for the pool, inner loops from the table of the instruction
 * set. */
#include "kernels/cpu/convert.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/device.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct cpu_device *cpu_of(struct kernels_device *d) {
    return (struct cpu_device *)(void *)d;
}

/* ---- steps ---- */

struct row_job {
    struct cpu_device *d;
    int layer;
    const float *weight;
};

static void norm_chunk(void *arg, int chunk, int thread) {
    (void)thread;
    const struct row_job *job = arg;
    struct cpu_device *d = job->d;
    int last = chunk * 8 + 8 < d->batch->n_rows ? chunk * 8 + 8 : d->batch->n_rows;
    for (int r = chunk * 8; r < last; r++)
        d->ops->rms_norm(d->norm + (size_t)r * d->w_dim, d->x + (size_t)r * d->w_dim, job->weight,
                         d->config.model.dim, d->config.model.rms_eps);
}

static void norm_rows(struct cpu_device *d, const float *weight) {
    struct row_job job = {.d = d, .weight = weight};
    cpu_run_job(d, norm_chunk, &job, (d->batch->n_rows + 7) / 8,
                (int64_t)d->batch->n_rows * d->config.model.dim * 2);
}

static const float *norm_of(const struct cpu_device *d, int layer, int which) {
    return d->norms + (size_t)(layer * 2 + which) * d->w_dim;
}

static void step_begin(struct kernels_device *base, const struct kernels_batch *batch) {
    struct cpu_device *d = cpu_of(base);
    pool_flush_denormals();
    if (d->weights_taken < d->n_weights)
        cpu_weights_take(d);
    if (!kernels_batch_fits(&d->config, batch)) {
        d->batch = NULL;
        if (d->status == 0)
            d->status =
                err_set(d->sentence, sizeof d->sentence, -EINVAL,
                        "A row, page or output of a batch of %d rows is out of range.", batch->n_rows);
        return;
    }
    d->batch = batch;
}

static void embed_chunk(void *arg, int chunk, int thread) {
    (void)thread;
    const struct row_job *job = arg;
    struct cpu_device *d = job->d;
    const struct kernels_model *m = &d->config.model;
    size_t row_bytes = convert_row_bytes(m->tok_embd.type, m->dim);
    int half = m->head_dim / 2;
    int last = chunk * 8 + 8 < d->batch->n_rows ? chunk * 8 + 8 : d->batch->n_rows;
    for (int r = chunk * 8; r < last; r++) {
        const struct kernels_row *row = &d->batch->rows[r];
        convert_row(m->tok_embd.type, (const uint8_t *)m->tok_embd.data + row_bytes * (size_t)row->token,
                    m->dim, d->x + (size_t)r * d->w_dim);
        for (int i = 0; i < m->dim && m->tok_embd.row_scales != NULL; i++)
            d->x[(size_t)r * d->w_dim + (size_t)i] *= m->tok_embd.row_scales[row->token];
        for (int i = 0; i < half; i++) {
            float angle = (float)row->position * m->rope_inv_freq[i];
            d->rope_cos[(size_t)r * (size_t)half + (size_t)i] = cosf(angle);
            d->rope_sin[(size_t)r * (size_t)half + (size_t)i] = sinf(angle);
        }
    }
}

static void step_embed(struct kernels_device *base) {
    struct cpu_device *d = cpu_of(base);
    if (d->batch == NULL)
        return;
    struct row_job job = {.d = d};
    cpu_run_job(d, embed_chunk, &job, (d->batch->n_rows + 7) / 8,
                (int64_t)d->batch->n_rows * (d->config.model.dim + d->config.model.head_dim * 32));
}

static void rotate(float *heads, int n_heads, int head_dim, enum rope_layout layout, const float *c,
                   const float *s) {
    int half = head_dim / 2;
    for (int h = 0; h < n_heads; h++) {
        float *v = heads + (size_t)h * (size_t)head_dim;
        if (layout == ROPE_ADJACENT) {
            for (int i = 0; i < half; i++) {
                float a = v[2 * i], b = v[2 * i + 1];
                v[2 * i] = a * c[i] - b * s[i];
                v[2 * i + 1] = a * s[i] + b * c[i];
            }
        } else {
            for (int i = 0; i < half; i++) {
                float a = v[i], b = v[i + half];
                v[i] = a * c[i] - b * s[i];
                v[i + half] = a * s[i] + b * c[i];
            }
        }
    }
}

/* Keys [E][64] or values [64][E] of one page, layer and kv head; in 8 bits their factors behind (kv8.h). */
static uint8_t *kv_at(struct cpu_device *d, int32_t page, int layer, int head, bool values) {
    const struct kernels_model *m = &d->config.model;
    size_t block = kernels_kv_block_bytes(d->config.kv_type, m->head_dim);
    size_t index = ((size_t)layer * 2 + (values ? 1 : 0)) * (size_t)m->n_kv_heads + (size_t)head;
    return d->kv + (size_t)page * d->page_bytes + index * block;
}

static void kv_store(struct cpu_device *d, void *at, size_t i, float value) {
    if (d->config.kv_type == DTYPE_F16)
        ((uint16_t *)at)[i] = convert_f32_to_f16(value);
    else
        ((float *)at)[i] = value;
}

static int32_t page_of(const struct kernels_batch *b, const struct kernels_row *row, int index) {
    return b->pages[(size_t)row->table * (size_t)b->pages_stride + (size_t)index];
}

static void rope_chunk(void *arg, int chunk, int thread) {
    (void)thread;
    const struct row_job *job = arg;
    struct cpu_device *d = job->d;
    const struct kernels_model *m = &d->config.model;
    size_t half = (size_t)m->head_dim / 2;
    int last = chunk * 8 + 8 < d->batch->n_rows ? chunk * 8 + 8 : d->batch->n_rows;
    for (int r = chunk * 8; r < last; r++) {
        const struct kernels_row *row = &d->batch->rows[r];
        const float *c = d->rope_cos + (size_t)r * half, *s = d->rope_sin + (size_t)r * half;
        float *k = d->k + (size_t)r * d->w_kv, *v = d->v + (size_t)r * d->w_kv;
        rotate(d->q + (size_t)r * d->w_q, m->n_heads, m->head_dim, m->rope_layout, c, s);
        rotate(k, m->n_kv_heads, m->head_dim, m->rope_layout, c, s);
        int32_t page = page_of(d->batch, row, row->position / KERNELS_PAGE_TOKENS);
        size_t t = (size_t)(row->position % KERNELS_PAGE_TOKENS);
        size_t n = (size_t)m->head_dim;
        for (int g = 0; g < m->n_kv_heads; g++) {
            void *keys = kv_at(d, page, job->layer, g, false), *values = kv_at(d, page, job->layer, g, true);
            if (d->kv8 != NULL) {
                kv8_store(keys, false, m->head_dim, (int)t, k + (size_t)g * n);
                kv8_store(values, true, m->head_dim, (int)t, v + (size_t)g * n);
            }
            for (size_t e = 0; e < n && d->kv8 == NULL; e++) {
                kv_store(d, keys, e * KERNELS_PAGE_TOKENS + t, k[(size_t)g * n + e]);
                kv_store(d, values, t * n + e, v[(size_t)g * n + e]);
            }
        }
    }
}

static void step_attn_in(struct kernels_device *base, int layer) {
    struct cpu_device *d = cpu_of(base);
    if (d->batch == NULL)
        return;
    const struct kernels_layer *l = &d->config.model.layers[layer];
    norm_rows(d, norm_of(d, layer, 0));
    struct products p = {.d = d,
                         .w = {&l->wq, &l->wk, &l->wv},
                         .out = {d->q, d->k, d->v},
                         .out_stride = {d->w_q, d->w_kv, d->w_kv},
                         .n = 3,
                         .input = d->norm,
                         .input_stride = d->w_dim,
                         .n_cols = d->batch->n_rows,
                         .k = d->config.model.dim};
    cpu_run_products(&p);
    struct row_job job = {.d = d, .layer = layer};
    cpu_run_job(d, rope_chunk, &job, (d->batch->n_rows + 7) / 8,
                (int64_t)d->batch->n_rows * (int64_t)(d->w_q + 8 * d->w_kv) * 2);
}

/* The page of positions t … t + 63 of a row, and what is read behind it: the next one, behind the last keys
 * the first values, behind the last values nothing of this row. */
static struct kv_page page_at(struct cpu_device *d, const struct kernels_row *row, int layer, int head,
                              bool values, int t) {
    int n = row->position + 1, then = t + KERNELS_PAGE_TOKENS;
    const void *at = kv_at(d, page_of(d->batch, row, t / KERNELS_PAGE_TOKENS), layer, head, values);
    struct kv_page page = {.at = at,
                           .half = d->config.kv_type == DTYPE_F16,
                           .head_dim = d->config.model.head_dim,
                           .n = n < then ? n - t : KERNELS_PAGE_TOKENS};
    if (then >= n) {
        if (values)
            return page;
        values = true;
        then = 0;
    }
    page.next = kv_at(d, page_of(d->batch, row, then / KERNELS_PAGE_TOKENS), layer, head, values);
    page.next_bytes = kernels_kv_block_bytes(d->config.kv_type, page.head_dim);
    if (values && n - then < KERNELS_PAGE_TOKENS) /* those of a position lie together, keys do not */
        page.next_bytes = page.next_bytes * (size_t)(n - then) / KERNELS_PAGE_TOKENS;
    return page;
}

/* One row and one kv head with its group of query heads. */
static void attention_chunk(void *arg, int chunk, int thread) {
    const struct row_job *job = arg;
    struct cpu_device *d = job->d;
    const struct kernels_model *m = &d->config.model;
    /* The longest rows stand last in a prefill chunk; starting with them evens out the end. */
    int r = d->batch->n_rows - 1 - chunk / m->n_kv_heads, g = chunk % m->n_kv_heads;
    const struct kernels_row *row = &d->batch->rows[r];
    int group = m->n_heads / m->n_kv_heads, n = row->position + 1;
    float scale = 1.0f / sqrtf((float)m->head_dim);
    float *scores = d->scores + (size_t)thread * (size_t)group * d->scores_stride;
    size_t at = (size_t)r * d->w_q + (size_t)(g * group) * (size_t)m->head_dim;
    for (int t = 0; t < n; t += KERNELS_PAGE_TOKENS) {
        struct kv_page keys = page_at(d, row, job->layer, g, false, t);
        (d->kv8 != NULL ? d->kv8->scores : d->ops->scores)(scores + t, d->scores_stride, &keys, d->q + at,
                                                           group, scale);
    }
    for (int h = 0; h < group; h++)
        d->ops->softmax(scores + (size_t)h * d->scores_stride, n);
    memset(d->attn + at, 0, (size_t)group * (size_t)m->head_dim * sizeof *d->attn);
    for (int t = 0; t < n; t += KERNELS_PAGE_TOKENS) {
        struct kv_page values = page_at(d, row, job->layer, g, true, t);
        (d->kv8 != NULL ? d->kv8->mix : d->ops->mix)(d->attn + at, &values, scores + t, d->scores_stride,
                                                     group);
    }
}

static void step_attention(struct kernels_device *base, int layer) {
    struct cpu_device *d = cpu_of(base);
    if (d->batch == NULL)
        return;
    struct row_job job = {.d = d, .layer = layer};
    int64_t work = 0;
    for (int r = 0; r < d->batch->n_rows; r++)
        work += (int64_t)(d->batch->rows[r].position + 1) * (int64_t)d->w_q * 4;
    cpu_run_job(d, attention_chunk, &job, d->batch->n_rows * d->config.model.n_kv_heads, work);
}

static void project(struct cpu_device *d, const struct tensor *w, const float *input, size_t stride) {
    struct products p = {.d = d,
                         .w = {w},
                         .out = {d->delta},
                         .out_stride = {d->w_dim},
                         .n = 1,
                         .input = input,
                         .input_stride = stride,
                         .n_cols = d->batch->n_rows,
                         .k = (int)w->cols,
                         .residual = d->x};
    cpu_run_products(&p);
}

static void step_attn_out(struct kernels_device *base, int layer) {
    struct cpu_device *d = cpu_of(base);
    if (d->batch != NULL)
        project(d, &d->config.model.layers[layer].wo, d->attn, d->w_q);
}

static void step_ffn_in(struct kernels_device *base, int layer) {
    struct cpu_device *d = cpu_of(base);
    if (d->batch == NULL)
        return;
    const struct kernels_layer *l = &d->config.model.layers[layer];
    norm_rows(d, norm_of(d, layer, 1));
    struct products p = {.d = d,
                         .w = {&l->w_gate, &l->w_up},
                         .out = {d->h, d->up},
                         .out_stride = {d->w_ffn, d->w_ffn},
                         .n = 2,
                         .gated = true,
                         .input = d->norm,
                         .input_stride = d->w_dim,
                         .n_cols = d->batch->n_rows,
                         .k = d->config.model.dim};
    cpu_run_products(&p);
}

static void step_ffn_out(struct kernels_device *base, int layer) {
    struct cpu_device *d = cpu_of(base);
    if (d->batch != NULL)
        project(d, &d->config.model.layers[layer].w_down, d->h, d->w_ffn);
}

static void step_logits(struct kernels_device *base) {
    struct cpu_device *d = cpu_of(base);
    if (d->batch == NULL || d->batch->n_outputs == 0)
        return;
    const struct kernels_model *m = &d->config.model;
    for (int o = 0; o < d->batch->n_outputs; o++)
        d->ops->rms_norm(d->norm + (size_t)o * d->w_dim, d->x + (size_t)d->batch->outputs[o] * d->w_dim,
                         norm_of(d, m->n_layers, 0), m->dim, m->rms_eps);
    struct products p = {.d = d,
                         .w = {&m->output},
                         .out = {d->logits},
                         .out_stride = {d->w_vocab},
                         .n = 1,
                         .input = d->norm,
                         .input_stride = d->w_dim,
                         .n_cols = d->batch->n_outputs,
                         .k = m->dim};
    cpu_run_products(&p);
}

static int device_sync(struct kernels_device *base, char *err, size_t errlen) {
    struct cpu_device *d = cpu_of(base);
    int rc = d->status;
    d->status = 0;
    if (rc < 0)
        return err_set(err, errlen, rc, "%s", d->sentence);
    return 0;
}

static float *device_output(struct kernels_device *base, int o) {
    struct cpu_device *d = cpu_of(base);
    return d->logits + (size_t)o * d->w_vocab;
}

static int device_peek(struct kernels_device *base, enum kernels_state what, int row, float *out) {
    struct cpu_device *d = cpu_of(base);
    const struct kernels_model *m = &d->config.model;
    if (d->batch == NULL || row < 0 || row >= d->batch->n_rows)
        return -EINVAL;
    size_t q = (size_t)m->n_heads * (size_t)m->head_dim;
    const float *from[] = {d->x, d->q, d->attn, d->h};
    const size_t stride[] = {d->w_dim, d->w_q, d->w_q, d->w_ffn};
    const size_t width[] = {(size_t)m->dim, q, q, (size_t)m->ffn_dim};
    memcpy(out, from[what] + (size_t)row * stride[what], width[what] * sizeof *out);
    return 0;
}

static size_t device_page_bytes(const struct kernels_device *base) {
    return ((const struct cpu_device *)(const void *)base)->page_bytes;
}

static const char *device_page_layout(const struct kernels_device *base) {
    return ((const struct cpu_device *)(const void *)base)->page_layout;
}

static void device_copy_page(struct kernels_device *base, int32_t to, int32_t from) {
    struct cpu_device *d = cpu_of(base);
    if (kernels_page_fits(&d->config, to) && kernels_page_fits(&d->config, from))
        memcpy(d->kv + (size_t)to * d->page_bytes, d->kv + (size_t)from * d->page_bytes, d->page_bytes);
    else if (d->status == 0)
        d->status = err_set(d->sentence, sizeof d->sentence, -EINVAL,
                            "A page to be copied (%d to %d) is out of range.", from, to);
}

static int device_read_page(struct kernels_device *base, int32_t page, void *out) {
    const struct cpu_device *d = cpu_of(base);
    if (!kernels_page_fits(&d->config, page))
        return -EINVAL;
    memcpy(out, d->kv + (size_t)page * d->page_bytes, d->page_bytes);
    return 0;
}

static int device_write_page(struct kernels_device *base, int32_t page, const void *from) {
    struct cpu_device *d = cpu_of(base);
    if (!kernels_page_fits(&d->config, page))
        return -EINVAL;
    memcpy(d->kv + (size_t)page * d->page_bytes, from, d->page_bytes);
    return 0;
}

static const char *device_describe(const struct kernels_device *base) {
    return ((const struct cpu_device *)(const void *)base)->describe;
}

/* ---- opening ---- */

static void device_close(struct kernels_device *base) {
    struct cpu_device *d = cpu_of(base);
    pool_destroy(d->pool);
    cpu_buffers_finish(d);
    cpu_weights_finish(d);
    free(d);
}

static const struct kernels_ops device_ops = {
    .name = "cpu",
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

int cpu_open(const struct kernels_config *config, const char *isa, struct kernels_device **out, char *err,
             size_t errlen) {
    int rc = kernels_check_config(config, err, errlen);
    if (rc < 0)
        return rc;
    const struct cpu_ops *ops = cpu_ops_find(isa);
    if (ops == NULL)
        return err_set(err, errlen, -ENOTSUP, "This CPU cannot run the '%s' kernels.", isa);
    struct cpu_device *d = calloc(1, sizeof *d);
    if (d == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the CPU device.");
    d->base.ops = &device_ops;
    d->config = *config;
    d->ops = ops;
    d->kv8 = config->kv_type == DTYPE_Q8_0 ? kv8_find(ops->name) : NULL;
    rc = pool_create(config->n_threads, config->nice, &d->pool, err, errlen);
    if (rc < 0) {
        free(d);
        return rc;
    }
    int threads = pool_n_threads(d->pool);
    /* The instruction set is in it because keys and values differ in their last bits. */
    (void)snprintf(d->page_layout, sizeof d->page_layout, "cpu %d %s %s%s", CPU_PAGE_VERSION, ops->name,
                   dtype_info(config->kv_type)->name, config->exact ? " exact" : "");
    (void)snprintf(d->describe, sizeof d->describe, "cpu (%s, %d thread%s)", ops->name, threads,
                   threads == 1 ? "" : "s");
    rc = cpu_buffers_init(d);
    if (rc < 0) {
        device_close(&d->base);
        return err_set(err, errlen, rc,
                       "Not enough memory for the buffers of the CPU device (%d pages of %zu bytes).",
                       config->n_pages, kernels_page_bytes(&config->model, config->kv_type));
    }
    cpu_weights_init(d);
    *out = &d->base;
    return 0;
}
