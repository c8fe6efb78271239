/* Kernels after kernels: early starts, streams, graphs, and blocks that add up what others left. */
#include "kernels/cuda/gpu.h"

#include "tests/emulator/suite.h"

#include <stdlib.h>
#include <string.h>

#define THREADS 64
#define BLOCKS  6
#define N       (THREADS * BLOCKS)

struct step {
    float add; /* what changes from step to step lies in device memory */
};

/* out = 2 * in + step->add (or `add` where the fault is there). */
template <int FAULT>
GPU_KERNEL(THREADS)
kernel_double(const float *in, float *out, const struct step *step, float add) {
    int i = (int)(gpu_block_x() * THREADS + gpu_thread());
    float v = 0;
    if (FAULT == SUITE_READ_BEFORE_WAIT)
        v = in[i];
    if (FAULT == SUITE_WRITE_BEFORE_WAIT)
        out[i] = 0;
    if (FAULT != SUITE_NO_WAIT_PREVIOUS)
        gpu_wait_previous();
    if (FAULT != SUITE_READ_BEFORE_WAIT)
        v = in[i];
    gpu_let_next_start();
    out[i] = 2 * v + (FAULT == SUITE_STALE_VALUE ? add : step->add);
}

struct sum_shared {
    float part[THREADS];
    unsigned ticket;
};

/* out[0] = sum of in; each block leaves its sum in `parts`, the last to finish adds them up in order. */
template <int FAULT>
GPU_KERNEL(THREADS)
kernel_sum(const float *in, float *parts, unsigned *count, float *out) {
    GPU_SHARED(struct sum_shared, s);
    unsigned t = gpu_thread();
    gpu_wait_previous();
    s.part[t] = in[gpu_block_x() * THREADS + t];
    gpu_barrier();
    if (t == 0) {
        float sum = 0;
        for (int i = 0; i < THREADS; i++)
            sum += s.part[i];
        parts[gpu_block_x()] = sum;
        gpu_fence();
        s.ticket = gpu_atomic_add(count, 1u);
    }
    gpu_barrier();
    bool last = FAULT == SUITE_FIRST_BLOCK_REDUCES ? gpu_block_x() == 0 : s.ticket + 1 == gpu_blocks_x();
    if (!last || t != 0)
        return;
    float sum = 0;
    for (unsigned i = 0; i < gpu_blocks_x(); i++)
        sum += parts[i];
    *out = sum;
    *count = 0;
}

struct chain {
    struct gpu_stream *stream, *other;
    struct gpu_event *event;
    float *a, *b, *c, *parts, *sum; /* device */
    unsigned *count;
    struct step *step;
    float *in, *out; /* host */
    struct step *host_step;
};

template <class T> static T *need(void *p) {
    if (p == NULL)
        abort();
    return static_cast<T *>(p);
}

static void chain_open(struct chain *c) {
    c->a = need<float>(gpu_alloc(N * sizeof(float), GPU_KEPT));
    c->b = need<float>(gpu_alloc(N * sizeof(float), GPU_TRANSIENT));
    c->c = need<float>(gpu_alloc(N * sizeof(float), GPU_TRANSIENT));
    c->parts = need<float>(gpu_alloc(BLOCKS * sizeof(float), GPU_TRANSIENT));
    c->sum = need<float>(gpu_alloc(sizeof(float), GPU_KEPT));
    c->count = need<unsigned>(gpu_alloc(sizeof(unsigned), GPU_KEPT));
    c->step = need<struct step>(gpu_alloc(sizeof(struct step), GPU_KEPT));
    c->in = need<float>(gpu_alloc_host(N * sizeof(float)));
    c->out = need<float>(gpu_alloc_host(sizeof(float)));
    c->host_step = need<struct step>(gpu_alloc_host(sizeof(struct step)));
    if (gpu_stream_create(&c->stream) < 0 || gpu_stream_create(&c->other) < 0 ||
        gpu_event_create(&c->event) < 0 || gpu_fill(c->stream, c->count, 0, sizeof(unsigned)) < 0)
        abort();
    for (int i = 0; i < N; i++)
        c->in[i] = (float)(i % 5);
}

static void chain_close(struct chain *c) {
    gpu_stream_destroy(c->stream);
    gpu_stream_destroy(c->other);
    gpu_event_destroy(c->event);
    void *device[] = {c->a, c->b, c->c, c->parts, c->sum, c->count, c->step};
    for (size_t i = 0; i < sizeof device / sizeof device[0]; i++)
        gpu_free(device[i]);
    gpu_free_host(c->in);
    gpu_free_host(c->out);
    gpu_free_host(c->host_step);
}

/* b = 2a + s, c = 2b + s, sum = sum of c. */
template <int FAULT> static int queue_chain(struct chain *c, float add) {
    const struct gpu_launch how = {c->stream, BLOCKS, 1, THREADS, 0, true};
    int rc = 0;
    if (FAULT != SUITE_STALE_INTERMEDIATE)
        rc += GPU_LAUNCH(how, kernel_double<SUITE_RIGHT>, c->a, c->b, c->step, add);
    /* in place of b = 2a + s, the faulty one writes where the kernel before it reads */
    rc += GPU_LAUNCH(how, kernel_double<FAULT>, c->b, FAULT == SUITE_WRITE_BEFORE_WAIT ? c->a : c->c, c->step,
                     add);
    rc += GPU_LAUNCH(how, kernel_sum<FAULT>, FAULT == SUITE_WRITE_BEFORE_WAIT ? c->a : c->c, c->parts,
                     c->count, c->sum);
    return rc;
}

static float wanted(const float *in, float add) {
    float sum = 0;
    for (int i = 0; i < N; i++)
        sum += 2 * (2 * in[i] + add) + add;
    return sum;
}

static int upload(struct chain *c, struct gpu_stream *s, float add) {
    c->host_step->add = add;
    return gpu_upload(s, c->a, c->in, N * sizeof(float)) +
           gpu_upload(s, c->step, c->host_step, sizeof *c->step);
}

template <int FAULT> static int chain_once(struct chain *c) {
    int rc = upload(c, c->other, 3);
    rc += gpu_event_record(c->event, c->other);
    if (FAULT != SUITE_NO_EVENT)
        rc += gpu_event_wait(c->event, c->stream);
    rc += queue_chain<FAULT>(c, 3);
    rc += gpu_download(c->stream, c->out, c->sum, sizeof(float));
    rc += gpu_sync(c->stream);
    return rc == 0 && *c->out == wanted(c->in, 3) ? 0 : 1;
}

/* Recorded once, replayed with other inputs. */
template <int FAULT> static int chain_graph(struct chain *c) {
    struct gpu_graph *graph = NULL;
    int rc = upload(c, c->stream, 1);
    if (FAULT == SUITE_STALE_INTERMEDIATE) /* an earlier run leaves b */
        rc += queue_chain<SUITE_RIGHT>(c, 1) + gpu_sync(c->stream);
    rc += gpu_graph_begin(c->stream);
    rc += queue_chain<FAULT>(c, 1);
    rc += gpu_graph_end(c->stream, &graph);
    int wrong = 0;
    for (int i = 0; i < 2; i++) {
        float add = (float)(1 + i);
        if (FAULT == SUITE_STALE_POINTER && i == 1) {
            rc += gpu_sync(c->stream);
            gpu_free(c->a);
            c->a = need<float>(gpu_alloc(N * sizeof(float), GPU_KEPT));
        }
        rc += upload(c, c->stream, add);
        rc += gpu_graph_launch(graph, c->stream);
        rc += gpu_download(c->stream, c->out, c->sum, sizeof(float));
        rc += gpu_sync(c->stream);
        wrong += *c->out != wanted(c->in, add);
    }
    gpu_graph_destroy(graph);
    return rc == 0 && wrong == 0 ? 0 : 1;
}

template <int FAULT> static int both(void) {
    struct chain c;
    chain_open(&c);
    int rc = chain_once<FAULT>(&c);
    rc = rc != 0 ? rc : chain_graph<FAULT>(&c);
    chain_close(&c);
    return rc;
}

#define CASE(fault)                                                                                          \
    case fault:                                                                                              \
        return both<fault>();

extern "C" int suite_chain(enum suite_fault fault) {
    switch (fault) {
        CASE(SUITE_NO_WAIT_PREVIOUS)
        CASE(SUITE_READ_BEFORE_WAIT)
        CASE(SUITE_WRITE_BEFORE_WAIT)
        CASE(SUITE_NO_EVENT)
        CASE(SUITE_STALE_POINTER)
        CASE(SUITE_STALE_VALUE)
        CASE(SUITE_STALE_INTERMEDIATE)
        CASE(SUITE_FIRST_BLOCK_REDUCES)
    default:
        return both<SUITE_RIGHT>();
    }
}
