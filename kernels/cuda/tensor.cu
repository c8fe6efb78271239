/* Products of stored rows with up to 64 rows of the batch, by tensor cores; of more than 32 with weights that
 * are not quantised, see tensor_wide.cu. The operands are exchanged:
 * weights are the 16 rows of an mma, rows of the batch its 8 columns, so that a batch of any size fills them.
 *
 * A block takes 16 pairs (32 rows of weights) and N rows of the batch, 256 columns at a time, which
 * asynchronous copies bring while those before are multiplied. Of its 8 warps, two share the pairs and four
 * the columns: warp k of four takes 64 of each 256, and the four sums are added in that order at the end. Of
 * weights that are not quantised these are 64 of the k'th quarter of a row, of others 64k … 64k + 63. So a
 * row's sums do not depend on N, nor on the rows beside it.
 *
 * Tile rows: 8 first rows of pairs, then their 8 second ones, as often as there are warps for pairs; one
 * thread then has both results of a pair. Fragments: PTX ISA, "Matrix fragments for mma.m16n8k16" and
 * "m16n8k32". */
#include "kernels/cuda/product.cuh"

#define TENSOR_PAIRS  CUDA_SECTION
#define TENSOR_ROWS   (2 * TENSOR_PAIRS)
#define TENSOR_COLS   256 /* at a time */
#define TENSOR_BLOCKS (TENSOR_COLS / 32)
#define TENSOR_PARTS  4 /* warps that share the columns */
#define TENSOR_PER    (TENSOR_COLS / TENSOR_PARTS)
#define TENSOR_APART  16 /* bytes between two rows, so that eight of them lie in different banks */

/* ---- shared memory: two buffers of weights and inputs ---- */

template <int FAMILY> constexpr bool tensor_whole = FAMILY >= CUDA_FAMILY_Q;
/* Bytes of one row of weights: F8 and quantised planes a byte per column at most. */
template <int FAMILY>
constexpr int tensor_weights = (FAMILY == CUDA_FAMILY_F8 ? 256
                                : tensor_whole<FAMILY>   ? 128
                                                         : 512) +
                               TENSOR_APART;
template <int FAMILY> constexpr int tensor_inputs = (tensor_whole<FAMILY> ? 256 : 512) + TENSOR_APART;
#define TENSOR_RECORDS (TENSOR_BLOCKS * 16 + TENSOR_APART) /* 16 bytes for each block of a row */

/* Where things begin in a buffer: weights, second plane, s and z; inputs, records. */
template <int FAMILY, int N> struct tensor_layout {
    static constexpr int weights = 0;
    static constexpr int second = TENSOR_ROWS * tensor_weights<FAMILY>;
    static constexpr int scales = second + (tensor_whole<FAMILY> ? TENSOR_ROWS * tensor_weights<FAMILY> : 0);
    static constexpr int inputs = scales + (tensor_whole<FAMILY> ? TENSOR_ROWS * TENSOR_RECORDS : 0);
    static constexpr int records = inputs + N * tensor_inputs<FAMILY>;
    static constexpr int bytes = records + (tensor_whole<FAMILY> ? N * TENSOR_RECORDS : 0);
};

struct tensor_shared {
    int32_t row[TENSOR_ROWS]; /* of weights, of each row of the tile */
};

/* Which of the section's two matrices a row of the tile is from. */
GPU_INLINE int tensor_matrix(int tile_row) {
    return tile_row / 8 % 2;
}

/* ---- what comes into a buffer ---- */

/* `per_row` chunks of every row of the tile, from chunk `first` of `chunks` on, of quantised weights. */
GPU_INLINE void fetch_chunks(uint8_t *to, int stride, int per_row, const struct cuda_section &s,
                             const int32_t *rows, int plane, int first, int chunks) {
    for (int i = (int)gpu_thread(); i < TENSOR_ROWS * per_row; i += PRODUCT_THREADS) {
        int r = i / per_row, c = i % per_row;
        const struct cuda_matrix &w = s.w[tensor_matrix(r)];
        const uint8_t *from = plane == 1
                                  ? w.high + (int64_t)rows[r] * w.high_bytes
                                  : w.values + ((int64_t)rows[r] * w.chunks + plane / 2 * w.blocks) * 16;
        bool there = first + c < chunks;
        gpu_copy_async16_if(to + r * stride + c * 16, from + (there ? first + c : 0) * 16, there);
    }
}

/* Where a buffer's chunk c of a row is among those of the whole row, which has `slabs` times so many: there
 * are as many of each quarter. */
template <int PER_ROW> GPU_INLINE int of_quarters(int c, int slab, int slabs) {
    constexpr int PIECE = PER_ROW / TENSOR_PARTS;
    return (c / PIECE * slabs + slab) * PIECE + c % PIECE;
}

/* The slab's columns of weights: 64 of each quarter, or 256 neighbours where weights are quantised; planes: 0
 * values, 1 high bits, 2 the second halves of Q8_0. */
template <int FAMILY, int N>
GPU_INLINE void fetch_weights(const struct cuda_section &s, const int32_t *rows, uint8_t *buffer, int slab,
                              int slabs) {
    typedef tensor_layout<FAMILY, N> layout;
    constexpr int STRIDE = tensor_weights<FAMILY>;
    const struct cuda_matrix &w = s.w[0];
    if (!tensor_whole<FAMILY>) {
        constexpr int PER_ROW = (STRIDE - TENSOR_APART) / 16;
        int c = (int)gpu_thread() % PER_ROW, chunk = of_quarters<PER_ROW>(c, slab, slabs);
        for (int r = (int)gpu_thread() / PER_ROW; r < TENSOR_ROWS; r += PRODUCT_THREADS / PER_ROW) {
            const struct cuda_matrix &m = s.w[tensor_matrix(r)];
            bool there = chunk < m.chunks;
            gpu_copy_async16_if(buffer + layout::weights + r * STRIDE + c * 16,
                                m.values + ((int64_t)rows[r] * m.chunks + (there ? chunk : 0)) * 16, there);
        }
        return;
    }
    fetch_chunks(buffer + layout::weights, STRIDE, TENSOR_BLOCKS, s, rows, 0, slab * TENSOR_BLOCKS, w.blocks);
    int per_row = w.type == CUDA_Q6_K ? 4 : 2;
    if (w.type == CUDA_Q8_0)
        fetch_chunks(buffer + layout::second, STRIDE, TENSOR_BLOCKS, s, rows, 2, slab * TENSOR_BLOCKS,
                     w.blocks);
    else if (w.high != NULL)
        fetch_chunks(buffer + layout::second, STRIDE, per_row, s, rows, 1, slab * per_row, w.high_bytes / 16);
}

/* The scales of one block of one row of the tile, which the thread takes to registers while it multiplies. */
template <int TYPE>
GPU_INLINE void take_scales(const struct cuda_section &s, const int32_t *rows, int slab,
                            struct weights_raw *r) {
    int row = (int)gpu_thread() / TENSOR_BLOCKS;
    int block = slab * TENSOR_BLOCKS + (int)gpu_thread() % TENSOR_BLOCKS;
    const struct cuda_matrix &w = s.w[tensor_matrix(row)];
    GPU_UNROLL
    for (int i = 6; i < 10; i++)
        r->v[i] = 0;
    if (block < w.blocks)
        weights_load_scales<TYPE>(w, rows[row], block, r);
}

template <int TYPE> GPU_INLINE void put_scales(const struct weights_raw &r, uint8_t *to) {
    int row = (int)gpu_thread() / TENSOR_BLOCKS, block = (int)gpu_thread() % TENSOR_BLOCKS;
    struct weights_scale scale = weights_scales<TYPE>(r, block);
    *(struct gpu_f4 *)(to + row * TENSOR_RECORDS + block * 16) = {scale.s[0], scale.s[1], scale.z[0],
                                                                  scale.z[1]};
}

static_assert(TENSOR_ROWS * TENSOR_BLOCKS == PRODUCT_THREADS, "a thread takes the scales of one block");
static_assert(TENSOR_BLOCKS == 8, "a block's number modulo 8 is its number in the buffer");

template <int FAMILY>
GPU_INLINE void scales_begin(const struct cuda_section &s, const int32_t *rows, int slab,
                             struct weights_raw *r) {
    if (!tensor_whole<FAMILY>)
        return;
    switch (s.w[0].type) { WEIGHTS_QUANTISED(take_scales<TYPE>(s, rows, slab, r)) }
}

template <int FAMILY, int N>
GPU_INLINE void scales_end(const struct cuda_section &s, const struct weights_raw &r, uint8_t *buffer) {
    if (!tensor_whole<FAMILY>)
        return;
    switch (s.w[0].type) { WEIGHTS_QUANTISED(put_scales<TYPE>(r, buffer + tensor_layout<FAMILY, N>::scales)) }
}

/* Prepared inputs of rows first_row … + N - 1; zeros behind the last. */
template <int FAMILY, int N>
GPU_INLINE void fetch_inputs(const struct cuda_product &p, int first_row, int n_rows, uint8_t *buffer,
                             int slab) {
    typedef tensor_layout<FAMILY, N> layout;
    constexpr int PER_ROW = (tensor_inputs<FAMILY> - TENSOR_APART) / 16;
    int cols = steps_prepared_cols(p.cols);
    const uint8_t *values = tensor_whole<FAMILY>         ? p.prepared.rounded
                            : FAMILY == CUDA_FAMILY_BF16 ? (const uint8_t *)p.prepared.bf16
                                                         : (const uint8_t *)p.prepared.f16;
    int64_t row_bytes = tensor_whole<FAMILY> ? cols : cols * 2;
    int slabs = cols / TENSOR_COLS;
    int c = (int)gpu_thread() % PER_ROW;
    int chunk = tensor_whole<FAMILY> ? slab * PER_ROW + c : of_quarters<PER_ROW>(c, slab, slabs);
    for (int r = (int)gpu_thread() / PER_ROW; r < N; r += PRODUCT_THREADS / PER_ROW) {
        bool there = first_row + r < n_rows;
        gpu_copy_async16_if(buffer + layout::inputs + r * tensor_inputs<FAMILY> + c * 16,
                            values + (there ? first_row + r : 0) * row_bytes + chunk * 16, there);
    }
    for (int i = (int)gpu_thread(); tensor_whole<FAMILY> && i < N * TENSOR_BLOCKS; i += PRODUCT_THREADS) {
        int r = i / TENSOR_BLOCKS, b = i % TENSOR_BLOCKS;
        bool there = first_row + r < n_rows;
        gpu_copy_async16_if(buffer + layout::records + r * TENSOR_RECORDS + b * 16,
                            p.prepared.records + (int64_t)(there ? first_row + r : 0) * (cols / 32) +
                                slab * TENSOR_BLOCKS + b,
                            there);
    }
}

/* ---- products of a buffer ---- */

/* BF16 and F16. `at`: first row of the warp's half of the tile; `column`: its first one. */
template <int FAMILY, int N>
GPU_INLINE void multiply_halves(const uint8_t *buffer, int at, int column, float (*sum)[4]) {
    typedef tensor_layout<FAMILY, N> layout;
    int lane = (int)gpu_lane();
    const uint8_t *weights = buffer + (at + lane % 16) * tensor_weights<FAMILY> + lane / 16 * 16;
    const uint8_t *inputs = buffer + layout::inputs + lane % 8 * tensor_inputs<FAMILY> + lane / 8 * 16;
    GPU_UNROLL
    for (int step = 0; step < TENSOR_PER / 32; step++) {
        int k = column + step * 32;
        uint32_t a[2][4];
        gpu_ldmatrix_x4(a[0], weights + k * 2);
        gpu_ldmatrix_x4(a[1], weights + (k + 16) * 2);
        GPU_UNROLL
        for (int n = 0; n < N / 8; n++) {
            uint32_t b[4];
            gpu_ldmatrix_x4(b, inputs + n * 8 * tensor_inputs<FAMILY> + k * 2);
            GPU_UNROLL
            for (int i = 0; i < 2; i++) {
                if (FAMILY == CUDA_FAMILY_BF16)
                    gpu_mma_bf16(sum[n], a[i], b + 2 * i);
                else
                    gpu_mma_f16(sum[n], a[i], b + 2 * i);
            }
        }
    }
}

/* F8: four neighbouring columns of a row are one register; as halves they take the places of columns 2t, 2t +
 * 1, 2t + 8, 2t + 9 of the fragment, and so do the inputs. */
template <int FAMILY, int N>
GPU_INLINE void multiply_f8(const uint8_t *buffer, int at, int column, float (*sum)[4]) {
    typedef tensor_layout<FAMILY, N> layout;
    int group = (int)gpu_lane() / 4, t = (int)gpu_lane() % 4;
    const uint8_t *weights = buffer + (at + group) * tensor_weights<FAMILY> + t * 4;
    const uint8_t *inputs = buffer + layout::inputs + group * tensor_inputs<FAMILY> + t * 8;
    GPU_UNROLL
    for (int step = 0; step < TENSOR_PER / 16; step++) {
        int k = column + step * 16;
        uint32_t upper = *(const uint32_t *)(weights + k);
        uint32_t lower = *(const uint32_t *)(weights + 8 * tensor_weights<FAMILY> + k);
        const uint32_t a[4] = {gpu_f8x2_to_f16x2(upper), gpu_f8x2_to_f16x2(lower),
                               gpu_f8x2_to_f16x2(upper >> 16), gpu_f8x2_to_f16x2(lower >> 16)};
        GPU_UNROLL
        for (int n = 0; n < N / 8; n++) {
            const uint32_t *in = (const uint32_t *)(inputs + n * 8 * tensor_inputs<FAMILY> + k * 2);
            const uint32_t b[2] = {in[0], in[1]};
            gpu_mma_f16(sum[n], a, b);
        }
    }
}

/* q of columns 4t … 4t + 3 (a[0]) and 16 + 4t … (a[1]) of a block of one row. `second`: the row's other
 * plane. */
GPU_INLINE void whole_numbers(int type, const uint8_t *row, const uint8_t *second, int block, int t,
                              uint32_t a[2]) {
    uint32_t word = *(const uint32_t *)(row + block * 16 + t * 4);
    if (type == CUDA_Q8_0) {
        a[0] = word;
        a[1] = *(const uint32_t *)(second + block * 16 + t * 4);
        return;
    }
    a[0] = word & 0x0F0F0F0Fu;
    a[1] = word >> 4 & 0x0F0F0F0Fu;
    if (type == CUDA_Q6_K) {
        const uint32_t *high = (const uint32_t *)(second + block * 8);
        a[0] |= (high[0] >> (2 * t) & 0x03030303u) << 4;
        a[1] |= (high[1] >> (2 * t) & 0x03030303u) << 4;
    } else if (type == CUDA_Q5_0 || type == CUDA_Q5_1 || type == CUDA_Q5_K) {
        uint32_t high = *(const uint32_t *)(second + block * 4);
        a[0] |= (high >> (2 * t) & 0x01010101u) << 4;
        a[1] |= (high >> (2 * t + 1) & 0x01010101u) << 4;
    }
}

/* One block with the rows of 8 inputs: whole numbers, then scales. r: results of rows g (0, 1) and g + 8 (2,
 * 3) with inputs 2t and 2t + 1. */
template <bool HALVED>
GPU_INLINE void multiply_block(const uint32_t a[4], const uint32_t b[2], const struct gpu_f4 scale[2],
                               const struct gpu_f4 x[2], float sum[4]) {
    int32_t low[4] = {0, 0, 0, 0}, high[4] = {0, 0, 0, 0};
    if (HALVED) {
        const uint32_t first[4] = {a[0], a[1], 0, 0}, last[4] = {0, 0, a[2], a[3]};
        gpu_mma_s8(low, first, b);
        gpu_mma_s8(high, last, b);
    } else {
        gpu_mma_s8(low, a, b);
    }
    GPU_UNROLL
    for (int r = 0; r < 4; r++) {
        const struct gpu_f4 s = scale[r / 2], in = x[r % 2];
        float part = s.x * (float)low[r], shift = s.z * (in.y + in.z);
        if (HALVED) {
            part = gpu_fma(s.y, (float)high[r], part);
            shift = gpu_fma(s.w, in.z, s.z * in.y);
        }
        sum[r] = gpu_fma(in.x, part, sum[r] + shift);
    }
}

template <int FAMILY, int N>
GPU_INLINE void multiply_whole(int type, const uint8_t *buffer, int at, int column, float (*sum)[4]) {
    typedef tensor_layout<FAMILY, N> layout;
    constexpr int STRIDE = tensor_weights<FAMILY>;
    int group = (int)gpu_lane() / 4, t = (int)gpu_lane() % 4;
    const uint8_t *row = buffer + (at + group) * STRIDE;
    GPU_UNROLL
    for (int step = 0; step < TENSOR_PER / 32; step++) {
        int block = column / 32 + step;
        uint32_t upper[2], lower[2];
        whole_numbers(type, row, row + layout::second, block, t, upper);
        whole_numbers(type, row + 8 * STRIDE, row + 8 * STRIDE + layout::second, block, t, lower);
        const uint32_t a[4] = {upper[0], lower[0], upper[1], lower[1]};
        const uint8_t *scales = buffer + layout::scales + (at + group) * TENSOR_RECORDS + block * 16;
        const struct gpu_f4 scale[2] = {*(const struct gpu_f4 *)scales,
                                        *(const struct gpu_f4 *)(scales + 8 * TENSOR_RECORDS)};
        GPU_UNROLL
        for (int n = 0; n < N / 8; n++) {
            const uint8_t *in =
                buffer + layout::inputs + (n * 8 + group) * tensor_inputs<FAMILY> + block * 32 + t * 4;
            const uint32_t b[2] = {*(const uint32_t *)in, *(const uint32_t *)(in + 16)};
            const uint8_t *records = buffer + layout::records + (n * 8 + 2 * t) * TENSOR_RECORDS + block * 16;
            const struct gpu_f4 x[2] = {*(const struct gpu_f4 *)records,
                                        *(const struct gpu_f4 *)(records + TENSOR_RECORDS)};
            multiply_block<FAMILY == CUDA_FAMILY_HALVED>(a, b, scale, x, sum[n]);
        }
    }
}

template <int FAMILY, int N> GPU_INLINE void multiply(int type, const uint8_t *buffer, float (*sum)[4]) {
    int at = (int)gpu_warp() / TENSOR_PARTS * 16, column = (int)gpu_warp() % TENSOR_PARTS * TENSOR_PER;
    if (tensor_whole<FAMILY>)
        multiply_whole<FAMILY, N>(type, buffer, at, column, sum);
    else if (FAMILY == CUDA_FAMILY_F8)
        multiply_f8<FAMILY, N>(buffer, at, column, sum);
    else
        multiply_halves<FAMILY, N>(buffer, at, column, sum);
}

/* ---- the sums of the four parts ---- */

template <int N> GPU_INLINE void put_sums(const float (*sum)[4], float *parts) {
    int lane = (int)gpu_lane(), at = (int)gpu_warp() / TENSOR_PARTS * 16;
    float *mine = parts + (int)gpu_warp() % TENSOR_PARTS * (TENSOR_ROWS * N);
    GPU_UNROLL
    for (int n = 0; n < N / 8; n++) {
        GPU_UNROLL
        for (int r = 0; r < 4; r++)
            mine[(at + lane / 4 + r / 2 * 8) * N + n * 8 + lane % 4 * 2 + r % 2] = sum[n][r];
    }
}

template <int N> GPU_INLINE float whole_sum(const float *parts, int tile_row, int n) {
    float sum = 0;
    GPU_UNROLL
    for (int k = 0; k < TENSOR_PARTS; k++)
        sum += parts[(k * TENSOR_ROWS + tile_row) * N + n];
    return sum;
}

template <int FAMILY, int N>
GPU_INLINE void finish_pairs(const struct cuda_product &p, int section, int first_pair, int first_row,
                             int n_rows, const int32_t *rows, const float *parts) {
    const struct cuda_section &s = p.sections[section];
    for (int i = (int)gpu_thread(); i < TENSOR_PAIRS * N; i += PRODUCT_THREADS) {
        int pair = i % TENSOR_PAIRS, n = i / TENSOR_PAIRS, tile_row = pair / 8 * 16 + pair % 8;
        if (first_row + n >= n_rows || first_pair + pair >= s.pairs)
            continue;
        float a = whole_sum<N>(parts, tile_row, n), b = whole_sum<N>(parts, tile_row + 8, n);
        if (FAMILY == CUDA_FAMILY_F16 || FAMILY == CUDA_FAMILY_F8) {
            float factor = p.prepared.factors[first_row + n];
            a *= factor * weights_factor(s.w[0], rows[tile_row]);
            b *= factor * weights_factor(s.w[1], rows[tile_row + 8]);
        }
        product_store(p, section, first_pair + pair, first_row + n, a, b);
    }
}

/* ---- the kernel ---- */

template <int FAMILY, int N> GPU_KERNEL(PRODUCT_THREADS) kernel_tensor(const struct cuda_product p) {
    typedef tensor_layout<FAMILY, N> layout;
    GPU_SHARED(struct tensor_shared, shared);
    GPU_SHARED_DYNAMIC(uint8_t, buffers);
    int t = (int)gpu_thread(), pair = (int)gpu_block_x() * TENSOR_PAIRS, first_row = (int)gpu_block_y() * N;
    int section = pair_section(p, pair), slabs = steps_prepared_cols(p.cols) / TENSOR_COLS;
    const struct cuda_section &s = p.sections[section];
    bool ours = steps_family(s.w[0].type) == FAMILY;
    struct weights_raw raw;
    pair -= s.first;
    if (ours && t < TENSOR_ROWS) {
        struct pair_rows rows = pair_rows_of(p, section, pair + t / 16 * 8 + t % 8);
        shared.row[t] = tensor_matrix(t) == 0 ? rows.row[0] : rows.row[1];
    }
    gpu_barrier();
    if (ours) { /* weights come before the inputs are there */
        fetch_weights<FAMILY, N>(s, shared.row, buffers, 0, slabs);
        scales_begin<FAMILY>(s, shared.row, 0, &raw);
    }
    gpu_wait_previous();
    gpu_let_next_start();
    int n_rows = product_rows(p);
    if (!ours || first_row >= n_rows) {
        gpu_copy_commit();
        gpu_copy_wait<0>();
        return;
    }
    fetch_inputs<FAMILY, N>(p, first_row, n_rows, buffers, 0);
    gpu_copy_commit();
    scales_end<FAMILY, N>(s, raw, buffers);
    float sum[N / 8][4] = {};
    for (int slab = 0; slab < slabs; slab++) {
        uint8_t *now = buffers + slab % 2 * layout::bytes, *next = buffers + (slab + 1) % 2 * layout::bytes;
        bool more = slab + 1 < slabs;
        if (more) {
            fetch_weights<FAMILY, N>(s, shared.row, next, slab + 1, slabs);
            fetch_inputs<FAMILY, N>(p, first_row, n_rows, next, slab + 1);
            scales_begin<FAMILY>(s, shared.row, slab + 1, &raw);
        }
        gpu_copy_commit();
        gpu_copy_wait<1>();
        gpu_barrier(); /* everybody's copies are there */
        multiply<FAMILY, N>(s.w[0].type, now, sum);
        if (more)
            scales_end<FAMILY, N>(s, raw, next);
        gpu_barrier(); /* this buffer is filled again */
    }
    float *parts = (float *)buffers;
    put_sums<N>(sum, parts);
    gpu_barrier();
    finish_pairs<FAMILY, N>(p, section, pair, first_row, n_rows, shared.row, parts);
}

/* ---- launches ---- */

template <int FAMILY, int N>
static int launch(struct gpu_stream *s, const struct cuda_product *p, int n_rows) {
    static_assert(tensor_layout<FAMILY, N>::bytes * 2 >= TENSOR_PARTS * TENSOR_ROWS * N * 4, "the sums fit");
    const struct cuda_section *last = &p->sections[p->n_sections - 1];
    const struct gpu_launch how = {s,
                                   (unsigned)((last->first + last->pairs + TENSOR_PAIRS - 1) / TENSOR_PAIRS),
                                   (unsigned)((n_rows + N - 1) / N),
                                   PRODUCT_THREADS,
                                   (size_t)tensor_layout<FAMILY, N>::bytes * 2,
                                   true};
    auto kernel = kernel_tensor<FAMILY, N>;
    return GPU_LAUNCH(how, kernel, *p);
}

template <int FAMILY>
static int launch_family(struct gpu_stream *s, const struct cuda_product *p, int n_rows) {
    return n_rows <= 8    ? launch<FAMILY, 8>(s, p, n_rows)
           : n_rows <= 16 ? launch<FAMILY, 16>(s, p, n_rows)
           : n_rows <= 32 ? launch<FAMILY, 32>(s, p, n_rows)
                          : launch < FAMILY,
           tensor_whole<FAMILY> ? 64 : 32 > (s, p, n_rows);
}

extern "C" int steps_product_tensor(struct gpu_stream *s, const struct cuda_product *p, int family,
                                    int n_rows) {
    bool shares = steps_wide_shares(p, family, n_rows);
    if (steps_wide(family, n_rows) && (shares || gpu_block_shared() >= CUDA_WIDE_SHARED))
        return steps_product_wide(s, p, family, n_rows);
    switch (family) {
    case CUDA_FAMILY_BF16:
        return launch_family<CUDA_FAMILY_BF16>(s, p, n_rows);
    case CUDA_FAMILY_F16:
        return launch_family<CUDA_FAMILY_F16>(s, p, n_rows);
    case CUDA_FAMILY_F8:
        return launch_family<CUDA_FAMILY_F8>(s, p, n_rows);
    case CUDA_FAMILY_Q:
        return launch_family<CUDA_FAMILY_Q>(s, p, n_rows);
    default:
        return launch_family<CUDA_FAMILY_HALVED>(s, p, n_rows);
    }
}
