/* Sixteen rows times a few inputs, the rows being panels, or side by side in memory (pack.h). Included by
 * avx2_bytes.c and avx2_packed.c alone.
 *
 * Every lane is one output with one chain of additions in F32, in ascending order: of K types a block of 256
 * elements each, whose inputs share one scale, of the others a group of 32; sums within them are exact
 * integers. So an output is the same bits whatever rows and inputs stand beside it, and wherever the rows
 * lie. */
#ifndef KERNELS_CPU_AVX2_TILE_H
#define KERNELS_CPU_AVX2_TILE_H

#include "kernels/cpu/avx2_panel.h"
#include "kernels/cpu/x86_packed.h"

#include <stdbool.h>

/* The next elements of eight rows: up to 8 groups of 32. */
AVX2_INLINE void avx2_panel_make(enum dtype type, struct avx2_from from, int groups, struct avx2_panel *p,
                                 const uint8_t *ahead) {
    avx2_factors(type, from, groups, &p->f);
    switch (type) {
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        avx2_q4_q5_k(type, from, p, ahead);
        break;
    case DTYPE_Q6_K:
        avx2_q6_k(from, p, ahead);
        break;
    case DTYPE_Q2_K:
    case DTYPE_Q3_K:
        avx2_q2_q3_k(type, from, p, ahead);
        break;
    default:
        for (int b = 0; b < groups; b++) {
            if (b % 2 == 0)
                avx2_ask(type, ahead, b / 2);
            avx2_small(type, from, b, p);
        }
        break;
    }
}

AVX2_INLINE __m256i avx2_dword(const void *at) {
    int32_t v;
    memcpy(&v, at, 4);
    return _mm256_set1_epi32(v);
}

/* How many sums of two products, each at most the largest element times 128, fit together into 16 bits. */
AVX2_INLINE int avx2_fit(enum dtype type) {
    switch (type) {
    case DTYPE_Q4_0:
    case DTYPE_Q4_1:
    case DTYPE_Q4_K:
        return 8; /* 15 */
    case DTYPE_Q6_K:
        return 2; /* 63 */
    default:
        return 4; /* 31, or less and four to a group */
    }
}

/* The next elements of sixteen rows: two panels, or, without panels, blocks that lie side by side. Which of
 * the two is known when this is compiled. */
struct avx2_sixteen {
    const struct avx2_panel *panels;
    struct avx2_from from[2];
    const struct avx2_factors *factors[2];
};

/* A group of 32 elements among the next ones; of blocks side by side it is group `sub` of a span. */
struct avx2_group {
    int g, span, sub;
};

/* Elements 4 j … of half h. */
AVX2_INLINE __m256i avx2_elements(enum dtype type, const struct avx2_sixteen *w, int h, struct avx2_group at,
                                  int j) {
    if (w->panels != NULL)
        return avx2_quad(&w->panels[h], at.g * 8 + j);
    return avx2_direct(type, w->from[h], at.span, at.sub, j);
}

/* A few inputs from the next elements on: their bytes, and the scales of groups of 32. Of small types the
 * sums of groups times those; of Q8_0 in panels: minus 128 times the sums. Of K types the sums of their
 * groups. */
struct avx2_inputs {
    const int8_t *x[4];
    _Alignas(32) float scales[4][8];
    float totals[4][8];
    int32_t starts[4][8];
    int16_t sums[4][16];
};

AVX2_INLINE bool avx2_has_minima(enum dtype type) {
    return type == DTYPE_Q2_K || type == DTYPE_Q4_K || type == DTYPE_Q5_K;
}

/* sums: of 16 elements each, of a block. */
AVX2_INLINE void avx2_sums_of_block(enum dtype type, const int16_t *sums, int16_t out[16]) {
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)sums);
    if (!x86_by_16(type)) {
        v = _mm256_madd_epi16(v, _mm256_set1_epi16(1));
        v = _mm256_permute4x64_epi64(_mm256_packs_epi32(v, v), 0xD8);
    }
    _mm256_store_si256((__m256i *)(void *)out, v);
}

/* C inputs from element `first` of k on, for `groups` groups, which meet panels or rows side by side. What is
 * not there of eight groups is not used. */
AVX2_INLINE void avx2_inputs_at(enum dtype type, int C, const char *row, size_t stride, int k, int first,
                                int groups, bool panels, struct avx2_inputs *in) {
    AVX2_UNROLL
    for (int c = 0; c < C; c++) {
        const char *at = row + (size_t)c * stride;
        const int16_t *two = (const int16_t *)(const void *)(at + k + k / 8) + first / 16;
        /* The sums follow the scales, so there are as many bytes. */
        __m256 scales = _mm256_loadu_ps((const float *)(const void *)(at + k) + first / 32);
        in->x[c] = (const int8_t *)at + first;
        _mm256_store_ps(in->scales[c], scales);
        if (type == DTYPE_Q8_0 && !panels)
            continue;
        if (!x86_is_small(type)) {
            avx2_sums_of_block(type, two, in->sums[c]);
            continue;
        }
        if (groups < 8) {
            for (int g = 0; g < groups; g++) {
                in->totals[c][g] = (float)(two[2 * g] + two[2 * g + 1]) * in->scales[c][g];
                in->starts[c][g] = -128 * (two[2 * g] + two[2 * g + 1]);
            }
            continue;
        }
        __m256i sums = _mm256_loadu_si256((const __m256i *)(const void *)two);
        if (type == DTYPE_Q8_0) {
            _mm256_store_si256((__m256i *)(void *)in->starts[c],
                               _mm256_madd_epi16(sums, _mm256_set1_epi16(-128)));
            continue;
        }
        sums = _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
        _mm256_store_ps(in->totals[c], _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scales));
    }
}

/* sums = those of a group of sixteen rows and C inputs, of Q8_0 in panels. Products of eight bits fill
 * sixteen, and each sum of two would have to be made 32 at once; those of four bits fit eight times. */
AVX2_INLINE void avx2_group_fours(int C, const struct avx2_sixteen *w, int g, const struct avx2_inputs *x,
                                  __m256i sums[2][4]) {
    AVX2_UNROLL
    for (int part = 0; part < 2; part++) {
        __m256i parts[2][4];
        /* Inputs are loaded again: the compiler would keep all of them for the other part, in memory. */
        __asm__ volatile("" ::: "memory");
        AVX2_UNROLL
        for (int j = 0; j < 8; j++) {
            const int quad = part * AVX2_PANEL / 4 + g * 8 + j;
            const __m256i q[2] = {avx2_quad(&w->panels[0], quad), avx2_quad(&w->panels[1], quad)};
            AVX2_UNROLL
            for (int c = 0; c < C; c++) {
                __m256i in = avx2_dword(x->x[c] + g * 32 + j * 4);
                AVX2_UNROLL
                for (int h = 0; h < 2; h++) {
                    __m256i v = _mm256_maddubs_epi16(q[h], in);
                    parts[h][c] = j == 0 ? v : _mm256_add_epi16(parts[h][c], v);
                    AVX2_KEEP(parts[h][c]);
                }
            }
        }
        AVX2_UNROLL
        for (int c = 0; c < C; c++) {
            AVX2_UNROLL
            for (int h = 0; h < 2; h++) {
                __m256i v = _mm256_madd_epi16(parts[h][c], _mm256_set1_epi16(part == 0 ? 1 : 16));
                sums[h][c] = _mm256_add_epi32(part == 0 ? _mm256_set1_epi32(x->starts[c][g]) : sums[h][c], v);
            }
        }
    }
}

/* The same of rows side by side: for few inputs taking elements apart costs more than it saves. */
AVX2_INLINE void avx2_group_q8_0(int C, const struct avx2_sixteen *w, struct avx2_group at,
                                 const int8_t *const x[4], __m256i sums[2][4]) {
    AVX2_UNROLL
    for (int h = 0; h < 2; h++) {
        AVX2_UNROLL
        for (int j = 0; j < 8; j++) {
            __m256i q = avx2_elements(DTYPE_Q8_0, w, h, at, j), magnitude = _mm256_abs_epi8(q);
            AVX2_UNROLL
            for (int c = 0; c < C; c++) {
                __m256i in = _mm256_sign_epi8(avx2_dword(x[c] + at.g * 32 + j * 4), q);
                __m256i v = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, in), _mm256_set1_epi16(1));
                sums[h][c] = j == 0 ? v : _mm256_add_epi32(sums[h][c], v);
                AVX2_KEEP(sums[h][c]);
            }
        }
    }
}

/* The same of other small types; of K types those of a group, times its s, are added to sums. */
AVX2_INLINE void avx2_group_unsigned(enum dtype type, int C, const struct avx2_sixteen *w,
                                     struct avx2_group at, const int8_t *const x[4], __m256i sums[2][4]) {
    const bool small = x86_is_small(type);
    __m256i parts[2][4];
    AVX2_UNROLL
    for (int j = 0; j < 8; j++) {
        const __m256i q[2] = {avx2_elements(type, w, 0, at, j), avx2_elements(type, w, 1, at, j)};
        AVX2_UNROLL
        for (int c = 0; c < C; c++) {
            __m256i in = avx2_dword(x[c] + at.g * 32 + j * 4);
            AVX2_UNROLL
            for (int h = 0; h < 2; h++) {
                __m256i v = _mm256_maddubs_epi16(q[h], in);
                parts[h][c] = j % avx2_fit(type) == 0 ? v : _mm256_add_epi16(parts[h][c], v);
                AVX2_KEEP(parts[h][c]);
            }
        }
        if (j % avx2_fit(type) != avx2_fit(type) - 1)
            continue;
        AVX2_UNROLL
        for (int h = 0; h < 2; h++) {
            const int group = x86_by_16(type) ? at.g * 2 + j / 4 : at.g;
            __m256i factor = _mm256_set1_epi16(1);
            if (!small)
                factor = _mm256_load_si256((const __m256i *)(const void *)w->factors[h]->s[group]);
            AVX2_UNROLL
            for (int c = 0; c < C; c++) {
                __m256i v = _mm256_madd_epi16(parts[h][c], factor);
                sums[h][c] = small && j < avx2_fit(type) ? v : _mm256_add_epi32(sums[h][c], v);
            }
        }
    }
}

/* acc plus group g of eight rows of a small type times input c, whose sum is given. */
AVX2_INLINE __m256 avx2_add_group(enum dtype type, const struct avx2_factors *f, int g,
                                  const struct avx2_inputs *in, int c, __m256i sum, __m256 acc) {
    __m256 factor = _mm256_mul_ps(_mm256_load_ps(f->scale[g]), _mm256_broadcast_ss(&in->scales[c][g]));
    acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), factor, acc);
    if (type != DTYPE_Q8_0)
        acc = _mm256_fnmadd_ps(_mm256_load_ps(f->minimum[g]), _mm256_broadcast_ss(&in->totals[c][g]), acc);
    return acc;
}

/* acc plus a block of eight rows of a K type times input c, whose sum is given. */
AVX2_INLINE __m256 avx2_add_block(enum dtype type, const struct avx2_factors *f, const struct avx2_inputs *in,
                                  int c, __m256i sum, __m256 acc) {
    __m256 scale = _mm256_broadcast_ss(&in->scales[c][0]);
    __m256i minima = _mm256_setzero_si256();
    const int n = x86_by_16(type) ? 8 : 4;
    AVX2_UNROLL
    for (int i = 0; i < n; i++) {
        __m256i m = _mm256_load_si256((const __m256i *)(const void *)f->pairs[i]);
        minima = _mm256_add_epi32(minima, _mm256_madd_epi16(m, avx2_dword(&in->sums[c][2 * i])));
    }
    if (avx2_has_minima(type))
        acc = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(minima),
                               _mm256_mul_ps(_mm256_load_ps(f->minimum[0]), scale), acc);
    else
        sum = _mm256_sub_epi32(sum, minima);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(_mm256_load_ps(f->scale[0]), scale), acc);
}

/* Sums of sixteen rows times C inputs; of K types also those of the block so far. */
struct avx2_acc {
    __m256 all[2][4];
    __m256i block[2][4];
};

AVX2_INLINE void avx2_begin_block(enum dtype type, int C, struct avx2_acc *acc) {
    const int n = x86_is_small(type) ? 0 : C;
    AVX2_UNROLL
    for (int c = 0; c < n; c++)
        acc->block[0][c] = acc->block[1][c] = _mm256_setzero_si256();
}

AVX2_INLINE void avx2_end_block(enum dtype type, int C, const struct avx2_sixteen *w,
                                const struct avx2_inputs *in, struct avx2_acc *acc) {
    const int n = x86_is_small(type) ? 0 : C;
    AVX2_UNROLL
    for (int h = 0; h < 2; h++) {
        AVX2_UNROLL
        for (int c = 0; c < n; c++)
            acc->all[h][c] = avx2_add_block(type, w->factors[h], in, c, acc->block[h][c], acc->all[h][c]);
    }
}

/* A group of sixteen rows times C inputs, added to acc. */
AVX2_INLINE void avx2_group_of(enum dtype type, int C, const struct avx2_sixteen *w, struct avx2_group at,
                               const struct avx2_inputs *in, struct avx2_acc *acc) {
    __m256i sums[2][4];
    if (!x86_is_small(type)) {
        avx2_group_unsigned(type, C, w, at, in->x, acc->block);
        return;
    }
    if (type == DTYPE_Q8_0 && w->panels != NULL)
        avx2_group_fours(C, w, at.g, in, sums);
    else if (type == DTYPE_Q8_0)
        avx2_group_q8_0(C, w, at, in->x, sums);
    else
        avx2_group_unsigned(type, C, w, at, in->x, sums);
    AVX2_UNROLL
    for (int h = 0; h < 2; h++) {
        AVX2_UNROLL
        for (int c = 0; c < C; c++)
            acc->all[h][c] = avx2_add_group(type, w->factors[h], at.g, in, c, sums[h][c], acc->all[h][c]);
    }
}

AVX2_INLINE void avx2_load_sums(int C, float (*sums)[16], __m256 acc[2][4]) {
    AVX2_UNROLL
    for (int c = 0; c < C; c++) {
        acc[0][c] = _mm256_load_ps(sums[c]);
        acc[1][c] = _mm256_load_ps(sums[c] + 8);
    }
}

AVX2_INLINE void avx2_store_sums(int C, float (*sums)[16], __m256 acc[2][4]) {
    AVX2_UNROLL
    for (int c = 0; c < C; c++) {
        _mm256_store_ps(sums[c], acc[0][c]);
        _mm256_store_ps(sums[c] + 8, acc[1][c]);
    }
}

/* Of inputs that meet panels together: half of a second-level cache. */
#define AVX2_INPUT_BYTES (256 << 10)

/* `groups` groups of two panels, from element `first` of the rows on, times C inputs from x on, added to
 * sums. ahead: where bytes are asked for with each group, or NULL. */
AVX2_INLINE void avx2_tile(enum dtype type, int C, const struct avx2_panel p[2], int k, int first, int groups,
                           const char *x, size_t stride, float (*sums)[16], const uint8_t *ahead) {
    const struct avx2_sixteen w = {.panels = p, .factors = {&p[0].f, &p[1].f}};
    struct avx2_inputs in;
    struct avx2_acc acc;
    avx2_load_sums(C, sums, acc.all);
    avx2_begin_block(type, C, &acc);
    avx2_inputs_at(type, C, x, stride, k, first, groups, true, &in);
    for (int g = 0; g < groups; g++) {
        avx2_ask(type, ahead, g);
        avx2_group_of(type, C, &w, (struct avx2_group){.g = g}, &in, &acc);
    }
    avx2_end_block(type, C, &w, &in, &acc);
    avx2_store_sums(C, sums, acc.all);
}

/* The same with n inputs. */
AVX2_INLINE void avx2_tiles(enum dtype type, const struct avx2_panel p[2], const struct x86_job *job,
                            int first, int groups, const char *x, int n, struct x86_outputs *o,
                            const uint8_t *ahead) {
    int c = 0;
    for (; c + 4 <= n; c += 4, ahead = NULL)
        avx2_tile(type, 4, p, job->k, first, groups, x + (size_t)c * job->x_stride, job->x_stride,
                  o->sums + c, ahead);
    x += (size_t)c * job->x_stride;
    if (n - c == 3)
        avx2_tile(type, 3, p, job->k, first, groups, x, job->x_stride, o->sums + c, ahead);
    else if (n - c == 2)
        avx2_tile(type, 2, p, job->k, first, groups, x, job->x_stride, o->sums + c, ahead);
    else if (n - c == 1)
        avx2_tile(type, 1, p, job->k, first, groups, x, job->x_stride, o->sums + c, ahead);
}

#endif
