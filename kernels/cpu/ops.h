/* The inner loops of the CPU device, one table per instruction set. Inputs marked "any alignment" come from
 * files.
 *
 * Every product is one dot product in one fixed order of additions, whatever the number of rows and inputs
 * given together, so results do not depend on how the work was cut. With inputs in F32 the order is the same
 * in the tables for AVX2 and AVX-512: so are the bits. */
#ifndef KERNELS_CPU_OPS_H
#define KERNELS_CPU_OPS_H

#include "kernels/cpu/kv_page.h"
#include "kernels/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Inputs rounded to 8 bits: per input row k signed bytes, then k/32 F32 scales, then k/16 I16 sums of 16 of
 * the bytes each, padded to 32 bytes; k is a multiple of 32. Elements that share a scale were rounded
 * together: 32 of them, or 256, whose eight scales are the same number. */
#define CPU_Q8_ROW_BYTES(k) (((size_t)(k) + (size_t)(k) / 32 * 8 + 31) / 32 * 32)

/* out[c * out_stride + r] = dot(w row r, x row c) for r < n_rows, c < n_cols.
 * w: n_rows stored rows of k elements, any alignment; x: n_cols rows of k elements, x_stride bytes apart,
 * 32-byte aligned. Row scales of a tensor are the caller's. */
typedef void (*cpu_product_fn)(enum dtype type, const void *w, int n_rows, const void *x, size_t x_stride,
                               int n_cols, int k, float *out, size_t out_stride);

/* The same of a matrix that lies side by side (kernels/cpu/pack.h), from its row `first` on, of the same
 * bits. w: 64-byte aligned. Inputs of quantised types as CPU_Q8_ROW, of others in F32. */
typedef void (*cpu_packed_product_fn)(enum dtype type, const void *w, int first, int n_rows, const void *x,
                                      size_t x_stride, int n_cols, int k, float *out, size_t out_stride);

struct cpu_ops {
    const char *name;
    cpu_product_fn product;    /* all types; inputs in F32 */
    cpu_product_fn product_q8; /* quantised types; inputs as CPU_Q8_ROW, rounded by k_group at least
                                  where the type has blocks of 256 */
    cpu_packed_product_fn product_packed; /* all types; NULL: rows side by side are no faster */

    /* Elements of an input that share a scale where a type has blocks of 256: 32, or 256, as ggml has it
     * (ggml-quants.c, Q8_K): then the groups of a block can be added as whole numbers. */
    int k_group;
    /* Rounds n (a multiple of `group`, which is 32 or 256) values to a CPU_Q8_ROW. */
    void (*quantise)(void *out, const float *x, int n, int group);
    /* out = x / sqrt(mean(x^2) + eps) * w */
    void (*rms_norm)(float *out, const float *x, const float *w, int n, float eps);
    /* gate = silu(gate) * up */
    void (*silu_mul)(float *gate, const float *up, int n);
    /* x += y */
    void (*add)(float *x, const float *y, int n);

    /* n_heads query heads share the keys. scores[h * stride + t] = scale * dot(q head h, key t), t < keys->n;
     * up to the next multiple of 16 is overwritten. */
    void (*scores)(float *scores, size_t stride, const struct kv_page *keys, const float *q, int n_heads,
                   float scale);
    /* scores = softmax(scores), n values. */
    void (*softmax)(float *scores, int n);
    /* out head h += sum over t < values->n of scores[h * stride + t] * value t. */
    void (*mix)(float *out, const struct kv_page *values, const float *scores, size_t stride, int n_heads);
};

extern const struct cpu_ops cpu_ops_portable;
#if defined(__x86_64__)
extern const struct cpu_ops cpu_ops_avx2;
extern const struct cpu_ops cpu_ops_avx512;
#endif

/* Elements of an input that are rounded together where it meets the type, which is quantised: 32, or k_group.
 * [any-thread] */
int cpu_ops_group(const struct cpu_ops *ops, enum dtype type);

/* The best table this CPU can run, or the one called `name`; NULL when there is none. [any-thread] */
const struct cpu_ops *cpu_ops_find(const char *name);

#endif
