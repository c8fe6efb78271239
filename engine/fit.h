/* What a model needs of the memory, and whether it fits. [any-thread] */
#ifndef ENGINE_FIT_H
#define ENGINE_FIT_H

#include "engine/model.h"

struct fit {
    uint64_t memory_bytes;       /* there is */
    const char *where;           /* that is: "this machine" unless the caller changes it; borrowed */
    uint64_t weight_bytes;       /* mapped from the files, but read at every step */
    uint64_t scratch_bytes;      /* that the device needs at most beside them, keys and values */
    uint64_t left_bytes;         /* beside both */
    uint64_t kv_bytes_per_token; /* in the given type */
    uint64_t kv_limit_bytes;     /* what keys and values get by default: a quarter of the memory, or what is
                                    left of it */
    uint64_t tokens_that_fit;    /* into that */
    bool fits;                   /* weights, scratch and one page of keys and values */
};

/* Bytes of memory that this process may use: the machine's (1 GiB when it does not say), or what its control
 * group has at most (engine/memory_group.h). */
uint64_t fit_memory_bytes(void);
/* Whether it is the control group that has less; what fit.where is to say: "this machine" or "the memory of
 * its control group". */
bool fit_memory_is_grouped(void);
const char *fit_memory_where(void);
/* Bytes that this process can still take without others being pushed out: what the kernel thinks is
 * available, and what the control group has left; 0 when the kernel does not say. */
uint64_t fit_available_bytes(void);
/* Whether the CPU has the weights in large pages of its own (kernels/cpu/weights.c): not when they are below
 * FIT_LEAST_COPIED bytes, which stay in caches anyway; and what is copied cannot be given back to the file
 * when memory is short, so an eighth of what is available is left beside all that is to come. */
#define FIT_LEAST_COPIED ((uint64_t)64 << 20)
bool fit_copies_weights(const struct model *m, uint64_t kv_bytes, uint64_t scratch_bytes);
/* What the CPU needs beside weights, keys and values at most, as the daemon runs it by default. */
uint64_t fit_scratch_bytes(const struct model *m, enum dtype kv_type);
/* Bytes of the weights on `n_devices` that share them, all together: embeddings and norms are on each. */
uint64_t fit_weight_bytes(const struct model *m, int n_devices);
/* For keys and values in `kv_type` (see kernels_config), `memory_bytes` of memory, and a device that needs
 * `scratch_bytes` of it for itself. */
void fit_of(const struct model *m, enum dtype kv_type, uint64_t memory_bytes, uint64_t scratch_bytes,
            struct fit *f);
/* The same for `n_devices` that share the model, memory and scratch of all of them together. */
void fit_of_several(const struct model *m, enum dtype kv_type, int n_devices, uint64_t memory_bytes,
                    uint64_t scratch_bytes, struct fit *f);
/* 0, or -E2BIG with a sentence that has the numbers: weights by type, scratch, keys and values,
 * memory, tokens that would fit beside them. */
HX_MUST_CHECK int fit_check(const struct model *m, const struct fit *f, char *err, size_t errlen);

/* "12.3 MiB", "4.5 GiB". Returns `out`. */
const char *fit_size(char out[32], uint64_t bytes);

/* Calls `fn` with every tensor of `m` under its GGUF name until it fails; its result. A tied head is not
 * named twice. */
typedef int fit_tensor_fn(void *arg, const char *name, const struct tensor *t);
int fit_each_tensor(const struct model *m, fit_tensor_fn *fn, void *arg);

#endif
