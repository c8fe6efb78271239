/* Stored rows side by side, as the products of an instruction set want them: how weights lie that the device
 * has copied anyway (weights.c).
 *
 * Sixteen rows are a strip, the last of a matrix filled up with rows of zeros. A strip has the blocks of its
 * rows one after another, of types without blocks the elements. A block of sixteen rows has the parts of the
 * stored block in their order, each sixteen times: bytes o … o + n - 1 of row r of a block
 * (kernels/cpu/blocks.c) lie at 16 o + n r of the sixteen, n being 2 for numbers in F16, the size of an
 * element for types without blocks, and 4 for everything else. So nothing gets larger but what is filled up.
 */
#ifndef KERNELS_CPU_PACK_H
#define KERNELS_CPU_PACK_H

#include "kernels/tensor.h"

#define PACK_ROWS 16 /* of a strip */

/* Bytes of a matrix side by side; a multiple of 16. [any-thread] */
size_t pack_bytes(enum dtype type, int64_t rows, int64_t cols);
/* Puts `rows` stored rows of `cols` elements, any alignment, into strips from `to` on. `to` may be aligned in
 * any way too; the products want 64 bytes. [any-thread] */
void pack_rows(enum dtype type, const void *from, int64_t rows, int64_t cols, void *to);

#endif
