/* Products with more rows than the tensor core kernel is for: by the library, into memory of their own; then
 * one kernel takes the results of each pair to where they belong. Weights that the library cannot read become
 * BF16, as many rows at a time as their memory holds; F8 is read as it is where library, GPU and model allow
 * it (steps.h, cuda_product.f8). */
#include "kernels/cuda/blas.h"
#include "kernels/cuda/product.cuh"

/* ---- weights as BF16 ---- */

struct large_panel {
    struct cuda_matrix w;
    int32_t first; /* row */
    uint16_t *to;  /* rows of `stride` */
    int32_t stride;
};

/* One unit: stored by fours. */
template <int TYPE>
GPU_INLINE void unpack_unit(const struct cuda_matrix &w, int64_t row, int unit, uint16_t *to) {
    struct weights_raw r;
    struct weights_scale scale = {};
    weights_load<TYPE>(w, row, unit, &r);
    if (TYPE >= CUDA_Q8_0)
        scale = weights_scales<TYPE>(r, unit);
    GPU_UNROLL
    for (int g = 0; g < weights_groups<TYPE>; g++) {
        float v[4];
        weights_floats<TYPE>(r, scale, g, v);
        uint32_t *at = (uint32_t *)(to + unit * (weights_groups<TYPE> * 4) + g * 4);
        at[0] = gpu_pack_bf16(v[0], v[1]);
        at[1] = gpu_pack_bf16(v[2], v[3]);
    }
}

GPU_KERNEL(PRODUCT_THREADS) kernel_panel(const struct large_panel p) {
    int64_t row = p.first + (int64_t)gpu_block_x();
    int units = steps_quantised(p.w.type) ? p.w.blocks : p.w.chunks;
    uint16_t *to = p.to + (int64_t)gpu_block_x() * p.stride;
    gpu_wait_previous(); /* what is there is still being read */
    gpu_let_next_start();
    for (int unit = (int)gpu_thread(); unit < units; unit += PRODUCT_THREADS) {
        switch (p.w.type) {
            WEIGHTS_CASE(CUDA_F8, unpack_unit<TYPE>(p.w, row, unit, to))
            WEIGHTS_QUANTISED(unpack_unit<TYPE>(p.w, row, unit, to))
        }
    }
}

/* ---- results ---- */

/* What a sum of the library is still to be multiplied by: of the row, and of a row of weights. */
GPU_INLINE float finish_input(const struct cuda_product &p, int family, int row) {
    if (family == CUDA_FAMILY_F16)
        return p.prepared.factors[row];
    return family == CUDA_FAMILY_F8 && p.f8 == GPU_F8_PLAIN ? p.prepared.f8_scales[row] : 1.0f;
}

GPU_INLINE float finish_weight(const struct cuda_product &p, const struct cuda_matrix &w, int row) {
    return p.f8 == GPU_F8_SCALED ? 1.0f : weights_factor(w, row);
}

GPU_KERNEL(PRODUCT_THREADS) kernel_finish(const struct cuda_product p) {
    int pair = (int)(gpu_block_x() * PRODUCT_THREADS + gpu_thread()), row = (int)gpu_block_y();
    gpu_wait_previous();
    gpu_let_next_start();
    int section = pair_section(p, pair);
    const struct cuda_section &s = p.sections[section];
    pair -= s.first;
    int family = steps_family(s.w[0].type);
    if (pair >= s.pairs || row >= product_rows(p) || (p.families >> family & 1) == 0)
        return;
    struct pair_rows rows = pair_rows_of(p, section, pair);
    const float *from = p.large + (int64_t)row * p.large_stride;
    float factor = finish_input(p, family, row);
    float a = from[s.base[0] + rows.row[0]] * factor * finish_weight(p, s.w[0], rows.row[0]);
    float b = from[s.base[1] + rows.row[1]] * factor * finish_weight(p, s.w[1], rows.row[1]);
    product_store(p, section, pair, row, a, b);
}

/* ---- launches ---- */

static int unpack(struct gpu_stream *s, const struct cuda_product *p, const struct cuda_matrix *w, int first,
                  int n) {
    const struct large_panel panel = {*w, first, p->panel, steps_prepared_cols(w->cols)};
    const struct gpu_launch how = {s, (unsigned)n, 1, PRODUCT_THREADS, 0, true};
    return GPU_LAUNCH(how, kernel_panel, panel);
}

/* F8 with F8: zeros behind the last column on both sides. */
static int multiply_f8(struct gpu_blas *blas, const struct cuda_product *p, const struct cuda_matrix *w,
                       int base, int n_rows) {
    struct gpu_gemm_f8 g = {};
    g.w = w->values;
    g.x = p->prepared.f8;
    g.w_scales = (const float *)(const void *)w->scales;
    g.x_scales = p->prepared.f8_scales;
    g.out = p->large + base;
    g.w_stride = g.cols = w->chunks * 16;
    g.x_stride = steps_prepared_cols(p->cols);
    g.out_stride = p->large_stride;
    g.w_rows = w->rows;
    g.x_rows = n_rows;
    return gpu_blas_product_f8(blas, &g);
}

/* All rows of one matrix with all rows of the batch. */
static int multiply(struct gpu_stream *s, struct gpu_blas *blas, const struct cuda_product *p,
                    const struct cuda_matrix *w, int base, int n_rows) {
    bool f16 = w->type == CUDA_F16, direct = f16 || w->type == CUDA_BF16;
    struct gpu_gemm g = {};
    if (w->type == CUDA_F8 && p->f8 != GPU_F8_NOT)
        return multiply_f8(blas, p, w, base, n_rows);
    g.x = f16 ? p->prepared.f16 : p->prepared.bf16;
    g.x_stride = steps_prepared_cols(p->cols);
    g.x_rows = n_rows;
    g.cols = p->cols;
    g.out_stride = p->large_stride;
    g.f16 = f16;
    g.w_stride = direct ? w->chunks * 8 : steps_prepared_cols(w->cols);
    int at_once = direct ? w->rows : (int)(p->panel_bytes / ((size_t)g.w_stride * 2)), rc = 0;
    for (int first = 0; first < w->rows && rc == 0; first += at_once) {
        g.w_rows = w->rows - first < at_once ? w->rows - first : at_once;
        g.w = direct ? (const uint16_t *)(const void *)w->values : p->panel;
        g.out = p->large + base + first;
        rc = direct ? 0 : unpack(s, p, w, first, g.w_rows);
        rc = rc ? rc : gpu_blas_product(blas, &g);
    }
    return rc;
}

extern "C" int steps_product_large(struct gpu_stream *s, struct gpu_blas *blas, const struct cuda_product *p,
                                   int n_rows) {
    const struct cuda_section *last = &p->sections[p->n_sections - 1];
    int rc = 0;
    for (int i = 0; i < p->n_sections && rc == 0; i++) {
        const struct cuda_section *at = &p->sections[i];
        if ((p->families >> steps_family(at->w[0].type) & 1) == 0)
            continue;
        rc = multiply(s, blas, p, &at->w[0], at->base[0], n_rows);
        if (rc == 0 && at->base[1] != at->base[0])
            rc = multiply(s, blas, p, &at->w[1], at->base[1], n_rows);
    }
    const struct gpu_launch how = {
        s,
        (unsigned)((last->first + last->pairs + PRODUCT_THREADS - 1) / PRODUCT_THREADS),
        (unsigned)n_rows,
        PRODUCT_THREADS,
        0,
        true};
    return rc ? rc : GPU_LAUNCH(how, kernel_finish, *p);
}
