/* What a model needs of the memory, and whether it fits. [any-thread] */
#ifndef ENGINE_FIT_H
#define ENGINE_FIT_H

#include "engine/model.h"

struct fit {
    uint64_t memory_bytes;       /* of the machine */
    uint64_t weight_bytes;       /* mapped from the files, but read at every step */
    uint64_t kv_bytes_per_token; /* in the given type */
    uint64_t kv_limit_bytes;     /* what keys and values get by default: a quarter of the memory, or what the
                                    weights     leave */
    uint64_t tokens_that_fit;    /* into that */
    bool fits;                   /* weights and one page of keys and values */
};

/* Bytes of this machine's memory; 1 GiB when it does not say. */
uint64_t fit_memory_bytes(void);
/* For keys and values in `kv_type` (see kernels_config) and `memory_bytes` of memory. */
void fit_of(const struct model *m, enum dtype kv_type, uint64_t memory_bytes, struct fit *f);
/* Bytes of the weights on `n_devices` that share them, all together: embeddings and norms are on each. */
uint64_t fit_weight_bytes(const struct model *m, int n_devices);
/* 0, or -ENOMEM with a sentence that has the numbers: weights by type, keys and values, memory. */
HX_MUST_CHECK int fit_check(const struct model *m, const struct fit *f, char *err, size_t errlen);

/* "12.3 MiB", "4.5 GiB". Returns `out`. */
const char *fit_size(char out[32], uint64_t bytes);

/* Calls `fn` with every tensor of `m` under its GGUF name until it fails; its result. A tied head is not
 * named twice. */
typedef int fit_tensor_fn(void *arg, const char *name, const struct tensor *t);
int fit_each_tensor(const struct model *m, fit_tensor_fn *fn, void *arg);

#endif
