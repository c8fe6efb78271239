/* The CUDA module that whole models are tested with. */
#ifndef TESTS_ENGINE_CUDA_MODULE_H
#define TESTS_ENGINE_CUDA_MODULE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* HERMESD_CUDA_MODULE, where there is a GPU; else the emulated one of the build. */
static inline const char *cuda_module_path(void) {
    static char path[4096];
    const char *given = getenv("HERMESD_CUDA_MODULE"), *build = getenv("HERMESD_BINARY_DIR");
    if (given != NULL)
        return given;
    (void)snprintf(path, sizeof path, "%s/lib/hermes-cuda-emulated.so", build != NULL ? build : "build/dev");
    return path;
}

static inline bool cuda_module_is_emulated(void) {
    return getenv("HERMESD_CUDA_MODULE") == NULL;
}

#endif
