/* Products of quantised types with inputs rounded to 8 bits, with AVX2, of rows that lie side by side in
 * memory.
 *
 * One to four inputs meet the rows where they lie, in one pass over memory. For more of them panels are made,
 * as they are of rows that lie by themselves (avx2_bytes.c), but without turning rows into columns. */
#if defined(__x86_64__)
#include "kernels/cpu/avx2_tile.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/pack.h"

/* Inputs that meet the rows where they lie, at most. Of types whose elements are put together from two or
 * three places two do: panels put them together once. */
#define FEW 4

/* How early a line is asked for. */
#define BYTES_AHEAD 4096

/* Lines of a span, which will be wanted soon. Addresses past the end of the weights do no harm. */
AVX2_INLINE void ask(const uint8_t *at, size_t bytes) {
    AVX2_UNROLL
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)at + i + BYTES_AHEAD, _MM_HINT_T0);
}

/* A strip times C inputs. */
AVX2_INLINE void direct(enum dtype type, int C, const struct x86_job *job, const uint8_t *strip,
                        const char *x, float (*sums)[PACK_ROWS]) {
    const size_t bytes = x86_super_bytes(type) * PACK_ROWS;
    struct avx2_factors f[2];
    struct avx2_inputs in;
    __m256 acc[2][4];
    AVX2_UNROLL
    for (int c = 0; c < C; c++)
        acc[0][c] = acc[1][c] = _mm256_setzero_ps();
    for (int first = 0; first < job->k; first += AVX2_PANEL, strip += bytes) {
        const int groups = job->k - first < AVX2_PANEL ? (job->k - first) / 32 : 8, span = avx2_span(type);
        const struct avx2_sixteen w = {.from = {{.strip = strip}, {.strip = strip, .half = 1}},
                                       .factors = {&f[0], &f[1]}};
        avx2_factors(type, w.from[0], groups, &f[0]);
        avx2_factors(type, w.from[1], groups, &f[1]);
        avx2_inputs_at(type, C, x, job->x_stride, job->k, first, groups, &in);
        for (int i = 0; i < groups / span; i++) {
            ask(strip + bytes / 8 * (size_t)(i * span), bytes / 8 * (size_t)span);
            AVX2_UNROLL
            for (int sub = 0; sub < span; sub++)
                avx2_group_of(type, C, &w, (struct avx2_group){i * span + sub, i, sub}, &in, acc);
        }
    }
    avx2_store_sums(C, sums, acc);
}

/* A strip times n inputs, by way of panels. */
AVX2_INLINE void by_panels(enum dtype type, const struct x86_job *job, const uint8_t *strip, const char *x,
                           int n, struct avx2_outputs *o,
                           void (*make)(const uint8_t *, int, struct avx2_panel *, const uint8_t *)) {
    struct avx2_panel p[2];
    memset(o->sums, 0, sizeof o->sums[0] * (size_t)n);
    for (int first = 0; first < job->k; first += AVX2_PANEL) {
        int groups = job->k - first < AVX2_PANEL ? (job->k - first) / 32 : 8;
        size_t bytes = x86_super_bytes(type) * (size_t)groups / 8 * PACK_ROWS;
        const uint8_t *ahead = strip + (size_t)PACK_ROWS * job->row_bytes;
        make(strip, groups, p, ahead);
        avx2_tiles(type, p, job, first, groups, x, n, o, ahead + bytes / 2);
        strip += bytes;
    }
}

/* sums = those of a strip with all inputs, which are few; of n inputs from x on. */
typedef void few_fn(const struct x86_job *job, const uint8_t *strip, float (*sums)[PACK_ROWS]);
typedef void many_fn(const struct x86_job *job, const uint8_t *strip, const char *x, int n,
                     struct avx2_outputs *sums);

/* Rows `first` … of the matrix, `rows` of them. few[C]: of C inputs; NULL: they go by way of panels. */
static void product(const struct x86_job *job, int first, int rows, few_fn *const few[FEW + 1],
                    many_fn *many) {
    few_fn *all = job->n_cols <= FEW ? few[job->n_cols] : NULL;
    const int most = all != NULL ? FEW : avx2_most_inputs(job), begin = first / PACK_ROWS * PACK_ROWS;
    struct avx2_outputs o;
    for (int input = 0; input < job->n_cols; input += most)
        for (int row = begin; row < first + rows; row += PACK_ROWS) {
            const uint8_t *strip = job->w + (size_t)row * job->row_bytes;
            int n = job->n_cols - input < most ? job->n_cols - input : most;
            int from = row < first ? first - row : 0;
            int to = first + rows - row < PACK_ROWS ? first + rows - row : PACK_ROWS;
            if (all != NULL)
                all(job, strip, o.sums);
            else
                many(job, strip, job->x + (size_t)input * job->x_stride, n, &o);
            for (int c = 0; c < n; c++)
                memcpy(job->out + (size_t)(input + c) * job->out_stride + (row + from - first),
                       o.sums[c] + from, (size_t)(to - from) * sizeof(float));
        }
}

/* Functions of their own, because together they would need more registers than there are. */
#define DIRECT(NAME, TYPE, C)                                                                                \
    AVX2_TARGET static __attribute__((noinline)) void NAME##_##C(                                            \
        const struct x86_job *job, const uint8_t *strip, float(*sums)[PACK_ROWS]) {                          \
        direct(TYPE, C, job, strip, job->x, sums);                                                           \
    }
#define PRODUCT(NAME, TYPE, ...)                                                                             \
    DIRECT(NAME, TYPE, 1)                                                                                    \
    DIRECT(NAME, TYPE, 2)                                                                                    \
    AVX2_TARGET static __attribute__((noinline)) void NAME##_panels(                                         \
        const uint8_t *strip, int groups, struct avx2_panel *p, const uint8_t *ahead) {                      \
        size_t half = x86_super_bytes(TYPE) * (size_t)groups / 8 * PACK_ROWS / 4;                            \
        avx2_panel_make(TYPE, (struct avx2_from){.strip = strip}, groups, &p[0], ahead);                     \
        avx2_panel_make(TYPE, (struct avx2_from){.strip = strip, .half = 1}, groups, &p[1], ahead + half);   \
    }                                                                                                        \
    AVX2_TARGET static __attribute__((noinline)) void NAME##_many(                                           \
        const struct x86_job *job, const uint8_t *strip, const char *x, int n, struct avx2_outputs *o) {     \
        by_panels(TYPE, job, strip, x, n, o, NAME##_panels);                                                 \
    }                                                                                                        \
    static void NAME(const struct x86_job *job, int first, int rows) {                                       \
        static few_fn *const of[FEW + 1] = {NULL, NAME##_1, NAME##_2, __VA_ARGS__};                          \
        product(job, first, rows, of, NAME##_many);                                                          \
    }
/* Of types whose elements come from one place. */
#define PRODUCT4(NAME, TYPE)                                                                                 \
    DIRECT(NAME, TYPE, 3)                                                                                    \
    DIRECT(NAME, TYPE, 4)                                                                                    \
    PRODUCT(NAME, TYPE, NAME##_3, NAME##_4)

PRODUCT4(packed_q8_0, DTYPE_Q8_0)
PRODUCT4(packed_q4_0, DTYPE_Q4_0)
PRODUCT4(packed_q4_1, DTYPE_Q4_1)
PRODUCT(packed_q5_0, DTYPE_Q5_0, NULL)
PRODUCT(packed_q5_1, DTYPE_Q5_1, NULL)
PRODUCT(packed_q2_k, DTYPE_Q2_K, NULL)
PRODUCT(packed_q3_k, DTYPE_Q3_K, NULL)
PRODUCT4(packed_q4_k, DTYPE_Q4_K)
PRODUCT(packed_q5_k, DTYPE_Q5_K, NULL)
PRODUCT(packed_q6_k, DTYPE_Q6_K, NULL)

void avx2_packed_q8(enum dtype type, const void *w, int first, int n_rows, const void *x, size_t x_stride,
                    int n_cols, int k, float *out, size_t out_stride) {
    static void (*const by_type[DTYPE_COUNT])(const struct x86_job *, int, int) = {
        [DTYPE_Q8_0] = packed_q8_0, [DTYPE_Q4_0] = packed_q4_0, [DTYPE_Q4_1] = packed_q4_1,
        [DTYPE_Q5_0] = packed_q5_0, [DTYPE_Q5_1] = packed_q5_1, [DTYPE_Q2_K] = packed_q2_k,
        [DTYPE_Q3_K] = packed_q3_k, [DTYPE_Q4_K] = packed_q4_k, [DTYPE_Q5_K] = packed_q5_k,
        [DTYPE_Q6_K] = packed_q6_k};
    struct x86_job job = {w, convert_row_bytes(type, k), x, x_stride, n_cols, k, out, out_stride};
    by_type[type](&job, first, n_rows);
}
#else
typedef int avx2_packed_is_for_x86;
#endif
