/* Exact numbers: reading, order, multiples, text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/decimal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct number {
    char digits[800];
    struct decimal d;
};

static void read_number(const char *text, struct number *out) {
    assert_true(strlen(text) < sizeof out->digits);
    assert_int_equal(decimal_read(text, strlen(text), out->digits, &out->d), 0);
}

static void test_one_number_one_form(void **state) {
    static const char *const same[][4] = {
        {"0", "-0", "0.000", "0e5"},
        {"1", "1.0", "10e-1", "0.01E+2"},
        {"-1200", "-1.2e3", "-1200.00", "-0.0012e6"},
        {"9007199254740993", "9007199254740993.0", "9.007199254740993e15", "90071992547409930e-1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        for (size_t k = 1; k < 4; k++) {
            struct number a, b;
            read_number(same[i][0], &a);
            read_number(same[i][k], &b);
            assert_int_equal(decimal_compare(&a.d, &b.d), 0);
            assert_int_equal(a.d.n_digits, b.d.n_digits);
            assert_int_equal(a.d.exponent, b.d.exponent);
            assert_true(decimal_hash(&a.d) == decimal_hash(&b.d));
        }
}

static void test_order(void **state) {
    static const char *const rising[] = {"-1e400",
                                         "-2",
                                         "-1.5",
                                         "-1",
                                         "-1e-400",
                                         "0",
                                         "1e-400",
                                         "0.1",
                                         "0.10000000000000000001",
                                         "1",
                                         "1.5",
                                         "2",
                                         "10",
                                         "9007199254740992",
                                         "9007199254740993",
                                         "1e308",
                                         "1e400"};
    (void)state;
    for (size_t i = 0; i < sizeof rising / sizeof rising[0]; i++)
        for (size_t k = 0; k < sizeof rising / sizeof rising[0]; k++) {
            struct number a, b;
            read_number(rising[i], &a);
            read_number(rising[k], &b);
            int order = decimal_compare(&a.d, &b.d);
            if ((order > 0) - (order < 0) != (i > k) - (i < k))
                fail_msg("%s against %s gave %d", rising[i], rising[k], order);
        }
}

static void test_integers(void **state) {
    static const struct {
        const char *text;
        bool integer;
    } cases[] = {{"0", true},     {"1", true},     {"1.0", true}, {"1.5", false}, {"1e300", true},
                 {"1e-1", false}, {"10e-1", true}, {"-3", true},  {"0.0", true},  {"1e-400", false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct number a;
        read_number(cases[i].text, &a);
        if (decimal_is_integer(&a.d) != cases[i].integer)
            fail_msg("%s", cases[i].text);
    }
}

static void test_multiples(void **state) {
    static const struct {
        const char *a, *b;
        bool multiple;
    } cases[] = {
        {"10", "2", true},
        {"7", "2", false},
        {"0", "3", true},
        {"4.5", "1.5", true},
        {"19.99", "0.01", true},
        {"0.0075", "0.0001", true},
        {"0.00751", "0.0001", false},
        {"-6", "3", true},
        {"1e308", "0.5", true},
        {"1e308", "0.123456789", false},
        {"12391239123", "1e-8", true},
        {"35", "1.5", false},
        {"3e20", "300", true},
        {"300", "3e20", false},
        {"1e400", "7", false},
        {"999999999999999999", "999999999999999999", true},
        {"999999999999999998", "999999999999999999", false},
        {"123456789012345678901234567890", "3", true},
        {"123456789012345678901234567891", "3", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct number a, b;
        read_number(cases[i].a, &a);
        read_number(cases[i].b, &b);
        if (decimal_is_multiple(&a.d, &b.d) != cases[i].multiple)
            fail_msg("%s of %s", cases[i].a, cases[i].b);
    }
}

static void test_text(void **state) {
    static const char *const cases[][2] = {
        {"0.0", "0"},
        {"-0", "0"},
        {"1.50", "1.5"},
        {"20", "20"},
        {"-0.05", "-0.05"},
        {"1e2", "100"},
        {"1e300", "1e+300"},
        {"12e300", "1.2e+301"},
        {"1e-9", "1e-9"},
        {"1234.5678", "1234.5678"},
        {"12345678901234567890", "12345678901234567890"},
    };
    char text[64], small[4];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct number a;
        read_number(cases[i][0], &a);
        assert_string_equal(decimal_text(&a.d, text, sizeof text), cases[i][1]);
    }
    struct number a;
    read_number("123456", &a);
    assert_string_equal(decimal_text(&a.d, small, sizeof small), "123");
    char *longest = malloc(701);
    assert_non_null(longest);
    memset(longest, '7', 700);
    longest[700] = '\0';
    read_number(longest, &a);
    decimal_text(&a.d, text, sizeof text);
    assert_int_equal(strlen(text), sizeof text - 1);
    free(longest);
}

static void test_exponents_end(void **state) {
    char digits[32];
    struct decimal d;
    (void)state;
    assert_int_equal(decimal_read("1e999999999", 11, digits, &d), 0);
    assert_int_equal(decimal_read("1e1000000000", 12, digits, &d), -ERANGE);
    assert_int_equal(decimal_read("1e-99999999999999999999", 23, digits, &d), -ERANGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_number_one_form),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_multiples),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_exponents_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
