/* Weights on their way to the GPU: rows of whole 16-byte chunks, scales apart. Private to kernels/cuda/. */
#ifndef KERNELS_CUDA_PACK_H
#define KERNELS_CUDA_PACK_H

#include "kernels/cuda/steps.h"
#include "kernels/tensor.h"

/* Copies `w` to device memory that *out points into from then on; pack_free() frees it. A type that the
 * kernels do not have, or `as_f32`, is stored as F32. -ENOMEM with the numbers, or -EIO. */
HX_MUST_CHECK int pack_upload(const struct tensor *w, bool as_f32, struct cuda_matrix *out, char *err,
                              size_t errlen);
void pack_free(struct cuda_matrix *m);

/* Stored in which of the kernels' types. */
enum cuda_type pack_type(enum dtype type);

#endif
