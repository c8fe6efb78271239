/* Products of 33 to 64 rows of the batch with weights of BF16, F16 or F8, by tensor cores. As tensor.cu, but
 * a block takes so many rows of weights that most of what it reads is weights and not inputs.
 *
 * A row's sum has four parts, a quarter of the columns each, added in their order: the same sums as in
 * tensor.cu, bit by bit, whoever adds them up. A block takes all four parts of a tall tile, one after the
 * other; or one of a tile that is not so tall, where a step has too few for all multiprocessors. Then the
 * four write their parts to memory, and the one that is last adds them.
 *
 * Columns come 64 at a time, into four buffers: three are on their way while one is multiplied. Two warps
 * share the rows of the batch; 32 rows of weights are theirs. */
#include "kernels/cuda/product.cuh"

#define WIDE_COLS   64 /* at a time */
#define WIDE_STAGES 4

/* FAMILY of weights, N rows of the batch, PARTS of its tile that a block has. */
template <int FAMILY, int N, int PARTS> struct wide_layout {
    static constexpr int rows = PARTS == 1 ? CUDA_WIDE_TILE : CUDA_WIDE_TALL; /* of weights */
    static constexpr int threads = rows / 32 * 2 * 32;
    static constexpr int weights = WIDE_COLS * (FAMILY == CUDA_FAMILY_F8 ? 1 : 2); /* bytes of a row */
    static constexpr int inputs = WIDE_COLS * 2;
    static constexpr int first_input = rows * weights;
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

template <int ROWS> struct wide_shared {
    int32_t row[ROWS]; /* of weights, of each row of the tile; these as in tensor.cu */
    uint32_t ticket;
};

/* Section and first pair in it of a tile. */
struct wide_place {
    int section, pair;
};

GPU_INLINE struct wide_place wide_place_of(const struct cuda_product &p, int family, int rows, int tile) {
    struct wide_place at = {0, 0};
    for (int i = 0; i < p.n_sections; i++) {
        int n = steps_wide_tiles(&p.sections[i], family, rows);
        if (tile >= 0 && tile < n)
            at = {i, tile * (rows / 2)};
        tile -= n;
    }
    return at;
}

/* ---- what comes into a buffer ---- */

/* Where the chunks of 16 bytes lie that a thread copies: its first one of each row of weights and of inputs,
 * with the number of the latter's rows that are there. A thread has the same place in every row. */
template <int FAMILY, int N, int PARTS> struct wide_from {
    typedef wide_layout<FAMILY, N, PARTS> layout;
    static constexpr int weights_chunks = layout::weights / 16; /* of a row */
    static constexpr int inputs_chunks = layout::inputs / 16;
    static constexpr int weights_step =
        layout::threads / weights_chunks; /* from a row to the thread's next */
    static constexpr int inputs_step = layout::threads / inputs_chunks;
    static constexpr int weights_rows = layout::rows / weights_step; /* of a thread */
    static constexpr int inputs_rows = (N + inputs_step - 1) / inputs_step;
    static_assert(layout::rows % weights_step == 0, "all threads have as many rows");
    static_assert(weights_step % 8 == 0 && inputs_step % 8 == 0,
                  "the thread's chunks lie in the same places");
    const uint8_t *weights[weights_rows];
    const uint8_t *inputs; /* of the first row; zeros come behind the last */
    int row_bytes;         /* from one of these to the next */
    int chunks;            /* of a row of weights, from the thread's first on */
    int n_rows;            /* of inputs, from the thread's first on */
};

template <int FAMILY, int N, int PARTS>
GPU_INLINE void wide_from_weights(const struct cuda_section &s, const int32_t *rows,
                                  struct wide_from<FAMILY, N, PARTS> *from) {
    typedef struct wide_from<FAMILY, N, PARTS> type;
    int first = (int)gpu_thread() / type::weights_chunks, c = (int)gpu_thread() % type::weights_chunks;
    from->chunks = s.w[0].chunks - c;
    GPU_UNROLL
    for (int k = 0; k < type::weights_rows; k++) {
        int r = first + k * type::weights_step;
        const struct cuda_matrix &w = s.w[r / 8 % 2];
        from->weights[k] = w.values + ((int64_t)rows[r] * w.chunks + c) * 16;
    }
}

/* Rows first_row … of the batch. */
template <int FAMILY, int N, int PARTS>
GPU_INLINE void wide_from_inputs(const struct cuda_product &p, int first_row, int n_rows,
                                 struct wide_from<FAMILY, N, PARTS> *from) {
    typedef struct wide_from<FAMILY, N, PARTS> type;
    int r = (int)gpu_thread() / type::inputs_chunks, c = (int)gpu_thread() % type::inputs_chunks;
    from->row_bytes = steps_prepared_cols(p.cols) * 2;
    from->n_rows = n_rows - first_row - r;
    from->inputs = (const uint8_t *)(FAMILY == CUDA_FAMILY_BF16 ? p.prepared.bf16 : p.prepared.f16) + c * 16 +
                   (int64_t)(from->n_rows > 0 ? first_row + r : 0) * from->row_bytes;
}

/* Columns `column` on of the tile's rows; zeros behind the last. */
template <int FAMILY, int N, int PARTS>
GPU_INLINE void wide_weights(const struct wide_from<FAMILY, N, PARTS> &from, uint8_t *buffer, int column) {
    typedef struct wide_from<FAMILY, N, PARTS> type;
    constexpr int STRIDE = type::layout::weights;
    int chunk = column / (WIDE_COLS / type::weights_chunks);
    uint8_t *to = buffer + wide_chunk<STRIDE>((int)gpu_thread() / type::weights_chunks,
                                              (int)gpu_thread() % type::weights_chunks);
    bool there = chunk < from.chunks;
    int at = there ? chunk * 16 : 0;
    GPU_UNROLL
    for (int k = 0; k < type::weights_rows; k++)
        gpu_copy_async16_if(to + k * type::weights_step * STRIDE, from.weights[k] + at, there);
}

/* The same of the inputs; zeros behind the last row. */
template <int FAMILY, int N, int PARTS>
GPU_INLINE void wide_inputs(const struct wide_from<FAMILY, N, PARTS> &from, uint8_t *buffer, int column) {
    typedef struct wide_from<FAMILY, N, PARTS> type;
    typedef typename type::layout layout;
    int row = (int)gpu_thread() / type::inputs_chunks;
    uint8_t *to = buffer + layout::first_input +
                  wide_chunk<layout::inputs>(row, (int)gpu_thread() % type::inputs_chunks);
    GPU_UNROLL
    for (int k = 0; k < type::inputs_rows; k++) {
        bool there = k * type::inputs_step < from.n_rows;
        const uint8_t *at = from.inputs + (there ? k * type::inputs_step * from.row_bytes : 0) + column * 2;
        if ((k + 1) * type::inputs_step <= N || k * type::inputs_step + row < N) /* the buffer has it */
            gpu_copy_async16_if(to + k * type::inputs_step * layout::inputs, at, there);
    }
}

/* ---- products of a buffer: of a warp two times 16 rows of weights with N / 2 of the batch ---- */

template <int N> struct wide_sums { float v[2][N / 16][4]; };

/* Fragments of 16 columns. */
template <int N> struct wide_fragments { uint32_t weights[2][4], inputs[N / 16][2]; };

/* Those from column k of the buffer on. */
template <int FAMILY, int N, int PARTS>
GPU_INLINE void wide_take_halves(const uint8_t *buffer, int k, struct wide_fragments<N> *f) {
    typedef wide_layout<FAMILY, N, PARTS> layout;
    int lane = (int)gpu_lane(), row = (int)gpu_warp() / 2 * 32, n_row = (int)gpu_warp() % 2 * (N / 2);
    int weights = wide_chunk<layout::weights>(row + lane % 16, lane / 16);
    int inputs = wide_chunk<layout::inputs>(n_row + lane / 16 * 8 + lane % 8, lane / 8 % 2);
    GPU_UNROLL
    for (int m = 0; m < 2; m++)
        gpu_ldmatrix_x4(f->weights[m], buffer + m * 16 * layout::weights + (weights ^ k * 2));
    GPU_UNROLL
    for (int n = 0; n < N / 16; n += 2) /* two tiles */
        gpu_ldmatrix_x4(f->inputs[n],
                        buffer + layout::first_input + n * 8 * layout::inputs + (inputs ^ k * 2));
}

/* See multiply_f8() in tensor.cu. */
template <int FAMILY, int N, int PARTS>
GPU_INLINE void wide_take_f8(const uint8_t *buffer, int k, struct wide_fragments<N> *f) {
    typedef wide_layout<FAMILY, N, PARTS> layout;
    int group = (int)gpu_lane() / 4, t = (int)gpu_lane() % 4;
    int weights = wide_chunk<layout::weights>((int)gpu_warp() / 2 * 32 + group, 0) + t * 4;
    int inputs = wide_chunk<layout::inputs>((int)gpu_warp() % 2 * (N / 2) + group, t / 2) + t % 2 * 8;
    GPU_UNROLL
    for (int m = 0; m < 2; m++) {
        const uint8_t *at = buffer + m * 16 * layout::weights + (weights ^ k);
        uint32_t upper = *(const uint32_t *)at;
        uint32_t lower = *(const uint32_t *)(at + 8 * layout::weights);
        f->weights[m][0] = gpu_f8x2_to_f16x2(upper);
        f->weights[m][1] = gpu_f8x2_to_f16x2(lower);
        f->weights[m][2] = gpu_f8x2_to_f16x2(upper >> 16);
        f->weights[m][3] = gpu_f8x2_to_f16x2(lower >> 16);
    }
    GPU_UNROLL
    for (int n = 0; n < N / 16; n++) {
        const uint32_t *in =
            (const uint32_t *)(buffer + layout::first_input + n * 8 * layout::inputs + (inputs ^ k * 2));
        f->inputs[n][0] = in[0];
        f->inputs[n][1] = in[1];
    }
}

template <int FAMILY, int N, int PARTS>
GPU_INLINE void wide_take(const uint8_t *buffer, int k, struct wide_fragments<N> *f) {
    if (FAMILY == CUDA_FAMILY_F8)
        wide_take_f8<FAMILY, N, PARTS>(buffer, k, f);
    else
        wide_take_halves<FAMILY, N, PARTS>(buffer, k, f);
}

template <int FAMILY, int N>
GPU_INLINE void wide_multiply(const struct wide_fragments<N> &f, struct wide_sums<N> *sum) {
    GPU_UNROLL
    for (int i = 0; i < N / 8; i++) {
        if (FAMILY == CUDA_FAMILY_BF16)
            gpu_mma_bf16(sum->v[i % 2][i / 2], f.weights[i % 2], f.inputs[i / 2]);
        else
            gpu_mma_f16(sum->v[i % 2][i / 2], f.weights[i % 2], f.inputs[i / 2]);
    }
}

/* ---- the four parts ---- */

/* Where the warp's sums of 16 rows and 8 inputs go: the first of two neighbours among `stride` of a row. */
template <int N> GPU_INLINE int wide_index(int m, int n, int upper, int stride) {
    int lane = (int)gpu_lane(), row = (int)gpu_warp() / 2 * 32 + m * 16 + lane / 4 + upper * 8;
    return row * stride + (int)gpu_warp() % 2 * (N / 2) + n * 8 + lane % 4 * 2;
}

/* total += a part. */
template <int N> GPU_INLINE void wide_add(struct wide_sums<N> *total, const struct wide_sums<N> &part) {
    GPU_UNROLL
    for (int i = 0; i < 2 * (N / 16) * 4; i++)
        total->v[i / (N / 4)][i / 4 % (N / 16)][i % 4] += part.v[i / (N / 4)][i / 4 % (N / 16)][i % 4];
}

template <int N> GPU_INLINE void wide_put(const struct wide_sums<N> &sum, float *total, int stride) {
    GPU_UNROLL
    for (int i = 0; i < 2 * (N / 16) * 4; i++) {
        int m = i / (N / 4), n = i / 4 % (N / 16), r = i % 4;
        total[wide_index<N>(m, n, r / 2, stride) + r % 2] = sum.v[m][n][r];
    }
}

/* A part to its place in memory. True in the block that comes last, for which all are there. */
template <int N>
GPU_INLINE bool wide_hand_over(const struct cuda_product &p, int tile, int part,
                               const struct wide_sums<N> &sum, struct wide_shared<CUDA_WIDE_TILE> *s) {
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

template <int N, int THREADS>
GPU_INLINE void wide_add_all(const struct cuda_product &p, int tile, float *total, int stride) {
    const float *from = p.wide_parts + (int64_t)tile * CUDA_WIDE_PARTS * (CUDA_WIDE_TILE * N);
    GPU_UNROLL
    for (int j = 0; j < CUDA_WIDE_TILE * N / 4 / THREADS; j++) {
        int i = ((int)gpu_thread() + j * THREADS) * 4;
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

template <int FAMILY, int N, int PARTS>
GPU_INLINE void wide_finish(const struct cuda_product &p, const struct wide_place &at, int first_row,
                            int n_rows, const int32_t *rows, const float *total) {
    typedef wide_layout<FAMILY, N, PARTS> layout;
    constexpr int PAIRS = layout::rows / 2;
    const struct cuda_section &s = p.sections[at.section];
    for (int i = (int)gpu_thread(); i < PAIRS * N; i += layout::threads) {
        int pair = i % PAIRS, n = i / PAIRS, row = pair / 8 * 16 + pair % 8;
        if (first_row + n >= n_rows || at.pair + pair >= s.pairs)
            continue;
        float a = total[row * layout::total + n], b = total[(row + 8) * layout::total + n];
        if (FAMILY != CUDA_FAMILY_BF16) {
            float factor = p.prepared.factors[first_row + n];
            a *= factor * weights_factor(s.w[0], rows[row]);
            b *= factor * weights_factor(s.w[1], rows[row + 8]);
        }
        product_store(p, at.section, at.pair + pair, first_row + n, a, b);
    }
}

/* ---- the kernel ---- */

/* The sums of PARTS quarters of the columns, from column `first` on, one after the other. Those of the first
 * buffers are under way. Fragments are taken 16 columns ahead; copies begin where some still wait for their
 * products. The last buffer may still be read by others at the end. */
template <int FAMILY, int N, int PARTS>
GPU_INLINE struct wide_sums<N> wide_sum(const struct wide_from<FAMILY, N, PARTS> &from, uint8_t *buffers,
                                        int first, int quarter) {
    constexpr int BYTES = wide_layout<FAMILY, N, PARTS>::bytes, LAST = BYTES * (WIDE_STAGES - 1);
    constexpr int STEPS = WIDE_COLS / 16, COPY = STEPS - 2;
    struct wide_sums<N> total = {};
    int now = 0, column = first, end = first + PARTS * quarter;
    GPU_ROLLED
    for (int k = 0; k < PARTS; k++) {
        struct wide_sums<N> sum = {};
        GPU_ROLLED
        for (int stop = column + quarter; column < stop; column += WIDE_COLS) {
            int ahead = column + (WIDE_STAGES - 1) * WIDE_COLS, free = now == 0 ? LAST : now - BYTES;
            struct wide_fragments<N> f[2];
            gpu_copy_wait<WIDE_STAGES - 2>();
            gpu_barrier(); /* everybody's copies are there, and the buffer before has been read */
            wide_take<FAMILY, N, PARTS>(buffers + now, 0, &f[0]);
            GPU_UNROLL
            for (int i = 0; i < STEPS; i++) {
                if (i + 1 < STEPS)
                    wide_take<FAMILY, N, PARTS>(buffers + now, (i + 1) * 16, &f[(i + 1) % 2]);
                wide_multiply<FAMILY>(f[i % 2], &sum);
                if (i == COPY && ahead < end) {
                    wide_weights<FAMILY, N, PARTS>(from, buffers + free, ahead);
                    wide_inputs<FAMILY, N, PARTS>(from, buffers + free, ahead);
                }
            }
            gpu_copy_commit();
            now = now == LAST ? 0 : now + BYTES;
        }
        wide_add<N>(&total, sum);
    }
    return total;
}

template <int FAMILY, int N, int PARTS>
GPU_KERNEL_TOGETHER((wide_layout<FAMILY, N, PARTS>::threads), PARTS == 1 ? 2 : 1)
kernel_wide(const struct cuda_product p) {
    typedef wide_layout<FAMILY, N, PARTS> layout;
    constexpr int SHARERS = CUDA_WIDE_PARTS / PARTS;
    GPU_SHARED(struct wide_shared<layout::rows>, shared);
    GPU_SHARED_DYNAMIC(uint8_t, buffers);
    int t = (int)gpu_thread(), tile = (int)gpu_block_x() / SHARERS, first_row = (int)gpu_block_y() * N;
    int part = (int)gpu_block_x() % SHARERS, quarter = steps_prepared_cols(p.cols) / CUDA_WIDE_PARTS;
    const struct wide_place at = wide_place_of(p, FAMILY, layout::rows, tile);
    const struct cuda_section &s = p.sections[at.section];
    int first = part * quarter, end = first + PARTS * quarter; /* columns */
    if (t < layout::rows) {
        struct pair_rows rows = pair_rows_of(p, at.section, at.pair + t / 16 * 8 + t % 8);
        shared.row[t] = t / 8 % 2 == 0 ? rows.row[0] : rows.row[1];
    }
    gpu_barrier(); /* the tile's rows are known */
    struct wide_from<FAMILY, N, PARTS> from;
    wide_from_weights<FAMILY, N, PARTS>(s, shared.row, &from);
    GPU_UNROLL
    for (int i = 0; i < WIDE_STAGES - 1; i++) /* weights come before the inputs are there */
        if (first + i * WIDE_COLS < end)
            wide_weights<FAMILY, N, PARTS>(from, buffers + i * layout::bytes, first + i * WIDE_COLS);
    gpu_wait_previous();
    gpu_let_next_start();
    int n_rows = product_rows(p);
    if (first_row >= n_rows) {
        gpu_copy_commit();
        gpu_copy_wait<0>();
        return;
    }
    wide_from_inputs<FAMILY, N, PARTS>(p, first_row, n_rows, &from);
    GPU_UNROLL
    for (int i = 0; i < WIDE_STAGES - 1; i++) {
        if (first + i * WIDE_COLS < end)
            wide_inputs<FAMILY, N, PARTS>(from, buffers + i * layout::bytes, first + i * WIDE_COLS);
        gpu_copy_commit();
    }
    const struct wide_sums<N> sum = wide_sum<FAMILY, N, PARTS>(from, buffers, first, quarter);
    float *totals = (float *)buffers;
    if constexpr (PARTS == CUDA_WIDE_PARTS) {
        wide_put<N>(sum, totals, layout::total); /* not in the last buffer, which others may still read */
    } else {
        if (!wide_hand_over<N>(p, tile, part, sum, &shared))
            return;
        wide_add_all<N, layout::threads>(p, tile, totals, layout::total);
    }
    gpu_barrier(); /* the sums are there */
    wide_finish<FAMILY, N, PARTS>(p, at, first_row, n_rows, shared.row, totals);
}

/* ---- launches ---- */

template <int FAMILY, int N, int PARTS>
static int wide_launch(struct gpu_stream *s, const struct cuda_product *p, int n_rows) {
    typedef wide_layout<FAMILY, N, PARTS> layout;
    static_assert(PARTS == 1 || PARTS == CUDA_WIDE_PARTS, "a part, or the whole tile");
    static_assert(layout::bytes * (WIDE_STAGES - 1) >= layout::rows * layout::total * 4, "the sums fit");
    static_assert(PARTS == 1 || PARTS % WIDE_STAGES == 0, "the last buffer is behind the sums");
    static_assert(layout::bytes % 16 == 0, "rows begin at multiples of 16 bytes");
    static_assert(layout::bytes * WIDE_STAGES + sizeof(struct wide_shared<layout::rows>) <= CUDA_WIDE_SHARED,
                  "the buffers fit");
    const struct gpu_launch how = {
        s,
        (unsigned)(steps_wide_all(p, FAMILY, layout::rows) * (CUDA_WIDE_PARTS / PARTS)),
        (unsigned)((n_rows + N - 1) / N),
        layout::threads,
        (size_t)layout::bytes * WIDE_STAGES,
        true};
    auto kernel = kernel_wide<FAMILY, N, PARTS>;
    return GPU_LAUNCH(how, kernel, *p);
}

template <int FAMILY> static int wide_family(struct gpu_stream *s, const struct cuda_product *p, int n_rows) {
    constexpr int N = CUDA_WIDE_ROWS;
    return steps_wide_shares(p, FAMILY, n_rows) ? wide_launch<FAMILY, N, 1>(s, p, n_rows)
                                                : wide_launch<FAMILY, N, CUDA_WIDE_PARTS>(s, p, n_rows);
}

extern "C" int steps_product_wide(struct gpu_stream *s, const struct cuda_product *p, int family,
                                  int n_rows) {
    return family == CUDA_FAMILY_BF16  ? wide_family<CUDA_FAMILY_BF16>(s, p, n_rows)
           : family == CUDA_FAMILY_F16 ? wide_family<CUDA_FAMILY_F16>(s, p, n_rows)
                                       : wide_family<CUDA_FAMILY_F8>(s, p, n_rows);
}
