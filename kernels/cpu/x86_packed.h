/* How the x86 products of quantised types cut rows that lie side by side (pack.h) and their inputs: what is
 * the same for all instruction sets. Private to kernels/cpu/; included by the headers of their tiles. */
#ifndef KERNELS_CPU_X86_PACKED_H
#define KERNELS_CPU_X86_PACKED_H

#include "kernels/cpu/pack.h"
#include "kernels/cpu/x86_blocks.h"

#include <string.h>

/* Inputs that meet panels together, at most. */
#define X86_MOST_INPUTS 96

/* Sums so far of a strip. Outputs themselves lie far apart, and often in few sets of a cache. */
struct x86_outputs {
    _Alignas(64) float sums[X86_MOST_INPUTS][PACK_ROWS];
};

/* So many that they have `bytes`, and stay in the second-level cache while all rows pass. */
X86_INLINE int x86_most_inputs(const struct x86_job *job, int bytes) {
    int most = (int)((size_t)bytes / job->x_stride) / 4 * 4;
    return most > X86_MOST_INPUTS ? X86_MOST_INPUTS : most > 4 ? most : 4;
}

/* Inputs that meet the rows where they lie, at most. */
#define X86_FEW 4

/* As cpu_packed_product_fn has them. */
struct x86_part {
    const struct x86_job *job;
    int first, rows;
};

X86_INLINE const uint8_t *x86_strip(const struct x86_part *p, int strip) {
    return p->job->w + (size_t)strip * PACK_ROWS * p->job->row_bytes;
}

/* Outputs of n inputs from `input` on: of those rows of the part that are in the strip. */
X86_INLINE void x86_put(const struct x86_part *p, int strip, int input, int n, float (*sums)[PACK_ROWS]) {
    int row = strip * PACK_ROWS, from = row < p->first ? p->first - row : 0, end = p->first + p->rows - row;
    int to = end < PACK_ROWS ? end : PACK_ROWS;
    for (int c = 0; c < n; c++)
        memcpy(p->job->out + (size_t)(input + c) * p->job->out_stride + (row + from - p->first),
               sums[c] + from, (size_t)(to - from) * sizeof(float));
}

/* A strip with all inputs, which are few. */
typedef void x86_few_fn(const struct x86_job *job, const uint8_t *strip, float (*sums)[PACK_ROWS]);
/* Two strips, which lie `apart` bytes from each other; sums: those of the first, then of the second. */
typedef void x86_two_fn(const struct x86_job *job, const uint8_t *strip, size_t apart,
                        float (*sums)[PACK_ROWS]);

/* two: NULL, or two strips are taken at once, one of the first half of the part and one of the second. */
X86_INLINE void x86_few(const struct x86_part *p, x86_two_fn *two, x86_few_fn *one) {
    const int begin = p->first / PACK_ROWS, end = (p->first + p->rows + PACK_ROWS - 1) / PACK_ROWS;
    const int half = two != NULL ? (end - begin) / 2 : 0, n = p->job->n_cols;
    _Alignas(64) float sums[2 * X86_FEW][PACK_ROWS];
    for (int i = begin; i < begin + half; i++) {
        two(p->job, x86_strip(p, i), (size_t)(x86_strip(p, half) - x86_strip(p, 0)), sums);
        x86_put(p, i, 0, n, sums);
        x86_put(p, i + half, 0, n, sums + n);
    }
    for (int i = begin + 2 * half; i < end; i++) {
        one(p->job, x86_strip(p, i), sums);
        x86_put(p, i, 0, n, sums);
    }
}

/* A strip with n inputs from x on. */
typedef void x86_many_fn(const struct x86_job *job, const uint8_t *strip, const char *x, int n,
                         struct x86_outputs *o);

X86_INLINE void x86_many(const struct x86_part *p, int most, x86_many_fn *fn) {
    const struct x86_job *job = p->job;
    const int end = (p->first + p->rows + PACK_ROWS - 1) / PACK_ROWS;
    struct x86_outputs o;
    for (int input = 0; input < job->n_cols; input += most)
        for (int i = p->first / PACK_ROWS; i < end; i++) {
            int n = job->n_cols - input < most ? job->n_cols - input : most;
            fn(job, x86_strip(p, i), job->x + (size_t)input * job->x_stride, n, &o);
            x86_put(p, i, input, n, o.sums);
        }
}

#endif
