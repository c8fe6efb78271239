/* Stored rows side by side, as the products of an instruction set want them: how weights lie that the device
 * has copied anyway (weights.c).
 *
 * Sixteen rows are a strip, the last of a matrix filled up with rows of zeros. A strip has what is in its
 * rows in an order of its own, in parts of n bytes; each part is there sixteen times, that of row r at n r of
 * the sixteen. So nothing gets larger but what is filled up.
 *
 * Of types without blocks a part is an element, and the order is theirs. Of types with blocks n is 2 for
 * numbers in F16, and 4 for everything else. Eight blocks of 32 elements (fewer at the end of a row), or one
 * of 256, are a group: first the numbers in F16 of its blocks, block by block; then the rest of each block,
 * in the order in which products read it, pack_place(). With that memory is read from one end to the other,
 * which processors foresee, and in whole lines of 64 bytes, except of Q3_K and Q6_K, whose blocks are no
 * multiple of them. */
#ifndef KERNELS_CPU_PACK_H
#define KERNELS_CPU_PACK_H

#include "kernels/tensor.h"

#include <stdbool.h>

#define PACK_ROWS  16 /* of a strip */
#define PACK_GROUP 8  /* blocks of 32 elements */

/* Where the numbers in F16 of a stored block (kernels/cpu/blocks.c) begin, and how many bytes they have. */
static inline int pack_halves_at(enum dtype type) {
    return type == DTYPE_Q2_K ? 80 : type == DTYPE_Q3_K ? 108 : type == DTYPE_Q6_K ? 208 : 0;
}

static inline int pack_halves(enum dtype type) {
    bool two = type == DTYPE_Q4_1 || type == DTYPE_Q5_1 || type == DTYPE_Q2_K || type == DTYPE_Q4_K ||
               type == DTYPE_Q5_K;
    return two ? 4 : 2;
}

static inline bool pack_is_half(enum dtype type, int at) {
    return at >= pack_halves_at(type) && at < pack_halves_at(type) + pack_halves(type);
}

/* Where byte `at` of a stored block is in the rest of it: without those numbers, and what is read together
 * beside each other. Of Q6_K the scales, then of each 128 elements the upper bits and the lower ones; of Q3_K
 * the scales, then the upper bits, then the lower ones. */
static inline int pack_place(enum dtype type, int at) {
    switch (type) {
    case DTYPE_Q2_K:
        return at;
    case DTYPE_Q3_K:
        return at < 96 ? at + 12 : at - 96;
    case DTYPE_Q6_K:
        return at < 128   ? 48 + at / 64 * 96 + at % 64
               : at < 192 ? 16 + (at - 128) / 32 * 96 + at % 32
                          : at - 192;
    default:
        return at - pack_halves(type);
    }
}

/* Bytes of a matrix side by side; a multiple of 16. [any-thread] */
size_t pack_bytes(enum dtype type, int64_t rows, int64_t cols);
/* Puts `rows` stored rows of `cols` elements, any alignment, into strips from `to` on. `to` may be aligned in
 * any way too; the products want 64 bytes. [any-thread] */
void pack_rows(enum dtype type, const void *from, int64_t rows, int64_t cols, void *to);

#endif
