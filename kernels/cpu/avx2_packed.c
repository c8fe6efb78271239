/* Products of quantised types with inputs rounded to 8 bits, with AVX2, of rows that lie side by side in
 * memory.
 *
 * One to four inputs meet the rows where they lie, in one pass over memory. For more of them panels are made,
 * as they are of rows that lie by themselves (avx2_bytes.c), but without turning rows into columns. */
#if defined(__x86_64__)
#include "kernels/cpu/avx2_tile.h"
#include "kernels/cpu/convert.h"

/* How early a line is asked for. */
#define BYTES_AHEAD 4096

/* Lines of a span, which will be wanted soon. Addresses past the end of the weights do no harm. */
AVX2_INLINE void ask(const uint8_t *at, size_t bytes) {
    AVX2_UNROLL
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)at + i + BYTES_AHEAD, _MM_HINT_T0);
}

/* S strips times C inputs (x86_few_fn, x86_two_fn). Of types whose elements are put together from two or
 * three places one strip, and no more than two inputs: panels put them together once. */
AVX2_INLINE void direct(enum dtype type, int S, int C, const struct x86_job *job, const uint8_t *strip,
                        size_t apart, float (*sums)[PACK_ROWS]) {
    const size_t bytes = x86_super_bytes(type) * PACK_ROWS;
    struct avx2_factors f[2][2];
    struct avx2_inputs in;
    struct avx2_acc acc[2];
    AVX2_UNROLL
    for (int s = 0; s < S; s++)
        AVX2_UNROLL
    for (int c = 0; c < C; c++)
        acc[s].all[0][c] = acc[s].all[1][c] = _mm256_setzero_ps();
    for (int first = 0; first < job->k; first += AVX2_PANEL, strip += bytes) {
        const int groups = job->k - first < AVX2_PANEL ? (job->k - first) / 32 : 8, span = avx2_span(type);
        struct avx2_sixteen w[2];
        AVX2_UNROLL
        for (int s = 0; s < S; s++) {
            const uint8_t *at = strip + (size_t)s * apart;
            w[s] = (struct avx2_sixteen){
                .from = {avx2_group_at(type, at, 0, groups), avx2_group_at(type, at, 1, groups)},
                .factors = {&f[s][0], &f[s][1]}};
            avx2_factors(type, w[s].from[0], groups, &f[s][0]);
            avx2_factors(type, w[s].from[1], groups, &f[s][1]);
            avx2_begin_block(type, C, &acc[s]);
        }
        avx2_inputs_at(type, C, job->x, job->x_stride, job->k, first, groups, false, &in);
        for (int i = 0; i < groups / span; i++) {
            AVX2_UNROLL
            for (int s = 0; s < S; s++) {
                ask(strip + (size_t)s * apart + bytes / 8 * (size_t)(i * span), bytes / 8 * (size_t)span);
                AVX2_UNROLL
                for (int sub = 0; sub < span; sub++)
                    avx2_group_of(type, C, &w[s], (struct avx2_group){i * span + sub, i, sub}, &in, &acc[s]);
            }
        }
        AVX2_UNROLL
        for (int s = 0; s < S; s++)
            avx2_end_block(type, C, &w[s], &in, &acc[s]);
    }
    AVX2_UNROLL
    for (int s = 0; s < S; s++)
        avx2_store_sums(C, sums + s * C, acc[s].all);
}

/* A strip times n inputs, by way of panels. */
AVX2_INLINE void by_panels(enum dtype type, const struct x86_job *job, const uint8_t *strip, const char *x,
                           int n, struct x86_outputs *o,
                           void (*make)(const uint8_t *, int, struct avx2_panel *, const uint8_t *)) {
    struct avx2_panel p[2];
    memset(o->sums, 0, sizeof o->sums[0] * (size_t)n);
    for (int first = 0; first < job->k; first += AVX2_PANEL) {
        int groups = job->k - first < AVX2_PANEL ? (job->k - first) / 32 : 8;
        size_t bytes = x86_super_bytes(type) * (size_t)groups / 8 * PACK_ROWS;
        /* Two blocks ahead, as making the first panel passes over all bytes of a block at once. Not a whole
         * strip: strips lie one behind the other, and a part may have but two. */
        const uint8_t *ahead = strip + 2 * bytes;
        make(strip, groups, p, ahead);
        avx2_tiles(type, p, job, first, groups, x, n, o, ahead + bytes / 2);
        strip += bytes;
    }
}

/* Functions of their own, because together they would need more registers than there are. */
#define DIRECT(NAME, TYPE, C)                                                                                \
    AVX2_TARGET static __attribute__((noinline)) void NAME##_##C(                                            \
        const struct x86_job *job, const uint8_t *strip, float(*sums)[PACK_ROWS]) {                          \
        direct(TYPE, 1, C, job, strip, 0, sums);                                                             \
    }
#define DIRECT_TWO(NAME, TYPE)                                                                               \
    AVX2_TARGET static __attribute__((noinline)) void NAME##_two(                                            \
        const struct x86_job *job, const uint8_t *strip, size_t apart, float(*sums)[PACK_ROWS]) {            \
        direct(TYPE, 2, 1, job, strip, apart, sums);                                                         \
    }
/* TWO: two strips with one input; then what there is for three and four inputs with one strip. */
#define PRODUCT(NAME, TYPE, TWO, ...)                                                                        \
    DIRECT(NAME, TYPE, 1)                                                                                    \
    DIRECT(NAME, TYPE, 2)                                                                                    \
    AVX2_TARGET static __attribute__((noinline)) void NAME##_panels(                                         \
        const uint8_t *strip, int groups, struct avx2_panel *p, const uint8_t *ahead) {                      \
        size_t half = x86_super_bytes(TYPE) * (size_t)groups / 8 * PACK_ROWS / 4;                            \
        avx2_panel_make(TYPE, avx2_group_at(TYPE, strip, 0, groups), groups, &p[0], ahead);                  \
        avx2_panel_make(TYPE, avx2_group_at(TYPE, strip, 1, groups), groups, &p[1], ahead + half);           \
    }                                                                                                        \
    AVX2_TARGET static __attribute__((noinline)) void NAME##_many(                                           \
        const struct x86_job *job, const uint8_t *strip, const char *x, int n, struct x86_outputs *o) {      \
        by_panels(TYPE, job, strip, x, n, o, NAME##_panels);                                                 \
    }                                                                                                        \
    static void NAME(const struct x86_part *p) {                                                             \
        static x86_two_fn *const two = TWO;                                                                  \
        static x86_few_fn *const one[X86_FEW + 1] = {NULL, NAME##_1, NAME##_2, __VA_ARGS__};                 \
        int n = p->job->n_cols;                                                                              \
        if (n <= X86_FEW && one[n] != NULL)                                                                  \
            x86_few(p, n == 1 ? two : NULL, one[n]);                                                         \
        else                                                                                                 \
            x86_many(p, x86_most_inputs(p->job, AVX2_INPUT_BYTES), NAME##_many);                             \
    }
/* Of types whose elements come from one place. */
#define PRODUCT4(NAME, TYPE)                                                                                 \
    DIRECT_TWO(NAME, TYPE)                                                                                   \
    DIRECT(NAME, TYPE, 3)                                                                                    \
    DIRECT(NAME, TYPE, 4)                                                                                    \
    PRODUCT(NAME, TYPE, NAME##_two, NAME##_3, NAME##_4)

PRODUCT4(packed_q8_0, DTYPE_Q8_0)
PRODUCT4(packed_q4_0, DTYPE_Q4_0)
PRODUCT4(packed_q4_1, DTYPE_Q4_1)
PRODUCT(packed_q5_0, DTYPE_Q5_0, NULL, NULL)
PRODUCT(packed_q5_1, DTYPE_Q5_1, NULL, NULL)
PRODUCT(packed_q2_k, DTYPE_Q2_K, NULL, NULL)
PRODUCT(packed_q3_k, DTYPE_Q3_K, NULL, NULL)
PRODUCT4(packed_q4_k, DTYPE_Q4_K)
PRODUCT(packed_q5_k, DTYPE_Q5_K, NULL, NULL)
PRODUCT(packed_q6_k, DTYPE_Q6_K, NULL, NULL)

void avx2_packed_q8(enum dtype type, const void *w, int first, int n_rows, const void *x, size_t x_stride,
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
typedef int avx2_packed_is_for_x86;
#endif
