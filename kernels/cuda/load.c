/* Loading the module that drives a GPU. */
#include "kernels/cuda/cuda.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

int cuda_open(const char *path, const struct kernels_config *config, struct kernels_device **out, char *err,
              size_t errlen) {
    if (access(path, R_OK) != 0)
        return err_set(err, errlen, -ENOENT, "There is no GPU module at %s: %s.", path, strerror(errno));
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL)
        return err_set(err, errlen, -ENODEV, "The GPU module cannot be loaded: %s.", dlerror());
    int (*open)(int, const struct kernels_config *, struct kernels_device **, char *, size_t) = NULL;
    void *symbol = dlsym(module, CUDA_MODULE_OPEN);
    memcpy(&open, &symbol, sizeof open); /* ISO C has no conversion of an object pointer to a function */
    if (open == NULL)
        return err_set(err, errlen, -ENODEV, "%s is no GPU module of ours.", path);
    /* It is not unloaded on failure: a driver that has started may have threads in it. */
    return open(CUDA_MODULE_VERSION, config, out, err, errlen);
}
