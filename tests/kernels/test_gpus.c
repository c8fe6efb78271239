#include "kernels/gpus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_numbers_are_read(void **state) {
    (void)state;
    struct gpus g = {0};
    assert_int_equal(gpus_parse("3", &g), 0);
    assert_int_equal(g.n, 1);
    assert_int_equal(gpus_id(&g, 0), 3);
    assert_int_equal(gpus_parse("1,0,63", &g), 0);
    assert_int_equal(gpus_count(&g), 3);
    assert_int_equal(gpus_id(&g, 0), 1);
    assert_int_equal(gpus_id(&g, 1), 0);
    assert_int_equal(gpus_id(&g, 2), 63);
    assert_int_equal(gpus_parse("0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15", &g), 0);
    assert_int_equal(g.n, GPUS_MAX);
}

static void test_other_texts_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",    ",",  "0,", ",0", "0,,1",       "0 ,1", " 0",    "-1",
        "0,0", "64", "a",  "0x", "9999999999", "0;1",  "1,0,1", "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16"};
    struct gpus g = {.n = 1, .ids = {7}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(gpus_parse(bad[i], &g), -EINVAL);
        assert_int_equal(g.n, 1);
        assert_int_equal(g.ids[0], 7);
    }
}

static void test_nobody_said(void **state) {
    (void)state;
    struct gpus g = {0};
    assert_int_equal(gpus_count(&g), 1);
    assert_int_equal(gpus_id(&g, 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_read),
        cmocka_unit_test(test_other_texts_are_refused),
        cmocka_unit_test(test_nobody_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
