/* The tests of attention by tensor cores catch what they are there for: the kernels with one fault each
 * (attention_mutants.txt) end with a sentence of the emulator or with wrong results. */
#include "kernels/cuda/steps.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/attention_case.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define N_ORDERS 5
#define WRONG    9    /* exit code of a child whose results are wrong */
#define BOUND    2e-3 /* what a fault does is far above it */

typedef int step(struct gpu_stream *s, const struct cuda_attention *p, int n_singles, int n_tiles,
                 int splits);

#define MUTANT(name) step mutant_##name;
#include <mutants.inc>
#undef MUTANT

static const struct {
    const char *name;
    step *run;
} mutants[] = {
#define MUTANT(name) {#name, mutant_##name},
#include <mutants.inc>
#undef MUTANT
};

static step *chosen;

int steps_attention_tensor(struct gpu_stream *s, const struct cuda_attention *p, int n_singles, int n_tiles,
                           int splits) {
    return chosen(s, p, n_singles, n_tiles, splits);
}

static const struct attention_case cases[] = {
    {4, 2, 32, 60, 12, 1}, {2, 1, 16, 200, 70, 4}, {20, 1, 8, 0, 5, 1}};

static bool right(enum emu_order order, unsigned seed) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct attention_outcome o;
        emu_set_order(order, seed);
        attention_case_run(&cases[i], seed, &o);
        if (!(o.error <= BOUND * (double)cases[i].sharp) || !o.alike)
            return false;
    }
    return true;
}

/* Runs the chosen kernels in a process of its own: true when they were caught. */
static bool caught(int order) {
    (void)fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGSEGV, SIG_DFL);
        (void)signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        bool ok = right(order == 0 ? EMU_FORWARD : order == 1 ? EMU_BACKWARD : EMU_RANDOM, (unsigned)order);
        _exit(ok ? 0 : WRONG);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == WRONG);
    return status != 0;
}

static void test_right_kernels_pass(void **state) {
    (void)state;
    assert_string_equal(mutants[0].name, "unchanged");
    chosen = mutants[0].run;
    for (int order = 0; order < N_ORDERS; order++)
        assert_false(caught(order));
}

static void test_mutants_are_caught(void **state) {
    (void)state;
    for (size_t i = 1; i < sizeof mutants / sizeof mutants[0]; i++) {
        int order = 0;
        chosen = mutants[i].run;
        while (order < N_ORDERS && !caught(order))
            order++;
        print_message("%-26s caught in order %d\n", mutants[i].name, order);
        if (order == N_ORDERS)
            fail_msg("%s was never caught", mutants[i].name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_right_kernels_pass),
                                       cmocka_unit_test(test_mutants_are_caught)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
