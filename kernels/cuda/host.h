/* What the CUDA device needs of GPUs from the host's side: memory, queues, copies, events, graphs. Two
 * implementations: kernels/cuda/host.cu over the CUDA runtime, and the emulator of the tests.
 *
 * Memory and queues belong to the GPU that is in use when they are made. A kernel is launched, and an event
 * recorded, on a queue of the GPU in use; its memory is of the same GPU.
 *
 * All functions return 0 or a negative errno unless they say otherwise. The first failure of the GPU is kept:
 * from then on everything returns -EIO and gpu_failure() says what it was (a CUDA error of a kernel is
 * sticky, the process has to be started anew). It has also failed when a wait takes longer than the limit of
 * wait.h; then it may still be at work, and nothing that waits for it may be called any more. One thread uses
 * the GPU. [engine-thread] */
#ifndef KERNELS_CUDA_HOST_H
#define KERNELS_CUDA_HOST_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gpu_stream; /* a queue: its work runs in order, streams run beside each other */
struct gpu_event;
struct gpu_graph;

enum gpu_memory {
    GPU_KEPT,      /* holds its content until it is freed */
    GPU_TRANSIENT, /* written anew in every step before it is read; see gpu_forget() */
};

/* Opens a GPU by its number (0: the first one), uses it from now on, and writes "cuda (NVIDIA H200, 139 GiB)"
 * to `describe`. -ENODEV with the sentence when there is no driver, or no GPU of that number that these
 * kernels can run on. */
HX_MUST_CHECK int gpu_open(int gpu, char *describe, size_t describe_len, char *err, size_t errlen);
/* Uses a GPU that was opened, in the calling thread; a thread begins with the first one. */
int gpu_use(int gpu);

/* Multiprocessors of the GPU in use: as many blocks run at once at least. */
int gpu_multiprocessors(void);
/* Bytes of shared memory that it gives a block at most: from 99 to 227 KiB. */
size_t gpu_block_shared(void);

/* Device memory, content undefined, aligned to 16 bytes at least. NULL when there is none left. */
void *gpu_alloc(size_t bytes, enum gpu_memory kind);
/* After a failure of the GPU memory may stay until the process ends: freeing it waits for all that runs,
 * which may be a sum that never ends. */
void gpu_free(void *device);
/* Host memory that copies in a queue may use, zeroed. NULL when there is none left. */
void *gpu_alloc_host(size_t bytes);
void gpu_free_host(void *host);
/* Free and whole memory of the GPU in use, bytes. */
int gpu_memory_left(size_t *left, size_t *total);

int gpu_stream_create(struct gpu_stream **out);
/* Waits until the queue is empty, unless the GPU has failed. */
void gpu_stream_destroy(struct gpu_stream *s);
/* Queued copies. `host` is memory of gpu_alloc_host() and stays untouched until the queue is past the copy.
 */
int gpu_upload(struct gpu_stream *s, void *device, const void *host, size_t bytes);
int gpu_download(struct gpu_stream *s, void *host, const void *device, size_t bytes);
int gpu_fill(struct gpu_stream *s, void *device, int byte, size_t bytes);
/* A queued copy from device memory to other device memory. */
int gpu_copy(struct gpu_stream *s, void *to, const void *from, size_t bytes);
/* Copies at once, from and to any host memory, while no queue uses `device`. */
int gpu_upload_now(void *device, const void *host, size_t bytes);
int gpu_download_now(void *host, const void *device, size_t bytes);
/* From here on, transient memory of the queue's GPU holds nothing any more. Costs nothing on a GPU; the
 * emulator spoils it. */
int gpu_forget(struct gpu_stream *s);
/* Waits until the queue is empty. */
int gpu_sync(struct gpu_stream *s);
/* Waits for queues that may wait for each other. When one of them fails, the others need not be empty: what
 * it would have given them never comes. lost(arg) is asked again and again meanwhile, where it is not NULL:
 * other than 0 ends the waiting and is returned. */
int gpu_sync_all(struct gpu_stream *const *s, int n, int (*lost)(void *arg), void *arg);

int gpu_event_create(struct gpu_event **out);
void gpu_event_destroy(struct gpu_event *e);
int gpu_event_record(struct gpu_event *e, struct gpu_stream *s);
/* Further work of `s` waits for the event's last record. */
int gpu_event_wait(struct gpu_event *e, struct gpu_stream *s);
/* Waits until the queue is past the event's last record; there may be none. */
int gpu_event_finish(struct gpu_event *e);

/* Between begin and end, what is queued on `s` is recorded and does not run. Kernel arguments are recorded by
 * value, so whatever changes from step to step lies in device memory. */
int gpu_graph_begin(struct gpu_stream *s);
int gpu_graph_end(struct gpu_stream *s, struct gpu_graph **out);
int gpu_graph_launch(struct gpu_graph *g, struct gpu_stream *s);
void gpu_graph_destroy(struct gpu_graph *g);

/* It has failed: keeps "<what>: error <code>", or `what` alone where the code is 0, as the failure where
 * there is none yet. -EIO. */
int gpu_fail(const char *what, int code);
/* What the GPU failed with, for people; "" while it has not failed. Valid until the process ends. */
const char *gpu_failure(void);

#ifdef __cplusplus
}
#endif

#endif
