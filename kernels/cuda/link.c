/* kernels/cuda/link.h over NCCL, which is loaded at run time and for several GPUs alone. Functions and
 * numbers: NCCL documentation, "Communicator Creation and Management Functions", "Collective Communication
 * Functions", "Group Calls", "Types" and "Asynchronous errors and error handling". */
#include "kernels/cuda/link.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, IN_PROGRESS = 7 }; /* ncclResult_t */
enum { FLOAT32 = 7 };                  /* ncclDataType_t */
enum { SUM = 0, LARGEST = 2 };         /* ncclRedOp_t */

struct gpu_link {
    int n;
    void *comms[GPUS_MAX]; /* ncclComm_t */
    int (*init_all)(void **comms, int n, const int *gpus);
    int (*destroy)(void *comm);
    int (*group_start)(void);
    int (*group_end)(void);
    int (*all_reduce)(const void *from, void *to, size_t n, int type, int op, void *comm, void *stream);
    int (*async_error)(void *comm, int *result);
    const char *(*error_string)(int result);
};

/* ISO C does not convert pointers to objects into ones to functions. */
static bool find(void *library, const char *name, void *function, size_t size) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, size);
    return symbol != NULL;
}

/* The library stays loaded: it may have threads. */
static int load(struct gpu_link *l, char *err, size_t errlen) {
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return err_set(
            err, errlen, -ENODEV,
            "Several GPUs need NCCL, which cannot be loaded (%s); install libnccl2, or use one GPU.",
            dlerror());
    bool all = find(library, "ncclCommInitAll", &l->init_all, sizeof l->init_all) &&
               find(library, "ncclCommDestroy", &l->destroy, sizeof l->destroy) &&
               find(library, "ncclGroupStart", &l->group_start, sizeof l->group_start) &&
               find(library, "ncclGroupEnd", &l->group_end, sizeof l->group_end) &&
               find(library, "ncclAllReduce", &l->all_reduce, sizeof l->all_reduce) &&
               find(library, "ncclCommGetAsyncError", &l->async_error, sizeof l->async_error) &&
               find(library, "ncclGetErrorString", &l->error_string, sizeof l->error_string);
    return all ? 0
               : err_set(
                     err, errlen, -ENODEV,
                     "The NCCL that is installed lacks functions of version 2; install another libnccl2.");
}

int gpu_link_open(const struct gpus *gpus, struct gpu_link **out, char *err, size_t errlen) {
    struct gpu_link *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory to connect the GPUs.");
    int rc = load(l, err, errlen);
    if (rc == 0) {
        int result = l->init_all(l->comms, gpus->n, gpus->ids);
        if (result != SUCCESS)
            rc = err_set(err, errlen, -ENODEV, "NCCL cannot connect the %d GPUs: %s.", gpus->n,
                         l->error_string(result));
    }
    if (rc < 0) {
        free(l);
        return rc;
    }
    l->n = gpus->n;
    *out = l;
    return 0;
}

/* After a failure sums may wait for ever for what a GPU would have added, and destroy() for them. */
void gpu_link_close(struct gpu_link *l) {
    if (l == NULL)
        return;
    for (int i = 0; i < l->n && gpu_failure()[0] == '\0'; i++)
        (void)l->destroy(l->comms[i]);
    free(l);
}

static int keep(const struct gpu_link *l, int result) {
    return result == SUCCESS ? 0 : gpu_fail(l->error_string(result), result);
}

int gpu_link_begin(struct gpu_link *l) {
    return keep(l, l->group_start());
}

int gpu_link_sum(struct gpu_link *l, int rank, struct gpu_stream *s, float *values, size_t n) {
    return keep(l, l->all_reduce(values, values, n, FLOAT32, SUM, l->comms[rank], s));
}

int gpu_link_largest(struct gpu_link *l, int rank, struct gpu_stream *s, float *values, size_t n) {
    return keep(l, l->all_reduce(values, values, n, FLOAT32, LARGEST, l->comms[rank], s));
}

int gpu_link_end(struct gpu_link *l) {
    return keep(l, l->group_end());
}

int gpu_link_check(struct gpu_link *l) {
    int rc = 0;
    for (int i = 0; i < l->n && rc == 0; i++) {
        int later = SUCCESS, result = l->async_error(l->comms[i], &later);
        result = result != SUCCESS ? result : later;
        rc = result == IN_PROGRESS ? 0 : keep(l, result);
    }
    return rc;
}
