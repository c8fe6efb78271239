#include "kernels/cuda/pack.h"

#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK         16
#define STAGING_BYTES ((size_t)8 << 20) /* packed and copied at a time, or one row */

enum cuda_type pack_type(enum dtype type) {
    static const enum cuda_type types[DTYPE_COUNT] = {
        [DTYPE_F32] = CUDA_F32,    [DTYPE_F16] = CUDA_F16,   [DTYPE_BF16] = CUDA_BF16,
        [DTYPE_F8_E4M3] = CUDA_F8, [DTYPE_Q8_0] = CUDA_Q8_0, [DTYPE_Q4_0] = CUDA_Q4_0,
        [DTYPE_Q4_1] = CUDA_Q4_1,  [DTYPE_Q5_0] = CUDA_Q5_0, [DTYPE_Q5_1] = CUDA_Q5_1,
        [DTYPE_Q2_K] = CUDA_Q2_K,  [DTYPE_Q3_K] = CUDA_Q3_K, [DTYPE_Q4_K] = CUDA_Q4_K,
        [DTYPE_Q5_K] = CUDA_Q5_K,  [DTYPE_Q6_K] = CUDA_Q6_K};
    return types[type];
}

const uint8_t pack_nowhere[2];

static bool is_nowhere(const struct tensor *w) {
    return w->data == &pack_nowhere[0] || w->data == &pack_nowhere[1];
}

/* ---- shapes ---- */

/* Bytes of a row's scales and high bits. */
static void set_planes(struct cuda_matrix *m) {
    int blocks = m->blocks;
    switch (m->type) {
    case CUDA_F8:
        m->scale_bytes = sizeof(float);
        break;
    case CUDA_Q8_0:
    case CUDA_Q4_0:
    case CUDA_Q5_0:
        m->scale_bytes = blocks * 2;
        break;
    case CUDA_Q4_1:
    case CUDA_Q5_1:
        m->scale_bytes = blocks * 4;
        break;
    case CUDA_Q4_K:
    case CUDA_Q5_K:
        m->scale_bytes = blocks / 8 * 16;
        break;
    case CUDA_Q2_K:
        m->scale_bytes = blocks / 8 * 20;
        break;
    case CUDA_Q3_K:
    case CUDA_Q6_K:
        m->scale_bytes = blocks / 8 * 18;
        break;
    default:
        break;
    }
    if (m->type == CUDA_Q5_0 || m->type == CUDA_Q5_1 || m->type == CUDA_Q5_K)
        m->high_bytes = (blocks * 4 + CHUNK - 1) / CHUNK * CHUNK;
    if (m->type == CUDA_Q6_K)
        m->high_bytes = blocks * 8;
}

static struct cuda_matrix shape_of(const struct tensor *w, bool as_f32) {
    struct cuda_matrix m = {.type = as_f32 ? CUDA_F32 : (int32_t)pack_type(w->type),
                            .rows = (int32_t)w->rows,
                            .cols = (int32_t)w->cols};
    int cols = steps_unit_cols(m.type);
    m.input_scale = m.type == CUDA_F8 ? w->input_scale : 0;
    m.chunks = (int32_t)((w->cols + cols - 1) / cols);
    if (steps_quantised(m.type))
        m.blocks = m.chunks;
    if (m.type == CUDA_Q8_0)
        m.chunks *= 2;
    set_planes(&m);
    return m;
}

/* ---- rows ---- */

static void pack_one(const struct tensor *w, int64_t row, const struct cuda_matrix *m,
                     const struct pack_row *to) {
    size_t stored = convert_row_bytes(w->type, w->cols);
    size_t pitch = w->whole_cols > 0 ? convert_row_bytes(w->type, w->whole_cols) : stored;
    const uint8_t *from = (const uint8_t *)w->data + pitch * (size_t)row;
    float factor = w->row_scales != NULL ? w->row_scales[row] : 1;
    if (steps_quantised(m->type)) {
        pack_blocks(m, from, to);
    } else if (m->type == CUDA_F32) {
        float *out = (float *)(void *)to->values;
        convert_row(w->type, from, w->cols, out);
        for (int64_t i = 0; i < w->cols && w->row_scales != NULL; i++)
            out[i] *= factor;
    } else {
        memcpy(to->values, from, stored);
        if (m->type == CUDA_F8)
            memcpy(to->scales, &factor, sizeof factor);
    }
}

/* The three planes of a matrix, on both sides: bytes of a row, the GPU's memory, staging memory. */
struct planes {
    size_t row_bytes[3];
    uint8_t *device[3], *host[3];
};

/* Packs and copies all rows, as many at a time as the staging memory holds. */
static int copy_rows(const struct tensor *w, const struct cuda_matrix *m, const struct planes *p,
                     int64_t at_once) {
    int rc = 0;
    for (int64_t first = 0; first < w->rows && rc == 0; first += at_once) {
        int64_t n = w->rows - first < at_once ? w->rows - first : at_once;
        for (int k = 0; k < 3; k++)
            memset(p->host[k], 0, p->row_bytes[k] * (size_t)n);
        for (int64_t i = 0; i < n; i++) {
            const struct pack_row to = {p->host[0] + p->row_bytes[0] * (size_t)i,
                                        p->host[1] + p->row_bytes[1] * (size_t)i,
                                        p->host[2] + p->row_bytes[2] * (size_t)i};
            pack_one(w, first + i, m, &to);
        }
        for (int k = 0; k < 3 && rc == 0; k++)
            if (p->row_bytes[k] > 0)
                rc = gpu_upload_now(p->device[k] + p->row_bytes[k] * (size_t)first, p->host[k],
                                    p->row_bytes[k] * (size_t)n);
    }
    return rc;
}

/* Memory of the planes on both sides; false when there is not enough. */
static bool allocate(struct planes *p, size_t rows, size_t at_once) {
    bool all = true;
    for (int k = 0; k < 3; k++) {
        p->host[k] = malloc(p->row_bytes[k] * at_once + 1);
        p->device[k] = p->row_bytes[k] > 0 ? gpu_alloc(p->row_bytes[k] * rows, GPU_KEPT) : NULL;
        all = all && p->host[k] != NULL && (p->row_bytes[k] == 0 || p->device[k] != NULL);
    }
    return all;
}

int pack_upload(const struct tensor *w, bool as_f32, struct cuda_matrix *out, char *err, size_t errlen) {
    struct cuda_matrix m = shape_of(w, as_f32);
    struct planes p = {.row_bytes = {(size_t)m.chunks * CHUNK, (size_t)m.high_bytes, (size_t)m.scale_bytes}};
    size_t bytes = (p.row_bytes[0] + p.row_bytes[1] + p.row_bytes[2]) * (size_t)w->rows;
    int64_t at_once = (int64_t)(STAGING_BYTES / p.row_bytes[0]);
    at_once = at_once < 1 ? 1 : at_once > w->rows ? w->rows : at_once;
    int rc = 0;
    bool room = allocate(&p, (size_t)w->rows, (size_t)at_once);
    m.values = p.device[0];
    m.high = p.device[1];
    m.scales = p.device[2];
    if (!room) {
        size_t left = 0, total = 0;
        (void)gpu_memory_left(&left, &total);
        rc = err_set(
            err, errlen, -ENOMEM,
            "The GPU has no memory for the model: the next matrix needs %zu MiB, %zu of %zu MiB are left.",
            bytes >> 20, left >> 20, total >> 20);
    } else if (!is_nowhere(w)) {
        rc = copy_rows(w, &m, &p, at_once);
        if (rc < 0)
            (void)err_set(err, errlen, rc, "The weights cannot be copied to the GPU: %s.", gpu_failure());
    }
    for (int k = 0; k < 3; k++)
        free(p.host[k]);
    if (rc < 0)
        pack_free(&m);
    else
        *out = m;
    return rc;
}

struct cuda_matrix pack_rows(const struct cuda_matrix *m, int32_t first, int32_t n) {
    struct cuda_matrix part = *m;
    size_t skipped = (size_t)first;
    part.rows = n;
    part.values = m->values + skipped * (size_t)m->chunks * CHUNK;
    part.high = m->high != NULL ? m->high + skipped * (size_t)m->high_bytes : NULL;
    part.scales = m->scales != NULL ? m->scales + skipped * (size_t)m->scale_bytes : NULL;
    return part;
}

void pack_free(struct cuda_matrix *m) {
    gpu_free((void *)(uintptr_t)m->values);
    gpu_free((void *)(uintptr_t)m->high);
    gpu_free((void *)(uintptr_t)m->scales);
    memset(m, 0, sizeof *m);
}
