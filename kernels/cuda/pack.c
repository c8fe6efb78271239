#include "kernels/cuda/pack.h"

#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK       16
#define PIECE_BYTES ((size_t)16 << 20)

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

/* The three planes of a matrix: bytes of a row, the GPU's memory. */
struct planes {
    size_t row_bytes[3];
    uint8_t *device[3];
};

static size_t aligned(size_t bytes) {
    return (bytes + CHUNK - 1) / CHUNK * CHUNK;
}

/* Packs n rows into a piece, plane behind plane, and queues their copies. */
static int copy_some(struct upload *u, const struct tensor *w, const struct cuda_matrix *m,
                     const struct planes *p, int64_t first, size_t n) {
    size_t high = aligned(p->row_bytes[0] * n), scales = high + aligned(p->row_bytes[1] * n),
           all = scales + p->row_bytes[2] * n;
    uint8_t *piece = upload_take(u, all);
    int rc = 0;
    if (piece == NULL)
        return gpu_failure()[0] != '\0' ? -EIO : -ENOMEM;
    uint8_t *const host[3] = {piece, piece + high, piece + scales};
    memset(piece, 0, all);
    for (size_t i = 0; i < n; i++) {
        const struct pack_row to = {host[0] + p->row_bytes[0] * i, host[1] + p->row_bytes[1] * i,
                                    host[2] + p->row_bytes[2] * i};
        pack_one(w, first + (int64_t)i, m, &to);
    }
    for (int k = 0; k < 3 && rc == 0; k++)
        if (p->row_bytes[k] > 0)
            rc = upload_copy(u, p->device[k] + p->row_bytes[k] * (size_t)first, host[k], p->row_bytes[k] * n);
    return rc;
}

/* All rows, as many at a time as a piece holds. */
static int copy_rows(struct upload *u, const struct tensor *w, const struct cuda_matrix *m,
                     const struct planes *p) {
    size_t row = p->row_bytes[0] + p->row_bytes[1] + p->row_bytes[2], at_once = upload_piece(u) / row;
    int rc = 0;
    at_once = at_once > 3 ? at_once - 2 : 1; /* less what aligns the planes */
    for (int64_t first = 0; first < w->rows && rc == 0; first += (int64_t)at_once) {
        size_t left = (size_t)(w->rows - first);
        rc = copy_some(u, w, m, p, first, left < at_once ? left : at_once);
    }
    return rc;
}

/* Memory of the planes; false when there is not enough. */
static bool allocate(struct planes *p, size_t rows) {
    bool all = true;
    for (int k = 0; k < 3; k++) {
        p->device[k] = p->row_bytes[k] > 0 ? gpu_alloc(p->row_bytes[k] * rows, GPU_KEPT) : NULL;
        all = all && (p->row_bytes[k] == 0 || p->device[k] != NULL);
    }
    return all;
}

static int no_memory(size_t bytes, char *err, size_t errlen) {
    size_t left = 0, total = 0;
    (void)gpu_memory_left(&left, &total);
    return err_set(
        err, errlen, -ENOMEM,
        "The GPU has no memory for the model: the next matrix needs %zu MiB, %zu of %zu MiB are left.",
        bytes >> 20, left >> 20, total >> 20);
}

static int why_not_copied(int rc, char *err, size_t errlen) {
    return err_set(err, errlen, rc, "The weights cannot be copied to the GPU: %s.",
                   rc == -ENOMEM ? "there is no memory to copy from" : gpu_failure());
}

int pack_queue(struct upload *u, const struct tensor *w, bool as_f32, struct cuda_matrix *out, char *err,
               size_t errlen) {
    struct cuda_matrix m = shape_of(w, as_f32);
    struct planes p = {.row_bytes = {(size_t)m.chunks * CHUNK, (size_t)m.high_bytes, (size_t)m.scale_bytes}};
    bool room = allocate(&p, (size_t)w->rows);
    m.values = p.device[0];
    m.high = p.device[1];
    m.scales = p.device[2];
    int rc = !room ? -ENOMEM : is_nowhere(w) ? 0 : copy_rows(u, w, &m, &p);
    if (rc == 0) {
        *out = m;
        return 0;
    }
    (void)upload_wait(u); /* some of it may be under way to what is freed */
    pack_free(&m);
    return room
               ? why_not_copied(rc, err, errlen)
               : no_memory((p.row_bytes[0] + p.row_bytes[1] + p.row_bytes[2]) * (size_t)w->rows, err, errlen);
}

size_t pack_piece(size_t n) {
    return n < PIECE_BYTES / 8 ? 8 * n : PIECE_BYTES; /* twice F32: rows are padded */
}

int pack_upload(const struct tensor *w, bool as_f32, struct cuda_matrix *out, char *err, size_t errlen) {
    struct upload *u = NULL;
    struct cuda_matrix m;
    int rc = upload_open(pack_piece((size_t)w->rows * (size_t)w->cols), &u);
    if (rc < 0)
        return why_not_copied(rc, err, errlen);
    rc = pack_queue(u, w, as_f32, &m, err, errlen);
    if (rc == 0) {
        rc = upload_wait(u);
        if (rc < 0) {
            pack_free(&m);
            (void)why_not_copied(rc, err, errlen);
        } else {
            *out = m;
        }
    }
    upload_close(u);
    return rc;
}

struct cuda_matrix pack_part(const struct cuda_matrix *m, int32_t first, int32_t n) {
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
