/* How far ahead guessing pays, from made-up measurements. */
#include "engine/speculate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MOST SPECULATE_ROWS

/* Rows as expensive as steps: nothing can be gained. Rows for nothing: everything. */
static void test_what_rows_cost(void **state) {
    (void)state;
    const struct speculate_cost dear = {.one_ns = 10e6, .more_ns = 10e6};
    const struct speculate_cost cheap = {.one_ns = 10e6, .more_ns = 1e3};
    const struct speculate_cost middle = {.one_ns = 10e6, .more_ns = 2e6};
    assert_int_equal(speculate_choose(&dear, 0, 0.95, 0, MOST), 0);
    assert_int_equal(speculate_choose(&cheap, 0, 0.95, 0, MOST), MOST);
    int few = speculate_choose(&middle, 0, 0.6, 0, MOST), many = speculate_choose(&middle, 0, 0.9, 0, MOST);
    assert_in_range(few, 1, 3);
    assert_in_range(many, few + 1, MOST);
    assert_int_equal(speculate_choose(&middle, 0, 0.1, 0, MOST), 0);
    assert_int_equal(speculate_choose(&cheap, 0, 0.95, 0, 4), 4);
}

/* Beside others a row takes their time too. */
static void test_company(void **state) {
    (void)state;
    const struct speculate_cost cost = {.one_ns = 10e6, .more_ns = 3e6};
    assert_true(speculate_choose(&cost, 0, 0.8, 0, MOST) > 0);
    assert_int_equal(speculate_choose(&cost, 0, 0.8, 60, MOST), 0);
}

/* Before the first step nothing is known; then what a prompt's row took stands for what rows take. */
static void test_not_measured(void **state) {
    (void)state;
    struct speculate_cost cost = {0};
    assert_int_equal(speculate_choose(&cost, 1e6, 0.9, 0, MOST), 0);
    speculate_measure(&cost, 1, 10e6, 0);
    assert_int_equal(speculate_choose(&cost, 0, 0.9, 0, MOST), 0);
    assert_true(speculate_choose(&cost, 1e6, 0.9, 0, MOST) > 0);
}

/* What is measured counts more than what was assumed, both ways. */
static void test_measured(void **state) {
    (void)state;
    struct speculate_cost cost = {0};
    for (int i = 0; i < 20; i++) {
        speculate_measure(&cost, 1, 10e6, 1e6);
        speculate_measure(&cost, 5, 50e6, 1e6);
    }
    assert_int_equal(speculate_choose(&cost, 1e6, 0.9, 0, MOST), 0);
    for (int i = 0; i < 20; i++)
        speculate_measure(&cost, 5, 12e6, 1e6);
    assert_true(speculate_choose(&cost, 1e6, 0.9, 0, MOST) > 4);
    /* One bad moment is forgotten although no rows are tried any more. */
    cost = (struct speculate_cost){.one_ns = 10e6, .more_ns = 10e6};
    for (int i = 0; i < 200; i++)
        speculate_measure(&cost, 1, 10e6, 1e6);
    assert_true(speculate_choose(&cost, 1e6, 0.9, 0, MOST) > 0);
}

/* A session whose guesses are wrong stops guessing, and tries again much later. */
static void test_luck(void **state) {
    (void)state;
    const struct speculate_cost cost = {.one_ns = 10e6, .more_ns = 2e6};
    struct speculate_luck luck = {0};
    int tries = 0, again = 0;
    assert_true(speculate_choose(&cost, 0, speculate_chance(&luck, 3), 0, MOST) > 0);
    assert_true(speculate_chance(&luck, 30) > speculate_chance(&luck, 3));
    for (; tries < 20 && speculate_choose(&cost, 0, speculate_chance(&luck, 3), 0, MOST) > 0; tries++)
        speculate_learn(&luck, 3, 3, 0);
    assert_in_range(tries, 1, 8);
    for (int i = 0; i < 10; i++)
        speculate_learn(&luck, 3, 1, 0);
    for (; again < 1000 && speculate_choose(&cost, 0, speculate_chance(&luck, 3), 0, MOST) == 0; again++)
        speculate_skipped(&luck, 3);
    assert_in_range(again, 10, 500);
    for (int i = 0; i < 10; i++)
        speculate_learn(&luck, 30, 8, 8);
    assert_true(speculate_chance(&luck, 30) > 0.95);
    assert_true(speculate_chance(&luck, 3) < 0.4); /* another kind */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_rows_cost), cmocka_unit_test(test_company),
        cmocka_unit_test(test_not_measured),   cmocka_unit_test(test_measured),
        cmocka_unit_test(test_luck),
    };
    return cmocka_run_group_tests_name("speculation", tests, NULL, NULL);
}
