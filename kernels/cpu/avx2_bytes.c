/* Products of quantised types with inputs rounded to 8 bits, with AVX2.
 *
 * Eight stored rows lie side by side in the lanes of a register. A panel holds their next 256 elements as
 * bytes, four to a lane, so that one instruction multiplies four elements of all eight with four of an input,
 * which a load has put into every lane. A panel is made once, stays in the first-level cache and meets all
 * inputs.
 *
 * Every lane is one output with one chain of additions in F32, a group of 32 elements each, in ascending
 * order; sums within a group are exact integers. So an output is the same bits whatever rows and inputs stand
 * beside it. */
#if defined(__x86_64__)
#include "kernels/cpu/avx2_panel.h"
#include "kernels/cpu/convert.h"

struct job {
    const uint8_t *w;
    size_t row_bytes;
    const char *x;
    size_t x_stride;
    int n_cols, k;
    float *out;
    size_t out_stride;
};

/* What 256 elements of an input have beside their bytes, for groups of 32. */
struct about {
    _Alignas(32) float scale[8];
    float sum[8];    /* of the elements, times scale */
    int16_t two[16]; /* sums of 16 */
};

/* Asks for the lines of `bytes` bytes, which are stored rows of the near future: into the second-level cache,
 * because the first has no room for them. Addresses past the end of the weights do no harm. */
AVX2_INLINE void prefetch(const uint8_t *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)at + i, _MM_HINT_T1);
}

/* The next n <= 256 elements of 8 rows. */
AVX2_INLINE void panel_make(enum dtype type, const uint8_t *const rows[8], int n, struct avx2_panel *p) {
    switch (type) {
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        avx2_factors_k4(rows, p);
        avx2_q4_q5_k(type, rows, p);
        break;
    case DTYPE_Q6_K:
        avx2_factors_by_16(type, rows, p);
        avx2_q6_k(rows, p);
        break;
    case DTYPE_Q2_K:
    case DTYPE_Q3_K:
        avx2_factors_by_16(type, rows, p);
        avx2_q2_q3_k(type, rows, p);
        break;
    default:
        for (int b = 0; b < n / 32; b++) {
            avx2_factors_small(type, rows, b, p);
            avx2_small(type, rows, b, p);
        }
        break;
    }
}

/* n <= 256 elements of an input from `first` on. */
AVX2_INLINE void about_input(enum dtype type, const char *row, int k, int first, int n, struct about *a) {
    const char *at = row + k + first / 8;
    __m256 scale;
    __m256i two;
    if (n == AVX2_PANEL) {
        scale = _mm256_loadu_ps((const float *)(const void *)at);
        two = _mm256_loadu_si256((const __m256i *)(const void *)(at + k / 8));
    } else {
        float scales[8] = {0};
        int16_t sums[16] = {0};
        memcpy(scales, at, (size_t)n / 8);
        memcpy(sums, at + k / 8, (size_t)n / 8);
        scale = _mm256_loadu_ps(scales);
        two = _mm256_loadu_si256((const __m256i *)(const void *)sums);
    }
    _mm256_store_ps(a->scale, scale);
    if (avx2_by_16(type))
        _mm256_store_si256((__m256i *)(void *)a->two, two);
    else if (type != DTYPE_Q8_0)
        _mm256_store_ps(
            a->sum, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_madd_epi16(two, _mm256_set1_epi16(1))), scale));
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

/* sums = those of group g of 32, of C inputs at x. */
AVX2_INLINE void group_q8_0(int C, const struct avx2_panel *p, int g, const int8_t *const x[4],
                            __m256i sums[4]) {
    AVX2_UNROLL
    for (int j = 0; j < 8; j++) {
        __m256i w = _mm256_load_si256((const __m256i *)(const void *)p->q[g * 8 + j]);
        __m256i magnitude = _mm256_abs_epi8(w);
        AVX2_UNROLL
        for (int c = 0; c < C; c++) {
            __m256i in = _mm256_sign_epi8(dword_at(x[c] + g * 32 + j * 4), w);
            __m256i v = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, in), _mm256_set1_epi16(1));
            sums[c] = j == 0 ? v : _mm256_add_epi32(sums[c], v);
            AVX2_KEEP(sums[c]);
        }
    }
}

AVX2_INLINE void group_unsigned(enum dtype type, int C, const struct avx2_panel *p, int g,
                                const int8_t *const x[4], __m256i sums[4]) {
    __m256i parts[4];
    AVX2_UNROLL
    for (int j = 0; j < 8; j++) {
        __m256i w = _mm256_load_si256((const __m256i *)(const void *)p->q[g * 8 + j]);
        AVX2_UNROLL
        for (int c = 0; c < C; c++) {
            __m256i v = _mm256_maddubs_epi16(w, dword_at(x[c] + g * 32 + j * 4));
            parts[c] = j % fit(type) == 0 ? v : _mm256_add_epi16(parts[c], v);
            AVX2_KEEP(parts[c]);
        }
        if (j % fit(type) != fit(type) - 1)
            continue;
        __m256i factor = _mm256_set1_epi16(1);
        if (avx2_by_16(type))
            factor = _mm256_load_si256((const __m256i *)(const void *)p->by_16[g * 2 + j / 4]);
        AVX2_UNROLL
        for (int c = 0; c < C; c++) {
            __m256i v = _mm256_madd_epi16(parts[c], factor);
            sums[c] = j < fit(type) ? v : _mm256_add_epi32(sums[c], v);
        }
    }
}

/* Group g of a panel times C inputs, added to acc. */
AVX2_INLINE void group(enum dtype type, int C, const struct avx2_panel *p, int g, const int8_t *const x[4],
                       const struct about *about, __m256 acc[4]) {
    __m256i sums[4];
    if (type == DTYPE_Q8_0)
        group_q8_0(C, p, g, x, sums);
    else
        group_unsigned(type, C, p, g, x, sums);
    AVX2_UNROLL
    for (int c = 0; c < C; c++) {
        __m256 scale = _mm256_broadcast_ss(about[c].scale + g);
        if (avx2_by_16(type)) {
            __m256i m = _mm256_load_si256((const __m256i *)(const void *)p->pairs[g]);
            m = _mm256_madd_epi16(m, dword_at(about[c].two + g * 2));
            if (type == DTYPE_Q2_K)
                acc[c] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(m),
                                          _mm256_mul_ps(_mm256_load_ps(p->minimum[0]), scale), acc[c]);
            else
                sums[c] = _mm256_sub_epi32(sums[c], m);
        }
        __m256 factor = _mm256_mul_ps(_mm256_load_ps(p->scale[avx2_by_16(type) ? 0 : g]), scale);
        acc[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[c]), factor, acc[c]);
        if (!avx2_by_16(type) && type != DTYPE_Q8_0)
            acc[c] = _mm256_fnmadd_ps(_mm256_load_ps(p->minimum[g]), _mm256_broadcast_ss(about[c].sum + g),
                                      acc[c]);
    }
}

/* A panel of n elements of `rows` rows, from `first` on, times C inputs from input c on, added to out (or put
 * there, when the panel is the first). whole: all 256 elements of all eight rows. ahead: where bytes are
 * asked for with each group, or NULL. */
AVX2_INLINE void tile(enum dtype type, bool whole, int C, const struct job *job, const struct avx2_panel *p,
                      int first, int n, int c, float *out, int rows, const uint8_t *ahead) {
    static const int32_t masks[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    __m256i mask = _mm256_loadu_si256((const __m256i *)(const void *)(masks + 8 - rows));
    struct about about[4];
    const int8_t *x[4];
    __m256 acc[4];
    AVX2_UNROLL
    for (int i = 0; i < C; i++) {
        const char *row = job->x + (size_t)(c + i) * job->x_stride;
        const float *at = out + (size_t)(c + i) * job->out_stride;
        x[i] = (const int8_t *)row + first;
        about_input(type, row, job->k, first, whole ? AVX2_PANEL : n, &about[i]);
        acc[i] = whole ? _mm256_loadu_ps(at) : _mm256_maskload_ps(at, mask);
        acc[i] = first == 0 ? _mm256_setzero_ps() : acc[i];
    }
    for (int g = 0; g < (whole ? AVX2_PANEL : n) / 32; g++) {
        if (ahead != NULL)
            prefetch(ahead + avx2_super_bytes(type) * (size_t)g, avx2_super_bytes(type));
        group(type, C, p, g, x, about, acc);
    }
    AVX2_UNROLL
    for (int i = 0; i < C; i++) {
        float *at = out + (size_t)(c + i) * job->out_stride;
        if (whole)
            _mm256_storeu_ps(at, acc[i]);
        else
            _mm256_maskstore_ps(at, mask, acc[i]);
    }
}

/* All inputs with `rows` <= 8 stored rows; meanwhile the next ones are asked for. */
AVX2_INLINE void strip(enum dtype type, const struct job *job, int row, int rows,
                       void (*make)(const uint8_t *const *, int, struct avx2_panel *)) {
    struct avx2_panel p;
    const uint8_t *at[8], *ahead = job->w + (size_t)(row + 8) * job->row_bytes;
    float *out = job->out + row;
    for (int r = 0; r < 8; r++)
        at[r] = job->w + (size_t)(row + (r < rows ? r : rows - 1)) * job->row_bytes;
    for (int first = 0; first < job->k; first += AVX2_PANEL) {
        int n = job->k - first < AVX2_PANEL ? job->k - first : AVX2_PANEL, c = 0;
        bool whole = n == AVX2_PANEL && rows == AVX2_ROWS;
        size_t bytes = avx2_super_bytes(type) * (size_t)n / AVX2_PANEL;
        make(at, n, &p);
        for (int r = 0; r < 8; r++)
            at[r] += bytes;
        for (; whole && c + 4 <= job->n_cols; c += 4)
            tile(type, true, 4, job, &p, first, n, c, out, rows, c == 0 ? ahead : NULL);
        for (; whole && c < job->n_cols; c++)
            tile(type, true, 1, job, &p, first, n, c, out, rows, c == 0 ? ahead : NULL);
        for (; c < job->n_cols; c++)
            tile(type, false, 1, job, &p, first, n, c, out, rows, NULL);
        ahead += bytes * 8;
    }
}

#define PRODUCT(NAME, TYPE)                                                                                  \
    AVX2_TARGET static __attribute__((noinline)) void NAME##_panel(const uint8_t *const *rows, int n,        \
                                                                   struct avx2_panel *p) {                   \
        panel_make(TYPE, rows, n, p);                                                                        \
    }                                                                                                        \
    AVX2_TARGET static void NAME(const struct job *job, int n_rows) {                                        \
        for (int r = 0; r < n_rows; r += 8)                                                                  \
            strip(TYPE, job, r, n_rows - r < 8 ? n_rows - r : 8, NAME##_panel);                              \
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
    static void (*const by_type[DTYPE_COUNT])(const struct job *, int) = {
        [DTYPE_Q8_0] = product_q8_0, [DTYPE_Q4_0] = product_q4_0, [DTYPE_Q4_1] = product_q4_1,
        [DTYPE_Q5_0] = product_q5_0, [DTYPE_Q5_1] = product_q5_1, [DTYPE_Q2_K] = product_q2_k,
        [DTYPE_Q3_K] = product_q3_k, [DTYPE_Q4_K] = product_q4_k, [DTYPE_Q5_K] = product_q5_k,
        [DTYPE_Q6_K] = product_q6_k};
    struct job job = {w, convert_row_bytes(type, k), x, x_stride, n_cols, k, out, out_stride};
    by_type[type](&job, n_rows);
}
#else
typedef int avx2_bytes_is_for_x86;
#endif
