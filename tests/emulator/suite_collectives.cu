/* Collectives, fragments and conversions against what the PTX ISA says of each. */
#include "kernels/cuda/gpu.h"

#include "tests/emulator/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct collectives {
    int lane[32], exclusive[32], up[32], down[32], half[32];
    unsigned votes[32], half_votes[32];
    float sum[32], sum_loop[32], largest[32];
    int s8[16][8];
    unsigned transposed[32][4], plain[32][4];
    int added, largest_int;
    float bf16[4], f16[4];
    unsigned back_bf16[4], back_f16[4];
    unsigned f8[4]; /* pairs */
    float exp1, rsqrt4;
};

struct collectives_shared {
    alignas(16) uint16_t rows[32][8];
    int count;
};

GPU_INLINE void collect_numbers(struct collectives *out) {
    const float values[4] = {1.5f, -0.25f, 65504.0f, 3.0f};
    for (int i = 0; i < 4; i++) {
        out->back_bf16[i] = gpu_float_to_bf16(values[i]);
        out->back_f16[i] = gpu_float_to_f16(values[i]);
        out->bf16[i] = gpu_bf16_to_float((uint16_t)out->back_bf16[i]);
        out->f16[i] = gpu_f16_to_float((uint16_t)out->back_f16[i]);
    }
    /* to the nearest, ties to even, at 1, at 448 and at the smallest; the largest; what is no number */
    const float eighths[8] = {1.0625f, -1.1875f, 463.0f, -1e9f, 0x1p-10f, 0x3p-10f, 0x1.fp-7f, NAN};
    for (int i = 0; i < 4; i++)
        out->f8[i] = gpu_pack_f8(eighths[2 * i], eighths[2 * i + 1]);
    out->exp1 = gpu_exp(1.0f);
    out->rsqrt4 = gpu_rsqrt(4.0f);
}

/* Byte (r, c) of A is r - c, byte (r, c) of B is c - 2r; PTX ISA "m16n8k32", .s8 fragments. */
GPU_INLINE void collect_s8(struct collectives *out, int lane) {
    uint32_t a[4] = {0, 0, 0, 0}, b[2] = {0, 0};
    int32_t d[4] = {1, 1, 1, 1};
    for (int i = 0; i < 16; i++) {
        int row = i < 4 || (i >= 8 && i < 12) ? lane / 4 : lane / 4 + 8;
        int column = lane % 4 * 4 + i % 4 + (i >= 8 ? 16 : 0);
        a[i / 4] |= (uint32_t)(uint8_t)(row - column) << (8 * (i % 4));
    }
    for (int i = 0; i < 8; i++) {
        int row = lane % 4 * 4 + i % 4 + (i >= 4 ? 16 : 0), column = lane / 4;
        b[i / 4] |= (uint32_t)(uint8_t)(column - 2 * row) << (8 * (i % 4));
    }
    gpu_mma_s8(d, a, b);
    for (int i = 0; i < 4; i++)
        out->s8[i < 2 ? lane / 4 : lane / 4 + 8][lane % 4 * 2 + i % 2] = d[i];
}

GPU_KERNEL(32) kernel_collectives(struct collectives *out) {
    GPU_SHARED(struct collectives_shared, s);
    int lane = (int)gpu_lane();
    out->lane[lane] = gpu_shuffle(GPU_ALL_LANES, lane * 10, 7);
    out->exclusive[lane] = gpu_shuffle_xor(GPU_ALL_LANES, lane, 5);
    out->up[lane] = gpu_shuffle_up(GPU_ALL_LANES, lane, 3);
    out->down[lane] = gpu_shuffle_down(GPU_ALL_LANES, lane, 3);
    uint32_t mask = lane < 16 ? 0x0000FFFFu : 0xFFFF0000u;
    out->votes[lane] = gpu_ballot(GPU_ALL_LANES, lane % 3 == 0);
    out->half_votes[lane] = gpu_ballot(mask, lane % 3 == 0);
    out->half[lane] = gpu_shuffle_xor(mask, lane, 15);
    float v = (float)(lane * lane) * 0.37f, loop = v;
    out->sum[lane] = gpu_warp_sum(v);
    for (int o = 16; o > 0; o /= 2)
        loop += gpu_shuffle_xor(GPU_ALL_LANES, loop, o);
    out->sum_loop[lane] = loop;
    out->largest[lane] = gpu_warp_max(lane == 11 ? 3.0f : -(float)lane);
    collect_s8(out, lane);
    for (int i = 0; i < 8; i++)
        s.rows[lane][i] = (uint16_t)(lane * 8 + i);
    if (lane == 0)
        s.count = 0;
    gpu_warp_barrier(GPU_ALL_LANES);
    gpu_ldmatrix_x4(out->plain[lane], s.rows[lane]);
    gpu_ldmatrix_x4_t(out->transposed[lane], s.rows[lane]);
    gpu_atomic_add(&out->added, lane);
    gpu_atomic_max(&out->largest_int, lane);
    if (lane == 0)
        collect_numbers(out);
}

static int check_matrices(const struct collectives *c) {
    for (int l = 0; l < 32; l++)
        for (int m = 0; m < 4; m++) {
            unsigned base = (unsigned)m * 64, major = (unsigned)l / 4, minor = (unsigned)l % 4 * 2;
            if (c->plain[l][m] != ((base + major * 8 + minor) | (base + major * 8 + minor + 1) << 16))
                return __LINE__;
            if (c->transposed[l][m] != ((base + minor * 8 + major) | (base + (minor + 1) * 8 + major) << 16))
                return __LINE__;
        }
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) {
            int want = 1;
            for (int k = 0; k < 32; k++)
                want += (i - k) * (j - 2 * k);
            if (c->s8[i][j] != want)
                return __LINE__;
        }
    return 0;
}

static int check_numbers(const struct collectives *c) {
    static const unsigned bf16[4] = {0x3FC0, 0xBE80, 0x4780, 0x4040},
                          f16[4] = {0x3E00, 0xB400, 0x7BFF, 0x4200};
    static const unsigned f8[4] = {0xBA38, 0xFE7E, 0x0200, 0x7F08};
    if (memcmp(c->f8, f8, sizeof f8) != 0)
        return __LINE__;
    if (memcmp(c->back_bf16, bf16, sizeof bf16) != 0 || memcmp(c->back_f16, f16, sizeof f16) != 0)
        return __LINE__;
    if (c->bf16[0] != 1.5f || c->bf16[2] != 65536.0f || c->f16[1] != -0.25f || c->f16[2] != 65504.0f)
        return __LINE__;
    if (fabsf(c->exp1 - 2.7182818f) > 1e-5f || fabsf(c->rsqrt4 - 0.5f) > 1e-6f)
        return __LINE__;
    return c->added == 31 * 16 && c->largest_int == 31 ? 0 : __LINE__;
}

static int check(const struct collectives *c) {
    for (int l = 0; l < 32; l++) {
        if (c->lane[l] != 70 || c->exclusive[l] != (l ^ 5) || c->up[l] != (l < 3 ? l : l - 3) ||
            c->down[l] != (l > 28 ? l : l + 3))
            return __LINE__;
        if (c->half[l] != (l < 16 ? 15 - l : 47 - l))
            return __LINE__;
        if (c->votes[l] != 0x49249249u ||
            c->half_votes[l] != (0x49249249u & (l < 16 ? 0xFFFFu : 0xFFFF0000u)))
            return __LINE__;
        if (memcmp(&c->sum[l], &c->sum_loop[l], sizeof(float)) != 0 || c->largest[l] != 3.0f)
            return __LINE__;
    }
    int rc = check_matrices(c);
    return rc != 0 ? rc : check_numbers(c);
}

extern "C" int suite_collectives(void) {
    struct gpu_stream *stream = NULL;
    struct collectives *d = static_cast<struct collectives *>(gpu_alloc(sizeof *d, GPU_KEPT));
    struct collectives *h = static_cast<struct collectives *>(gpu_alloc_host(sizeof *h));
    if (d == NULL || h == NULL || gpu_stream_create(&stream) < 0)
        abort();
    const struct gpu_launch how = {stream, 1, 1, 32, 0, false};
    int rc = gpu_fill(stream, d, 0, sizeof *d);
    rc += GPU_LAUNCH(how, kernel_collectives, d);
    rc += gpu_download(stream, h, d, sizeof *h);
    rc += gpu_sync(stream);
    int line = rc == 0 ? check(h) : __LINE__;
    gpu_stream_destroy(stream);
    gpu_free(d);
    gpu_free_host(h);
    return line;
}
