#include "tests/kernels/attention_case.h"

#include "kernels/cpu/convert.h"
#include "kernels/cuda/steps.h"
#include "tests/kernels/random_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PAGE  64
#define TABLE 1 /* of two: the session's */
#define LAYER 1 /* of two */

struct memory {
    const struct attention_case *c;
    int n_positions, n_pages;
    struct gpu_stream *stream;
    int32_t *ints; /* device: header, rows, singles, tiles, pages of two tables */
    int32_t *host_ints;
    uint8_t *cache;
    uint16_t *host_cache; /* kv head, keys then values, position, head_dim */
    float *q, *attn, *part_out, *part_stats, *host_q, *host_attn, *as_singles;
    uint32_t *tickets;
    uint16_t *ready, *host_ready;
    struct cuda_attention step;
    int n_tiles, splits;
};

static void *must(void *p) {
    if (p == NULL)
        abort();
    return p;
}

static void check(int rc) {
    if (rc < 0)
        abort();
}

static void *device(size_t bytes, enum gpu_memory kind) {
    return must(gpu_alloc(bytes, kind));
}

static size_t q_floats(const struct memory *m) {
    return (size_t)m->c->n * (size_t)m->step.shape.q_stride;
}

static size_t row_elements(const struct memory *m) {
    return (size_t)m->c->n_heads * (size_t)m->c->head_dim;
}

static size_t ready_bytes(const struct memory *m) {
    return (size_t)m->c->n * row_elements(m) * 2;
}

static void fill_queries(struct memory *m, uint64_t *random) {
    m->q = device(q_floats(m) * 4, GPU_KEPT);
    m->attn = device(q_floats(m) * 4, GPU_TRANSIENT);
    m->host_q = must(gpu_alloc_host(q_floats(m) * 4));
    m->host_attn = must(gpu_alloc_host(q_floats(m) * 4));
    m->ready = device(ready_bytes(m), GPU_TRANSIENT);
    m->host_ready = must(gpu_alloc_host(ready_bytes(m)));
    m->as_singles = must(malloc(q_floats(m) * 4));
    for (size_t i = 0; i < q_floats(m); i++)
        m->host_q[i] = random_float(random) * 1.7f * m->c->sharp;
    check(gpu_upload_now(m->q, m->host_q, q_floats(m) * 4));
}

/* Where a page lies: 7 has no divisor in common with a power of two. */
static int page_of(const struct memory *m, int i) {
    int all = 1;
    while (all < m->n_pages)
        all *= 2;
    return (i * 7 + 3) % all;
}

static void fill_cache(struct memory *m, uint64_t *random) {
    const struct attention_case *c = m->c;
    size_t e = (size_t)c->head_dim, kinds = (size_t)c->n_kv_heads * 2, n = (size_t)m->n_positions;
    struct cuda_cache *cache = &m->step.cache;
    *cache = (struct cuda_cache){.row = c->head_dim, .half = 1, .head_bytes = (int64_t)e * 2 * PAGE};
    cache->kind_bytes = cache->head_bytes * c->n_kv_heads;
    cache->layer_bytes = cache->kind_bytes * 2;
    cache->page_bytes = cache->layer_bytes * (LAYER + 1);
    int all = 1;
    while (all < m->n_pages)
        all *= 2;
    size_t bytes = (size_t)all * (size_t)cache->page_bytes;
    cache->memory = m->cache = device(bytes, GPU_KEPT);
    uint8_t *memory = memset(must(malloc(bytes)), 0xFF, bytes); /* not a number */
    m->host_cache = must(malloc(kinds * n * e * 2));
    for (size_t i = 0; i < kinds * n * e; i++)
        m->host_cache[i] = convert_f32_to_f16(random_float(random) * 1.7f);
    for (int page = 0; page < m->n_pages; page++)
        for (size_t k = 0; k < kinds; k++) {
            size_t from = (size_t)page * PAGE, rows = n - from < PAGE ? n - from : PAGE;
            int64_t to = page_of(m, page) * cache->page_bytes + LAYER * cache->layer_bytes +
                         (int64_t)(k % 2) * cache->kind_bytes + (int64_t)(k / 2) * cache->head_bytes;
            memcpy(memory + to, m->host_cache + (k * n + from) * e, rows * e * 2);
        }
    check(gpu_upload_now(m->cache, memory, bytes));
    free(memory);
}

/* All rows as singles, and all as tiles. */
static void fill_batch(struct memory *m) {
    const struct attention_case *c = m->c;
    int tile = steps_tile_rows(c->n_heads / c->n_kv_heads), n = c->n;
    size_t rows = 8, singles = rows + 3 * (size_t)n, tiles = (singles + (size_t)n + 1) / 2 * 2;
    size_t pages = tiles + 2 * (size_t)n, all = pages + 2 * (size_t)m->n_pages;
    int32_t *to = m->host_ints = must(gpu_alloc_host(all * 4));
    const int32_t *at = m->ints = device(all * 4, GPU_KEPT);
    m->n_tiles = 0;
    for (int i = 0, end; i < n; i = end) {
        end = ((c->first + i) / tile + 1) * tile - c->first;
        end = end < n ? end : n;
        to[tiles + 2 * (size_t)m->n_tiles] = i;
        to[tiles + 2 * (size_t)m->n_tiles++ + 1] = end - i;
    }
    for (int i = 0; i < n; i++) {
        to[rows + 3 * (size_t)i + 1] = c->first + i;
        to[rows + 3 * (size_t)i + 2] = TABLE;
        to[singles + (size_t)i] = i;
    }
    for (int i = 0; i < m->n_pages; i++) {
        to[pages + (size_t)i] = 1 << 20; /* the other session's */
        to[pages + (size_t)(m->n_pages + i)] = page_of(m, i);
    }
    to[0] = to[1] = n;
    to[2] = m->n_pages;
    to[3] = m->n_tiles;
    check(gpu_upload_now(m->ints, to, all * 4));
    m->step.batch = (struct cuda_batch){.n_rows = at,
                                        .n_singles = at + 1,
                                        .stride = at + 2,
                                        .n_tiles = at + 3,
                                        .rows = (const struct cuda_row *)(const void *)(at + rows),
                                        .singles = at + singles,
                                        .tiles = (const struct cuda_tile *)(const void *)(at + tiles),
                                        .pages = at + pages};
}

static void fill_step(struct memory *m) {
    const struct attention_case *c = m->c;
    struct cuda_attention *s = &m->step;
    int group = c->n_heads / c->n_kv_heads;
    size_t groups = (size_t)(group + CUDA_TENSOR_GROUP - 1) / CUDA_TENSOR_GROUP;
    size_t parts = (size_t)c->n * (size_t)c->n_heads * (size_t)m->splits;
    size_t n_tickets = (size_t)c->n * (size_t)c->n_kv_heads * groups;
    m->part_out = device(parts * (size_t)c->head_dim * 4, GPU_TRANSIENT);
    m->part_stats = device(parts * 8, GPU_TRANSIENT);
    m->tickets = device(n_tickets * 4, GPU_KEPT);
    check(gpu_fill(m->stream, m->tickets, 0, n_tickets * 4));
    s->q = m->q;
    s->attn = m->attn;
    s->part_out = m->part_out;
    s->part_stats = m->part_stats;
    s->tickets = m->tickets;
    s->max_splits = m->splits;
    s->layer = LAYER;
}

/* What row i's head should be, in double. */
static void reference(const struct memory *m, int i, int head, double *out, double *weights) {
    const struct attention_case *c = m->c;
    size_t e = (size_t)c->head_dim, n = (size_t)m->n_positions;
    int kv = head / (c->n_heads / c->n_kv_heads), end = c->first + i + 1;
    const float *q = m->host_q + (size_t)i * (size_t)m->step.shape.q_stride + (size_t)head * e;
    const uint16_t *keys = m->host_cache + (size_t)kv * 2 * n * e, *values = keys + n * e;
    double largest = -INFINITY, sum = 0;
    for (int p = 0; p < end; p++) {
        double score = 0;
        for (size_t k = 0; k < e; k++)
            score += (double)q[k] * (double)convert_f16_to_f32(keys[(size_t)p * e + k]);
        weights[p] = score / sqrt((double)c->head_dim);
        largest = fmax(largest, weights[p]);
    }
    memset(out, 0, e * sizeof *out);
    for (int p = 0; p < end; p++) {
        double w = exp(weights[p] - largest);
        sum += w;
        for (size_t k = 0; k < e; k++)
            out[k] += w * (double)convert_f16_to_f32(values[(size_t)p * e + k]);
    }
    for (size_t k = 0; k < e; k++)
        out[k] /= sum;
}

static double worst(const struct memory *m, const float *got) {
    const struct attention_case *c = m->c;
    double *want = must(malloc((size_t)c->head_dim * sizeof *want)), all = 0;
    double *weights = must(malloc((size_t)m->n_positions * sizeof *weights));
    for (int i = 0; i < c->n; i++)
        for (int h = 0; h < c->n_heads; h++) {
            const float *v =
                got + (size_t)i * (size_t)m->step.shape.q_stride + (size_t)h * (size_t)c->head_dim;
            double d = 0, w = 0;
            reference(m, i, h, want, weights);
            for (int k = 0; k < c->head_dim; k++) {
                double x = isfinite(v[k]) ? (double)v[k] : INFINITY;
                d += (x - want[k]) * (x - want[k]);
                w += want[k] * want[k];
            }
            all = fmax(all, sqrt(d / (w + 1e-30)));
        }
    free(want);
    free(weights);
    return all;
}

static void run(struct memory *m, bool tiles) {
    check(gpu_forget(m->stream));
    check(
        steps_attention_tensor(m->stream, &m->step, tiles ? 0 : m->c->n, tiles ? m->n_tiles : 0, m->splits));
    if (m->step.ready == NULL)
        check(gpu_download(m->stream, m->host_attn, m->attn, q_floats(m) * 4));
    else
        check(gpu_download(m->stream, m->host_ready, m->ready, ready_bytes(m)));
    check(gpu_sync(m->stream));
}

/* To the nearest, ties to even. */
static uint16_t rounded(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

/* The same results, wanted as BF16. */
static bool is_ready(struct memory *m) {
    size_t stride = (size_t)m->step.shape.q_stride, n = row_elements(m);
    m->step.ready = m->ready;
    for (int tiles = 0; tiles < 2; tiles++) {
        run(m, tiles == 1);
        for (size_t i = 0; i < (size_t)m->c->n * n; i++)
            if (m->host_ready[i] != rounded(m->as_singles[i / n * stride + i % n]))
                return false;
    }
    return true;
}

static bool alike(const struct memory *m) {
    size_t stride = (size_t)m->step.shape.q_stride, n = row_elements(m);
    for (size_t i = 0; i < (size_t)m->c->n; i++)
        if (memcmp(m->as_singles + i * stride, m->host_attn + i * stride, n * sizeof(float)) != 0)
            return false;
    return true;
}

void attention_case_run(const struct attention_case *c, unsigned seed, struct attention_outcome *out) {
    struct memory m = {.c = c, .n_positions = c->first + c->n};
    uint64_t random = seed * 2 + 1;
    m.n_pages = (m.n_positions + PAGE - 1) / PAGE;
    m.splits = (m.n_positions - 1) / steps_split_tokens(m.n_positions) + 1;
    m.splits = m.n_positions > 8192 ? CUDA_SPLITS : m.splits;
    m.step.shape = (struct cuda_shape){.n_heads = c->n_heads,
                                       .n_kv_heads = c->n_kv_heads,
                                       .head_dim = c->head_dim,
                                       .q_stride = (c->n_heads * c->head_dim + 15) / 16 * 16};
    check(gpu_stream_create(&m.stream));
    fill_queries(&m, &random);
    fill_cache(&m, &random);
    fill_batch(&m);
    fill_step(&m);
    run(&m, false);
    memcpy(m.as_singles, m.host_attn, q_floats(&m) * 4);
    run(&m, true);
    out->alike = alike(&m);
    out->error = fmax(worst(&m, m.as_singles), worst(&m, m.host_attn));
    out->ready = is_ready(&m);
    gpu_stream_destroy(m.stream);
    void *memory[] = {m.ints, m.cache, m.q, m.attn, m.part_out, m.part_stats, m.tickets, m.ready};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        gpu_free(memory[i]);
    gpu_free_host(m.host_ints);
    gpu_free_host(m.host_q);
    gpu_free_host(m.host_attn);
    gpu_free_host(m.host_ready);
    free(m.host_cache);
    free(m.as_singles);
}
