/* A `struct model` over random weights, without files or tokenizer. */
#ifndef TESTS_ENGINE_RANDOM_ENGINE_H
#define TESTS_ENGINE_RANDOM_ENGINE_H

#include "engine/model.h"
#include "tests/kernels/random_model.h"

struct random_engine {
    struct kernels_model weights;
    struct model model;
};

void random_engine_init(struct random_engine *r, const struct random_shape *shape, int n_ctx_train);
void random_engine_finish(struct random_engine *r);

#endif
