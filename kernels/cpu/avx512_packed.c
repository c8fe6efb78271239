/* Products of quantised types with inputs rounded to 8 bits, with AVX-512 VNNI, of rows that lie side by side
 * in memory.
 *
 * One to four inputs meet the rows where they lie, in one pass over memory. For more of them panels are made,
 * as they are of rows that lie by themselves (avx512_bytes.c), but without turning rows into columns. */
#if defined(__x86_64__)
#include "kernels/cpu/avx512_tile.h"

/* How early a line is asked for: the scales of a block of 256 may be its end, 3 KB from its begin. And when
 * it is asked for again, to come from the second-level cache into the first. */
#define BYTES_AHEAD 6144
#define BYTES_NEAR  3072

/* Whether there is so much to do for each line that requests pay even where the processor foresees lines. */
AVX512_INLINE bool is_slow(enum dtype type, int C) {
    return C == 1 ? type == DTYPE_Q6_K : type != DTYPE_Q8_0;
}

/* Lines of a group, which will be wanted soon: into the second-level cache, because the first has too few
 * requests under way for so many. Addresses past the end of the weights do no harm. */
AVX512_INLINE void ask(const uint8_t *at, size_t bytes, bool twice) {
    AVX512_UNROLL
    for (size_t i = 0; i < bytes; i += 64) {
        _mm_prefetch((const char *)at + i + BYTES_AHEAD, _MM_HINT_T1);
        if (twice)
            _mm_prefetch((const char *)at + i + BYTES_NEAR, _MM_HINT_T0);
    }
}

/* S strips times C inputs (x86_few_fn, x86_two_fn). */
AVX512_INLINE void direct(enum dtype type, int S, int C, const struct x86_job *job, const uint8_t *strip,
                          size_t apart, float (*sums)[PACK_ROWS]) {
    const size_t bytes = x86_super_bytes(type) * PACK_ROWS;
    const int span = avx512_span(type);
    const bool twice = !avx512_foresees(), asks = twice || is_slow(type, C);
    struct avx512_factors f[2];
    struct avx512_inputs in;
    __m512 acc[2][AVX512_INPUTS];
    AVX512_UNROLL
    for (int s = 0; s < S; s++)
        AVX512_UNROLL
    for (int c = 0; c < C; c++)
        acc[s][c] = _mm512_setzero_ps();
    for (int first = 0; first < job->k; first += AVX512_PANEL, strip += bytes) {
        const int groups = job->k - first < AVX512_PANEL ? (job->k - first) / 32 : 8;
        struct avx512_sixteen w[2];
        AVX512_UNROLL
        for (int s = 0; s < S; s++) {
            const struct avx512_from from = avx512_group_at(type, strip + (size_t)s * apart, groups);
            w[s] = (struct avx512_sixteen){.rest = from.rest, .factors = &f[s]};
            avx512_factors_of(type, from, groups, &f[s]);
        }
        avx512_inputs_at(type, C, job->x, job->x_stride, job->k, first, groups, &in);
        for (int i = 0; i < groups / span; i++) {
            AVX512_UNROLL
            for (int sub = 0; sub < span; sub++) {
                const int g = i * span + sub;
                AVX512_UNROLL
                for (int s = 0; s < S; s++) {
                    if (asks)
                        ask(strip + (size_t)s * apart + bytes / 8 * (size_t)g, bytes / 8, twice);
                    avx512_group_all(type, C, &w[s], (struct avx512_group){g, i, sub}, &in, acc[s]);
                }
            }
        }
    }
    AVX512_UNROLL
    for (int s = 0; s < S; s++)
        AVX512_UNROLL
    for (int c = 0; c < C; c++)
        _mm512_store_ps(sums[s * C + c], acc[s][c]);
}

/* A strip times n inputs, by way of panels. */
AVX512_INLINE void by_panels(enum dtype type, const struct x86_job *job, const uint8_t *strip, const char *x,
                             int n, struct x86_outputs *o,
                             void (*make)(const uint8_t *, int, struct avx512_panel *, const uint8_t *)) {
    struct avx512_panel p;
    memset(o->sums, 0, sizeof o->sums[0] * (size_t)n);
    for (int first = 0; first < job->k; first += AVX512_PANEL) {
        int groups = job->k - first < AVX512_PANEL ? (job->k - first) / 32 : 8;
        size_t bytes = x86_super_bytes(type) * (size_t)groups / 8 * PACK_ROWS;
        const uint8_t *ahead = strip + (size_t)PACK_ROWS * job->row_bytes;
        make(strip, groups, &p, ahead);
        avx512_tiles(type, &p, job, first, groups, x, n, o, ahead + bytes / 2);
        strip += bytes;
    }
}

/* Functions of their own, because together they would need more registers than there are. */
#define DIRECT(NAME, TYPE, C)                                                                                \
    AVX512_TARGET static __attribute__((noinline)) void NAME##_##C(                                          \
        const struct x86_job *job, const uint8_t *strip, float(*sums)[PACK_ROWS]) {                          \
        direct(TYPE, 1, C, job, strip, 0, sums);                                                             \
    }
#define DIRECT_TWO(NAME, TYPE, C)                                                                            \
    AVX512_TARGET static __attribute__((noinline)) void NAME##_two_##C(                                      \
        const struct x86_job *job, const uint8_t *strip, size_t apart, float(*sums)[PACK_ROWS]) {            \
        direct(TYPE, 2, C, job, strip, apart, sums);                                                         \
    }
/* …: by number of inputs, what there is for two strips at a time. */
#define PRODUCT(NAME, TYPE, ...)                                                                             \
    DIRECT(NAME, TYPE, 1)                                                                                    \
    DIRECT(NAME, TYPE, 2)                                                                                    \
    DIRECT(NAME, TYPE, 3)                                                                                    \
    DIRECT(NAME, TYPE, 4)                                                                                    \
    AVX512_TARGET static __attribute__((noinline)) void NAME##_panel(                                        \
        const uint8_t *strip, int groups, struct avx512_panel *p, const uint8_t *ahead) {                    \
        avx512_panel_make(TYPE, avx512_group_at(TYPE, strip, groups), groups, p, ahead);                     \
    }                                                                                                        \
    AVX512_TARGET static __attribute__((noinline)) void NAME##_many(                                         \
        const struct x86_job *job, const uint8_t *strip, const char *x, int n, struct x86_outputs *o) {      \
        by_panels(TYPE, job, strip, x, n, o, NAME##_panel);                                                  \
    }                                                                                                        \
    static void NAME(const struct x86_part *p) {                                                             \
        static x86_few_fn *const few[X86_FEW + 1] = {NULL, NAME##_1, NAME##_2, NAME##_3, NAME##_4};          \
        static x86_two_fn *const two[X86_FEW + 1] = {__VA_ARGS__};                                           \
        if (p->job->n_cols <= X86_FEW)                                                                       \
            x86_few(p, two[p->job->n_cols], few[p->job->n_cols]);                                            \
        else                                                                                                 \
            x86_many(p, x86_most_inputs(p->job, AVX512_INPUT_BYTES), NAME##_many);                           \
    }

/* Three and four long inputs fill the first-level cache, and come again with each strip. Of other types,
 * which have more to do for each line, two strips at a time are slower. */
DIRECT_TWO(packed_q8_0, DTYPE_Q8_0, 3)
DIRECT_TWO(packed_q8_0, DTYPE_Q8_0, 4)
PRODUCT(packed_q8_0, DTYPE_Q8_0, [3] = packed_q8_0_two_3, [4] = packed_q8_0_two_4)
PRODUCT(packed_q4_0, DTYPE_Q4_0, NULL)
PRODUCT(packed_q4_1, DTYPE_Q4_1, NULL)
PRODUCT(packed_q5_0, DTYPE_Q5_0, NULL)
PRODUCT(packed_q5_1, DTYPE_Q5_1, NULL)
PRODUCT(packed_q2_k, DTYPE_Q2_K, NULL)
PRODUCT(packed_q3_k, DTYPE_Q3_K, NULL)
PRODUCT(packed_q4_k, DTYPE_Q4_K, NULL)
PRODUCT(packed_q5_k, DTYPE_Q5_K, NULL)
PRODUCT(packed_q6_k, DTYPE_Q6_K, NULL)

void avx512_packed_q8(enum dtype type, const void *w, int first, int n_rows, const void *x, size_t x_stride,
                      int n_cols, int k, float *out, size_t out_stride) {
    static void (*const by_type[DTYPE_COUNT])(const struct x86_part *) = {
        [DTYPE_Q8_0] = packed_q8_0, [DTYPE_Q4_0] = packed_q4_0, [DTYPE_Q4_1] = packed_q4_1,
        [DTYPE_Q5_0] = packed_q5_0, [DTYPE_Q5_1] = packed_q5_1, [DTYPE_Q2_K] = packed_q2_k,
        [DTYPE_Q3_K] = packed_q3_k, [DTYPE_Q4_K] = packed_q4_k, [DTYPE_Q5_K] = packed_q5_k,
        [DTYPE_Q6_K] = packed_q6_k};
    struct x86_job job = {w, convert_row_bytes(type, k), x, x_stride, n_cols, k, out, out_stride};
    by_type[type](&(struct x86_part){&job, first, n_rows});
}
#else
typedef int avx512_packed_is_for_x86;
#endif
