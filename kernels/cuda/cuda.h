/* A GPU as a device, behind the table of kernels/kernels.h. It lives in a module of its own that is loaded
 * when it is wanted, so that the same program starts where there is no driver. [engine-thread] */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include "kernels/kernels.h"

/* The one function of the module, and the version of everything that passes through it: struct
 * kernels_config, kernels_ops and what they point to. */
#define CUDA_MODULE_VERSION 7
#define CUDA_MODULE_OPEN    "hermesd_cuda_open"
int hermesd_cuda_open(int version, const struct kernels_config *config, struct kernels_device **out,
                      char *err, size_t errlen);

/* Also in the module: the GPU's memory. */
#define CUDA_MODULE_MEMORY "hermesd_cuda_memory"
int hermesd_cuda_memory(int version, size_t *left, char *err, size_t errlen);

/* Rows of a step with which a prompt is read about as fast as it can be: products of fewer leave most of a
 * large GPU without work while they wait for weights. */
#define CUDA_STEP_ROWS 1024

/* Bytes of GPU memory that a device takes at most beside weights, keys and values: states, inputs made ready,
 * logits, tables. kernels/cuda/memory.c allocates them. [any-thread] */
size_t cuda_scratch_bytes(const struct kernels_config *config);

/* Loads the module at `path` and opens the first GPU in it: weights are copied to its memory, everything else
 * is allocated now and nothing later. -ENOENT without a module, -ENODEV without driver or GPU, -ENOMEM with
 * the numbers, -ENOTSUP for a shape that the kernels do not have; each with the sentence. The module stays
 * loaded. */
HX_MUST_CHECK int cuda_open(const char *path, const struct kernels_config *config,
                            struct kernels_device **out, char *err, size_t errlen);

/* Bytes that the first GPU has free now. Errors as above. */
HX_MUST_CHECK int cuda_memory_left(const char *path, size_t *left, char *err, size_t errlen);

#endif
