/* Sums over several GPUs: NCCL, looked for when the device is opened; under the emulator plain loops.
 * [engine-thread]
 *
 * Each GPU has a rank, from 0 on. Between begin and end, every rank gives the same number of values; behind
 * end, the sum is queued on all their streams and takes the place of each rank's own values, the same bits on
 * all of them. The order in which a sum is taken is the library's: it may change with the number of values.
 * A sum may be recorded, on all streams at once, and the graphs are launched one after the other. The same
 * holds where the largest of all values is wanted in place of their sum. */
#ifndef KERNELS_CUDA_LINK_H
#define KERNELS_CUDA_LINK_H

#include "kernels/cuda/host.h"
#include "kernels/gpus.h"

#ifdef __cplusplus
extern "C" {
#endif

struct gpu_link;

/* Of GPUs that gpu_open() opened. -ENODEV with the sentence when there is no library, or it does not connect
 * them. */
HX_MUST_CHECK int gpu_link_open(const struct gpus *gpus, struct gpu_link **out, char *err, size_t errlen);
/* After the graphs that have sums of it are gone and the streams are empty. */
void gpu_link_close(struct gpu_link *l);

/* 0 or -EIO. The GPU in use is the rank's. */
int gpu_link_begin(struct gpu_link *l);
/* Between begin and end all ranks call the one, or all the other. */
int gpu_link_largest(struct gpu_link *l, int rank, struct gpu_stream *s, float *values, size_t n);
int gpu_link_sum(struct gpu_link *l, int rank, struct gpu_stream *s, float *values, size_t n);
int gpu_link_end(struct gpu_link *l);

/* Whether the library has noticed, behind the back of what was queued, that a GPU or what connects them has
 * failed: sums that are queued may never end then. To be asked while they are waited for: 0, or -EIO. */
HX_MUST_CHECK int gpu_link_check(struct gpu_link *l);

#ifdef __cplusplus
}
#endif

#endif
