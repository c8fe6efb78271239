/* Models with the true shapes of real ones and numbers that are drawn, for measuring. A matrix of gigabytes
 * is one drawn block that the address space has over and over: the host needs a few megabytes, the GPU gets a
 * copy for every matrix. */
#ifndef TESTS_GPU_SYNTHETIC_H
#define TESTS_GPU_SYNTHETIC_H

#include "kernels/kernels.h"

struct synthetic_shape {
    const char *name;
    int n_layers, n_heads, n_kv_heads, head_dim, dim, ffn_dim, n_vocab;
};

/* Llama 3.1: configs of meta-llama/Llama-3.1-8B and -70B. */
extern const struct synthetic_shape synthetic_8b, synthetic_70b;
/* For a machine without a GPU. */
extern const struct synthetic_shape synthetic_tiny;

struct synthetic {
    struct kernels_model model;
    void *map; /* of all matrices */
    size_t map_bytes;
    float *numbers; /* norms, angles and factors */
    struct kernels_layer *layers;
};

/* `n_layers`: of the shape's, so many. Owned by the caller until synthetic_finish(). 0 or a negative errno.
 */
int synthetic_init(struct synthetic *s, const struct synthetic_shape *shape, enum dtype type, int n_layers);
void synthetic_finish(struct synthetic *s);

/* Numbers that a decoded token multiplies with (all but the embedding table), and the bytes they are stored
 * in. */
double synthetic_weights(const struct synthetic_shape *shape);
double synthetic_bytes(const struct synthetic_shape *shape, enum dtype type);

#endif
