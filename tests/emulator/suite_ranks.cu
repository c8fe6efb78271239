/* Several GPUs: each doubles a part of its own, they add up, and each doubles the sum again. */
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/link.h"

#include "tests/emulator/suite.h"

#include <stdlib.h>
#include <string.h>

#define RANKS   3
#define THREADS 32
#define N       (THREADS * 2)

GPU_KERNEL(THREADS) kernel_twice(const float *in, float *out) {
    unsigned i = gpu_block_x() * THREADS + gpu_thread();
    gpu_wait_previous();
    gpu_let_next_start();
    out[i] = 2 * in[i];
}

struct rank {
    struct gpu_stream *stream;
    struct gpu_graph *graph;
    float *in, *sum, *out; /* device */
    float *host;
};

struct team {
    struct gpus gpus;
    struct gpu_link *link;
    struct rank ranks[RANKS];
};

template <class T> static T *need(void *p) {
    if (p == NULL)
        abort();
    return static_cast<T *>(p);
}

static int rank_open(struct rank *r, int number) {
    r->in = need<float>(gpu_alloc(N * sizeof(float), GPU_KEPT));
    r->sum = need<float>(gpu_alloc(N * sizeof(float), GPU_TRANSIENT));
    r->out = need<float>(gpu_alloc(N * sizeof(float), GPU_TRANSIENT));
    r->host = need<float>(gpu_alloc_host(N * sizeof(float)));
    for (int i = 0; i < N; i++)
        r->host[i] = (float)(i * (number + 1));
    int rc = gpu_stream_create(&r->stream);
    rc = rc ? rc : gpu_upload(r->stream, r->in, r->host, N * sizeof(float));
    return rc ? rc : gpu_sync(r->stream);
}

static int team_open(struct team *t) {
    char text[200];
    int rc = 0;
    emu_set_gpus(RANKS);
    t->gpus.n = RANKS;
    for (int i = 0; i < RANKS && rc == 0; i++) {
        t->gpus.ids[i] = RANKS - 1 - i; /* ranks are no GPUs' numbers */
        rc = gpu_open(t->gpus.ids[i], text, sizeof text, text, sizeof text);
        rc = rc ? rc : rank_open(&t->ranks[i], i);
    }
    return rc ? rc : gpu_link_open(&t->gpus, &t->link, text, sizeof text);
}

static void team_close(struct team *t) {
    for (int i = 0; i < RANKS; i++) {
        struct rank *r = &t->ranks[i];
        gpu_stream_destroy(r->stream);
        gpu_graph_destroy(r->graph);
        gpu_free(r->in);
        gpu_free(r->sum);
        gpu_free(r->out);
        gpu_free_host(r->host);
    }
    gpu_link_close(t->link);
    (void)gpu_use(0);
}

static int twice(const struct rank *r, const float *in, float *out) {
    const struct gpu_launch how = {r->stream, N / THREADS, 1, THREADS, 0, true};
    return GPU_LAUNCH(how, kernel_twice, in, out);
}

static int add_up(struct team *t, enum suite_fault fault) {
    int rc = fault == SUITE_SUM_NOT_BEGUN ? 0 : gpu_link_begin(t->link);
    for (int i = 0; i < RANKS && rc == 0; i++) {
        struct rank *r = &t->ranks[i];
        bool last = i == RANKS - 1;
        if (last && fault == SUITE_SUM_WITHOUT_A_RANK)
            continue;
        rc = gpu_use(t->gpus.ids[last && fault == SUITE_SUM_OF_ANOTHER_GPU ? 0 : i]);
        float *values = last && fault == SUITE_SUM_IN_OTHER_MEMORY ? t->ranks[0].sum : r->sum;
        rc = rc ? rc
                : gpu_link_sum(t->link, last && fault == SUITE_SUM_TWICE_BY_A_RANK ? 0 : i, r->stream, values,
                               last && fault == SUITE_SUM_OF_OTHER_COUNTS ? N - 1 : N);
    }
    return rc ? rc : gpu_link_end(t->link);
}

/* What every rank queues; `graph`: to be run later. */
static int queue(struct team *t, enum suite_fault fault) {
    int rc = 0;
    for (int i = 0; i < RANKS && rc == 0; i++) {
        struct rank *r = &t->ranks[i];
        rc = fault == SUITE_QUEUE_OF_ANOTHER_GPU ? 0 : gpu_use(t->gpus.ids[i]);
        rc = rc ? rc : gpu_graph_begin(r->stream);
        rc = rc ? rc : twice(r, fault == SUITE_MEMORY_OF_ANOTHER_GPU ? t->ranks[0].in : r->in, r->sum);
    }
    if (rc == 0 && fault != SUITE_NO_SUM)
        rc = add_up(t, fault);
    for (int i = 0; i < RANKS && rc == 0; i++) {
        struct rank *r = &t->ranks[i];
        rc = gpu_use(t->gpus.ids[i]);
        rc = rc ? rc : twice(r, r->sum, r->out);
        rc = rc ? rc : gpu_download(r->stream, r->host, r->out, N * sizeof(float));
        rc = rc ? rc : gpu_graph_end(r->stream, &r->graph);
    }
    return rc;
}

static int lost(void *link) {
    return gpu_link_check(static_cast<struct gpu_link *>(link));
}

static int replay(struct team *t, enum suite_fault fault) {
    struct gpu_stream *streams[RANKS];
    int rc = 0;
    emu_set_link_broken(fault == SUITE_LOST_NOT_ASKED);
    for (int i = 0; i < RANKS; i++) {
        streams[i] = t->ranks[i].stream;
        memset(t->ranks[i].host, 0, N * sizeof(float));
        rc = rc ? rc : gpu_use(t->gpus.ids[i]);
        if (rc == 0 && !(i == 1 && fault == SUITE_GRAPH_OF_A_RANK_NOT_RUN))
            rc = gpu_graph_launch(t->ranks[i].graph, streams[i]);
    }
    rc = rc ? rc : gpu_sync_all(streams, RANKS, fault == SUITE_LOST_NOT_ASKED ? NULL : lost, t->link);
    for (int i = 0; i < RANKS * N; i++) /* 2 * 2 * (1 + 2 + 3) */
        if (t->ranks[i / N].host[i % N] != (float)(24 * (i % N)))
            rc = 1;
    return rc;
}

extern "C" int suite_ranks(enum suite_fault fault) {
    struct team t = {};
    int rc = team_open(&t);
    rc = rc ? rc : queue(&t, fault);
    for (int i = 0; i < 3 && rc == 0; i++)
        rc = replay(&t, fault);
    team_close(&t);
    return rc == 0 ? 0 : 1;
}
