/* Waiting for a GPU that may never come to an end: one rule for queues, events and several GPUs. Whoever
 * waits looks whether it is over, and calls wait_more() between two looks. Private to kernels/cuda/ and to
 * what stands in for a GPU in tests. [engine-thread] */
#ifndef KERNELS_CUDA_WAIT_H
#define KERNELS_CUDA_WAIT_H

#include "base/err.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* So long it is looked for again at once: the steps that write tokens are over by then, and nothing is added
 * to them. After that the thread sleeps between two looks, for 1/64 of the time that it has waited and 5 ms
 * at most: so much later a long step is over at most, and no core is kept busy. */
#define WAIT_AWAKE_NS      UINT64_C(50000000)
#define WAIT_SLEEP_PART    64
#define WAIT_LONGEST_SLEEP UINT64_C(5000000)

struct wait {
    uint64_t begun_ns;
};

/* How long one waiting may take, from now on and in the whole process; 0: CUDA_WAIT_MS. */
void wait_set_limit(int ms);
struct wait wait_begin(void);
/* 0: look again. -EIO when the time is over: then the GPU has failed (gpu_failure()). */
HX_MUST_CHECK int wait_more(const struct wait *w);

#ifdef __cplusplus
}
#endif

#endif
