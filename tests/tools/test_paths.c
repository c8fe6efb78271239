/* Which files count as plugins, and which are refused because others could change them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/paths.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64], said[4096];

static const char *at(const char *name) {
    static char paths[8][128];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static void touch(const char *name, mode_t mode) {
    FILE *f = fopen(at(name), "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(chmod(at(name), mode), 0);
}

static int before(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/hermes-paths-XXXXXX");
    assert_non_null(mkdtemp(root));
    mkdir(at("good"), 0755);
    touch("good/b.so", 0644);
    touch("good/a.so", 0755);
    touch("good/readme.txt", 0644);
    touch("good/.hidden.so", 0644);
    touch("good/.so", 0644);
    said[0] = '\0';
    return 0;
}

static int after(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

static void refuse(void *arg, const char *path, const char *why) {
    size_t len = strlen(said);
    (void)arg;
    snprintf(said + len, sizeof said - len, "%s: %s\n", path, why);
}

static struct paths find(const char *first, const char *second) {
    const char *const roots[] = {first, second, NULL};
    struct paths paths;
    char err[128] = "";
    assert_int_equal(paths_find(roots, refuse, NULL, &paths, err, sizeof err), 0);
    return paths;
}

static void test_folder(void **state) {
    (void)state;
    struct paths paths = find(at("good"), NULL);
    assert_int_equal(paths.count, 2);
    assert_string_equal(paths.path[0], at("good/a.so"));
    assert_string_equal(paths.path[1], at("good/b.so"));
    assert_string_equal(said, "");
    paths_finish(&paths);
}

static void test_file_and_twice(void **state) {
    (void)state;
    assert_int_equal(symlink("good/b.so", at("link.so")), 0);
    struct paths paths = find(at("link.so"), at("good"));
    assert_int_equal(paths.count, 2); /* b.so once, where it came first */
    assert_string_equal(paths.path[0], at("good/b.so"));
    assert_string_equal(paths.path[1], at("good/a.so"));
    paths_finish(&paths);
}

static void test_missing(void **state) {
    char line[256];
    (void)state;
    struct paths paths = find(at("none"), at("good"));
    assert_int_equal(paths.count, 2);
    snprintf(line, sizeof line, "%s: No such file or directory\n", at("none"));
    assert_string_equal(said, line);
    paths_finish(&paths);
    assert_int_equal(symlink("nowhere.so", at("good/dangling.so")), 0);
    mkdir(at("good/folder.so"), 0755);
    said[0] = '\0';
    paths = find(at("good"), NULL);
    assert_int_equal(paths.count, 2);
    assert_non_null(strstr(said, "dangling.so: No such file or directory"));
    assert_non_null(strstr(said, "folder.so: not a file"));
    paths_finish(&paths);
}

static void test_writable_by_others(void **state) {
    char line[512];
    (void)state;
    assert_int_equal(chmod(at("good/a.so"), 0666), 0);
    struct paths paths = find(at("good"), NULL);
    assert_int_equal(paths.count, 1);
    snprintf(line, sizeof line, "%s: the file %s may be written by others; run: chmod go-w '%s'\n",
             at("good/a.so"), at("good/a.so"), at("good/a.so"));
    assert_string_equal(said, line);
    paths_finish(&paths);
    assert_int_equal(chmod(at("good/a.so"), 0664), 0); /* a group is others too */
    paths = find(at("good/a.so"), NULL);
    assert_int_equal(paths.count, 0);
    paths_finish(&paths);
    assert_int_equal(chmod(at("good/a.so"), 0644), 0);
    assert_int_equal(chmod(at("good"), 0777), 0);
    said[0] = '\0';
    paths = find(at("good"), NULL);
    assert_int_equal(paths.count, 0);
    assert_non_null(strstr(said, "the folder "));
    paths_finish(&paths);
}

/* A link does not hide where the file really is. */
static void test_folder_behind_link(void **state) {
    (void)state;
    mkdir(at("open"), 0755);
    touch("open/c.so", 0644);
    assert_int_equal(chmod(at("open"), 0777), 0);
    assert_int_equal(symlink("../open/c.so", at("good/c.so")), 0);
    struct paths paths = find(at("good"), NULL);
    assert_int_equal(paths.count, 2);
    assert_non_null(strstr(said, "/open may be written by others"));
    paths_finish(&paths);
}

static void test_other_owner(void **state) {
    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: only root can give a file away\n");
        skip();
    }
    assert_int_equal(chown(at("good/a.so"), 65534, 65534), 0);
    struct paths paths = find(at("good"), NULL);
    assert_int_equal(paths.count, 1);
    assert_non_null(strstr(said, "belongs to user 65534; it must belong to root or to the daemon's user"));
    paths_finish(&paths);
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, before, after)
    const struct CMUnitTest tests[] = {WITH(test_folder),
                                       WITH(test_file_and_twice),
                                       WITH(test_missing),
                                       WITH(test_writable_by_others),
                                       WITH(test_folder_behind_link),
                                       WITH(test_other_owner)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
