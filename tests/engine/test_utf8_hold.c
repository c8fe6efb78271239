/* Streams of bytes become whole characters however they are cut. */
#include "engine/utf8_hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define BAD "\xEF\xBF\xBD"

/* Pushes the bytes one by one and at once. */
static void expect(const char *bytes, const char *text, size_t held) {
    struct buf out;
    buf_init(&out, 1000);
    for (int at_once = 0; at_once < 2; at_once++) {
        struct utf8_hold h = {0};
        buf_clear(&out);
        for (size_t i = 0; i < strlen(bytes) && !at_once; i++)
            assert_int_equal(utf8_hold_push(&h, bytes + i, 1, &out), 0);
        if (at_once)
            assert_int_equal(utf8_hold_push(&h, bytes, strlen(bytes), &out), 0);
        assert_string_equal(out.data != NULL ? out.data : "", text);
        assert_int_equal(h.n, held);
    }
    buf_finish(&out);
}

static void test_whole_characters(void **state) {
    (void)state;
    expect("abc", "abc", 0);
    expect("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80z", "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80z", 0);
}

static void test_tails_are_held(void **state) {
    (void)state;
    expect("a\xC3", "a", 1);
    expect("a\xE2\x82", "a", 2);
    expect("a\xF0\x9F\x98", "a", 3);
}

/* One replacement per longest wrong beginning, as Unicode recommends (section 3.9, table 3-8). */
static void test_wrong_bytes_are_replaced(void **state) {
    (void)state;
    expect("\x80z", BAD "z", 0);
    expect("\xFFz", BAD "z", 0);
    expect("\xC0\xAFz", BAD BAD "z", 0);
    expect("\xE2\x82z", BAD "z", 0);
    expect("\xED\xA0\x80z", BAD BAD BAD "z", 0);
    expect("\xF0\x9F\x98\xC3\xA4", BAD "\xC3\xA4", 0);
    expect("\xC3\xC3\xA4", BAD "\xC3\xA4", 0);
    expect("\xF4\x90z", BAD BAD "z", 0);
}

static void test_ceiling_is_reported(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 2);
    struct utf8_hold h = {0};
    assert_true(utf8_hold_push(&h, "abc", 3, &out) < 0);
    buf_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_characters),
        cmocka_unit_test(test_tails_are_held),
        cmocka_unit_test(test_wrong_bytes_are_replaced),
        cmocka_unit_test(test_ceiling_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
