/* A mapped file says what has become of it, and whose path it was does not matter. */
#include "base/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES 5000

static char folder[] = "/tmp/hermesd-mapped-file-XXXXXX", path[64], other[64];

static void fill(const char *name, char byte) {
    char bytes[BYTES];
    memset(bytes, byte, sizeof bytes);
    FILE *file = fopen(name, "wbe");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, sizeof bytes, file), sizeof bytes);
    assert_int_equal(fclose(file), 0);
}

/* Opens a new file, whose time of writing is not now: clocks of files may be coarse. */
static struct mapped_file opened(void) {
    struct mapped_file f;
    const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000, .tv_nsec = 5}};
    fill(path, 'a');
    assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
    assert_int_equal(mapped_file_open(&f, path, 8), 0);
    assert_int_equal(f.size, BYTES);
    assert_int_equal(f.data[BYTES - 1], 'a');
    assert_null(mapped_file_change(&f));
    return f;
}

static void test_changes(void **state) {
    (void)state;
    struct mapped_file f = opened();
    assert_int_equal(truncate(path, BYTES - 1), 0);
    assert_string_equal(mapped_file_change(&f), "was cut off");
    mapped_file_close(&f);
    assert_null(f.data);
    mapped_file_close(&f); /* nothing happens */

    f = opened();
    assert_int_equal(truncate(path, BYTES + 1), 0);
    assert_string_equal(mapped_file_change(&f), "was written to");
    mapped_file_close(&f);

    f = opened();
    fill(path, 'b'); /* as long as before */
    assert_string_equal(mapped_file_change(&f), "was written to");
    mapped_file_close(&f);

    if (geteuid() != 0) {
        (void)printf("giving a file to another user is not tried: that takes root\n");
        return;
    }
    f = opened();
    assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
    assert_string_equal(mapped_file_change(&f), "was given to another user");
    mapped_file_close(&f);
}

/* Looking at it, another name, another file in its place: all that changes nothing. */
static void test_what_is_no_change(void **state) {
    (void)state;
    struct mapped_file f = opened();
    fill(other, 'c');
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(rename(other, path), 0);
    assert_null(mapped_file_change(&f));
    assert_int_equal(unlink(path), 0);
    assert_null(mapped_file_change(&f));
    assert_int_equal(f.data[0], 'a');
    mapped_file_close(&f);
}

static void test_what_is_no_file(void **state) {
    (void)state;
    struct mapped_file f;
    (void)unlink(path);
    assert_int_equal(mapped_file_open(&f, path, 1), -ENOENT);
    assert_int_equal(mapped_file_open(&f, folder, 1), -EINVAL);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(mapped_file_open(&f, path, 1), -EINVAL);
    assert_int_equal(unlink(path), 0);
    fill(path, 'a');
    assert_int_equal(mapped_file_open(&f, path, BYTES + 1), -EINVAL);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(mapped_file_open(&f, path, 1), -EINVAL);
    assert_null(f.data);
}

static int set_up(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL)
        return 1;
    (void)snprintf(path, sizeof path, "%s/model", folder);
    (void)snprintf(other, sizeof other, "%s/other", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_changes),
                                       cmocka_unit_test(test_what_is_no_change),
                                       cmocka_unit_test(test_what_is_no_file)};
    return cmocka_run_group_tests_name("mapped files", tests, set_up, tear_down);
}
