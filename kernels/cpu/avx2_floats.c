/* Products with inputs in F32, with AVX2, FMA and F16C.
 *
 * A row is cut into pieces of 512 elements. A piece of one output has one register of eight sums that runs
 * over it in ascending order; it is summed up in one fixed order and added to what the pieces before gave. So
 * an output is the same bits whatever rows and inputs stand beside it.
 *
 * With few inputs, stored rows are made F32 in registers as they stream past. With many, and for types of
 * blocks, the pieces of some inputs are laid side by side in the second-level cache, and the pieces of a few
 * rows at a time are made F32 in the first, where they meet those inputs. */
#if defined(__x86_64__)
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/ops_avx2.h"

#include <immintrin.h>
#include <string.h>

#define LANES 8
/* Of eight elements that stand side by side: a loop of few rounds ends where the processor expects it. */
#define STEPS 8
#define PIECE 512
/* Rows of a panel: with three inputs they fill two thirds of a first-level cache of 32 KB. */
#define PANEL_ROWS 8
/* Inputs that meet it: half of a second-level cache of 512 KB. */
#define PANEL_INPUTS 126
/* Rows that inputs meet once they are laid out. */
#define GROUP_ROWS 256
/* Inputs from which on that pays. */
#define MANY 8
/* How early the lines of a row that streams past are asked for. */
#define BYTES_AHEAD 2048

/* Lane l and l + 4, then 2 and 1 further: of four registers. */
AVX2_INLINE __m128 sums_of(const __m256 v[4]) {
    __m256 a =
        _mm256_add_ps(_mm256_permute2f128_ps(v[0], v[1], 0x20), _mm256_permute2f128_ps(v[0], v[1], 0x31));
    __m256 b =
        _mm256_add_ps(_mm256_permute2f128_ps(v[2], v[3], 0x20), _mm256_permute2f128_ps(v[2], v[3], 0x31));
    /* 0 0 2 2 | 1 1 3 3 */
    a = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xEE));
    a = _mm256_add_ps(a, _mm256_permute_ps(a, 0xB1));
    __m128 low = _mm256_castps256_ps128(a), high = _mm256_extractf128_ps(a, 1);
    return _mm_blend_ps(low, high, 0xA); /* 0 1 2 3 */
}

/* Bytes of an element; known when compiled, unlike kernels/dtype.c's. */
AVX2_INLINE int element_bytes(enum dtype type) {
    return type == DTYPE_F32 ? 4 : type == DTYPE_F8_E4M3 ? 1 : 2;
}

/* Eight elements of a row. */
AVX2_INLINE __m256 load(enum dtype type, const uint8_t *at) {
    switch (type) {
    case DTYPE_F32:
        return _mm256_loadu_ps((const float *)(const void *)at);
    case DTYPE_F16:
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)at));
    case DTYPE_BF16: {
        __m128i half = _mm_loadu_si128((const __m128i *)(const void *)at);
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    }
    default: { /* E4M3: halves of the same exponent and mantissa are 2^-8 of it; 0x7F is no number */
        __m128i b = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)at));
        __m128i magnitude = _mm_and_si128(b, _mm_set1_epi16(0x7F));
        __m128i none =
            _mm_and_si128(_mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7F)), _mm_set1_epi16(0x7E00));
        __m128i sign = _mm_slli_epi16(_mm_and_si128(b, _mm_set1_epi16(0x80)), 8);
        __m128i half = _mm_or_si128(_mm_or_si128(_mm_slli_epi16(magnitude, 7), sign), none);
        return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));
    }
    }
}

/* The n < 8 last elements of a row; the others are 0 and not read. */
AVX2_INLINE __m256 load_rest(enum dtype type, const uint8_t *at, int n) {
    uint8_t rest[LANES * 4] = {0};
    memcpy(rest, at, (size_t)(n * element_bytes(type)));
    return load(type, rest);
}

AVX2_INLINE __m256i mask_of(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* A step of eight elements of a tile of R rows and C inputs; n < 8 are the last of a row. */
AVX2_INLINE void step(int R, int C, const __m256 w[4], const char *x, size_t x_stride, int n,
                      __m256 acc[4][4]) {
    AVX2_UNROLL
    for (int c = 0; c < C; c++) {
        const float *at = (const float *)(const void *)(x + (size_t)c * x_stride);
        __m256 in = n == LANES ? _mm256_load_ps(at) : _mm256_maskload_ps(at, mask_of(n));
        AVX2_UNROLL
        for (int r = 0; r < R; r++)
            acc[r][c] = _mm256_fmadd_ps(w[r], in, acc[r][c]);
    }
}

/* The sums of a tile: those of input c, a row in each lane; added to what is there, or put there: the first.
 */
AVX2_INLINE void add_sums(int R, int C, __m256 acc[4][4], bool first, __m128 total[4]) {
    AVX2_UNROLL
    for (int c = 0; c < C; c++) {
        __m256 v[4];
        AVX2_UNROLL
        for (int r = 0; r < 4; r++)
            v[r] = acc[r < R ? r : 0][c];
        __m128 sums = sums_of(v);
        total[c] = first ? sums : _mm_add_ps(total[c], sums);
    }
}

AVX2_INLINE void no_sums(int R, int C, __m256 acc[4][4]) {
    AVX2_UNROLL
    for (int r = 0; r < R; r++)
        AVX2_UNROLL
    for (int c = 0; c < C; c++)
        acc[r][c] = _mm256_setzero_ps();
}

/* n <= PIECE elements of R stored rows, which lie `between` bytes apart, times C inputs. The lines that the
 * rows will want soon are asked for. */
AVX2_INLINE void stream_piece(enum dtype type, int R, int C, const uint8_t *at, size_t between, const char *x,
                              size_t x_stride, int n, __m256 acc[4][4]) {
    const int bytes = element_bytes(type), line = 64 / bytes;
    __m256 v[4];
    int i = 0;
    for (; i + line <= n; i += line) {
        AVX2_UNROLL
        for (int r = 0; r < R; r++)
            _mm_prefetch((const char *)at + (size_t)r * between + (size_t)(i * bytes) + BYTES_AHEAD,
                         _MM_HINT_T0);
        AVX2_UNROLL
        for (int j = 0; j < line; j += LANES) {
            AVX2_UNROLL
            for (int r = 0; r < R; r++)
                v[r] = load(type, at + (size_t)r * between + (size_t)((i + j) * bytes));
            step(R, C, v, x + (size_t)(i + j) * 4, x_stride, LANES, acc);
        }
    }
    for (; i + LANES <= n; i += LANES) {
        AVX2_UNROLL
        for (int r = 0; r < R; r++)
            v[r] = load(type, at + (size_t)r * between + (size_t)(i * bytes));
        step(R, C, v, x + (size_t)i * 4, x_stride, LANES, acc);
    }
    if (i < n) {
        AVX2_UNROLL
        for (int r = 0; r < R; r++)
            v[r] = load_rest(type, at + (size_t)r * between + (size_t)(i * bytes), n - i);
        step(R, C, v, x + (size_t)i * 4, x_stride, n - i, acc);
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
AVX2_INLINE void stream(enum dtype type, int R, int C, const struct job *job, const uint8_t *w,
                        size_t row_bytes, int row, int apart, int c) {
    const uint8_t *at = w + (size_t)row * row_bytes;
    const char *x = job->x + (size_t)c * job->x_stride;
    __m128 total[4] = {_mm_setzero_ps(), _mm_setzero_ps(), _mm_setzero_ps(), _mm_setzero_ps()};
    for (int first = 0; first < job->k; first += PIECE) {
        __m256 acc[4][4];
        no_sums(R, C, acc);
        stream_piece(type, R, C, at + (size_t)(first * element_bytes(type)), (size_t)apart * row_bytes,
                     x + (size_t)first * 4, job->x_stride, job->k - first < PIECE ? job->k - first : PIECE,
                     acc);
        add_sums(R, C, acc, first == 0, total);
    }
    AVX2_UNROLL
    for (int i = 0; i < C; i++) {
        float rows[4], *out = job->out + (size_t)(c + i) * job->out_stride + row;
        _mm_storeu_ps(rows, total[i]);
        AVX2_UNROLL
        for (int r = 0; r < R; r++)
            out[r * apart] = rows[r];
    }
}

/* The same times all inputs, which are few. */
AVX2_INLINE void stream_all(enum dtype type, int R, const struct job *job, const uint8_t *w, size_t row_bytes,
                            int row, int apart) {
    const int most = R == 4 ? 3 : 4; /* twelve sums, and what they are made of, are all registers */
    int c = 0;
    for (; c + most <= job->n_cols; c += most)
        stream(type, R, most, job, w, row_bytes, row, apart, c);
    if (job->n_cols - c == 3)
        stream(type, R, 3, job, w, row_bytes, row, apart, c);
    else if (job->n_cols - c == 2)
        stream(type, R, 2, job, w, row_bytes, row, apart, c);
    else if (job->n_cols - c == 1)
        stream(type, R, 1, job, w, row_bytes, row, apart, c);
}

#define STREAMED(NAME, TYPE)                                                                                 \
    AVX2_TARGET static void NAME(const struct job *job, const uint8_t *w, size_t row_bytes, int n_rows) {    \
        int part, row = 0;                                                                                   \
        if (job->n_cols <= 3) {                                                                              \
            part = n_rows / 4;                                                                               \
            for (int r = 0; r < part; r++)                                                                   \
                stream_all(TYPE, 4, job, w, row_bytes, r, part);                                             \
            row = 4 * part;                                                                                  \
        } else {                                                                                             \
            part = n_rows / 3;                                                                               \
            for (int r = 0; r < part; r++)                                                                   \
                stream_all(TYPE, 3, job, w, row_bytes, r, part);                                             \
            row = 3 * part;                                                                                  \
        }                                                                                                    \
        for (; row < n_rows; row++)                                                                          \
            stream_all(TYPE, 1, job, w, row_bytes, row, 1);                                                  \
    }

STREAMED(streamed_f32, DTYPE_F32)
STREAMED(streamed_f16, DTYPE_F16)
STREAMED(streamed_bf16, DTYPE_BF16)
STREAMED(streamed_f8, DTYPE_F8_E4M3)

AVX2_INLINE void decode_floats(enum dtype type, const uint8_t *row, int n, float *out) {
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_store_ps(out + i, load(type, row + (size_t)(i * element_bytes(type))));
    if (i < n)
        _mm256_store_ps(out + i, load_rest(type, row + (size_t)(i * element_bytes(type)), n - i));
}

/* A piece of a row, followed by zeros up to a multiple of eight. */
AVX2_TARGET static void decode(enum dtype type, const uint8_t *row, int n, float *out) {
    switch (type) {
    case DTYPE_F32:
        decode_floats(DTYPE_F32, row, n, out);
        break;
    case DTYPE_F16:
        decode_floats(DTYPE_F16, row, n, out);
        break;
    case DTYPE_BF16:
        decode_floats(DTYPE_BF16, row, n, out);
        break;
    case DTYPE_F8_E4M3:
        decode_floats(DTYPE_F8_E4M3, row, n, out);
        break;
    default:
        convert_row(type, row, n, out);
        break;
    }
}

/* What meets in the caches. */
struct group {
    _Alignas(64) float inputs[PANEL_INPUTS][PIECE];
    _Alignas(64) float panel[PANEL_ROWS][PIECE];
    _Alignas(64) float sums[PANEL_INPUTS][GROUP_ROWS];
    int n_cols, n_rows;
    bool first; /* of the pieces */
    int steps;  /* of eight elements that a piece has */
};

/* Lays the pieces of inputs c … side by side, followed by zeros up to a multiple of eight. */
AVX2_TARGET static void lay_out(struct group *g, const struct job *job, int c, int first, int n) {
    for (int i = 0; i < g->n_cols; i++) {
        const float *x = (const float *)(const void *)(job->x + (size_t)(c + i) * job->x_stride) + first;
        decode_floats(DTYPE_F32, (const uint8_t *)(const void *)x, n, g->inputs[i]);
    }
}

/* Eight elements of four rows of the panel, from w on, times C inputs, from x on. */
AVX2_INLINE void panel_step(int C, const float *w, const float *x, __m256 acc[4][4]) {
    __m256 in[4];
    AVX2_UNROLL
    for (int j = 0; j < C; j++)
        in[j] = _mm256_load_ps(x + j * PIECE);
    AVX2_UNROLL
    for (int k = 0; k < 4; k++) {
        __m256 v = _mm256_load_ps(w + k * PIECE);
        AVX2_UNROLL
        for (int j = 0; j < C; j++)
            acc[k][j] = _mm256_fmadd_ps(v, in[j], acc[k][j]);
    }
}

/* Four rows of the panel, from r on, times C inputs from c on: sums of row `row` of the group and three more.
 */
AVX2_INLINE void panel_tile(int C, struct group *g, int r, int c, int row) {
    const float *w = g->panel[r], *x = g->inputs[c];
    __m256 acc[4][4];
    no_sums(4, C, acc);
    int i = 0, n = g->steps * LANES;
    for (; i + STEPS * LANES <= n; i += STEPS * LANES) {
        AVX2_UNROLL
        for (int u = 0; u < STEPS * LANES; u += LANES)
            panel_step(C, w + i + u, x + i + u, acc);
    }
    for (; i < n; i += LANES)
        panel_step(C, w + i, x + i, acc);
    __m128 total[4];
    AVX2_UNROLL
    for (int j = 0; j < C; j++)
        total[j] = _mm_load_ps(&g->sums[c + j][row]);
    add_sums(4, C, acc, g->first, total);
    AVX2_UNROLL
    for (int j = 0; j < C; j++)
        _mm_store_ps(&g->sums[c + j][row], total[j]);
}

AVX2_INLINE void panel_inputs(int C, struct group *g, int row, int c) {
    for (int r = 0; r < PANEL_ROWS && row + r < g->n_rows; r += 4)
        panel_tile(C, g, r, c, row + r);
}

/* What the next panel is made of. */
struct next {
    const uint8_t *at;
    size_t row_bytes, bytes; /* from row to row; of a row */
};

/* Asks for lines from … to - 1 of it: into the second-level cache, because the first has no room for them.
 * Addresses past the end of the weights do no harm. */
AVX2_INLINE void ask(const struct next *next, size_t from, size_t to) {
    size_t lines = (next->bytes + 63) / 64;
    for (size_t i = from; i < to && i < lines * PANEL_ROWS; i++)
        _mm_prefetch((const char *)next->at + i / lines * next->row_bytes + i % lines * 64, _MM_HINT_T1);
}

/* The panel, whose first row is `row` of the group, times all inputs. */
AVX2_TARGET static void panel_all(struct group *g, int row, const struct next *next) {
    size_t lines = PANEL_ROWS * ((next->bytes + 63) / 64);
    size_t share = (lines * 3 + (size_t)g->n_cols - 1) / (size_t)g->n_cols, asked = 0;
    int c = 0;
    for (; c + 3 <= g->n_cols; c += 3, asked += share) {
        ask(next, asked, asked + share);
        panel_inputs(3, g, row, c);
    }
    if (g->n_cols - c == 2)
        panel_inputs(2, g, row, c);
    else if (g->n_cols - c == 1)
        panel_inputs(1, g, row, c);
}

/* All pieces of the rows, which begin at w, and of the inputs, which begin with c, of a group. */
static void group_products(enum dtype type, struct group *g, const struct job *job, const uint8_t *w,
                           size_t row_bytes, int c) {
    for (int first = 0; first < job->k; first += PIECE) {
        int n = job->k - first < PIECE ? job->k - first : PIECE;
        const uint8_t *at = w + convert_row_bytes(type, first);
        struct next next = {.row_bytes = row_bytes, .bytes = convert_row_bytes(type, n)};
        lay_out(g, job, c, first, n);
        g->first = first == 0;
        g->steps = (n + LANES - 1) / LANES;
        for (int row = 0; row < g->n_rows; row += PANEL_ROWS) {
            for (int r = 0; r < PANEL_ROWS && row + r < g->n_rows; r++)
                decode(type, at + (size_t)(row + r) * row_bytes, n, g->panel[r]);
            bool last = row + PANEL_ROWS >= g->n_rows;
            next.at = last ? at + next.bytes : at + (size_t)(row + PANEL_ROWS) * row_bytes;
            panel_all(g, row, &next);
        }
    }
}

/* By way of panels. */
static void panels(enum dtype type, const struct job *job, const uint8_t *w, size_t row_bytes, int n_rows) {
    struct group g;
    memset(g.panel, 0, sizeof g.panel); /* a tile reads four rows, also where fewer are left */
    for (int row = 0; row < n_rows; row += GROUP_ROWS)
        for (int c = 0; c < job->n_cols; c += PANEL_INPUTS) {
            g.n_rows = n_rows - row < GROUP_ROWS ? n_rows - row : GROUP_ROWS;
            g.n_cols = job->n_cols - c < PANEL_INPUTS ? job->n_cols - c : PANEL_INPUTS;
            group_products(type, &g, job, w + (size_t)row * row_bytes, row_bytes, c);
            for (int i = 0; i < g.n_cols; i++)
                memcpy(job->out + (size_t)(c + i) * job->out_stride + row, g.sums[i], (size_t)g.n_rows * 4);
        }
}

void ops_avx2_product(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride, int n_cols,
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
typedef int avx2_floats_is_for_x86;
#endif
