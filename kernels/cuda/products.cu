/* Products of stored rows with one row of the batch, or with four where inputs stay F32.
 *
 * A warp takes a pair of rows of weights; lane l the units (chunks or blocks) l, l + 32, … of both, then the
 * lanes add up in a butterfly. So each product is one sum in one fixed order. The block's inputs lie in
 * shared memory: as F32, or rounded to 8 bits in blocks of 32 where weights are quantised. */
#include "kernels/cuda/product.cuh"

struct product_shared {
    float part[4][PRODUCT_WARPS];
};

/* ---- inputs in shared memory ---- */

/* F32: a warp reads 4 columns of each of 8 neighbouring units at a time, so those lie together. `groups`:
 * fours of a unit. Returns where column c is. */
GPU_INLINE int staged_at(int c, int groups) {
    int unit = c / (4 * groups), g = c / 4 % groups;
    return unit / 8 * (32 * groups) + g * 32 + unit % 8 * 4 + c % 4;
}

/* 1 / sqrt(mean(x^2) + eps) of each row for RMSNorm, else 1. A row that is NULL is zeros. */
template <int ROWS>
GPU_INLINE void stage_scales(const struct cuda_product &p, struct product_shared *s, const float *const *rows,
                             float *scales) {
    int t = (int)gpu_thread();
    GPU_UNROLL
    for (int r = 0; r < ROWS; r++) {
        scales[r] = 1;
        if (p.norm == NULL)
            continue;
        float sum = 0;
        for (int i = t; rows[r] != NULL && i < p.cols; i += PRODUCT_THREADS)
            sum = gpu_fma(rows[r][i], rows[r][i], sum);
        sum = block_sum(sum, s->part[r]);
        scales[r] = gpu_rsqrt(gpu_divide(sum, (float)p.cols) + p.shape.eps);
    }
}

template <int ROWS>
GPU_INLINE void stage_floats(const struct cuda_product &p, const float *const *rows, const float *scales,
                             int groups, float *to) {
    int n = steps_prepared_cols(p.cols);
    GPU_UNROLL
    for (int r = 0; r < ROWS; r++)
        for (int c = (int)gpu_thread(); c < n; c += PRODUCT_THREADS)
            to[r * n + staged_at(c, groups)] = input_value(p, rows[r], scales[r], c);
}

/* Rounded: all first halves of blocks, all second ones, all records. */
GPU_INLINE void stage_rounded(const struct cuda_product &p, const float *row, float scale, uint8_t *to) {
    int n = steps_prepared_cols(p.cols), blocks = n / 32;
    struct cuda_rounded *records = (struct cuda_rounded *)(to + n);
    for (int c = (int)gpu_thread() * 8; c < (n + 2047) / 2048 * 2048; c += PRODUCT_THREADS * 8) {
        float v[8];
        uint32_t bytes[2];
        GPU_UNROLL
        for (int i = 0; i < 8; i++)
            v[i] = input_value(p, row, scale, c + i);
        struct cuda_rounded record = round_block(v, bytes);
        if (c >= n)
            continue;
        uint32_t *at = (uint32_t *)(to + c / 16 % 2 * (blocks * 16) + c / 32 * 16 + c % 16);
        at[0] = bytes[0];
        at[1] = bytes[1];
        if (c % 32 == 0)
            records[c / 32] = record;
    }
}

/* ---- a pair of rows ---- */

struct product_pair {
    const struct cuda_matrix *w[2]; /* of one type */
    int64_t row[2];
};

/* Units l and l + 32 of both rows, loaded before the inputs are there. */
struct product_first {
    struct weights_raw r[2][2];
};

template <int TYPE>
GPU_INLINE void product_fetch(const struct product_pair &pair, int unit, struct weights_raw r[2]) {
    weights_load<TYPE>(*pair.w[0], pair.row[0], unit, &r[0]);
    weights_load<TYPE>(*pair.w[1], pair.row[1], unit, &r[1]);
}

template <int TYPE>
GPU_INLINE void product_begin_type(const struct product_pair &pair, struct product_first *f) {
    product_fetch<TYPE>(pair, (int)gpu_lane(), f->r[0]);
    product_fetch<TYPE>(pair, (int)gpu_lane() + 32, f->r[1]);
}

GPU_INLINE void product_begin(const struct product_pair &pair, struct product_first *f) {
    switch (pair.w[0]->type) {
        WEIGHTS_PLAIN(product_begin_type<TYPE>(pair, f))
        WEIGHTS_QUANTISED(product_begin_type<TYPE>(pair, f))
    }
}

/* sum += a unit of both rows . the same columns of the inputs, F32. */
template <int TYPE, int ROWS>
GPU_INLINE void add_floats(const struct weights_raw r[2], int unit, const void *staged, int cols,
                           float (*sum)[ROWS]) {
    constexpr int GROUPS = weights_groups<TYPE>;
    const float *input = (const float *)staged + unit / 8 * (32 * GROUPS) + unit % 8 * 4;
    struct weights_scale scale[2] = {};
    if (TYPE >= CUDA_Q8_0) {
        scale[0] = weights_scales<TYPE>(r[0], unit);
        scale[1] = weights_scales<TYPE>(r[1], unit);
    }
    GPU_UNROLL
    for (int g = 0; g < GROUPS; g++) {
        float w[2][4];
        weights_floats<TYPE>(r[0], scale[0], g, w[0]);
        weights_floats<TYPE>(r[1], scale[1], g, w[1]);
        GPU_UNROLL
        for (int k = 0; k < ROWS; k++) {
            struct gpu_f4 x = *(const struct gpu_f4 *)(input + k * cols + g * 32);
            GPU_UNROLL
            for (int m = 0; m < 2; m++) {
                float v = gpu_fma(w[m][0], x.x, sum[m][k]);
                v = gpu_fma(w[m][1], x.y, v);
                v = gpu_fma(w[m][2], x.z, v);
                sum[m][k] = gpu_fma(w[m][3], x.w, v);
            }
        }
    }
}

/* The same with rounded inputs: sums of whole numbers, then the scales. */
template <int TYPE>
GPU_INLINE void add_rounded(const struct weights_raw r[2], int unit, const void *staged, int cols,
                            float (*sum)[1]) {
    const uint8_t *bytes = (const uint8_t *)staged + unit * 16;
    const struct gpu_u4 low = *(const struct gpu_u4 *)bytes,
                        high = *(const struct gpu_u4 *)(bytes + cols / 2);
    const struct gpu_f4 record = ((const struct gpu_f4 *)((const uint8_t *)staged + cols))[unit];
    const struct cuda_rounded x = {record.x, record.y, record.z, 0};
    const uint32_t in[2][4] = {{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
    GPU_UNROLL
    for (int m = 0; m < 2; m++) {
        const struct weights_scale scale = weights_scales<TYPE>(r[m], unit);
        int32_t dot[2] = {0, 0};
        GPU_UNROLL
        for (int h = 0; h < 2; h++) {
            GPU_UNROLL
            for (int j = 0; j < 4; j++)
                dot[h] = gpu_dot4(weights_four<TYPE>(r[m], h, j), in[h][j], dot[h]);
        }
        float part, shift = 0;
        if (weights_halved<TYPE>) {
            part = gpu_fma(scale.s[1], (float)dot[1], scale.s[0] * (float)dot[0]);
            shift = gpu_fma(scale.z[1], x.high, scale.z[0] * x.low);
        } else {
            part = scale.s[0] * (float)(dot[0] + dot[1]);
            if (TYPE != CUDA_Q8_0)
                shift = scale.z[0] * (x.low + x.high);
        }
        sum[m][0] = gpu_fma(x.scale, part, sum[m][0] + shift);
    }
}

template <int TYPE, int ROWS, bool ROUNDED>
GPU_INLINE void product_run(const struct product_pair &pair, struct product_first &f, const void *staged,
                            int cols, float (*sum)[ROWS]) {
    int units = TYPE >= CUDA_Q8_0 ? pair.w[0]->blocks : pair.w[0]->chunks;
    for (int u = (int)gpu_lane(); u < units; u += 64) {
        GPU_UNROLL
        for (int k = 0; k < 2; k++) {
            if (u + 32 * k < units) {
                if constexpr (ROUNDED)
                    add_rounded<TYPE>(f.r[k], u + 32 * k, staged, cols, sum);
                else
                    add_floats<TYPE, ROWS>(f.r[k], u + 32 * k, staged, cols, sum);
            }
            product_fetch<TYPE>(pair, u + 64 + 32 * k, f.r[k]);
        }
    }
}

/* sum[m][k] = row m of the pair . input row k, the same in all lanes. All lanes of the warp call it. */
template <int ROWS>
GPU_INLINE void product_end(const struct product_pair &pair, struct product_first &f, bool rounded,
                            const void *staged, int cols, float (*sum)[ROWS]) {
    GPU_UNROLL
    for (int k = 0; k < ROWS; k++)
        sum[0][k] = sum[1][k] = 0;
    if (ROWS == 1 && rounded) {
        switch (pair.w[0]->type) {
            WEIGHTS_QUANTISED((product_run<TYPE, 1, true>(pair, f, staged, cols, (float(*)[1])sum)))
        }
    } else {
        switch (pair.w[0]->type) {
            WEIGHTS_PLAIN((product_run<TYPE, ROWS, false>(pair, f, staged, cols, sum)))
            WEIGHTS_QUANTISED((product_run<TYPE, ROWS, false>(pair, f, staged, cols, sum)))
        }
    }
    GPU_UNROLL
    for (int m = 0; m < 2; m++) {
        float factor = weights_factor(*pair.w[m], pair.row[m]);
        GPU_UNROLL
        for (int k = 0; k < ROWS; k++)
            sum[m][k] = gpu_warp_sum(sum[m][k]) * factor;
    }
}

/* ---- the kernel ---- */

GPU_INLINE void product_pair_of(const struct cuda_product &p, int section, int i, struct product_pair *out) {
    struct pair_rows rows = pair_rows_of(p, section, i);
    GPU_UNROLL
    for (int m = 0; m < 2; m++) {
        out->w[m] = &p.sections[section].w[m];
        out->row[m] = rows.row[m];
    }
}

/* Lane k stores the results of row first_row + k. */
template <int ROWS>
GPU_INLINE void product_finish(const struct cuda_product &p, int section, int i, int first_row, int n_rows,
                               const float (*sum)[ROWS]) {
    float a = 0, b = 0;
    GPU_UNROLL
    for (int k = 0; k < ROWS; k++)
        if ((int)gpu_lane() == k) {
            a = sum[0][k];
            b = sum[1][k];
        }
    int row = first_row + (int)gpu_lane();
    if (gpu_lane() < ROWS && row < n_rows && i < p.sections[section].pairs)
        product_store(p, section, i, row, a, b);
}

/* A block of a step with one section takes every gridDim'th group of pairs, so that inputs are staged once
 * for many. */
template <int ROWS> GPU_KERNEL(PRODUCT_THREADS) kernel_product(const struct cuda_product p) {
    GPU_SHARED(struct product_shared, shared);
    GPU_SHARED_DYNAMIC(float, staged);
    int pair = (int)(gpu_block_x() * PRODUCT_WARPS + gpu_warp()), first_row = (int)gpu_block_y() * ROWS;
    int section = pair_section(p, (int)gpu_block_x() * PRODUCT_WARPS);
    const struct cuda_section &at = p.sections[section];
    struct product_pair mine;
    struct product_first first;
    product_pair_of(p, section, pair - at.first, &mine);
    product_begin(mine, &first);
    gpu_wait_previous();
    gpu_let_next_start();
    int n_rows = product_rows(p);
    if ((p.families >> steps_family(at.w[0].type) & 1) == 0)
        return;
    if (first_row >= n_rows) /* a grid is larger than its batch where a graph runs again */
        return;
    const float *rows[ROWS];
    float scales[ROWS];
    GPU_UNROLL
    for (int k = 0; k < ROWS; k++)
        rows[k] = first_row + k < n_rows ? product_input(p, first_row + k) : NULL;
    bool rounded = ROWS == 1 && p.exact == 0 && steps_quantised(at.w[0].type);
    stage_scales<ROWS>(p, &shared, rows, scales);
    if (rounded)
        stage_rounded(p, rows[0], scales[0], (uint8_t *)staged);
    else
        stage_floats<ROWS>(p, rows, scales, steps_unit_cols(at.w[0].type) / 4, staged);
    gpu_barrier();
    for (;;) {
        float sum[2][ROWS];
        product_end<ROWS>(mine, first, rounded, staged, steps_prepared_cols(p.cols), sum);
        product_finish<ROWS>(p, section, pair - at.first, first_row, n_rows, sum);
        pair += (int)gpu_blocks_x() * PRODUCT_WARPS;
        if (p.n_sections > 1 || pair >= at.pairs)
            break;
        product_pair_of(p, section, pair, &mine);
        product_begin(mine, &first);
    }
}

/* ---- launches ---- */

/* Shared memory of a block that takes one row. */
static size_t one_row(const struct cuda_product *p) {
    size_t n = (size_t)steps_prepared_cols(p->cols);
    for (int i = 0; i < p->n_sections; i++)
        if (p->exact != 0 || !steps_quantised(p->sections[i].w[0].type))
            return n * sizeof(float);
    return n + n / 32 * sizeof(struct cuda_rounded);
}

/* Two blocks of a multiprocessor share its memory, as long as one row allows it. */
#define TARGET_SHARED ((size_t)96 * 1024)

extern "C" size_t steps_product_shared(int32_t cols) {
    return (size_t)steps_prepared_cols(cols) * sizeof(float);
}

extern "C" void steps_add_section(struct cuda_product *p, const struct cuda_matrix *first,
                                  const struct cuda_matrix *second, int32_t pairs) {
    struct cuda_section *s = &p->sections[p->n_sections];
    int32_t base = 0;
    *s = {{*first, *second}, 0, pairs, {0, 0}};
    if (p->n_sections > 0) {
        const struct cuda_section *before = s - 1;
        base = before->base[1] + before->w[1].rows;
        s->first = (before->first + before->pairs + CUDA_SECTION - 1) / CUDA_SECTION * CUDA_SECTION;
    }
    s->base[0] = base;
    s->base[1] = second->values == first->values ? base : base + first->rows;
    p->n_sections++;
}

extern "C" int steps_product_rows(struct gpu_stream *s, const struct cuda_product *p, int n_rows) {
    const struct cuda_section *last = &p->sections[p->n_sections - 1];
    unsigned blocks = ((unsigned)(last->first + last->pairs) + PRODUCT_WARPS - 1) / PRODUCT_WARPS;
    unsigned most = 2 * (unsigned)gpu_multiprocessors();
    int rows = n_rows > 1 && steps_product_shared(p->cols) * 4 <= TARGET_SHARED ? 4 : 1;
    const struct gpu_launch how = {s,
                                   p->n_sections == 1 && blocks > most ? most : blocks,
                                   (unsigned)((n_rows + rows - 1) / rows),
                                   PRODUCT_THREADS,
                                   rows == 1 ? one_row(p) : steps_product_shared(p->cols) * (size_t)rows,
                                   true};
    return rows == 4 ? GPU_LAUNCH(how, kernel_product<4>, *p) : GPU_LAUNCH(how, kernel_product<1>, *p);
}

/* Bits of the families of a step's sections. */
static int families_of(const struct cuda_product *p) {
    int families = 0;
    for (int i = 0; i < p->n_sections; i++)
        families |= 1 << steps_family(p->sections[i].w[0].type);
    return families;
}

/* The scale of inputs in F8, which the step's matrices share: the largest that they ask for; 0: each row has
 * its own. */
static float input_scale_of(const struct cuda_product *p) {
    float most = 0;
    for (int i = 0; i < p->n_sections; i++)
        for (int k = 0; k < 2; k++) {
            const struct cuda_matrix *w = &p->sections[i].w[k];
            if (w->type == CUDA_F8 && w->input_scale <= 0)
                return 0;
            most = w->type == CUDA_F8 && w->input_scale > most ? w->input_scale : most;
        }
    return most;
}

/* What several families need: their forms, then one launch each. */
static int product_by_family(struct gpu_stream *s, struct cuda_product *p, int n_rows) {
    int families = p->families, rc = steps_prepare(s, p, n_rows);
    for (int f = 0; f < CUDA_FAMILIES && rc == 0; f++) {
        p->families = families & 1 << f;
        if (p->families != 0)
            rc = f == CUDA_FAMILY_F32 ? steps_product_rows(s, p, n_rows)
                                      : steps_product_tensor(s, p, f, n_rows);
    }
    return rc;
}

extern "C" int steps_product(struct gpu_stream *s, struct gpu_blas *blas, const struct cuda_product *p,
                             int n_rows) {
    struct cuda_product part = *p;
    bool large = blas != NULL && n_rows > CUDA_LARGE_ROWS && p->step != CUDA_LOGITS;
    part.families = families_of(p);
    if (p->exact != 0 || n_rows == 1 || part.families == 1 << CUDA_FAMILY_F32)
        return steps_product_rows(s, &part, n_rows);
    for (int f = 0; f < CUDA_FAMILIES; f++)
        if ((part.families >> f & 1) != 0)
            part.forms |= large ? steps_large_form(f, part.f8) : steps_form(f);
    part.input_scale = input_scale_of(p);
    if (!large)
        return product_by_family(s, &part, n_rows);
    int rc = steps_prepare(s, &part, n_rows), plain = part.families & 1 << CUDA_FAMILY_F32;
    part.families -= plain;
    rc = rc ? rc : steps_product_large(s, blas, &part, n_rows);
    part.families = plain;
    return rc || plain == 0 ? rc : steps_product_rows(s, &part, n_rows);
}
