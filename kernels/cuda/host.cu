/* kernels/cuda/host.h over the CUDA runtime, which is linked statically: it looks for the driver when it is
 * first called. */
extern "C" { /* a header of C alone */
#include "base/err.h"
}
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/wait.h"
#include "kernels/gpus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static char failure[200];
static int multiprocessors[GPUS_LARGEST + 1];
static size_t block_shared[GPUS_LARGEST + 1];

extern "C" const char *gpu_failure(void) {
    return failure;
}

extern "C" int gpu_keep_failure(int cuda_error, const char *what) {
    if (cuda_error != cudaSuccess && failure[0] == '\0')
        (void)snprintf(failure, sizeof failure, "%s: %s", what,
                       cudaGetErrorString(static_cast<cudaError_t>(cuda_error)));
    return failure[0] != '\0' ? -EIO : 0;
}

extern "C" int gpu_fail(const char *what, int code) {
    if (failure[0] == '\0' && code == 0)
        (void)snprintf(failure, sizeof failure, "%s", what);
    if (failure[0] == '\0')
        (void)snprintf(failure, sizeof failure, "%s: error %d", what, code);
    return -EIO;
}

static int keep(cudaError_t rc, const char *what) {
    return gpu_keep_failure(static_cast<int>(rc), what);
}

static cudaStream_t stream_of(struct gpu_stream *s) {
    return reinterpret_cast<cudaStream_t>(s);
}

static cudaEvent_t event_of(struct gpu_event *e) {
    return reinterpret_cast<cudaEvent_t>(e);
}

static cudaGraphExec_t graph_of(struct gpu_graph *g) {
    return reinterpret_cast<cudaGraphExec_t>(g);
}

extern "C" int gpu_open(int gpu, char *describe, size_t describe_len, char *err, size_t errlen) {
    cudaDeviceProp properties;
    int n = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);
    if (rc != cudaSuccess || n == 0) {
        (void)cudaGetLastError(); /* asking again later is allowed */
        return err_set(err, errlen, -ENODEV, "There is no GPU: %s.",
                       rc != cudaSuccess ? cudaGetErrorString(rc) : "the driver knows of none");
    }
    if (gpu < 0 || gpu >= n || gpu > GPUS_LARGEST)
        return err_set(err, errlen, -ENODEV, "There is no GPU %d; the driver knows of %d, from 0 on.", gpu,
                       n);
    rc = cudaSetDevice(gpu);
    rc = rc != cudaSuccess ? rc : cudaGetDeviceProperties(&properties, gpu);
    if (rc != cudaSuccess)
        return err_set(err, errlen, -ENODEV, "GPU %d cannot be opened: %s.", gpu, cudaGetErrorString(rc));
    if (properties.major < 8)
        return err_set(err, errlen, -ENODEV, "GPU %d (%s) has compute capability %d.%d; 8.0 is needed.", gpu,
                       properties.name, properties.major, properties.minor);
    multiprocessors[gpu] = properties.multiProcessorCount;
    block_shared[gpu] = properties.sharedMemPerBlockOptin;
    (void)snprintf(describe, describe_len, "cuda (%s, %zu GiB)", properties.name,
                   properties.totalGlobalMem >> 30);
    return 0;
}

extern "C" int gpu_use(int gpu) {
    return keep(cudaSetDevice(gpu), "using a GPU");
}

extern "C" int gpu_multiprocessors(void) {
    int gpu = 0;
    return cudaGetDevice(&gpu) == cudaSuccess && gpu <= GPUS_LARGEST && multiprocessors[gpu] > 0
               ? multiprocessors[gpu]
               : 1;
}

extern "C" size_t gpu_block_shared(void) {
    int gpu = 0;
    return cudaGetDevice(&gpu) == cudaSuccess && gpu <= GPUS_LARGEST ? block_shared[gpu] : 0;
}

/* ---- memory: running out of it is no failure of the GPU ---- */

extern "C" void *gpu_alloc(size_t bytes, enum gpu_memory kind) {
    void *p = NULL;
    (void)kind;
    if (cudaMalloc(&p, bytes) == cudaSuccess)
        return p;
    (void)cudaGetLastError();
    return NULL;
}

extern "C" void gpu_free(void *device) {
    if (failure[0] == '\0')
        (void)cudaFree(device);
}

extern "C" void *gpu_alloc_host(size_t bytes) {
    void *p = NULL;
    if (cudaMallocHost(&p, bytes) == cudaSuccess)
        return memset(p, 0, bytes);
    (void)cudaGetLastError();
    return NULL;
}

extern "C" void gpu_free_host(void *host) {
    if (host != NULL && failure[0] == '\0')
        (void)cudaFreeHost(host);
}

extern "C" int gpu_memory_left(size_t *left, size_t *total) {
    return keep(cudaMemGetInfo(left, total), "asking for the memory that is left");
}

extern "C" int gpu_upload_now(void *device, const void *host, size_t bytes) {
    return keep(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice), "copying to the GPU");
}

extern "C" int gpu_download_now(void *host, const void *device, size_t bytes) {
    return keep(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost), "copying from the GPU");
}

/* ---- streams and events ---- */

extern "C" int gpu_stream_create(struct gpu_stream **out) {
    cudaStream_t s = NULL;
    int rc = keep(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "making a queue");
    if (rc == 0)
        *out = reinterpret_cast<struct gpu_stream *>(s);
    return rc;
}

extern "C" void gpu_stream_destroy(struct gpu_stream *s) {
    if (s != NULL) {
        (void)gpu_sync(s); /* after a failure at once: a queue may wait for one that failed */
        (void)cudaStreamDestroy(stream_of(s));
    }
}

extern "C" int gpu_upload(struct gpu_stream *s, void *device, const void *host, size_t bytes) {
    return keep(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_of(s)),
                "copying to the GPU");
}

extern "C" int gpu_download(struct gpu_stream *s, void *host, const void *device, size_t bytes) {
    return keep(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_of(s)),
                "copying from the GPU");
}

extern "C" int gpu_copy(struct gpu_stream *s, void *to, const void *from, size_t bytes) {
    return keep(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(s)),
                "copying on the GPU");
}

extern "C" int gpu_fill(struct gpu_stream *s, void *device, int byte, size_t bytes) {
    return keep(cudaMemsetAsync(device, byte, bytes, stream_of(s)), "filling memory");
}

extern "C" int gpu_forget(struct gpu_stream *s) {
    (void)s;
    return failure[0] != '\0' ? -EIO : 0;
}

/* "Not ready" is no error, but it is what cudaGetLastError() returns next, also behind a launch. */
static void forget_not_ready(void) {
    (void)cudaGetLastError();
}

extern "C" int gpu_sync(struct gpu_stream *s) {
    return gpu_sync_all(&s, 1, NULL, NULL);
}

extern "C" int gpu_sync_all(struct gpu_stream *const *s, int n, int (*lost)(void *arg), void *arg) {
    struct wait wait = wait_begin();
    /* After a failure it may wait for ever for what another GPU would have given it. */
    int rc = failure[0] != '\0' ? -EIO : 0;
    for (int i = 0; i < n && rc == 0;) {
        cudaError_t look = cudaSuccess;
        for (int k = i; k < n && (look == cudaSuccess || look == cudaErrorNotReady); k++) {
            look = cudaStreamQuery(stream_of(s[k]));
            if (k == i && look == cudaSuccess)
                i++;
        }
        if (look == cudaErrorNotReady)
            forget_not_ready();
        else
            rc = keep(look, "running the queue");
        rc = rc == 0 && i < n && lost != NULL ? lost(arg) : rc;
        rc = rc == 0 && i < n ? wait_more(&wait) : rc;
    }
    return rc;
}

extern "C" int gpu_event_create(struct gpu_event **out) {
    cudaEvent_t e = NULL;
    int rc = keep(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "making an event");
    if (rc == 0)
        *out = reinterpret_cast<struct gpu_event *>(e);
    return rc;
}

extern "C" void gpu_event_destroy(struct gpu_event *e) {
    if (e != NULL)
        (void)cudaEventDestroy(event_of(e));
}

extern "C" int gpu_event_record(struct gpu_event *e, struct gpu_stream *s) {
    return keep(cudaEventRecord(event_of(e), stream_of(s)), "recording an event");
}

extern "C" int gpu_event_wait(struct gpu_event *e, struct gpu_stream *s) {
    return keep(cudaStreamWaitEvent(stream_of(s), event_of(e), 0), "waiting for an event");
}

extern "C" int gpu_event_finish(struct gpu_event *e) {
    struct wait wait = wait_begin();
    int rc = failure[0] != '\0' ? -EIO : 0;
    for (bool over = false; rc == 0 && !over;) {
        cudaError_t look = cudaEventQuery(event_of(e));
        over = look != cudaErrorNotReady;
        if (over) {
            rc = keep(look, "waiting for an event");
        } else {
            forget_not_ready();
            rc = wait_more(&wait);
        }
    }
    return rc;
}

/* ---- graphs ---- */

extern "C" int gpu_graph_begin(struct gpu_stream *s) {
    return keep(cudaStreamBeginCapture(stream_of(s), cudaStreamCaptureModeThreadLocal), "recording a graph");
}

extern "C" int gpu_graph_end(struct gpu_stream *s, struct gpu_graph **out) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t ready = NULL;
    int rc = keep(cudaStreamEndCapture(stream_of(s), &graph), "recording a graph");
    if (rc == 0)
        rc = keep(cudaGraphInstantiate(&ready, graph, 0), "preparing a graph");
    if (graph != NULL)
        (void)cudaGraphDestroy(graph);
    if (rc == 0)
        *out = reinterpret_cast<struct gpu_graph *>(ready);
    return rc;
}

extern "C" int gpu_graph_launch(struct gpu_graph *g, struct gpu_stream *s) {
    return keep(cudaGraphLaunch(graph_of(g), stream_of(s)), "running a graph");
}

extern "C" void gpu_graph_destroy(struct gpu_graph *g) {
    if (g != NULL)
        (void)cudaGraphExecDestroy(graph_of(g));
}
