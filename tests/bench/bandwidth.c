#include "tests/bench/bandwidth.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MAX_THREADS 64

typedef uint64_t vector __attribute__((vector_size(32)));

struct reader {
    const vector *from;
    size_t n; /* vectors, a multiple of 4 */
    pthread_barrier_t *start;
    uint64_t sum;
    uint64_t from_ns, to_ns; /* by the reader's own clock: whoever starts it may be late to look */
};

/* Four places at once: one stream leaves half of the bandwidth unused. */
static void *read_all(void *arg) {
    struct reader *r = arg;
    size_t quarter = r->n / 4;
    const vector *a = r->from, *b = a + quarter, *c = b + quarter, *d = c + quarter;
    vector s = {0}, t = {0}, u = {0}, v = {0};
    pthread_barrier_wait(r->start);
    r->from_ns = clock_mono_ns();
    for (size_t i = 0; i < quarter; i++) {
        s += a[i];
        t += b[i];
        u += c[i];
        v += d[i];
    }
    s += t + u + v;
    r->sum = s[0] + s[1] + s[2] + s[3];
    r->to_ns = clock_mono_ns();
    return NULL;
}

/* Seconds of one round; negative when a thread cannot be started. */
static double one_round(const uint8_t *memory, size_t bytes, int n_threads) {
    struct reader readers[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    pthread_barrier_t start;
    size_t share = bytes / (size_t)n_threads / (4 * sizeof(vector)) * 4;
    if (pthread_barrier_init(&start, NULL, (unsigned)n_threads) != 0)
        return -1;
    for (int i = 0; i < n_threads; i++) {
        readers[i] = (struct reader){
            .from = (const vector *)(const void *)memory + share * (size_t)i, .n = share, .start = &start};
        if (pthread_create(&threads[i], NULL, read_all, &readers[i]) != 0)
            abort(); /* the others wait at the barrier: a benchmark has no better end */
    }
    uint64_t sum = 0, from = UINT64_MAX, to = 0;
    for (int i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        sum += readers[i].sum;
        from = readers[i].from_ns < from ? readers[i].from_ns : from;
        to = readers[i].to_ns > to ? readers[i].to_ns : to;
    }
    double seconds = (double)(to - from) * 1e-9;
    pthread_barrier_destroy(&start);
    return sum == 1 ? -1 : seconds; /* the sum must look used; it is never 1 */
}

double bandwidth_read(int n_threads, size_t bytes, int rounds) {
    n_threads = n_threads < 1 ? 1 : n_threads > MAX_THREADS ? MAX_THREADS : n_threads;
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 0;
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 2, bytes);
    double best = 0;
    for (int i = 0; i < rounds; i++) {
        double seconds = one_round(memory, bytes, n_threads);
        if (seconds > 0 && (double)bytes / seconds > best)
            best = (double)bytes / seconds;
    }
    munmap(memory, bytes);
    return best;
}
