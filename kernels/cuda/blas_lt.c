/* FP8 products by cuBLASLt. What it asks of them (cuBLAS Library documentation, "cublasLtMatmul()"): the
 * first matrix transposed and the second not, sums and scales in F32, rows of whole 16 bytes. Outer vectors
 * of scales came with 12.9; an older library does not know the attribute, and a GPU that has no such kernels
 * finds no algorithm: both are asked when the device is opened. */
#include "kernels/cuda/blas_lt.h"

#include "kernels/cuda/blas_api.h"

#include <stdlib.h>
#include <string.h>

#define WORKSPACE ((size_t)32 << 20) /* what the documentation advises for sm_90 */
#define ALIGNED   16                 /* bytes */
#define KNOWN     64                 /* algorithms that are remembered */

struct known {
    int32_t w_rows, x_rows, cols;
    struct lt_found found;
};

struct blas_lt {
    const struct lt_functions *call;
    struct gpu_stream *stream;
    void *handle, *desc, *preference;
    void *a, *b, *d;
    void *workspace; /* device memory */
    enum gpu_f8 how;
    struct known known[KNOWN];
    int n_known, oldest;
};

/* ---- descriptors ---- */

static bool describe_product(struct blas_lt *l) {
    const struct lt_functions *f = l->call;
    const int32_t transposed = BLAS_OP_T, not = BLAS_OP_N;
    const int8_t slow = 0; /* sums are brought to F32 now and then */
    return f->desc_create(&l->desc, BLAS_COMPUTE_32F, BLAS_R_32F) == 0 &&
           f->desc_set(l->desc, LT_DESC_TRANS_A, &transposed, sizeof transposed) == 0 &&
           f->desc_set(l->desc, LT_DESC_TRANS_B, &not, sizeof not ) == 0 &&
           f->desc_set(l->desc, LT_DESC_FAST_SUM, &slow, sizeof slow) == 0;
}

static bool describe_matrices(struct blas_lt *l) {
    const struct lt_functions *f = l->call;
    const uint64_t most = WORKSPACE;
    const uint32_t aligned = ALIGNED;
    bool done = f->layout_create(&l->a, BLAS_R_8F_E4M3, ALIGNED, ALIGNED, ALIGNED) == 0 &&
                f->layout_create(&l->b, BLAS_R_8F_E4M3, ALIGNED, ALIGNED, ALIGNED) == 0 &&
                f->layout_create(&l->d, BLAS_R_32F, ALIGNED, ALIGNED, ALIGNED) == 0 &&
                f->preference_create(&l->preference) == 0 &&
                f->preference_set(l->preference, LT_PREF_WORKSPACE, &most, sizeof most) == 0;
    for (int attribute = LT_PREF_ALIGN_A; attribute <= LT_PREF_ALIGN_D && done; attribute++)
        done = f->preference_set(l->preference, attribute, &aligned, sizeof aligned) == 0;
    return done;
}

struct blas_lt *blas_lt_open(struct gpu_stream *s) {
    const struct lt_functions *f = blas_find_lt();
    struct blas_lt *l = f != NULL ? calloc(1, sizeof *l) : NULL;
    if (l == NULL)
        return NULL;
    l->call = f;
    l->stream = s;
    if (f->create(&l->handle) != 0 || !describe_product(l) || !describe_matrices(l)) {
        blas_lt_close(l);
        return NULL;
    }
    l->workspace = gpu_alloc(WORKSPACE, GPU_TRANSIENT);
    if (l->workspace == NULL) {
        blas_lt_close(l);
        return NULL;
    }
    return l;
}

void blas_lt_close(struct blas_lt *l) {
    if (l == NULL)
        return;
    const struct lt_functions *f = l->call;
    void *layouts[] = {l->a, l->b, l->d};
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (layouts[i] != NULL)
            (void)f->layout_destroy(layouts[i]);
    if (l->preference != NULL)
        (void)f->preference_destroy(l->preference);
    if (l->desc != NULL)
        (void)f->desc_destroy(l->desc);
    if (l->handle != NULL)
        (void)f->destroy(l->handle);
    gpu_free(l->workspace);
    free(l);
}

/* ---- one product ---- */

static int set_layout(const struct lt_functions *f, void *layout, int64_t rows, int64_t cols, int64_t ld) {
    const uint64_t r = (uint64_t)rows, c = (uint64_t)cols;
    int rc = f->layout_set(layout, LT_LAYOUT_ROWS, &r, sizeof r);
    rc = rc ? rc : f->layout_set(layout, LT_LAYOUT_COLS, &c, sizeof c);
    return rc ? rc : f->layout_set(layout, LT_LAYOUT_LD, &ld, sizeof ld);
}

/* Rows are columns there, as in blas.c: d (w_rows x x_rows) = a^T b, a and b with `cols` rows. */
static int set_shape(struct blas_lt *l, const struct gpu_gemm_f8 *g) {
    int rc = set_layout(l->call, l->a, g->cols, g->w_rows, g->w_stride);
    rc = rc ? rc : set_layout(l->call, l->b, g->cols, g->x_rows, g->x_stride);
    return rc ? rc : set_layout(l->call, l->d, g->w_rows, g->x_rows, g->out_stride);
}

/* Without vectors the attributes of their mode stay as they are: an older library does not know them. */
static int set_scales(struct blas_lt *l, const struct gpu_gemm_f8 *g) {
    const struct lt_functions *f = l->call;
    const void *a = NULL, *b = NULL;
    int rc = 0;
    if (l->how == GPU_F8_SCALED) {
        const int32_t mode = LT_SCALE_OUTER_VECTORS;
        a = g->w_scales;
        b = g->x_scales;
        rc = f->desc_set(l->desc, LT_DESC_MODE_A, &mode, sizeof mode);
        rc = rc ? rc : f->desc_set(l->desc, LT_DESC_MODE_B, &mode, sizeof mode);
    }
    rc = rc ? rc : f->desc_set(l->desc, LT_DESC_SCALE_A, &a, sizeof a);
    return rc ? rc : f->desc_set(l->desc, LT_DESC_SCALE_B, &b, sizeof b);
}

/* An algorithm for the shape that was set, into *out; else the library's error. */
static int ask(struct blas_lt *l, struct lt_found *out) {
    int n = 0, rc = l->call->heuristic(l->handle, l->desc, l->a, l->b, l->d, l->d, l->preference, 1, out, &n);
    if (rc == 0 && n < 1)
        rc = BLAS_NOT_SUPPORTED;
    if (rc == 0)
        rc = out->state;
    return rc == 0 && out->workspace > WORKSPACE ? BLAS_NOT_SUPPORTED : rc;
}

/* Of this shape, remembered or asked for; NULL with the error in *rc. */
static const struct lt_found *algorithm(struct blas_lt *l, const struct gpu_gemm_f8 *g, int *rc) {
    for (int i = 0; i < l->n_known; i++) {
        const struct known *k = &l->known[i];
        if (k->w_rows == g->w_rows && k->x_rows == g->x_rows && k->cols == g->cols)
            return &k->found;
    }
    struct known now = {.w_rows = g->w_rows, .x_rows = g->x_rows, .cols = g->cols};
    *rc = ask(l, &now.found);
    if (*rc != 0)
        return NULL;
    int at = l->n_known < KNOWN ? l->n_known++ : l->oldest;
    l->oldest = (at + 1) % KNOWN;
    l->known[at] = now;
    return &l->known[at].found;
}

int blas_lt_product(struct blas_lt *l, const struct gpu_gemm_f8 *g) {
    const float one = 1, zero = 0;
    int rc = set_shape(l, g);
    rc = rc ? rc : set_scales(l, g);
    const struct lt_found *found = rc == 0 ? algorithm(l, g, &rc) : NULL;
    if (found != NULL)
        rc = l->call->matmul(l->handle, l->desc, &one, g->w, l->a, g->x, l->b, &zero, g->out, l->d, g->out,
                             l->d, &found->algo, l->workspace, WORKSPACE, l->stream);
    return rc == 0 ? 0 : gpu_fail("cuBLASLt", rc);
}

/* ---- which way ---- */

static bool fits(const struct gpu_gemm_f8 *g) {
    return g->w_rows % ALIGNED == 0 && g->cols % ALIGNED == 0 && g->w_stride % ALIGNED == 0 &&
           g->x_stride % ALIGNED == 0 && g->out_stride % (ALIGNED / (int)sizeof(float)) == 0;
}

/* For 65 rows, twice as many, and so on, and all. */
static bool works(struct blas_lt *l, const struct gpu_gemm_f8 *shape) {
    struct gpu_gemm_f8 g = *shape;
    struct lt_found found;
    bool done = fits(shape);
    g.w_scales = g.x_scales = l->workspace; /* any: they are not read */
    for (int64_t rows = 65; done; rows *= 2) {
        g.x_rows = rows < shape->x_rows ? (int32_t)rows : shape->x_rows;
        done = set_shape(l, &g) == 0 && set_scales(l, &g) == 0 && ask(l, &found) == 0;
        if (rows >= shape->x_rows)
            break;
    }
    return done;
}

static bool all_work(struct blas_lt *l, const struct gpu_gemm_f8 *shapes, int n) {
    bool all = n > 0;
    for (int i = 0; i < n && all; i++)
        all = works(l, &shapes[i]);
    return all;
}

/* A mode of scales that was set once stays: each way begins with a new descriptor, which has none, and with
 * algorithms of its own. */
static bool begin(struct blas_lt *l, enum gpu_f8 how) {
    l->how = how;
    l->n_known = l->oldest = 0;
    (void)l->call->desc_destroy(l->desc);
    l->desc = NULL;
    return describe_product(l);
}

enum gpu_f8 blas_lt_begin(struct blas_lt *l, const struct gpu_gemm_f8 *shapes, int n, enum gpu_f8 most) {
    for (enum gpu_f8 how = most; how != GPU_F8_NOT; how--)
        if (!begin(l, how))
            break;
        else if (all_work(l, shapes, n))
            return how;
    return GPU_F8_NOT;
}
