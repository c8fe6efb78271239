/* Loading the module that drives a GPU. */
#include "kernels/cuda/cuda.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A function of the module at `path`, or NULL with the error in *rc. It is not unloaded on failure: a driver
 * that has started may have threads in it. */
static void *find(const char *path, const char *name, int *rc, char *err, size_t errlen) {
    if (access(path, R_OK) != 0) {
        *rc = err_set(err, errlen, -ENOENT, "There is no GPU module at %s: %s.", path, strerror(errno));
        return NULL;
    }
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) {
        *rc = err_set(err, errlen, -ENODEV, "The GPU module cannot be loaded: %s.", dlerror());
        return NULL;
    }
    void *symbol = dlsym(module, name);
    if (symbol == NULL)
        *rc = err_set(err, errlen, -ENODEV, "%s is no GPU module of this version.", path);
    return symbol;
}

int cuda_open(const char *path, const struct kernels_config *config, struct kernels_device **out, char *err,
              size_t errlen) {
    int rc = 0;
    int (*open)(int, const struct kernels_config *, struct kernels_device **, char *, size_t) = NULL;
    void *symbol = find(path, CUDA_MODULE_OPEN, &rc, err, errlen);
    memcpy(&open, &symbol,
           sizeof open); /* ISO C does not convert pointers to objects into ones to functions */
    return symbol == NULL ? rc : open(CUDA_MODULE_VERSION, config, out, err, errlen);
}

int cuda_memory_left(const char *path, const struct gpus *gpus, size_t *left, char *err, size_t errlen) {
    int rc = 0;
    int (*memory)(int, const struct gpus *, size_t *, char *, size_t) = NULL;
    void *symbol = find(path, CUDA_MODULE_MEMORY, &rc, err, errlen);
    memcpy(&memory, &symbol, sizeof memory);
    return symbol == NULL ? rc : memory(CUDA_MODULE_VERSION, gpus, left, err, errlen);
}
