/* Keys and values in 8 bits (kernels_config.kv_type DTYPE_Q8_0).
 *
 * A page of one layer and kv head holds 64 vectors of head_dim numbers, each as signed bytes with one F32
 * factor of its own: value = byte * factor, factor = largest magnitude / 127, bytes rounded to nearest (ties
 * to even). So a number is off by at most 1/254 of the largest of its vector. Keys lie as bytes [E][64],
 * values as [64][E]; the 64 factors stand behind. A vector that has a number that is not finite becomes not a
 * number as a whole, as it would in the other types.
 *
 * Arithmetic is in F32 on the bytes; the factor of a key is multiplied into its score, that of a value into
 * its weight. Results of a row do not depend on other rows. */
#ifndef KERNELS_CPU_KV8_H
#define KERNELS_CPU_KV8_H

#include "kernels/cpu/kv_page.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of 64 keys or values of one layer and kv head. */
#define KV8_BLOCK_BYTES(head_dim) ((size_t)(head_dim)*64 + 64 * sizeof(float))

/* Stores the vector x as position t (0 … 63) of a block. */
void kv8_store(void *block, bool values, int head_dim, int t, const float *x);
/* x becomes what is left of it when it is stored and read: for the oracle. */
void kv8_round(float *x, int n);

struct kv8_ops {
    const char *name;
    /* As in struct cpu_ops. */
    void (*scores)(float *scores, size_t stride, const struct kv_page *keys, const float *q, int n_heads,
                   float scale);
    void (*mix)(float *out, const struct kv_page *values, const float *scores, size_t stride, int n_heads);
};

extern const struct kv8_ops kv8_portable;
#if defined(__x86_64__)
extern const struct kv8_ops kv8_avx2;
extern const struct kv8_ops kv8_avx512;
#endif

/* The loops that go with the inner loops called `isa` (struct cpu_ops): those of the same name, or for a
 * later instruction set the best that this CPU can run. [any-thread] */
const struct kv8_ops *kv8_find(const char *isa);

#endif
