#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/suggest.h"

#include <string.h>

static const char *const names[] = {"calculator", "date_add", "date_diff", "http_fetch",
                                    "list_files", "now",      "read_file", "write_file"};

static const char *at(const void *arg, size_t i) {
    const char *const *list = arg;
    return list[i];
}

static const char *suggest(const char *wrong) {
    const char *name = suggest_name(wrong, sizeof names / sizeof names[0], at, names);
    return name != NULL ? name : "(none)";
}

static void test_close(void **state) {
    (void)state;
    assert_string_equal(suggest("calculater"), "calculator");
    assert_string_equal(suggest("Calculator"), "calculator");
    assert_string_equal(suggest("calc"), "(none)");
    assert_string_equal(suggest("date-add"), "date_add");
    assert_string_equal(suggest("date_dif"), "date_diff");
    assert_string_equal(suggest("read_flie"), "read_file"); /* two letters swapped */
    assert_string_equal(suggest("readfile"), "read_file");
    assert_string_equal(suggest("nwo"), "now");
    assert_string_equal(suggest("http-fetch"), "http_fetch");
}

static void test_far(void **state) {
    char longer[200];
    (void)state;
    assert_string_equal(suggest(""), "(none)");
    assert_string_equal(suggest("weather"), "(none)");
    assert_string_equal(suggest("x"), "(none)");
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_string_equal(suggest(longer), "(none)");
    assert_null(suggest_name("now", 0, at, names));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_close), cmocka_unit_test(test_far)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
