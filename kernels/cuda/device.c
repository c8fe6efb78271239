/* The GPU as a device: the table of steps over the kernels, and the module's one function. */
#include "kernels/cuda/device.h"

#include "kernels/cpu/convert.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/part.h"
#include "kernels/cuda/ranks.h"
#include "kernels/cuda/record.h"
#include "kernels/cuda/wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct cuda_device *cuda_of(struct kernels_device *d) {
    return (struct cuda_device *)(void *)d;
}

/* The first failure is kept until the next sync(). */
static void keep(struct cuda_device *d, int rc) {
    if (rc < 0 && d->status == 0)
        d->status = err_set(d->sentence, sizeof d->sentence, rc, "The GPU has failed: %s.", gpu_failure());
}

void cuda_keep(struct cuda_device *d, int rc) {
    keep(d, rc);
}

/* ---- the batch ---- */

/* Which of the tables seen so far (`ids`) is `table`; a new one is added. */
static int find_table(int32_t *ids, int *n, int32_t table) {
    for (int i = *n - 1; i >= 0; i--) /* rows of one session stand together */
        if (ids[i] == table)
            return i;
    ids[*n] = table;
    return (*n)++;
}

/* The rows from `i` on that one tile of attention can take. */
static int tile_length(const struct cuda_device *d, const struct kernels_batch *b, int i) {
    int tile = steps_tile_rows(d->shape.n_heads / d->shape.n_kv_heads), n = 1;
    const struct kernels_row *first = &b->rows[i];
    while (i + n < b->n_rows && first[n].table == first->table &&
           first[n].position / tile == first->position / tile)
        n++;
    return n;
}

/* Which rows attention takes together: those that fill more than one product of tensor cores, which has the
 * places of one row and all heads of its group. */
static void write_tiles(struct cuda_device *d, const struct kernels_batch *b, int32_t *singles,
                        int32_t *tiles) {
    int slots = steps_tile_slots(d->shape.n_heads / d->shape.n_kv_heads);
    d->n_singles = d->n_tiles = 0;
    for (int i = 0, n; d->tensor && i < b->n_rows; i += n) {
        n = tile_length(d, b, i);
        if (n * slots > CUDA_TENSOR_GROUP || d->n_singles + n > d->max_singles) {
            tiles[2 * d->n_tiles] = i;
            tiles[2 * d->n_tiles++ + 1] = n;
        } else {
            for (int k = 0; k < n; k++)
                singles[d->n_singles++] = i + k;
        }
    }
}

/* Writes the batch as the GPU wants it: tables in order of appearance, as long as the longest row needs.
 * Returns the number of ints. */
static size_t write_batch(struct cuda_device *d, const struct kernels_batch *b) {
    const struct cuda_places at = cuda_batch_places(&d->config);
    int32_t *to = d->host_batch, *rows = to + at.rows, *pages = to + at.pages;
    int n_tables = 0, longest = 0;
    for (int i = 0; i < b->n_rows; i++)
        longest = b->rows[i].position > longest ? b->rows[i].position : longest;
    int stride = longest / KERNELS_PAGE_TOKENS + 1;
    for (int i = 0; i < b->n_rows; i++) {
        const struct kernels_row *r = &b->rows[i];
        int t = find_table(d->table_ids, &n_tables, r->table);
        rows[i * 3] = r->token;
        rows[i * 3 + 1] = r->position;
        rows[i * 3 + 2] = t;
        if (i + 1 == b->n_rows || b->rows[i + 1].table != r->table) /* the session's last position */
            memcpy(pages + (size_t)t * (size_t)stride, b->pages + (size_t)r->table * (size_t)b->pages_stride,
                   (size_t)(r->position / KERNELS_PAGE_TOKENS + 1) * sizeof *pages);
    }
    if (b->n_outputs > 0)
        memcpy(to + at.outputs, b->outputs, (size_t)b->n_outputs * sizeof *to);
    write_tiles(d, b, to + at.singles, to + at.tiles);
    to[CUDA_AT_ROWS] = b->n_rows;
    to[CUDA_AT_OUTPUTS] = b->n_outputs;
    to[CUDA_AT_STRIDE] = stride;
    to[CUDA_AT_SINGLES] = d->n_singles;
    to[CUDA_AT_TILES] = d->n_tiles;
    d->splits = longest / steps_split_tokens(longest + 1) + 1;
    return at.pages + (size_t)n_tables * (size_t)stride;
}

static void step_begin(struct kernels_device *base, const struct kernels_batch *batch) {
    struct cuda_device *d = cuda_of(base);
    d->running = NULL;
    if (!kernels_batch_fits(&d->config, batch)) {
        if (d->status == 0)
            d->status =
                err_set(d->sentence, sizeof d->sentence, -EINVAL,
                        "A row, page or output of a batch of %d rows is out of range.", batch->n_rows);
        return;
    }
    keep(d, ranks_sync(d)); /* the batch of before may still be read, where nobody has synced */
    d->running = batch;
    if (batch->n_rows == 0)
        return;
    size_t n = write_batch(d, batch);
    keep(d, ranks_upload_batch(d, n));
    keep(d, choose_begin(d, batch));
    keep(d, record_begin(d, batch->n_rows, batch->n_outputs));
}

/* ---- steps ---- */

/* The next step of the batch, as record.h counts them. */
static void take(struct kernels_device *base, int step) {
    struct cuda_device *d = cuda_of(base);
    if (d->running != NULL && d->running->n_rows > 0 && d->status == 0)
        keep(d, record_step(d, step));
}

static void step_embed(struct kernels_device *base) {
    take(base, RECORD_EMBED);
}

static void step_attn_in(struct kernels_device *base, int layer) {
    take(base, RECORD_LAYER(layer, RECORD_ATTN_IN));
}

static void step_attention(struct kernels_device *base, int layer) {
    take(base, RECORD_LAYER(layer, RECORD_ATTENTION));
}

static void step_attn_out(struct kernels_device *base, int layer) {
    take(base, RECORD_LAYER(layer, RECORD_ATTN_OUT));
}

static void step_ffn_in(struct kernels_device *base, int layer) {
    take(base, RECORD_LAYER(layer, RECORD_FFN_IN));
}

static void step_ffn_out(struct kernels_device *base, int layer) {
    take(base, RECORD_LAYER(layer, RECORD_FFN_OUT));
}

static void step_logits(struct kernels_device *base) {
    take(base, RECORD_LOGITS(cuda_of(base)->config.model.n_layers));
}

static int device_sync(struct kernels_device *base, char *err, size_t errlen) {
    struct cuda_device *d = cuda_of(base);
    keep(d, record_leave(d));
    keep(d, ranks_sync(d));
    int rc = d->status;
    d->status = 0;
    return rc < 0 ? err_set(err, errlen, rc, "%s", d->sentence) : 0;
}

/* Logits that the GPU chose from are still there. */
static float *device_output(struct kernels_device *base, int o) {
    struct cuda_device *d = cuda_of(base);
    size_t vocab = (size_t)d->config.model.n_vocab;
    float *here = d->host_logits + (size_t)o * vocab;
    if (!d->logits_here[o]) {
        keep(d, gpu_download(d->stream, here, d->logits + (size_t)o * vocab, vocab * sizeof *here));
        keep(d, gpu_sync(d->stream));
        d->logits_here[o] = true;
    }
    return here;
}

static int32_t device_token(const struct kernels_device *base, int o) {
    return choose_token((const struct cuda_device *)(const void *)base, o);
}

static bool device_logprobs(const struct kernels_device *base, int o, struct kernels_logprobs *out) {
    return choose_logprobs((const struct cuda_device *)(const void *)base, o, out);
}

/* What a rank has of a row; *out goes behind it. */
static int peek_part(struct cuda_device *d, enum kernels_state what, int row, float **out) {
    const struct kernels_model *m = &d->config.model;
    size_t q = (size_t)m->n_heads * (size_t)m->head_dim;
    const float *from[] = {d->x, d->q, d->attn, d->h};
    const int32_t stride[] = {d->shape.x_stride, d->shape.q_stride, d->shape.q_stride, d->shape.h_stride};
    const size_t width[] = {(size_t)m->dim, q, q, (size_t)m->ffn_dim};
    const uint16_t *ready = record_ready(d, what);
    const void *at = ready != NULL ? (const void *)(ready + (size_t)row * width[what])
                                   : (const void *)(from[what] + (size_t)row * (size_t)stride[what]);
    int rc = gpu_use(d->gpu);
    rc = rc ? rc
            : gpu_download(d->stream, d->host_row, at,
                           width[what] * (ready != NULL ? sizeof *ready : sizeof **out));
    rc = rc ? rc : gpu_sync(d->stream);
    if (rc == 0 && ready != NULL)
        convert_row(DTYPE_BF16, (const uint8_t *)d->host_row, (int64_t)width[what], *out);
    else if (rc == 0)
        memcpy(*out, d->host_row, width[what] * sizeof **out);
    *out += width[what];
    return rc;
}

static int device_peek(struct kernels_device *base, enum kernels_state what, int row, float *out) {
    struct cuda_device *d = cuda_of(base);
    if (d->running == NULL || row < 0 || row >= d->running->n_rows)
        return -EINVAL;
    int rc = record_leave(d), n = what == KERNELS_STATE_X ? 1 : d->n_ranks;
    rc = rc ? rc : ranks_sync(d); /* of several, one by itself may wait for the others */
    for (int i = 0; i < n && rc == 0; i++) {
        d->ranks[i]->now = d->now; /* also where a graph ran */
        d->ranks[i]->layer = d->layer;
        rc = peek_part(d->ranks[i], what, row, &out);
    }
    return rc;
}

static size_t device_page_bytes(const struct kernels_device *base) {
    return ranks_page_bytes((const struct cuda_device *)(const void *)base);
}

static const char *device_page_layout(const struct kernels_device *base) {
    return ((const struct cuda_device *)(const void *)base)->page_layout;
}

uint8_t *cuda_page_at(const struct cuda_device *d, int32_t page) {
    return d->cache.memory + page * d->cache.page_bytes;
}

bool cuda_page_fits(struct cuda_device *d, int32_t page, const char *what) {
    bool fits = kernels_page_fits(&d->config, page);
    if (!fits && d->status == 0)
        d->status = err_set(d->sentence, sizeof d->sentence, -EINVAL, "A page to be %s (%d) is out of range.",
                            what, page);
    return fits;
}

static void device_copy_page(struct kernels_device *base, int32_t to, int32_t from) {
    struct cuda_device *d = cuda_of(base);
    if (kernels_page_fits(&d->config, to) && kernels_page_fits(&d->config, from))
        keep(d, ranks_copy_page(d, to, from));
    else if (d->status == 0)
        d->status = err_set(d->sentence, sizeof d->sentence, -EINVAL,
                            "A page to be copied (%d to %d) is out of range.", from, to);
}

static int device_read_page(struct kernels_device *base, int32_t page, void *out) {
    struct cuda_device *d = cuda_of(base);
    return kernels_page_fits(&d->config, page) ? ranks_read_page(d, page, out) : -EINVAL;
}

static int device_write_page(struct kernels_device *base, int32_t page, const void *from) {
    struct cuda_device *d = cuda_of(base);
    return kernels_page_fits(&d->config, page) ? ranks_write_page(d, page, from) : -EINVAL;
}

static const char *device_describe(const struct kernels_device *base) {
    return ((const struct cuda_device *)(const void *)base)->describe;
}

/* ---- opening ---- */

static void device_close(struct kernels_device *base) {
    ranks_close(cuda_of(base));
}

static const struct kernels_ops device_ops = {
    .name = "cuda",
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
    .token = device_token,
    .logprobs = device_logprobs,
    .peek = device_peek,
    .page_bytes = device_page_bytes,
    .page_layout = device_page_layout,
    .copy_page = device_copy_page,
    .read_page = device_read_page,
    .write_page = device_write_page,
    .alloc_host = move_alloc_host,
    .free_host = move_free_host,
    .store_page = move_store_page,
    .fetch_page = move_fetch_page,
    .describe = device_describe,
    .close = device_close,
};

static int check_shape(const struct kernels_config *config, char *err, size_t errlen) {
    const struct kernels_model *m = &config->model;
    bool half = config->kv_type == DTYPE_F16;
    int n = gpus_count(&config->gpus), rc = part_check(m, n, err, errlen);
    if (rc < 0)
        return rc;
    int64_t widest = (int64_t)m->n_heads / n * m->head_dim;
    widest = widest > m->ffn_dim / n ? widest : m->ffn_dim / n;
    widest = widest > m->dim ? widest : m->dim;
    if (m->head_dim > CUDA_MAX_HEAD_DIM && !steps_attention_tensor_can(half, m->head_dim))
        return err_set(err, errlen, -ENOTSUP,
                       "The model's heads have %d elements; the GPU's kernels have at most %d, or a multiple "
                       "of 8 up to %d with keys and values in F16.",
                       m->head_dim, CUDA_MAX_HEAD_DIM, CUDA_TENSOR_HEAD_DIM);
    if (steps_product_shared((int32_t)widest) > CUDA_MAX_SHARED)
        return err_set(err, errlen, -ENOTSUP,
                       "The model is %lld wide, which does not fit a GPU block's memory of %zu KiB.",
                       (long long)widest, CUDA_MAX_SHARED >> 10);
    return 0;
}

#define EXPORTED __attribute__((visibility("default")))

static int check_version(int version, char *err, size_t errlen) {
    if (version == CUDA_MODULE_VERSION)
        return 0;
    return err_set(err, errlen, -ENODEV,
                   "The GPU module has version %d, this program needs %d; install both from one build.",
                   CUDA_MODULE_VERSION, version);
}

EXPORTED int hermesd_cuda_memory(int version, const struct gpus *gpus, size_t *left, char *err,
                                 size_t errlen) {
    char describe[96];
    size_t least = SIZE_MAX, own = 0, total = 0;
    int rc = check_version(version, err, errlen), n = gpus_count(gpus);
    for (int i = 0; i < n && rc == 0; i++) {
        rc = gpu_open(gpus_id(gpus, i), describe, sizeof describe, err, errlen);
        if (rc == 0 && gpu_memory_left(&own, &total) < 0)
            rc = err_set(err, errlen, -EIO, "The GPU has failed: %s.", gpu_failure());
        least = own < least ? own : least;
    }
    if (rc == 0)
        *left = least * (size_t)n;
    return rc;
}

EXPORTED int hermesd_cuda_open(int version, const struct kernels_config *config, struct kernels_device **out,
                               char *err, size_t errlen) {
    int rc = check_version(version, err, errlen);
    rc = rc ? rc : kernels_check_config(config, err, errlen);
    rc = rc ? rc : check_shape(config, err, errlen);
    if (rc == 0 && config->kv_type == DTYPE_Q8_0)
        rc = err_set(
            err, errlen, -ENOTSUP,
            "A GPU keeps keys and values in F32 or F16, not in 8 bits; use kv f16, or the device cpu.");
    if (rc < 0)
        return rc;
    wait_set_limit(config->gpu_wait_ms);
    struct cuda_device *d = NULL;
    rc = ranks_open(config, &d, err, errlen);
    if (rc < 0)
        return rc;
    d->base.ops = &device_ops;
    (void)snprintf(d->page_layout, sizeof d->page_layout, "cuda %d %s", CUDA_PAGE_VERSION,
                   config->kv_type == DTYPE_F16 ? "F16" : "F32");
    if (d->n_ranks > 1) {
        size_t n = strlen(d->page_layout);
        (void)snprintf(d->page_layout + n, sizeof d->page_layout - n, " of %d", d->n_ranks);
    }
    *out = &d->base;
    return 0;
}
