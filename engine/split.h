/* How a model would lie on several devices (tensor parallelism): the matrices that make heads and the
 * feed-forward's numbers are cut by rows, those that take them by columns, so that the devices add up their
 * parts twice in a layer (Shoeybi and others, "Megatron-LM", 2019). [any-thread] */
#ifndef ENGINE_SPLIT_H
#define ENGINE_SPLIT_H

#include "base/buf.h"
#include "engine/model.h"

/* What a device needs beside weights, keys and values: the runtime, the batch, kernels. */
#define SPLIT_RESERVE_BYTES ((uint64_t)2 << 30)
#define SPLIT_MAX_DEVICES   64

struct split {
    int n_devices;
    uint64_t device_bytes;               /* memory of each */
    int heads, kv_heads, ffn_dim, vocab; /* of each; the last device has the rest of the vocabulary */
    uint64_t cut_bytes;                  /* of matrices, on each device */
    uint64_t whole_bytes;                /* of those that every device has */
    uint64_t kv_bytes_per_token;         /* on each device */
    uint64_t sum_bytes_per_token;        /* that a device adds to those of the others, two sums a layer */
    uint64_t tokens;                     /* whose keys and values fit; 0: not even the weights do */
};

/* Keys and values in F16. 0, or -ENOTSUP with the sentence when the model cannot be cut in so many parts, and
 * -EINVAL for a number of devices out of range. */
HX_MUST_CHECK int split_of(const struct model *m, int n_devices, uint64_t device_bytes, struct split *p,
                           char *err, size_t errlen);
/* For people. 0 or -E2BIG, -ENOMEM. */
HX_MUST_CHECK int split_text(const struct model *m, const struct split *p, struct buf *out);

#endif
