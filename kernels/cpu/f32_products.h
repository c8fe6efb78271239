/* Products with inputs in F32: f32_tile.h says how. Included by avx2_floats.c and avx512_floats.c, which
 * define before:
 *
 *   F32_TARGET, F32_INLINE, F32_UNROLL   as AVX2_TARGET and so on
 *   F32_LANES, f32_vector                a vector of so many floats, and of it f32_zero(), f32_broadcast(),
 *                                        f32_add(), f32_fma(), f32_store() and f32_load()
 *   f32_turn_singles()                   of f32_turn.h
 *   F32_INPUTS                           of a tile, at most
 *   F32_EACH_OF_ALL(X, …)                X(1, …) to X(F32_INPUTS, …)
 *   F32_EACH_OF_MANY(X, …)               the same of what tiles have where there are more inputs
 *   F32_TWO_STRIPS, F32_FOUR_STRIPS      inputs, at most, that meet so many strips at a time; and of them
 *   F32_EACH_OF_TWO(X, …)
 *   F32_EACH_OF_FOUR(X, …)
 *   F32_AHEAD(S)                         how early lines of strips that stream past are asked for, where S
 *                                        do at a time: bytes, 0 never; and how much earlier than that into
 *   F32_FURTHER(S)                       the second-level cache
 *
 * Rows that lie by themselves are put side by side in the first-level cache, a line or a piece at a time;
 * types of blocks are made F32 first. Up to F32_INPUTS inputs meet rows in one pass over memory. With more, a
 * piece of sixteen rows is made F32 in the first-level cache, while it meets the first of them; those that
 * follow, whose pieces are in the second-level cache, meet it there. */
#ifndef KERNELS_CPU_F32_PRODUCTS_H
#define KERNELS_CPU_F32_PRODUCTS_H

#include "kernels/cpu/convert.h"
#include "kernels/cpu/pack.h"
#include "kernels/dtype.h"
/* Needs what is above. */
#include "kernels/cpu/f32_tile.h"

/* How early the lines of rows that are fetched one after another are asked for. */
#define ROWS_AHEAD 4
/* Inputs and strips that are together in the second-level cache, of 512 KB: the pieces of the inputs are a
 * quarter of it, and so are the sums. */
#define MANY_INPUTS (128 / F32_INPUTS * F32_INPUTS)
#define MANY_STRIPS 16

typedef void (*tile_fn)(const struct f32_tile *t);

/* Functions of their own, because together they would need more registers than there are. */
#define FUNCTION(NAME, ...)                                                                                  \
    F32_TARGET static __attribute__((noinline)) void NAME(const struct f32_tile *t) {                        \
        __VA_ARGS__;                                                                                         \
    }
#define TILE(C, NAME, TYPE, S, ALSO) FUNCTION(NAME##_##C, f32_tile(TYPE, S, C, ALSO, t))
#define STREAM(C, NAME, TYPE, ALSO)  FUNCTION(NAME##_##C, f32_stream(TYPE, C, ALSO, t))
#define STRIPS(NAME, TYPE)                                                                                   \
    F32_EACH_OF_ALL(TILE, NAME##_1, TYPE, 1, F32_ASK)                                                        \
    F32_EACH_OF_TWO(TILE, NAME##_2, TYPE, 2, F32_ASK)                                                        \
    F32_EACH_OF_FOUR(TILE, NAME##_4, TYPE, 4, F32_ASK)

STRIPS(ask_f32, DTYPE_F32)
STRIPS(ask_f16, DTYPE_F16)
STRIPS(ask_bf16, DTYPE_BF16)
STRIPS(ask_f8, DTYPE_F8_E4M3)
F32_EACH_OF_MANY(TILE, keep_f16, DTYPE_F16, 1, F32_ASK | F32_KEEP)
F32_EACH_OF_MANY(TILE, keep_bf16, DTYPE_BF16, 1, F32_ASK | F32_KEEP)
F32_EACH_OF_MANY(TILE, keep_f8, DTYPE_F8_E4M3, 1, F32_ASK | F32_KEEP)
F32_EACH_OF_ALL(TILE, here_f32, DTYPE_F32, 1, 0)
F32_EACH_OF_ALL(TILE, here_f16, DTYPE_F16, 1, 0)
F32_EACH_OF_ALL(TILE, here_bf16, DTYPE_BF16, 1, 0)
F32_EACH_OF_ALL(TILE, here_f8, DTYPE_F8_E4M3, 1, 0)
F32_EACH_OF_ALL(STREAM, stream_f32, DTYPE_F32, 0)
F32_EACH_OF_ALL(STREAM, stream_f16, DTYPE_F16, 0)
F32_EACH_OF_ALL(STREAM, stream_bf16, DTYPE_BF16, 0)
F32_EACH_OF_ALL(STREAM, stream_f8, DTYPE_F8_E4M3, 0)
F32_EACH_OF_MANY(STREAM, stream_keep_f32, DTYPE_F32, F32_KEEP)
F32_EACH_OF_MANY(STREAM, stream_keep_f16, DTYPE_F16, F32_KEEP)
F32_EACH_OF_MANY(STREAM, stream_keep_bf16, DTYPE_BF16, F32_KEEP)
F32_EACH_OF_MANY(STREAM, stream_keep_f8, DTYPE_F8_E4M3, F32_KEEP)

#define ENTRY(C, NAME) [C] = NAME##_##C,
#define OF_ALL(NAME)                                                                                         \
    { F32_EACH_OF_ALL(ENTRY, NAME) }
#define OF_MANY(NAME)                                                                                        \
    { F32_EACH_OF_MANY(ENTRY, NAME) }
#define OF_STRIPS(NAME)                                                                                      \
    {                                                                                                        \
        [1] = OF_ALL(NAME##_1), [2] = {F32_EACH_OF_TWO(ENTRY, NAME##_2)}, [4] = {                            \
            F32_EACH_OF_FOUR(ENTRY, NAME##_4)                                                                \
        }                                                                                                    \
    }

/* Strips in memory: by strips and inputs. */
static const tile_fn asking[DTYPE_COUNT][F32_STRIPS + 1][F32_INPUTS + 1] = {
    [DTYPE_F32] = OF_STRIPS(ask_f32),
    [DTYPE_F16] = OF_STRIPS(ask_f16),
    [DTYPE_BF16] = OF_STRIPS(ask_bf16),
    [DTYPE_F8_E4M3] = OF_STRIPS(ask_f8)};
/* A strip anywhere that fills a panel: by inputs. */
static const tile_fn keeping[DTYPE_COUNT][F32_INPUTS + 1] = {
    [DTYPE_F16] = OF_MANY(keep_f16), [DTYPE_BF16] = OF_MANY(keep_bf16), [DTYPE_F8_E4M3] = OF_MANY(keep_f8)};
/* A strip in the first-level cache. */
static const tile_fn cached[DTYPE_COUNT][F32_INPUTS + 1] = {[DTYPE_F32] = OF_ALL(here_f32),
                                                            [DTYPE_F16] = OF_ALL(here_f16),
                                                            [DTYPE_BF16] = OF_ALL(here_bf16),
                                                            [DTYPE_F8_E4M3] = OF_ALL(here_f8)};
/* Whole rows that lie by themselves, and those that fill a panel. */
static const tile_fn streaming[DTYPE_COUNT][F32_INPUTS + 1] = {[DTYPE_F32] = OF_ALL(stream_f32),
                                                               [DTYPE_F16] = OF_ALL(stream_f16),
                                                               [DTYPE_BF16] = OF_ALL(stream_bf16),
                                                               [DTYPE_F8_E4M3] = OF_ALL(stream_f8)};
static const tile_fn stream_keeping[DTYPE_COUNT][F32_INPUTS + 1] = {[DTYPE_F32] = OF_MANY(stream_keep_f32),
                                                                    [DTYPE_F16] = OF_MANY(stream_keep_f16),
                                                                    [DTYPE_BF16] = OF_MANY(stream_keep_bf16),
                                                                    [DTYPE_F8_E4M3] =
                                                                        OF_MANY(stream_keep_f8)};

/* A product. Its rows are those from first_row on of a matrix whose strips begin at w, or of rows that lie by
 * themselves, from w on; then first_row is 0. */
struct job {
    enum dtype type, as; /* as stored, and as its pieces are in a strip */
    bool packed, blocks; /* side by side; of types of blocks */
    const uint8_t *w;
    size_t row_bytes;
    int first_row, n_rows;
    const char *x;
    size_t x_stride;
    int n_cols, k;
    float *out;
    size_t out_stride;
};

static int min(int a, int b) {
    return a < b ? a : b;
}

static int n_strips(const struct job *job) {
    return (job->first_row % PACK_ROWS + job->n_rows + PACK_ROWS - 1) / PACK_ROWS;
}

/* A part of a piece (struct f32_tile) is sixteen elements of the strip, or the piece of one row. */
static size_t ask_stride(const struct job *job) {
    return job->packed ? convert_row_bytes(job->type, 16) * PACK_ROWS : job->row_bytes;
}

/* Where element `first` of the rows of a strip is, or of its first row where they lie by themselves. */
static const uint8_t *strip_at(const struct job *job, int strip, int first) {
    size_t row = (size_t)(job->first_row / PACK_ROWS + strip) * PACK_ROWS;
    return job->w + row * job->row_bytes +
           convert_row_bytes(job->type, first) * (job->packed ? PACK_ROWS : 1);
}

/* Sums of C inputs from c on, with a strip. */
static void put(const struct job *job, int strip, int c, int n, float (*sums)[PACK_ROWS]) {
    int row = strip * PACK_ROWS - job->first_row % PACK_ROWS; /* of the product; the first may be before it */
    int from = row < 0 ? -row : 0, to = min(PACK_ROWS, job->n_rows - row);
    for (int i = 0; i < n; i++)
        memcpy(job->out + (size_t)(c + i) * job->out_stride + (row + from), sums[i] + from,
               (size_t)(to - from) * sizeof(float));
}

/* ---- rows that lie by themselves ---- */

/* A piece of a strip side by side, in job->as. */
struct piece {
    _Alignas(64) uint8_t bytes[F32_PIECE * PACK_ROWS * 4];
};

/* Pieces of sixteen rows, not all in the same few sets of a cache. */
struct rows {
    _Alignas(64) uint8_t bytes[PACK_ROWS][F32_PIECE * 4 + 64];
};

/* Rows one after another: memory likes that better than a line of each. */
F32_TARGET static void fetch(const struct job *job, const uint8_t *at, int n_rows, size_t bytes,
                             struct rows *rows) {
    for (int r = 0; r < PACK_ROWS; r++) {
        /* Again the last where there are no more. */
        const uint8_t *from = at + (size_t)min(r, n_rows - 1) * job->row_bytes;
        uint8_t *to = rows->bytes[r];
        size_t i = 0, ahead = ROWS_AHEAD * job->row_bytes;
        for (; i + 64 <= bytes; i += 64) {
            _mm_prefetch((const char *)((uintptr_t)from + i + ahead), _MM_HINT_T0);
            __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)(from + i));
            __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(from + i + 32));
            _mm256_store_si256((__m256i *)(void *)(to + i), low);
            _mm256_store_si256((__m256i *)(void *)(to + i + 32), high);
        }
        memcpy(to + i, from + i, bytes - i);
    }
}

/* n elements. */
F32_TARGET static void turn(enum dtype type, const struct rows *rows, int n, uint8_t *to) {
    const size_t bytes = f32_element_bytes(type);
    for (size_t at = 0; at < (size_t)n * bytes; at += 64)
        f32_turn_line(bytes, rows->bytes[0] + at, sizeof rows->bytes[0], to + at * PACK_ROWS);
}

/* n elements from `first` on of the rows of a strip, followed by whatever up to a whole line. */
static void put_side_by_side(const struct job *job, int strip, int first, int n, struct piece *piece) {
    struct rows rows;
    const uint8_t *at = strip_at(job, strip, first);
    int n_rows = min(PACK_ROWS, job->n_rows - strip * PACK_ROWS);
    if (job->blocks) {
        for (int r = 0; r < PACK_ROWS; r++)
            convert_row(job->type, at + (size_t)min(r, n_rows - 1) * job->row_bytes, n,
                        (float *)(void *)rows.bytes[r]);
    } else
        fetch(job, at, n_rows, convert_row_bytes(job->type, n), &rows);
    turn(job->as, &rows, n, piece->bytes);
}

/* Whether n elements of the rows of a strip can be put side by side on the way (f32_stream()). */
static bool streams(const struct job *job, int strip, int n) {
    return !job->packed && !job->blocks && convert_row_bytes(job->type, n) % 64 == 0 &&
           job->n_rows - strip * PACK_ROWS >= PACK_ROWS;
}

/* ---- few inputs ---- */

/* Strips `strip`, strip + apart, … of a job, S of them, times all inputs. */
static void few(const struct job *job, int strip, int S, int apart) {
    struct piece piece;
    _Alignas(64) float sums[F32_STRIPS][F32_INPUTS][PACK_ROWS];
    struct f32_tile t = {.ask_stride = convert_row_bytes(job->type, 16) * PACK_ROWS,
                         .ask_further = F32_FURTHER(S),
                         .row_stride = job->row_bytes,
                         .x_stride = job->x_stride,
                         .sums = sums[0][0],
                         .sum_stride = F32_INPUTS * PACK_ROWS};
    const size_t ahead = F32_AHEAD(S);
    for (int first = 0; first < job->k; first += F32_PIECE) {
        t.x = (const float *)(const void *)job->x + first;
        t.n = min(F32_PIECE, job->k - first);
        t.first = first == 0;
        for (int s = 0; s < S; s++) {
            t.strip[s] = strip_at(job, strip + s * apart, first);
            t.ask[s] = ahead > 0 ? t.strip[s] + ahead : NULL;
        }
        if (job->packed) {
            asking[job->type][S][job->n_cols](&t);
            continue;
        }
        /* In the order of memory, though rows are wanted side by side: memory likes that better. */
        t.ask[0] = strip_at(job, strip + 1, 0) + convert_row_bytes(job->type, first) * PACK_ROWS;
        if (streams(job, strip, t.n)) {
            streaming[job->type][job->n_cols](&t);
        } else {
            put_side_by_side(job, strip, first, t.n, &piece);
            t.strip[0] = piece.bytes;
            cached[job->as][job->n_cols](&t);
        }
    }
    for (int s = 0; s < S; s++)
        put(job, strip + s * apart, 0, job->n_cols, sums[s]);
}

/* Several strips at a time, from different parts of the rows, where their sums fit into registers: additions
 * wait less for each other, and more of memory is on its way. */
static void few_inputs(const struct job *job) {
    int n = n_strips(job), strip = 0;
    int most = job->n_cols <= F32_FOUR_STRIPS ? 4 : job->n_cols <= F32_TWO_STRIPS ? 2 : 1;
    for (int S = job->packed ? most : 1; strip < n; S /= 2) {
        int part = (n - strip) / S;
        for (int i = 0; i < part; i++)
            few(job, strip + i, S, part);
        strip += part * S;
    }
}

/* ---- many ---- */

struct group {
    _Alignas(64) float panel[F32_PIECE * PACK_ROWS];
    _Alignas(64) float sums[MANY_STRIPS][MANY_INPUTS][PACK_ROWS];
    struct piece piece;
    int n_cols, strip, n_strips; /* those of the job from `strip` on */
    const float *x;              /* the piece of the first input */
};

/* A piece of a strip times the inputs; n elements from `first` on. */
static void many_strip(const struct job *job, struct group *g, int strip, int first, int n) {
    const uint8_t *at = strip_at(job, strip, first);
    bool last = strip + 1 == g->strip + g->n_strips;
    const uint8_t *next = last ? strip_at(job, g->strip, first + n) : strip_at(job, strip + 1, first);
    struct f32_tile t = {.strip = {at},
                         .ask = {next},
                         .ask_stride = ask_stride(job),
                         .row_stride = job->row_bytes,
                         .x_stride = job->x_stride,
                         .n = n,
                         .panel = g->panel,
                         .first = first == 0};
    bool stream = streams(job, strip, n);
    const tile_fn *of = stream                 ? stream_keeping[job->type]
                        : job->as != DTYPE_F32 ? keeping[job->as]
                        : job->packed          ? asking[DTYPE_F32][1]
                                               : cached[DTYPE_F32];
    if (!job->packed && !stream) {
        put_side_by_side(job, strip, first, n, &g->piece);
        t.strip[0] = g->piece.bytes;
    }
    int tiles = (g->n_cols + F32_INPUTS - 1) / F32_INPUTS;
    for (int i = 0, c = 0, inputs; i < tiles; i++, c += inputs) {
        inputs = (g->n_cols + i) / tiles;
        t.x = (const float *)(const void *)((const char *)g->x + (size_t)c * job->x_stride);
        t.sums = g->sums[strip - g->strip][c];
        of[inputs](&t);
        if (of == stream_keeping[job->type] || of == keeping[job->as])
            t.strip[0] = (const uint8_t *)(const void *)g->panel;
        of = cached[DTYPE_F32];
    }
}

/* Inputs from c on. */
static void many(const struct job *job, struct group *g, int c) {
    for (int first = 0; first < job->k; first += F32_PIECE) {
        g->x = (const float *)(const void *)(job->x + (size_t)c * job->x_stride) + first;
        for (int s = 0; s < g->n_strips; s++)
            many_strip(job, g, g->strip + s, first, min(F32_PIECE, job->k - first));
    }
    for (int s = 0; s < g->n_strips; s++)
        put(job, g->strip + s, c, g->n_cols, g->sums[s]);
}

static void many_inputs(const struct job *job) {
    struct group g;
    int n = n_strips(job), passes = (job->n_cols + MANY_INPUTS - 1) / MANY_INPUTS;
    int together = ((job->n_cols + passes - 1) / passes + F32_INPUTS - 1) / F32_INPUTS * F32_INPUTS;
    for (g.strip = 0; g.strip < n; g.strip += MANY_STRIPS) {
        g.n_strips = min(MANY_STRIPS, n - g.strip);
        for (int c = 0; c < job->n_cols; c += together) {
            g.n_cols = min(together, job->n_cols - c);
            many(job, &g, c);
        }
    }
}

static void product(struct job job) {
    job.row_bytes = convert_row_bytes(job.type, job.k);
    if (job.n_cols <= F32_INPUTS)
        few_inputs(&job);
    else
        many_inputs(&job);
}

/* As struct cpu_ops has it. */
static void f32_product(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride,
                        int n_cols, int k, float *out, size_t out_stride) {
    const bool blocks = dtype_info(type)->block_elements > 1;
    const enum dtype as = blocks ? DTYPE_F32 : type;
    product((struct job){type, as, false, blocks, w, 0, 0, n_rows, x, x_stride, n_cols, k, out, out_stride});
}

/* Types without blocks. */
static void f32_product_packed(enum dtype type, const void *w, int first, int n_rows, const void *x,
                               size_t x_stride, int n_cols, int k, float *out, size_t out_stride) {
    product(
        (struct job){type, type, true, false, w, 0, first, n_rows, x, x_stride, n_cols, k, out, out_stride});
}

#endif
