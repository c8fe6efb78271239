/* Attention over paged keys and values. A block takes one row, one kv head with up to eight of its query
 * heads, and one part of the row's positions, in tiles of 128: scores with a thread per position, softmax as
 * it goes (Milakov and Gimelshein, "Online normalizer calculation for softmax"), then values with threads
 * along the head. Where a row has several parts, the last block of the row to finish adds them up in their
 * order
 * ("Flash-Decoding", Dao and others, 2023). */
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/steps.h"

#include <math.h>

#define THREADS CUDA_TILE
#define WARPS   (THREADS / 32)

struct attention_shared {
    alignas(16) float q[CUDA_GROUP][CUDA_MAX_HEAD_DIM];
    float scores[CUDA_GROUP][CUDA_TILE];
    float mix[CUDA_GROUP][THREADS];
    float largest[CUDA_GROUP], sum[CUDA_GROUP], factor[CUDA_GROUP];
    uint32_t ticket;
};

/* What one block works on. */
struct attention_work {
    struct cuda_row at;
    int row, head, first_head, n_heads; /* kv head; first query head and how many */
    int begin, end;                     /* positions */
    int split, n_splits;
};

GPU_INLINE struct attention_work attention_work_of(const struct cuda_attention &p) {
    struct attention_work w;
    int group = p.shape.n_heads / p.shape.n_kv_heads, groups = (group + CUDA_GROUP - 1) / CUDA_GROUP;
    int index = (int)gpu_block_x();
    int part = index % groups;
    w.head = index / groups % p.shape.n_kv_heads;
    w.row = index / groups / p.shape.n_kv_heads;
    w.first_head = w.head * group + part * CUDA_GROUP;
    w.n_heads = group - part * CUDA_GROUP < CUDA_GROUP ? group - part * CUDA_GROUP : CUDA_GROUP;
    w.at = p.batch.rows[w.row];
    int n = w.at.position + 1, length = steps_split_tokens(n);
    w.split = (int)gpu_block_y();
    w.n_splits = (n + length - 1) / length;
    w.begin = w.split * length;
    w.end = w.begin + length < n ? w.begin + length : n;
    return w;
}

/* Keys (or values) of a position: p.cache.row elements. */
GPU_INLINE const uint8_t *cached(const struct cuda_attention &p, const struct attention_work &w, int position,
                                 bool values) {
    int32_t page = p.batch.pages[(int64_t)w.at.table * *p.batch.stride + position / 64];
    int64_t element = p.cache.half != 0 ? 2 : 4;
    return p.cache.memory + page * p.cache.page_bytes + p.layer * p.cache.layer_bytes +
           (values ? p.cache.kind_bytes : 0) + w.head * p.cache.head_bytes +
           position % 64 * p.cache.row * element;
}

/* Eight elements; those behind the head are whatever lies there, and meet zeros. */
template <bool HALF> GPU_INLINE void load8(const uint8_t *at, float *v) {
    if (HALF) {
        const struct gpu_u4 u = *(const struct gpu_u4 *)at;
        const uint32_t words[4] = {u.x, u.y, u.z, u.w};
        GPU_UNROLL
        for (int i = 0; i < 4; i++) {
            v[2 * i] = gpu_f16_to_float((uint16_t)words[i]);
            v[2 * i + 1] = gpu_f16_to_float((uint16_t)(words[i] >> 16));
        }
    } else {
        const struct gpu_f4 a = ((const struct gpu_f4 *)at)[0], b = ((const struct gpu_f4 *)at)[1];
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    }
}

/* scores[h][t] of the tile's positions; -inf behind the end. */
template <int HEADS, bool HALF>
GPU_INLINE void tile_scores(const struct cuda_attention &p, const struct attention_work &w,
                            struct attention_shared *s, int tile) {
    int t = (int)gpu_thread(), position = tile + t;
    float sum[HEADS];
    GPU_UNROLL
    for (int h = 0; h < HEADS; h++)
        sum[h] = 0;
    if (position < w.end) {
        const uint8_t *key = cached(p, w, position, false);
        for (int i = 0; i < p.cache.row; i += 8) {
            float k[8];
            load8<HALF>(key + i * (HALF ? 2 : 4), k);
            if (i + 8 > p.shape.head_dim)
                for (int j = 0; j < 8; j++)
                    k[j] = i + j < p.shape.head_dim ? k[j] : 0;
            GPU_UNROLL
            for (int h = 0; h < HEADS; h++) {
                const struct gpu_f4 a = *(const struct gpu_f4 *)&s->q[h][i];
                const struct gpu_f4 b = *(const struct gpu_f4 *)&s->q[h][i + 4];
                sum[h] =
                    gpu_fma(k[0], a.x, gpu_fma(k[1], a.y, gpu_fma(k[2], a.z, gpu_fma(k[3], a.w, sum[h]))));
                sum[h] =
                    gpu_fma(k[4], b.x, gpu_fma(k[5], b.y, gpu_fma(k[6], b.z, gpu_fma(k[7], b.w, sum[h]))));
            }
        }
    }
    GPU_UNROLL
    for (int h = 0; h < HEADS; h++)
        s->scores[h][t] = position < w.end ? sum[h] : -INFINITY;
}

/* Turns the tile's scores into weights; a warp per head. */
GPU_INLINE void tile_softmax(const struct attention_work &w, struct attention_shared *s) {
    for (int h = (int)gpu_warp(); h < w.n_heads; h += WARPS) {
        float v[CUDA_TILE / 32], largest = s->largest[h];
        GPU_UNROLL
        for (int i = 0; i < CUDA_TILE / 32; i++) {
            v[i] = s->scores[h][gpu_lane() + 32 * i];
            largest = gpu_max(largest, v[i]);
        }
        largest = gpu_warp_max(largest);
        float sum = 0;
        GPU_UNROLL
        for (int i = 0; i < CUDA_TILE / 32; i++) {
            v[i] = gpu_exp(v[i] - largest);
            s->scores[h][gpu_lane() + 32 * i] = v[i];
            sum += v[i];
        }
        sum = gpu_warp_sum(sum);
        gpu_warp_barrier(GPU_ALL_LANES); /* all have read largest[h] */
        if (gpu_lane() == 0) {
            s->factor[h] = gpu_exp(s->largest[h] - largest);
            s->sum[h] = s->sum[h] * s->factor[h] + sum;
            s->largest[h] = largest;
        }
    }
}

/* Where a thread works along the head: element e; of the positions those of its slice. */
struct attention_place {
    int e, slice, n_slices;
};

GPU_INLINE struct attention_place place_of(int head_dim) {
    int t = (int)gpu_thread();
    return {t % head_dim, t / head_dim, THREADS / head_dim};
}

template <int HEADS, bool HALF>
GPU_INLINE void tile_values(const struct cuda_attention &p, const struct attention_work &w,
                            const struct attention_shared *s, const struct attention_place &at, int tile,
                            float *sum) {
    GPU_UNROLL
    for (int h = 0; h < HEADS; h++)
        sum[h] *= h < w.n_heads ? s->factor[h] : 0;
    int n = w.end - tile < CUDA_TILE ? w.end - tile : CUDA_TILE;
    for (int t = at.slice < at.n_slices ? at.slice : n; t < n; t += at.n_slices) {
        const uint8_t *value = cached(p, w, tile + t, true);
        float v = HALF ? gpu_f16_to_float(((const uint16_t *)value)[at.e]) : ((const float *)value)[at.e];
        GPU_UNROLL
        for (int h = 0; h < HEADS; h++)
            sum[h] = gpu_fma(s->scores[h][t], v, sum[h]);
    }
}

/* Adds up the slices of every head; the result in sum[h] of the threads of slice 0. */
template <int HEADS>
GPU_INLINE void add_slices(struct attention_shared *s, const struct attention_place &at, int head_dim,
                           float *sum) {
    if (at.n_slices == 1)
        return;
    GPU_UNROLL
    for (int h = 0; h < HEADS; h++)
        s->mix[h][gpu_thread()] = sum[h];
    gpu_barrier();
    if (at.slice != 0)
        return;
    GPU_UNROLL
    for (int h = 0; h < HEADS; h++)
        for (int k = 1; k < at.n_slices; k++)
            sum[h] += s->mix[h][at.e + k * head_dim];
}

/* All parts of the row are there: adds them up in their order. */
GPU_INLINE void add_parts(const struct cuda_attention &p, const struct attention_work &w,
                          const struct attention_place &at) {
    if (at.slice != 0)
        return;
    for (int h = 0; h < w.n_heads; h++) {
        int64_t base = ((int64_t)w.row * p.shape.n_heads + w.first_head + h) * p.max_splits;
        float largest = -INFINITY, sum = 0;
        for (int k = 0; k < w.n_splits; k++)
            largest = gpu_max(largest, p.part_stats[(base + k) * 2]);
        for (int k = 0; k < w.n_splits; k++)
            sum += p.part_stats[(base + k) * 2 + 1] * gpu_exp(p.part_stats[(base + k) * 2] - largest);
        float v = 0;
        for (int k = 0; k < w.n_splits; k++)
            v += p.part_out[(base + k) * p.shape.head_dim + at.e] *
                 gpu_exp(p.part_stats[(base + k) * 2] - largest);
        p.attn[(int64_t)w.row * p.shape.q_stride + (w.first_head + h) * p.shape.head_dim + at.e] =
            gpu_divide(v, sum);
    }
}

template <int HEADS>
GPU_INLINE void store_part(const struct cuda_attention &p, const struct attention_work &w,
                           const struct attention_shared *s, const struct attention_place &at,
                           const float *sum) {
    GPU_UNROLL
    for (int h = 0; h < HEADS; h++) {
        if (h >= w.n_heads || at.slice != 0)
            continue;
        int64_t part = ((int64_t)w.row * p.shape.n_heads + w.first_head + h) * p.max_splits + w.split;
        float *out = w.n_splits > 1
                         ? p.part_out + part * p.shape.head_dim
                         : p.attn + (int64_t)w.row * p.shape.q_stride + (w.first_head + h) * p.shape.head_dim;
        out[at.e] = w.n_splits > 1 ? sum[h] : gpu_divide(sum[h], s->sum[h]);
        if (w.n_splits > 1 && at.e == 0) {
            p.part_stats[part * 2] = s->largest[h];
            p.part_stats[part * 2 + 1] = s->sum[h];
        }
    }
}

template <int HEADS, bool HALF> GPU_KERNEL(THREADS) kernel_attention(const struct cuda_attention p) {
    GPU_SHARED(struct attention_shared, s);
    int t = (int)gpu_thread();
    gpu_wait_previous();
    gpu_let_next_start();
    const struct attention_work w = attention_work_of(p);
    if (w.row >= *p.batch.n_rows || w.split >= w.n_splits) /* a grid may be larger than its batch */
        return;
    const struct attention_place at = place_of(p.shape.head_dim);
    float scale = gpu_rsqrt((float)p.shape.head_dim), sum[HEADS];
    for (int i = t; i < HEADS * CUDA_MAX_HEAD_DIM; i += THREADS) {
        int h = i / CUDA_MAX_HEAD_DIM, e = i % CUDA_MAX_HEAD_DIM;
        bool there = h < w.n_heads && e < p.shape.head_dim;
        s.q[h][e] =
            there ? p.q[(int64_t)w.row * p.shape.q_stride + (w.first_head + h) * p.shape.head_dim + e] * scale
                  : 0;
    }
    if (t < CUDA_GROUP) {
        s.largest[t] = -INFINITY;
        s.sum[t] = 0;
    }
    GPU_UNROLL
    for (int h = 0; h < HEADS; h++)
        sum[h] = 0;
    for (int tile = w.begin; tile < w.end; tile += CUDA_TILE) {
        gpu_barrier(); /* q is there; the last tile's weights have been read */
        tile_scores<HEADS, HALF>(p, w, &s, tile);
        gpu_barrier();
        tile_softmax(w, &s);
        gpu_barrier();
        tile_values<HEADS, HALF>(p, w, &s, at, tile, sum);
    }
    add_slices<HEADS>(&s, at, p.shape.head_dim, sum);
    store_part<HEADS>(p, w, &s, at, sum);
    if (w.n_splits == 1)
        return;
    uint32_t *ticket = p.tickets + gpu_block_x();
    gpu_fence();
    gpu_barrier();
    if (t == 0)
        s.ticket = gpu_atomic_add(ticket, 1u);
    gpu_barrier();
    if (s.ticket + 1 != (uint32_t)w.n_splits)
        return;
    gpu_fence();
    add_parts(p, w, at);
    if (t == 0)
        *ticket = 0;
}

extern "C" int steps_attention(struct gpu_stream *s, const struct cuda_attention *p, int n_rows, int splits) {
    int group = p->shape.n_heads / p->shape.n_kv_heads, groups = (group + CUDA_GROUP - 1) / CUDA_GROUP;
    const struct gpu_launch how = {
        s, (unsigned)(n_rows * p->shape.n_kv_heads * groups), (unsigned)splits, THREADS, 0, true};
    bool half = p->cache.half != 0;
    if (group == 1)
        return half ? GPU_LAUNCH(how, (kernel_attention<1, true>), *p)
                    : GPU_LAUNCH(how, (kernel_attention<1, false>), *p);
    if (group == 2)
        return half ? GPU_LAUNCH(how, (kernel_attention<2, true>), *p)
                    : GPU_LAUNCH(how, (kernel_attention<2, false>), *p);
    if (group <= 4)
        return half ? GPU_LAUNCH(how, (kernel_attention<4, true>), *p)
                    : GPU_LAUNCH(how, (kernel_attention<4, false>), *p);
    return half ? GPU_LAUNCH(how, (kernel_attention<CUDA_GROUP, true>), *p)
                : GPU_LAUNCH(how, (kernel_attention<CUDA_GROUP, false>), *p);
}
