/* The module of the emulated GPU is its library and nothing else; its one function is taken in by the linker.
 */
#include "kernels/cuda/cuda.h"

extern int (*const module_memory)(int, const struct gpus *, size_t *, char *, size_t);
int (*const module_memory)(int, const struct gpus *, size_t *, char *, size_t) = hermesd_cuda_memory;
extern int (*const module_open)(int, const struct kernels_config *, struct kernels_device **, char *, size_t);
int (*const module_open)(int, const struct kernels_config *, struct kernels_device **, char *,
                         size_t) = hermesd_cuda_open;
