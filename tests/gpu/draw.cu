/* See draw.h. Every 4 bytes (of scales, 2) are a hash of their place. */
#include "tests/gpu/draw.h"

#include "kernels/cuda/gpu.h"

#include <errno.h>

#define DRAW_THREADS 256

struct draw {
    uint8_t *to;
    int64_t n;            /* chunks of 16 bytes; of scales, halves of 2 bytes */
    int32_t type;         /* enum cuda_type */
    int32_t row_halves;   /* of scales: halves of a row, */
    int32_t scale_halves; /* of which so many come before those behind all */
    uint32_t seed;
};

/* MurmurHash3's last step (Austin Appleby). */
GPU_INLINE uint32_t draw_hash(uint64_t place, uint32_t seed) {
    uint32_t h = (uint32_t)place * 0x9E3779B1u ^ (uint32_t)(place >> 32) * 0x85EBCA77u ^ seed;
    h = (h ^ h >> 16) * 0x85EBCA6Bu;
    h = (h ^ h >> 13) * 0xC2B2AE35u;
    return h ^ h >> 16;
}

/* An F16 of either sign from 2^exponent up to its double. */
GPU_INLINE uint32_t draw_half(uint32_t random, int exponent) {
    return (random & 0x83FFu) | (uint32_t)(exponent + 15) << 10;
}

/* Four bytes of numbers. BF16 and F16: signs, 2^-7 … 2^-5; E4M3: signs, 2^-2 … 1. */
GPU_INLINE uint32_t draw_word(int type, uint32_t random) {
    if (type == CUDA_BF16)
        return (random & 0x80FF80FFu) | 0x3C003C00u;
    if (type == CUDA_F16)
        return (random & 0x87FF87FFu) | 0x20002000u;
    if (type == CUDA_F8)
        return (random & 0x8F8F8F8Fu) + 0x28282828u;
    return random; /* whole numbers: all there are */
}

GPU_KERNEL(DRAW_THREADS) kernel_draw(const struct draw p) {
    int64_t i = (int64_t)gpu_block_x() * DRAW_THREADS + gpu_thread();
    if (i >= p.n)
        return;
    struct gpu_u4 v;
    v.x = draw_word(p.type, draw_hash((uint64_t)i * 4, p.seed));
    v.y = draw_word(p.type, draw_hash((uint64_t)i * 4 + 1, p.seed));
    v.z = draw_word(p.type, draw_hash((uint64_t)i * 4 + 2, p.seed));
    v.w = draw_word(p.type, draw_hash((uint64_t)i * 4 + 3, p.seed));
    *(struct gpu_u4 *)(p.to + i * 16) = v;
}

/* Half `at` of a row of scales (struct cuda_matrix), so that numbers come out at about 0.02. Q8_0 has up to
 * 127 of a scale, Q4_0 up to 8; Q4_K and Q5_K up to 15 and 31, times any 6 bits, less any 6 bits of their
 * second scale; Q6_K up to 32, times any whole number of 8 bits. */
GPU_INLINE uint32_t draw_scale(const struct draw &p, int at, uint32_t random) {
    if (p.type == CUDA_Q8_0)
        return draw_half(random, -13);
    if (p.type == CUDA_Q4_0)
        return draw_half(random, -9);
    if (p.type == CUDA_Q6_K)
        return at < p.scale_halves ? random & 0xFFFFu
                                   : (random & 0x01FFu) | 0x0200u; /* 2^-15: no leading one */
    int within = at % 8, least = p.type == CUDA_Q5_K ? -14 : -13;  /* of 16 bytes */
    if (within > 1)
        return random & 0xFFFFu;
    return draw_half(random, within == 0 ? least : -10) & 0x7FFFu;
}

GPU_KERNEL(DRAW_THREADS) kernel_draw_scales(const struct draw p) {
    int64_t i = (int64_t)gpu_block_x() * DRAW_THREADS + gpu_thread();
    if (i < p.n)
        ((uint16_t *)p.to)[i] =
            (uint16_t)draw_scale(p, (int)(i % p.row_halves), draw_hash((uint64_t)i, p.seed));
}

/* The factor of a row of F8. */
GPU_KERNEL(DRAW_THREADS) kernel_draw_factors(const struct draw p) {
    int64_t i = (int64_t)gpu_block_x() * DRAW_THREADS + gpu_thread();
    if (i < p.n)
        ((float *)p.to)[i] = 0.03f;
}

static struct gpu_launch launch_of(struct gpu_stream *s, int64_t n) {
    return {s, (unsigned)((n + DRAW_THREADS - 1) / DRAW_THREADS), 1, DRAW_THREADS, 0, false};
}

static int draw_chunks(struct gpu_stream *s, const uint8_t *to, int type, int64_t n, uint32_t seed) {
    const struct draw p = {(uint8_t *)(uintptr_t)to, n, type, 0, 0, seed};
    return n > 0 ? GPU_LAUNCH(launch_of(s, n), kernel_draw, p) : 0;
}

static int draw_scales(struct gpu_stream *s, const struct cuda_matrix *m, uint32_t seed) {
    struct draw p = {
        (uint8_t *)(uintptr_t)m->scales, m->rows, m->type, m->scale_bytes / 2, m->blocks / 8 * 8, seed};
    if (m->type == CUDA_F8)
        return GPU_LAUNCH(launch_of(s, p.n), kernel_draw_factors, p);
    p.n *= p.row_halves;
    return p.n > 0 ? GPU_LAUNCH(launch_of(s, p.n), kernel_draw_scales, p) : 0;
}

extern "C" int draw_matrix(struct gpu_stream *s, const struct cuda_matrix *m, uint32_t seed) {
    switch (m->type) {
    case CUDA_F16:
    case CUDA_BF16:
    case CUDA_F8:
    case CUDA_Q8_0:
    case CUDA_Q4_0:
    case CUDA_Q4_K:
    case CUDA_Q5_K:
    case CUDA_Q6_K:
        break;
    default:
        return -ENOTSUP;
    }
    int rc = draw_chunks(s, m->values, m->type, (int64_t)m->rows * m->chunks, seed);
    rc = rc ? rc : draw_chunks(s, m->high, m->type, (int64_t)m->rows * m->high_bytes / 16, seed + 1);
    return rc ? rc : draw_scales(s, m, seed + 2);
}

extern "C" int draw_plain(struct gpu_stream *s, void *to, int type, int64_t n, uint32_t seed) {
    return draw_chunks(s, (const uint8_t *)to, type, n * (type == CUDA_F8 ? 1 : 2) / 16, seed);
}
