/* Products of quantised types with inputs rounded to 8 bits, with AVX2.
 *
 * Eight stored rows lie side by side in the lanes of a register. A panel holds their next 256 elements as
 * bytes, four to a lane, so that one instruction multiplies four elements of all eight with four of an input,
 * which a load has put into every lane. Two panels stand beside each other, because loads are what would run
 * short with one; they are made once, stay in the first-level cache and meet all inputs.
 *
 * Every lane is one output with one chain of additions in F32, a group of 32 elements each, in ascending
 * order; sums within a group are exact integers. So an output is the same bits whatever rows and inputs stand
 * beside it. */
#if defined(__x86_64__)
#include "kernels/cpu/avx2_panel.h"
#include "kernels/cpu/convert.h"

/* Inputs that are taken together: so many that they stay in the second-level cache while all rows pass, but
 * no more than MOST_INPUTS. */
#define INPUT_BYTES (256 << 10)
#define MOST_INPUTS 96

/* Sums so far of sixteen rows. Outputs themselves lie far apart, and often in few sets of a cache. */
struct outputs {
    _Alignas(32) float sums[MOST_INPUTS][16];
};

/* The next elements of 8 rows: up to 8 groups of 32. */
AVX2_INLINE void panel_make(enum dtype type, const uint8_t *const rows[8], int groups, struct avx2_panel *p,
                            const uint8_t *ahead) {
    switch (type) {
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        avx2_factors_k4(rows, p);
        avx2_q4_q5_k(type, rows, p, ahead);
        break;
    case DTYPE_Q6_K:
        avx2_factors_by_16(type, rows, p);
        avx2_q6_k(rows, p, ahead);
        break;
    case DTYPE_Q2_K:
    case DTYPE_Q3_K:
        avx2_factors_by_16(type, rows, p);
        avx2_q2_q3_k(type, rows, p, ahead);
        break;
    default:
        for (int b = 0; b < groups; b++) {
            if (b % 2 == 0)
                avx2_ask(type, ahead, b / 2);
            avx2_factors_small(type, rows, b, p);
            avx2_small(type, rows, b, p);
        }
        break;
    }
}

AVX2_INLINE __m256i dword_at(const void *at) {
    int32_t v;
    memcpy(&v, at, 4);
    return _mm256_set1_epi32(v);
}

/* How many sums of two products, each at most the largest element times 128, fit together into 16 bits. */
AVX2_INLINE int fit(enum dtype type) {
    switch (type) {
    case DTYPE_Q4_0:
    case DTYPE_Q4_1:
    case DTYPE_Q4_K:
        return 8; /* 15 */
    case DTYPE_Q6_K:
        return 2; /* 63 */
    default:
        return 4; /* 31, or less and four to a group */
    }
}

/* sums = those of group g of both panels, of C inputs at x. */
AVX2_INLINE void group_q8_0(int C, const struct avx2_panel p[2], int g, const int8_t *const x[4],
                            __m256i sums[2][4]) {
    AVX2_UNROLL
    for (int h = 0; h < 2; h++) {
        AVX2_UNROLL
        for (int j = 0; j < 8; j++) {
            __m256i w = avx2_quad(&p[h], g * 8 + j), magnitude = _mm256_abs_epi8(w);
            AVX2_UNROLL
            for (int c = 0; c < C; c++) {
                __m256i in = _mm256_sign_epi8(dword_at(x[c] + g * 32 + j * 4), w);
                __m256i v = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, in), _mm256_set1_epi16(1));
                sums[h][c] = j == 0 ? v : _mm256_add_epi32(sums[h][c], v);
                AVX2_KEEP(sums[h][c]);
            }
        }
    }
}

AVX2_INLINE void group_unsigned(enum dtype type, int C, const struct avx2_panel p[2], int g,
                                const int8_t *const x[4], __m256i sums[2][4]) {
    __m256i parts[2][4];
    AVX2_UNROLL
    for (int j = 0; j < 8; j++) {
        const __m256i w[2] = {avx2_quad(&p[0], g * 8 + j), avx2_quad(&p[1], g * 8 + j)};
        AVX2_UNROLL
        for (int c = 0; c < C; c++) {
            __m256i in = dword_at(x[c] + g * 32 + j * 4);
            AVX2_UNROLL
            for (int h = 0; h < 2; h++) {
                __m256i v = _mm256_maddubs_epi16(w[h], in);
                parts[h][c] = j % fit(type) == 0 ? v : _mm256_add_epi16(parts[h][c], v);
                AVX2_KEEP(parts[h][c]);
            }
        }
        if (j % fit(type) != fit(type) - 1)
            continue;
        AVX2_UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i factor = _mm256_set1_epi16(1);
            if (x86_by_16(type))
                factor = _mm256_load_si256((const __m256i *)(const void *)p[h].by_16[g * 2 + j / 4]);
            AVX2_UNROLL
            for (int c = 0; c < C; c++) {
                __m256i v = _mm256_madd_epi16(parts[h][c], factor);
                sums[h][c] = j < fit(type) ? v : _mm256_add_epi32(sums[h][c], v);
            }
        }
    }
}

/* Where the scales and sums of 16 of a panel's elements lie, from their bytes in an input on. */
struct offsets {
    ptrdiff_t scales, two;
};

/* acc plus group g of a panel times an input at x, whose sum is given; total: that of the group of the input,
 * times scale. */
AVX2_INLINE __m256 add_group(enum dtype type, const struct avx2_panel *p, int g, const int8_t *x,
                             struct offsets o, const float *total, __m256i sum, __m256 acc) {
    __m256 scale = _mm256_broadcast_ss((const float *)(const void *)(x + o.scales) + g);
    if (x86_by_16(type)) {
        __m256i m = _mm256_load_si256((const __m256i *)(const void *)p->pairs[g]);
        m = _mm256_madd_epi16(m, dword_at(x + o.two + g * 4));
        if (type == DTYPE_Q2_K)
            acc = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(m), _mm256_mul_ps(_mm256_load_ps(p->minimum[0]), scale),
                                   acc);
        else
            sum = _mm256_sub_epi32(sum, m);
    }
    __m256 factor = _mm256_mul_ps(_mm256_load_ps(p->scale[x86_by_16(type) ? 0 : g]), scale);
    acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), factor, acc);
    if (!x86_by_16(type) && type != DTYPE_Q8_0)
        acc = _mm256_fnmadd_ps(_mm256_load_ps(p->minimum[g]), _mm256_broadcast_ss(total), acc);
    return acc;
}

/* The sums of an input's groups, times scale. */
AVX2_INLINE void total_groups(const int8_t *x, struct offsets o, int groups, float totals[8]) {
    const float *scales = (const float *)(const void *)(x + o.scales);
    const int16_t *two = (const int16_t *)(const void *)(x + o.two);
    if (groups == 8) {
        __m256i sums =
            _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)(const void *)two), _mm256_set1_epi16(1));
        _mm256_store_ps(totals, _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(scales)));
        return;
    }
    for (int g = 0; g < groups; g++)
        totals[g] = (float)(two[2 * g] + two[2 * g + 1]) * scales[g];
}

/* `groups` groups of two panels, from element `first` of the rows on, times C inputs from x on, added to
 * sums. ahead: where bytes are asked for with each group, or NULL. */
AVX2_INLINE void tile(enum dtype type, int C, const struct avx2_panel p[2], int k, int first, int groups,
                      const char *row, size_t stride, float (*sums)[16], const uint8_t *ahead) {
    const struct offsets o = {k + first / 8 - first, k + k / 8 + first / 8 - first};
    _Alignas(32) float totals[4][8];
    const int8_t *x[4];
    __m256 acc[2][4];
    __m256i of_group[2][4];
    AVX2_UNROLL
    for (int c = 0; c < C; c++) {
        x[c] = (const int8_t *)row + (size_t)c * stride + first;
        acc[0][c] = _mm256_load_ps(sums[c]);
        acc[1][c] = _mm256_load_ps(sums[c] + 8);
        if (!x86_by_16(type) && type != DTYPE_Q8_0)
            total_groups(x[c], o, groups, totals[c]);
    }
    for (int g = 0; g < groups; g++) {
        avx2_ask(type, ahead, g);
        if (type == DTYPE_Q8_0)
            group_q8_0(C, p, g, x, of_group);
        else
            group_unsigned(type, C, p, g, x, of_group);
        AVX2_UNROLL
        for (int h = 0; h < 2; h++) {
            AVX2_UNROLL
            for (int c = 0; c < C; c++)
                acc[h][c] = add_group(type, &p[h], g, x[c], o, totals[c] + g, of_group[h][c], acc[h][c]);
        }
    }
    AVX2_UNROLL
    for (int c = 0; c < C; c++) {
        _mm256_store_ps(sums[c], acc[0][c]);
        _mm256_store_ps(sums[c] + 8, acc[1][c]);
    }
}

/* n inputs with `rows` <= 16 stored rows; meanwhile the next ones are asked for. */
AVX2_INLINE void strip(enum dtype type, const struct x86_job *job, int row, int rows, int input, int n,
                       void (*make)(const uint8_t *const *, int, struct avx2_panel *, const uint8_t *)) {
    struct avx2_panel p[2];
    struct outputs o;
    const uint8_t *at[16], *ahead = job->w + (size_t)(row + 16) * job->row_bytes;
    const char *x = job->x + (size_t)input * job->x_stride;
    for (int r = 0; r < 16; r++)
        at[r] = job->w + (size_t)(row + (r < rows ? r : rows - 1)) * job->row_bytes;
    memset(o.sums, 0, sizeof o.sums[0] * (size_t)n);
    for (int first = 0; first < job->k; first += AVX2_PANEL) {
        int groups = job->k - first < AVX2_PANEL ? (job->k - first) / 32 : 8, c = 0;
        size_t bytes = x86_super_bytes(type) * (size_t)groups / 8;
        make(at, groups, &p[0], ahead);
        make(at + 8, groups, &p[1], ahead + bytes * 4);
        for (int r = 0; r < 16; r++)
            at[r] += bytes;
        for (; c + 4 <= n; c += 4)
            tile(type, 4, p, job->k, first, groups, x + (size_t)c * job->x_stride, job->x_stride, o.sums + c,
                 c == 0 ? ahead + bytes * 8 : NULL);
        for (; c < n; c++)
            tile(type, 1, p, job->k, first, groups, x + (size_t)c * job->x_stride, job->x_stride, o.sums + c,
                 c == 0 ? ahead + bytes * 8 : NULL);
        ahead += bytes * 16;
    }
    for (int c = 0; c < n; c++)
        memcpy(job->out + (size_t)(input + c) * job->out_stride + row, o.sums[c], (size_t)rows * 4);
}

/* Inputs up to which reading the rows is what takes the time: then the first ones are asked for at once. */
#define FEW 8

AVX2_INLINE void product(enum dtype type, const struct x86_job *job, int n_rows,
                         void (*make)(const uint8_t *const *, int, struct avx2_panel *, const uint8_t *)) {
    int most = (int)(INPUT_BYTES / job->x_stride) / 4 * 4;
    most = most > MOST_INPUTS ? MOST_INPUTS : most > 4 ? most : 4;
    for (size_t i = 0; i < 16 * job->row_bytes && job->n_cols <= FEW; i += 64)
        _mm_prefetch((const char *)job->w + i, _MM_HINT_T1);
    for (int c = 0; c < job->n_cols; c += most)
        for (int r = 0; r < n_rows; r += 16)
            strip(type, job, r, n_rows - r < 16 ? n_rows - r : 16, c,
                  job->n_cols - c < most ? job->n_cols - c : most, make);
}

#define PRODUCT(NAME, TYPE)                                                                                  \
    AVX2_TARGET static __attribute__((noinline)) void NAME##_panel(                                          \
        const uint8_t *const *rows, int groups, struct avx2_panel *p, const uint8_t *ahead) {                \
        panel_make(TYPE, rows, groups, p, ahead);                                                            \
    }                                                                                                        \
    AVX2_TARGET static void NAME(const struct x86_job *job, int n_rows) {                                    \
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

void avx2_product_q8(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
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
typedef int avx2_bytes_is_for_x86;
#endif
