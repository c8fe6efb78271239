#include "kernels/cuda/pack.h"

#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK         16
#define STAGING_BYTES ((size_t)8 << 20) /* packed and copied at a time, or one row */

enum cuda_type pack_type(enum dtype type) {
    switch (type) {
    case DTYPE_F16:
        return CUDA_F16;
    case DTYPE_BF16:
        return CUDA_BF16;
    case DTYPE_Q8_0:
        return CUDA_Q8_0;
    default:
        return CUDA_F32;
    }
}

/* One row: `values` and `scales` are zeroed. */
static void pack_row(const struct tensor *w, int64_t row, const struct cuda_matrix *m, uint8_t *values,
                     uint16_t *scales) {
    size_t stored = convert_row_bytes(w->type, w->cols);
    const uint8_t *from = (const uint8_t *)w->data + stored * (size_t)row;
    if (m->type == CUDA_Q8_0) {
        for (int b = 0; b < m->blocks; b++) {
            memcpy(&scales[b], from + (size_t)b * CONVERT_Q8_BYTES, sizeof scales[b]);
            memcpy(values + (size_t)b * CONVERT_Q8_BLOCK, from + (size_t)b * CONVERT_Q8_BYTES + 2,
                   CONVERT_Q8_BLOCK);
        }
    } else if (m->type == CUDA_F32) {
        float *out = (float *)(void *)values;
        convert_row(w->type, from, w->cols, out);
        for (int64_t i = 0; i < w->cols && w->row_scales != NULL; i++)
            out[i] *= w->row_scales[row];
    } else {
        memcpy(values, from, stored);
    }
}

/* Packs and copies all rows, as many at a time as the staging memory holds. */
static int copy_rows(const struct tensor *w, const struct cuda_matrix *m, uint8_t *values, uint16_t *scales,
                     int64_t at_once) {
    size_t row_bytes = (size_t)m->chunks * CHUNK, row_scales = (size_t)m->blocks;
    for (int64_t first = 0; first < w->rows; first += at_once) {
        int64_t n = w->rows - first < at_once ? w->rows - first : at_once;
        memset(values, 0, row_bytes * (size_t)n);
        for (int64_t i = 0; i < n; i++)
            pack_row(w, first + i, m, values + row_bytes * (size_t)i, scales + row_scales * (size_t)i);
        int rc = gpu_upload_now((uint8_t *)(uintptr_t)m->values + row_bytes * (size_t)first, values,
                                row_bytes * (size_t)n);
        if (rc == 0 && m->scales != NULL)
            rc = gpu_upload_now((uint16_t *)(uintptr_t)m->scales + row_scales * (size_t)first, scales,
                                row_scales * (size_t)n * sizeof *scales);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int pack_upload(const struct tensor *w, bool as_f32, struct cuda_matrix *out, char *err, size_t errlen) {
    int type = as_f32 || w->row_scales != NULL ? CUDA_F32 : (int)pack_type(w->type);
    int cols = steps_chunk_cols(type);
    struct cuda_matrix m = {.type = type, .rows = (int32_t)w->rows, .cols = (int32_t)w->cols};
    m.chunks = (int32_t)((w->cols + cols - 1) / cols);
    m.blocks = type == CUDA_Q8_0 ? (int32_t)(w->cols / CONVERT_Q8_BLOCK) : 0;
    size_t row_bytes = (size_t)m.chunks * CHUNK;
    size_t bytes = row_bytes * (size_t)w->rows, scale_bytes = (size_t)m.blocks * 2 * (size_t)w->rows;
    int64_t at_once = (int64_t)(STAGING_BYTES / row_bytes);
    at_once = at_once < 1 ? 1 : at_once > w->rows ? w->rows : at_once;
    uint8_t *values = malloc(row_bytes * (size_t)at_once);
    uint16_t *scales = malloc((size_t)(m.blocks + 1) * 2 * (size_t)at_once);
    m.values = gpu_alloc(bytes, GPU_KEPT);
    m.scales = scale_bytes > 0 ? gpu_alloc(scale_bytes, GPU_KEPT) : NULL;
    int rc = 0;
    if (values == NULL || scales == NULL || m.values == NULL || (scale_bytes > 0 && m.scales == NULL)) {
        size_t left = 0, total = 0;
        (void)gpu_memory_left(&left, &total);
        rc = err_set(
            err, errlen, -ENOMEM,
            "The GPU has no memory for the model: the next matrix needs %zu MiB, %zu of %zu MiB are left.",
            (bytes + scale_bytes) >> 20, left >> 20, total >> 20);
    } else {
        rc = copy_rows(w, &m, values, scales, at_once);
        if (rc < 0)
            (void)err_set(err, errlen, rc, "The weights cannot be copied to the GPU: %s.", gpu_failure());
    }
    free(values);
    free(scales);
    if (rc < 0)
        pack_free(&m);
    else
        *out = m;
    return rc;
}

void pack_free(struct cuda_matrix *m) {
    gpu_free((void *)(uintptr_t)m->values);
    gpu_free((void *)(uintptr_t)m->scales);
    memset(m, 0, sizeof *m);
}
