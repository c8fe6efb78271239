/* Sums by which kept pages are known. Each step is a bijection of what came before, so no single change of 8
 * bytes goes unnoticed; nobody who wants to fool them is kept away. Private to engine/. */
#ifndef ENGINE_PREFIX_SUM_H
#define ENGINE_PREFIX_SUM_H

#include "engine/model.h"

#include <stddef.h>
#include <stdint.h>

#define PREFIX_SUM_START 0x9E3779B97F4A7C15u

/* The sum of what came before (PREFIX_SUM_START) and n bytes. */
uint64_t prefix_sum(uint64_t before, const void *data, size_t n);
/* Stands for a model: its shape, names and vocabulary, samples of every tensor, and its file's size and time.
 */
uint64_t prefix_sum_model(const struct model *m);

#endif
