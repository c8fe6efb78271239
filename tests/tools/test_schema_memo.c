/* Remembered verdicts: many of them, and what was never asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/schema_memo.h"

static void test_verdicts(void **state) {
    struct schema_memo memo = {0};
    (void)state;
    assert_int_equal(schema_memo_get(&memo, 0, 0), -1);
    for (uint32_t node = 0; node < 100; node++)
        for (uint32_t value = 0; value < 100; value++)
            if ((node + value) % 3 != 0)
                schema_memo_put(&memo, node, value * 7919, (node * value) % 2 == 0);
    for (uint32_t node = 0; node < 100; node++)
        for (uint32_t value = 0; value < 100; value++) {
            int wanted = (node + value) % 3 == 0 ? -1 : (node * value) % 2 == 0;
            assert_int_equal(schema_memo_get(&memo, node, value * 7919), wanted);
        }
    schema_memo_put(&memo, 1, 0, false); /* again: the later one stands */
    schema_memo_put(&memo, 1, 0, true);
    assert_int_equal(schema_memo_get(&memo, 1, 0), 1);
    schema_memo_finish(&memo);
    assert_int_equal(schema_memo_get(&memo, 1, 0), -1);
}

/* A table that is full keeps what it has. */
static void test_full(void **state) {
    struct schema_memo memo = {0};
    (void)state;
    for (uint32_t value = 0; value < 700000; value++)
        schema_memo_put(&memo, 5, value, true);
    assert_true(memo.n < 700000);
    assert_int_equal(schema_memo_get(&memo, 5, 0), 1);
    assert_int_equal(schema_memo_get(&memo, 5, 699999), -1);
    schema_memo_finish(&memo);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_verdicts), cmocka_unit_test(test_full)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
