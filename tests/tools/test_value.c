/* JSON values with exact numbers: reading, finding, equality, printing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct json_limits limits = {
    .max_bytes = 1u << 20, .max_nodes = 100000, .max_depth = 64, .any_number = true};

static struct value_document *parsed(const char *text) {
    struct value_document *document = NULL;
    char err[256] = "";
    if (value_parse(text, strlen(text), &limits, &document, err, sizeof err) != 0)
        fail_msg("%s: %s", text, err);
    return document;
}

static void test_reading(void **state) {
    struct value_document *d = parsed(
        " {\"b\": [1, -2.50, true, false, null], \"a\\u00e9\": \"x\\n\\ud83d\\ude00\\\"/\", \"c\": {}} ");
    const struct value *root = value_root(d), *b, *a;
    (void)state;
    assert_int_equal(root->kind, VALUE_OBJECT);
    assert_int_equal(root->count, 3);
    assert_int_equal(value_count(d), 9);
    b = value_get(root, "b");
    assert_ptr_equal(b, root->child);
    assert_int_equal(b->count, 5);
    assert_string_equal(b->child->next->text, "-2.50");
    assert_true(b->child->next->number.negative);
    assert_int_equal(b->child->next->next->kind, VALUE_TRUE);
    assert_int_equal(b->child->next->next->next->next->kind, VALUE_NULL);
    assert_null(b->child->next->next->next->next->next);
    a = value_get(root, "a\xc3\xa9");
    assert_string_equal(a->text, "x\n\xf0\x9f\x98\x80\"/");
    assert_int_equal(a->text_len, 8);
    assert_int_equal(value_get(root, "c")->count, 0);
    assert_null(value_get(root, "d"));
    assert_null(value_get(b, "b"));
    value_destroy(d);
    value_destroy(NULL);
}

static void test_equality(void **state) {
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {
        {"1", "1.0", true},
        {"1e2", "100", true},
        {"9007199254740993", "9007199254740992", false},
        {"0.1", "0.10000000000000000555", false},
        {"0", "-0.0", true},
        {"1", "true", false},
        {"0", "false", false},
        {"\"1\"", "1", false},
        {"null", "\"\"", false},
        {"\"\\u0061\"", "\"a\"", true},
        {"[1, 2]", "[2, 1]", false},
        {"[1, 2]", "[1, 2.0]", true},
        {"[1]", "[1, 1]", false},
        {"[[]]", "[{}]", false},
        {"{\"a\": 1, \"b\": [2]}", "{\"b\": [2.0], \"a\": 1}", true},
        {"{\"a\": 1, \"b\": 2}", "{\"a\": 2, \"b\": 1}", false},
        {"{\"a\": 1}", "{\"a\": 1, \"b\": 1}", false},
        {"{\"a\": null}", "{\"b\": null}", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct value_document *a = parsed(cases[i].a), *b = parsed(cases[i].b);
        if (value_equal(value_root(a), value_root(b)) != cases[i].equal ||
            value_equal(value_root(b), value_root(a)) != cases[i].equal)
            fail_msg("%s and %s", cases[i].a, cases[i].b);
        if (cases[i].equal)
            assert_true(value_root(a)->hash == value_root(b)->hash);
        value_destroy(a);
        value_destroy(b);
    }
    struct value_document *text = parsed("\"caf\\u00e9\"");
    assert_true(value_root(text)->hash == value_hash_string("caf\xc3\xa9", 5));
    value_destroy(text);
}

static size_t items_of(const struct value_document *d, const struct value **out) {
    size_t n = 0;
    for (const struct value *v = value_root(d)->child; v != NULL; v = v->next)
        out[n++] = v;
    return n;
}

static void test_any_equal(void **state) {
    static const struct {
        const char *a, *b;
        int equal;
    } cases[] = {
        {"[]", "[1]", 0},
        {"[1, 2, 3]", "[4, \"3\", 3.5]", 0},
        {"[1, 2, 3]", "[4, 3.0]", 1},
        {"[[1], {\"a\": 1, \"b\": 2}]", "[{\"b\": 2, \"a\": 1}]", 1},
        {"[null, null]", "[false, \"null\"]", 0},
        {"[\"x\", \"x\"]", "[\"y\", \"x\"]", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct value_document *a = parsed(cases[i].a), *b = parsed(cases[i].b);
        const struct value *x[4], *y[4];
        size_t n = items_of(a, x), m = items_of(b, y);
        if (value_any_equal(x, n, y, m, NULL) != cases[i].equal ||
            value_any_equal(y, m, x, n, NULL) != cases[i].equal)
            fail_msg("%s and %s", cases[i].a, cases[i].b);
        value_destroy(a);
        value_destroy(b);
    }
}

/* Two lists of thousands without a common value are told apart in as many looks as they have items. */
static void test_any_equal_is_linear(void **state) {
    enum { N = 3000 };
    static const struct value *x[N], *y[N];
    struct value_document *d[2];
    struct buf text;
    size_t looks = 0;
    (void)state;
    for (int k = 0; k < 2; k++) {
        buf_init(&text, 1u << 20);
        for (int i = 0; i < N; i++)
            assert_int_equal(buf_printf(&text, "%s\"%c%d\"", i > 0 ? "," : "[", "xy"[k], i), 0);
        assert_int_equal(buf_putc(&text, ']'), 0);
        d[k] = parsed(text.data);
        buf_finish(&text);
    }
    assert_int_equal(items_of(d[0], x), N);
    assert_int_equal(items_of(d[1], y), N);
    assert_int_equal(value_any_equal(x, N, y, N, &looks), 0);
    assert_in_range(looks, 1, 2 * N);
    value_destroy(d[0]);
    value_destroy(d[1]);
}

/* Each of thousands is found in as many looks as halving takes. */
static void test_among(void **state) {
    enum { N = 4000 };
    static const struct value *sorted[N];
    struct buf text;
    (void)state;
    buf_init(&text, 1u << 20);
    for (int i = 0; i < N; i++)
        assert_int_equal(buf_printf(&text, "%s%d", i > 0 ? "," : "[", 2 * i), 0);
    assert_int_equal(buf_putc(&text, ']'), 0);
    struct value_document *d = parsed(text.data), *other = parsed("[1, 7999, \"2\", null, 2.0]");
    const struct value *few[5];
    assert_int_equal(items_of(d, sorted), N);
    assert_int_equal(items_of(other, few), 5);
    value_sort(sorted, N);
    for (const struct value *one = value_root(d)->child; one != NULL; one = one->next) {
        size_t looks = 0;
        assert_true(value_is_among(sorted, N, one, &looks));
        assert_in_range(looks, 1, 20);
    }
    for (int i = 0; i < 5; i++)
        assert_int_equal(value_is_among(sorted, N, few[i], NULL), i == 4);
    assert_false(value_is_among(sorted, 0, few[4], NULL));
    value_destroy(d);
    value_destroy(other);
    buf_finish(&text);
}

/* Many members, in an order that sorting has to change, are all found. */
static void test_many_members(void **state) {
    struct buf text;
    char name[24];
    (void)state;
    buf_init(&text, 1u << 20);
    assert_int_equal(buf_putc(&text, '{'), 0);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(buf_printf(&text, "%s\"k%d\": %d", i > 0 ? "," : "", i * 7919 % 3000, i), 0);
    assert_int_equal(buf_putc(&text, '}'), 0);
    struct value_document *d = parsed(text.data);
    for (int i = 0; i < 3000; i++) {
        char wanted[24];
        snprintf(name, sizeof name, "k%d", i * 7919 % 3000);
        snprintf(wanted, sizeof wanted, "%d", i);
        assert_string_equal(value_get(value_root(d), name)->text, wanted);
    }
    value_destroy(d);
    buf_finish(&text);
}

static void test_printing(void **state) {
    static const char text[] = "{\"a\":[1.50,\"\\n\",{},[]],\"b\":null,\"c\":true,\"d\":false}";
    struct value_document *d = parsed(text);
    struct buf out;
    (void)state;
    buf_init(&out, 200);
    assert_int_equal(value_print(value_root(d), &out), 0);
    assert_string_equal(out.data, text);
    buf_finish(&out);
    buf_init(&out, 10);
    assert_int_equal(value_print(value_root(d), &out), -ENOBUFS);
    buf_finish(&out);
    value_destroy(d);
}

static void test_refused(void **state) {
    static const char *const bad[] = {
        "",     "{",   "[1,]", "{\"a\": 1, \"a\": 2}", "\"\\u0000\"", "1e1000000000", "01", "\"\\ud800\"",
        "\xff", "nul", "[1] 2"};
    struct value_document *d = NULL;
    char err[256];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err[0] = '\0';
        if (value_parse(bad[i], strlen(bad[i]), &limits, &d, err, sizeof err) != -EINVAL || err[0] == '\0')
            fail_msg("%s: %s", bad[i], err);
    }
    struct json_limits few = limits;
    few.max_nodes = 3;
    assert_int_equal(value_parse("[1,2,3]", 7, &few, &d, err, sizeof err), -E2BIG);
    assert_null(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),   cmocka_unit_test(test_equality),
        cmocka_unit_test(test_any_equal), cmocka_unit_test(test_any_equal_is_linear),
        cmocka_unit_test(test_among),     cmocka_unit_test(test_many_members),
        cmocka_unit_test(test_printing),  cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
