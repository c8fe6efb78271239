#include "base/clock.h"
#include "base/err.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void error_text_is_cut_between_characters(void **state) {
    (void)state;
    char err[8];
    assert_int_equal(err_set(err, sizeof err, -5, "%s", "abcde\xC3\xA9xyz"), -5);
    assert_string_equal(err, "abcde\xC3\xA9");
    assert_int_equal(err_set(err, sizeof err, -5, "%s", "abcdef\xC3\xA9"), -5);
    assert_string_equal(err, "abcdef");
    assert_int_equal(err_set(NULL, 0, -7, "nobody listens"), -7);
}

static void clock_writes_rfc3339(void **state) {
    (void)state;
    char text[CLOCK_TEXT_SIZE];
    clock_format(1763874000123000000, text);
    assert_string_equal(text, "2025-11-23T05:00:00.123Z");
    clock_format(-1000000, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
}

/* Every 3-byte and lead-byte case of RFC 3629 against the definition by code points. */
static void utf8_accepts_exactly_the_valid_sequences(void **state) {
    (void)state;
    for (unsigned c = 0; c < 0x110000; c++) {
        struct buf b;
        buf_init(&b, 8);
        assert_int_equal(utf8_append(&b, c), 0);
        int valid = c < 0xD800 || c > 0xDFFF;
        assert_int_equal(utf8_length(b.data, b.len), valid ? b.len : 0);
        if (b.len > 1)
            assert_int_equal(utf8_length(b.data, b.len - 1), 0);
        buf_finish(&b);
    }
    assert_int_equal(utf8_length("\xC0\x80", 2), 0);
    assert_int_equal(utf8_length("\xE0\x80\x80", 3), 0);
    assert_int_equal(utf8_length("\xF4\x90\x80\x80", 4), 0);
    assert_int_equal(utf8_length("\x80", 1), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_text_is_cut_between_characters),
        cmocka_unit_test(clock_writes_rfc3339),
        cmocka_unit_test(utf8_accepts_exactly_the_valid_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
