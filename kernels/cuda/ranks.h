/* A model on several GPUs: a rank on each, which is a struct cuda_device with a part of the model (part.h).
 * Rank 0 leads: it is the device that others see, chooses tokens and has the graphs. All ranks have x whole;
 * q, attn and h are of their own heads and numbers, so are pages. Every step is queued on all ranks; after
 * attn_out, ffn_out and logits they add up (link.h). With one GPU nothing is added up and rank 0 has all.
 * Private to kernels/cuda/. [engine-thread] */
#ifndef KERNELS_CUDA_RANKS_H
#define KERNELS_CUDA_RANKS_H

#include "kernels/cuda/device.h"

/* Opens the GPUs of the config, connects them, and copies to each its part: rank 0 to *out, but for
 * base.ops. On failure nothing stays. */
HX_MUST_CHECK int ranks_open(const struct kernels_config *config, struct cuda_device **out, char *err,
                             size_t errlen);
void ranks_close(struct cuda_device *d);

/* Of all ranks; 0 or -EIO. `d`: rank 0. */
int ranks_sync(struct cuda_device *d);
/* Rank 0's batch, its first `n` ints, goes up to all of them. */
int ranks_upload_batch(struct cuda_device *d, size_t n);
/* x of the batch's rows is the sum of what the ranks have as x. */
int ranks_add_x(struct cuda_device *d);
/* The same of the logits: each rank has zeros for the tokens that are not its own. */
int ranks_add_logits(struct cuda_device *d);
/* What the ranks have as prepared.f8_most becomes the largest of them. */
int ranks_largest(struct cuda_device *d);

/* Pages lie in host memory as one rank's part after the other. `page` and `from` are in range. */
size_t ranks_page_bytes(const struct cuda_device *d);
int ranks_copy_page(struct cuda_device *d, int32_t to, int32_t from);
int ranks_read_page(struct cuda_device *d, int32_t page, void *out);
int ranks_write_page(struct cuda_device *d, int32_t page, const void *from);

#endif
