/* The steps that are products: attn_in, attn_out and ffn_out, ffn_in, logits. */
#include "kernels/cuda/product.cuh"

/* ---- attn_in ---- */

/* Which pair of rows a warp takes: q, then k, then v; for q and k the two that are rotated together. */
struct attn_pair {
    struct product_pair rows;
    int which;               /* 0: q, 1: k, 2: v */
    int head, first, second; /* elements of the head */
};

GPU_INLINE void attn_pair_of(const struct cuda_attn_in &p, int pair, struct attn_pair *out) {
    int e = p.shape.head_dim, half = e / 2;
    int q_pairs = p.shape.n_heads * half, kv_pairs = p.shape.n_kv_heads * half;
    out->which = pair < q_pairs ? 0 : pair < q_pairs + kv_pairs ? 1 : 2;
    pair -= out->which == 0 ? 0 : out->which == 1 ? q_pairs : q_pairs + kv_pairs;
    out->head = pair / half;
    int i = pair % half;
    bool apart = p.shape.half_split != 0 && out->which != 2;
    out->first = apart ? i : 2 * i;
    out->second = apart ? i + half : 2 * i + 1;
    const struct cuda_matrix *w = out->which == 0 ? &p.wq : out->which == 1 ? &p.wk : &p.wv;
    out->rows.w[0] = out->rows.w[1] = w;
    out->rows.row[0] = (int64_t)out->head * e + out->first;
    out->rows.row[1] = (int64_t)out->head * e + out->second;
}

GPU_INLINE void cache_store(const struct cuda_cache &cache, uint8_t *at, int i, float v) {
    if (cache.half != 0)
        ((uint16_t *)at)[i] = gpu_float_to_f16(v);
    else
        ((float *)at)[i] = v;
}

/* The results of one row: rotated by its position, to q or to the row's page. */
GPU_INLINE void attn_store(const struct cuda_attn_in &p, const struct attn_pair &pair, int row, float a,
                           float b) {
    const struct cuda_row at = p.batch.rows[row];
    int e = p.shape.head_dim;
    if (pair.which != 2) {
        int i = p.shape.half_split != 0 ? pair.first : pair.first / 2;
        const float *cs = p.rope + ((int64_t)at.position * (e / 2) + i) * 2;
        float c = cs[0], s = cs[1], rotated = a * c - b * s;
        b = a * s + b * c;
        a = rotated;
    }
    if (pair.which == 0) {
        float *q = p.q + (int64_t)row * p.shape.q_stride + pair.head * e;
        q[pair.first] = a;
        q[pair.second] = b;
        return;
    }
    int32_t page = p.batch.pages[(int64_t)at.table * *p.batch.stride + at.position / 64];
    int64_t element = p.cache.half != 0 ? 2 : 4;
    uint8_t *to = p.cache.memory + page * p.cache.page_bytes + p.layer * p.cache.layer_bytes +
                  (pair.which == 2 ? p.cache.kind_bytes : 0) + pair.head * p.cache.head_bytes +
                  at.position % 64 * p.cache.row * element;
    cache_store(p.cache, to, pair.first, a);
    cache_store(p.cache, to, pair.second, b);
}

template <int ROWS> GPU_KERNEL(PRODUCT_THREADS) kernel_attn_in(const struct cuda_attn_in p) {
    GPU_SHARED(struct product_shared, shared);
    GPU_SHARED_DYNAMIC(float, input);
    int n_pairs = (p.shape.n_heads + 2 * p.shape.n_kv_heads) * (p.shape.head_dim / 2);
    int pair = (int)(gpu_block_x() * PRODUCT_WARPS + gpu_warp()), first_row = (int)gpu_block_y() * ROWS;
    int stride = product_stride(p.shape.dim);
    struct attn_pair mine;
    struct product_first first;
    attn_pair_of(p, pair < n_pairs ? pair : n_pairs - 1, &mine);
    product_begin(mine.rows, &first);
    gpu_wait_previous();
    gpu_let_next_start();
    int n_rows = *p.batch.n_rows;
    if (first_row >= n_rows) /* a grid is larger than its batch where a graph runs again */
        return;
    const float *rows[ROWS];
    GPU_UNROLL
    for (int r = 0; r < ROWS; r++)
        rows[r] = first_row + r < n_rows ? p.x + (int64_t)(first_row + r) * p.shape.x_stride : NULL;
    product_stage<ROWS>(&shared, input, rows, p.norm, p.shape.dim, p.shape.eps);
    float sum[2][ROWS], a = 0, b = 0;
    product_end<ROWS>(mine.rows, first, input, stride, sum);
    product_mine<ROWS>(sum, &a, &b);
    int row = first_row + (int)gpu_lane();
    if (pair < n_pairs && gpu_lane() < ROWS && row < n_rows)
        attn_store(p, mine, row, a, b);
}

/* ---- attn_out, ffn_out ---- */

/* Rows 2i and 2i + 1 of a matrix; the last one twice where there is no other. */
GPU_INLINE struct product_pair neighbours(const struct cuda_matrix &w, int pair) {
    int64_t a = 2 * (int64_t)pair < w.rows ? 2 * (int64_t)pair : w.rows - 1;
    return {{&w, &w}, {a, a + 1 < w.rows ? a + 1 : a}};
}

template <int ROWS> GPU_KERNEL(PRODUCT_THREADS) kernel_residual(const struct cuda_residual p) {
    GPU_SHARED(struct product_shared, shared);
    GPU_SHARED_DYNAMIC(float, input);
    int pair = (int)(gpu_block_x() * PRODUCT_WARPS + gpu_warp()), first_row = (int)gpu_block_y() * ROWS;
    int stride = product_stride(p.w.cols);
    struct product_pair mine = neighbours(p.w, pair);
    struct product_first first;
    product_begin(mine, &first);
    gpu_wait_previous();
    gpu_let_next_start();
    int n_rows = *p.batch.n_rows;
    if (first_row >= n_rows) /* a grid is larger than its batch where a graph runs again */
        return;
    const float *rows[ROWS];
    GPU_UNROLL
    for (int r = 0; r < ROWS; r++)
        rows[r] = first_row + r < n_rows ? p.input + (int64_t)(first_row + r) * p.input_stride : NULL;
    product_stage<ROWS>(&shared, input, rows, NULL, p.w.cols, 0);
    float sum[2][ROWS], a = 0, b = 0;
    product_end<ROWS>(mine, first, input, stride, sum);
    product_mine<ROWS>(sum, &a, &b);
    int row = first_row + (int)gpu_lane();
    if (gpu_lane() >= ROWS || row >= n_rows || 2 * pair >= p.w.rows)
        return;
    float *x = p.x + (int64_t)row * p.x_stride + 2 * pair;
    x[0] += a;
    if (2 * pair + 1 < p.w.rows)
        x[1] += b;
}

/* ---- ffn_in ---- */

template <int ROWS> GPU_KERNEL(PRODUCT_THREADS) kernel_ffn_in(const struct cuda_ffn_in p) {
    GPU_SHARED(struct product_shared, shared);
    GPU_SHARED_DYNAMIC(float, input);
    int f = (int)(gpu_block_x() * PRODUCT_WARPS + gpu_warp()), first_row = (int)gpu_block_y() * ROWS;
    int stride = product_stride(p.shape.dim);
    int64_t weights = f < p.shape.ffn_dim ? f : p.shape.ffn_dim - 1;
    struct product_pair mine = {{&p.gate, &p.up}, {weights, weights}};
    struct product_first first;
    product_begin(mine, &first);
    gpu_wait_previous();
    gpu_let_next_start();
    int n_rows = *p.batch.n_rows;
    if (first_row >= n_rows) /* a grid is larger than its batch where a graph runs again */
        return;
    const float *rows[ROWS];
    GPU_UNROLL
    for (int r = 0; r < ROWS; r++)
        rows[r] = first_row + r < n_rows ? p.x + (int64_t)(first_row + r) * p.shape.x_stride : NULL;
    product_stage<ROWS>(&shared, input, rows, p.norm, p.shape.dim, p.shape.eps);
    float sum[2][ROWS], gate = 0, up = 0;
    product_end<ROWS>(mine, first, input, stride, sum);
    product_mine<ROWS>(sum, &gate, &up);
    int row = first_row + (int)gpu_lane();
    if (gpu_lane() < ROWS && row < n_rows && f < p.shape.ffn_dim)
        p.h[(int64_t)row * p.shape.h_stride + f] = gpu_divide(gate, 1 + gpu_exp(-gate)) * up;
}

/* ---- logits ---- */

template <int ROWS> GPU_KERNEL(PRODUCT_THREADS) kernel_logits(const struct cuda_logits p) {
    GPU_SHARED(struct product_shared, shared);
    GPU_SHARED_DYNAMIC(float, input);
    int pair = (int)(gpu_block_x() * PRODUCT_WARPS + gpu_warp()), first_row = (int)gpu_block_y() * ROWS;
    int stride = product_stride(p.shape.dim);
    struct product_pair mine = neighbours(p.w, pair);
    struct product_first first;
    product_begin(mine, &first);
    gpu_wait_previous();
    gpu_let_next_start();
    int n_outputs = *p.batch.n_outputs;
    if (first_row >= n_outputs)
        return;
    const float *rows[ROWS];
    GPU_UNROLL
    for (int r = 0; r < ROWS; r++) {
        int o = first_row + r;
        rows[r] = o < n_outputs ? p.x + (int64_t)p.batch.outputs[o] * p.shape.x_stride : NULL;
    }
    product_stage<ROWS>(&shared, input, rows, p.norm, p.shape.dim, p.shape.eps);
    float sum[2][ROWS], a = 0, b = 0;
    product_end<ROWS>(mine, first, input, stride, sum);
    product_mine<ROWS>(sum, &a, &b);
    int o = first_row + (int)gpu_lane();
    if (gpu_lane() >= ROWS || o >= n_outputs || 2 * pair >= p.w.rows)
        return;
    float *logits = p.logits + (int64_t)o * p.w.rows + 2 * pair;
    logits[0] = a;
    if (2 * pair + 1 < p.w.rows)
        logits[1] = b;
}

/* ---- launches ---- */

/* Two blocks of a multiprocessor share its memory, as long as one row allows it. */
#define TARGET_SHARED ((size_t)96 * 1024)

extern "C" size_t steps_product_shared(int32_t cols) {
    return ((size_t)cols + 15) / 16 * 16 * sizeof(float);
}

/* Rows of the batch that a block takes: a power of two. */
static int rows_at_once(int32_t cols, int n_rows) {
    int rows = 1;
    while (rows < PRODUCT_ROWS && rows < n_rows &&
           steps_product_shared(cols) * (size_t)rows * 2 <= TARGET_SHARED)
        rows *= 2;
    return rows;
}

#define LAUNCH(kernel, pairs, cols)                                                                          \
    do {                                                                                                     \
        int rows = rows_at_once(cols, n_rows);                                                               \
        const struct gpu_launch how = {s,                                                                    \
                                       ((unsigned)(pairs) + PRODUCT_WARPS - 1) / PRODUCT_WARPS,              \
                                       (unsigned)((n_rows + rows - 1) / rows),                               \
                                       PRODUCT_THREADS,                                                      \
                                       steps_product_shared(cols) * (size_t)rows,                            \
                                       true};                                                                \
        switch (rows) {                                                                                      \
        case 1:                                                                                              \
            return GPU_LAUNCH(how, kernel<1>, *p);                                                           \
        case 2:                                                                                              \
            return GPU_LAUNCH(how, kernel<2>, *p);                                                           \
        default:                                                                                             \
            return GPU_LAUNCH(how, kernel<PRODUCT_ROWS>, *p);                                                \
        }                                                                                                    \
    } while (0)

extern "C" int steps_attn_in(struct gpu_stream *s, const struct cuda_attn_in *p, int n_rows) {
    LAUNCH(kernel_attn_in, (p->shape.n_heads + 2 * p->shape.n_kv_heads) * (p->shape.head_dim / 2),
           p->shape.dim);
}

extern "C" int steps_residual(struct gpu_stream *s, const struct cuda_residual *p, int n_rows) {
    LAUNCH(kernel_residual, (p->w.rows + 1) / 2, p->w.cols);
}

extern "C" int steps_ffn_in(struct gpu_stream *s, const struct cuda_ffn_in *p, int n_rows) {
    LAUNCH(kernel_ffn_in, p->shape.ffn_dim, p->shape.dim);
}

extern "C" int steps_logits(struct gpu_stream *s, const struct cuda_logits *p, int n_outputs) {
    int n_rows = n_outputs;
    LAUNCH(kernel_logits, (p->w.rows + 1) / 2, p->shape.dim);
}
