/* Products of quantised types with inputs rounded to 8 bits, with AVX-512 VNNI.
 *
 * Sixteen stored rows lie side by side in the lanes of a register. A panel holds their next 256 elements as
 * unsigned bytes, four to a lane, so that one instruction multiplies four elements of all sixteen with four
 * of an input. A panel is made once and meets all inputs. (One input: avx512_one.c.)
 *
 * Every lane is one output with one chain of additions in F32, a group of 32 (or 16) elements each, in
 * ascending order; sums within a group are exact integers. So an output is the same bits whatever rows and
 * inputs stand beside it. */
#if defined(__x86_64__)
#include "kernels/cpu/avx512_blocks.h"

#define PANEL 256 /* elements */

struct panel {
    _Alignas(64) uint8_t q[PANEL / 4][64]; /* elements 4 i … 4 i + 3 of 16 rows */
    struct avx512_factors f;
};

/* While a panel is made and then meets its first inputs, as many bytes are asked for as it has: half of them
 * now and half of them then, because in either part memory would stand still in the other. */
AVX512_INLINE size_t asked_first(enum dtype type) {
    return x86_super_bytes(type) * 8;
}

/* Elements 64 i … of 16 rows; meanwhile bytes are asked for at `ahead`, if any. */
AVX512_INLINE void panel_quarter(enum dtype type, const uint8_t *const rows[16], int i, bool half,
                                 struct panel *p, const uint8_t *ahead) {
    __m512i v[16];
    if (ahead != NULL)
        avx512_prefetch(ahead + asked_first(type) / 4 * (size_t)i, asked_first(type) / 4);
    AVX512_UNROLL
    for (int r = 0; r < 16; r++)
        v[r] = avx512_elements(type, rows[r], i, half);
    avx512_transpose(v);
    AVX512_UNROLL
    for (int j = 0; j < 16; j++)
        _mm512_store_si512(p->q[i * 16 + j], v[j]);
}

/* The next n <= 256 elements of 16 rows. */
AVX512_INLINE void panel_make(enum dtype type, const uint8_t *const rows[16], int n, struct panel *p,
                              const uint8_t *ahead) {
    avx512_factors_of(type, rows, n, &p->f);
    if (n == PANEL || !x86_is_small(type)) { /* the others come by 256 only */
        panel_quarter(type, rows, 0, false, p, ahead);
        panel_quarter(type, rows, 1, false, p, ahead);
        panel_quarter(type, rows, 2, false, p, ahead);
        panel_quarter(type, rows, 3, false, p, ahead);
        return;
    }
    for (int i = 0; i * 64 < n; i++)
        panel_quarter(type, rows, i, n - i * 64 < 64, p, NULL);
}

AVX512_INLINE __m512i dword_at(const void *at) {
    int32_t v;
    memcpy(&v, at, 4);
    return _mm512_set1_epi32(v);
}

/* What a group needs of an input. */
struct about {
    __m512i start; /* minus what the elements of the type have too much, times the sum of the inputs */
    __m512 scale, minimum;
};

AVX512_INLINE struct about about_of(enum dtype type, struct avx512_input in, int g) {
    const int step = x86_by_16(type) ? 16 : 32;
    /* Of the two sums of 16 that lie beside each other: both, or the group's own. */
    const int which = step == 32 ? 0x00010001 : g % 2 == 0 ? 1 : 0x00010000;
    const short off = (short)-avx512_offset(type);
    __m512i two = dword_at(in.sums + (step == 32 ? 2 * g : g / 2 * 2));
    struct about a = {.start = _mm512_setzero_si512(), .scale = _mm512_set1_ps(in.scales[g * step / 32])};
    if (avx512_offset(type) != 0)
        a.start =
            _mm512_madd_epi16(two, _mm512_mullo_epi16(_mm512_set1_epi32(which), _mm512_set1_epi16(off)));
    if (avx512_has_minima(type)) {
        __m512i total = _mm512_madd_epi16(two, _mm512_set1_epi32(which));
        a.minimum = _mm512_mul_ps(_mm512_cvtepi32_ps(total), a.scale);
    }
    return a;
}

/* acc + scale * sum - minimum, for 16 rows and one input. */
AVX512_INLINE __m512 add_group(enum dtype type, const struct avx512_factors *f, int g, __m512i sum,
                               struct about about, __m512 acc) {
    __m512 factor = _mm512_mul_ps(_mm512_load_ps(f->scale[g]), about.scale);
    acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, acc);
    if (avx512_has_minima(type))
        acc = _mm512_fnmadd_ps(_mm512_load_ps(f->minimum[g]), about.minimum, acc);
    return acc;
}

/* Group g of P panels times C inputs, added to acc. */
AVX512_INLINE void group(enum dtype type, int P, int C, const struct panel *panels,
                         const struct avx512_input *in, int g, __m512 acc[2][4]) {
    const int step = x86_by_16(type) ? 16 : 32;
    __m512i sums[2][4];
    struct about about[4];
    AVX512_UNROLL
    for (int c = 0; c < C; c++) {
        about[c] = about_of(type, in[c], g);
        AVX512_UNROLL
        for (int p = 0; p < P; p++)
            sums[p][c] = about[c].start;
    }
    AVX512_UNROLL
    for (int j = 0; j < step / 4; j++) {
        int quad = g * (step / 4) + j;
        __m512i w[2];
        AVX512_UNROLL
        for (int p = 0; p < P; p++)
            w[p] = _mm512_load_si512(panels[p].q[quad]);
        AVX512_UNROLL
        for (int c = 0; c < C; c++) {
            __m512i x = dword_at(in[c].q + quad * 4);
            AVX512_UNROLL
            for (int p = 0; p < P; p++)
                sums[p][c] = _mm512_dpbusd_epi32(sums[p][c], w[p], x);
        }
    }
    AVX512_UNROLL
    for (int p = 0; p < P; p++) {
        AVX512_UNROLL
        for (int c = 0; c < C; c++)
            acc[p][c] = add_group(type, &panels[p].f, g, sums[p][c], about[c], acc[p][c]);
    }
}

/* P panels of n elements times C inputs, added to out (or put there, when the panels are the first). mask:
 * the rows of the last panel that are there. ahead: where bytes are asked for meanwhile, or NULL. */
AVX512_INLINE void tile(enum dtype type, int P, int C, const struct panel *panels, int n, bool first,
                        const struct avx512_input *in, float *out, size_t out_stride, __mmask16 mask,
                        const uint8_t *ahead) {
    __m512 acc[2][4];
    AVX512_UNROLL
    for (int p = 0; p < P; p++)
        AVX512_UNROLL
    for (int c = 0; c < C; c++)
        acc[p][c] =
            first ? _mm512_setzero_ps()
                  : _mm512_maskz_loadu_ps(p == P - 1 ? mask : 0xFFFF, out + (size_t)c * out_stride + p * 16);
    int groups = n / (x86_by_16(type) ? 16 : 32);
    const size_t share = (x86_super_bytes(type) * 16 - asked_first(type)) / (x86_by_16(type) ? 8 : 4);
    for (int g = 0; g < groups; g += 2) {
        for (int p = 0; p < P && ahead != NULL; p++)
            avx512_prefetch(ahead + (size_t)p * x86_super_bytes(type) * 16 + share * (size_t)(g / 2), share);
        group(type, P, C, panels, in, g, acc);
        if (g + 1 < groups)
            group(type, P, C, panels, in, g + 1, acc);
    }
    AVX512_UNROLL
    for (int p = 0; p < P; p++)
        AVX512_UNROLL
    for (int c = 0; c < C; c++)
        _mm512_mask_storeu_ps(out + (size_t)c * out_stride + p * 16, p == P - 1 ? mask : 0xFFFF, acc[p][c]);
}

/* All inputs with `rows` stored rows, which P panels hold; `ahead` are the rows wanted next. */
AVX512_INLINE void strip(enum dtype type, int P, const struct x86_job *job, int row, int rows,
                         const uint8_t *ahead,
                         void (*make)(const uint8_t *const *, int, struct panel *, const uint8_t *)) {
    struct panel panels[2];
    const uint8_t *at[32];
    __mmask16 mask = (__mmask16)(0xFFFF >> (P * 16 - rows));
    for (int r = 0; r < P * 16; r++)
        at[r] = job->w + (size_t)(row + (r < rows ? r : rows - 1)) * job->row_bytes;
    for (int first = 0; first < job->k; first += PANEL) {
        int n = job->k - first < PANEL ? job->k - first : PANEL;
        size_t bytes = x86_super_bytes(type) * (size_t)n / PANEL;
        const uint8_t *rest = ahead + asked_first(type);
        AVX512_UNROLL
        for (int p = 0; p < P; p++, ahead += bytes * 16)
            make(at + p * 16, n, &panels[p], ahead);
        for (int r = 0; r < P * 16; r++)
            at[r] += bytes;
        float *out = job->out + row;
        int c = 0;
        for (; c + 4 <= job->n_cols; c += 4) {
            struct avx512_input in[4];
            for (int i = 0; i < 4; i++)
                in[i] = avx512_input_at(job->x + (size_t)(c + i) * job->x_stride, job->k, first);
            tile(type, P, 4, panels, n, first == 0, in, out + (size_t)c * job->out_stride, job->out_stride,
                 mask, c == 0 ? rest : NULL);
        }
        for (; c < job->n_cols; c++) {
            struct avx512_input in = avx512_input_at(job->x + (size_t)c * job->x_stride, job->k, first);
            tile(type, P, 1, panels, n, first == 0, &in, out + (size_t)c * job->out_stride, job->out_stride,
                 mask, c == 0 ? rest : NULL);
        }
    }
}

/* Inputs from which on two panels stand side by side. With fewer, reading the rows is what takes the time,
 * and the lines of the next ones should not be asked for too early. */
#define MANY 16

/* Where row r lies, there or not: the rows behind the last one are the next chunk's, which a thread will
 * want soon. */
AVX512_INLINE const uint8_t *row_at(const struct x86_job *job, int r) {
    return job->w + (size_t)r * job->row_bytes;
}

AVX512_INLINE void product(enum dtype type, const struct x86_job *job, int n_rows,
                           void (*make)(const uint8_t *const *, int, struct panel *, const uint8_t *)) {
    int r = 0;
    if (job->n_cols > MANY)
        for (; r + 16 < n_rows; r += 32)
            strip(type, 2, job, r, n_rows - r < 32 ? n_rows - r : 32, row_at(job, r + 32), make);
    else
        avx512_prefetch(job->w, 16 * job->row_bytes);
    for (; r < n_rows; r += 16)
        strip(type, 1, job, r, n_rows - r < 16 ? n_rows - r : 16, row_at(job, r + 16), make);
}

#define PRODUCT(NAME, TYPE)                                                                                  \
    AVX512_TARGET static __attribute__((noinline)) void NAME##_panel(                                        \
        const uint8_t *const *rows, int n, struct panel *p, const uint8_t *ahead) {                          \
        panel_make(TYPE, rows, n, p, ahead);                                                                 \
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
    if (n_cols == 1)
        avx512_product_one(type, &job, n_rows);
    else
        by_type[type](&job, n_rows);
}
#else
typedef int avx512_bytes_is_for_x86;
#endif
