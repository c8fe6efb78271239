#include "base/buf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void grows_and_stays_terminated(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(buf_printf(&b, "%d,", i), 0);
    assert_int_equal(b.data[b.len], '\0');
    assert_int_equal(strlen(b.data), b.len);
    assert_int_equal(memcmp(b.data, "0,1,2,3,", 8), 0);
    buf_consume(&b, 2);
    assert_int_equal(memcmp(b.data, "1,2,3,", 6), 0);
    buf_finish(&b);
    assert_null(b.data);
}

static void ceiling_is_kept_and_bytes_stay(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 8);
    assert_int_equal(buf_append(&b, "12345678", 8), 0);
    assert_int_equal(buf_putc(&b, '9'), -ENOBUFS);
    assert_int_equal(buf_printf(&b, "%s", "more"), -ENOBUFS);
    assert_int_equal(buf_append(&b, "x", (size_t)-1), -ENOBUFS);
    assert_string_equal(b.data, "12345678");
    buf_clear(&b);
    assert_int_equal(buf_puts(&b, "again"), 0);
    assert_string_equal(b.data, "again");
    buf_finish(&b);
}

static void take_gives_the_bytes_away(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    size_t len = 7;
    char *empty = buf_take(&b, &len);
    assert_int_equal(len, 0);
    assert_string_equal(empty, "");
    free(empty);
    assert_int_equal(buf_puts(&b, "abc"), 0);
    char *text = buf_take(&b, &len);
    assert_string_equal(text, "abc");
    assert_int_equal(len, 3);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.max, 10);
    free(text);
}

static void reads_a_stream_to_its_end(void **state) {
    (void)state;
    static char bytes[10000];
    struct buf b;
    memset(bytes, 'x', sizeof bytes);
    for (size_t max = sizeof bytes - 1; max <= sizeof bytes; max++) {
        FILE *in = fmemopen(bytes, sizeof bytes, "r");
        assert_non_null(in);
        buf_init(&b, max);
        assert_int_equal(buf_read_to_end(&b, in), max < sizeof bytes ? -ENOBUFS : 0);
        if (max == sizeof bytes) {
            assert_int_equal(b.len, sizeof bytes);
            assert_memory_equal(b.data, bytes, sizeof bytes);
        }
        buf_finish(&b);
        (void)fclose(in);
    }
    FILE *folder = fopen("/", "r"); /* opens, and cannot be read */
    assert_non_null(folder);
    buf_init(&b, 10);
    assert_int_equal(buf_read_to_end(&b, folder), -EIO);
    buf_finish(&b);
    (void)fclose(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_stays_terminated),
        cmocka_unit_test(ceiling_is_kept_and_bytes_stay),
        cmocka_unit_test(take_gives_the_bytes_away),
        cmocka_unit_test(reads_a_stream_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
