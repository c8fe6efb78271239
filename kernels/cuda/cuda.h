/* A GPU as a device, behind the table of kernels/kernels.h. It lives in a module of its own that is loaded
 * when it is wanted, so that the same program starts where there is no driver. [engine-thread] */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include "kernels/kernels.h"

/* The one function of the module, and the version of everything that passes through it: struct
 * kernels_config, kernels_ops and what they point to. */
#define CUDA_MODULE_VERSION 9
#define CUDA_MODULE_OPEN    "hermesd_cuda_open"
int hermesd_cuda_open(int version, const struct kernels_config *config, struct kernels_device **out,
                      char *err, size_t errlen);

/* Also in the module: the GPUs' memory. */
#define CUDA_MODULE_MEMORY "hermesd_cuda_memory"
int hermesd_cuda_memory(int version, const struct gpus *gpus, size_t *left, char *err, size_t errlen);

/* Rows of a step with which a prompt is read about as fast as it can be: products of fewer leave most of a
 * large GPU without work while they wait for weights. */
#define CUDA_STEP_ROWS 1024

/* How long a GPU may take for what it has in its queues while it is waited for, when nobody says otherwise;
 * after that it is taken to hang. The longest step there is, 1,024 rows of a 70B model behind 128K positions,
 * is about 5e14 operations (2 * 7e10 * 1024 in products, 4 * 1024 * 131072 * 8192 in each of 80 layers'
 * attention): 13 s at 40 TFLOP/s. Loading of code happens before there is anything to wait for. */
#define CUDA_WAIT_MS 60000

/* Bytes that cuBLAS and cuBLASLt work in, 32 MiB each on sm_90 (cuBLAS Library documentation,
 * "cublasSetWorkspace()"). */
#define CUDA_LIBRARY_BYTES ((size_t)64 << 20)

/* Bytes of GPU memory that a device takes at most beside weights, keys and values, on all its GPUs together:
 * states, inputs made ready, logits, tables, pages on their way, and what libraries take for themselves.
 * [any-thread] */
size_t cuda_scratch_bytes(const struct kernels_config *config);

/* Loads the module at `path` and opens the GPUs of the config in it: weights are copied to their memory,
 * everything else is allocated now and nothing later. -ENOENT without a module, -ENODEV without driver, GPU
 * or what several of them need, -ENOMEM with the numbers, -ENOTSUP for a shape that the kernels do not have
 * or the GPUs cannot share; each with the sentence. The module stays loaded. */
HX_MUST_CHECK int cuda_open(const char *path, const struct kernels_config *config,
                            struct kernels_device **out, char *err, size_t errlen);

/* Bytes that these GPUs have free now for what they share: as often as they are the least that one has.
 * Errors as above. */
HX_MUST_CHECK int cuda_memory_left(const char *path, const struct gpus *gpus, size_t *left, char *err,
                                   size_t errlen);

#endif
