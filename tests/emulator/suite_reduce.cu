/* Barriers, shared and device memory, masks, and what the host may do: sums of blocks. */
#include "kernels/cuda/gpu.h"

#include "tests/emulator/suite.h"

#include <stdlib.h>

#define THREADS 96
#define N       200

struct reduce_shared {
    float part[THREADS];
};

/* out[0] = sum of in[0 … n-1]. */
template <int FAULT> GPU_KERNEL(THREADS) kernel_reduce(const float *in, float *out, int n) {
    GPU_SHARED(struct reduce_shared, shared);
    unsigned t = gpu_thread();
    float sum = FAULT == SUITE_UNWRITTEN_SHARED ? shared.part[t] : 0;
    if (FAULT == SUITE_UNWRITTEN_GLOBAL)
        sum = out[0];
    for (int i = (int)t; i < n; i += THREADS)
        sum += in[i];
    if (FAULT == SUITE_SHARED_UNDERRUN && t == 0)
        (&shared.part[0])[-1] = sum;
    volatile float *part = shared.part;
    part[FAULT == SUITE_SHARED_OVERRUN ? t + 1 : t] = sum;
    if (FAULT == SUITE_SHARED_FAR && t == 0)
        sum += part[THREADS + 2000];
    if (FAULT == SUITE_BARRIER_AFTER_EXIT && t >= 64)
        return;
    if (FAULT == SUITE_DIVERGENT_BARRIER && t >= 32)
        gpu_barrier();
    else if (FAULT != SUITE_NO_BARRIER)
        gpu_barrier();
    if (t >= 32)
        return;
    float all = 0;
    for (unsigned i = t; i < THREADS; i += 32)
        all += part[i];
    if (FAULT == SUITE_WRONG_MASK && t >= 16)
        return;
    uint32_t mask = FAULT == SUITE_OTHER_MASKS && t >= 16 ? 0xFFFF0000u : GPU_ALL_LANES;
    if (FAULT == SUITE_NOT_IN_MASK)
        mask = ~(1u << t);
    if (FAULT == SUITE_LANE_OUTSIDE_MASK)
        mask = t >= 16 ? 0xFFFF0000u : 0x0000FFFFu;
    for (int o = 16; o > 0; o /= 2) {
        if (FAULT == SUITE_OTHER_PLACE && t >= 16)
            all += gpu_shuffle_xor(mask, all, o);
        else
            all += gpu_shuffle_xor(mask, all, o);
    }
    if (t == 0)
        out[FAULT == SUITE_GLOBAL_OVERRUN ? 1 : 0] = all;
    if (FAULT == SUITE_GLOBAL_FAR && t == 0)
        out[0] += in[N + 1024];
}

struct reduce_memory {
    struct gpu_stream *stream;
    float *in, *out;           /* device */
    float *host_in, *host_out; /* host */
};

static int failed(void) {
    abort();
}

static void reduce_open(struct reduce_memory *m) {
    m->in = static_cast<float *>(gpu_alloc(N * sizeof(float), GPU_KEPT));
    m->out = static_cast<float *>(gpu_alloc(sizeof(float), GPU_KEPT));
    m->host_in = static_cast<float *>(gpu_alloc_host(N * sizeof(float)));
    m->host_out = static_cast<float *>(gpu_alloc_host(sizeof(float)));
    if (m->in == NULL || m->out == NULL || m->host_in == NULL || m->host_out == NULL ||
        gpu_stream_create(&m->stream) < 0)
        failed();
}

static void reduce_close(struct reduce_memory *m) {
    gpu_stream_destroy(m->stream);
    gpu_free(m->in);
    gpu_free(m->out);
    gpu_free_host(m->host_in);
    gpu_free_host(m->host_out);
}

template <int FAULT> static int reduce(void) {
    struct reduce_memory m;
    float want = 0, pageable[N];
    int rc = 0;
    reduce_open(&m);
    for (int i = 0; i < N; i++) {
        pageable[i] = m.host_in[i] = (float)(i % 17);
        want += m.host_in[i];
    }
    rc += gpu_upload(m.stream, m.in, FAULT == SUITE_PAGEABLE_COPY ? pageable : m.host_in, N * sizeof(float));
    if (FAULT == SUITE_EARLY_HOST_WRITE)
        m.host_in[3] = 1000;
    const float *in = m.in;
    if (FAULT == SUITE_FREED) {
        rc += gpu_sync(m.stream);
        gpu_free(m.in);
        m.in = NULL;
    }
    const struct gpu_launch how = {m.stream, 1, 1, THREADS, 0, false};
    rc += GPU_LAUNCH(how, kernel_reduce<FAULT>, in, m.out, N);
    rc += gpu_download(m.stream, m.host_out, m.out, sizeof(float));
    if (FAULT == SUITE_HOST_READS)
        *m.host_out = *static_cast<volatile float *>(m.out);
    float early = *m.host_out;
    rc += gpu_sync(m.stream);
    float got = FAULT == SUITE_NO_SYNC ? early : *m.host_out;
    reduce_close(&m);
    return rc == 0 && got == want ? 0 : 1;
}

#define CASE(fault)                                                                                          \
    case fault:                                                                                              \
        return reduce<fault>();

extern "C" int suite_reduce(enum suite_fault fault) {
    switch (fault) {
        CASE(SUITE_NO_BARRIER)
        CASE(SUITE_DIVERGENT_BARRIER)
        CASE(SUITE_BARRIER_AFTER_EXIT)
        CASE(SUITE_SHARED_OVERRUN)
        CASE(SUITE_SHARED_UNDERRUN)
        CASE(SUITE_SHARED_FAR)
        CASE(SUITE_GLOBAL_OVERRUN)
        CASE(SUITE_GLOBAL_FAR)
        CASE(SUITE_FREED)
        CASE(SUITE_UNWRITTEN_SHARED)
        CASE(SUITE_UNWRITTEN_GLOBAL)
        CASE(SUITE_WRONG_MASK)
        CASE(SUITE_OTHER_MASKS)
        CASE(SUITE_OTHER_PLACE)
        CASE(SUITE_NOT_IN_MASK)
        CASE(SUITE_LANE_OUTSIDE_MASK)
        CASE(SUITE_HOST_READS)
        CASE(SUITE_PAGEABLE_COPY)
        CASE(SUITE_EARLY_HOST_WRITE)
        CASE(SUITE_NO_SYNC)
    default:
        return reduce<SUITE_RIGHT>();
    }
}
