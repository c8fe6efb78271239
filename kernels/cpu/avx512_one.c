/* Products of quantised types with one input rounded to 8 bits, with AVX-512 VNNI.
 *
 * Memory gives its best to a thread that reads one long stream. So rows are read one after the other as they
 * lie in memory, and only their integer sums are kept; when 16 rows have them, the additions in F32 follow,
 * rows side by side and in the same order as with many inputs (avx512_bytes.c), so that the bits are the
 * same. */
#if defined(__x86_64__)
#include "kernels/cpu/avx512_sums.h"

/* Elements of one row at a time: as long a stream as the sums of 16 rows leave room for in a cache. */
#define RUN 8192
/* How early lines are asked for, when the next row follows at once. */
#define BYTES_AHEAD 8192

/* A run of 16 rows. */
struct strip {
    /* The input: bytes as the sums want them; per group minus what the elements have too much, times the sum
     * of the inputs, their scale, and this times their sum. */
    _Alignas(64) int8_t x[RUN];
    int32_t start[RUN / 16];
    float scale[RUN / 16], minimum[RUN / 16];
    /* The rows: sums of 256 elements in groups of 16, or of 512 in groups of 32; of Q8_0 the scales of 512.
     */
    int32_t sums[RUN / 256][16][16];
    uint16_t halves[RUN / 512][16][16];
};

AVX512_INLINE void put_groups(enum dtype type, struct strip *s, int g, __m512i total, __m512 scale) {
    _mm512_store_si512(s->start + g, _mm512_mullo_epi32(total, _mm512_set1_epi32(-avx512_offset(type))));
    _mm512_store_ps(s->scale + g, scale);
    _mm512_store_ps(s->minimum + g, _mm512_mul_ps(_mm512_cvtepi32_ps(total), scale));
}

/* `run` elements of the input. */
AVX512_INLINE void strip_input(enum dtype type, struct strip *s, struct avx512_input in, int run) {
    for (int i = 0; i < run; i += 256)
        avx512_arrange(type, in.q + i, run - i < 256 ? run - i : 256, s->x + i);
    for (int g = 0; g * 32 < run; g += 16) {
        int n = run / 32 - g < 16 ? run / 32 - g : 16; /* groups of 32 */
        __m512 scale = _mm512_maskz_loadu_ps((__mmask16)((1 << n) - 1), in.scales + g);
        __m512i pairs = _mm512_maskz_loadu_epi16((__mmask32)((1ull << (2 * n)) - 1), in.sums + 2 * g);
        if (!x86_by_16(type)) {
            put_groups(type, s, g, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)), scale);
            continue;
        }
        const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        put_groups(type, s, 2 * g, _mm512_cvtepi16_epi32(_mm512_castsi512_si256(pairs)),
                   _mm512_permutexvar_ps(twice, scale));
        put_groups(type, s, 2 * g + 16, _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(pairs, 1)),
                   _mm512_permutexvar_ps(_mm512_add_epi32(twice, _mm512_set1_epi32(8)), scale));
    }
}

/* The 256 or fewer elements from i on of a row, of which `run` are there. */
AVX512_INLINE __m512i rest_at(enum dtype type, const uint8_t *row, const int8_t *x, int run, int i,
                              uint16_t halves[8]) {
    const uint8_t *block = row + x86_super_bytes(type) * (size_t)(i / 256);
    int n = run - i;
    if (n <= 0)
        return _mm512_setzero_si512();
    if (n >= 256 || !x86_is_small(type)) /* the others come by 256 only */
        return avx512_super_sums(type, block, x + i, halves);
    for (int b = 0; b * 32 < n && type == DTYPE_Q8_0; b++)
        halves[b] = avx512_u16(block + b * 34);
    return avx512_sums_any(type, block, x + i, n);
}

/* Sums of 512 elements of row r, the i-th such. */
AVX512_INLINE void put_sums(enum dtype type, struct strip *s, int i, int r, __m512i a, __m512i b) {
    if (x86_by_16(type)) {
        _mm512_store_si512(s->sums[2 * i][r], a);
        _mm512_store_si512(s->sums[2 * i + 1][r], b);
    } else {
        _mm512_store_si512(s->sums[i][r], avx512_two(a, b));
    }
}

/* The sums of n times 512 elements of row r; as many bytes are asked for at `ahead`. */
AVX512_INLINE void row_sums(enum dtype type, struct strip *s, const uint8_t *row, const uint8_t *ahead, int n,
                            int r) {
    const size_t bytes = x86_super_bytes(type);
    const int8_t *x = s->x;
    for (int i = 0; i < n; i++, x += 512, row += 2 * bytes, ahead += 2 * bytes) {
        AVX512_UNROLL
        for (size_t l = 0; l < 2 * bytes; l += 64)
            _mm_prefetch((const char *)ahead + l, _MM_HINT_T0);
        __m512i a = avx512_super_sums(type, row, x, s->halves[i][r]);
        __m512i b = avx512_super_sums(type, row + bytes, x + 256, s->halves[i][r] + 8);
        put_sums(type, s, i, r, a, b);
    }
}

/* The scales of 16 groups of 16 rows of Q8_0. */
AVX512_INLINE void factors_q8_0(uint16_t halves[16][16], struct avx512_factors f[2]) {
    __m512i a[8], b[8];
    AVX512_UNROLL
    for (int r = 0; r < 8; r++)
        a[r] = avx512_pair(_mm256_load_si256((const __m256i *)(const void *)halves[r]),
                           _mm256_load_si256((const __m256i *)(const void *)halves[r + 8]));
    AVX512_UNROLL
    for (int r = 0; r < 8; r += 2) {
        b[r] = _mm512_unpacklo_epi16(a[r], a[r + 1]);
        b[r + 1] = _mm512_unpackhi_epi16(a[r], a[r + 1]);
    }
    AVX512_UNROLL
    for (int r = 0; r < 8; r += 4) {
        AVX512_UNROLL
        for (int j = 0; j < 2; j++) {
            a[r + 2 * j] = _mm512_unpacklo_epi32(b[r + j], b[r + 2 + j]);
            a[r + 2 * j + 1] = _mm512_unpackhi_epi32(b[r + j], b[r + 2 + j]);
        }
    }
    AVX512_UNROLL
    for (int g = 0; g < 8; g++) {
        /* Parts: groups g and g + 8 of rows 0 … 7, then of rows 8 … 15. */
        __m512i v = g % 2 == 0 ? _mm512_unpacklo_epi64(a[g / 2], a[g / 2 + 4])
                               : _mm512_unpackhi_epi64(a[g / 2], a[g / 2 + 4]);
        v = _mm512_shuffle_i32x4(v, v, 0xD8);
        _mm512_store_ps(f[0].scale[g], _mm512_cvtph_ps(_mm512_castsi512_si256(v)));
        _mm512_store_ps(f[1].scale[g], _mm512_cvtph_ps(_mm512_extracti64x4_epi64(v, 1)));
    }
}

/* acc + scale * sum - minimum of group g of the run, for 16 rows. */
AVX512_INLINE __m512 add_group(enum dtype type, const struct strip *s, int g, const float *scale,
                               const float *minimum, __m512i sum, __m512 acc) {
    __m512 factor = _mm512_mul_ps(_mm512_load_ps(scale), _mm512_set1_ps(s->scale[g]));
    if (avx512_offset(type) != 0)
        sum = _mm512_add_epi32(sum, _mm512_set1_epi32(s->start[g]));
    acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, acc);
    if (avx512_has_minima(type))
        acc = _mm512_fnmadd_ps(_mm512_load_ps(minimum), _mm512_set1_ps(s->minimum[g]), acc);
    return acc;
}

/* The groups of 32 of n <= 512 elements from i on, added to acc; rows: where these begin. */
AVX512_INLINE __m512 add_512(enum dtype type, struct strip *s, const uint8_t *const rows[16], int i, int n,
                             __m512 acc) {
    struct avx512_factors f[2];
    const uint8_t *at[16];
    __m512i v[16];
    if (type == DTYPE_Q8_0)
        factors_q8_0(s->halves[i / 512], f);
    AVX512_UNROLL
    for (int r = 0; r < 16; r++)
        v[r] = _mm512_load_si512(s->sums[i / 512][r]);
    avx512_transpose(v);
    AVX512_UNROLL
    for (int h = 0; h < 2; h++) {
        if (n <= h * 256)
            continue;
        for (int r = 0; r < 16 && type != DTYPE_Q8_0; r++)
            at[r] = rows[r] + x86_super_bytes(type) * (size_t)h;
        if (type != DTYPE_Q8_0)
            avx512_factors_of(type, at, n < h * 256 + 256 ? n - h * 256 : 256, &f[h]);
        AVX512_UNROLL
        for (int g = 0; g < 8; g++)
            if (n == 512 || h * 256 + g * 32 < n)
                acc = add_group(type, s, i / 32 + h * 8 + g, f[h].scale[g], f[h].minimum[g],
                                v[avx512_slot(type, h * 8 + g)], acc);
    }
    return acc;
}

/* The groups of 16 of 256 elements from i on. */
AVX512_INLINE __m512 add_256(enum dtype type, struct strip *s, const uint8_t *const rows[16], int i,
                             __m512 acc) {
    struct avx512_factors f;
    __m512i v[16];
    avx512_factors_of(type, rows, 256, &f);
    AVX512_UNROLL
    for (int r = 0; r < 16; r++)
        v[r] = _mm512_load_si512(s->sums[i / 256][r]);
    avx512_transpose(v);
    AVX512_UNROLL
    for (int g = 0; g < 16; g++)
        acc = add_group(type, s, i / 16 + g, f.scale[g], f.minimum[g], v[g % 4 * 4 + g / 4], acc);
    return acc;
}

/* The sums of `run` elements of up to 16 rows; those of rows that are not there stay what they are, and so
 * does what follows from them, in lanes that nobody stores. `rest` does what is left of whole times 512. */
AVX512_INLINE void strip_sums(enum dtype type, struct strip *s, const struct x86_job *job,
                              const uint8_t *const at[16], int rows, int run,
                              void (*rest)(struct strip *, const uint8_t *, int, int)) {
    size_t run_bytes = x86_super_bytes(type) * (size_t)run / 256;
    for (int r = 0; r < rows; r++) {
        const uint8_t *ahead = run == job->k  ? at[r] + BYTES_AHEAD
                               : r + 1 < rows ? at[r + 1]
                                              : at[0] + run_bytes;
        row_sums(type, s, at[r], ahead, run / 512, r);
        if (run % 512 != 0)
            rest(s, at[r], run, r);
    }
}

/* `rows` <= 16 stored rows. */
AVX512_INLINE void strip_rows(enum dtype type, struct strip *s, const struct x86_job *job, int row, int rows,
                              void (*rest)(struct strip *, const uint8_t *, int, int)) {
    const int step = x86_by_16(type) ? 256 : 512;
    const uint8_t *at[16];
    for (int r = 0; r < 16; r++)
        at[r] = job->w + (size_t)(row + (r < rows ? r : rows - 1)) * job->row_bytes;
    __m512 acc = _mm512_setzero_ps();
    for (int first = 0; first < job->k; first += RUN) {
        int run = job->k - first < RUN ? job->k - first : RUN;
        if (job->k > RUN || row == 0)
            strip_input(type, s, avx512_input_at(job->x, job->k, first), run);
        strip_sums(type, s, job, at, rows, run, rest);
        for (int i = 0; i < run; i += step) {
            if (x86_by_16(type))
                acc = add_256(type, s, at, i, acc);
            else if (run - i >= 512)
                acc = add_512(type, s, at, i, 512, acc);
            else
                acc = add_512(type, s, at, i, run - i, acc);
            int n = run - i < step ? run - i : step;
            for (int r = 0; r < 16; r++)
                at[r] += x86_super_bytes(type) * (size_t)n / 256;
        }
    }
    _mm512_mask_storeu_ps(job->out + row, (__mmask16)(0xFFFF >> (16 - rows)), acc);
}

#define PRODUCT(NAME, TYPE)                                                                                  \
    AVX512_TARGET static                                                                                     \
        __attribute__((noinline)) void NAME##_rest(struct strip *s, const uint8_t *row, int run, int r) {    \
        int i = run / 512;                                                                                   \
        row += x86_super_bytes(TYPE) * 2 * (size_t)i;                                                        \
        __m512i a = rest_at(TYPE, row, s->x + i * 512, run % 512, 0, s->halves[i][r]);                       \
        __m512i b = rest_at(TYPE, row, s->x + i * 512, run % 512, 256, s->halves[i][r] + 8);                 \
        put_sums(TYPE, s, i, r, a, b);                                                                       \
    }                                                                                                        \
    AVX512_TARGET static void NAME(const struct x86_job *job, int n_rows) {                                  \
        struct strip s;                                                                                      \
        for (int r = 0; r < n_rows; r += 16)                                                                 \
            strip_rows(TYPE, &s, job, r, n_rows - r < 16 ? n_rows - r : 16, NAME##_rest);                    \
    }

PRODUCT(one_q8_0, DTYPE_Q8_0)
PRODUCT(one_q4_0, DTYPE_Q4_0)
PRODUCT(one_q4_1, DTYPE_Q4_1)
PRODUCT(one_q5_0, DTYPE_Q5_0)
PRODUCT(one_q5_1, DTYPE_Q5_1)
PRODUCT(one_q2_k, DTYPE_Q2_K)
PRODUCT(one_q3_k, DTYPE_Q3_K)
PRODUCT(one_q4_k, DTYPE_Q4_K)
PRODUCT(one_q5_k, DTYPE_Q5_K)
PRODUCT(one_q6_k, DTYPE_Q6_K)

void avx512_product_one(enum dtype type, const struct x86_job *job, int n_rows) {
    static void (*const by_type[DTYPE_COUNT])(const struct x86_job *, int) = {
        [DTYPE_Q8_0] = one_q8_0, [DTYPE_Q4_0] = one_q4_0, [DTYPE_Q4_1] = one_q4_1, [DTYPE_Q5_0] = one_q5_0,
        [DTYPE_Q5_1] = one_q5_1, [DTYPE_Q2_K] = one_q2_k, [DTYPE_Q3_K] = one_q3_k, [DTYPE_Q4_K] = one_q4_k,
        [DTYPE_Q5_K] = one_q5_k, [DTYPE_Q6_K] = one_q6_k};
    by_type[type](job, n_rows);
}
#else
typedef int avx512_one_is_for_x86;
#endif
