/* The compute threads of the CPU device.
 *
 * One thread (the owner) hands out jobs of n chunks and takes chunks itself. A helper that is late simply
 * finds no chunk left: the owner waits only for chunks that somebody is working on, so a helper the kernel
 * has descheduled between jobs costs nothing. Both sides spin for a short while, then sleep on a futex, so
 * that on a busy machine the pool leaves the CPUs to those that work. Compute threads flush denormals to zero
 * (subnormal scales cost 2.5 to 3 times the time of a product). */
#ifndef KERNELS_CPU_POOL_H
#define KERNELS_CPU_POOL_H

#include "base/err.h"

struct pool;

/* `n_threads` counts the owner; 1 makes a pool without helpers. Helpers get the scheduling value `nice`. */
HX_MUST_CHECK int pool_create(int n_threads, int nice, struct pool **out, char *err, size_t errlen);
void pool_destroy(struct pool *p);
int pool_n_threads(const struct pool *p);
/* How many threads a pool has that is created with `n_threads`: 0 means the number of CPUs. [any-thread] */
int pool_threads(int n_threads);

/* Runs fn(arg, chunk, thread) for chunk = 0 … n_chunks-1, each once, and returns when all are done. `thread`
 * is 0 … n_threads-1, for scratch memory. n_chunks < 2^31. [owner] */
void pool_run(struct pool *p, void (*fn)(void *arg, int chunk, int thread), void *arg, int n_chunks);

/* Denormals become zero in the calling thread's arithmetic from now on. */
void pool_flush_denormals(void);

#endif
