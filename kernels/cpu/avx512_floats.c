/* Products with inputs in F32, with AVX-512.
 *
 * A row is cut into pieces of 1,024 elements. A piece of one output has one register of sixteen sums that
 * runs over it in ascending order; it is summed up in one fixed order and added to what the pieces before
 * gave. So an output is the same bits whatever rows and inputs stand beside it.
 *
 * With few inputs, stored rows are decoded in registers as they stream past, four at a time. A processor
 * reads ahead of a long stream as fast as memory gives, but not of short ones, and rows that stand beside
 * each other are four short streams; so the four begin a quarter of all rows apart. With many inputs, and for
 * types of blocks, a piece of some rows is decoded once into a panel, which then meets all inputs. */
#if defined(__x86_64__)
#include "kernels/cpu/avx512.h"

#define PIECE      1024 /* four rows and six inputs of it fit into a first-level cache of 48 KB */
#define PANEL_ROWS 96
/* How early the lines of a row are asked for: by rows where a panel is made of it, by bytes where it streams
 * past. */
#define ROWS_AHEAD  8
#define BYTES_AHEAD 2048
/* Inputs from which on a panel pays. */
#define MANY 8

/* The sums of the lanes of four registers: lane l and l + 8, then 4, 2 and 1 further, for each. */
AVX512_INLINE __m128 sums_of(const __m512 v[4]) {
    __m512 a = _mm512_add_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x44), _mm512_shuffle_f32x4(v[0], v[1], 0xEE));
    __m512 b = _mm512_add_ps(_mm512_shuffle_f32x4(v[2], v[3], 0x44), _mm512_shuffle_f32x4(v[2], v[3], 0xEE));
    a = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
    a = _mm512_add_ps(a, _mm512_permute_ps(a, 0x4E));
    a = _mm512_add_ps(a, _mm512_permute_ps(a, 0xB1));
    return _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, a));
}

/* Bytes of an element; known when compiled, unlike kernels/dtype.c's. */
AVX512_INLINE int element_bytes(enum dtype type) {
    return type == DTYPE_F32 ? 4 : type == DTYPE_F8_E4M3 ? 1 : 2;
}

/* Elements i … i + 15 of a row, those that the mask names; the others are 0 and not read. */
AVX512_INLINE __m512 load(enum dtype type, const uint8_t *row, int i, __mmask16 mask) {
    switch (type) {
    case DTYPE_F32:
        return _mm512_maskz_loadu_ps(mask, row + (size_t)i * 4);
    case DTYPE_F16:
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, row + (size_t)i * 2));
    case DTYPE_BF16: {
        __m256i half = _mm256_maskz_loadu_epi16(mask, row + (size_t)i * 2);
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }
    default: { /* E4M3: halves of the same exponent and mantissa are 2^-8 of it; 0x7F is no number */
        __m256i b = _mm256_cvtepu8_epi16(_mm_maskz_loadu_epi8(mask, row + i));
        __m256i magnitude = _mm256_and_si256(b, _mm256_set1_epi16(0x7F));
        __m256i none = _mm256_and_si256(_mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7F)),
                                        _mm256_set1_epi16(0x7E00));
        __m256i sign = _mm256_slli_epi16(_mm256_and_si256(b, _mm256_set1_epi16(0x80)), 8);
        __m256i half = _mm256_or_si256(_mm256_or_si256(_mm256_slli_epi16(magnitude, 7), sign), none);
        return _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0f));
    }
    }
}

/* One step of sixteen elements of a tile of R stored rows and C inputs. */
AVX512_INLINE void step(enum dtype type, int R, int C, const uint8_t *w, size_t row_bytes, const char *x,
                        size_t x_stride, int i, __mmask16 mask, __m512 acc[4][6]) {
    __m512 in[6];
    AVX512_UNROLL
    for (int c = 0; c < C; c++)
        in[c] = _mm512_maskz_loadu_ps(mask, x + (size_t)c * x_stride + (size_t)i * 4);
    AVX512_UNROLL
    for (int r = 0; r < R; r++) {
        __m512 v = load(type, w + (size_t)r * row_bytes, i, mask);
        AVX512_UNROLL
        for (int c = 0; c < C; c++)
            acc[r][c] = _mm512_fmadd_ps(v, in[c], acc[r][c]);
    }
}

/* Asks for a line of each of R rows. */
AVX512_INLINE void ask_rows(int R, const uint8_t *w, size_t row_bytes) {
    for (int r = 0; r < R; r++)
        _mm_prefetch((const char *)w + (size_t)r * row_bytes + BYTES_AHEAD, _MM_HINT_T0);
}

/* One piece of n <= PIECE elements of R stored rows, which lie row_bytes apart, times C inputs: sums[c] are
 * those of input c, a row in each lane. With `ask`, the lines that the rows will want soon are asked for. */
AVX512_INLINE void tile(enum dtype type, int R, int C, const uint8_t *w, size_t row_bytes, const char *x,
                        size_t x_stride, int n, bool ask, __m128 sums[6]) {
    const int per_line = 64 / element_bytes(type);
    __m512 acc[4][6];
    AVX512_UNROLL
    for (int r = 0; r < R; r++)
        AVX512_UNROLL
    for (int c = 0; c < C; c++)
        acc[r][c] = _mm512_setzero_ps();
    int i = 0;
    for (; i + 64 <= n; i += 64) {
        AVX512_UNROLL
        for (int j = 0; j < 64; j += 16) {
            if (ask && j % per_line == 0)
                ask_rows(R, w + (size_t)((i + j) * element_bytes(type)), row_bytes);
            step(type, R, C, w, row_bytes, x, x_stride, i + j, 0xFFFF, acc);
        }
    }
    for (; i < n; i += 16)
        step(type, R, C, w, row_bytes, x, x_stride, i, (__mmask16)(n - i < 16 ? (1 << (n - i)) - 1 : 0xFFFF),
             acc);
    AVX512_UNROLL
    for (int c = 0; c < C; c++) {
        __m512 v[4];
        AVX512_UNROLL
        for (int r = 0; r < 4; r++)
            v[r] = acc[r < R ? r : 0][c];
        sums[c] = sums_of(v);
    }
}

struct job {
    const char *x;
    size_t x_stride;
    int n_cols, k;
    float *out;
    size_t out_stride;
};

/* R stored rows as they are, from `row` on and `apart` rows from each other, times C inputs from c on. */
AVX512_INLINE void stream(enum dtype type, int R, int C, const struct job *job, const uint8_t *w,
                          size_t row_bytes, int row, int apart, int c) {
    const uint8_t *at = w + (size_t)row * row_bytes;
    const char *x = job->x + (size_t)c * job->x_stride;
    __m128 total[4] = {_mm_setzero_ps(), _mm_setzero_ps(), _mm_setzero_ps(), _mm_setzero_ps()};
    for (int first = 0; first < job->k; first += PIECE) {
        int n = job->k - first < PIECE ? job->k - first : PIECE;
        __m128 sums[6];
        tile(type, R, C, at + (size_t)first * (size_t)element_bytes(type), (size_t)apart * row_bytes,
             x + (size_t)first * 4, job->x_stride, n, true, sums);
        AVX512_UNROLL
        for (int i = 0; i < C; i++)
            total[i] = first == 0 ? sums[i] : _mm_add_ps(total[i], sums[i]);
    }
    for (int i = 0; i < C; i++) {
        float rows[4], *out = job->out + (size_t)(c + i) * job->out_stride + row;
        _mm_storeu_ps(rows, total[i]);
        for (int r = 0; r < R; r++)
            out[r * apart] = rows[r];
    }
}

/* The same times all inputs, which are fewer than MANY. */
AVX512_INLINE void stream_all(enum dtype type, int R, const struct job *job, const uint8_t *w,
                              size_t row_bytes, int row, int apart) {
    int c = 0;
    for (; c + 4 <= job->n_cols; c += 4)
        stream(type, R, 4, job, w, row_bytes, row, apart, c);
    if (job->n_cols - c == 3)
        stream(type, R, 3, job, w, row_bytes, row, apart, c);
    else if (job->n_cols - c == 2)
        stream(type, R, 2, job, w, row_bytes, row, apart, c);
    else if (job->n_cols - c == 1)
        stream(type, R, 1, job, w, row_bytes, row, apart, c);
}

#define STREAMED(NAME, TYPE)                                                                                 \
    AVX512_TARGET static void NAME(const struct job *job, const uint8_t *w, size_t row_bytes, int n_rows) {  \
        int quarter = n_rows / 4;                                                                            \
        for (int r = 0; r < quarter; r++)                                                                    \
            stream_all(TYPE, 4, job, w, row_bytes, r, quarter);                                              \
        for (int r = 4 * quarter; r < n_rows; r++)                                                           \
            stream_all(TYPE, 1, job, w, row_bytes, r, 1);                                                    \
    }

STREAMED(streamed_f32, DTYPE_F32)
STREAMED(streamed_f16, DTYPE_F16)
STREAMED(streamed_bf16, DTYPE_BF16)
STREAMED(streamed_f8, DTYPE_F8_E4M3)

AVX512_TARGET static void decode_floats(enum dtype type, const uint8_t *row, int n, float *out) {
    for (int i = 0; i < n; i += 16) {
        __mmask16 mask = (__mmask16)(n - i < 16 ? (1 << (n - i)) - 1 : 0xFFFF);
        __m512 v = type == DTYPE_F16    ? load(DTYPE_F16, row, i, mask)
                   : type == DTYPE_BF16 ? load(DTYPE_BF16, row, i, mask)
                                        : load(DTYPE_F8_E4M3, row, i, mask);
        _mm512_mask_storeu_ps(out + i, mask, v);
    }
}

/* A piece of R rows of a panel times C inputs, added to out (or put there: the first). */
AVX512_INLINE void panel_tile(int R, int C, const float *rows, const char *x, size_t x_stride, int n,
                              bool first, float *out, size_t out_stride) {
    __m128 sums[6];
    tile(DTYPE_F32, R, C, (const uint8_t *)(const void *)rows, PIECE * sizeof *rows, x, x_stride, n, false,
         sums);
    const __mmask8 mask = (__mmask8)((1 << R) - 1);
    AVX512_UNROLL
    for (int c = 0; c < C; c++) {
        float *o = out + (size_t)c * out_stride;
        if (!first)
            sums[c] = _mm_add_ps(_mm_maskz_loadu_ps(mask, o), sums[c]);
        _mm_mask_storeu_ps(o, mask, sums[c]);
    }
}

/* n elements of C inputs times all rows of the panel. */
AVX512_INLINE void panel_inputs(int C, const struct job *job, float panel[PANEL_ROWS][PIECE], int rows,
                                int row, int first, int n, int c) {
    const char *in = job->x + (size_t)c * job->x_stride + (size_t)first * 4;
    float *out = job->out + (size_t)c * job->out_stride + row;
    int r = 0;
    for (; r + 4 <= rows; r += 4)
        panel_tile(4, C, panel[r], in, job->x_stride, n, first == 0, out + r, job->out_stride);
    for (; r < rows; r++)
        panel_tile(1, C, panel[r], in, job->x_stride, n, first == 0, out + r, job->out_stride);
}

/* By way of panels. */
AVX512_TARGET static void panels(enum dtype type, const struct job *job, const uint8_t *w, size_t row_bytes,
                                 int n_rows) {
    _Alignas(64) float panel[PANEL_ROWS][PIECE];
    bool plain = type == DTYPE_F16 || type == DTYPE_BF16 || type == DTYPE_F8_E4M3;
    for (int row = 0; row < n_rows; row += PANEL_ROWS) {
        int rows = n_rows - row < PANEL_ROWS ? n_rows - row : PANEL_ROWS;
        for (int first = 0; first < job->k; first += PIECE) {
            int n = job->k - first < PIECE ? job->k - first : PIECE;
            const uint8_t *at = w + (size_t)row * row_bytes + convert_row_bytes(type, first);
            for (int r = 0; r < rows; r++, at += row_bytes) {
                avx512_prefetch(at + ROWS_AHEAD * row_bytes, convert_row_bytes(type, n));
                if (plain)
                    decode_floats(type, at, n, panel[r]);
                else
                    convert_row(type, at, n, panel[r]);
            }
            /* While the panel meets the inputs, the elements of the next one are asked for. */
            bool last = first + PIECE >= job->k;
            const uint8_t *next = w + (size_t)(row + (last ? rows : 0)) * row_bytes +
                                  (last ? 0 : convert_row_bytes(type, first + PIECE));
            int asked = 0, share = (rows * 6 + job->n_cols - 1) / job->n_cols;
            int c = 0;
            for (; c + 6 <= job->n_cols; c += 6) {
                for (int r = 0; r < share && asked < rows; r++, asked++)
                    avx512_prefetch(next + (size_t)asked * row_bytes, convert_row_bytes(type, n));
                panel_inputs(6, job, panel, rows, row, first, n, c);
            }
            for (; c + 4 <= job->n_cols; c += 4)
                panel_inputs(4, job, panel, rows, row, first, n, c);
            for (; c + 2 <= job->n_cols; c += 2)
                panel_inputs(2, job, panel, rows, row, first, n, c);
            for (; c < job->n_cols; c++)
                panel_inputs(1, job, panel, rows, row, first, n, c);
        }
    }
}

void avx512_product(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
                    int k, float *out, size_t out_stride) {
    static void (*const by_type[DTYPE_COUNT])(const struct job *, const uint8_t *, size_t,
                                              int) = {[DTYPE_F32] = streamed_f32,
                                                      [DTYPE_F16] = streamed_f16,
                                                      [DTYPE_BF16] = streamed_bf16,
                                                      [DTYPE_F8_E4M3] = streamed_f8};
    struct job job = {x, x_stride, n_cols, k, out, out_stride};
    size_t row_bytes = convert_row_bytes(type, k);
    if (by_type[type] == NULL || n_cols >= MANY)
        panels(type, &job, w, row_bytes, n_rows);
    else
        by_type[type](&job, w, row_bytes, n_rows);
}
#else
typedef int avx512_floats_is_for_x86;
#endif
