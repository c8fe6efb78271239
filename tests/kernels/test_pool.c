/* The compute threads: every chunk once, whatever the sizes and however often helpers fall asleep in between.
 */
#include "kernels/cpu/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_CHUNKS 500

struct work {
    int counts[MAX_CHUNKS]; /* not atomic: each chunk belongs to one thread */
    int n_threads;
    int wrong_threads[MAX_CHUNKS];
    long sums[MAX_CHUNKS];
};

static void work_chunk(void *arg, int chunk, int thread) {
    struct work *w = arg;
    w->counts[chunk]++;
    w->wrong_threads[chunk] = thread < 0 || thread >= w->n_threads;
    for (int i = 0; i < chunk; i++)
        w->sums[chunk] += i;
}

static void check_jobs(int n_threads, int n_jobs, int pause_us) {
    struct pool *p;
    char err[200];
    assert_int_equal(pool_create(n_threads, 10, &p, err, sizeof err), 0);
    assert_int_equal(pool_n_threads(p), n_threads);
    struct work *w = calloc(1, sizeof *w);
    for (int job = 0; job < n_jobs; job++) {
        int n = job * 7 % MAX_CHUNKS;
        memset(w, 0, sizeof *w);
        w->n_threads = n_threads;
        pool_run(p, work_chunk, w, n);
        for (int i = 0; i < MAX_CHUNKS; i++) {
            assert_int_equal(w->counts[i], i < n ? 1 : 0);
            assert_int_equal(w->wrong_threads[i], 0);
            assert_true(w->sums[i] == (i < n ? (long)i * (i - 1) / 2 : 0));
        }
        if (pause_us > 0 && job % 10 == 0)
            usleep((useconds_t)pause_us);
    }
    free(w);
    pool_destroy(p);
}

static void test_one_thread(void **state) {
    (void)state;
    check_jobs(1, 50, 0);
}

static void test_many_jobs(void **state) {
    (void)state;
    check_jobs(2, 3000, 0);
    check_jobs(4, 1000, 0);
}

static void test_helpers_fall_asleep_between_jobs(void **state) {
    (void)state;
    check_jobs(3, 300, 2000);
}

static void test_destroy_without_work(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++)
        check_jobs(3, 0, 0);
}

struct seen {
    _Atomic int chunks_of_helpers, nice;
    _Atomic bool denormals;
};

/* Whether something that is smaller than the smallest normal number is kept. */
static bool has_denormals(void) {
    volatile float small = 1e-38f, part = 0.01f;
    return small * part > 0;
}

/* The owner's chunk does not end before a helper had one. */
static void look_chunk(void *arg, int chunk, int thread) {
    struct seen *seen = arg;
    (void)chunk;
    if (thread > 0) {
        seen->nice = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
        seen->denormals = has_denormals();
        seen->chunks_of_helpers++;
    }
    while (seen->chunks_of_helpers == 0)
        usleep(1000);
}

/* Helpers give way to the rest of the machine, and none slows down for numbers next to nothing. */
static void test_helpers_are_nice_and_flush_denormals(void **state) {
    (void)state;
    struct pool *p;
    struct seen seen = {.denormals = true};
    char err[200];
    int own = getpriority(PRIO_PROCESS, 0), wanted = own + 5 < 19 ? own + 5 : 19;
    assert_true(has_denormals());
    assert_int_equal(pool_create(2, wanted, &p, err, sizeof err), 0);
    pool_run(p, look_chunk, &seen, 2);
    pool_destroy(p);
    assert_true(seen.chunks_of_helpers > 0);
    assert_int_equal(seen.nice, wanted);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), own);
#if defined(__x86_64__)
    assert_false(seen.denormals);
    assert_true(has_denormals()); /* the owner says for itself */
    pool_flush_denormals();
    assert_false(has_denormals());
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_thread),
        cmocka_unit_test(test_many_jobs),
        cmocka_unit_test(test_helpers_fall_asleep_between_jobs),
        cmocka_unit_test(test_destroy_without_work),
        cmocka_unit_test(test_helpers_are_nice_and_flush_denormals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
