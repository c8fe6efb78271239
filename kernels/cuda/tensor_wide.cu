/* Products of 33 to 64 rows of the batch with weights of BF16, F16 or F8, by tensor cores. As tensor.cu, but
 * a block takes 64 pairs (128 rows of weights), so that of what it reads a third is inputs and not two
 * thirds.
 *
 * Of each 256 columns a row's sum has four parts, 64 columns each, added in their order at the end: the same
 * sums as in tensor.cu, bit by bit, whoever adds them up. A block has all four parts of its tile; or one of
 * them, where a step has too few tiles for all multiprocessors. Then the four write their parts to memory,
 * and the one that is last adds them.
 *
 * Columns come 64 at a time, into four buffers: three are on their way while one is multiplied. Of 8 warps
 * four share the rows of weights, two the rows of the batch. */
#include "kernels/cuda/product.cuh"

#define WIDE_PAIRS  (CUDA_WIDE_TILE / 2)
#define WIDE_COLS   64 /* at a time: of one part */
#define WIDE_STAGES 4

template <int FAMILY, int N> struct wide_layout {
    static constexpr int weights = WIDE_COLS * (FAMILY == CUDA_FAMILY_F8 ? 1 : 2); /* bytes of a row */
    static constexpr int inputs = WIDE_COLS * 2;
    static constexpr int first_input = CUDA_WIDE_TILE * weights;
    static constexpr int bytes = first_input + N * inputs;
    static constexpr int total = N + 1; /* floats of a row of sums */
};

/* Where a chunk of 16 bytes of a row lies in a buffer. Eight neighbouring rows have the same chunk in
 * different banks, and four of them two neighbouring chunks. Rows that are 8 apart have theirs in the same
 * places. */
template <int ROW_BYTES> GPU_INLINE int wide_chunk(int row, int chunk) {
    int turn = ROW_BYTES == 128 ? row % 4 * 2 + row / 4 % 2 : row / 2 % 4;
    return row * ROW_BYTES + (chunk ^ turn) * 16;
}

struct wide_shared {
    int32_t row[CUDA_WIDE_TILE]; /* of weights, of each row of the tile; these as in tensor.cu */
    uint32_t ticket;
};

/* Section and first pair in it of a tile. */
struct wide_place {
    int section, pair;
};

GPU_INLINE struct wide_place wide_place_of(const struct cuda_product &p, int family, int tile) {
    struct wide_place at = {0, 0};
    for (int i = 0; i < p.n_sections; i++) {
        int n = steps_wide_tiles(&p.sections[i], family);
        if (tile >= 0 && tile < n)
            at = {i, tile * WIDE_PAIRS};
        tile -= n;
    }
    return at;
}

/* ---- what comes into a buffer ---- */

/* Where the chunks of 16 bytes lie that a thread copies: its first one of each row of weights and of inputs,
 * with the number of the latter's rows that are there. A thread has the same place in every row. */
template <int FAMILY, int N> struct wide_from {
    static constexpr int weights_chunks = wide_layout<FAMILY, N>::weights / 16; /* of a row */
    static constexpr int inputs_chunks = WIDE_COLS / 8;
    static constexpr int weights_step =
        PRODUCT_THREADS / weights_chunks; /* from a row to the thread's next */
    static constexpr int inputs_step = PRODUCT_THREADS / inputs_chunks;
    const uint8_t *weights[CUDA_WIDE_TILE / weights_step];
    const uint8_t *inputs[N / inputs_step];
    int chunks; /* of a row of weights, from the thread's first on */
    int n_rows; /* of inputs, from the thread's first on */
};

template <int FAMILY, int N>
GPU_INLINE void wide_from_weights(const struct cuda_section &s, const int32_t *rows,
                                  struct wide_from<FAMILY, N> *from) {
    typedef struct wide_from<FAMILY, N> type;
    int first = (int)gpu_thread() / type::weights_chunks, c = (int)gpu_thread() % type::weights_chunks;
    from->chunks = s.w[0].chunks - c;
    GPU_UNROLL
    for (int k = 0; k < CUDA_WIDE_TILE / type::weights_step; k++) {
        int r = first + k * type::weights_step;
        const struct cuda_matrix &w = s.w[r / 8 % 2];
        from->weights[k] = w.values + ((int64_t)rows[r] * w.chunks + c) * 16;
    }
}

/* Rows first_row … of the batch. */
template <int FAMILY, int N>
GPU_INLINE void wide_from_inputs(const struct cuda_product &p, int first_row, int n_rows,
                                 struct wide_from<FAMILY, N> *from) {
    typedef struct wide_from<FAMILY, N> type;
    int r = (int)gpu_thread() / type::inputs_chunks, c = (int)gpu_thread() % type::inputs_chunks;
    int64_t row_bytes = steps_prepared_cols(p.cols) * 2;
    const uint8_t *values =
        (const uint8_t *)(FAMILY == CUDA_FAMILY_BF16 ? p.prepared.bf16 : p.prepared.f16) + c * 16;
    from->n_rows = n_rows - first_row - r;
    GPU_UNROLL
    for (int k = 0; k < N / type::inputs_step; k++) {
        bool there = k * type::inputs_step < from->n_rows;
        from->inputs[k] = values + (there ? first_row + r + k * type::inputs_step : 0) * row_bytes;
    }
}

/* Columns `column` on of the tile's rows; zeros behind the last. */
template <int FAMILY, int N>
GPU_INLINE void wide_weights(const struct wide_from<FAMILY, N> &from, uint8_t *buffer, int column) {
    typedef struct wide_from<FAMILY, N> type;
    constexpr int STRIDE = wide_layout<FAMILY, N>::weights;
    static_assert(type::weights_step % 8 == 0, "the thread's chunks lie in the same places");
    int chunk = column / (WIDE_COLS / type::weights_chunks);
    uint8_t *to = buffer + wide_chunk<STRIDE>((int)gpu_thread() / type::weights_chunks,
                                              (int)gpu_thread() % type::weights_chunks);
    bool there = chunk < from.chunks;
    int at = there ? chunk * 16 : 0;
    GPU_UNROLL
    for (int k = 0; k < CUDA_WIDE_TILE / type::weights_step; k++)
        gpu_copy_async16_if(to + k * type::weights_step * STRIDE, from.weights[k] + at, there);
}

/* The same of the inputs; zeros behind the last row. */
template <int FAMILY, int N>
GPU_INLINE void wide_inputs(const struct wide_from<FAMILY, N> &from, uint8_t *buffer, int column) {
    typedef struct wide_from<FAMILY, N> type;
    typedef wide_layout<FAMILY, N> layout;
    static_assert(type::inputs_step % 8 == 0, "the thread's chunks lie in the same places");
    uint8_t *to = buffer + layout::first_input +
                  wide_chunk<layout::inputs>((int)gpu_thread() / type::inputs_chunks,
                                             (int)gpu_thread() % type::inputs_chunks);
    GPU_UNROLL
    for (int k = 0; k < N / type::inputs_step; k++)
        gpu_copy_async16_if(to + k * type::inputs_step * layout::inputs, from.inputs[k] + column * 2,
                            k * type::inputs_step < from.n_rows);
}

/* ---- products of a buffer: of a warp two times 16 rows of weights with N / 2 of the batch ---- */

template <int N> struct wide_sums { float v[2][N / 16][4]; };

template <int FAMILY, int N> GPU_INLINE void wide_halves(const uint8_t *buffer, struct wide_sums<N> *sum) {
    typedef wide_layout<FAMILY, N> layout;
    int lane = (int)gpu_lane(), row = (int)gpu_warp() / 2 * 32, n_row = (int)gpu_warp() % 2 * (N / 2);
    int weights = wide_chunk<layout::weights>(row + lane % 16, lane / 16);
    int inputs = wide_chunk<layout::inputs>(n_row + lane % 8, lane / 8);
    GPU_UNROLL
    for (int k = 0; k < WIDE_COLS; k += 32) { /* 4 chunks; 16 columns are 2 */
        uint32_t a[2][2][4];
        GPU_UNROLL
        for (int i = 0; i < 4; i++)
            gpu_ldmatrix_x4(a[i / 2][i % 2],
                            buffer + i / 2 * 16 * layout::weights + (weights ^ (k + i % 2 * 16) * 2));
        GPU_UNROLL
        for (int n = 0; n < N / 16; n++) {
            uint32_t b[4];
            gpu_ldmatrix_x4(b, buffer + layout::first_input + n * 8 * layout::inputs + (inputs ^ k * 2));
            GPU_UNROLL
            for (int i = 0; i < 4; i++) { /* both columns of one tile, then of the other */
                if (FAMILY == CUDA_FAMILY_BF16)
                    gpu_mma_bf16(sum->v[i / 2][n], a[i / 2][i % 2], b + i % 2 * 2);
                else
                    gpu_mma_f16(sum->v[i / 2][n], a[i / 2][i % 2], b + i % 2 * 2);
            }
        }
    }
}

/* See multiply_f8() in tensor.cu. */
template <int FAMILY, int N> GPU_INLINE void wide_f8(const uint8_t *buffer, struct wide_sums<N> *sum) {
    typedef wide_layout<FAMILY, N> layout;
    int group = (int)gpu_lane() / 4, t = (int)gpu_lane() % 4;
    int weights = wide_chunk<layout::weights>((int)gpu_warp() / 2 * 32 + group, 0) + t * 4;
    int inputs = wide_chunk<layout::inputs>((int)gpu_warp() % 2 * (N / 2) + group, t / 2) + t % 2 * 8;
    GPU_UNROLL
    for (int k = 0; k < WIDE_COLS; k += 16) { /* a chunk, and two of inputs */
        uint32_t a[2][4];
        GPU_UNROLL
        for (int m = 0; m < 2; m++) {
            const uint8_t *at = buffer + m * 16 * layout::weights + (weights ^ k);
            uint32_t upper = *(const uint32_t *)at;
            uint32_t lower = *(const uint32_t *)(at + 8 * layout::weights);
            a[m][0] = gpu_f8x2_to_f16x2(upper);
            a[m][1] = gpu_f8x2_to_f16x2(lower);
            a[m][2] = gpu_f8x2_to_f16x2(upper >> 16);
            a[m][3] = gpu_f8x2_to_f16x2(lower >> 16);
        }
        GPU_UNROLL
        for (int n = 0; n < N / 16; n++) {
            const uint32_t *in =
                (const uint32_t *)(buffer + layout::first_input + n * 8 * layout::inputs + (inputs ^ k * 2));
            const uint32_t b[2] = {in[0], in[1]};
            gpu_mma_f16(sum->v[0][n], a[0], b);
            gpu_mma_f16(sum->v[1][n], a[1], b);
        }
    }
}

template <int FAMILY, int N> GPU_INLINE void wide_multiply(const uint8_t *buffer, struct wide_sums<N> *sum) {
    if (FAMILY == CUDA_FAMILY_F8)
        wide_f8<FAMILY, N>(buffer, sum);
    else
        wide_halves<FAMILY, N>(buffer, sum);
}

/* ---- the four parts ---- */

/* Where the warp's sums of 16 rows and 8 inputs go: the first of two neighbours among `stride` of a row. */
template <int N> GPU_INLINE int wide_index(int m, int n, int upper, int stride) {
    int lane = (int)gpu_lane(), row = (int)gpu_warp() / 2 * 32 + m * 16 + lane / 4 + upper * 8;
    return row * stride + (int)gpu_warp() % 2 * (N / 2) + n * 8 + lane % 4 * 2;
}

/* All of them are the warp's own. */
template <int N, int PARTS>
GPU_INLINE void wide_add_own(const struct wide_sums<N> *sum, float *total, int stride) {
    GPU_UNROLL
    for (int i = 0; i < 2 * (N / 16) * 4; i++) {
        int m = i / (N / 4), n = i / 4 % (N / 16), r = i % 4;
        float v = 0;
        GPU_UNROLL
        for (int k = 0; k < PARTS; k++)
            v += sum[k].v[m][n][r];
        total[wide_index<N>(m, n, r / 2, stride) + r % 2] = v;
    }
}

/* One of them is: to its place in memory. True in the block that comes last, for which all are there. */
template <int N>
GPU_INLINE bool wide_hand_over(const struct cuda_product &p, int tile, int part,
                               const struct wide_sums<N> &sum, struct wide_shared *s) {
    float *to = p.wide_parts + ((int64_t)tile * CUDA_WIDE_PARTS + part) * (CUDA_WIDE_TILE * N);
    GPU_UNROLL
    for (int i = 0; i < 2 * (N / 16) * 2; i++) {
        int m = i / (N / 8), n = i / 2 % (N / 16), upper = i % 2;
        const float *v = sum.v[m][n] + upper * 2;
        *(struct gpu_f2 *)(to + wide_index<N>(m, n, upper, N)) = {v[0], v[1]};
    }
    gpu_fence();
    gpu_barrier(); /* the block's part is there */
    if (gpu_thread() == 0)
        s->ticket = gpu_atomic_add(p.wide_tickets + tile, 1u);
    gpu_barrier();
    if (s->ticket + 1 != CUDA_WIDE_PARTS)
        return false;
    gpu_fence();
    if (gpu_thread() == 0)
        p.wide_tickets[tile] = 0;
    return true;
}

template <int N>
GPU_INLINE void wide_add_all(const struct cuda_product &p, int tile, float *total, int stride) {
    const float *from = p.wide_parts + (int64_t)tile * CUDA_WIDE_PARTS * (CUDA_WIDE_TILE * N);
    GPU_UNROLL
    for (int j = 0; j < CUDA_WIDE_TILE * N / 4 / PRODUCT_THREADS; j++) {
        int i = ((int)gpu_thread() + j * PRODUCT_THREADS) * 4;
        struct gpu_f4 v = {0, 0, 0, 0};
        GPU_UNROLL
        for (int k = 0; k < CUDA_WIDE_PARTS; k++) {
            const struct gpu_f4 part = *(const struct gpu_f4 *)(from + k * (CUDA_WIDE_TILE * N) + i);
            v = {v.x + part.x, v.y + part.y, v.z + part.z, v.w + part.w};
        }
        float *to = total + i / N * stride + i % N;
        to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
    }
}

template <int FAMILY, int N>
GPU_INLINE void wide_finish(const struct cuda_product &p, const struct wide_place &at, int first_row,
                            int n_rows, const int32_t *rows, const float *total) {
    const struct cuda_section &s = p.sections[at.section];
    for (int i = (int)gpu_thread(); i < WIDE_PAIRS * N; i += PRODUCT_THREADS) {
        int pair = i % WIDE_PAIRS, n = i / WIDE_PAIRS, row = pair / 8 * 16 + pair % 8;
        if (first_row + n >= n_rows || at.pair + pair >= s.pairs)
            continue;
        float a = total[row * wide_layout<FAMILY, N>::total + n],
              b = total[(row + 8) * wide_layout<FAMILY, N>::total + n];
        if (FAMILY != CUDA_FAMILY_BF16) {
            float factor = p.prepared.factors[first_row + n];
            a *= factor * weights_factor(s.w[0], rows[row]);
            b *= factor * weights_factor(s.w[1], rows[row + 8]);
        }
        product_store(p, at.section, at.pair + pair, first_row + n, a, b);
    }
}

/* ---- the kernel ---- */

/* First column of the i'th buffer of a block whose first part is `part`. */
template <int PARTS> GPU_INLINE int wide_column(int i, int part) {
    return (i / PARTS * CUDA_WIDE_PARTS + part + i % PARTS) * WIDE_COLS;
}

/* PARTS: that a block has of its tile. */
template <int FAMILY, int N, int PARTS>
GPU_KERNEL_TOGETHER(PRODUCT_THREADS, PARTS == 1 ? 2 : 1)
kernel_wide(const struct cuda_product p) {
    typedef wide_layout<FAMILY, N> layout;
    constexpr int SHARERS = CUDA_WIDE_PARTS / PARTS;
    GPU_SHARED(struct wide_shared, shared);
    GPU_SHARED_DYNAMIC(uint8_t, buffers);
    int t = (int)gpu_thread(), tile = (int)gpu_block_x() / SHARERS, first_row = (int)gpu_block_y() * N;
    int part = (int)gpu_block_x() % SHARERS * PARTS;
    const struct wide_place at = wide_place_of(p, FAMILY, tile);
    const struct cuda_section &s = p.sections[at.section];
    int n = steps_prepared_cols(p.cols) / (WIDE_COLS * CUDA_WIDE_PARTS) * PARTS; /* buffers to be filled */
    if (t < CUDA_WIDE_TILE) {
        struct pair_rows rows = pair_rows_of(p, at.section, at.pair + t / 16 * 8 + t % 8);
        shared.row[t] = t / 8 % 2 == 0 ? rows.row[0] : rows.row[1];
    }
    gpu_barrier(); /* the tile's rows are known */
    struct wide_from<FAMILY, N> from;
    wide_from_weights<FAMILY, N>(s, shared.row, &from);
    GPU_UNROLL
    for (int i = 0; i < WIDE_STAGES - 1; i++) /* weights come before the inputs are there */
        if (i < n)
            wide_weights<FAMILY, N>(from, buffers + i * layout::bytes, wide_column<PARTS>(i, part));
    gpu_wait_previous();
    gpu_let_next_start();
    int n_rows = product_rows(p);
    if (first_row >= n_rows) {
        gpu_copy_commit();
        gpu_copy_wait<0>();
        return;
    }
    wide_from_inputs<FAMILY, N>(p, first_row, n_rows, &from);
    GPU_UNROLL
    for (int i = 0; i < WIDE_STAGES - 1; i++) {
        if (i < n)
            wide_inputs<FAMILY, N>(from, buffers + i * layout::bytes, wide_column<PARTS>(i, part));
        gpu_copy_commit();
    }
    struct wide_sums<N> sum[PARTS] = {};
    int now = 0; /* the buffer that is multiplied */
    GPU_ROLLED
    for (int i = 0; i < n; i += PARTS) {
        GPU_UNROLL
        for (int k = 0; k < PARTS; k++) {
            int ahead = i + k + WIDE_STAGES - 1, free = now == 0 ? WIDE_STAGES - 1 : now - 1;
            gpu_copy_wait<WIDE_STAGES - 2>();
            gpu_barrier(); /* everybody's copies are there, and the buffer before has been read */
            wide_multiply<FAMILY, N>(buffers + now * layout::bytes, &sum[k]);
            if (ahead < n) {
                int column = wide_column<PARTS>(ahead, part);
                wide_weights<FAMILY, N>(from, buffers + free * layout::bytes, column);
                wide_inputs<FAMILY, N>(from, buffers + free * layout::bytes, column);
            }
            gpu_copy_commit();
            now = now + 1 == WIDE_STAGES ? 0 : now + 1;
        }
    }
    float *total = (float *)buffers; /* not in the last buffer, which others may still read */
    if (PARTS == CUDA_WIDE_PARTS) {
        wide_add_own<N, PARTS>(sum, total, layout::total);
    } else {
        if (!wide_hand_over<N>(p, tile, part, sum[0], &shared))
            return;
        wide_add_all<N>(p, tile, total, layout::total);
    }
    gpu_barrier(); /* the sums are there */
    wide_finish<FAMILY, N>(p, at, first_row, n_rows, shared.row, total);
}

/* ---- launches ---- */

template <int FAMILY, int N, int PARTS>
static int wide_launch(struct gpu_stream *s, const struct cuda_product *p, int tiles, int n_rows) {
    typedef wide_layout<FAMILY, N> layout;
    static_assert(layout::bytes * (WIDE_STAGES - 1) >= CUDA_WIDE_TILE * layout::total * 4, "the sums fit");
    static_assert(PARTS == 1 || PARTS % WIDE_STAGES == 0, "the last buffer is behind the sums");
    static_assert(layout::bytes % 16 == 0, "rows begin at multiples of 16 bytes");
    const struct gpu_launch how = {s,
                                   (unsigned)(tiles * (CUDA_WIDE_PARTS / PARTS)),
                                   (unsigned)((n_rows + N - 1) / N),
                                   PRODUCT_THREADS,
                                   (size_t)layout::bytes * WIDE_STAGES,
                                   true};
    auto kernel = kernel_wide<FAMILY, N, PARTS>;
    return GPU_LAUNCH(how, kernel, *p);
}

template <int FAMILY> static int wide_family(struct gpu_stream *s, const struct cuda_product *p, int n_rows) {
    constexpr int N = CUDA_WIDE_ROWS;
    int tiles = 0;
    for (int i = 0; i < p->n_sections; i++)
        tiles += steps_wide_tiles(&p->sections[i], FAMILY);
    bool parts = n_rows <= N && tiles <= p->wide_tiles && p->step != CUDA_LOGITS;
    return parts ? wide_launch<FAMILY, N, 1>(s, p, tiles, n_rows)
                 : wide_launch<FAMILY, N, CUDA_WIDE_PARTS>(s, p, tiles, n_rows);
}

extern "C" int steps_product_wide(struct gpu_stream *s, const struct cuda_product *p, int family,
                                  int n_rows) {
    return family == CUDA_FAMILY_BF16  ? wide_family<CUDA_FAMILY_BF16>(s, p, n_rows)
           : family == CUDA_FAMILY_F16 ? wide_family<CUDA_FAMILY_F16>(s, p, n_rows)
                                       : wide_family<CUDA_FAMILY_F8>(s, p, n_rows);
}
