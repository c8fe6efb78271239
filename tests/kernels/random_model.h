/* A Llama with random weights in any element type, for tests of kernels and engine. Owned memory; the same
 * seed and shape give the same values (rounded to the type) whatever the type. */
#ifndef TESTS_KERNELS_RANDOM_MODEL_H
#define TESTS_KERNELS_RANDOM_MODEL_H

#include "kernels/kernels.h"

struct random_shape {
    int n_layers, n_heads, n_kv_heads, head_dim, dim, ffn_dim, n_vocab;
    enum dtype type; /* of all matrices */
    enum rope_layout rope_layout;
    uint64_t seed;
};

/* Uniform in [-1, 1); advances *state. */
float random_float(uint64_t *state);
/* rows x cols values of about N(0, scale^2), stored as `type`; free(t.data). Inputs of E4M3 may be rounded.
 */
struct tensor random_tensor(enum dtype type, int64_t rows, int64_t cols, float scale, uint64_t *state);

/* Fills *m; random_model_finish() frees it. Aborts when memory is out. */
void random_model_init(struct kernels_model *m, const struct random_shape *shape);
void random_model_finish(struct kernels_model *m);

#endif
