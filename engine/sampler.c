#include "engine/sampler.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define LANES 8  /* numbers that are worked on side by side */
#define BLOCK 64 /* tokens that are summed up together */

static bool within(float value, float low, float high) {
    return value >= low && value <= high; /* false for NaN */
}

int sampler_init(struct sampler *s, const struct engine_sampling *how, char *err, size_t errlen) {
    struct engine_sampling h = *how;
    if (h.top_p == 0)
        h.top_p = 1;
    if (h.repeat_penalty == 0)
        h.repeat_penalty = 1;
    if (!within(h.temperature, 0, 100))
        return err_set(err, errlen, -EINVAL, "The temperature must be 0 to 100, not %g.",
                       (double)h.temperature);
    if (h.top_k < 0)
        return err_set(err, errlen, -EINVAL, "top_k must be 0 (off) or positive, not %d.", h.top_k);
    if (!within(h.top_p, 0, 1))
        return err_set(err, errlen, -EINVAL, "top_p must be above 0 and at most 1, not %g.", (double)h.top_p);
    if (!within(h.min_p, 0, 1))
        return err_set(err, errlen, -EINVAL, "min_p must be 0 to 1, not %g.", (double)h.min_p);
    if (!within(h.repeat_penalty, 0, 10))
        return err_set(err, errlen, -EINVAL, "The repeat penalty must be above 0 and at most 10, not %g.",
                       (double)h.repeat_penalty);
    *s = (struct sampler){.how = h, .random = h.seed};
    return 0;
}

/* Uniform in [0, 1). */
static double draw(struct sampler *s) {
    uint64_t z = (s->random += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static void penalise(float *logits, int n_vocab, const int32_t *recent, int n_recent, float penalty) {
    for (int i = 0; i < n_recent; i++) {
        bool seen = recent[i] < 0 || recent[i] >= n_vocab;
        for (int j = 0; j < i && !seen; j++)
            seen = recent[j] == recent[i];
        if (seen)
            continue;
        float *l = &logits[recent[i]];
        *l = *l > 0 ? *l / penalty : *l * penalty;
    }
}

void sampler_mask(float *logits, int n_vocab, const uint32_t *mask) {
    for (int32_t from = 0; from < n_vocab; from += 32) {
        uint32_t bits = mask[from / 32];
        int32_t to = n_vocab - from < 32 ? n_vocab : from + 32;
        for (int32_t i = from; bits != UINT32_MAX && i < to; i++)
            if ((bits >> (i - from) & 1) == 0)
                logits[i] = -INFINITY;
    }
}

/* The first of the largest; 0 where nothing is a number. */
static int32_t largest(const float *logits, int n_vocab) {
    float top[LANES];
    for (int k = 0; k < LANES; k++)
        top[k] = -INFINITY;
    int32_t whole = n_vocab - n_vocab % LANES;
    for (int32_t i = 0; i < whole; i += LANES)
        for (int k = 0; k < LANES; k++)
            top[k] = logits[i + k] > top[k] ? logits[i + k] : top[k];
    for (int32_t i = whole; i < n_vocab; i++)
        top[0] = logits[i] > top[0] ? logits[i] : top[0];
    for (int k = 1; k < LANES; k++)
        top[0] = top[k] > top[0] ? top[k] : top[0];
    for (int32_t i = 0; i < n_vocab; i++)
        if (logits[i] == top[0])
            return i;
    return 0;
}

/* ---- the whole vocabulary: no top-k, top-p, min-p ---- */

/* e^x for -87 <= x <= 0, to about 2e-7 of it: 2^n * e^r with r within half of ln 2, e^r by its Taylor series;
 * n by adding 1.5 * 2^23, which leaves it in the low bits. No branches, so that a compiler does many at once.
 */
static inline float power(float x) {
    union {
        float number;
        uint32_t bits;
    } e, shifted;
    shifted.number = x * 1.44269504f + 12582912.0f;
    float n = shifted.number - 12582912.0f;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts (Cody and Waite) */
    e.number =
        1 + r * (1 + r * (1 / 2.0f + r * (1 / 6.0f + r * (1 / 24.0f + r * (1 / 120.0f + r / 720.0f)))));
    e.bits += (shifted.bits - 0x4B400000u) << 23;
    return e.number;
}

/* Makes weights of the logits of one block, 0 of those that are masked, far below the largest or no numbers;
 * returns their sum. */
static float weigh(float *logits, int n, float inverse, float top) {
    float x[BLOCK], sums[LANES] = {0};
    for (int i = 0; i < BLOCK; i++)
        x[i] = i < n ? logits[i] * inverse - top : -INFINITY;
    uint32_t counts[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        counts[i] = x[i] > -87 ? UINT32_MAX : 0;
    for (int i = 0; i < BLOCK; i++)
        x[i] = x[i] > -87 ? x[i] : -87;
    for (int i = 0; i < BLOCK; i++)
        x[i] = power(x[i]);
    for (int i = 0; i < BLOCK; i++) {
        union {
            float number;
            uint32_t bits;
        } w = {.number = x[i]};
        w.bits &= counts[i];
        x[i] = w.number;
    }
    for (int i = 0; i < BLOCK; i += LANES)
        for (int k = 0; k < LANES; k++)
            sums[k] += x[i + k];
    for (int k = 1; k < LANES; k++)
        sums[0] += sums[k];
    memcpy(logits, x, (size_t)n * sizeof *x);
    return sums[0];
}

/* Draws among all that are not masked. The weights are looked at again in one block only, so that a large
 * vocabulary costs one power for each token. */
static int32_t draw_any(struct sampler *s, float *logits, int n_vocab, int32_t best,
                        struct sampler_candidate *scratch) {
    float inverse = 1 / s->how.temperature, top = logits[best] * inverse;
    int n_blocks = (n_vocab + BLOCK - 1) / BLOCK;
    double sum = 0;
    for (int b = 0; b < n_blocks; b++) {
        int from = b * BLOCK, n = n_vocab - from < BLOCK ? n_vocab - from : BLOCK;
        scratch[b].logit = weigh(logits + from, n, inverse, top);
        sum += (double)scratch[b].logit;
    }
    double target = draw(s) * sum;
    int b = n_blocks - 1;
    while (b >= 0 && target >= (double)scratch[b].logit)
        target -= (double)scratch[b--].logit;
    if (b < 0)
        return best; /* nothing is a number */
    int32_t token = best, end = (b + 1) * BLOCK < n_vocab ? (b + 1) * BLOCK : n_vocab;
    for (int32_t i = end - 1; i >= b * BLOCK && target >= 0; i--) {
        target -= (double)logits[i];
        token = logits[i] > 0 ? i : token;
    }
    return token;
}

/* ---- some of it ---- */

static bool before(const struct sampler_candidate *a, const struct sampler_candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void sift_down(struct sampler_candidate *heap, int n, int i) {
    struct sampler_candidate moving = heap[i];
    for (;;) {
        int child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &moving))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

/* Moves the best candidate of heap[0 … n-1] to heap[n-1]. */
static void pop(struct sampler_candidate *heap, int n) {
    struct sampler_candidate best = heap[0];
    heap[0] = heap[n - 1];
    sift_down(heap, n - 1, 0);
    heap[n - 1] = best;
}

static double weight(const struct sampler_candidate *c, float top) {
    return exp((double)c->logit - (double)top);
}

/* Pops the candidates that top-k, top-p and min-p leave, best first from the end of `heap`; returns their
 * number and the sum of their weights. */
static int truncate_candidates(const struct engine_sampling *how, struct sampler_candidate *heap, int n,
                               float top, double *sum) {
    int k = how->top_k > 0 && how->top_k < n ? how->top_k : n;
    double total = 0;
    int kept = 0;
    if (k < n) {
        for (; kept < k; kept++) {
            pop(heap, n - kept);
            total += weight(&heap[n - kept - 1], top);
        }
    } else {
        for (int i = 0; i < n; i++)
            total += weight(&heap[i], top);
    }
    double wanted = (double)how->top_p * total;
    *sum = 0;
    int left = 0;
    while (left < k) {
        if (left >= kept)
            pop(heap, n - left);
        double w = weight(&heap[n - left - 1], top);
        if (left > 0 && ((how->top_p < 1 && *sum >= wanted) || w < (double)how->min_p))
            break;
        *sum += w;
        left++;
    }
    return left;
}

int32_t sampler_next(struct sampler *s, float *logits, int n_vocab, const int32_t *recent, int n_recent,
                     struct sampler_candidate *scratch) {
    const struct engine_sampling *how = &s->how;
    if (how->repeat_penalty != 1) {
        int n = n_recent < SAMPLER_PENALTY_TOKENS ? n_recent : SAMPLER_PENALTY_TOKENS;
        penalise(logits, n_vocab, recent + (n_recent - n), n, how->repeat_penalty);
    }
    int32_t best = largest(logits, n_vocab);
    if (how->temperature <= 0 || how->top_k == 1)
        return best;
    if (how->top_k == 0 && how->top_p >= 1 && how->min_p <= 0)
        return draw_any(s, logits, n_vocab, best, scratch);
    float inverse = 1 / how->temperature;
    int n = 0;
    for (int32_t i = 0; i < n_vocab; i++)
        if (logits[i] > -INFINITY) /* not masked */
            scratch[n++] = (struct sampler_candidate){.logit = logits[i] * inverse, .id = i};
    if (n == 0)
        return best;
    float top = logits[best] * inverse;
    double sum = 0;
    for (int i = n / 2 - 1; i >= 0; i--)
        sift_down(scratch, n, i);
    int first = n - truncate_candidates(how, scratch, n, top, &sum);
    double target = draw(s) * sum;
    for (int i = n - 1; i > first; i--) {
        target -= weight(&scratch[i], top);
        if (target < 0)
            return scratch[i].id;
    }
    return scratch[first].id;
}

/* ---- by a device ---- */

void sampler_describe(const struct sampler *s, const int32_t *recent, int n_recent, const uint32_t *mask,
                      struct kernels_sample *out) {
    struct sampler ahead = *s;
    int n = n_recent < SAMPLER_PENALTY_TOKENS ? n_recent : SAMPLER_PENALTY_TOKENS;
    *out = (struct kernels_sample){.wanted = true,
                                   .temperature = s->how.temperature,
                                   .top_p = s->how.top_p,
                                   .min_p = s->how.min_p,
                                   .repeat_penalty = s->how.repeat_penalty,
                                   .top_k = s->how.top_k,
                                   .draw = draw(&ahead),
                                   .mask = mask,
                                   .recent = n > 0 ? recent + (n_recent - n) : NULL,
                                   .n_recent = n};
}

void sampler_chosen(struct sampler *s) {
    if (s->how.temperature > 0 && s->how.top_k != 1)
        (void)draw(s);
}

bool sampler_is_at(const struct sampler *s, const struct kernels_sample *described) {
    struct sampler ahead = *s;
    return draw(&ahead) == described->draw;
}
