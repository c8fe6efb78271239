/* Weights on their way to the GPU, as struct cuda_matrix has them. Private to kernels/cuda/. */
#ifndef KERNELS_CUDA_PACK_H
#define KERNELS_CUDA_PACK_H

#include "kernels/cuda/steps.h"
#include "kernels/cuda/upload.h"
#include "kernels/tensor.h"

/* Copies `w` to device memory that *out points into from then on; pack_free() frees it. `as_f32`: stored as
 * F32. What is queued last may be under way yet: upload_wait(). -ENOMEM with the numbers, or -EIO. */
HX_MUST_CHECK int pack_queue(struct upload *u, const struct tensor *w, bool as_f32, struct cuda_matrix *out,
                             char *err, size_t errlen);
/* The same, and it has arrived. */
HX_MUST_CHECK int pack_upload(const struct tensor *w, bool as_f32, struct cuda_matrix *out, char *err,
                              size_t errlen);
/* Bytes for the pieces of an upload of matrices with `n` elements at most: rows are packed and copied so many
 * at a time, or one. */
size_t pack_piece(size_t n);
void pack_free(struct cuda_matrix *m);
/* Some rows of a matrix, in its own memory. */
struct cuda_matrix pack_part(const struct cuda_matrix *m, int32_t first, int32_t n);

/* A tensor whose data is one of these two places is not copied: memory is planned for it and left as it is.
 * For measuring, with numbers that are drawn on the GPU (tests/gpu/draw.h). */
extern const uint8_t pack_nowhere[2];

/* Stored in which of the kernels' types. */
enum cuda_type pack_type(enum dtype type);

/* One row in memory of the host, zeroed before. */
struct pack_row {
    uint8_t *values, *high, *scales;
};
/* pack_blocks.c: a row of a quantised type (GGUF's blocks) into the planes of *m. */
void pack_blocks(const struct cuda_matrix *m, const uint8_t *from, const struct pack_row *to);

#endif
