/* The largest number that the threads of a block have, for sample.cu and logprobs.cu. */
#ifndef KERNELS_CUDA_BEST_CUH
#define KERNELS_CUDA_BEST_CUH

#include "kernels/cuda/gpu.h"

#define BEST_NONE 0x7FFFFFFF /* of no token */

/* The first of equal ones. */
GPU_INLINE bool better(float v, int32_t id, float than, int32_t than_id) {
    return v > than || (v == than && id < than_id);
}

/* Of all `threads` threads of the block, the same for all. `best` and `ids` have a place per warp, which
 * everybody has read by the next barrier. */
template <int threads> GPU_INLINE void best_of_block(float *best, int32_t *ids, float *v, int32_t *id) {
    GPU_UNROLL
    for (int o = 16; o > 0; o /= 2) {
        float other = gpu_shuffle_xor(GPU_ALL_LANES, *v, o);
        int32_t other_id = gpu_shuffle_xor(GPU_ALL_LANES, *id, o);
        if (better(other, other_id, *v, *id)) {
            *v = other;
            *id = other_id;
        }
    }
    if (gpu_lane() == 0) {
        best[gpu_warp()] = *v;
        ids[gpu_warp()] = *id;
    }
    gpu_barrier();
    for (int w = 0; w < threads / 32; w++)
        if (better(best[w], ids[w], *v, *id)) {
            *v = best[w];
            *id = ids[w];
        }
}

#endif
