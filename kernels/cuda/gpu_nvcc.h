/* The CUDA side of kernels/cuda/gpu.h, for nvcc. Instructions: PTX ISA 9.0. */
#ifndef KERNELS_CUDA_GPU_NVCC_H
#define KERNELS_CUDA_GPU_NVCC_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define GPU_KERNEL(threads) static __global__ void __launch_bounds__(threads, 1)
/* What fits in these registers was tried from sm_90 on; before, registers would go to memory. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define GPU_KERNEL_TOGETHER(threads, blocks) static __global__ void __launch_bounds__(threads, 1)
#else
#define GPU_KERNEL_TOGETHER(threads, blocks) static __global__ void __launch_bounds__(threads, blocks)
#endif
#define GPU_INLINE static __device__ __forceinline__
#define GPU_UNROLL _Pragma("unroll")
#define GPU_ROLLED _Pragma("unroll 1")
#define GPU_SHARED(type, name)                                                                               \
    __shared__ type name##_object;                                                                           \
    type &name = name##_object
#define GPU_SHARED_DYNAMIC(type, name)                                                                       \
    extern __shared__ __align__(16) unsigned char gpu_dynamic_shared[];                                      \
    type *name = reinterpret_cast<type *>(gpu_dynamic_shared)

/* ---- launches ---- */

/* host.cu; keeps the first failure. */
extern "C" int gpu_keep_failure(int cuda_error, const char *what);

/* What a launch may have without asking, less 1 KiB for the kernel's static memory. */
#define GPU_SHARED_UNASKED ((size_t)47 * 1024)

template <class... P, class... A>
static inline int gpu_nvcc_launch(const struct gpu_launch &how, const char *name, void (*kernel)(P...),
                                  A... arguments) {
    cudaLaunchAttribute attribute = {};
    cudaLaunchConfig_t config = {};
    cudaError_t rc = cudaSuccess;
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = dim3(how.grid_x, how.grid_y);
    config.blockDim = dim3(how.threads);
    config.dynamicSmemBytes = how.shared;
    config.stream = reinterpret_cast<cudaStream_t>(how.stream);
    config.attrs = &attribute;
    config.numAttrs = how.early ? 1 : 0;
    if (how.shared > GPU_SHARED_UNASKED)
        rc = cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(how.shared));
    if (rc == cudaSuccess)
        rc = cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
    return gpu_keep_failure(static_cast<int>(rc), name);
}

#define GPU_LAUNCH(how, kernel, ...) gpu_nvcc_launch(how, #kernel, kernel, __VA_ARGS__)

/* ---- places ---- */

GPU_INLINE unsigned gpu_thread() {
    return threadIdx.x;
}
GPU_INLINE unsigned gpu_threads() {
    return blockDim.x;
}
GPU_INLINE unsigned gpu_lane() {
    return threadIdx.x % 32;
}
GPU_INLINE unsigned gpu_warp() {
    return threadIdx.x / 32;
}
GPU_INLINE unsigned gpu_block_x() {
    return blockIdx.x;
}
GPU_INLINE unsigned gpu_block_y() {
    return blockIdx.y;
}
GPU_INLINE unsigned gpu_blocks_x() {
    return gridDim.x;
}
GPU_INLINE unsigned gpu_blocks_y() {
    return gridDim.y;
}

/* ---- meetings ---- */

GPU_INLINE void gpu_barrier() {
    __syncthreads();
}
GPU_INLINE void gpu_warp_barrier(uint32_t mask) {
    __syncwarp(mask);
}
template <class T> GPU_INLINE T gpu_shuffle(uint32_t mask, T v, int lane) {
    return __shfl_sync(mask, v, lane);
}
template <class T> GPU_INLINE T gpu_shuffle_xor(uint32_t mask, T v, int n) {
    return __shfl_xor_sync(mask, v, n);
}
template <class T> GPU_INLINE T gpu_shuffle_up(uint32_t mask, T v, int n) {
    return __shfl_up_sync(mask, v, static_cast<unsigned>(n));
}
template <class T> GPU_INLINE T gpu_shuffle_down(uint32_t mask, T v, int n) {
    return __shfl_down_sync(mask, v, static_cast<unsigned>(n));
}
GPU_INLINE uint32_t gpu_ballot(uint32_t mask, bool predicate) {
    return __ballot_sync(mask, predicate);
}
GPU_INLINE float gpu_warp_sum(float v) {
    GPU_UNROLL
    for (int o = 16; o > 0; o /= 2)
        v += __shfl_xor_sync(GPU_ALL_LANES, v, o);
    return v;
}
GPU_INLINE float gpu_warp_max(float v) {
    GPU_UNROLL
    for (int o = 16; o > 0; o /= 2)
        v = fmaxf(v, __shfl_xor_sync(GPU_ALL_LANES, v, o));
    return v;
}

/* ---- tensor cores ---- */

#define GPU_NVCC_MMA_F32(name, type)                                                                         \
    GPU_INLINE void name(float d[4], const uint32_t a[4], const uint32_t b[2]) {                             \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "                          \
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                       \
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                        \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                    \
    }
GPU_NVCC_MMA_F32(gpu_mma_bf16, "bf16")
GPU_NVCC_MMA_F32(gpu_mma_f16, "f16")

GPU_INLINE void gpu_mma_s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

GPU_INLINE int32_t gpu_dot4(uint32_t a, uint32_t b, int32_t sum) {
    return __dp4a(static_cast<int>(a), static_cast<int>(b), sum);
}
GPU_INLINE int32_t gpu_dot4_unsigned(uint32_t a, uint32_t b, int32_t sum) {
    int32_t d;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(sum));
    return d;
}
GPU_INLINE uint32_t gpu_byte(uint32_t a, uint32_t b, int i) {
    return __byte_perm(a, b, static_cast<unsigned>(i));
}

GPU_INLINE uint32_t gpu_nvcc_shared(const void *p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
GPU_INLINE void gpu_ldmatrix_x1(uint32_t r[1], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(r[0])
                 : "r"(gpu_nvcc_shared(row))
                 : "memory");
}
GPU_INLINE void gpu_ldmatrix_x2(uint32_t r[2], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(gpu_nvcc_shared(row))
                 : "memory");
}
GPU_INLINE void gpu_ldmatrix_x4(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gpu_nvcc_shared(row))
                 : "memory");
}
GPU_INLINE void gpu_ldmatrix_x4_t(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(gpu_nvcc_shared(row))
                 : "memory");
}

/* ---- copies and memory ---- */

GPU_INLINE void gpu_copy_async16(void *shared, const void *device) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(gpu_nvcc_shared(shared)), "l"(device)
                 : "memory");
}
/* Zeros where `there` is false. */
GPU_INLINE void gpu_copy_async16_if(void *shared, const void *device, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(gpu_nvcc_shared(shared)), "l"(device),
                 "r"(there ? 16 : 0)
                 : "memory");
}
GPU_INLINE void gpu_copy_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N> GPU_INLINE void gpu_copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
GPU_INLINE struct gpu_u4 gpu_load16(const void *p) {
    const uint4 v = __ldg(static_cast<const uint4 *>(p));
    return {v.x, v.y, v.z, v.w};
}
template <class T> GPU_INLINE T gpu_atomic_add(T *p, T v) {
    return atomicAdd(p, v);
}
template <class T> GPU_INLINE T gpu_atomic_max(T *p, T v) {
    return atomicMax(p, v);
}
GPU_INLINE void gpu_fence() {
    __threadfence();
}
GPU_INLINE void gpu_wait_previous() {
#if __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
#endif
}
GPU_INLINE void gpu_let_next_start() {
#if __CUDA_ARCH__ >= 900
    cudaTriggerProgrammaticLaunchCompletion();
#endif
}

/* ---- numbers ---- */

GPU_INLINE float gpu_bits_to_float(uint32_t bits) {
    return __uint_as_float(bits);
}
GPU_INLINE uint32_t gpu_float_to_bits(float f) {
    return __float_as_uint(f);
}
GPU_INLINE float gpu_bf16_to_float(uint16_t h) {
    return __uint_as_float(static_cast<uint32_t>(h) << 16);
}
GPU_INLINE float gpu_f16_to_float(uint16_t h) {
    return __half2float(__ushort_as_half(h));
}
GPU_INLINE uint16_t gpu_float_to_bf16(float f) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(f));
}
GPU_INLINE uint16_t gpu_float_to_f16(float f) {
    return __half_as_ushort(__float2half_rn(f));
}
GPU_INLINE uint32_t gpu_pack_bf16(float a, float b) {
    const __nv_bfloat162 h = __floats2bfloat162_rn(a, b);
    return static_cast<uint32_t>(__bfloat16_as_ushort(__low2bfloat16(h))) |
           static_cast<uint32_t>(__bfloat16_as_ushort(__high2bfloat16(h))) << 16;
}
GPU_INLINE uint32_t gpu_pack_f16(float a, float b) {
    const __half2 h = __floats2half2_rn(a, b);
    return static_cast<uint32_t>(__half_as_ushort(__low2half(h))) |
           static_cast<uint32_t>(__half_as_ushort(__high2half(h))) << 16;
}
/* Without the instruction (before sm_89): a number's bits as those of an F16, which is 2^-8 of it. */
GPU_INLINE uint32_t gpu_f8x2_to_f16x2(uint32_t two) {
#if __CUDA_ARCH__ >= 890
    uint32_t r;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(r) : "h"(static_cast<uint16_t>(two)));
    return r;
#else
    uint32_t apart = __byte_perm(two, 0, 0x4140);
    uint32_t bits = (apart & 0x00800080u) << 8 | (apart & 0x007F007Fu) << 7;
    __half2 h = __hmul2(*reinterpret_cast<__half2 *>(&bits), __float2half2_rn(256.0f));
    return *reinterpret_cast<uint32_t *>(&h);
#endif
}
GPU_INLINE int32_t gpu_round(float v) {
    return __float2int_rn(v);
}
#if __CUDA_ARCH__ >= 890
GPU_INLINE uint32_t gpu_pack_f8(float a, float b) {
    uint16_t r;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %2, %1;" : "=h"(r) : "f"(a), "f"(b)); /* the first is the high one */
    return r;
}
#else
#include "kernels/cuda/gpu_f8.h"
GPU_INLINE uint32_t gpu_pack_f8(float a, float b) {
    return gpu_f8_bits(a) | gpu_f8_bits(b) << 8;
}
#endif
GPU_INLINE float gpu_exp(float x) {
    return __expf(x);
}
GPU_INLINE float gpu_rsqrt(float x) {
    return rsqrtf(x);
}
GPU_INLINE float gpu_fma(float a, float b, float c) {
    return fmaf(a, b, c);
}
GPU_INLINE float gpu_mul(float a, float b) {
    return __fmul_rn(a, b);
}
GPU_INLINE float gpu_add(float a, float b) {
    return __fadd_rn(a, b);
}
GPU_INLINE float gpu_divide_exact(float a, float b) {
    return __fdiv_rn(a, b);
}
GPU_INLINE double gpu_exp_double(double x) {
    return exp(x);
}
/* The exact division is a function call, which spills registers. */
GPU_INLINE float gpu_divide(float a, float b) {
    return __fdividef(a, b);
}
GPU_INLINE float gpu_max(float a, float b) {
    return fmaxf(a, b);
}

#endif
