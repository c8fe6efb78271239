/* A model with all its matrices in BF16, whatever they were stored as. */
#ifndef TESTS_ENGINE_BF16_MODEL_H
#define TESTS_ENGINE_BF16_MODEL_H

#include "engine/model.h"

struct bf16_model {
    struct model model; /* borrows everything else from the other */
    void **owned;
    int n_owned;
};

/* Rounds to nearest, ties to even. `m` outlives it. */
void bf16_model_init(struct bf16_model *b, const struct model *m);
void bf16_model_finish(struct bf16_model *b);

#endif
