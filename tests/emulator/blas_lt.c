/* cuBLASLt as kernels/cuda/blas_api.h knows it, in plain loops, for FP8 alone. What the real one would refuse
 * is refused here: attributes of another size, matrices the wrong way round, rows that are no whole 16 bytes,
 * scales of a mode that is not there, an algorithm that was found for another product, a workspace that is
 * too small; what it would read or write beyond an allocation ends the process. It spoils its workspace. */
#include "kernels/cuda/blas_api.h"

#include "kernels/cpu/convert.h"
#include "kernels/cuda/host.h"
#include "tests/emulator/block.h"

#include <stdlib.h>
#include <string.h>

#define EXECUTION_FAILED 13
#define NEEDED           ((size_t)4096) /* workspace of an algorithm */

static enum emu_lt kinds[GPUS_MAX]; /* of each GPU */
static uint64_t products, vector_products;

void emu_set_lt(enum emu_lt installed) {
    for (int i = 0; i < GPUS_MAX; i++)
        kinds[i] = installed;
}

void emu_set_lt_of(int gpu, enum emu_lt installed) {
    kinds[gpu] = installed;
}

static enum emu_lt kind(void) {
    return kinds[memory_in_use()];
}

uint64_t emu_lt_products(void) {
    return products;
}

uint64_t emu_lt_vector_products(void) {
    return vector_products;
}

/* ---- objects, each with its own mark ---- */

enum mark { HANDLE = 0x48414E44, DESC = 0x44455343, LAYOUT = 0x4C41594F, PREFERENCE = 0x50524546 };

struct object {
    enum mark mark;
    /* HANDLE */
    int gpu; /* that was in use when it was made: it belongs to it */
    /* DESC */
    int compute, scale_type;
    int32_t trans_a, trans_b, mode_a, mode_b;
    const float *scale_a, *scale_b;
    int8_t fast;
    /* LAYOUT */
    int type;
    uint64_t rows, cols;
    int64_t ld;
    /* PREFERENCE */
    uint64_t workspace;
    uint32_t aligned[4];
};

static bool is(const void *object, enum mark mark) {
    return object != NULL && ((const struct object *)object)->mark == mark;
}

static int make(void **out, const struct object *what) {
    struct object *o = malloc(sizeof *o);
    if (o == NULL)
        return 3; /* CUBLAS_STATUS_ALLOC_FAILED */
    *o = *what;
    *out = o;
    return 0;
}

static int drop(void *object, enum mark mark) {
    if (!is(object, mark))
        return BLAS_INVALID_VALUE;
    ((struct object *)object)->mark = 0;
    free(object);
    return 0;
}

static int create(void **handle) {
    return make(handle, &(struct object){.mark = HANDLE, .gpu = memory_in_use()});
}

static int destroy(void *handle) {
    return drop(handle, HANDLE);
}

static int desc_create(void **desc, int compute, int scale_type) {
    return make(desc, &(struct object){.mark = DESC, .compute = compute, .scale_type = scale_type});
}

static int desc_destroy(void *desc) {
    return drop(desc, DESC);
}

static int layout_create(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    return make(layout, &(struct object){.mark = LAYOUT, .type = type, .rows = rows, .cols = cols, .ld = ld});
}

static int layout_destroy(void *layout) {
    return drop(layout, LAYOUT);
}

static int preference_create(void **preference) {
    return make(preference, &(struct object){.mark = PREFERENCE, .aligned = {256, 256, 256, 256}});
}

static int preference_destroy(void *preference) {
    return drop(preference, PREFERENCE);
}

/* ---- attributes ---- */

static int set(void *to, size_t size, const void *value, size_t bytes) {
    if (to == NULL || value == NULL || bytes != size)
        return BLAS_INVALID_VALUE;
    memcpy(to, value, size);
    return 0;
}

static int desc_set(void *desc, int attribute, const void *value, size_t bytes) {
    struct object *d = desc;
    if (!is(desc, DESC))
        return BLAS_INVALID_VALUE;
    switch (attribute) {
    case LT_DESC_TRANS_A:
        return set(&d->trans_a, sizeof d->trans_a, value, bytes);
    case LT_DESC_TRANS_B:
        return set(&d->trans_b, sizeof d->trans_b, value, bytes);
    case LT_DESC_SCALE_A:
        return set(&d->scale_a, sizeof d->scale_a, value, bytes);
    case LT_DESC_SCALE_B:
        return set(&d->scale_b, sizeof d->scale_b, value, bytes);
    case LT_DESC_FAST_SUM:
        return set(&d->fast, sizeof d->fast, value, bytes);
    case LT_DESC_MODE_A:
    case LT_DESC_MODE_B: /* an old library has none */
        return set(kind() == EMU_LT_OLD          ? NULL
                   : attribute == LT_DESC_MODE_A ? &d->mode_a
                                                 : &d->mode_b,
                   sizeof d->mode_a, value, bytes);
    default:
        return BLAS_INVALID_VALUE;
    }
}

static int layout_set(void *layout, int attribute, const void *value, size_t bytes) {
    struct object *l = layout;
    if (!is(layout, LAYOUT))
        return BLAS_INVALID_VALUE;
    switch (attribute) {
    case LT_LAYOUT_ROWS:
        return set(&l->rows, sizeof l->rows, value, bytes);
    case LT_LAYOUT_COLS:
        return set(&l->cols, sizeof l->cols, value, bytes);
    case LT_LAYOUT_LD:
        return set(&l->ld, sizeof l->ld, value, bytes);
    default:
        return BLAS_INVALID_VALUE;
    }
}

static int preference_set(void *preference, int attribute, const void *value, size_t bytes) {
    struct object *p = preference;
    if (!is(preference, PREFERENCE))
        return BLAS_INVALID_VALUE;
    if (attribute == LT_PREF_WORKSPACE)
        return set(&p->workspace, sizeof p->workspace, value, bytes);
    if (attribute >= LT_PREF_ALIGN_A && attribute <= LT_PREF_ALIGN_D)
        return set(&p->aligned[attribute - LT_PREF_ALIGN_A], sizeof p->aligned[0], value, bytes);
    return BLAS_INVALID_VALUE;
}

/* ---- what fits together ---- */

/* A product as descriptors have it; an algorithm is one of these, and good for no other. */
struct shape {
    int32_t mode, m, n, k, lda, ldb, ldd;
    uint32_t aligned; /* that it was found for, of all four */
    size_t workspace;
};
_Static_assert(sizeof(struct shape) <= sizeof(struct lt_algo), "an algorithm has room for it");

/* d (m x n) = a^T b, all by columns. 0 and the shape, or the error. */
static int shape_of(const void *handle, const struct object *desc, const struct object *a,
                    const struct object *b, const struct object *c, const struct object *d,
                    struct shape *out) {
    if (!is(handle, HANDLE) || !is(desc, DESC) || !is(a, LAYOUT) || !is(b, LAYOUT) || !is(c, LAYOUT) ||
        !is(d, LAYOUT))
        return BLAS_INVALID_VALUE;
    if (a->rows != b->rows || a->cols != d->rows || b->cols != d->cols || c->rows != d->rows ||
        c->cols != d->cols || a->ld < (int64_t)a->rows || b->ld < (int64_t)b->rows ||
        d->ld < (int64_t)d->rows || c->ld != d->ld || a->rows == 0 || a->cols == 0 || b->cols == 0)
        return BLAS_INVALID_VALUE;
    if (desc->trans_a != BLAS_OP_T || desc->trans_b != BLAS_OP_N || desc->compute != BLAS_COMPUTE_32F ||
        desc->scale_type != BLAS_R_32F || a->type != BLAS_R_8F_E4M3 || b->type != BLAS_R_8F_E4M3 ||
        c->type != BLAS_R_32F || d->type != BLAS_R_32F)
        return BLAS_NOT_SUPPORTED;
    if (a->rows % 16 != 0 || a->cols % 16 != 0 || a->ld % 16 != 0 || b->ld % 16 != 0 || d->ld % 4 != 0)
        return BLAS_NOT_SUPPORTED;
    bool vectors = desc->mode_a == LT_SCALE_OUTER_VECTORS;
    if (desc->mode_a != desc->mode_b || (!vectors && desc->mode_a != LT_SCALE_ONE) ||
        (vectors && (kind() != EMU_LT_VECTORS || desc->scale_a == NULL || desc->scale_b == NULL)) ||
        kind() == EMU_LT_NO_F8)
        return BLAS_NOT_SUPPORTED;
    *out = (struct shape){desc->mode_a,   (int32_t)a->cols, (int32_t)b->cols, (int32_t)a->rows,
                          (int32_t)a->ld, (int32_t)b->ld,   (int32_t)d->ld,   0,
                          NEEDED};
    return 0;
}

static int heuristic(void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference,
                     int wanted, struct lt_found *found, int *n) {
    const struct object *p = preference;
    struct shape s;
    int rc = shape_of(handle, desc, a, b, c, d, &s);
    *n = 0;
    if (wanted < 1 || !is(preference, PREFERENCE))
        return BLAS_INVALID_VALUE;
    if (rc == 0 && p->workspace < NEEDED)
        rc = BLAS_NOT_SUPPORTED;
    if (rc != 0)
        return rc;
    s.aligned = 256;
    for (int i = 0; i < 4; i++)
        s.aligned = p->aligned[i] < s.aligned ? p->aligned[i] : s.aligned;
    memset(found, 0, sizeof *found);
    memcpy(found->algo.data, &s, sizeof s);
    found->workspace = NEEDED;
    *n = 1;
    return 0;
}

/* ---- the product ---- */

struct call {
    struct shape shape;
    const uint8_t *a, *b;
    const float *scale_a, *scale_b;
    float *d;
    void *workspace;
};
_Static_assert(sizeof(struct call) <= QUEUE_ARGUMENT, "a queued call has room for it");

static void multiply(const void *arg) {
    const struct call *c = arg;
    const struct shape *s = &c->shape;
    bool vectors = s->mode == LT_SCALE_OUTER_VECTORS;
    float value[256];
    for (int i = 0; i < 256; i++)
        value[i] = convert_f8_e4m3_to_f32((uint8_t)i);
    memory_spoil(c->workspace, s->workspace);
    for (int j = 0; j < s->n; j++)
        for (int i = 0; i < s->m; i++) {
            const uint8_t *a = c->a + (int64_t)i * s->lda, *b = c->b + (int64_t)j * s->ldb;
            float sum = 0, scale_a = vectors ? c->scale_a[i] : c->scale_a != NULL ? *c->scale_a : 1;
            float scale_b = vectors ? c->scale_b[j] : c->scale_b != NULL ? *c->scale_b : 1;
            for (int k = 0; k < s->k; k++)
                sum += value[a[k]] * value[b[k]];
            c->d[(int64_t)j * s->ldd + i] = sum * scale_a * scale_b;
        }
}

static bool misaligned(const void *p, uint32_t aligned) {
    return (uintptr_t)p % aligned != 0;
}

static void check_scales(const struct shape *s, const float *scale, int n, int gpu) {
    size_t count = s->mode == LT_SCALE_OUTER_VECTORS ? (size_t)n : 1;
    if (scale != NULL)
        memory_check_gpu(scale, count * sizeof *scale, gpu, "scales of a library's product");
}

static int matmul(void *handle, void *desc, const void *alpha, const void *a, void *a_layout, const void *b,
                  void *b_layout, const void *beta, const void *c, void *c_layout, void *d, void *d_layout,
                  const struct lt_algo *algo, void *workspace, size_t workspace_bytes, struct gpu_stream *s) {
    const struct object *o = desc;
    struct shape now, found;
    int rc = shape_of(handle, desc, a_layout, b_layout, c_layout, d_layout, &now);
    if (rc != 0)
        return rc;
    if (algo == NULL || *(const float *)alpha != 1 || *(const float *)beta != 0 || c != d)
        return BLAS_NOT_SUPPORTED; /* it may be; nobody here asks for it */
    memcpy(&found, algo->data, sizeof found);
    now.aligned = found.aligned;
    if (memcmp(&now, &found, sizeof now) != 0 || workspace == NULL || workspace_bytes < found.workspace ||
        misaligned(workspace, 16))
        return BLAS_INVALID_VALUE;
    if (misaligned(a, now.aligned) || misaligned(b, now.aligned) || misaligned(d, now.aligned) ||
        misaligned(o->scale_a, 16) || misaligned(o->scale_b, 16))
        return BLAS_INVALID_VALUE;
    int gpu = ((const struct object *)handle)->gpu;
    if (queue_gpu(s) != gpu)
        return BLAS_INVALID_VALUE;
    memory_check_gpu(a, (size_t)(now.m - 1) * (size_t)now.lda + (size_t)now.k, gpu, "a library's product");
    memory_check_gpu(b, (size_t)(now.n - 1) * (size_t)now.ldb + (size_t)now.k, gpu, "a library's product");
    memory_check_gpu(d, ((size_t)(now.n - 1) * (size_t)now.ldd + (size_t)now.m) * sizeof(float), gpu,
                     "a library's product");
    memory_check_gpu(workspace, workspace_bytes, gpu, "a library's workspace");
    check_scales(&now, o->scale_a, now.m, gpu);
    check_scales(&now, o->scale_b, now.n, gpu);
    products++;
    vector_products += now.mode == LT_SCALE_OUTER_VECTORS;
    const struct call call = {now, a, b, o->scale_a, o->scale_b, d, workspace};
    return queue_host(s, multiply, &call, sizeof call) < 0 ? EXECUTION_FAILED : 0;
}

const struct lt_functions *blas_find_lt(void) {
    static const struct lt_functions all = {
        create,         destroy,        desc_create, desc_destroy,      desc_set,
        layout_create,  layout_destroy, layout_set,  preference_create, preference_destroy,
        preference_set, heuristic,      matmul};
    return kind() == EMU_LT_ABSENT ? NULL : &all;
}
