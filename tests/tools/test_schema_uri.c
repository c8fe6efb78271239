/* References against a base: the examples of RFC 3986, 5.4, and those of schemas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/schema_build.h"

#include <stdlib.h>

struct resolve {
    const char *base, *reference, *wanted;
};

static void all(const struct resolve *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char *uri = schema_uri_resolve(cases[i].base, cases[i].reference);
        assert_non_null(uri);
        assert_string_equal(uri, cases[i].wanted);
        free(uri);
    }
}

static void test_rfc_examples(void **state) {
#define BASE "http://a/b/c/d;p?q"
    static const struct resolve cases[] = {
        {BASE, "g:h", "g:h"},
        {BASE, "g", "http://a/b/c/g"},
        {BASE, "./g", "http://a/b/c/g"},
        {BASE, "g/", "http://a/b/c/g/"},
        {BASE, "/g", "http://a/g"},
        {BASE, "//g", "http://g"},
        {BASE, "?y", "http://a/b/c/d;p?y"},
        {BASE, "g?y", "http://a/b/c/g?y"},
        {BASE, "#s", "http://a/b/c/d;p?q"},
        {BASE, "g#s", "http://a/b/c/g"},
        {BASE, "", "http://a/b/c/d;p?q"},
        {BASE, ".", "http://a/b/c/"},
        {BASE, "./", "http://a/b/c/"},
        {BASE, "..", "http://a/b/"},
        {BASE, "../g", "http://a/b/g"},
        {BASE, "../..", "http://a/"},
        {BASE, "../../g", "http://a/g"},
        {BASE, "../../../g", "http://a/g"},
        {BASE, "/./g", "http://a/g"},
        {BASE, "/../g", "http://a/g"},
        {BASE, "g.", "http://a/b/c/g."},
        {BASE, "..g", "http://a/b/c/..g"},
        {BASE, "./../g", "http://a/b/g"},
        {BASE, "g/./h", "http://a/b/c/g/h"},
        {BASE, "g/../h", "http://a/b/c/h"},
    };
#undef BASE
    (void)state;
    all(cases, sizeof cases / sizeof cases[0]);
}

static void test_schemas(void **state) {
    static const struct resolve cases[] = {
        {"", "item.json", "item.json"},
        {"", "#", ""},
        {"dir/root.json", "item.json", "dir/item.json"},
        {"http://a", "b", "http://a/b"},
        {"urn:x:y", "#z", "urn:x:y"},
        {"urn:x:y", "http://a/b#c", "http://a/b"},
    };
    (void)state;
    all(cases, sizeof cases / sizeof cases[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rfc_examples), cmocka_unit_test(test_schemas)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
