/* Which GPUs run a model: numbers as the driver counts them, from 0. With several, each takes a part of every
 * matrix. [any-thread] */
#ifndef KERNELS_GPUS_H
#define KERNELS_GPUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define GPUS_MAX     16 /* that share a model */
#define GPUS_LARGEST 63 /* number of a GPU */

struct gpus {
    int n; /* 0: nobody said, the first one */
    int ids[GPUS_MAX];
};

/* "0" or "0,1": numbers apart by commas, each once. -EINVAL for any other text; *out is left alone then. */
int gpus_parse(const char *text, struct gpus *out);
/* How many they are, and the number of the i-th. */
int gpus_count(const struct gpus *g);
int gpus_id(const struct gpus *g, int i);

#ifdef __cplusplus
}
#endif

#endif
