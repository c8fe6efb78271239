/* Copies to the GPU beside the work that makes what is copied: of two pieces of page-locked memory one is
 * written while the other is copied, in a queue of its own. Private to kernels/cuda/. [engine-thread] */
#ifndef KERNELS_CUDA_UPLOAD_H
#define KERNELS_CUDA_UPLOAD_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct upload;

/* Pieces of `bytes` each, which is what upload_piece() says. -ENOMEM, -EIO. */
HX_MUST_CHECK int upload_open(size_t bytes, struct upload **out);
/* Waits for what is under way. NULL is fine. */
void upload_close(struct upload *u);
size_t upload_piece(const struct upload *u);
/* The next piece, at least `least` bytes, to be written now: what was copied from it has arrived. Pieces grow
 * where they are too small. NULL: no memory, or the GPU has failed. */
uint8_t *upload_take(struct upload *u, size_t least);
/* Queues a copy of some of the piece that was taken last; it stays as it is until it is taken again. 0 or
 * -EIO. */
HX_MUST_CHECK int upload_copy(struct upload *u, void *device, const uint8_t *from, size_t bytes);
/* Everything has arrived. 0 or -EIO. */
int upload_wait(struct upload *u);

#endif
