/* What the machine can do at most is measured, not looked up: figures that are there and not absurd. */
#include "kernels/cpu/limits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_figures_are_there(void **state) {
    (void)state;
    char err[200] = "";
    double read = 0, f32 = 0, int8 = 0;
    assert_int_equal(limits_read(2, 8 << 20, 2, &read, err, sizeof err), 0);
    assert_true(read > 1e6 && read < 1e14);
    assert_int_equal(limits_f32(1, &f32, err, sizeof err), 0);
    assert_true(f32 > 1e6 && f32 < 1e14);
    assert_true(strlen(limits_f32_name()) > 0);
    int rc = limits_int8(1, &int8, err, sizeof err);
    if (strcmp(limits_int8_name(), "none") == 0) {
        assert_int_equal(rc, -ENOTSUP);
    } else {
        assert_int_equal(rc, 0);
        assert_true(int8 > 1e6 && int8 < 1e15);
    }
}

static void test_too_few_bytes(void **state) {
    (void)state;
    char err[200] = "";
    double read = 7;
    assert_int_equal(limits_read(4, 8192, 1, &read, err, sizeof err), -EINVAL);
    assert_string_equal(err, "8192 bytes are too few to measure reading with 4 threads.");
    assert_true(read == 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures_are_there),
        cmocka_unit_test(test_too_few_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
