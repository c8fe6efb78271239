/* The sums that pin a model, beside sha256sum(1). */
#include "daemon/model_sum.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* echo -n hello | sha256sum */
#define HELLO "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

static char folder[128], err[600];

static const char *in_folder(const char *name) {
    static char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text) {
    FILE *f = fopen(in_folder(name), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* What a shell command prints first, inside the folder. */
static const char *asked(const char *command) {
    static char line[200];
    char whole[500];
    (void)snprintf(whole, sizeof whole, "cd '%s' && export LC_ALL=C && %s", folder, command);
    FILE *f = popen(whole, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(pclose(f), 0);
    line[strcspn(line, " \n")] = '\0';
    return line;
}

static int check(const char *model, const char *hex) {
    return model_sum_check(model, hex, err, sizeof err);
}

static void test_a_file(void **state) {
    (void)state;
    write_file("a", "hello");
    assert_int_equal(check(in_folder("a"), HELLO), 0);
    assert_int_equal(
        check(in_folder("a"), "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824"), 0);
    write_file("a", "hellp");
    assert_int_equal(check(in_folder("a"), HELLO), -EINVAL);
    assert_non_null(strstr(err, "and model_sha256 says " HELLO));
    assert_int_equal(check("/nonexistent", HELLO), -ENOENT);
    assert_true(model_sum_is_one(HELLO));
    assert_false(model_sum_is_one(HELLO "0"));
    assert_false(model_sum_is_one(&HELLO[1]));
    assert_false(model_sum_is_one("g" HELLO));
    assert_false(model_sum_is_one(""));
    assert_int_equal(unlink(in_folder("a")), 0);
}

static void test_a_folder(void **state) {
    (void)state;
    static const char *const names[] = {"config.json", "model-00002.safetensors", "Z.json", ".hidden"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        write_file(names[i], names[i]);
    assert_int_equal(mkdir(in_folder("below"), 0700), 0);
    char sum[100];
    (void)snprintf(sum, sizeof sum, "%s", asked("sha256sum * 2>/dev/null | sha256sum"));
    assert_int_equal(check(folder, sum), 0);
    write_file(".hidden", "something else");
    assert_int_equal(check(folder, sum), 0);
    write_file("Z.json", "something else");
    assert_int_equal(check(folder, sum), -EINVAL);
    assert_non_null(strstr(err, asked("sha256sum * 2>/dev/null | sha256sum")));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(unlink(in_folder(names[i])), 0);
    assert_int_equal(rmdir(in_folder("below")), 0);
}

static void test_parts(void **state) {
    (void)state;
    write_file("m-00001-of-00003.gguf", "one");
    write_file("m-00002-of-00003.gguf", "two");
    assert_int_equal(check(in_folder("m-00001-of-00003.gguf"), HELLO), -ENOENT);
    write_file("m-00003-of-00003.gguf", "three");
    write_file("other.gguf", "no part");
    char sum[100];
    (void)snprintf(sum, sizeof sum, "%s", asked("sha256sum m-* | sha256sum"));
    assert_int_equal(check(in_folder("m-00001-of-00003.gguf"), sum), 0);
    write_file("m-00003-of-00003.gguf", "threr");
    assert_int_equal(check(in_folder("m-00001-of-00003.gguf"), sum), -EINVAL);
    /* One that only looks like a part is a file. */
    write_file("m-00001-of-00003.gguf.old", "hello");
    assert_int_equal(check(in_folder("m-00001-of-00003.gguf.old"), HELLO), 0);
    char back[1024];
    assert_non_null(getcwd(back, sizeof back));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(check("m-00001-of-00003.gguf", asked("sha256sum m-*.gguf | sha256sum")), 0);
    assert_int_equal(chdir(back), 0);
    assert_string_equal(asked("rm * && echo gone"), "gone");
}

static int teardown(void **state) {
    (void)state;
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_file), cmocka_unit_test(test_a_folder),
                                       cmocka_unit_test(test_parts)};
    const char *temporary = getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/hermesd-model-sum-%d", temporary != NULL ? temporary : "/tmp",
                   (int)getpid());
    if (mkdir(folder, 0700) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, teardown);
}
