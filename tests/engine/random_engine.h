/* A `struct model` over random weights, without files or tokenizer. */
#ifndef TESTS_ENGINE_RANDOM_ENGINE_H
#define TESTS_ENGINE_RANDOM_ENGINE_H

#include "engine/model.h"
#include "tests/kernels/random_model.h"

struct random_engine {
    struct kernels_model weights;
    struct model model;
    struct tensor *quiet; /* 2 x n_layers of random_engine_calm(), or NULL */
};

void random_engine_init(struct random_engine *r, const struct random_shape *shape, int n_ctx_train);
/* Lets the layers add little to the last token, so that the model repeats itself now and then, as real ones
 * do; random ones hardly would. */
void random_engine_calm(struct random_engine *r, const struct random_shape *shape);
void random_engine_finish(struct random_engine *r);

#endif
