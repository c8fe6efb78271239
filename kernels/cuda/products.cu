/* Products of stored rows with one row of the batch, or with four where inputs stay F32.
 *
 * A warp takes a pair of rows of weights; lane l the units (chunks or blocks) l, l + 32, … of both, then the
 * lanes add up in a butterfly. So each product is one sum in one fixed order. The block's inputs lie in
 * shared memory: as F32, or rounded to 8 bits in blocks of 32 where weights are quantised.
 *
 * Units are asked for a group ahead, over the end of a pair too, so that enough bytes are on their way.
 * Whether the compiler made that of it is seen in the machine code alone: tests/kernels/cuda_reckon.py. */
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

/* sum + the squares of row[c … c + 3], as far as there are. */
GPU_INLINE float add_squares(const float *row, int c, int cols, float sum) {
    if (c + 4 > cols) {
        for (; c < cols; c++)
            sum = gpu_fma(row[c], row[c], sum);
        return sum;
    }
    const struct gpu_f4 v = *(const struct gpu_f4 *)(row + c);
    return gpu_fma(v.w, v.w, gpu_fma(v.z, v.z, gpu_fma(v.y, v.y, gpu_fma(v.x, v.x, sum))));
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
        for (int i = t * 4; rows[r] != NULL && i < p.cols; i += PRODUCT_THREADS * 4)
            sum = add_squares(rows[r], i, p.cols, sum);
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
        for (int c = (int)gpu_thread() * 4; c < n; c += PRODUCT_THREADS * 4)
            *(struct gpu_f4 *)(to + r * n + staged_at(c, groups)) = input_four(p, rows[r], scales[r], c);
}

/* Rounded: all first halves of blocks, all second ones, all records. */
GPU_INLINE void stage_rounded(const struct cuda_product &p, const float *row, float scale, uint8_t *to) {
    int n = steps_prepared_cols(p.cols), blocks = n / 32;
    struct cuda_rounded *records = (struct cuda_rounded *)(to + n);
    for (int c = (int)gpu_thread() * 8; c < (n + 2047) / 2048 * 2048; c += PRODUCT_THREADS * 8) {
        float v[8];
        uint32_t bytes[2];
        input_eight(p, row, scale, c, v);
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

/* Units of each row that a lane has asked for before it takes the first: enough bytes on their way, from all
 * warps of a multiprocessor, for as long as memory takes to answer. */
template <int TYPE> constexpr int product_depth = TYPE >= CUDA_Q8_0 ? 2 : 4;
#define PRODUCT_DEPTH 4

/* The first units of both rows, loaded before the inputs are there. */
struct product_first {
    struct weights_raw r[PRODUCT_DEPTH][2];
};

/* Which pairs a warp takes: first, first + step, … of a section. */
struct product_pairs {
    const struct cuda_section *section;
    int number; /* of the section */
    int first, step, end;
};

GPU_INLINE int product_units(const struct cuda_matrix &w) {
    return steps_quantised(w.type) ? w.blocks : w.chunks;
}

/* Groups of a row that are loaded ahead; exact products of quantised weights, which are for comparisons, go
 * without. */
template <int TYPE> GPU_INLINE int product_groups(const struct cuda_product &p, const struct cuda_matrix &w) {
    return TYPE >= CUDA_Q8_0 && p.exact != 0 ? 0 : product_units(w) / (32 * product_depth<TYPE>);
}

/* Behind the last pair of the warp: a place that costs nothing to read. */
template <int TYPE>
GPU_INLINE void product_seek(const struct cuda_product &p, const struct product_pairs &pairs, int i,
                             struct weights_at at[2]) {
    struct pair_rows rows = {{0, 0}};
    int unit = 0;
    if (i < pairs.end) {
        rows = pair_rows_of(p, pairs.number, i);
        unit = (int)gpu_lane();
    }
    at[0] = weights_seek<TYPE>(pairs.section->w[0], rows.row[0], unit);
    at[1] = weights_seek<TYPE>(pairs.section->w[1], rows.row[1], unit);
}

template <int TYPE>
GPU_INLINE void product_begin_type(const struct cuda_product &p, const struct product_pairs &pairs,
                                   struct product_first *f) {
    struct weights_at at[2];
    if (product_groups<TYPE>(p, pairs.section->w[0]) == 0)
        return;
    product_seek<TYPE>(p, pairs, pairs.first, at);
    GPU_UNROLL
    for (int k = 0; k < product_depth<TYPE>; k++) {
        weights_take<TYPE>(at[0], k, &f->r[k][0]);
        weights_take<TYPE>(at[1], k, &f->r[k][1]);
    }
}

GPU_INLINE void product_begin(const struct cuda_product &p, const struct product_pairs &pairs,
                              struct product_first *f) {
    switch (pairs.section->w[0].type) {
        WEIGHTS_PLAIN(product_begin_type<TYPE>(p, pairs, f))
        WEIGHTS_QUANTISED(product_begin_type<TYPE>(p, pairs, f))
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
    const struct cuda_rounded x = {record.x, record.y, record.z, record.w};
    const uint32_t in[2][4] = {{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
    GPU_UNROLL
    for (int m = 0; m < 2; m++) {
        const struct weights_scale scale = weights_scales<TYPE>(r[m], unit);
        int32_t dot[2] = {0, 0};
        GPU_UNROLL
        for (int h = 0; h < 2; h++) {
            GPU_UNROLL
            for (int j = 0; j < 4; j++) {
                if (weights_nibbles<TYPE> && h == 1)
                    dot[h] = gpu_dot4_unsigned(r[m].v[j] & 0xF0F0F0F0u, in[h][j], dot[h]);
                else
                    dot[h] = gpu_dot4(weights_four<TYPE>(r[m], h, j), in[h][j], dot[h]);
            }
        }
        float part, shift = 0;
        if (weights_halved<TYPE>) {
            part = gpu_fma(scale.s[1], (float)dot[1], scale.s[0] * (float)dot[0]);
            shift = gpu_fma(scale.z[1], x.high, scale.z[0] * x.low);
        } else if (weights_nibbles<TYPE>) {
            part = scale.s[0] * (float)(dot[0] * 16 + dot[1]);
        } else {
            part = scale.s[0] * (float)(dot[0] + dot[1]);
        }
        if (!weights_halved<TYPE> && TYPE != CUDA_Q8_0)
            shift = scale.z[0] * (x.low + x.high);
        sum[m][0] = gpu_fma(weights_nibbles<TYPE> ? x.sixteenth : x.scale, part, sum[m][0] + shift);
    }
}

/* Lane k stores the results of row first_row + k. */
template <int ROWS>
GPU_INLINE void product_finish(const struct cuda_product &p, const struct product_pairs &pairs, int i,
                               int first_row, int n_rows, float (*sum)[ROWS]) {
    struct pair_rows rows = pair_rows_of(p, pairs.number, i);
    float a = 0, b = 0;
    GPU_UNROLL
    for (int k = 0; k < ROWS; k++) {
        sum[0][k] = gpu_warp_sum(sum[0][k]);
        sum[1][k] = gpu_warp_sum(sum[1][k]);
        if ((int)gpu_lane() == k) {
            a = sum[0][k] * weights_factor(pairs.section->w[0], rows.row[0]);
            b = sum[1][k] * weights_factor(pairs.section->w[1], rows.row[1]);
        }
    }
    int row = first_row + (int)gpu_lane();
    if (gpu_lane() < ROWS && row < n_rows && i < pairs.section->pairs)
        product_store(p, pairs.number, i, row, a, b);
}

/* The inputs in shared memory, and which rows of the batch they are. */
struct product_inputs {
    const void *staged;
    int cols, first_row, n_rows;
};

template <int TYPE, int ROWS, bool ROUNDED>
GPU_INLINE void product_add(const struct weights_raw r[2], int unit, const struct product_inputs &in,
                            float (*sum)[ROWS]) {
    if constexpr (ROUNDED)
        add_rounded<TYPE>(r, unit, in.staged, in.cols, sum);
    else
        add_floats<TYPE, ROWS>(r, unit, in.staged, in.cols, sum);
}

/* The units behind the last whole group, with nothing loaded ahead. */
template <int TYPE, int ROWS, bool ROUNDED>
GPU_INLINE void product_rest(const struct cuda_product &p, const struct product_pairs &pairs, int i, int unit,
                             const struct product_inputs &in, float (*sum)[ROWS]) {
    int units = product_units(pairs.section->w[0]);
    struct weights_at at[2];
    struct weights_raw r[2];
    product_seek<TYPE>(p, pairs, i, at);
    weights_pass<TYPE>(&at[0], unit / 32);
    weights_pass<TYPE>(&at[1], unit / 32);
    GPU_ROLLED
    for (unit += (int)gpu_lane(); unit < units; unit += 32) {
        weights_take<TYPE>(at[0], 0, &r[0]);
        weights_take<TYPE>(at[1], 0, &r[1]);
        weights_pass<TYPE>(&at[0], 1);
        weights_pass<TYPE>(&at[1], 1);
        product_add<TYPE, ROWS, ROUNDED>(r, unit, in, sum);
    }
}

/* The groups of a pair, those of the next one on their way while one is taken, also from this pair to the
 * next. `at`: of the group that comes next. */
template <int TYPE, int ROWS, bool ROUNDED>
GPU_INLINE void product_take(const struct cuda_product &p, const struct product_pairs &pairs, int i,
                             int groups, struct weights_at at[2], struct product_first &f,
                             const struct product_inputs &in, float (*sum)[ROWS]) {
    constexpr int DEPTH = product_depth<TYPE>;
    int unit = (int)gpu_lane();
    GPU_ROLLED
    for (int g = 1; g <= groups; g++) {
        if (g < groups) {
            weights_pass<TYPE>(&at[0], DEPTH);
            weights_pass<TYPE>(&at[1], DEPTH);
        } else {
            product_seek<TYPE>(p, pairs, i + pairs.step, at);
        }
        GPU_UNROLL
        for (int k = 0; k < DEPTH; k++, unit += 32) {
            product_add<TYPE, ROWS, ROUNDED>(f.r[k], unit, in, sum);
            weights_take<TYPE>(at[0], k, &f.r[k][0]);
            weights_take<TYPE>(at[1], k, &f.r[k][1]);
        }
    }
}

/* All pairs of the warp. All lanes of the warp call it. */
template <int TYPE, int ROWS, bool ROUNDED>
GPU_INLINE void product_run(const struct cuda_product &p, const struct product_pairs &pairs,
                            struct product_first &f, const struct product_inputs &in) {
    constexpr bool AHEAD = TYPE < CUDA_Q8_0 || ROUNDED;
    int groups = AHEAD ? product_groups<TYPE>(p, pairs.section->w[0]) : 0;
    int taken = groups * 32 * product_depth<TYPE>;
    struct weights_at at[2];
    product_seek<TYPE>(p, pairs, pairs.first, at);
    GPU_ROLLED
    for (int i = pairs.first; i < pairs.end; i += pairs.step) {
        float sum[2][ROWS] = {};
        if (AHEAD)
            product_take<TYPE, ROWS, ROUNDED>(p, pairs, i, groups, at, f, in, sum);
        if (taken < product_units(pairs.section->w[0]))
            product_rest<TYPE, ROWS, ROUNDED>(p, pairs, i, taken, in, sum);
        product_finish<ROWS>(p, pairs, i, in.first_row, in.n_rows, sum);
    }
}

template <int ROWS>
GPU_INLINE void product_all(const struct cuda_product &p, const struct product_pairs &pairs,
                            struct product_first &f, bool rounded, const struct product_inputs &in) {
    if (ROWS == 1 && rounded) {
        switch (pairs.section->w[0].type) { WEIGHTS_QUANTISED((product_run<TYPE, 1, true>(p, pairs, f, in))) }
    } else {
        switch (pairs.section->w[0].type) {
            WEIGHTS_PLAIN((product_run<TYPE, ROWS, false>(p, pairs, f, in)))
            WEIGHTS_QUANTISED((product_run<TYPE, ROWS, false>(p, pairs, f, in)))
        }
    }
}

/* ---- the kernel ---- */

/* A block of a step with one section takes every gridDim'th group of pairs, so that inputs are staged once
 * for many. */
template <int ROWS>
GPU_KERNEL_TOGETHER(PRODUCT_THREADS, ROWS == 1 ? 2 : 1)
kernel_product(const struct cuda_product p) {
    GPU_SHARED(struct product_shared, shared);
    GPU_SHARED_DYNAMIC(float, staged);
    int first_row = (int)gpu_block_y() * ROWS;
    int pair = (int)(gpu_block_x() * PRODUCT_WARPS + gpu_warp());
    int section = pair_section(p, (int)gpu_block_x() * PRODUCT_WARPS);
    const struct cuda_section &at = p.sections[section];
    const int step = (int)gpu_blocks_x() * PRODUCT_WARPS;
    pair -= at.first;
    const struct product_pairs pairs = {&at, section, pair, step, p.n_sections > 1 ? pair + 1 : at.pairs};
    struct product_first first;
    product_begin(p, pairs, &first);
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
    product_all<ROWS>(p, pairs, first, rounded, {staged, steps_prepared_cols(p.cols), first_row, n_rows});
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
    int families = p->families, rc = p->is_ready != 0 ? 0 : steps_prepare(s, p, n_rows);
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
