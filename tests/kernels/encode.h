/* Numbers to stored elements, for models that tests and benchmarks make up. Plain choices of scales: nearer
 * to the numbers than nothing, not as near as a quantiser for real weights gets. */
#ifndef TESTS_KERNELS_ENCODE_H
#define TESTS_KERNELS_ENCODE_H

#include "kernels/tensor.h"

#include <stdint.h>

/* row = v[0 … n-1] as `type`; n is a whole number of blocks. */
void encode_row(enum dtype type, const float *v, int64_t n, uint8_t *row);

#endif
