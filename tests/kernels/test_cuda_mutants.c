/* The tests of attention by tensor cores catch what they are there for: the kernels with one fault each
 * (attention_mutants.txt) end with a sentence of the emulator or with wrong results. */
#include "kernels/cuda/steps.h"
#include "tests/emulator/apart.h"
#include "tests/kernels/attention_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#define BOUND 2e-3 /* what a fault does is far above it */

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

/* 0 when the chosen kernels are right. */
static int run_cases(void *arg) {
    const unsigned *seed = arg;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct attention_outcome o;
        attention_case_run(&cases[i], *seed, &o);
        if (!(o.error <= BOUND * (double)cases[i].sharp) || !o.alike || !o.ready)
            return -1;
    }
    return 0;
}

/* The emulator ended them, or they were wrong. */
static bool caught(int order) {
    static char out[65536];
    unsigned seed = (unsigned)order;
    int rc = apart_run(run_cases, &seed, order, out, sizeof out);
    assert_true(rc == -1 || rc == 0 || rc == APART_WRONG);
    return rc != 0;
}

static void test_right_kernels_pass(void **state) {
    (void)state;
    assert_string_equal(mutants[0].name, "unchanged");
    chosen = mutants[0].run;
    for (int order = 0; order < APART_ORDERS; order++)
        assert_false(caught(order));
}

static void test_mutants_are_caught(void **state) {
    (void)state;
    for (size_t i = 1; i < sizeof mutants / sizeof mutants[0]; i++) {
        int order = 0;
        chosen = mutants[i].run;
        while (order < APART_ORDERS && !caught(order))
            order++;
        print_message("%-26s caught in order %d\n", mutants[i].name, order);
        if (order == APART_ORDERS)
            fail_msg("%s was never caught", mutants[i].name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_right_kernels_pass),
                                       cmocka_unit_test(test_mutants_are_caught)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
