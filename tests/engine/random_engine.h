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
/* RoPE of Llama 3.1 8B's config.json: rope_theta 500000 and, where it is scaled, rope_scaling "llama3" with
 * factor 8, low_freq_factor 1, high_freq_factor 4, original_max_position_embeddings 8192. */
void random_engine_set_rope(struct random_engine *r, bool scaled);
/* Lends it the tokenizer and the ends of `like`, which has as many tokens and outlives it. */
void random_engine_speak(struct random_engine *r, const struct model *like);
void random_engine_finish(struct random_engine *r);

#endif
