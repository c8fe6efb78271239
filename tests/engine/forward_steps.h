/* A whole model on a GPU beside the CPU, step by step, by the forward pass alone: no engine, no tokenizer. */
#ifndef TESTS_ENGINE_FORWARD_STEPS_H
#define TESTS_ENGINE_FORWARD_STEPS_H

#include "engine/model.h"

#include <stdbool.h>

#define FORWARD_STEPS         64
#define FORWARD_STEPS_PROMPT  24
#define FORWARD_STEPS_CONTEXT (FORWARD_STEPS_PROMPT + FORWARD_STEPS)

/* A prompt of FORWARD_STEPS_PROMPT tokens, then `steps` (FORWARD_STEPS at most) greedy ones on the CPU and on
 * the GPU of `module`; after every one no logit differs by more than `bound`, and the choice is the same, or
 * with rounded inputs as good as the same. Fails the running test. */
void forward_steps_check(const struct model *m, const char *name, const char *module, bool exact, int steps,
                         double bound);
/* The id of the largest of n logits, the first of equal ones. */
int32_t forward_steps_largest(const float *logits, int n);

#endif
