/* Numbers to E4M3 where a GPU has no instruction for it (before sm_89), and in the emulator. Included by both
 * sides of kernels/cuda/gpu.h. */
#ifndef KERNELS_CUDA_GPU_F8_H
#define KERNELS_CUDA_GPU_F8_H

/* To the nearest, ties to even; magnitudes above 448 become 448, what is no number stays none. */
GPU_INLINE uint32_t gpu_f8_bits(float v) {
    uint32_t bits = gpu_float_to_bits(v), magnitude = bits & 0x7FFFFFFFu, f8;
    if (magnitude > 0x7F800000u)
        f8 = 0x7F;
    else if (magnitude >= 0x43E00000u) /* 448 */
        f8 = 0x7E;
    else if (magnitude < 0x3C800000u) /* 2^-6: whole multiples of 2^-9 */
        f8 = (uint32_t)gpu_round(gpu_bits_to_float(magnitude) * 512.0f);
    else /* exponents begin at 7 in place of 127, 3 bits of 23 stay */
        f8 = ((magnitude + 0x7FFFFu + (magnitude >> 20 & 1u)) >> 20) - (120u << 3);
    return f8 | (bits >> 24 & 0x80u);
}

#endif
