/* A model is read in a process of its own first: what its end means; and the sum of its file. */
#include "daemon/model_check.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GOOD "tests/data/rope-model/rope-model.gguf"

static char loader[4096], file[256];

static void write_file(const char *text) {
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* In place of the loader a shell that runs `script`. */
static int run_script(const char *script, int timeout_ms, char err[600]) {
    write_file(script);
    err[0] = '\0';
    return model_check("/bin/sh", file, timeout_ms, err, 600);
}

static void test_models(void **state) {
    (void)state;
    char err[600] = "";
    if (model_check(loader, "models/hermes-tiny.gguf", 60000, err, sizeof err) != 0)
        fail_msg("%s", err);
    /* Its tokenizer is of a kind that does not exist. */
    assert_int_equal(model_check(loader, GOOD, 60000, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "only Llama-3 BPE is supported"));
    write_file("GGUF\3");
    assert_int_equal(model_check(loader, file, 60000, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "is damaged at byte 4"));
    assert_int_equal(err[strlen(err) - 1], '.');
    assert_int_equal(model_check(loader, "/nonexistent.gguf", 60000, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "/nonexistent.gguf"));
}

static void test_other_ends(void **state) {
    (void)state;
    char err[600];
    assert_int_equal(run_script("exit 0", 60000, err), 0);
    assert_int_equal(run_script("kill -SEGV $$", 60000, err), -EINVAL);
    assert_non_null(strstr(err, "by signal 11: the file is not used"));
    assert_int_equal(run_script("echo some words; exit 3", 60000, err), -EINVAL);
    assert_non_null(strstr(err, "with code 3: the file is not used. some words"));
    assert_int_equal(run_script("echo 'memory is out'; exit 71", 60000, err), -ENOMEM);
    assert_string_equal(err, "memory is out");
    /* What it says is data: no control characters, and no more than there is room for. */
    assert_int_equal(run_script("printf 'a\\033[2Jb\\nc\\n'; exit 65", 60000, err), -EINVAL);
    assert_string_equal(err, "a?[2Jb?c");
    assert_int_equal(run_script("head -c 300000 /dev/zero | tr '\\0' x; exit 65", 60000, err), -EINVAL);
    assert_int_equal(strlen(err), sizeof err - 1);
    assert_int_equal(model_check("/nonexistent/hermes-loader", GOOD, 60000, err, sizeof err), -ENOENT);
    assert_non_null(strstr(err, "The loader /nonexistent/hermes-loader cannot be run"));
}

/* Neither one that works for ever nor one that has closed its output and sleeps. */
static void test_no_end(void **state) {
    (void)state;
    char err[600];
    assert_int_equal(run_script("sleep 1000", 100, err), -ETIMEDOUT);
    assert_non_null(strstr(err, "took longer than 100 ms"));
    assert_int_equal(run_script("exec >&- 2>&-; sleep 1000", 300, err), -ETIMEDOUT);
}

static void test_who_may_write(void **state) {
    (void)state;
    char who[64] = "";
    write_file("x");
    assert_int_equal(chmod(file, 0664), 0);
    assert_false(model_check_others(file, who, sizeof who));
    assert_int_equal(chmod(file, 0666), 0);
    assert_true(model_check_others(file, who, sizeof who));
    assert_string_equal(who, "every user");
    assert_int_equal(chmod(file, 0600), 0);
    assert_false(model_check_others("/nonexistent", who, sizeof who));
    if (geteuid() != 0) {
        (void)printf("a file of another user is not tried: that takes root\n");
        return;
    }
    assert_int_equal(chown(file, 12345, (gid_t)-1), 0);
    assert_true(model_check_others(file, who, sizeof who));
    assert_string_equal(who, "user 12345 (its owner)");
    assert_int_equal(chown(file, 0, (gid_t)-1), 0);
}

static int teardown(void **state) {
    (void)state;
    return unlink(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_models), cmocka_unit_test(test_other_ends),
                                       cmocka_unit_test(test_no_end), cmocka_unit_test(test_who_may_write)};
    const char *temporary = getenv("TMPDIR"), *build = getenv("HERMESD_BINARY_DIR");
    (void)snprintf(loader, sizeof loader, "%s/bin/hermes-loader", build != NULL ? build : "build/dev");
    (void)snprintf(file, sizeof file, "%s/hermesd-model-check-%d", temporary != NULL ? temporary : "/tmp",
                   (int)getpid());
    return cmocka_run_group_tests(tests, NULL, teardown);
}
