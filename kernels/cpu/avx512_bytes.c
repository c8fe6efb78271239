/* Products of quantised types with inputs rounded to 8 bits, with AVX-512 VNNI.
 *
 * Sixteen stored rows lie side by side in the lanes of a register. A panel holds their next 256 elements as
 * unsigned bytes, four to a lane, so that one instruction multiplies four elements of all sixteen with four
 * of an input. A panel is made once, stays in the first-level cache and meets all inputs. (Rows that lie side
 * by side in memory: avx512_packed.c.) */
#if defined(__x86_64__)
#include "kernels/cpu/avx512_tile.h"

/* n inputs with `rows` <= 16 stored rows; meanwhile the next ones are asked for. */
AVX512_INLINE void strip(enum dtype type, const struct x86_job *job, int row, int rows, int input, int n,
                         void (*make)(const uint8_t *const *, int, struct avx512_panel *, const uint8_t *)) {
    struct avx512_panel p;
    struct x86_outputs o;
    const uint8_t *at[16], *ahead = job->w + (size_t)(row + 16) * job->row_bytes;
    const char *x = job->x + (size_t)input * job->x_stride;
    for (int r = 0; r < 16; r++)
        at[r] = job->w + (size_t)(row + (r < rows ? r : rows - 1)) * job->row_bytes;
    memset(o.sums, 0, sizeof o.sums[0] * (size_t)n);
    for (int first = 0; first < job->k; first += AVX512_PANEL) {
        int groups = job->k - first < AVX512_PANEL ? (job->k - first) / 32 : 8;
        size_t bytes = x86_super_bytes(type) * (size_t)groups / 8;
        make(at, groups, &p, ahead);
        for (int r = 0; r < 16; r++)
            at[r] += bytes;
        avx512_tiles(type, &p, job, first, groups, x, n, &o, ahead + bytes * 8);
        ahead += bytes * 16;
    }
    for (int c = 0; c < n; c++)
        memcpy(job->out + (size_t)(input + c) * job->out_stride + row, o.sums[c], (size_t)rows * 4);
}

/* Inputs up to which reading the rows is what takes the time: then the first ones are asked for at once. */
#define FEW 16

AVX512_INLINE void product(enum dtype type, const struct x86_job *job, int n_rows,
                           void (*make)(const uint8_t *const *, int, struct avx512_panel *,
                                        const uint8_t *)) {
    const int most = x86_most_inputs(job, AVX512_INPUT_BYTES);
    for (size_t i = 0; i < 16 * job->row_bytes && job->n_cols <= FEW; i += 64)
        _mm_prefetch((const char *)job->w + i, _MM_HINT_T1);
    for (int c = 0; c < job->n_cols; c += most)
        for (int r = 0; r < n_rows; r += 16)
            strip(type, job, r, n_rows - r < 16 ? n_rows - r : 16, c,
                  job->n_cols - c < most ? job->n_cols - c : most, make);
}

#define PRODUCT(NAME, TYPE)                                                                                  \
    AVX512_TARGET static __attribute__((noinline)) void NAME##_panel(                                        \
        const uint8_t *const *rows, int groups, struct avx512_panel *p, const uint8_t *ahead) {              \
        avx512_panel_make(TYPE, (struct avx512_from){.rows = rows}, groups, p, ahead);                       \
    }                                                                                                        \
    AVX512_TARGET static void NAME(const struct x86_job *job, int n_rows) {                                  \
        product(TYPE, job, n_rows, NAME##_panel);                                                            \
    }

PRODUCT(product_q8_0, DTYPE_Q8_0)
PRODUCT(product_q4_0, DTYPE_Q4_0)
PRODUCT(product_q4_1, DTYPE_Q4_1)
PRODUCT(product_q5_0, DTYPE_Q5_0)
PRODUCT(product_q5_1, DTYPE_Q5_1)
PRODUCT(product_q2_k, DTYPE_Q2_K)
PRODUCT(product_q3_k, DTYPE_Q3_K)
PRODUCT(product_q4_k, DTYPE_Q4_K)
PRODUCT(product_q5_k, DTYPE_Q5_K)
PRODUCT(product_q6_k, DTYPE_Q6_K)

void avx512_product_q8(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
                       int k, float *out, size_t out_stride) {
    static void (*const by_type[DTYPE_COUNT])(const struct x86_job *, int) = {
        [DTYPE_Q8_0] = product_q8_0, [DTYPE_Q4_0] = product_q4_0, [DTYPE_Q4_1] = product_q4_1,
        [DTYPE_Q5_0] = product_q5_0, [DTYPE_Q5_1] = product_q5_1, [DTYPE_Q2_K] = product_q2_k,
        [DTYPE_Q3_K] = product_q3_k, [DTYPE_Q4_K] = product_q4_k, [DTYPE_Q5_K] = product_q5_k,
        [DTYPE_Q6_K] = product_q6_k};
    struct x86_job job = {w, convert_row_bytes(type, k), x, x_stride, n_cols, k, out, out_stride};
    by_type[type](&job, n_rows);
}
#else
typedef int avx512_bytes_is_for_x86;
#endif
