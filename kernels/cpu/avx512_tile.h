/* Sixteen rows times a few inputs, with AVX-512 VNNI, the rows being a panel, or side by side in memory
 * (pack.h). Included by avx512_bytes.c and avx512_packed.c alone.
 *
 * Every lane is one output with one chain of additions in F32, a group of 32 (or 16) elements each, in
 * ascending order; sums within a group are exact integers. So an output is the same bits whatever rows and
 * inputs stand beside it, and wherever the rows lie. */
#ifndef KERNELS_CPU_AVX512_TILE_H
#define KERNELS_CPU_AVX512_TILE_H

#include "kernels/cpu/avx512_panel.h"
#include "kernels/cpu/x86_packed.h"

#define AVX512_INPUTS 8 /* of a tile: eight sums of integers, eight of outputs */
/* Of inputs that meet panels together: half of a second-level cache. */
#define AVX512_INPUT_BYTES (512 << 10)

/* The next elements of sixteen rows: up to 8 groups of 32. */
AVX512_INLINE void avx512_panel_make(enum dtype type, struct avx512_from from, int groups,
                                     struct avx512_panel *p, const uint8_t *ahead) {
    avx512_factors_of(type, from, groups, &p->f);
    if (from.rows != NULL) {
        avx512_panel_turn(type, from.rows, groups, p, ahead);
        return;
    }
    const int span = avx512_span(type);
    for (int i = 0; i < groups / span; i++) {
        AVX512_UNROLL
        for (int sub = 0; sub < span; sub++) {
            avx512_ask(type, ahead, i * span + sub);
            AVX512_UNROLL
            for (int j = 0; j < 8; j++)
                _mm512_store_si512(p->q[(i * span + sub) * 8 + j], avx512_direct(type, from.rest, i, sub, j));
        }
    }
}

/* The next elements of sixteen rows: a panel, or, without one, blocks that lie side by side. Which of the two
 * is known when this is compiled. */
struct avx512_sixteen {
    const struct avx512_panel *panel;
    const uint8_t *rest; /* as avx512_from has it */
    const struct avx512_factors *factors;
};

/* A few inputs from the next elements on: their bytes and the scales of groups of 32. Of groups: minus what
 * the elements of the type have too much, times the sum of the input's; and this sum times the scale. */
struct avx512_inputs {
    const int8_t *x[AVX512_INPUTS];
    const float *scales[AVX512_INPUTS];
    _Alignas(64) int32_t start[AVX512_INPUTS][16];
    float total[AVX512_INPUTS][16];
};

/* C inputs from element `first` of k on, for `groups` groups of 32. */
AVX512_INLINE void avx512_inputs_at(enum dtype type, int C, const char *row, size_t stride, int k, int first,
                                    int groups, struct avx512_inputs *in) {
    const __mmask16 there = (__mmask16)((1u << 2 * groups) - 1);
    const int off = -avx512_offset(type);
    AVX512_UNROLL
    for (int c = 0; c < C; c++) {
        const char *at = row + (size_t)c * stride;
        in->x[c] = (const int8_t *)at + first;
        in->scales[c] = (const float *)(const void *)(at + k) + first / 32;
        __m256i by_16 = _mm256_maskz_loadu_epi16(there, at + k + k / 8 + first / 8);
        if (x86_by_16(type) && off != 0)
            _mm512_store_si512(in->start[c],
                               _mm512_mullo_epi32(_mm512_cvtepi16_epi32(by_16), _mm512_set1_epi32(off)));
        else if (off != 0)
            _mm256_store_si256((__m256i *)(void *)in->start[c],
                               _mm256_madd_epi16(by_16, _mm256_set1_epi16((short)off)));
        if (!avx512_has_minima(type))
            continue;
        if (x86_by_16(type)) { /* all groups are there */
            __m512 scales = _mm512_castps256_ps512(_mm256_loadu_ps(in->scales[c]));
            const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
            _mm512_store_ps(in->total[c], _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(by_16)),
                                                        _mm512_permutexvar_ps(twice, scales)));
        } else {
            /* The sums follow the scales, so there are as many bytes. */
            __m256 sums = _mm256_cvtepi32_ps(_mm256_madd_epi16(by_16, _mm256_set1_epi16(1)));
            _mm256_store_ps(in->total[c], _mm256_mul_ps(sums, _mm256_loadu_ps(in->scales[c])));
        }
    }
}

AVX512_INLINE __m512i avx512_dword(const void *at) {
    int32_t v;
    memcpy(&v, at, 4);
    return _mm512_set1_epi32(v);
}

/* A group of 32 elements among the next ones; of blocks side by side it is group `sub` of a span. */
struct avx512_group {
    int g, span, sub;
};

/* Elements 4 j … of a group. */
AVX512_INLINE __m512i avx512_quad(enum dtype type, const struct avx512_sixteen *w, struct avx512_group at,
                                  int j) {
    if (w->panel != NULL)
        return _mm512_load_si512(w->panel->q[at.g * 8 + j]);
    return avx512_direct(type, w->rest, at.span, at.sub, j);
}

/* A group times C inputs, added to acc: all of its 32 elements, or (half 0, 1) sixteen. */
AVX512_INLINE void avx512_group_of(enum dtype type, int C, const struct avx512_sixteen *w,
                                   struct avx512_group at, int half, const struct avx512_inputs *in,
                                   __m512 acc[AVX512_INPUTS]) {
    const int quads = x86_by_16(type) ? 4 : 8, g = x86_by_16(type) ? at.g * 2 + half : at.g;
    __m512i sums[AVX512_INPUTS];
    AVX512_UNROLL
    for (int c = 0; c < C; c++)
        sums[c] = avx512_offset(type) != 0 ? _mm512_set1_epi32(in->start[c][g]) : _mm512_setzero_si512();
    AVX512_UNROLL
    for (int j = 0; j < quads; j++) {
        __m512i q = avx512_quad(type, w, at, half * 4 + j);
        AVX512_UNROLL
        for (int c = 0; c < C; c++)
            sums[c] = _mm512_dpbusd_epi32(sums[c], q, avx512_dword(in->x[c] + at.g * 32 + half * 16 + j * 4));
    }
    const __m512 scale = _mm512_load_ps(w->factors->scale[g]);
    AVX512_UNROLL
    for (int c = 0; c < C; c++) {
        __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(in->scales[c][at.g]));
        acc[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[c]), factor, acc[c]);
        if (avx512_has_minima(type))
            acc[c] = _mm512_fnmadd_ps(_mm512_load_ps(w->factors->minimum[g]), _mm512_set1_ps(in->total[c][g]),
                                      acc[c]);
    }
}

/* The same, of 32 elements. */
AVX512_INLINE void avx512_group_all(enum dtype type, int C, const struct avx512_sixteen *w,
                                    struct avx512_group at, const struct avx512_inputs *in,
                                    __m512 acc[AVX512_INPUTS]) {
    avx512_group_of(type, C, w, at, 0, in, acc);
    if (x86_by_16(type))
        avx512_group_of(type, C, w, at, 1, in, acc);
}

/* `groups` groups of a panel, from element `first` of the rows on, times C inputs from x on, added to sums.
 * ahead: where bytes are asked for with each group, or NULL. */
AVX512_INLINE void avx512_tile(enum dtype type, int C, const struct avx512_panel *p, int k, int first,
                               int groups, const char *x, size_t stride, float (*sums)[16],
                               const uint8_t *ahead) {
    const struct avx512_sixteen w = {.panel = p, .factors = &p->f};
    struct avx512_inputs in;
    __m512 acc[AVX512_INPUTS];
    AVX512_UNROLL
    for (int c = 0; c < C; c++)
        acc[c] = _mm512_load_ps(sums[c]);
    avx512_inputs_at(type, C, x, stride, k, first, groups, &in);
    for (int g = 0; g < groups; g++) {
        avx512_ask(type, ahead, g);
        avx512_group_all(type, C, &w, (struct avx512_group){.g = g}, &in, acc);
    }
    AVX512_UNROLL
    for (int c = 0; c < C; c++)
        _mm512_store_ps(sums[c], acc[c]);
}

/* The same with n inputs. */
AVX512_INLINE void avx512_tiles(enum dtype type, const struct avx512_panel *p, const struct x86_job *job,
                                int first, int groups, const char *x, int n, struct x86_outputs *o,
                                const uint8_t *ahead) {
    int c = 0;
    for (; c + 8 <= n; c += 8, ahead = NULL)
        avx512_tile(type, 8, p, job->k, first, groups, x + (size_t)c * job->x_stride, job->x_stride,
                    o->sums + c, ahead);
    for (; c + 4 <= n; c += 4, ahead = NULL)
        avx512_tile(type, 4, p, job->k, first, groups, x + (size_t)c * job->x_stride, job->x_stride,
                    o->sums + c, ahead);
    for (; c < n; c++, ahead = NULL)
        avx512_tile(type, 1, p, job->k, first, groups, x + (size_t)c * job->x_stride, job->x_stride,
                    o->sums + c, ahead);
}

#endif
