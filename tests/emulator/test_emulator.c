/* The emulator catches what it promises to catch: each small program is right as it stands, and with one
 * fault it ends with a sentence or gives a wrong result, in one of the orders at least. */
#include "tests/emulator/emulator.h"
#include "tests/emulator/suite.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define N_ORDERS 5

static void set_order(int i) {
    emu_set_order(i == 0 ? EMU_FORWARD : i == 1 ? EMU_BACKWARD : EMU_RANDOM, (uint64_t)i);
}

struct fault {
    const char *name;
    int (*run)(enum suite_fault fault);
    enum suite_fault fault;
    const char *says; /* NULL: the result is wrong */
};

#define FAULT(run, fault, says)                                                                              \
    { #fault, run, fault, says }

static const struct fault faults[] = {
    FAULT(suite_reduce, SUITE_NO_BARRIER, NULL),
    FAULT(suite_reduce, SUITE_DIVERGENT_BARRIER, "different barriers"),
    FAULT(suite_reduce, SUITE_BARRIER_AFTER_EXIT, "the others have exited"),
    FAULT(suite_reduce, SUITE_SHARED_OVERRUN, "shared memory was used outside"),
    FAULT(suite_reduce, SUITE_SHARED_UNDERRUN, "4 bytes before its start"),
    FAULT(suite_reduce, SUITE_SHARED_FAR, "shared memory was used outside"),
    FAULT(suite_reduce, SUITE_GLOBAL_OVERRUN, "was written 0 bytes behind its end"),
    FAULT(suite_reduce, SUITE_GLOBAL_FAR, "bytes behind its end"),
    FAULT(suite_reduce, SUITE_FREED, "that has been freed"),
    FAULT(suite_reduce, SUITE_UNWRITTEN_SHARED, NULL),
    FAULT(suite_reduce, SUITE_UNWRITTEN_GLOBAL, NULL),
    FAULT(suite_reduce, SUITE_WRONG_MASK, "never came"),
    FAULT(suite_reduce, SUITE_OTHER_MASKS, " name"),
    FAULT(suite_reduce, SUITE_NOT_IN_MASK, "is not in its own mask"),
    FAULT(suite_reduce, SUITE_LANE_OUTSIDE_MASK, "does not name"),
    FAULT(suite_reduce, SUITE_HOST_READS, "signal 11"),
    FAULT(suite_reduce, SUITE_PAGEABLE_COPY, "memory that is not host memory of gpu_alloc_host()"),
    FAULT(suite_reduce, SUITE_EARLY_HOST_WRITE, NULL),
    FAULT(suite_reduce, SUITE_NO_SYNC, NULL),
    FAULT(suite_product, SUITE_WRONG_FRAGMENT_A, NULL),
    FAULT(suite_product, SUITE_WRONG_FRAGMENT_B, NULL),
    FAULT(suite_product, SUITE_WRONG_FRAGMENT_D, NULL),
    FAULT(suite_product, SUITE_WRONG_ROW, NULL),
    FAULT(suite_product, SUITE_LATE_WAIT, NULL),
    FAULT(suite_product, SUITE_NO_WAIT, NULL),
    FAULT(suite_product, SUITE_ONE_GROUP_TOO_FEW, NULL),
    FAULT(suite_product, SUITE_NO_SECOND_BARRIER, NULL),
    FAULT(suite_product, SUITE_MISALIGNED, "not aligned"),
    FAULT(suite_chain, SUITE_NO_WAIT_PREVIOUS, "no thread of the block waited"),
    FAULT(suite_chain, SUITE_READ_BEFORE_WAIT, NULL),
    FAULT(suite_chain, SUITE_WRITE_BEFORE_WAIT, NULL),
    FAULT(suite_chain, SUITE_NO_EVENT, NULL),
    FAULT(suite_chain, SUITE_STALE_POINTER, "that has been freed"),
    FAULT(suite_chain, SUITE_STALE_VALUE, NULL),
    FAULT(suite_chain, SUITE_STALE_INTERMEDIATE, NULL),
    FAULT(suite_chain, SUITE_FIRST_BLOCK_REDUCES, NULL),
};

#define WRONG 9 /* exit code of a child whose result is wrong */

/* Runs one program in a process of its own; its words in `out`. The exit code, or -1 after a signal. */
static int run_apart(const struct fault *f, enum suite_fault fault, int order, char *out, size_t size) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    (void)fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGSEGV, SIG_DFL);
        (void)signal(SIGABRT, SIG_DFL);
        set_order(order);
        _exit(f->run(fault) == 0 ? 0 : WRONG);
    }
    (void)close(ends[1]);
    size_t len = 0;
    ssize_t n;
    while (len + 64 < size && (n = read(ends[0], out + len, size - len - 64)) > 0)
        len += (size_t)n;
    (void)close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    (void)snprintf(out + len, size - len, WIFSIGNALED(status) ? "\nsignal %d\n" : "\nexit %d\n",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return WIFSIGNALED(status) ? -1 : WEXITSTATUS(status);
}

static void test_right_programs_are_right(void **state) {
    (void)state;
    for (int order = 0; order < N_ORDERS; order++) {
        set_order(order);
        assert_int_equal(suite_collectives(), 0);
        assert_int_equal(suite_reduce(SUITE_RIGHT), 0);
        assert_int_equal(suite_product(SUITE_RIGHT), 0);
        assert_int_equal(suite_chain(SUITE_RIGHT), 0);
    }
    assert_true(emu_launches() > 0);
    assert_int_equal(emu_memory_used(), 0);
}

static void test_faults_are_caught(void **state) {
    (void)state;
    static char out[65536];
    assert_int_equal(sizeof faults / sizeof faults[0], SUITE_FAULTS - 1);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const struct fault *f = &faults[i];
        int caught = 0;
        for (int order = 0; order < N_ORDERS; order++) {
            int rc = run_apart(f, f->fault, order, out, sizeof out);
            if (f->says == NULL ? rc == WRONG : rc != 0 && strstr(out, f->says) != NULL)
                caught++;
            else if (rc != 0)
                fail_msg("%s, order %d: caught otherwise than promised ('%s'): %s", f->name, order,
                         f->says != NULL ? f->says : "a wrong result", out);
        }
        print_message("%-26s caught in %d of %d orders\n", f->name, caught, N_ORDERS);
        if (caught == 0)
            fail_msg("%s was never caught", f->name);
    }
}

/* A failure of the GPU stays until the process ends. */
static void test_a_failure_stays(void **state) {
    (void)state;
    static char out[4096];
    static const struct fault program = {"", suite_reduce, SUITE_RIGHT, NULL};
    emu_set_failure("an illegal address");
    int rc = run_apart(&program, SUITE_RIGHT, 0, out, sizeof out);
    emu_set_failure(NULL);
    assert_true(rc != 0);
    assert_int_equal(suite_reduce(SUITE_RIGHT), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_programs_are_right),
        cmocka_unit_test(test_faults_are_caught),
        cmocka_unit_test(test_a_failure_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
