/* Attention by tensor cores against sums in double, and bit for bit the same whether a row comes alone or in
 * a tile; also far into a long session. */
#include "tests/emulator/emulator.h"
#include "tests/kernels/attention_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* Queries and softmax weights are rounded to F16, 2^-11 of each: scores differ by some 2^-12 of their spread,
 * and so do weights. */
#define BOUND 6e-4

static void check(const struct attention_case *c, enum emu_order order, unsigned seed) {
    struct attention_outcome o;
    double bound = BOUND * (c->sharp > 1 ? (double)c->sharp : 1);
    emu_set_order(order, seed);
    attention_case_run(c, seed, &o);
    print_message("heads %2d/%d of %3d, positions %d to %d, scores +-%g: error %.2g, bound %g\n", c->n_heads,
                  c->n_kv_heads, c->head_dim, c->first, c->first + c->n - 1, (double)c->sharp, o.error,
                  bound);
    assert_true(o.error <= bound);
    assert_true(o.alike);
    assert_true(o.ready);
    assert_int_equal(emu_memory_used(), 0);
}

/* Head sizes of every kernel, with and without zeros behind them; groups of 1 to 20; tiles that are full, cut
 * at both ends, and over several pages. */
static void test_shapes(void **state) {
    (void)state;
    static const struct attention_case cases[] = {
        {4, 2, 8, 0, 5, 1},     {2, 2, 32, 60, 9, 1},    {8, 2, 64, 3, 40, 1},
        {3, 1, 80, 100, 31, 4}, {4, 1, 96, 63, 2, 1},    {8, 1, 128, 20, 9, 1},
        {20, 1, 16, 0, 7, 1},   {2, 1, 136, 120, 10, 1}, {2, 1, 256, 62, 4, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check(&cases[i], (enum emu_order)(i % 3), (unsigned)i);
}

/* Rows of several parts: at the ends of parts, in the middle, with scores far apart. */
static void test_parts(void **state) {
    (void)state;
    static const struct attention_case cases[] = {
        {4, 1, 32, 250, 14, 1}, {2, 2, 16, 510, 4, 1}, {4, 2, 64, 700, 8, 6}, {10, 1, 32, 1020, 6, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check(&cases[i], (enum emu_order)((i + 1) % 3), (unsigned)i + 20);
}

/* Where parts become longer, and at 128K. */
static void test_long_sessions(void **state) {
    (void)state;
    if (getenv("HERMESD_GPU_SMALL") != NULL) {
        print_message("skipped: HERMESD_GPU_SMALL is set\n");
        skip();
    }
    static const struct attention_case cases[] = {{2, 1, 16, 8190, 4, 1}, {4, 1, 32, 131070, 2, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check(&cases[i], EMU_FORWARD, (unsigned)i + 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_long_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
