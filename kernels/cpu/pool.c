#include "kernels/cpu/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* A pause is about 40 ns on current CPUs, so a helper spins for some 100 µs, longer than the gap between two
 * jobs of a forward pass and shorter than what a sleeping machine would notice. */
#define SPINS_BEFORE_SLEEP 2500
/* The owner waits for chunks that helpers have begun; one whose helper has lost its CPU may take
 * milliseconds, and on a busy machine spinning for it would keep that very CPU from it. */
#define SPINS_BEFORE_WAIT 2500
#define JOB_SLOTS         4

/* Read by helpers that may be late, so every member is atomic; the ticket's generation says whether what was
 * read holds. */
struct job {
    _Atomic(void (*)(void *, int, int)) fn;
    _Atomic(void *) arg;
    _Atomic int n_chunks;
};

struct pool {
    int n_threads;
    int nice;
    int n_started;
    pthread_t *threads;
    struct job jobs[JOB_SLOTS];
    _Alignas(64) _Atomic uint64_t ticket; /* generation << 32 | next chunk */
    _Alignas(64) _Atomic uint32_t done;   /* chunks of the current job that are finished; a futex word */
    _Alignas(64) _Atomic uint32_t wakes;  /* futex word: counts wake-ups */
    _Atomic int sleepers;
    _Atomic bool owner_waits; /* on the futex word `done` */
    _Atomic bool stop;
};

struct helper {
    struct pool *pool;
    int thread;
};

static void relax(void) {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void pool_flush_denormals(void) {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040u); /* flush to zero, denormals are zero */
#endif
}

/* Takes and runs chunks of the current job until none is left. False when there was none. */
static bool run_chunks(struct pool *p, int thread) {
    bool ran = false;
    uint64_t ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
    for (;;) {
        struct job *job = &p->jobs[(ticket >> 32) % JOB_SLOTS];
        int chunk = (int)(ticket & 0xFFFFFFFFu);
        if (chunk >= atomic_load_explicit(&job->n_chunks, memory_order_relaxed))
            return ran;
        void (*fn)(void *, int, int) = atomic_load_explicit(&job->fn, memory_order_relaxed);
        void *arg = atomic_load_explicit(&job->arg, memory_order_relaxed);
        if (!atomic_compare_exchange_weak_explicit(&p->ticket, &ticket, ticket + 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        fn(arg, chunk, thread);
        ran = true;
        /* Ordered with owner_waits both here and in wait_done(): one of the two sees the other. */
        atomic_fetch_add(&p->done, 1);
        if (atomic_load(&p->owner_waits))
            syscall(SYS_futex, &p->done, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
    }
}

static void helper_sleep(struct pool *p, uint32_t seen) {
    atomic_fetch_add(&p->sleepers, 1);
    if (!atomic_load(&p->stop))
        syscall(SYS_futex, &p->wakes, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&p->sleepers, 1);
}

static void *helper_main(void *arg) {
    struct helper helper = *(struct helper *)arg;
    free(arg);
    struct pool *p = helper.pool;
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), p->nice);
    pool_flush_denormals();
    int idle = 0;
    while (!atomic_load(&p->stop)) {
        uint32_t seen = atomic_load(&p->wakes);
        if (run_chunks(p, helper.thread)) {
            idle = 0;
        } else if (++idle < SPINS_BEFORE_SLEEP) {
            relax();
        } else {
            helper_sleep(p, seen);
            idle = 0;
        }
    }
    return NULL;
}

static void wake_all(struct pool *p) {
    atomic_fetch_add(&p->wakes, 1);
    syscall(SYS_futex, &p->wakes, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

int pool_threads(int n_threads) {
    if (n_threads <= 0)
        n_threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n_threads > 0 ? n_threads : 1;
}

int pool_create(int n_threads, int nice, struct pool **out, char *err, size_t errlen) {
    n_threads = pool_threads(n_threads);
    struct pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    if (p == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the compute threads.");
    memset(p, 0, sizeof *p);
    p->n_threads = n_threads;
    p->nice = nice;
    p->threads = calloc((size_t)n_threads, sizeof *p->threads);
    int rc = p->threads == NULL ? -ENOMEM : 0;
    for (int i = 1; i < n_threads && rc == 0; i++) {
        struct helper *helper = malloc(sizeof *helper);
        if (helper == NULL) {
            rc = -ENOMEM;
            break;
        }
        *helper = (struct helper){.pool = p, .thread = i};
        rc = -pthread_create(&p->threads[i], NULL, helper_main, helper);
        if (rc < 0)
            free(helper);
        else
            p->n_started++;
    }
    if (rc < 0) {
        pool_destroy(p);
        return err_set(err, errlen, rc, "Cannot start %d compute threads: %s.", n_threads, strerror(-rc));
    }
    *out = p;
    return 0;
}

void pool_destroy(struct pool *p) {
    if (p == NULL)
        return;
    atomic_store(&p->stop, true);
    wake_all(p);
    for (int i = 1; i <= p->n_started; i++)
        pthread_join(p->threads[i], NULL);
    free(p->threads);
    free(p);
}

int pool_n_threads(const struct pool *p) {
    return p->n_threads;
}

static void wake_sleepers(struct pool *p) {
    if (atomic_load(&p->sleepers) > 0)
        wake_all(p);
}

static void wait_done(struct pool *p, uint32_t n_chunks) {
    for (int spins = 0; spins < SPINS_BEFORE_WAIT; spins++) {
        if (atomic_load_explicit(&p->done, memory_order_acquire) == n_chunks)
            return;
        relax();
    }
    atomic_store(&p->owner_waits, true);
    for (uint32_t done; (done = atomic_load(&p->done)) != n_chunks;)
        syscall(SYS_futex, &p->done, FUTEX_WAIT_PRIVATE, done, NULL, NULL, 0);
    atomic_store(&p->owner_waits, false);
}

void pool_run(struct pool *p, void (*fn)(void *, int, int), void *arg, int n_chunks) {
    if (n_chunks <= 0)
        return;
    if (p->n_started == 0 || n_chunks == 1) {
        for (int i = 0; i < n_chunks; i++)
            fn(arg, i, 0);
        return;
    }
    uint64_t generation = (atomic_load_explicit(&p->ticket, memory_order_relaxed) >> 32) + 1;
    generation &= 0xFFFFFFFFu;
    struct job *job = &p->jobs[generation % JOB_SLOTS];
    atomic_store_explicit(&job->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&job->arg, arg, memory_order_relaxed);
    atomic_store_explicit(&job->n_chunks, n_chunks, memory_order_relaxed);
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    atomic_store_explicit(&p->ticket, generation << 32, memory_order_release);
    wake_sleepers(p);
    (void)run_chunks(p, 0);
    wait_done(p, (uint32_t)n_chunks);
}
