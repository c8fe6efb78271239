/* Logarithms of the probabilities that a model's logits give. Private to engine/. [any-thread] */
#ifndef ENGINE_LOGPROBS_H
#define ENGINE_LOGPROBS_H

#include "kernels/kernels.h"

#include <stdint.h>

/* Of the token (0 … n_vocab-1) and of the n_top most likely ones (at most KERNELS_TOP_LOGPROBS; fewer where
 * fewer logits are numbers), from the n_vocab logits of a row as the model gave them. Sums are made in
 * double. */
void logprobs_of(const float *logits, int n_vocab, int32_t token, int n_top, struct kernels_logprobs *out);

#endif
