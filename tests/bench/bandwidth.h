/* How fast memory can be read on this machine, now: what decoding is measured against. */
#ifndef TESTS_BENCH_BANDWIDTH_H
#define TESTS_BENCH_BANDWIDTH_H

#include <stddef.h>

/* Bytes per second that `n_threads` threads sum up together, each from four streams at once, over `bytes` of
 * memory in large pages where there are any: the best of `rounds`. 0 when memory is out. */
double bandwidth_read(int n_threads, size_t bytes, int rounds);

#endif
