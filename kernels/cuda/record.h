/* How the steps of a batch get to the GPU. Private to kernels/cuda/.
 *
 * A small batch (decoding) is recorded as a graph the first time and run again whenever a batch of the same
 * size comes: everything else that differs from batch to batch lies in device memory. Steps are counted in
 * the order of a forward pass; when they come in another order, or somebody looks in between, the steps so
 * far are queued one by one. Every rank of the device (ranks.h) has the same steps and a graph of its own;
 * `d` is rank 0. [engine-thread] */
#ifndef KERNELS_CUDA_RECORD_H
#define KERNELS_CUDA_RECORD_H

#include "kernels/cuda/device.h"

enum record_part {
    RECORD_ATTN_IN,
    RECORD_ATTENTION,
    RECORD_ATTN_OUT,
    RECORD_FFN_IN,
    RECORD_FFN_OUT,
    RECORD_PARTS
};
#define RECORD_EMBED              0
#define RECORD_LAYER(layer, part) (1 + (layer)*RECORD_PARTS + (int)(part))
#define RECORD_LOGITS(n_layers)   RECORD_LAYER(n_layers, 0)

/* A batch has been written to the GPU: chooses how its steps go. All return 0 or -EIO. */
int record_begin(struct cuda_device *d, int n_rows, int n_outputs);
int record_step(struct cuda_device *d, int step);
/* Whatever was taken so far is in the queue. */
int record_leave(struct cuda_device *d);
void record_finish(struct cuda_device *d);
/* Where the last step has left attn or h as BF16, rows without a gap; NULL: as F32, as all else. `d`: any
 * rank. */
const uint16_t *record_ready(const struct cuda_device *d, enum kernels_state what);

#endif
