#include "kernels/cpu/limits.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MAX_THREADS  256
#define STEPS        4000000 /* of a loop over registers: some milliseconds */
#define ALU_ROUNDS   5
#define ACCUMULATORS 12 /* two units times a latency of four to six; more would leave the registers */

/* ---- threads that begin together ---- */

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int state; /* 0: wait, 1: go, -1: go home */
};

struct worker {
    pthread_t thread;
    struct gate *gate;
    void (*work)(struct worker *w);
    const uint8_t *from; /* of limits_read() */
    size_t bytes;
    uint64_t result;             /* so that the work is not left out */
    uint64_t begun_ns, ended_ns; /* by its own clock: whoever opens the gate may be late to look */
};

static void *worker_main(void *arg) {
    struct worker *w = arg;
    pthread_mutex_lock(&w->gate->lock);
    while (w->gate->state == 0)
        pthread_cond_wait(&w->gate->changed, &w->gate->lock);
    bool go = w->gate->state > 0;
    pthread_mutex_unlock(&w->gate->lock);
    w->begun_ns = clock_mono_ns();
    if (go)
        w->work(w);
    w->ended_ns = clock_mono_ns();
    return NULL;
}

static void open_gate(struct gate *g, int state) {
    pthread_mutex_lock(&g->lock);
    g->state = state;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static int count_threads(int n_threads) {
    long n = n_threads > 0 ? n_threads : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

/* Runs the workers once, all of them there before one begins; from the first to begin to the last to end. */
static int together(struct worker *workers, int n, double *seconds, char *err, size_t errlen) {
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    int started = 0, rc = 0;
    for (; started < n && rc == 0; started += rc == 0 ? 1 : 0) {
        workers[started].gate = &gate;
        rc = -pthread_create(&workers[started].thread, NULL, worker_main, &workers[started]);
    }
    uint64_t begun = UINT64_MAX, ended = 0;
    open_gate(&gate, rc == 0 ? 1 : -1);
    for (int i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
        begun = workers[i].begun_ns < begun ? workers[i].begun_ns : begun;
        ended = workers[i].ended_ns > ended ? workers[i].ended_ns : ended;
    }
    *seconds = ended > begun ? (double)(ended - begun) * 1e-9 : 0;
    pthread_cond_destroy(&gate.changed);
    pthread_mutex_destroy(&gate.lock);
    if (rc < 0)
        return err_set(err, errlen, rc, "A thread to measure with cannot be started: %s.", strerror(-rc));
    return 0;
}

/* ---- reading ---- */

typedef uint64_t line __attribute__((vector_size(64)));

/* How early a line is asked for. */
#define LINES_AHEAD 16

/* Four places at once, each asked for early, into the second-level cache, in the longest vectors there are:
 * of the loops tried (one to eight places; asked for 256 bytes to 16 KB ahead, into either cache, or left to
 * the processor; 16, 32 and 64 bytes at a time) the one that reads most on the machines at hand, and it has
 * to be the best one, or what decoding reaches of it would look better than it is. */
#define READ_LOOP(NAME, TARGET)                                                                              \
    TARGET static void NAME(struct worker *w) {                                                              \
        size_t quarter = w->bytes / (4 * sizeof(line));                                                      \
        const line *from = (const line *)(const void *)w->from;                                              \
        line sum[4] = {{0}};                                                                                 \
        for (size_t i = 0; i < quarter; i++)                                                                 \
            _Pragma("GCC unroll 4") for (size_t place = 0; place < 4; place++) {                             \
                const line *at = from + place * quarter + i;                                                 \
                __builtin_prefetch(at + LINES_AHEAD, 0, 2);                                                  \
                sum[place] += *at;                                                                           \
            }                                                                                                \
        line all = sum[0] + sum[1] + sum[2] + sum[3];                                                        \
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)                                              \
            w->result += all[i];                                                                             \
    }

READ_LOOP(read_portable, )
#if defined(__x86_64__)
READ_LOOP(read_avx2, __attribute__((target("avx2"))))
READ_LOOP(read_avx512, __attribute__((target("avx512f"))))
#endif

static void (*read_loop(void))(struct worker *w) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return read_avx512;
    if (__builtin_cpu_supports("avx2"))
        return read_avx2;
#endif
    return read_portable;
}

int limits_read(int n_threads, size_t bytes, int rounds, double *bytes_per_s, char *err, size_t errlen) {
    int n = count_threads(n_threads), rc = 0;
    /* Of an odd number of pages each: places that are a large power of two from each other meet in the same
     * banks of the memory, and read a third less. */
    size_t pages = bytes / (size_t)n / (4 * 4096), share = (pages - (pages % 2 == 0 ? 1 : 0)) * 4 * 4096;
    struct worker workers[MAX_THREADS];
    if (pages == 0)
        return err_set(err, errlen, -EINVAL, "%zu bytes are too few to measure reading with %d threads.",
                       bytes, n);
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return err_set(err, errlen, -ENOMEM, "Not enough memory to measure reading: %zu bytes.", bytes);
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 2, bytes);
    double best = 0;
    for (int round = 0; round < rounds && rc == 0; round++) {
        double seconds = 0;
        for (int i = 0; i < n; i++)
            workers[i] =
                (struct worker){.work = read_loop(), .from = memory + share * (size_t)i, .bytes = share};
        rc = together(workers, n, &seconds, err, errlen);
        double reached = seconds > 0 ? (double)(share * (size_t)n) / seconds : 0;
        best = reached > best ? reached : best;
    }
    munmap(memory, bytes);
    if (rc == 0)
        *bytes_per_s = best;
    return rc;
}

/* ---- arithmetic ---- */

/* The accumulators are independent chains, so that no operation waits for the one before it. */
#define F32_LOOP(NAME, TARGET, VECTOR)                                                                       \
    TARGET static void NAME(struct worker *w) {                                                              \
        VECTOR sum[ACCUMULATORS], factor, term;                                                              \
        for (size_t i = 0; i < sizeof factor / sizeof factor[0]; i++) {                                      \
            factor[i] = 0.999f;                                                                              \
            term[i] = 0.001f;                                                                                \
        }                                                                                                    \
        for (int a = 0; a < ACCUMULATORS; a++)                                                               \
            sum[a] = term * (float)(a + 1);                                                                  \
        for (int step = 0; step < STEPS; step++)                                                             \
            _Pragma("GCC unroll 12") for (int a = 0; a < ACCUMULATORS; a++) sum[a] = sum[a] * factor + term; \
        for (int a = 1; a < ACCUMULATORS; a++)                                                               \
            sum[0] += sum[a];                                                                                \
        w->result = (uint64_t)(sum[0][0] * 1000.0f);                                                         \
    }

typedef float f32x4 __attribute__((vector_size(16)));
F32_LOOP(f32_portable, , f32x4)
#if defined(__x86_64__)
typedef float f32x8 __attribute__((vector_size(32)));
typedef float f32x16 __attribute__((vector_size(64)));
F32_LOOP(f32_avx2, __attribute__((target("avx2,fma"))), f32x8)
F32_LOOP(f32_avx512, __attribute__((target("avx512f"))), f32x16)

__attribute__((target("avx2"))) static void int8_avx2(struct worker *w) {
    __m256i sum[ACCUMULATORS];
    __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), one = _mm256_set1_epi16(1);
    for (int i = 0; i < ACCUMULATORS; i++)
        sum[i] = _mm256_set1_epi32(i);
    for (int step = 0; step < STEPS; step++)
        _Pragma("GCC unroll 12") for (int i = 0; i < ACCUMULATORS; i++) {
            __asm__(
                ""
                : "+x"(b)); /* might be another value now: or the products would be taken out of the loop */
            sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), one));
        }
    for (int i = 1; i < ACCUMULATORS; i++)
        sum[0] = _mm256_add_epi32(sum[0], sum[i]);
    w->result = (uint64_t)_mm256_extract_epi64(sum[0], 0);
}

__attribute__((target("avx512f,avx512vnni"))) static void int8_vnni(struct worker *w) {
    __m512i sum[ACCUMULATORS];
    __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
    for (int i = 0; i < ACCUMULATORS; i++)
        sum[i] = _mm512_set1_epi32(i);
    for (int step = 0; step < STEPS; step++)
        _Pragma("GCC unroll 12") for (int i = 0; i < ACCUMULATORS; i++) {
            sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
        }
    for (int i = 1; i < ACCUMULATORS; i++)
        sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    w->result = (uint64_t)_mm256_extract_epi64(_mm512_castsi512_si256(sum[0]), 0);
}
#endif

struct loop {
    const char *name;
    void (*work)(struct worker *w);
    int lanes; /* multiply-adds of one instruction */
};

static struct loop f32_loop(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return (struct loop){"AVX-512", f32_avx512, 16};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (struct loop){"AVX2", f32_avx2, 8};
#endif
    return (struct loop){"portable", f32_portable, 4};
}

static struct loop int8_loop(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"))
        return (struct loop){"AVX-512 VNNI", int8_vnni, 64};
    if (__builtin_cpu_supports("avx2"))
        return (struct loop){"AVX2", int8_avx2, 32};
#endif
    return (struct loop){"none", NULL, 0};
}

static int measure(struct loop loop, int n_threads, double *per_s, char *err, size_t errlen) {
    struct worker workers[MAX_THREADS];
    int n = count_threads(n_threads), rc = 0;
    double operations = 2.0 * loop.lanes * ACCUMULATORS * STEPS * n, best = 0;
    for (int round = 0; round < ALU_ROUNDS && rc == 0; round++) {
        double seconds = 0;
        for (int i = 0; i < n; i++)
            workers[i] = (struct worker){.work = loop.work};
        rc = together(workers, n, &seconds, err, errlen);
        best = seconds > 0 && operations / seconds > best ? operations / seconds : best;
    }
    if (rc == 0)
        *per_s = best;
    return rc;
}

int limits_f32(int n_threads, double *flop_per_s, char *err, size_t errlen) {
    return measure(f32_loop(), n_threads, flop_per_s, err, errlen);
}

int limits_int8(int n_threads, double *op_per_s, char *err, size_t errlen) {
    struct loop loop = int8_loop();
    if (loop.work == NULL)
        return err_set(err, errlen, -ENOTSUP,
                       "No instruction for products of 8-bit integers is known for this processor.");
    return measure(loop, n_threads, op_per_s, err, errlen);
}

const char *limits_f32_name(void) {
    return f32_loop().name;
}

const char *limits_int8_name(void) {
    return int8_loop().name;
}
