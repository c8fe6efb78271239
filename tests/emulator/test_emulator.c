/* The emulator catches what it promises to catch: each small program is right as it stands, and with one
 * fault it ends with a sentence or gives a wrong result, in one of the orders at least. */
#include "tests/emulator/apart.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

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
    FAULT(suite_reduce, SUITE_OTHER_PLACE, "it waits for this one somewhere else"),
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
    FAULT(suite_ranks, SUITE_MEMORY_OF_ANOTHER_GPU, " uses memory of GPU 2"),
    FAULT(suite_ranks, SUITE_QUEUE_OF_ANOTHER_GPU, "on a queue of GPU 2 while GPU 0 is in use"),
    FAULT(suite_ranks, SUITE_NO_SUM, NULL),
    FAULT(suite_ranks, SUITE_SUM_NOT_BEGUN, "that nobody began"),
    FAULT(suite_ranks, SUITE_SUM_WITHOUT_A_RANK, "rank 2 takes no part in a sum"),
    FAULT(suite_ranks, SUITE_SUM_TWICE_BY_A_RANK, "rank 0 adds twice"),
    FAULT(suite_ranks, SUITE_SUM_OF_OTHER_COUNTS, "rank 2 adds 63 numbers to a sum of 64"),
    FAULT(suite_ranks, SUITE_SUM_IN_OTHER_MEMORY, "a sum of GPU 0 uses memory of GPU 2"),
    FAULT(suite_ranks, SUITE_SUM_OF_ANOTHER_GPU, "and GPU 2 is in use"),
    FAULT(suite_ranks, SUITE_GRAPH_OF_A_RANK_NOT_RUN, "the queue of GPU 1 never comes to the sum"),
    FAULT(suite_ranks, SUITE_LOST_NOT_ASKED, "its sum never ends: nobody asks the library"),
};

static int run_fault(void *arg) {
    const struct fault *f = arg;
    return f->run(f->fault);
}

static void test_right_programs_are_right(void **state) {
    (void)state;
    for (int order = 0; order < APART_ORDERS; order++) {
        apart_set_order(order);
        assert_int_equal(suite_collectives(), 0);
        assert_int_equal(suite_reduce(SUITE_RIGHT), 0);
        assert_int_equal(suite_product(SUITE_RIGHT), 0);
        assert_int_equal(suite_chain(SUITE_RIGHT), 0);
        assert_int_equal(suite_ranks(SUITE_RIGHT), 0);
    }
    assert_true(emu_launches() > 0);
    assert_int_equal(emu_memory_used(), 0);
}

static void test_faults_are_caught(void **state) {
    (void)state;
    assert_int_equal(sizeof faults / sizeof faults[0], SUITE_FAULTS - 1);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct fault f = faults[i];
        apart_must_be_caught(f.name, run_fault, &f, f.says);
    }
}

/* A failure of the GPU stays until the process ends. */
static void test_a_failure_stays(void **state) {
    (void)state;
    static char out[4096];
    struct fault program = {"", suite_reduce, SUITE_RIGHT, NULL};
    emu_set_failure("an illegal address");
    int rc = apart_run(run_fault, &program, 0, out, sizeof out);
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
