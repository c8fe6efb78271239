/* Asynchronous copies, ldmatrix and mma: products of bf16, f16 and s8 matrices. */
#include "kernels/cuda/gpu.h"

#include "tests/emulator/suite.h"

#include <stdlib.h>

#define M      32 /* rows of A and of the result: one warp each 16 */
#define N      8  /* rows of B, columns of the result */
#define K      96
#define K_STEP 32
#define STRIDE (K_STEP + 8) /* elements; a multiple of 16 bytes */

struct product_shared {
    alignas(16) uint16_t a[2][M][STRIDE];
    alignas(16) uint16_t b[2][N][STRIDE];
};

template <int FAULT>
GPU_INLINE void fetch(struct product_shared *s, int buffer, const uint16_t *a, const uint16_t *b, int k0) {
    for (int i = (int)gpu_thread(); i < (M + N) * (K_STEP / 8); i += (int)gpu_threads()) {
        int row = i / (K_STEP / 8), at = i % (K_STEP / 8) * 8;
        int shift = FAULT == SUITE_MISALIGNED && i == 0 ? 1 : 0;
        if (row < M)
            gpu_copy_async16(&s->a[buffer][row][at], a + row * K + k0 + at + shift);
        else
            gpu_copy_async16(&s->b[buffer][row - M][at], b + (row - M) * K + k0 + at);
    }
    gpu_copy_commit();
}

/* d (M x N) = a (M x K) b^T (N x K), f16 or bf16. */
template <int FAULT, bool HALF>
GPU_KERNEL(64)
kernel_product(const uint16_t *a, const uint16_t *b, float *d) {
    GPU_SHARED(struct product_shared, s);
    int lane = (int)gpu_lane(), m0 = (int)gpu_warp() * 16;
    float sum[4] = {0, 0, 0, 0};
    fetch<FAULT>(&s, 0, a, b, 0);
    for (int step = 0; step < K / K_STEP; step++) {
        int now = step % 2;
        if (step + 1 < K / K_STEP) {
            fetch<FAULT>(&s, 1 - now, a, b, (step + 1) * K_STEP);
            if (FAULT != SUITE_NO_WAIT && FAULT != SUITE_LATE_WAIT) {
                if (FAULT == SUITE_ONE_GROUP_TOO_FEW)
                    gpu_copy_wait<2>();
                else
                    gpu_copy_wait<1>();
            }
        } else if (FAULT != SUITE_NO_WAIT && FAULT != SUITE_LATE_WAIT) {
            gpu_copy_wait<0>();
        }
        gpu_barrier();
        if (FAULT == SUITE_LATE_WAIT)
            gpu_copy_wait<0>();
        for (int k = 0; k < K_STEP; k += 16) {
            uint32_t fa[4], fb[2];
            int row = FAULT == SUITE_WRONG_ROW ? lane / 16 * 8 + lane % 8 : lane % 16;
            gpu_ldmatrix_x4(fa, &s.a[now][m0 + row][k + lane / 16 * 8]);
            gpu_ldmatrix_x2(fb, &s.b[now][lane % 8][k + lane / 8 % 2 * 8]);
            if (FAULT == SUITE_WRONG_FRAGMENT_A) {
                uint32_t x = fa[1];
                fa[1] = fa[2];
                fa[2] = x;
            }
            if (FAULT == SUITE_WRONG_FRAGMENT_B) {
                uint32_t x = fb[0];
                fb[0] = fb[1];
                fb[1] = x;
            }
            if (HALF)
                gpu_mma_f16(sum, fa, fb);
            else
                gpu_mma_bf16(sum, fa, fb);
        }
        if (FAULT != SUITE_NO_SECOND_BARRIER)
            gpu_barrier();
    }
    if (FAULT == SUITE_NO_WAIT)
        gpu_copy_wait<0>();
    for (int r = 0; r < 4; r++) {
        int row = lane / 4 + r / 2 * 8, column = lane % 4 * 2 + r % 2;
        if (FAULT == SUITE_WRONG_FRAGMENT_D)
            row = lane / 4 + r % 2 * 8;
        d[(m0 + row) * N + column] = sum[r];
    }
}

template <class T> static T *device_copy(const T *values, size_t n) {
    T *p = static_cast<T *>(gpu_alloc(n * sizeof(T), GPU_KEPT));
    if (p == NULL || gpu_upload_now(p, values, n * sizeof(T)) < 0)
        abort();
    return p;
}

/* Small whole numbers: every sum is exact in every format. */
static float value(int i) {
    return (float)(i * 7 % 13 - 6);
}

static uint16_t encoded(float v, bool half) {
    union {
        float f;
        uint32_t u;
    } x = {v};
    if (!half || v == 0)
        return (uint16_t)(x.u >> 16); /* exact for these */
    uint32_t exponent = (x.u >> 23 & 255) - 127 + 15, sign = x.u >> 31;
    return (uint16_t)(sign << 15 | exponent << 10 | (x.u >> 13 & 1023));
}

template <int FAULT, bool HALF> static int product(void) {
    static uint16_t a[M * K + 8], b[N * K];
    struct gpu_stream *stream = NULL;
    for (int i = 0; i < M * K; i++)
        a[i] = encoded(value(i), HALF);
    for (int i = 0; i < N * K; i++)
        b[i] = encoded(value(i * 3 + 1), HALF);
    uint16_t *da = device_copy(a, M * K + 8), *db = device_copy(b, N * K);
    float *dd = static_cast<float *>(gpu_alloc(M * N * sizeof(float), GPU_KEPT));
    float *d = static_cast<float *>(gpu_alloc_host(M * N * sizeof(float)));
    if (dd == NULL || d == NULL || gpu_stream_create(&stream) < 0)
        abort();
    const struct gpu_launch how = {stream, 1, 1, 64, 0, false};
    auto kernel = kernel_product<FAULT, HALF>;
    int rc = GPU_LAUNCH(how, kernel, da, db, dd);
    rc += gpu_download(stream, d, dd, M * N * sizeof(float));
    rc += gpu_sync(stream);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            float want = 0;
            for (int k = 0; k < K; k++)
                want += value(i * K + k) * value((j * K + k) * 3 + 1);
            rc += d[i * N + j] == want ? 0 : 1;
        }
    gpu_stream_destroy(stream);
    gpu_free(da);
    gpu_free(db);
    gpu_free(dd);
    gpu_free_host(d);
    return rc == 0 ? 0 : 1;
}

#define CASE(fault)                                                                                          \
    case fault:                                                                                              \
        return product<fault, false>();

extern "C" int suite_product(enum suite_fault fault) {
    switch (fault) {
        CASE(SUITE_WRONG_FRAGMENT_A)
        CASE(SUITE_WRONG_FRAGMENT_B)
        CASE(SUITE_WRONG_FRAGMENT_D)
        CASE(SUITE_WRONG_ROW)
        CASE(SUITE_LATE_WAIT)
        CASE(SUITE_NO_WAIT)
        CASE(SUITE_ONE_GROUP_TOO_FEW)
        CASE(SUITE_NO_SECOND_BARRIER)
        CASE(SUITE_MISALIGNED)
    default:
        return product<SUITE_RIGHT, false>() + product<SUITE_RIGHT, true>() != 0 ? 1 : 0;
    }
}
