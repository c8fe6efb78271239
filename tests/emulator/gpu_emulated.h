/* The emulator's side of kernels/cuda/gpu.h. */
#ifndef TESTS_EMULATOR_GPU_EMULATED_H
#define TESTS_EMULATOR_GPU_EMULATED_H

#include "tests/emulator/emulator.h"

extern "C" {
#include "kernels/cpu/convert.h"
}

#include <cmath>
#include <cstring>
#include <tuple>
#include <type_traits>

#define GPU_KERNEL(threads)                  static void
#define GPU_KERNEL_TOGETHER(threads, blocks) GPU_KERNEL(threads)
#define GPU_INLINE                           static inline
#define GPU_UNROLL                           /* the compiler would take minutes, and the kernels run no faster here */
#define GPU_ROLLED
#define GPU_SHARED(type, name)                                                                               \
    static_assert(sizeof(type) <= EMU_STATIC_SHARED, "more static shared memory than there is");             \
    type &name = *static_cast<type *>(emu_shared(sizeof(type)))
#define GPU_SHARED_DYNAMIC(type, name) type *name = static_cast<type *>(emu_shared_dynamic())

/* ---- launches ---- */

template <class... P> struct gpu_emulated_call {
    struct emu_arguments base;
    void (*kernel)(P...);
    std::tuple<P...> values;

    static void call(struct emu_arguments *self) {
        gpu_emulated_call *c = reinterpret_cast<gpu_emulated_call *>(self);
        std::apply(c->kernel, c->values);
    }

    static void destroy(struct emu_arguments *self) {
        delete reinterpret_cast<gpu_emulated_call *>(self);
    }
};

template <class... P, class... A>
static inline int gpu_emulated_launch(const struct gpu_launch &how, const char *name, void (*kernel)(P...),
                                      A... arguments) {
    static_assert((std::is_trivially_copyable_v<P> && ...), "arguments of kernels are plain values");
    auto *call = new gpu_emulated_call<P...>{
        {1, gpu_emulated_call<P...>::call, gpu_emulated_call<P...>::destroy}, kernel, {arguments...}};
    const struct emu_launch launch = {name,       how.grid_x, how.grid_y, how.threads,
                                      how.shared, how.early,  &call->base};
    return emu_queue_launch(how.stream, &launch);
}

#define GPU_LAUNCH(how, kernel, ...) gpu_emulated_launch(how, #kernel, kernel, __VA_ARGS__)

/* ---- places ---- */

GPU_INLINE unsigned gpu_thread() {
    return emu_thread();
}
GPU_INLINE unsigned gpu_threads() {
    return emu_threads();
}
GPU_INLINE unsigned gpu_lane() {
    return emu_thread() % 32;
}
GPU_INLINE unsigned gpu_warp() {
    return emu_thread() / 32;
}
GPU_INLINE unsigned gpu_block_x() {
    return emu_block_x();
}
GPU_INLINE unsigned gpu_block_y() {
    return emu_block_y();
}
GPU_INLINE unsigned gpu_blocks_x() {
    return emu_blocks_x();
}
GPU_INLINE unsigned gpu_blocks_y() {
    return emu_blocks_y();
}

/* ---- meetings: the default arguments are the caller's place ---- */

#define GPU_HERE_PARAMETERS const char *file = __builtin_FILE(), int line = __builtin_LINE()

GPU_INLINE void gpu_barrier(GPU_HERE_PARAMETERS) {
    emu_barrier(file, line);
}

GPU_INLINE void gpu_warp_barrier(uint32_t mask, GPU_HERE_PARAMETERS) {
    emu_warp_barrier({file, line, mask});
}

template <class T>
GPU_INLINE T gpu_emulated_shuffle(struct emu_meeting at, enum emu_shuffle how, T v, int argument) {
    static_assert(sizeof(T) == 4, "a shuffle moves 4 bytes");
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    bits = static_cast<uint32_t>(emu_shuffle(at, how, bits, argument));
    std::memcpy(&v, &bits, 4);
    return v;
}

template <class T> GPU_INLINE T gpu_shuffle(uint32_t mask, T v, int lane, GPU_HERE_PARAMETERS) {
    return gpu_emulated_shuffle({file, line, mask}, EMU_SHUFFLE_LANE, v, lane);
}
template <class T> GPU_INLINE T gpu_shuffle_xor(uint32_t mask, T v, int n, GPU_HERE_PARAMETERS) {
    return gpu_emulated_shuffle({file, line, mask}, EMU_SHUFFLE_XOR, v, n);
}
template <class T> GPU_INLINE T gpu_shuffle_up(uint32_t mask, T v, int n, GPU_HERE_PARAMETERS) {
    return gpu_emulated_shuffle({file, line, mask}, EMU_SHUFFLE_UP, v, n);
}
template <class T> GPU_INLINE T gpu_shuffle_down(uint32_t mask, T v, int n, GPU_HERE_PARAMETERS) {
    return gpu_emulated_shuffle({file, line, mask}, EMU_SHUFFLE_DOWN, v, n);
}

GPU_INLINE uint32_t gpu_ballot(uint32_t mask, bool predicate, GPU_HERE_PARAMETERS) {
    return emu_ballot({file, line, mask}, predicate);
}
GPU_INLINE float gpu_warp_sum(float v, GPU_HERE_PARAMETERS) {
    return emu_warp_sum({file, line, GPU_ALL_LANES}, v);
}
GPU_INLINE float gpu_warp_max(float v, GPU_HERE_PARAMETERS) {
    return emu_warp_max({file, line, GPU_ALL_LANES}, v);
}

/* ---- tensor cores ---- */

GPU_INLINE void gpu_emulated_mma(struct emu_meeting at, enum emu_mma type, float d[4], const uint32_t a[4],
                                 const uint32_t b[2]) {
    uint32_t bits[4];
    std::memcpy(bits, d, sizeof bits);
    emu_mma(at, type, bits, a, b);
    std::memcpy(d, bits, sizeof bits);
}
GPU_INLINE void gpu_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], GPU_HERE_PARAMETERS) {
    gpu_emulated_mma({file, line, GPU_ALL_LANES}, EMU_MMA_BF16, d, a, b);
}
GPU_INLINE void gpu_mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2], GPU_HERE_PARAMETERS) {
    gpu_emulated_mma({file, line, GPU_ALL_LANES}, EMU_MMA_F16, d, a, b);
}
GPU_INLINE void gpu_mma_s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2], GPU_HERE_PARAMETERS) {
    emu_mma({file, line, GPU_ALL_LANES}, EMU_MMA_S8, reinterpret_cast<uint32_t *>(d), a, b);
}

GPU_INLINE int32_t gpu_dot4(uint32_t a, uint32_t b, int32_t sum) {
    for (int i = 0; i < 4; i++)
        sum += static_cast<int8_t>(a >> (8 * i)) * static_cast<int8_t>(b >> (8 * i));
    return sum;
}

GPU_INLINE int32_t gpu_dot4_unsigned(uint32_t a, uint32_t b, int32_t sum) {
    for (int i = 0; i < 4; i++)
        sum += static_cast<uint8_t>(a >> (8 * i)) * static_cast<int8_t>(b >> (8 * i));
    return sum;
}

/* The other bytes are those that nobody may use. */
GPU_INLINE uint32_t gpu_byte(uint32_t a, uint32_t b, int i) {
    return ((i < 4 ? a : b) >> (8 * (i % 4)) & 255u) | 0xA5C3E700u;
}

GPU_INLINE void gpu_ldmatrix_x1(uint32_t r[1], const void *row, GPU_HERE_PARAMETERS) {
    emu_ldmatrix({file, line, GPU_ALL_LANES}, 1, false, r, row);
}
GPU_INLINE void gpu_ldmatrix_x2(uint32_t r[2], const void *row, GPU_HERE_PARAMETERS) {
    emu_ldmatrix({file, line, GPU_ALL_LANES}, 2, false, r, row);
}
GPU_INLINE void gpu_ldmatrix_x4(uint32_t r[4], const void *row, GPU_HERE_PARAMETERS) {
    emu_ldmatrix({file, line, GPU_ALL_LANES}, 4, false, r, row);
}
GPU_INLINE void gpu_ldmatrix_x4_t(uint32_t r[4], const void *row, GPU_HERE_PARAMETERS) {
    emu_ldmatrix({file, line, GPU_ALL_LANES}, 4, true, r, row);
}

/* ---- copies and memory ---- */

GPU_INLINE void gpu_copy_async16(void *shared, const void *device) {
    emu_copy_async16(shared, device);
}
GPU_INLINE void gpu_copy_async16_if(void *shared, const void *device, bool there) {
    emu_copy_async16(shared, there ? device : nullptr);
}
GPU_INLINE void gpu_copy_commit() {
    emu_copy_commit();
}
template <int N> GPU_INLINE void gpu_copy_wait() {
    emu_copy_wait(N);
}

GPU_INLINE struct gpu_u4 gpu_load16(const void *p, GPU_HERE_PARAMETERS) {
    emu_load16(p, file, line);
    return *static_cast<const struct gpu_u4 *>(p);
}

/* One block after the other, one thread after the other: plain arithmetic is atomic here. */
template <class T> GPU_INLINE T gpu_atomic_add(T *p, T v) {
    emu_atomic(p, true);
    T old = *p;
    *p = old + v;
    emu_atomic(p, false);
    return old;
}
template <class T> GPU_INLINE T gpu_atomic_max(T *p, T v) {
    emu_atomic(p, true);
    T old = *p;
    *p = old > v ? old : v;
    emu_atomic(p, false);
    return old;
}
GPU_INLINE void gpu_fence() {
    emu_fence();
}

GPU_INLINE void gpu_wait_previous() {
    emu_wait_previous();
}
GPU_INLINE void gpu_let_next_start() {
    emu_let_next_start();
}

/* ---- numbers ---- */

GPU_INLINE float gpu_bits_to_float(uint32_t bits) {
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
}
GPU_INLINE uint32_t gpu_float_to_bits(float f) {
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    return bits;
}
GPU_INLINE float gpu_bf16_to_float(uint16_t h) {
    return convert_bf16_to_f32(h);
}
GPU_INLINE float gpu_f16_to_float(uint16_t h) {
    return convert_f16_to_f32(h);
}
GPU_INLINE uint16_t gpu_float_to_f16(float f) {
    return convert_f32_to_f16(f);
}
GPU_INLINE uint16_t gpu_float_to_bf16(float f) {
    uint32_t bits = gpu_float_to_bits(f);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return 0x7FFF;
    return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}
GPU_INLINE uint32_t gpu_pack_bf16(float a, float b) {
    return static_cast<uint32_t>(gpu_float_to_bf16(a)) | static_cast<uint32_t>(gpu_float_to_bf16(b)) << 16;
}
GPU_INLINE uint32_t gpu_pack_f16(float a, float b) {
    return static_cast<uint32_t>(gpu_float_to_f16(a)) | static_cast<uint32_t>(gpu_float_to_f16(b)) << 16;
}
GPU_INLINE uint32_t gpu_f8x2_to_f16x2(uint32_t two) {
    uint32_t low = convert_f32_to_f16(convert_f8_e4m3_to_f32(static_cast<uint8_t>(two)));
    uint32_t high = convert_f32_to_f16(convert_f8_e4m3_to_f32(static_cast<uint8_t>(two >> 8)));
    return low | high << 16;
}
/* What is no number is 0, as the instruction has it. */
GPU_INLINE int32_t gpu_round(float v) {
    return v > -2147483648.0f && v < 2147483648.0f ? static_cast<int32_t>(std::nearbyint(v)) : 0;
}
#include "kernels/cuda/gpu_f8.h"
GPU_INLINE uint32_t gpu_pack_f8(float a, float b) {
    return gpu_f8_bits(a) | gpu_f8_bits(b) << 8;
}
GPU_INLINE float gpu_exp(float x) {
    return std::exp(x);
}
GPU_INLINE float gpu_rsqrt(float x) {
    return 1.0f / std::sqrt(x);
}
GPU_INLINE float gpu_fma(float a, float b, float c) {
    return a * b + c; /* not fused: a library call per product would be most of a test's time */
}
GPU_INLINE float gpu_mul(float a, float b) {
    return a * b;
}
GPU_INLINE float gpu_add(float a, float b) {
    return a + b;
}
GPU_INLINE float gpu_divide_exact(float a, float b) {
    return a / b;
}
GPU_INLINE double gpu_exp_double(double x) {
    return std::exp(x);
}
GPU_INLINE float gpu_divide(float a, float b) {
    return a / b;
}
GPU_INLINE float gpu_max(float a, float b) {
    return a > b ? a : b;
}

#endif
