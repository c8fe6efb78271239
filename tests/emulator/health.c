/* How the emulated GPUs are: they work, have failed, or stall. */
#include "kernels/cuda/host.h"
#include "tests/emulator/block.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char failure[160];
static uint64_t launches;
static unsigned looks_stalled; /* UINT_MAX: for ever */

uint64_t emu_launches(void) {
    return launches;
}

void emu_set_failure(const char *what) {
    (void)snprintf(failure, sizeof failure, "%s", what != NULL ? what : "");
}

const char *gpu_failure(void) {
    return failure;
}

int gpu_fail(const char *what, int code) {
    if (failure[0] == '\0' && code == 0)
        (void)snprintf(failure, sizeof failure, "%s", what);
    if (failure[0] == '\0')
        (void)snprintf(failure, sizeof failure, "%s: error %d", what, code);
    return -EIO;
}

int health_now(void) {
    return failure[0] != '\0' ? -EIO : 0;
}

/* As a driver whose handler of exit() waits for the GPU. */
static void wait_at_exit(void) {
    while (looks_stalled > 0)
        (void)pause();
}

void emu_set_stalled(unsigned looks) {
    static bool once;
    if (!once && looks > 0)
        once = atexit(wait_at_exit) == 0;
    looks_stalled = looks;
}

bool health_stalls(void) {
    return looks_stalled > 0;
}

void health_looked(void) {
    if (looks_stalled > 0 && looks_stalled < UINT_MAX)
        looks_stalled--;
}

void health_look_for_stall(void) {
    const char *stall = getenv("EMULATOR_STALL_FILE");
    if (stall != NULL && unlink(stall) == 0)
        emu_set_stalled(UINT_MAX);
}

/* EMULATOR_FAIL_AFTER is the number of kernels it runs before it fails, EMULATOR_FAIL_FILE a file that is
 * there from then on. */
void health_count_launch(void) {
    const char *text = getenv("EMULATOR_FAIL_AFTER"), *file = getenv("EMULATOR_FAIL_FILE");
    launches++;
    health_look_for_stall();
    if (file != NULL && access(file, F_OK) == 0 && failure[0] == '\0')
        emu_set_failure("an illegal memory access (EMULATOR_FAIL_FILE)");
    if (text != NULL && launches >= strtoull(text, NULL, 10) && failure[0] == '\0')
        emu_set_failure("an illegal memory access (EMULATOR_FAIL_AFTER)");
}
