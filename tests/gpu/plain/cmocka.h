/* What the kernels' tests use of cmocka, for machines that have none. Included after setjmp.h, stdarg.h and
 * stddef.h, as cmocka's own. */
#ifndef TESTS_GPU_PLAIN_CMOCKA_H
#define TESTS_GPU_PLAIN_CMOCKA_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

enum plain_end { PLAIN_PASSED, PLAIN_FAILED, PLAIN_SKIPPED };

/* One per program: the header is included by several of its files. */
extern jmp_buf plain_out;
extern const char *plain_filter;
int plain_run(const struct CMUnitTest *tests, size_t n);
_Noreturn void plain_fail(const char *file, int line, const char *what);

#define cmocka_unit_test(f)                                                                                  \
    { #f, f }
#define cmocka_run_group_tests(tests, setup, teardown) plain_run(tests, sizeof(tests) / sizeof((tests)[0]))
#define cmocka_set_test_filter(pattern)                (plain_filter = (pattern))

#define print_message(...) (void)printf(__VA_ARGS__)
#define skip()             longjmp(plain_out, PLAIN_SKIPPED + 1)
#define fail_msg(...)                                                                                        \
    do {                                                                                                     \
        (void)printf(__VA_ARGS__);                                                                           \
        (void)printf("\n");                                                                                  \
        plain_fail(__FILE__, __LINE__, "failed");                                                            \
    } while (0)
#define PLAIN_CHECK(what, text)                                                                              \
    do {                                                                                                     \
        if (!(what))                                                                                         \
            plain_fail(__FILE__, __LINE__, text);                                                            \
    } while (0)
#define assert_true(x)               PLAIN_CHECK(x, #x)
#define assert_false(x)              PLAIN_CHECK(!(x), "not " #x)
#define assert_non_null(x)           PLAIN_CHECK((x) != NULL, #x " is NULL")
#define assert_null(x)               PLAIN_CHECK((x) == NULL, #x " is not NULL")
#define assert_int_equal(a, b)       PLAIN_CHECK((intmax_t)(a) == (intmax_t)(b), #a " is not " #b)
#define assert_string_equal(a, b)    PLAIN_CHECK(strcmp(a, b) == 0, #a " is not " #b)
#define assert_memory_equal(a, b, n) PLAIN_CHECK(memcmp(a, b, n) == 0, #a " is not " #b)

#endif
