/* All memory of the CUDA device, planned when it is opened. */
#include "kernels/cuda/device.h"

#include "kernels/cpu/convert.h"
#include "kernels/cuda/pack.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cuda_no_memory(size_t bytes, const char *what, char *err, size_t errlen) {
    size_t left = 0, total = 0;
    (void)gpu_memory_left(&left, &total);
    return err_set(err, errlen, -ENOMEM,
                   "The GPU has no memory for %s: %zu MiB are needed, %zu of %zu MiB are left.", what,
                   bytes >> 20, left >> 20, total >> 20);
}

/* n elements of device memory, or *rc. */
static void *need(size_t n, size_t element, enum gpu_memory kind, const char *what, int *rc, char *err,
                  size_t errlen) {
    if (*rc < 0)
        return NULL;
    void *p = n > SIZE_MAX / 2 / element ? NULL : gpu_alloc(n * element, kind);
    if (p == NULL)
        *rc = cuda_no_memory(n > SIZE_MAX / 2 / element ? SIZE_MAX : n * element, what, err, errlen);
    return p;
}

/* ---- weights ---- */

static float *upload_floats(const void *values, size_t n, int *rc, char *err, size_t errlen) {
    float *p = need(n, sizeof *p, GPU_KEPT, "the model", rc, err, errlen);
    if (p != NULL && gpu_upload_now(p, values, n * sizeof *p) < 0)
        *rc = err_set(err, errlen, -EIO, "The weights cannot be copied to the GPU: %s.", gpu_failure());
    return p;
}

static void upload(struct upload *u, const struct tensor *w, bool as_f32, struct cuda_matrix *out, int *rc,
                   char *err, size_t errlen) {
    if (*rc == 0)
        *rc = pack_queue(u, w, as_f32, out, err, errlen);
}

static int queue_weights(struct cuda_device *d, struct upload *u, char *err, size_t errlen) {
    const struct kernels_model *m = &d->config.model;
    size_t dim = (size_t)m->dim;
    int rc = 0;
    for (int i = 0; i < m->n_layers; i++) {
        const struct kernels_layer *l = &m->layers[i];
        struct cuda_layer *to = &d->layers[i];
        bool mixed =
            pack_type(l->w_gate.type) != pack_type(l->w_up.type); /* the kernel takes them together */
        to->attn_norm = upload_floats(l->attn_norm.data, dim, &rc, err, errlen);
        to->ffn_norm = upload_floats(l->ffn_norm.data, dim, &rc, err, errlen);
        upload(u, &l->wq, false, &to->wq, &rc, err, errlen);
        upload(u, &l->wk, false, &to->wk, &rc, err, errlen);
        upload(u, &l->wv, false, &to->wv, &rc, err, errlen);
        upload(u, &l->wo, false, &to->wo, &rc, err, errlen);
        upload(u, &l->w_gate, mixed, &to->gate, &rc, err, errlen);
        upload(u, &l->w_up, mixed, &to->up, &rc, err, errlen);
        upload(u, &l->w_down, false, &to->down, &rc, err, errlen);
    }
    d->output_norm = upload_floats(m->output_norm.data, dim, &rc, err, errlen);
    upload(u, &m->tok_embd, false, &d->embeddings, &rc, err, errlen);
    if (d->tied)
        d->output = pack_part(&d->embeddings, d->first_output, (int32_t)m->output.rows);
    else
        upload(u, &m->output, false, &d->output, &rc, err, errlen);
    return rc;
}

/* While one piece of them is copied, the next one is read and packed. */
static int upload_weights(struct cuda_device *d, char *err, size_t errlen) {
    const struct kernels_model *m = &d->config.model;
    size_t widest = (size_t)(m->n_vocab > m->ffn_dim ? m->n_vocab : m->ffn_dim);
    struct upload *u = NULL;
    int rc = upload_open(pack_piece(widest * (size_t)m->dim), &u);
    if (rc < 0)
        return err_set(err, errlen, rc, "The weights cannot be copied to the GPU: %s.",
                       rc == -ENOMEM ? "there is no memory to copy from" : gpu_failure());
    rc = queue_weights(d, u, err, errlen);
    if (rc == 0 && upload_wait(u) < 0)
        rc = err_set(err, errlen, -EIO, "The weights cannot be copied to the GPU: %s.", gpu_failure());
    upload_close(u);
    return rc;
}

void cuda_describe_more(struct cuda_device *d, const char *what) {
    size_t n = strlen(d->describe);
    (void)snprintf(d->describe + n, sizeof d->describe - n, ", %s", what);
}

/* Says so where weights take more memory than in the file. */
static void note_widened(struct cuda_device *d) {
    bool any = false;
    for (int i = 0; i < d->config.model.n_layers; i++) {
        const struct kernels_layer *l = &d->config.model.layers[i];
        const struct tensor *all[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->w_gate, &l->w_up, &l->w_down};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
            any = any || all[k]->type == DTYPE_Q2_K || all[k]->type == DTYPE_Q3_K;
    }
    if (any)
        cuda_describe_more(d, "Q2_K and Q3_K in four bits");
}

/* Cosine and sine of every position, as the CPU computes them: a GPU's own for large angles are slow. */
static int upload_rope(struct cuda_device *d, char *err, size_t errlen) {
    int half = d->config.model.head_dim / 2, rc = 0;
    size_t n = (size_t)d->config.max_context * (size_t)half * 2;
    float *table = n > SIZE_MAX / 8 ? NULL : malloc(n * sizeof *table);
    if (table == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the angles of %d positions.",
                       d->config.max_context);
    for (int position = 0; position < d->config.max_context; position++)
        for (int i = 0; i < half; i++) {
            float angle = (float)position * d->config.model.rope_inv_freq[i];
            size_t at = ((size_t)position * (size_t)half + (size_t)i) * 2;
            table[at] = cosf(angle);
            table[at + 1] = sinf(angle);
        }
    d->rope = upload_floats(table, n, &rc, err, errlen);
    free(table);
    return rc;
}

/* ---- the batch, states and pages ---- */

/* The page tables last, because only the used part is copied. */
struct cuda_places cuda_batch_places(const struct kernels_config *c) {
    size_t rows = (size_t)c->max_rows;
    struct cuda_places at = {.rows = CUDA_HEADER};
    at.outputs = at.rows + rows * 3;
    at.tiles = at.outputs + (size_t)c->max_outputs;
    at.tiles += at.tiles % 2; /* pairs of ints */
    at.singles = at.tiles + rows * 2;
    at.pages = at.singles + rows;
    return at;
}

static int allocate_batch(struct cuda_device *d, char *err, size_t errlen) {
    const struct kernels_config *c = &d->config;
    int rc = 0;
    d->max_stride = (c->max_context + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS;
    const struct cuda_places place = cuda_batch_places(c);
    d->batch_ints = place.pages + (size_t)c->max_rows * (size_t)d->max_stride;
    d->device_batch = need(d->batch_ints, sizeof(int32_t), GPU_KEPT, "the batch", &rc, err, errlen);
    d->host_batch = d->rank == 0 ? gpu_alloc_host(d->batch_ints * sizeof(int32_t)) : NULL;
    if (rc == 0 && d->rank == 0 && d->host_batch == NULL)
        rc = err_set(err, errlen, -ENOMEM, "Not enough memory for the page tables of %d rows.", c->max_rows);
    if (rc < 0)
        return rc;
    const int32_t *at = d->device_batch;
    d->batch = (struct cuda_batch){.n_rows = at + CUDA_AT_ROWS,
                                   .n_outputs = at + CUDA_AT_OUTPUTS,
                                   .stride = at + CUDA_AT_STRIDE,
                                   .n_singles = at + CUDA_AT_SINGLES,
                                   .n_tiles = at + CUDA_AT_TILES,
                                   .rows = (const struct cuda_row *)(const void *)(at + place.rows),
                                   .outputs = at + place.outputs,
                                   .singles = at + place.singles,
                                   .tiles = (const struct cuda_tile *)(const void *)(at + place.tiles),
                                   .pages = at + place.pages};
    return 0;
}

static int allocate_states(struct cuda_device *d, char *err, size_t errlen) {
    const struct kernels_model *m = &d->config.model;
    size_t rows = (size_t)d->config.max_rows, heads = (size_t)m->n_heads, vocab = (size_t)m->n_vocab;
    size_t outputs = (size_t)d->config.max_outputs;
    int splits = (d->config.max_context + CUDA_SPLIT_TOKENS - 1) / CUDA_SPLIT_TOKENS, rc = 0;
    d->max_splits = splits < CUDA_SPLITS ? splits : CUDA_SPLITS;
    d->tensor = steps_attention_tensor_can(d->config.kv_type == DTYPE_F16, m->head_dim);
    d->max_singles =
        d->config.max_rows < CUDA_MAX_SINGLES || !d->tensor ? d->config.max_rows : CUDA_MAX_SINGLES;
    size_t singles = (size_t)d->max_singles;
    size_t parts = singles * heads * (size_t)d->max_splits, dim = (size_t)d->shape.x_stride;
    size_t q = (size_t)d->shape.q_stride, ffn = (size_t)d->shape.h_stride;
    size_t groups = (heads / (size_t)m->n_kv_heads + CUDA_GROUP - 1) / CUDA_GROUP;
    size_t n_tickets = singles * (size_t)m->n_kv_heads * groups;
    d->x = need(rows * dim, 4, GPU_TRANSIENT, "the batch", &rc, err, errlen);
    d->q = need(rows * q, 4, GPU_TRANSIENT, "the batch", &rc, err, errlen);
    d->attn = need(rows * q, 4, GPU_TRANSIENT, "the batch", &rc, err, errlen);
    d->h = need(rows * ffn, 4, GPU_TRANSIENT, "the batch", &rc, err, errlen);
    d->logits = need(outputs * vocab, 4, GPU_TRANSIENT, "the logits", &rc, err, errlen);
    d->part_out = need(parts * (size_t)m->head_dim, 4, GPU_TRANSIENT, "attention", &rc, err, errlen);
    d->part_stats = need(parts * 2, 4, GPU_TRANSIENT, "attention", &rc, err, errlen);
    d->tickets = need(n_tickets, 4, GPU_KEPT, "attention", &rc, err, errlen);
    d->host_row_floats = dim > q ? dim : q;
    d->host_row_floats = d->host_row_floats > ffn ? d->host_row_floats : ffn;
    d->host_logits = d->rank == 0 ? gpu_alloc_host(outputs * vocab * sizeof(float)) : NULL;
    d->host_row = gpu_alloc_host(d->host_row_floats * sizeof(float));
    d->logits_here = calloc(outputs, sizeof *d->logits_here);
    if (rc == 0 &&
        ((d->rank == 0 && d->host_logits == NULL) || d->host_row == NULL || d->logits_here == NULL))
        rc = err_set(err, errlen, -ENOMEM, "Not enough memory for the logits of %zu rows.", outputs);
    if (rc == 0 && gpu_fill(d->stream, d->tickets, 0, n_tickets * 4) < 0)
        rc = err_set(err, errlen, -EIO, "The GPU has failed: %s.", gpu_failure());
    return rc;
}

/* Bits of the forms of inputs that the weights want. */
static int wanted_forms(const struct cuda_device *d) {
    int forms = steps_form(steps_family(d->output.type));
    bool large = d->blas != NULL;
    for (int i = 0; i < d->config.model.n_layers; i++) {
        const struct cuda_layer *l = &d->layers[i];
        const struct cuda_matrix *all[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
            forms |= steps_form(steps_family(all[k]->type)) |
                     (large ? steps_large_form(steps_family(all[k]->type), (int)d->f8) : 0);
    }
    return d->config.exact ? 0 : forms;
}

/* Inputs of residuals as the steps before them write them. */
static int allocate_ready(struct cuda_device *d, char *err, size_t errlen) {
    const struct kernels_model *m = &d->config.model;
    size_t rows = (size_t)d->config.max_rows, q = (size_t)m->n_heads * (size_t)m->head_dim;
    bool attn = false, h = false;
    int rc = 0;
    rows = rows < CUDA_LARGE_ROWS ? rows : CUDA_LARGE_ROWS;
    for (int i = 0; i < m->n_layers && !d->config.exact; i++) {
        attn = attn || (d->tensor && steps_ready(&d->layers[i].wo, (int)rows));
        h = h || steps_ready(&d->layers[i].down, (int)rows);
    }
    if (attn)
        d->attn_ready = need(rows * q, 2, GPU_TRANSIENT, "the batch", &rc, err, errlen);
    if (h)
        d->h_ready = need(rows * (size_t)m->ffn_dim, 2, GPU_TRANSIENT, "the batch", &rc, err, errlen);
    return rc;
}

/* Rows made ready for tensor cores. */
static int allocate_prepared(struct cuda_device *d, char *err, size_t errlen) {
    const struct kernels_model *m = &d->config.model;
    size_t rows = (size_t)d->config.max_rows, cols = (size_t)steps_prepared_cols(m->dim);
    size_t q = (size_t)steps_prepared_cols(m->n_heads * m->head_dim),
           h = (size_t)steps_prepared_cols(m->ffn_dim);
    int forms = wanted_forms(d), rc = 0;
    cols = cols > q ? cols : q;
    cols = cols > h ? cols : h;
    if ((forms & CUDA_FORM_BF16) != 0)
        d->prepared.bf16 = need(rows * cols, 2, GPU_TRANSIENT, "the batch", &rc, err, errlen);
    if ((forms & CUDA_FORM_F16) != 0) {
        d->prepared.f16 = need(rows * cols, 2, GPU_TRANSIENT, "the batch", &rc, err, errlen);
        d->prepared.factors = need(rows, 4, GPU_TRANSIENT, "the batch", &rc, err, errlen);
    }
    if ((forms & CUDA_FORM_F8) != 0) {
        d->prepared.f8 = need(rows * cols, 1, GPU_TRANSIENT, "the batch", &rc, err, errlen);
        d->prepared.f8_scales = need(rows, 4, GPU_TRANSIENT, "the batch", &rc, err, errlen);
        if (d->n_ranks > 1)
            d->prepared.f8_most = need(rows, 4, GPU_TRANSIENT, "the batch", &rc, err, errlen);
    }
    if ((forms & CUDA_FORM_ROUNDED) != 0) {
        d->prepared.rounded = need(rows * cols, 1, GPU_TRANSIENT, "the batch", &rc, err, errlen);
        d->prepared.records =
            need(rows * cols / 32, sizeof(struct cuda_rounded), GPU_TRANSIENT, "the batch", &rc, err, errlen);
    }
    return rc;
}

/* Parts of tiles that several blocks share, where batches and weights are such that any are. */
static int allocate_wide(struct cuda_device *d, char *err, size_t errlen) {
    int tiles = 0, rc = 0;
    for (int i = 0; i < d->config.model.n_layers && !d->config.exact && d->config.max_rows > 32; i++) {
        const struct cuda_layer *l = &d->layers[i];
        const struct cuda_matrix *all[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->down, &l->gate};
        int of[6];
        for (int k = 0; k < 6; k++)
            of[k] = steps_wide(steps_family(all[k]->type), d->config.max_rows)
                        ? steps_wide_pairs(k < 5 ? (all[k]->rows + 1) / 2 : all[k]->rows)
                        : 0;
        int most = steps_wide_shared(of[0] + of[1] + of[2], of[3] > of[4] ? of[3] : of[4], of[5]);
        tiles = most > tiles ? most : tiles;
    }
    if (tiles == 0)
        return 0;
    d->wide_parts = need((size_t)tiles * CUDA_WIDE_PARTS * CUDA_WIDE_TILE * CUDA_WIDE_ROWS, 4, GPU_TRANSIENT,
                         "the batch", &rc, err, errlen);
    d->wide_tickets = need((size_t)tiles, 4, GPU_KEPT, "the batch", &rc, err, errlen);
    d->wide_tiles = tiles;
    if (rc == 0 && gpu_fill(d->stream, d->wide_tickets, 0, (size_t)tiles * 4) < 0)
        rc = err_set(err, errlen, -EIO, "The GPU has failed: %s.", gpu_failure());
    return rc;
}

/* The library, where batches are large enough for it, and its memory: results of the widest step, and the
 * largest matrix as BF16 or as much of it as PANEL_BYTES hold. */
#define PANEL_BYTES ((size_t)64 << 20)

static void add_panel(const struct cuda_matrix *w, enum gpu_f8 f8, size_t *bytes) {
    size_t row = (size_t)steps_prepared_cols(w->cols) * 2, all = row * (size_t)w->rows;
    if (w->type == CUDA_F8 ? f8 != GPU_F8_NOT : !steps_quantised(w->type))
        return;
    all = all < PANEL_BYTES ? all : PANEL_BYTES > row ? PANEL_BYTES : row;
    *bytes = *bytes > all ? *bytes : all;
}

static void open_library(struct cuda_device *d) {
    const struct kernels_model *m = &d->config.model;
    size_t widest = (size_t)m->ffn_dim * 2, heads = (size_t)m->n_heads + 2 * (size_t)m->n_kv_heads;
    char why[64];
    if (d->config.exact || d->config.max_rows <= CUDA_LARGE_ROWS)
        return;
    widest = widest > heads * (size_t)m->head_dim ? widest : heads * (size_t)m->head_dim;
    widest = widest > (size_t)m->dim ? widest : (size_t)m->dim;
    d->large_stride = (int32_t)widest;
    if (gpu_blas_open(d->stream, &d->blas, why, sizeof why) < 0)
        cuda_describe_more(d, why);
}

static int allocate_large(struct cuda_device *d, char *err, size_t errlen) {
    const struct kernels_model *m = &d->config.model;
    size_t floats = (size_t)d->config.max_rows * (size_t)d->large_stride;
    int rc = 0;
    if (d->blas == NULL)
        return 0;
    d->large = need(floats, 4, GPU_TRANSIENT, "large batches", &rc, err, errlen);
    for (int i = 0; i < m->n_layers; i++) {
        const struct cuda_layer *l = &d->layers[i];
        const struct cuda_matrix *all[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
            add_panel(all[k], d->f8, &d->panel_bytes);
    }
    if (d->panel_bytes > 0)
        d->panel = need(d->panel_bytes, 1, GPU_TRANSIENT, "large batches", &rc, err, errlen);
    return rc;
}

static int allocate_cache(struct cuda_device *d, char *err, size_t errlen) {
    const struct kernels_model *m = &d->config.model;
    struct cuda_cache *c = &d->cache;
    int rc = 0;
    c->half = d->config.kv_type == DTYPE_F16 ? 1 : 0;
    c->row = (m->head_dim + 7) / 8 * 8;
    c->head_bytes = (int64_t)c->row * (c->half ? 2 : 4) * KERNELS_PAGE_TOKENS;
    c->kind_bytes = c->head_bytes * m->n_kv_heads;
    c->layer_bytes = c->kind_bytes * 2;
    c->page_bytes = c->layer_bytes * m->n_layers;
    c->memory =
        need((size_t)d->config.n_pages, (size_t)c->page_bytes, GPU_KEPT, "keys and values", &rc, err, errlen);
    return rc;
}

static int32_t padded(int64_t n) {
    return (int32_t)((n + 15) / 16 * 16);
}

static void set_shape(struct cuda_device *d) {
    const struct kernels_model *m = &d->config.model;
    d->shape = (struct cuda_shape){.n_heads = m->n_heads,
                                   .n_kv_heads = m->n_kv_heads,
                                   .head_dim = m->head_dim,
                                   .dim = m->dim,
                                   .ffn_dim = m->ffn_dim,
                                   .x_stride = padded(m->dim),
                                   .q_stride = padded((int64_t)m->n_heads * m->head_dim),
                                   .h_stride = padded(m->ffn_dim),
                                   .half_split = m->rope_layout == ROPE_HALF_SPLIT,
                                   .eps = m->rms_eps};
}

int cuda_memory_weights(struct cuda_device *d, char *err, size_t errlen) {
    set_shape(d);
    d->layers = calloc((size_t)d->config.model.n_layers, sizeof *d->layers);
    if (d->layers == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the layers of the model.");
    int rc = gpu_stream_create(&d->stream);
    if (rc < 0)
        return err_set(err, errlen, rc, "The GPU cannot start a queue: %s.", gpu_failure());
    note_widened(d);
    rc = upload_weights(d, err, errlen);
    if (rc == 0)
        open_library(d);
    return rc;
}

int cuda_memory_init(struct cuda_device *d, char *err, size_t errlen) {
    int rc = upload_rope(d, err, errlen);
    rc = rc ? rc : allocate_batch(d, err, errlen);
    rc = rc ? rc : allocate_states(d, err, errlen);
    rc = rc ? rc : allocate_large(d, err, errlen);
    rc = rc ? rc : allocate_prepared(d, err, errlen);
    rc = rc ? rc : allocate_ready(d, err, errlen);
    rc = rc ? rc : allocate_wide(d, err, errlen);
    rc = rc || d->rank > 0 ? rc : choose_init(d, err, errlen);
    return rc ? rc : allocate_cache(d, err, errlen);
}

void cuda_memory_finish(struct cuda_device *d) {
    gpu_blas_close(d->blas);
    move_finish(d);
    gpu_stream_destroy(d->stream);
    for (int i = 0; d->layers != NULL && i < d->config.model.n_layers; i++) {
        struct cuda_layer *l = &d->layers[i];
        struct cuda_matrix *matrices[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < sizeof matrices / sizeof matrices[0]; k++)
            pack_free(matrices[k]);
        gpu_free(l->attn_norm);
        gpu_free(l->ffn_norm);
    }
    free(d->layers);
    if (!d->tied)
        pack_free(&d->output);
    pack_free(&d->embeddings);
    void *prepared[] = {
        d->prepared.bf16,    d->prepared.f16,     d->prepared.factors, d->prepared.f8, d->prepared.f8_scales,
        d->prepared.f8_most, d->prepared.rounded, d->prepared.records, d->large,       d->panel,
        d->wide_parts,       d->wide_tickets,     d->attn_ready,       d->h_ready};
    for (size_t i = 0; i < sizeof prepared / sizeof prepared[0]; i++)
        gpu_free(prepared[i]);
    void *device[] = {d->output_norm, d->rope,   d->device_batch, d->x,          d->q,       d->attn,
                      d->h,           d->logits, d->part_out,     d->part_stats, d->tickets, d->cache.memory};
    for (size_t i = 0; i < sizeof device / sizeof device[0]; i++)
        gpu_free(device[i]);
    choose_finish(d);
    free(d->logits_here);
    gpu_free_host(d->host_batch);
    gpu_free_host(d->host_logits);
    gpu_free_host(d->host_row);
}
