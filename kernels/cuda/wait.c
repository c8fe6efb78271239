#include "kernels/cuda/wait.h"

#include "base/clock.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/host.h"

#include <sched.h>
#include <stdio.h>
#include <time.h>

static int limit_ms = CUDA_WAIT_MS;

void wait_set_limit(int ms) {
    limit_ms = ms > 0 ? ms : CUDA_WAIT_MS;
}

struct wait wait_begin(void) {
    return (struct wait){clock_mono_ns()};
}

int wait_more(const struct wait *w) {
    uint64_t waited = clock_mono_ns() - w->begun_ns, sleep = waited / WAIT_SLEEP_PART;
    if (waited < WAIT_AWAKE_NS) {
        (void)sched_yield();
        return 0;
    }
    if (waited >= (uint64_t)limit_ms * 1000000) {
        char what[120];
        (void)snprintf(what, sizeof what, "it has not done its work within %g s, the limit gpu_wait_ms",
                       limit_ms / 1e3);
        return gpu_fail(what, 0);
    }
    sleep = sleep < WAIT_LONGEST_SLEEP ? sleep : WAIT_LONGEST_SLEEP;
    const struct timespec time = {.tv_nsec = (long)sleep};
    (void)nanosleep(&time, NULL); /* cut short: one look more */
    return 0;
}
