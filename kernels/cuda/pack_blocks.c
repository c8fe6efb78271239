/* GGUF's blocks taken apart: low four bits, what is above, scales (see struct cuda_matrix). The formats:
 * kernels/cpu/blocks.c. Numbers keep their bits. */
#include "kernels/cpu/blocks.h"
#include "kernels/cuda/pack.h"

#include <string.h>

/* Low four bits of the 32 numbers of a block. */
static void put_low(const uint8_t *q, uint8_t *to) {
    for (int i = 0; i < 16; i++)
        to[i] = (uint8_t)((q[i] & 15) | q[16 + i] << 4);
}

/* The fifth bits: one word. */
static void put_fifth(const uint8_t *q, uint8_t *to) {
    for (int i = 0; i < 32; i++)
        to[i % 4] = (uint8_t)(to[i % 4] | (q[i] >> 4 & 1) << (i % 16 / 4 * 2 + i / 16));
}

/* The fifth and sixth: a word of each half. */
static void put_two(const uint8_t *q, uint8_t *to) {
    for (int i = 0; i < 32; i++)
        to[i / 16 * 4 + i % 4] = (uint8_t)(to[i / 16 * 4 + i % 4] | (q[i] >> 4 & 3) << i % 16 / 4 * 2);
}

/* ---- blocks of 32 ---- */

static void pack_q8_0(const struct cuda_matrix *m, const uint8_t *from, const struct pack_row *to) {
    for (int b = 0; b < m->blocks; b++, from += 34) {
        memcpy(to->scales + b * 2, from, 2);
        memcpy(to->values + b * 16, from + 2, 16);
        memcpy(to->values + (m->blocks + b) * 16, from + 18, 16);
    }
}

/* A scale, a lowest value or none, fifth bits or none, nibbles. */
static void pack_small(const struct cuda_matrix *m, const uint8_t *from, const struct pack_row *to) {
    int head = m->type == CUDA_Q4_1 || m->type == CUDA_Q5_1 ? 4 : 2;
    int fifths = m->type == CUDA_Q5_0 || m->type == CUDA_Q5_1 ? 4 : 0;
    for (int b = 0; b < m->blocks; b++, from += head + fifths + 16) {
        memcpy(to->scales + b * head, from, (size_t)head);
        memcpy(to->values + b * 16, from + head + fifths, 16);
        if (fifths > 0) {
            uint8_t q[32];
            for (int i = 0; i < 32; i++)
                q[i] = (uint8_t)((from[head + i / 8] >> i % 8 & 1) << 4);
            put_fifth(q, to->high + b * 4);
        }
    }
}

/* ---- blocks of 256: q of all columns, then the scales ---- */

static void take_two_bits(const uint8_t *bits, uint8_t *q, int shift) {
    for (int i = 0; i < 256; i++)
        q[i] = (uint8_t)(q[i] | (bits[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) << shift);
}

/* 8 scales s and z of 6 bits after the two F16: see struct cuda_matrix. */
static void put_scales_k4(const uint8_t *from, uint8_t *to) {
    uint8_t s[8], z[8];
    blocks_scales_k4(from + 4, s, z);
    memcpy(to, from, 4);
    for (int j = 0; j < 8; j++) {
        to[4 + j] = (uint8_t)(s[j] | (z[j] & 3) << 6);
        to[12 + j / 2] = (uint8_t)(to[12 + j / 2] | z[j] >> 2 << j % 2 * 4);
    }
}

static void take_k4(int type, const uint8_t *from, uint8_t *q) {
    const uint8_t *nibbles = from + (type == CUDA_Q5_K ? 48 : 16);
    for (int i = 0; i < 256; i++)
        q[i] = (uint8_t)(nibbles[i / 64 * 32 + i % 32] >> i % 64 / 32 * 4 & 15);
    for (int i = 0; i < 256 && type == CUDA_Q5_K; i++)
        q[i] = (uint8_t)(q[i] | (from[16 + i % 32] >> i / 32 & 1) << 4);
}

static void take_q3(const uint8_t *from, uint8_t *q) {
    take_two_bits(from + 32, q, 0);
    for (int i = 0; i < 256; i++)
        q[i] = (uint8_t)(q[i] | (from[i % 32] >> i / 32 & 1) << 2);
}

static void take_q6(const uint8_t *from, uint8_t *q) {
    for (int i = 0; i < 256; i++)
        q[i] = (uint8_t)(from[i / 128 * 64 + i % 64] >> i % 128 / 64 * 4 & 15);
    take_two_bits(from + 128, q, 4);
}

/* Block `b`; returns its size. */
static int pack_large(const struct cuda_matrix *m, const uint8_t *from, int b, uint8_t *q,
                      const struct pack_row *to) {
    uint8_t *scales = to->scales + b * 16, *behind = to->scales + m->blocks / 8 * 16;
    switch (m->type) {
    case CUDA_Q2_K:
        take_two_bits(from + 16, q, 0);
        memcpy(scales, from, 16);
        memcpy(behind + b * 4, from + 80, 4);
        return 84;
    case CUDA_Q3_K: {
        int8_t s[16];
        take_q3(from, q);
        blocks_scales_q3(from + 96, s);
        memcpy(scales, s, 16);
        memcpy(behind + b * 2, from + 108, 2);
        return 110;
    }
    case CUDA_Q6_K:
        take_q6(from, q);
        memcpy(scales, from + 192, 16);
        memcpy(behind + b * 2, from + 208, 2);
        return 210;
    default:
        take_k4(m->type, from, q);
        put_scales_k4(from, scales);
        return m->type == CUDA_Q5_K ? 176 : 144;
    }
}

void pack_blocks(const struct cuda_matrix *m, const uint8_t *from, const struct pack_row *to) {
    if (m->type == CUDA_Q8_0) {
        pack_q8_0(m, from, to);
        return;
    }
    if (m->type < CUDA_Q2_K) {
        pack_small(m, from, to);
        return;
    }
    for (int b = 0; b < m->blocks / 8; b++) {
        uint8_t q[256] = {0};
        from += pack_large(m, from, b, q, to);
        for (int k = 0; k < 8; k++) {
            int block = b * 8 + k;
            put_low(q + k * 32, to->values + block * 16);
            if (m->type == CUDA_Q5_K)
                put_fifth(q + k * 32, to->high + block * 4);
            if (m->type == CUDA_Q6_K)
                put_two(q + k * 32, to->high + block * 8);
        }
    }
}
