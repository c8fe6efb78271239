/* cuBLAS and cuBLASLt are loaded at run time: the module needs a driver and nothing else to start. They stay
 * loaded: the driver may have threads in them. */
#include "kernels/cuda/blas_api.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

/* ISO C does not convert pointers to objects into ones to functions. */
struct wanted {
    const char *name;
    void *function; /* where the pointer goes */
};
#define WANTED(name, where)                                                                                  \
    { name, &(where) }

static bool find_all(void *library, const struct wanted *all, size_t n) {
    bool found = library != NULL;
    for (size_t i = 0; i < n && found; i++) {
        void *symbol = dlsym(library, all[i].name);
        memcpy(all[i].function, &symbol, sizeof symbol);
        found = symbol != NULL;
    }
    return found;
}

static void *load(const char *const names[], size_t n) {
    void *library = NULL;
    for (size_t i = 0; i < n && library == NULL; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

const struct blas_functions *blas_find(void) {
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    static struct blas_functions f;
    const struct wanted all[] = {
        WANTED("cublasCreate_v2", f.create),
        WANTED("cublasDestroy_v2", f.destroy),
        WANTED("cublasSetStream_v2", f.set_stream),
        WANTED("cublasGemmEx", f.gemm),
    };
    void *library = f.gemm == NULL ? load(names, sizeof names / sizeof names[0]) : NULL;
    return f.gemm != NULL || find_all(library, all, sizeof all / sizeof all[0]) ? &f : NULL;
}

const struct lt_functions *blas_find_lt(void) {
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
    static struct lt_functions f;
    const struct wanted all[] = {
        WANTED("cublasLtCreate", f.create),
        WANTED("cublasLtDestroy", f.destroy),
        WANTED("cublasLtMatmulDescCreate", f.desc_create),
        WANTED("cublasLtMatmulDescDestroy", f.desc_destroy),
        WANTED("cublasLtMatmulDescSetAttribute", f.desc_set),
        WANTED("cublasLtMatrixLayoutCreate", f.layout_create),
        WANTED("cublasLtMatrixLayoutDestroy", f.layout_destroy),
        WANTED("cublasLtMatrixLayoutSetAttribute", f.layout_set),
        WANTED("cublasLtMatmulPreferenceCreate", f.preference_create),
        WANTED("cublasLtMatmulPreferenceDestroy", f.preference_destroy),
        WANTED("cublasLtMatmulPreferenceSetAttribute", f.preference_set),
        WANTED("cublasLtMatmulAlgoGetHeuristic", f.heuristic),
        WANTED("cublasLtMatmul", f.matmul), /* the last one: all are there */
    };
    void *library = f.matmul == NULL ? load(names, sizeof names / sizeof names[0]) : NULL;
    return f.matmul != NULL || find_all(library, all, sizeof all / sizeof all[0]) ? &f : NULL;
}
