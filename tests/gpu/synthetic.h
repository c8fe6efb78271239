/* Models with the true shapes of real ones and numbers that are drawn on the GPU, for measuring: the host has
 * none of their weights. */
#ifndef TESTS_GPU_SYNTHETIC_H
#define TESTS_GPU_SYNTHETIC_H

#include "kernels/cuda/device.h"

struct synthetic_shape {
    const char *name;
    int n_layers, n_heads, n_kv_heads, head_dim, dim, ffn_dim, n_vocab;
};

/* Llama 3.1: configs of meta-llama/Llama-3.1-8B and -70B. */
extern const struct synthetic_shape synthetic_8b, synthetic_70b;
/* For a machine without a GPU. */
extern const struct synthetic_shape synthetic_tiny;

/* What the matrices are stored in. */
struct synthetic_format {
    const char *name;
    enum dtype type, more; /* of the layers; of v and down in about half of them */
    enum dtype table, head;
};
enum synthetic_formats {
    SYNTHETIC_BF16,
    SYNTHETIC_FP8, /* products of the layers, as compressed-tensors has it */
    SYNTHETIC_Q8_0,
    SYNTHETIC_Q6_K,
    SYNTHETIC_Q4_K_M, /* llama.cpp's mix */
    SYNTHETIC_F16,
    SYNTHETIC_Q5_K,
    SYNTHETIC_Q4_0,
    SYNTHETIC_FORMATS
};
extern const struct synthetic_format synthetic_formats[SYNTHETIC_FORMATS];

struct synthetic {
    struct kernels_model model;
    float *numbers; /* norms and angles */
    struct kernels_layer *layers;
};

/* `n_layers`: of the shape's, so many. Owned by the caller until synthetic_finish(). 0 or -ENOMEM. */
int synthetic_init(struct synthetic *s, const struct synthetic_shape *shape,
                   const struct synthetic_format *format, int n_layers);
void synthetic_finish(struct synthetic *s);
/* Draws all matrices of the opened device. 0 or a negative errno. */
int synthetic_draw(const struct cuda_device *d);

/* Numbers that a decoded token multiplies with (all but the embedding table), and the bytes they are stored
 * in; those of the whole model. */
double synthetic_weights(const struct synthetic_shape *shape);
double synthetic_bytes(const struct kernels_model *m);
double synthetic_all_bytes(const struct kernels_model *m);

#endif
