/* What kernels may use of a GPU: the one header between our .cu files and CUDA. nvcc takes the CUDA side; a
 * C++ compiler takes the emulator of the tests, which has the same names (its folder is on the include path
 * of the emulated build alone). Only .cu files include it.
 *
 * Names on both sides:
 *
 *   GPU_KERNEL(threads) name(…) { … }     a kernel for blocks of `threads` threads
 *   GPU_KERNEL_TOGETHER(threads, blocks)  the same; a multiprocessor has registers for so many blocks
 *   GPU_INLINE type name(…) { … }         a function for kernels
 *   GPU_UNROLL GPU_ROLLED                 before a loop: unroll it, leave it as it is
 *   GPU_SHARED(struct x, name);           the block's static shared memory, one struct per kernel
 *   GPU_SHARED_DYNAMIC(type, name);       pointer to the launch's dynamic shared memory
 *   GPU_LAUNCH(how, kernel, arguments…)   queues it: 0 or -EIO; host side
 *
 *   gpu_thread() gpu_threads() gpu_lane() gpu_warp() gpu_block_x/y() gpu_blocks_x/y()
 *   gpu_barrier()                         all threads of the block; orders memory
 *   gpu_warp_barrier(mask)                lanes of the mask; orders memory
 *   gpu_shuffle(mask, v, lane) gpu_shuffle_xor/up/down(mask, v, n)   4 bytes
 *   gpu_ballot(mask, predicate) gpu_warp_sum(v) gpu_warp_max(v)      sum and max: all lanes, a butterfly
 *   gpu_copy_async16(shared, device) gpu_copy_commit() gpu_copy_wait<groups left>()
 *   gpu_copy_async16_if(shared, device, there)   zeros where it is not there
 *   gpu_mma_bf16/f16(d, a, b)             m16n8k16, F32 sums; gpu_mma_s8(d, a, b): m16n8k32, S32 sums
 *   gpu_dot4(a, b, sum)                   sum + the four products of signed bytes
 *   gpu_dot4_unsigned(a, b, sum)          the same where bytes of a have no sign
 *   gpu_byte(a, b, i)                     byte i of the eight of a and b in the low one; others are anything
 *   gpu_ldmatrix_x1/x2/x4(r, row)         8 x 8 matrices of 2-byte elements from shared memory
 *   gpu_ldmatrix_x4_t(r, row)             transposed
 *   gpu_atomic_add(p, v) gpu_atomic_max(p, v) gpu_fence()
 *   gpu_load16(p)                         16 bytes that no kernel of the model writes, as struct gpu_u4
 *   gpu_wait_previous()                   from here on, the results of the kernels before are there
 *   gpu_let_next_start()                  the next kernel may begin with what comes before its wait
 *   gpu_bf16_to_float gpu_f16_to_float gpu_float_to_bf16 gpu_float_to_f16   of uint16_t
 *   gpu_pack_bf16(a, b) gpu_pack_f16(a, b)   two of them in a word, a in the low half
 *   gpu_f8x2_to_f16x2(two)                the two low bytes, E4M3, as two F16
 *   gpu_pack_f8(a, b)                     two E4M3 in the low half of a word, a in its low byte; what is
 * larger than 448 becomes 448 gpu_bits_to_float gpu_float_to_bits gpu_exp gpu_rsqrt gpu_fma gpu_max gpu_mul
 * gpu_add gpu_divide_exact      rounded once each, never taken together to gpu_fma gpu_exp_double of double,
 * within one unit in the last place gpu_round(v)                          to the nearest whole number, ties
 * to even; |v| below 2^31 gpu_divide(a, b)                      within 2 units in the last place; b below
 * 2^126 */
#ifndef KERNELS_CUDA_GPU_H
#define KERNELS_CUDA_GPU_H

#include "kernels/cuda/host.h"

#include <stdint.h>

struct alignas(16) gpu_u4 {
    uint32_t x, y, z, w;
};
struct alignas(16) gpu_f4 {
    float x, y, z, w;
};
struct alignas(8) gpu_u2 {
    uint32_t x, y;
};
struct alignas(8) gpu_f2 {
    float x, y;
};

/* How a kernel is launched. */
struct gpu_launch {
    struct gpu_stream *stream;
    unsigned grid_x, grid_y, threads;
    size_t shared; /* dynamic shared memory, bytes */
    bool early;    /* it may start before the kernel before it is done; it calls gpu_wait_previous() */
};

#define GPU_ALL_LANES 0xFFFFFFFFu

#if defined(__CUDACC__)
#include "kernels/cuda/gpu_nvcc.h"
#else
#include <gpu_emulated.h>
#endif

#endif
