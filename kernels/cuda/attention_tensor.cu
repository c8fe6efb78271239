/* Attention over paged keys and values in F16 by tensor cores. Places are pairs of a row and a query head
 * that share a kv head; a warp's product has 16 of them. Two kernels:
 *
 *   kernel_attention_row   one row, 16 of its heads, one part of its positions: its four warps share the
 *                          scores of a page by position and the sums of its values by element. The last block
 *                          of a row to finish adds up the parts ("Flash-Decoding", Dao and others, 2023).
 *   kernel_attention_tile  64 places of neighbouring positions, 16 to a warp, over all their pages, with the
 *                          softmax weights in registers only (Dao, "FlashAttention-2", 2023).
 *
 * Both go through a page's 64 positions alike: scores as one sum along the head, the largest score so far,
 * weights rounded to F16, their sum and that of the values by tensor cores in ascending order; and both add
 * up parts by merge(). So a row's results do not depend on which of them it meets. */
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/steps.h"

#include <math.h>

#define THREADS 128
#define WARPS   (THREADS / 32)
#define PLACES  16 /* of a warp's product */
#define PAGE    64

/* SIZE: head_dim and zeros behind it, a multiple of 16. Rows of 8 elements more than that, so that eight rows
 * lie in different banks. */
template <int SIZE> struct row_shared {
    alignas(16) uint16_t k[PAGE][SIZE + 8];
    alignas(16) uint16_t v[PAGE][SIZE + 8];
    alignas(16) uint16_t q[PLACES][SIZE + 8];
    alignas(16) uint16_t weights[PLACES][PAGE + 8];
    float largest[WARPS][PLACES];
    float factors[PLACES][CUDA_SPLITS][2]; /* of what there is, and of the part that is added */
    float sums[PLACES];
    uint32_t ticket;
};

template <int SIZE> struct tile_shared {
    alignas(16) uint16_t k[PAGE][SIZE + 8];
    alignas(16) uint16_t v[PAGE][SIZE + 8];
    alignas(16) uint16_t q[WARPS * PLACES][SIZE + 8];
    struct gpu_f4 kept[SIZE / 8][THREADS]; /* each thread's own: the parts so far */
};

/* What a block works on. */
struct tensor_work {
    int row, n_rows;    /* of the batch */
    int table;          /* page table */
    int position;       /* of the first row */
    int head;           /* kv head */
    int first_head;     /* query head */
    int n_heads, slots; /* of a row, and places for them */
};

GPU_INLINE void heads_of(const struct cuda_attention &p, int index, struct tensor_work *w) {
    int group = p.shape.n_heads / p.shape.n_kv_heads;
    int groups = (group + CUDA_TENSOR_GROUP - 1) / CUDA_TENSOR_GROUP, part = index % groups;
    int left = group - part * CUDA_TENSOR_GROUP;
    w->head = index / groups % p.shape.n_kv_heads;
    w->first_head = w->head * group + part * CUDA_TENSOR_GROUP;
    w->n_heads = left < CUDA_TENSOR_GROUP ? left : CUDA_TENSOR_GROUP;
    w->slots = steps_tile_slots(group);
}

GPU_INLINE void rows_of(const struct cuda_attention &p, int row, int n, struct tensor_work *w) {
    const struct cuda_row at = p.batch.rows[row];
    w->row = row;
    w->n_rows = n;
    w->table = at.table;
    w->position = at.position;
}

/* Row and head of a place; false where there is none. */
GPU_INLINE bool place_of(const struct tensor_work &w, int place, int *row, int *head) {
    *row = w.row + place / w.slots;
    *head = w.first_head + place % w.slots;
    return place / w.slots < w.n_rows && place % w.slots < w.n_heads;
}

/* Queries of N places, divided by the root of head_dim. */
template <int SIZE, int N>
GPU_INLINE void stage_queries(const struct cuda_attention &p, const struct tensor_work &w,
                              uint16_t (*to)[SIZE + 8]) {
    float scale = gpu_rsqrt((float)p.shape.head_dim);
    for (int i = (int)gpu_thread(); i < N * (SIZE / 4); i += THREADS) {
        int place = i / (SIZE / 4), e = i % (SIZE / 4) * 4, row, head;
        struct gpu_f4 v = {0, 0, 0, 0};
        if (place_of(w, place, &row, &head) && e < p.shape.head_dim)
            v = *(const struct gpu_f4 *)(p.q + (int64_t)row * p.shape.q_stride + head * p.shape.head_dim + e);
        uint32_t *words = (uint32_t *)&to[place][e];
        words[0] = gpu_pack_f16(v.x * scale, v.y * scale);
        words[1] = gpu_pack_f16(v.z * scale, v.w * scale);
    }
}

/* Starts to copy a page's keys or values of the positions up to `last`; zeros behind them and behind the
 * head. One group of copies. */
template <int SIZE>
GPU_INLINE void fetch(const struct cuda_attention &p, const struct tensor_work &w, int page, int last,
                      bool values, uint16_t (*to)[SIZE + 8]) {
    int32_t at = p.batch.pages[(int64_t)w.table * *p.batch.stride + page];
    const uint8_t *from = p.cache.memory + at * p.cache.page_bytes + p.layer * p.cache.layer_bytes +
                          (values ? p.cache.kind_bytes : 0) + w.head * p.cache.head_bytes;
    int n = last - page * PAGE + 1;
    for (int i = (int)gpu_thread(); i < PAGE * (SIZE / 8); i += THREADS) {
        int position = i / (SIZE / 8), e = i % (SIZE / 8) * 8;
        if (position < n && e < p.cache.row)
            gpu_copy_async16(&to[position][e], from + (position * p.cache.row + e) * 2);
        else
            *(struct gpu_u4 *)&to[position][e] = {0, 0, 0, 0};
    }
    gpu_copy_commit();
}

/* x[i] (16 places x 8 positions) = queries . keys of positions 8i …; PAIRS times 16 positions. */
template <int SIZE, int PAIRS>
GPU_INLINE void scores(const uint16_t (*q)[SIZE + 8], const uint16_t (*k)[SIZE + 8], float (*x)[4]) {
    int lane = (int)gpu_lane();
    GPU_UNROLL
    for (int i = 0; i < 2 * PAIRS; i++)
        x[i][0] = x[i][1] = x[i][2] = x[i][3] = 0;
    GPU_UNROLL
    for (int e = 0; e < SIZE; e += 16) {
        uint32_t a[4], b[4];
        gpu_ldmatrix_x4(a, &q[lane % 16][e + lane / 16 * 8]);
        GPU_UNROLL
        for (int i = 0; i < PAIRS; i++) {
            gpu_ldmatrix_x4(b, &k[i * 16 + lane / 16 * 8 + lane % 8][e + lane / 8 % 2 * 8]);
            gpu_mma_f16(x[2 * i], a, b);
            gpu_mma_f16(x[2 * i + 1], a, b + 2);
        }
    }
}

/* Positions behind the place's own have no score: `limits` are those of the lane's two places, counted from
 * the first position of x. */
template <int N> GPU_INLINE void mask(float (*x)[4], const int *limits) {
    GPU_UNROLL
    for (int i = 0; i < N; i++) {
        GPU_UNROLL
        for (int c = 0; c < 4; c++)
            if (i * 8 + (int)gpu_lane() % 4 * 2 + c % 2 > limits[c / 2])
                x[i][c] = -INFINITY;
    }
}

/* The largest of each of the lane's two places, over all lanes that have a part of them. */
template <int N> GPU_INLINE void largest_of(const float (*x)[4], float *largest) {
    GPU_UNROLL
    for (int r = 0; r < 2; r++) {
        float v = -INFINITY;
        GPU_UNROLL
        for (int i = 0; i < N; i++)
            v = gpu_max(v, gpu_max(x[i][2 * r], x[i][2 * r + 1]));
        v = gpu_max(v, gpu_shuffle_xor(GPU_ALL_LANES, v, 1));
        largest[r] = gpu_max(v, gpu_shuffle_xor(GPU_ALL_LANES, v, 2));
    }
}

/* A larger score is there: the factor of everything that was summed up before. */
GPU_INLINE void raise(float *top, const float *largest, float *factor) {
    GPU_UNROLL
    for (int r = 0; r < 2; r++) {
        float now = gpu_max(top[r], largest[r]);
        factor[r] = gpu_exp(top[r] - now);
        top[r] = now;
    }
}

/* Weights of softmax times 2^15, which F16 still holds for the largest one: so those of 2^-29 are not yet
 * subnormal, and a long row of small ones is not lost. */
GPU_INLINE float weight(float score, float top) {
    return gpu_exp(score - top + 10.39720771f);
}

GPU_INLINE void scale(float *sums, const float *factor) {
    sums[0] *= factor[0];
    sums[1] *= factor[0];
    sums[2] *= factor[1];
    sums[3] *= factor[1];
}

/* sum += weights of 16 positions, by a product with ones. */
GPU_INLINE void add_weights(float *sum, const uint32_t *a) {
    const uint32_t ones[2] = {0x3C003C00u, 0x3C003C00u};
    gpu_mma_f16(sum, a, ones);
}

/* o[0], o[1] += weights of 16 positions . elements e … e + 15 of their values. */
template <int SIZE>
GPU_INLINE void add_values(float (*o)[4], const uint32_t *a, const uint16_t (*v)[SIZE + 8], int e) {
    int lane = (int)gpu_lane();
    uint32_t b[4];
    gpu_ldmatrix_x4_t(b, &v[lane % 16][e + lane / 16 * 8]);
    gpu_mma_f16(o[0], a, b);
    gpu_mma_f16(o[1], a, b + 2);
}

/* Largest score and sum of the parts so far, with one part more; the factors of both. */
GPU_INLINE void merge(float *top, float *sum, float part_top, float part_sum, float *so_far, float *part) {
    float now = gpu_max(*top, part_top);
    *so_far = gpu_exp(*top - now);
    *part = gpu_exp(part_top - now);
    *top = now;
    *sum = gpu_fma(*sum, *so_far, part_sum * *part);
}

GPU_INLINE float merged(float v, float so_far, float part_v, float part) {
    return gpu_fma(v, so_far, part_v * part);
}

/* Two neighbouring elements of a row's results. */
GPU_INLINE void put_two(const struct cuda_attention &p, int row, int head, int e, float a, float b) {
    int at = head * p.shape.head_dim + e;
    if (p.ready != NULL)
        *(uint32_t *)(p.ready + (int64_t)row * (p.shape.n_heads * p.shape.head_dim) + at) =
            gpu_pack_bf16(a, b);
    else
        *(struct gpu_f2 *)(p.attn + (int64_t)row * p.shape.q_stride + at) = {a, b};
}

/* ---- one row ---- */

/* Elements of the sums that a warp keeps: pairs of eight, every fourth. */
template <int SIZE> struct row_sums {
    float o[(SIZE / 16 + WARPS - 1) / WARPS][2][4];
    float sum[4], top[2];
};

/* One page: the warp's 16 positions of the scores, then its elements of the values. The page's keys are under
 * way; those of the next page are when it is over. */
template <int SIZE>
GPU_INLINE void row_page(const struct cuda_attention &p, const struct tensor_work &w,
                         struct row_shared<SIZE> *s, int page, int end, struct row_sums<SIZE> *r) {
    int lane = (int)gpu_lane(), warp = (int)gpu_warp();
    float x[2][4], factor[2], largest[2];
    fetch<SIZE>(p, w, page, w.position, true, s->v);
    gpu_copy_wait<1>();
    gpu_barrier(); /* the keys are there */
    scores<SIZE, 1>(s->q, s->k + warp * 16, x);
    const int limit = w.position - page * PAGE - warp * 16, limits[2] = {limit, limit};
    mask<2>(x, limits);
    largest_of<2>(x, largest);
    if (lane % 4 == 0) {
        s->largest[warp][lane / 4] = largest[0];
        s->largest[warp][lane / 4 + 8] = largest[1];
    }
    gpu_barrier(); /* the keys have been read, the warps' largest are there */
    if (page + 1 < end)
        fetch<SIZE>(p, w, page + 1, w.position, false, s->k);
    else
        gpu_copy_commit();
    GPU_UNROLL
    for (int i = 0; i < WARPS; i++) {
        largest[0] = gpu_max(largest[0], s->largest[i][lane / 4]);
        largest[1] = gpu_max(largest[1], s->largest[i][lane / 4 + 8]);
    }
    raise(r->top, largest, factor);
    GPU_UNROLL
    for (int i = 0; i < 2; i++) {
        GPU_UNROLL
        for (int c = 0; c < 2; c++)
            *(uint32_t *)&s->weights[lane / 4 + 8 * c][warp * 16 + i * 8 + lane % 4 * 2] =
                gpu_pack_f16(weight(x[i][2 * c], r->top[c]), weight(x[i][2 * c + 1], r->top[c]));
    }
    scale(r->sum, factor);
    GPU_UNROLL
    for (int i = 0; i < (int)(sizeof r->o / sizeof r->o[0]); i++) {
        scale(r->o[i][0], factor);
        scale(r->o[i][1], factor);
    }
    gpu_copy_wait<1>();
    gpu_barrier(); /* the values are there, and all weights */
    GPU_UNROLL
    for (int k = 0; k < PAGE; k += 16) {
        uint32_t a[4];
        gpu_ldmatrix_x4(a, &s->weights[lane % 16][k + lane / 16 * 8]);
        add_weights(r->sum, a);
        GPU_UNROLL
        for (int i = 0; i < (int)(sizeof r->o / sizeof r->o[0]); i++)
            if (warp + i * WARPS < SIZE / 16)
                add_values<SIZE>(r->o[i], a, s->v + k, (warp + i * WARPS) * 16);
    }
    gpu_barrier(); /* values and weights have been read */
}

/* The warp's sums: the result of a row of one part, else into the part's place. */
template <int SIZE>
GPU_INLINE void row_store(const struct cuda_attention &p, const struct tensor_work &w, int single, int split,
                          int n_splits, const struct row_sums<SIZE> &r) {
    int lane = (int)gpu_lane(), warp = (int)gpu_warp();
    GPU_UNROLL
    for (int c = 0; c < 2; c++) {
        int h = lane / 4 + 8 * c, head = w.first_head + h;
        if (h >= w.n_heads)
            continue;
        int64_t part = ((int64_t)single * p.shape.n_heads + head) * p.max_splits + split;
        float *out = p.part_out + part * p.shape.head_dim;
        GPU_UNROLL
        for (int i = 0; i < (int)(sizeof r.o / sizeof r.o[0]) * 2; i++) {
            int e = (warp + i / 2 * WARPS) * 16 + i % 2 * 8 + lane % 4 * 2;
            const float *o = r.o[i / 2][i % 2] + 2 * c;
            if (e < p.shape.head_dim && n_splits > 1)
                *(struct gpu_f2 *)(out + e) = {o[0], o[1]};
            else if (e < p.shape.head_dim)
                put_two(p, w.row, head, e, gpu_divide(o[0], r.sum[2 * c]), gpu_divide(o[1], r.sum[2 * c]));
        }
        if (n_splits > 1 && warp == 0 && lane % 4 == 0) {
            p.part_stats[part * 2] = r.top[c];
            p.part_stats[part * 2 + 1] = r.sum[2 * c];
        }
    }
}

/* All parts of the row are there: adds them up in their order. */
template <int SIZE>
GPU_INLINE void row_merge(const struct cuda_attention &p, const struct tensor_work &w, int single,
                          int n_splits, struct row_shared<SIZE> *s) {
    int t = (int)gpu_thread();
    int64_t base = ((int64_t)single * p.shape.n_heads + w.first_head) * p.max_splits;
    if (t < w.n_heads) {
        const float *stats = p.part_stats + (base + (int64_t)t * p.max_splits) * 2;
        float top = stats[0], sum = stats[1];
        for (int k = 1; k < n_splits; k++)
            merge(&top, &sum, stats[2 * k], stats[2 * k + 1], &s->factors[t][k][0], &s->factors[t][k][1]);
        s->sums[t] = sum;
    }
    gpu_barrier();
    for (int i = t; i < w.n_heads * p.shape.head_dim / 2; i += THREADS) {
        int h = i * 2 / p.shape.head_dim, e = i * 2 % p.shape.head_dim;
        const float *part = p.part_out + (base + (int64_t)h * p.max_splits) * p.shape.head_dim + e;
        struct gpu_f2 v = *(const struct gpu_f2 *)part;
        for (int k = 1; k < n_splits; k++) {
            const struct gpu_f2 more = *(const struct gpu_f2 *)(part + (int64_t)k * p.shape.head_dim);
            const float *factors = s->factors[h][k];
            v = {merged(v.x, factors[0], more.x, factors[1]), merged(v.y, factors[0], more.y, factors[1])};
        }
        put_two(p, w.row, w.first_head + h, e, gpu_divide(v.x, s->sums[h]), gpu_divide(v.y, s->sums[h]));
    }
}

template <int SIZE> GPU_KERNEL(THREADS) kernel_attention_row(const struct cuda_attention p) {
    GPU_SHARED_DYNAMIC(struct row_shared<SIZE>, s);
    gpu_wait_previous();
    gpu_let_next_start();
    int group = p.shape.n_heads / p.shape.n_kv_heads;
    int groups = (group + CUDA_TENSOR_GROUP - 1) / CUDA_TENSOR_GROUP;
    int single = (int)gpu_block_x() / groups / p.shape.n_kv_heads, split = (int)gpu_block_y();
    if (single >= *p.batch.n_singles) /* a grid may be larger than its batch */
        return;
    struct tensor_work w;
    heads_of(p, (int)gpu_block_x(), &w);
    rows_of(p, p.batch.singles[single], 1, &w);
    w.slots = CUDA_TENSOR_GROUP;
    int length = steps_split_tokens(w.position + 1), n_splits = w.position / length + 1;
    if (split >= n_splits)
        return;
    int page = split * (length / PAGE), end = w.position / PAGE + 1;
    end = page + length / PAGE < end ? page + length / PAGE : end;
    struct row_sums<SIZE> r = {};
    r.top[0] = r.top[1] = -INFINITY;
    stage_queries<SIZE, PLACES>(p, w, s->q);
    fetch<SIZE>(p, w, page, w.position, false, s->k);
    for (; page < end; page++)
        row_page<SIZE>(p, w, s, page, end, &r);
    gpu_copy_wait<0>();
    row_store<SIZE>(p, w, single, split, n_splits, r);
    if (n_splits == 1)
        return;
    uint32_t *ticket = p.tickets + gpu_block_x();
    gpu_fence();
    gpu_barrier();
    if (gpu_thread() == 0)
        s->ticket = gpu_atomic_add(ticket, 1u);
    gpu_barrier();
    if (s->ticket + 1 != (uint32_t)n_splits)
        return;
    gpu_fence();
    row_merge<SIZE>(p, w, single, n_splits, s);
    if (gpu_thread() == 0)
        *ticket = 0;
}

/* ---- a tile of rows ---- */

template <int SIZE> struct tile_sums {
    float o[SIZE / 8][4];
    float sum[4], top[2];
    float all_top[2], all_sum[2]; /* of the parts before */
};

template <int SIZE> GPU_INLINE void tile_clear(struct tile_sums<SIZE> *r) {
    GPU_UNROLL
    for (int i = 0; i < SIZE / 8; i++)
        r->o[i][0] = r->o[i][1] = r->o[i][2] = r->o[i][3] = 0;
    r->sum[0] = r->sum[1] = r->sum[2] = r->sum[3] = 0;
    r->top[0] = r->top[1] = -INFINITY;
}

/* A part is over: adds it to those before. */
template <int SIZE>
GPU_INLINE void tile_part(struct tile_shared<SIZE> *s, struct tile_sums<SIZE> *r, bool first) {
    float so_far[2], part[2];
    if (first) {
        GPU_UNROLL
        for (int c = 0; c < 2; c++) {
            r->all_top[c] = r->top[c];
            r->all_sum[c] = r->sum[2 * c];
        }
        GPU_UNROLL
        for (int i = 0; i < SIZE / 8; i++)
            s->kept[i][gpu_thread()] = {r->o[i][0], r->o[i][1], r->o[i][2], r->o[i][3]};
        return;
    }
    GPU_UNROLL
    for (int c = 0; c < 2; c++)
        merge(&r->all_top[c], &r->all_sum[c], r->top[c], r->sum[2 * c], &so_far[c], &part[c]);
    GPU_UNROLL
    for (int i = 0; i < SIZE / 8; i++) {
        struct gpu_f4 v = s->kept[i][gpu_thread()];
        s->kept[i][gpu_thread()] = {
            merged(v.x, so_far[0], r->o[i][0], part[0]), merged(v.y, so_far[0], r->o[i][1], part[0]),
            merged(v.z, so_far[1], r->o[i][2], part[1]), merged(v.w, so_far[1], r->o[i][3], part[1])};
    }
}

/* Weights and sums of a page's scores. The values are there. */
template <int SIZE>
GPU_INLINE void tile_values(const struct tile_shared<SIZE> *s, const float (*x)[4],
                            struct tile_sums<SIZE> *r) {
    GPU_UNROLL
    for (int k = 0; k < PAGE / 16; k++) {
        const float(*y)[4] = x + 2 * k;
        const uint32_t a[4] = {gpu_pack_f16(y[0][0], y[0][1]), gpu_pack_f16(y[0][2], y[0][3]),
                               gpu_pack_f16(y[1][0], y[1][1]), gpu_pack_f16(y[1][2], y[1][3])};
        add_weights(r->sum, a);
        GPU_UNROLL
        for (int i = 0; i < SIZE / 16; i++)
            add_values<SIZE>(r->o + 2 * i, a, s->v + k * 16, i * 16);
    }
}

/* The scores become weights, and the sums so far what they are under the new largest score. */
template <int SIZE> GPU_INLINE void tile_weights(float (*x)[4], struct tile_sums<SIZE> *r) {
    float largest[2], factor[2];
    largest_of<PAGE / 8>(x, largest);
    raise(r->top, largest, factor);
    GPU_UNROLL
    for (int i = 0; i < PAGE / 8; i++) {
        GPU_UNROLL
        for (int c = 0; c < 4; c++)
            x[i][c] = weight(x[i][c], r->top[c / 2]);
    }
    scale(r->sum, factor);
    GPU_UNROLL
    for (int i = 0; i < SIZE / 8; i++)
        scale(r->o[i], factor);
}

template <int SIZE>
GPU_INLINE void tile_store(const struct cuda_attention &p, const struct tensor_work &w,
                           const struct tile_shared<SIZE> *s, const struct tile_sums<SIZE> &r, bool parts) {
    GPU_UNROLL
    for (int c = 0; c < 2; c++) {
        int row, head;
        if (!place_of(w, (int)gpu_warp() * PLACES + (int)gpu_lane() / 4 + 8 * c, &row, &head))
            continue;
        float sum = parts ? r.all_sum[c] : r.sum[2 * c];
        GPU_UNROLL
        for (int i = 0; i < SIZE / 8; i++) {
            int e = i * 8 + (int)gpu_lane() % 4 * 2;
            struct gpu_f2 v = {r.o[i][2 * c], r.o[i][2 * c + 1]};
            if (parts) {
                const struct gpu_f4 kept = s->kept[i][gpu_thread()];
                v = c == 0 ? gpu_f2{kept.x, kept.y} : gpu_f2{kept.z, kept.w};
            }
            if (e < p.shape.head_dim)
                put_two(p, row, head, e, gpu_divide(v.x, sum), gpu_divide(v.y, sum));
        }
    }
}

template <int SIZE> GPU_KERNEL(THREADS) kernel_attention_tile(const struct cuda_attention p) {
    GPU_SHARED_DYNAMIC(struct tile_shared<SIZE>, s);
    gpu_wait_previous();
    gpu_let_next_start();
    /* The last tiles, which mostly have the most positions, first. */
    int index = *p.batch.n_tiles - 1 - (int)gpu_block_y();
    if (index < 0) /* a grid may be larger than its batch */
        return;
    struct tensor_work w;
    heads_of(p, (int)gpu_block_x(), &w);
    rows_of(p, p.batch.tiles[index].row, p.batch.tiles[index].n, &w);
    int last = w.position + w.n_rows - 1, n_pages = last / PAGE + 1;
    int part_pages = steps_split_tokens(last + 1) / PAGE;
    int place = (int)gpu_warp() * PLACES;
    bool works = place < w.n_rows * w.slots; /* the warp has places */
    /* The page's number of the lane's two places; those behind the last row do as it does. */
    int limits[2] = {place + (int)gpu_lane() / 4, place + (int)gpu_lane() / 4 + 8};
    for (int c = 0; c < 2; c++)
        limits[c] = (limits[c] / w.slots < w.n_rows ? w.position + limits[c] / w.slots : last) % PAGE;
    struct tile_sums<SIZE> r = {};
    tile_clear(&r);
    stage_queries<SIZE, WARPS * PLACES>(p, w, s->q);
    fetch<SIZE>(p, w, 0, last, false, s->k);
    for (int page = 0; page < n_pages; page++) {
        float x[PAGE / 8][4];
        fetch<SIZE>(p, w, page, last, true, s->v);
        gpu_copy_wait<1>();
        gpu_barrier(); /* the keys are there */
        if (works)
            scores<SIZE, PAGE / 16>(s->q + place, s->k, x);
        gpu_barrier(); /* they have been read */
        if (page + 1 < n_pages)
            fetch<SIZE>(p, w, page + 1, last, false, s->k);
        else
            gpu_copy_commit();
        if (works) {
            if (page + 1 == n_pages)
                mask<PAGE / 8>(x, limits);
            tile_weights<SIZE>(x, &r);
        }
        gpu_copy_wait<1>();
        gpu_barrier(); /* the values are there */
        if (works)
            tile_values<SIZE>(s, x, &r);
        gpu_barrier(); /* they have been read */
        if (works && n_pages > part_pages && ((page + 1) % part_pages == 0 || page + 1 == n_pages)) {
            tile_part<SIZE>(s, &r, page < part_pages);
            tile_clear(&r);
        }
    }
    gpu_copy_wait<0>();
    if (works)
        tile_store<SIZE>(p, w, s, r, n_pages > part_pages);
}

/* ---- launches ---- */

template <int SIZE>
static int launch(struct gpu_stream *s, const struct cuda_attention *p, int n_singles, int n_tiles,
                  int splits) {
    int group = p->shape.n_heads / p->shape.n_kv_heads;
    unsigned heads = (unsigned)(p->shape.n_kv_heads * ((group + CUDA_TENSOR_GROUP - 1) / CUDA_TENSOR_GROUP));
    const struct gpu_launch row = {s,       (unsigned)n_singles * heads,     (unsigned)splits,
                                   THREADS, sizeof(struct row_shared<SIZE>), true};
    const struct gpu_launch tile = {s,   heads, (unsigned)n_tiles, THREADS, sizeof(struct tile_shared<SIZE>),
                                    true};
    int rc = n_tiles > 0 ? GPU_LAUNCH(tile, kernel_attention_tile<SIZE>, *p) : 0;
    return rc == 0 && n_singles > 0 ? GPU_LAUNCH(row, kernel_attention_row<SIZE>, *p) : rc;
}

extern "C" int steps_attention_tensor(struct gpu_stream *s, const struct cuda_attention *p, int n_singles,
                                      int n_tiles, int splits) {
    int e = p->shape.head_dim;
    return e <= 32    ? launch<32>(s, p, n_singles, n_tiles, splits)
           : e <= 64  ? launch<64>(s, p, n_singles, n_tiles, splits)
           : e <= 96  ? launch<96>(s, p, n_singles, n_tiles, splits)
           : e <= 128 ? launch<128>(s, p, n_singles, n_tiles, splits)
                      : launch<256>(s, p, n_singles, n_tiles, splits);
}
