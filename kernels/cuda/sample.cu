/* Choosing tokens where the logits are: the order of things, the sums and the random numbers are those of
 * engine/sampler.c, so that the same seed gives the same tokens on both. Three kernels:
 *
 *   kernel_sample_scan    masks and penalties; the largest logit of each chunk of 1,024 tokens
 *   kernel_sample_weigh   weights below the row's largest: their sums by 64 tokens, or, where only some
 * tokens count, how many there are of what weight, in bins of an eighth kernel_sample_pick    the token: by
 * walking the sums, or by sorting what lies in the first bins
 *
 * Weights in bins are whole numbers, whose sum does not depend on the order. */
#include "kernels/cuda/best.cuh"
#include "kernels/cuda/steps.h"

#include <math.h>

#define THREADS 256
#define EACH    (CUDA_SAMPLE_CHUNK / THREADS)
#define UNIT    70368744177664.0 /* 2^46: the sum over a vocabulary fits 64 bits */

struct scan_shared {
    float v[CUDA_SAMPLE_CHUNK];
    float best[THREADS / 32];
    int32_t id[THREADS / 32];
};

/* The row's largest; its token is BEST_NONE where nothing is a number. */
GPU_INLINE void best_of_row(const struct cuda_sample &p, int row, float *best, int32_t *ids, float *v,
                            int32_t *id) {
    int chunks = (p.n_vocab + CUDA_SAMPLE_CHUNK - 1) / CUDA_SAMPLE_CHUNK;
    *v = -INFINITY;
    *id = BEST_NONE;
    for (int i = (int)gpu_thread(); i < chunks; i += THREADS) {
        float other = p.best[(int64_t)row * chunks + i];
        int32_t other_id = p.best_id[(int64_t)row * chunks + i];
        if (better(other, other_id, *v, *id)) {
            *v = other;
            *id = other_id;
        }
    }
    best_of_block<THREADS>(best, ids, v, id);
}

/* ---- masks, penalties, the largest of a chunk ---- */

/* Each token of the last ones once. */
GPU_INLINE void penalise(const struct cuda_sample_how &how, int first, float *v) {
    int t = (int)gpu_thread();
    if (t >= how.n_recent)
        return;
    int32_t token = how.recent[t];
    for (int i = 0; i < t; i++)
        if (how.recent[i] == token)
            return;
    if (token < first || token >= first + CUDA_SAMPLE_CHUNK)
        return;
    float x = v[token - first];
    v[token - first] = x > 0 ? gpu_divide_exact(x, how.penalty) : gpu_mul(x, how.penalty);
}

GPU_KERNEL(THREADS) kernel_sample_scan(const struct cuda_sample p) {
    GPU_SHARED(struct scan_shared, s);
    gpu_wait_previous();
    gpu_let_next_start();
    int row = (int)gpu_block_y(), chunk = (int)gpu_block_x(), t = (int)gpu_thread();
    if (row >= *p.batch.n_outputs || p.how[row].mode == CUDA_SAMPLE_NOT)
        return;
    const struct cuda_sample_how &how = p.how[row];
    const uint32_t *mask = how.mask < 0 ? nullptr : p.masks + (int64_t)how.mask * ((p.n_vocab + 31) / 32);
    int first = chunk * CUDA_SAMPLE_CHUNK;
    GPU_UNROLL
    for (int i = 0; i < EACH; i++) {
        int id = first + i * THREADS + t;
        bool there = id < p.n_vocab && (mask == nullptr || (mask[id / 32] >> (id % 32) & 1u) != 0);
        s.v[i * THREADS + t] = there ? p.logits[(int64_t)row * p.n_vocab + id] : -INFINITY;
    }
    gpu_barrier();
    if (how.penalty != 1)
        penalise(how, first, s.v);
    gpu_barrier();
    float best = -INFINITY;
    int32_t best_id = BEST_NONE;
    GPU_UNROLL
    for (int i = 0; i < EACH; i++) {
        int id = first + i * THREADS + t;
        float v = s.v[i * THREADS + t];
        if (id < p.n_vocab)
            p.work[(int64_t)row * p.n_vocab + id] = v;
        if (v > best) { /* not for what is masked or no number */
            best = v;
            best_id = id;
        }
    }
    best_of_block<THREADS>(s.best, s.id, &best, &best_id);
    if (t == 0) {
        int64_t at = (int64_t)row * gpu_blocks_x() + chunk;
        p.best[at] = best;
        p.best_id[at] = best_id;
    }
    if (chunk == 0) { /* for the next kernel */
        p.counts[row * CUDA_SAMPLE_BINS + t] = 0;
        p.weights[row * CUDA_SAMPLE_BINS + t] = 0;
    }
}

/* ---- weights ---- */

/* e^x for -87 <= x <= 0: the same steps as in engine/sampler.c, each rounded by itself. */
GPU_INLINE float power(float x) {
    float shifted = gpu_add(gpu_mul(x, 1.44269504f), 12582912.0f), n = gpu_add(shifted, -12582912.0f);
    float r = gpu_add(gpu_add(x, -gpu_mul(n, 0.693359375f)), gpu_mul(n, 2.12194440e-4f));
    float e = gpu_add(1 / 120.0f, gpu_divide_exact(r, 720.0f));
    e = gpu_add(1 / 24.0f, gpu_mul(r, e));
    e = gpu_add(1 / 6.0f, gpu_mul(r, e));
    e = gpu_add(1 / 2.0f, gpu_mul(r, e));
    e = gpu_add(1, gpu_mul(r, e));
    e = gpu_add(1, gpu_mul(r, e));
    return gpu_bits_to_float(gpu_float_to_bits(e) + ((gpu_float_to_bits(shifted) - 0x4B400000u) << 23));
}

struct weigh_shared {
    float w[CUDA_SAMPLE_CHUNK];
    float part[CUDA_SAMPLE_CHUNK / 8];
    uint32_t count[CUDA_SAMPLE_BINS], limbs[3][CUDA_SAMPLE_BINS];
    float best[THREADS / 32];
    int32_t id[THREADS / 32];
};

/* Weights of all tokens, and their sums by 64: eight side by side, then together. */
GPU_INLINE void weigh_all(const struct cuda_sample &p, struct weigh_shared *s, int row, float inverse,
                          float top) {
    int t = (int)gpu_thread(), first = (int)gpu_block_x() * CUDA_SAMPLE_CHUNK;
    float *work = p.work + (int64_t)row * p.n_vocab;
    GPU_UNROLL
    for (int i = 0; i < EACH; i++) {
        int k = i * THREADS + t;
        float x = first + k < p.n_vocab ? gpu_add(gpu_mul(work[first + k], inverse), -top) : -INFINITY;
        float w = x > -87 ? power(x) : 0;
        s->w[k] = w;
        if (first + k < p.n_vocab)
            work[first + k] = w;
    }
    gpu_barrier();
    if (t < CUDA_SAMPLE_CHUNK / 8) {
        const float *w = s->w + t / 8 * CUDA_SAMPLE_BLOCK + t % 8;
        float sum = w[0];
        for (int i = 8; i < CUDA_SAMPLE_BLOCK; i += 8)
            sum = gpu_add(sum, w[i]);
        s->part[t] = sum;
    }
    gpu_barrier();
    int block = first / CUDA_SAMPLE_BLOCK + t,
        blocks = (p.n_vocab + CUDA_SAMPLE_BLOCK - 1) / CUDA_SAMPLE_BLOCK;
    if (t < CUDA_SAMPLE_CHUNK / CUDA_SAMPLE_BLOCK && block < blocks) {
        float sum = s->part[t * 8];
        for (int i = 1; i < 8; i++)
            sum = gpu_add(sum, s->part[t * 8 + i]);
        p.sums[(int64_t)row * blocks + block] = sum;
    }
}

/* A token's bin: eighths below the largest; the last one has all that is far below. */
GPU_INLINE int bin_of(float x, float top) {
    float d = gpu_mul(gpu_add(top, -x), 8);
    return d < CUDA_SAMPLE_BINS - 1 ? (int)d : CUDA_SAMPLE_BINS - 1;
}

/* Divides by the temperature, and counts tokens and weights of every bin. */
GPU_INLINE void weigh_bins(const struct cuda_sample &p, struct weigh_shared *s, int row, float inverse,
                           float top) {
    int t = (int)gpu_thread(), first = (int)gpu_block_x() * CUDA_SAMPLE_CHUNK;
    float *work = p.work + (int64_t)row * p.n_vocab;
    s->count[t] = s->limbs[0][t] = s->limbs[1][t] = s->limbs[2][t] = 0;
    gpu_barrier();
    GPU_UNROLL
    for (int i = 0; i < EACH; i++) {
        int id = first + i * THREADS + t;
        if (id >= p.n_vocab)
            continue;
        float logit = work[id], x = gpu_mul(logit, inverse);
        bool counts = logit > -INFINITY;
        work[id] = counts ? x : -INFINITY;
        if (!counts)
            continue;
        int bin = bin_of(x, top);
        uint64_t w = (uint64_t)(gpu_exp_double((double)x - (double)top) * UNIT);
        (void)gpu_atomic_add(&s->count[bin], 1u);
        (void)gpu_atomic_add(&s->limbs[0][bin], (uint32_t)(w & 0xFFFF));
        (void)gpu_atomic_add(&s->limbs[1][bin], (uint32_t)(w >> 16 & 0xFFFF));
        (void)gpu_atomic_add(&s->limbs[2][bin], (uint32_t)(w >> 32));
    }
    gpu_barrier();
    if (s->count[t] == 0)
        return;
    unsigned long long w = ((unsigned long long)s->limbs[2][t] << 32) +
                           ((unsigned long long)s->limbs[1][t] << 16) + s->limbs[0][t];
    (void)gpu_atomic_add(p.counts + row * CUDA_SAMPLE_BINS + t, s->count[t]);
    (void)gpu_atomic_add((unsigned long long *)p.weights + row * CUDA_SAMPLE_BINS + t, w);
}

GPU_KERNEL(THREADS) kernel_sample_weigh(const struct cuda_sample p) {
    GPU_SHARED(struct weigh_shared, s);
    gpu_wait_previous();
    gpu_let_next_start();
    int row = (int)gpu_block_y();
    if (row >= *p.batch.n_outputs || p.how[row].mode < CUDA_SAMPLE_ANY)
        return;
    float best, inverse = p.how[row].inverse;
    int32_t id;
    best_of_row(p, row, s.best, s.id, &best, &id);
    float top = gpu_mul(best, inverse);
    if (id == BEST_NONE)
        return;
    if (p.how[row].mode == CUDA_SAMPLE_ANY)
        weigh_all(p, &s, row, inverse, top);
    else
        weigh_bins(p, &s, row, inverse, top);
}

/* ---- the token ---- */

struct pick_shared {
    union {
        float sums[CUDA_SAMPLE_VOCAB / CUDA_SAMPLE_BLOCK]; /* any */
        struct {                                           /* some */
            float x[CUDA_SAMPLE_SORTED];
            int32_t id[CUDA_SAMPLE_SORTED];
            double weight[CUDA_SAMPLE_SORTED];
            uint32_t counts[CUDA_SAMPLE_BINS];
            uint64_t weights[CUDA_SAMPLE_BINS];
        } some;
    };
    float best[THREADS / 32];
    int32_t best_id[THREADS / 32];
    int32_t last;   /* bin that is sorted */
    bool below;     /* what comes behind that bin is below min-p */
    int32_t n, all; /* tokens up to it, and altogether */
    uint32_t taken; /* so far */
    double total;   /* of all weights */
};

/* As draw_any() of engine/sampler.c, by one thread over sums that lie near. */
GPU_INLINE int32_t pick_any(const struct cuda_sample &p, struct pick_shared *s, int row, int32_t best) {
    int blocks = (p.n_vocab + CUDA_SAMPLE_BLOCK - 1) / CUDA_SAMPLE_BLOCK;
    for (int i = (int)gpu_thread(); i < blocks; i += THREADS)
        s->sums[i] = p.sums[(int64_t)row * blocks + i];
    gpu_barrier();
    if (gpu_thread() != 0)
        return best;
    double sum = 0;
    for (int b = 0; b < blocks; b++)
        sum += (double)s->sums[b];
    double target = p.how[row].draw * sum;
    int b = blocks - 1;
    while (b >= 0 && target >= (double)s->sums[b])
        target -= (double)s->sums[b--];
    if (b < 0)
        return best;
    const float *weights = p.work + (int64_t)row * p.n_vocab;
    int end = (b + 1) * CUDA_SAMPLE_BLOCK < p.n_vocab ? (b + 1) * CUDA_SAMPLE_BLOCK : p.n_vocab;
    int32_t token = best;
    for (int i = end - 1; i >= b * CUDA_SAMPLE_BLOCK && target >= 0; i--) {
        target -= (double)weights[i];
        token = weights[i] > 0 ? i : token;
    }
    return token;
}

/* How many bins have every token that can be left: the first thread's work. */
GPU_INLINE void choose_bins(const struct cuda_sample_how &how, struct pick_shared *s) {
    uint64_t total = 0, weight = 0;
    uint32_t all = 0, n = 0;
    for (int i = 0; i < CUDA_SAMPLE_BINS; i++) {
        all += s->some.counts[i];
        total += s->some.weights[i];
    }
    bool few = how.top_k > 0 && (uint32_t)how.top_k < all;
    double wanted = (double)how.top_p * (double)total * (1 + 1e-9) + 1e6;
    bool below = false;
    int last = 0;
    for (; last < CUDA_SAMPLE_BINS; last++) {
        n += s->some.counts[last];
        weight += s->some.weights[last];
        bool enough = few ? n >= (uint32_t)how.top_k : how.top_p < 1 && (double)weight >= wanted;
        below = gpu_exp_double(-(last + 1) / 8.0) * (1 + 1e-5) < (double)how.min_p;
        if (enough || below || n == all)
            break;
    }
    s->last = last < CUDA_SAMPLE_BINS ? last : CUDA_SAMPLE_BINS - 1;
    s->n = (int32_t)n;
    s->all = (int32_t)all;
    s->total = (double)total / UNIT;
    s->taken = 0;
    s->below = below;
}

/* Best first; `n` is a power of two. */
GPU_INLINE void sort(struct pick_shared *s, int n) {
    for (int size = 2; size <= n; size *= 2)
        for (int step = size / 2; step > 0; step /= 2) {
            gpu_barrier();
            for (int i = (int)gpu_thread(); i < n / 2; i += THREADS) {
                int a = i / step * step * 2 + i % step, b = a + step;
                bool down = (a & size) == 0;
                float x = s->some.x[a], y = s->some.x[b];
                int32_t x_id = s->some.id[a], y_id = s->some.id[b];
                if (better(y, y_id, x, x_id) == down) {
                    s->some.x[a] = y;
                    s->some.id[a] = y_id;
                    s->some.x[b] = x;
                    s->some.id[b] = x_id;
                }
            }
        }
    gpu_barrier();
}

/* As truncate_candidates() and what follows it in engine/sampler.c; the weights are sorted. */
GPU_INLINE int32_t draw_sorted(const struct cuda_sample_how &how, const struct pick_shared *s) {
    const double *w = s->some.weight;
    int k = how.top_k > 0 && how.top_k < s->all ? how.top_k : s->all, left = 0;
    double total = 0, sum = 0;
    for (int i = 0; i < k && k < s->all; i++)
        total += w[i];
    double wanted = (double)how.top_p * (k < s->all ? total : s->total);
    while (left < k) {
        bool there = left < s->n;
        if (left > 0 &&
            ((how.top_p < 1 && sum >= wanted) || (there ? w[left] < (double)how.min_p : s->below)))
            break;
        if (!there)
            return -1; /* the bins were too few by a rounding */
        sum += w[left++];
    }
    double target = how.draw * sum;
    for (int i = 0; i < left - 1; i++) {
        target -= w[i];
        if (target < 0)
            return s->some.id[i];
    }
    return s->some.id[left - 1];
}

GPU_INLINE int32_t pick_some(const struct cuda_sample &p, struct pick_shared *s, int row, float best) {
    int t = (int)gpu_thread();
    const struct cuda_sample_how &how = p.how[row];
    float top = gpu_mul(best, how.inverse);
    s->some.counts[t] = p.counts[row * CUDA_SAMPLE_BINS + t];
    s->some.weights[t] = p.weights[row * CUDA_SAMPLE_BINS + t];
    gpu_barrier();
    if (t == 0)
        choose_bins(how, s);
    gpu_barrier();
    if (s->n > CUDA_SAMPLE_SORTED)
        return -1;
    int size = 1;
    while (size < s->n)
        size *= 2;
    for (int i = s->n + t; i < size; i += THREADS) {
        s->some.x[i] = -INFINITY;
        s->some.id[i] = BEST_NONE;
    }
    for (int i = t; i < p.n_vocab; i += THREADS) {
        float x = p.work[(int64_t)row * p.n_vocab + i];
        if (!(x > -INFINITY) || bin_of(x, top) > s->last)
            continue;
        uint32_t at = gpu_atomic_add(&s->taken, 1u);
        s->some.x[at] = x;
        s->some.id[at] = i;
    }
    sort(s, size);
    for (int i = t; i < s->n; i += THREADS)
        s->some.weight[i] = gpu_exp_double((double)s->some.x[i] - (double)top);
    gpu_barrier();
    return t == 0 ? draw_sorted(how, s) : -1;
}

GPU_KERNEL(THREADS) kernel_sample_pick(const struct cuda_sample p) {
    GPU_SHARED(struct pick_shared, s);
    gpu_wait_previous();
    gpu_let_next_start();
    int row = (int)gpu_block_x();
    if (row >= *p.batch.n_outputs)
        return;
    int mode = p.how[row].mode;
    float best = -INFINITY;
    int32_t token = -1, id;
    if (mode != CUDA_SAMPLE_NOT) {
        best_of_row(p, row, s.best, s.best_id, &best, &id);
        token = id == BEST_NONE ? 0 : id;
        if (id != BEST_NONE && mode == CUDA_SAMPLE_ANY)
            token = pick_any(p, &s, row, token);
        else if (id != BEST_NONE && mode == CUDA_SAMPLE_SOME)
            token = pick_some(p, &s, row, best);
    }
    if (gpu_thread() == 0)
        p.tokens[row] = token;
}

extern "C" int steps_sample(struct gpu_stream *s, const struct cuda_sample *p, int n_outputs) {
    const struct gpu_launch chunks = {
        s, (unsigned)steps_sample_chunks(p->n_vocab), (unsigned)n_outputs, THREADS, 0, true};
    const struct gpu_launch rows = {s, (unsigned)n_outputs, 1, THREADS, 0, true};
    int rc = GPU_LAUNCH(chunks, kernel_sample_scan, *p);
    rc = rc ? rc : GPU_LAUNCH(chunks, kernel_sample_weigh, *p);
    return rc ? rc : GPU_LAUNCH(rows, kernel_sample_pick, *p);
}
