/* What outputs that ask for log-probabilities need of the logits as the model gave them: the chosen token's,
 * the largest ones, and the sum of e^(logit - largest). The host makes the logarithm. Two kernels:
 *
 *   kernel_logprob_scan   of each chunk of 1,024 tokens the largest logits, best first, and the sum
 *   kernel_logprob_merge  of each output */
#include "kernels/cuda/best.cuh"
#include "kernels/cuda/steps.h"

#include <math.h>

#define THREADS 256
#define EACH    (CUDA_SAMPLE_CHUNK / THREADS)

struct best_shared {
    float best[THREADS / 32];
    int32_t id[THREADS / 32];
    double parts[THREADS];
};

GPU_INLINE bool asked(const struct cuda_logprob_step &p, int row) {
    return row < *p.batch.n_outputs && p.how[row].mode != CUDA_SAMPLE_NOT && p.how[row].logprobs != 0;
}

/* Lists for the output; the largest is needed in any case. */
GPU_INLINE int list_length(const struct cuda_logprob_step &p, int row) {
    return p.how[row].n_top > 0 ? p.how[row].n_top : 1;
}

GPU_KERNEL(THREADS) kernel_logprob_scan(const struct cuda_logprob_step p) {
    GPU_SHARED(struct best_shared, s);
    gpu_wait_previous();
    gpu_let_next_start();
    int row = (int)gpu_block_y(), chunk = (int)gpu_block_x(), t = (int)gpu_thread();
    if (!asked(p, row))
        return;
    int64_t at = (int64_t)row * gpu_blocks_x() + chunk;
    int n = list_length(p, row), first = chunk * CUDA_SAMPLE_CHUNK + t;
    float v[EACH], largest = -INFINITY;
    GPU_UNROLL
    for (int i = 0; i < EACH; i++) {
        int id = first + i * THREADS;
        float logit = id < p.n_vocab ? p.logits[(int64_t)row * p.n_vocab + id] : -INFINITY;
        v[i] = logit > -INFINITY ? logit : -INFINITY; /* not what is no number */
    }
    uint32_t left = (1u << EACH) - 1; /* those that are in no list yet */
    for (int k = 0; k < n; k++) {
        float best = -INFINITY;
        int32_t id = BEST_NONE;
        GPU_UNROLL
        for (int i = 0; i < EACH; i++)
            if ((left >> i & 1u) != 0 && v[i] > best) {
                best = v[i];
                id = first + i * THREADS;
            }
        best_of_block<THREADS>(s.best, s.id, &best, &id);
        if (t == 0) {
            p.top[at * CUDA_LOGPROB_TOP + k] = best;
            p.top_id[at * CUDA_LOGPROB_TOP + k] = id;
        }
        largest = k == 0 ? best : largest;
        if (id != BEST_NONE && id >= first && (id - first) % THREADS == 0)
            left &= ~(1u << (id - first) / THREADS);
        gpu_barrier();
    }
    float sum = 0;
    GPU_UNROLL
    for (int i = 0; i < EACH; i++)
        sum += v[i] > -INFINITY ? gpu_exp(v[i] - largest) : 0;
    sum = gpu_warp_sum(sum);
    if (gpu_lane() == 0)
        s.best[gpu_warp()] = sum;
    gpu_barrier();
    for (int w = 1; t == 0 && w < THREADS / 32; w++)
        sum += s.best[w];
    if (t == 0)
        p.sums[at] = sum;
}

/* A thread has a chunk. */
GPU_KERNEL(THREADS) kernel_logprob_merge(const struct cuda_logprob_step p) {
    GPU_SHARED(struct best_shared, s);
    static_assert(CUDA_SAMPLE_VOCAB / CUDA_SAMPLE_CHUNK <= THREADS, "a thread has one chunk");
    gpu_wait_previous();
    gpu_let_next_start();
    int row = (int)gpu_block_x(), t = (int)gpu_thread();
    if (!asked(p, row))
        return;
    int chunks = (p.n_vocab + CUDA_SAMPLE_CHUNK - 1) / CUDA_SAMPLE_CHUNK, n = list_length(p, row), next = 0;
    int64_t at = (int64_t)row * chunks + t;
    bool ours = t < chunks;
    float largest = -INFINITY;
    for (int k = 0; k < n; k++) {
        bool more = ours && next < n;
        float mine = more ? p.top[at * CUDA_LOGPROB_TOP + next] : -INFINITY, best = mine;
        int32_t my_id = more ? p.top_id[at * CUDA_LOGPROB_TOP + next] : BEST_NONE, id = my_id;
        best_of_block<THREADS>(s.best, s.id, &best, &id);
        next += id != BEST_NONE && id == my_id ? 1 : 0;
        largest = k == 0 ? best : largest;
        if (t == 0) {
            p.out[row].top[k] = best;
            p.out[row].top_id[k] = id == BEST_NONE ? -1 : id;
        }
        gpu_barrier();
    }
    float of_chunk = ours ? p.top[at * CUDA_LOGPROB_TOP] : -INFINITY;
    s.parts[t] = of_chunk > -INFINITY ? (double)p.sums[at] * (double)gpu_exp(of_chunk - largest) : 0;
    gpu_barrier();
    if (t != 0)
        return;
    double sum = 0;
    for (int i = 0; i < chunks; i++)
        sum += s.parts[i];
    int32_t token = p.tokens[row];
    p.out[row].sum = sum;
    p.out[row].largest = largest;
    p.out[row].chosen = token >= 0 ? p.logits[(int64_t)row * p.n_vocab + token] : -INFINITY;
}

extern "C" int steps_logprobs(struct gpu_stream *s, const struct cuda_logprob_step *p, int n_outputs) {
    const struct gpu_launch chunks = {
        s, (unsigned)steps_sample_chunks(p->n_vocab), (unsigned)n_outputs, THREADS, 0, true};
    const struct gpu_launch rows = {s, (unsigned)n_outputs, 1, THREADS, 0, true};
    int rc = GPU_LAUNCH(chunks, kernel_logprob_scan, *p);
    return rc ? rc : GPU_LAUNCH(rows, kernel_logprob_merge, *p);
}
