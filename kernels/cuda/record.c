#include "kernels/cuda/record.h"

#include "kernels/cuda/ranks.h"

/* Rows of the largest batch that becomes a graph: above, kernels take longer than their launches. */
#define MAX_ROWS 64

static int rounded(int n) {
    int power = n > 0 ? 1 : 0;
    while (power < n)
        power *= 2;
    return power;
}

/* ---- the steps themselves ---- */

static struct cuda_product product(const struct cuda_device *d, enum cuda_product_step step,
                                   const struct cuda_matrix *w) {
    return (struct cuda_product){.batch = d->batch,
                                 .shape = d->shape,
                                 .step = (int32_t)step,
                                 .cols = w->cols,
                                 .input = d->x,
                                 .input_stride = d->shape.x_stride,
                                 .exact = d->config.exact ? 1 : 0,
                                 .prepared = d->prepared,
                                 .large = d->large,
                                 .large_stride = d->large_stride,
                                 .wide_parts = d->wide_parts,
                                 .wide_tickets = d->wide_tickets,
                                 .wide_tiles = d->wide_tiles,
                                 .panel = d->panel,
                                 .panel_bytes = d->panel_bytes,
                                 .f8 = (int32_t)d->f8};
}

/* Inputs of F8 that the library takes are divided by what makes each row's largest number the largest of
 * E4M3. Of these rows a rank has a part: the number is that of the whole row, as on one GPU. */
static bool shares_scales(const struct cuda_device *d, const struct cuda_matrix *w) {
    return d->n_ranks > 1 && d->f8 != GPU_F8_NOT && d->now.rows > CUDA_LARGE_ROWS && w->type == CUDA_F8 &&
           w->input_scale <= 0;
}

/* Where a layer's inputs of a residual are ready, see steps_ready(); else NULL. Of attention tensor cores
 * alone write them so. */
static uint16_t *attn_ready(const struct cuda_device *d, int layer) {
    return d->tensor && steps_ready(&d->layers[layer].wo, d->now.rows) ? d->attn_ready : NULL;
}

static uint16_t *h_ready(const struct cuda_device *d, int layer) {
    return steps_ready(&d->layers[layer].down, d->now.rows) ? d->h_ready : NULL;
}

const uint16_t *record_ready(const struct cuda_device *d, enum kernels_state what) {
    return what == KERNELS_STATE_ATTN ? attn_ready(d, d->layer)
           : what == KERNELS_STATE_H  ? h_ready(d, d->layer)
                                      : NULL;
}

/* The first rank adds to x, the others have their parts alone: the sum over all is x with each part once. */
static struct cuda_product residual(const struct cuda_device *d, int step) {
    int layer = (step - 1) / RECORD_PARTS;
    const struct cuda_layer *l = &d->layers[layer];
    bool attn = (step - 1) % RECORD_PARTS == RECORD_ATTN_OUT;
    const struct cuda_matrix *w = attn ? &l->wo : &l->down;
    struct cuda_product p = product(d, d->rank == 0 ? CUDA_RESIDUAL : CUDA_PARTIAL, w);
    p.input = attn ? d->attn : d->h;
    p.input_stride = attn ? d->shape.q_stride : d->shape.h_stride;
    p.out = d->x;
    p.out_stride = d->shape.x_stride;
    p.share_scales = shares_scales(d, w) ? 1 : 0;
    uint16_t *ready = attn ? attn_ready(d, layer) : h_ready(d, layer);
    p.is_ready = ready != NULL ? 1 : 0;
    p.prepared.bf16 = ready != NULL ? ready : p.prepared.bf16;
    steps_add_section(&p, w, w, (w->rows + 1) / 2);
    return p;
}

static int queue_residual(struct cuda_device *d, int step) {
    const struct cuda_product p = residual(d, step);
    return steps_product(d->stream, d->blas, &p, d->now.rows);
}

static int queue_attn_in(struct cuda_device *d, const struct cuda_layer *l, int layer) {
    struct cuda_product p = product(d, CUDA_ATTN_IN, &l->wq);
    p.norm = l->attn_norm;
    p.out = d->q;
    p.out_stride = d->shape.q_stride;
    p.cache = d->cache;
    p.rope = d->rope;
    p.layer = layer;
    steps_add_section(&p, &l->wq, &l->wq, l->wq.rows / 2);
    steps_add_section(&p, &l->wk, &l->wk, l->wk.rows / 2);
    steps_add_section(&p, &l->wv, &l->wv, l->wv.rows / 2);
    return steps_product(d->stream, d->blas, &p, d->now.rows);
}

static int queue_attention(struct cuda_device *d, int layer) {
    const struct cuda_attention p = {.batch = d->batch,
                                     .shape = d->shape,
                                     .cache = d->cache,
                                     .q = d->q,
                                     .attn = d->attn,
                                     .ready = attn_ready(d, layer),
                                     .part_out = d->part_out,
                                     .part_stats = d->part_stats,
                                     .tickets = d->tickets,
                                     .max_splits = d->max_splits,
                                     .layer = layer};
    return d->tensor ? steps_attention_tensor(d->stream, &p, d->now.singles, d->now.tiles, d->now.splits)
                     : steps_attention(d->stream, &p, d->now.rows, d->now.splits);
}

static int queue_ffn_in(struct cuda_device *d, const struct cuda_layer *l, int layer) {
    struct cuda_product p = product(d, CUDA_FFN_IN, &l->gate);
    p.norm = l->ffn_norm;
    p.out = d->h;
    p.out_stride = d->shape.h_stride;
    p.ready = h_ready(d, layer);
    steps_add_section(&p, &l->gate, &l->up, l->gate.rows);
    return steps_product(d->stream, d->blas, &p, d->now.rows);
}

static int queue_embed(struct cuda_device *d) {
    const struct cuda_embed p = {
        .batch = d->batch, .table = d->embeddings, .x = d->x, .x_stride = d->shape.x_stride};
    return steps_embed(d->stream, &p, d->now.rows);
}

static size_t logits_bytes(const struct cuda_device *d) {
    return (size_t)d->now.outputs * (size_t)d->config.model.n_vocab * sizeof(float);
}

/* Of the rank's tokens; zeros for the others'. */
static int queue_logits(struct cuda_device *d) {
    struct cuda_product p = product(d, CUDA_LOGITS, &d->output);
    if (d->now.outputs == 0)
        return 0;
    p.norm = d->output_norm;
    p.out = d->logits + d->first_output;
    p.out_stride = d->config.model.n_vocab;
    steps_add_section(&p, &d->output, &d->output, (d->output.rows + 1) / 2);
    int rc = d->n_ranks > 1 ? gpu_fill(d->stream, d->logits, 0, logits_bytes(d)) : 0;
    return rc ? rc : steps_product(d->stream, d->blas, &p, d->now.outputs);
}

/* What one rank does in a step. */
static int queue_part(struct cuda_device *d, int step) {
    int n_layers = d->config.model.n_layers;
    if (step == RECORD_EMBED)
        return queue_embed(d);
    if (step == RECORD_LOGITS(n_layers))
        return queue_logits(d);
    int layer = (step - 1) / RECORD_PARTS;
    const struct cuda_layer *l = &d->layers[layer];
    switch ((enum record_part)((step - 1) % RECORD_PARTS)) {
    case RECORD_ATTN_IN:
        return queue_attn_in(d, l, layer);
    case RECORD_ATTENTION:
        return queue_attention(d, layer);
    case RECORD_FFN_IN:
        return queue_ffn_in(d, l, layer);
    case RECORD_ATTN_OUT:
    case RECORD_FFN_OUT:
    default:
        return queue_residual(d, step);
    }
}

static bool is_residual(const struct cuda_device *d, int step) {
    int part = (step - 1) % RECORD_PARTS;
    return step != RECORD_EMBED && step != RECORD_LOGITS(d->config.model.n_layers) &&
           (part == RECORD_ATTN_OUT || part == RECORD_FFN_OUT);
}

/* What the ranks have is taken together; the logits, to where they are wanted. */
static int queue_end(struct cuda_device *d, int step) {
    if (step == RECORD_EMBED)
        return 0;
    if (step != RECORD_LOGITS(d->config.model.n_layers))
        return is_residual(d, step) ? ranks_add_x(d) : 0;
    if (d->now.outputs == 0)
        return 0;
    int rc = ranks_add_logits(d);
    rc = rc ? rc : gpu_use(d->gpu);
    if (d->now.chooses)
        return rc ? rc : choose_queue(d, d->now.outputs);
    return rc ? rc : gpu_download(d->stream, d->host_logits, d->logits, logits_bytes(d));
}

static int on_each(struct cuda_device *d, int step, int (*queue)(struct cuda_device *, int)) {
    int rc = 0;
    for (int i = 0; i < d->n_ranks && rc == 0; i++) {
        struct cuda_device *r = d->ranks[i];
        r->now = d->now;
        rc = gpu_use(r->gpu);
        rc = rc ? rc : queue(r, step);
    }
    return rc;
}

static int queue_most(struct cuda_device *d, int step) {
    const struct cuda_product p = residual(d, step);
    return steps_most(d->stream, &p, d->now.rows);
}

static int queue_step(struct cuda_device *d, int step) {
    int rc = 0;
    if (is_residual(d, step) && residual(d, step).share_scales != 0) {
        rc = on_each(d, step, queue_most);
        rc = rc ? rc : ranks_largest(d);
    }
    rc = rc ? rc : on_each(d, step, queue_part);
    return rc ? rc : queue_end(d, step);
}

/* ---- graphs ---- */

static const struct cuda_graph *find_graph(const struct cuda_device *d) {
    for (int i = 0; i < d->n_graphs; i++) {
        const struct cuda_graph *g = &d->graphs[i];
        if (g->rows == d->now.rows && g->outputs == d->now.outputs && g->splits == d->now.splits &&
            g->singles == d->now.singles && g->tiles == d->now.tiles && g->chooses == d->now.chooses &&
            g->logprobs == d->now.logprobs)
            return g;
    }
    return NULL;
}

static void destroy_graphs(struct cuda_device *d, struct gpu_graph *const *graphs) {
    for (int i = 0; i < d->n_ranks; i++)
        gpu_graph_destroy(graphs[i]);
}

static int forget(struct cuda_device *d) {
    int rc = 0;
    for (int i = 0; i < d->n_ranks && rc == 0; i++)
        rc = gpu_forget(d->ranks[i]->stream);
    return rc;
}

static int begin_recording(struct cuda_device *d) {
    int rc = 0;
    for (int i = 0; i < d->n_ranks && rc == 0; i++) {
        rc = gpu_use(d->ranks[i]->gpu);
        rc = rc ? rc : gpu_graph_begin(d->ranks[i]->stream);
    }
    return rc;
}

/* Of all ranks before any of them runs: they wait for each other then, and making a graph may wait for what
 * runs. */
static int end_recording(struct cuda_device *d, struct gpu_graph **graphs) {
    int rc = 0;
    for (int i = 0; i < d->n_ranks; i++) { /* also after a failure: nothing is recorded any more */
        int used = gpu_use(d->ranks[i]->gpu), ended = gpu_graph_end(d->ranks[i]->stream, &graphs[i]);
        rc = rc ? rc : used ? used : ended;
    }
    return rc;
}

static int launch(struct cuda_device *d) {
    int rc = 0;
    for (int i = 0; i < d->n_ranks && rc == 0; i++) {
        rc = gpu_use(d->ranks[i]->gpu);
        rc = rc ? rc : gpu_graph_launch(d->now.graphs[i], d->ranks[i]->stream);
    }
    return rc;
}

/* In place of the oldest one when there are too many; no graph is running then: begin() has waited. */
static void keep_graph(struct cuda_device *d) {
    int i = d->n_graphs;
    if (i < CUDA_GRAPHS) {
        d->n_graphs++;
    } else {
        i = d->oldest_graph;
        d->oldest_graph = (i + 1) % CUDA_GRAPHS;
        destroy_graphs(d, d->graphs[i].graphs);
    }
    d->graphs[i] = d->now;
}

int record_begin(struct cuda_device *d, int n_rows, int n_outputs) {
    int most = d->config.max_outputs, outputs = rounded(n_outputs);
    d->n_steps = 0;
    d->mode = CUDA_DIRECT;
    d->now = (struct cuda_graph){.rows = n_rows,
                                 .outputs = n_outputs,
                                 .splits = d->splits,
                                 .singles = d->n_singles,
                                 .tiles = d->n_tiles,
                                 .chooses = d->choice.wanted,
                                 .logprobs = d->choice.logprobs};
    if (n_rows > MAX_ROWS)
        return forget(d);
    d->now.rows = rounded(n_rows) < d->config.max_rows ? rounded(n_rows) : d->config.max_rows;
    d->now.outputs = outputs < most ? outputs : most;
    d->now.splits = rounded(d->splits) < d->max_splits ? rounded(d->splits) : d->max_splits;
    d->now.singles = rounded(d->n_singles) < d->max_singles ? rounded(d->n_singles) : d->max_singles;
    d->now.tiles = rounded(d->n_tiles);
    const struct cuda_graph *known = find_graph(d);
    if (known != NULL)
        d->now = *known;
    d->mode = known != NULL ? CUDA_REPLAYING : CUDA_RECORDING;
    return d->mode == CUDA_RECORDING ? begin_recording(d) : 0;
}

/* All steps were taken. */
static int end(struct cuda_device *d) {
    int rc = 0;
    if (d->mode == CUDA_RECORDING) {
        rc = end_recording(d, d->now.graphs);
        if (rc == 0)
            keep_graph(d);
        else
            destroy_graphs(d, d->now.graphs);
    }
    d->mode = CUDA_DIRECT;
    return rc ? rc : launch(d);
}

int record_leave(struct cuda_device *d) {
    int rc = 0;
    if (d->mode == CUDA_RECORDING) {
        struct gpu_graph *parts[GPUS_MAX] = {NULL};
        rc = end_recording(d, parts);
        destroy_graphs(d, parts);
    }
    /* Recorded or not, nothing has run yet. */
    if (d->mode != CUDA_DIRECT) {
        d->mode = CUDA_DIRECT;
        rc = rc ? rc : forget(d);
        for (int i = 0; i < d->n_steps && rc == 0; i++)
            rc = queue_step(d, i);
    }
    return rc;
}

int record_step(struct cuda_device *d, int step) {
    if (d->mode != CUDA_DIRECT && step != d->n_steps) {
        int rc = record_leave(d);
        if (rc < 0)
            return rc;
    }
    if (step != RECORD_EMBED && step != RECORD_LOGITS(d->config.model.n_layers))
        d->layer = (step - 1) / RECORD_PARTS;
    if (d->mode == CUDA_DIRECT)
        return queue_step(d, step);
    d->n_steps++;
    int rc = d->mode == CUDA_RECORDING ? queue_step(d, step) : 0;
    return rc == 0 && step == RECORD_LOGITS(d->config.model.n_layers) ? end(d) : rc;
}

void record_finish(struct cuda_device *d) {
    if (d->mode == CUDA_RECORDING)
        (void)record_leave(d);
    (void)ranks_sync(d);
    for (int i = 0; i < d->n_graphs; i++)
        destroy_graphs(d, d->graphs[i].graphs);
    d->n_graphs = 0;
}
