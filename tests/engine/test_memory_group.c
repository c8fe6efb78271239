/* Limits of control groups, from files as the kernel shows them (cgroups(7)). */
#include "engine/memory_group.h"
#include "tests/engine/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB       1048576
#define MAX_FILES 32

static char root[256], list[300];
static char made[MAX_FILES][600];
static int n_made;

static int begin(void **state) {
    (void)state;
    fixture_path(root, "groups");
    (void)snprintf(list, sizeof list, "%s.list", root);
    n_made = 0;
    return 0;
}

static int end(void **state) {
    (void)state;
    while (n_made > 0)
        (void)remove(made[--n_made]);
    return remove(list);
}

/* A file of a group, and its folders. */
static void put(const char *name, const char *text) {
    assert_true(n_made + 8 < MAX_FILES);
    char path[600];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = path + strlen(root); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) == 0)
            (void)snprintf(made[n_made++], sizeof made[0], "%s", path);
        *slash = '/';
    }
    fixture_write(path, text, strlen(text));
    (void)snprintf(made[n_made++], sizeof made[0], "%s", path);
}

static void is(const char *groups, uint64_t most, uint64_t left) {
    fixture_write(list, groups, strlen(groups));
    const struct memory_group g = memory_group_of(list, root);
    assert_int_equal(g.most, most);
    assert_int_equal(g.left, left);
}

static void test_version_2(void **state) {
    (void)state;
    put("memory.stat", "anon 5\nfile 7\n"); /* the root has no limit */
    put("a.slice/memory.max", "1073741824\n");
    put("a.slice/memory.current", "838860800\n");
    put("a.slice/memory.stat", "anon 1\nfile 524288000\nfile_mapped 3\nshmem 104857600\n");
    put("a.slice/b.service/memory.max", "max\n");
    is("0::/a.slice/b.service\n", 1024ull * MIB, 624ull * MIB);
    put("a.slice/b.service/memory.max", "536870912\n");
    put("a.slice/b.service/memory.current", "104857600\n");
    is("0::/a.slice/b.service\n", 512ull * MIB, 412ull * MIB);
    put("a.slice/b.service/memory.max", "943718400\n"); /* more is left of it than above */
    is("0::/a.slice/b.service\n", 900ull * MIB, 624ull * MIB);
    is("0::/\n", UINT64_MAX, UINT64_MAX);
}

static void test_version_1(void **state) {
    (void)state;
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/docker/memory.limit_in_bytes", "268435456\n");
    put("memory/docker/memory.usage_in_bytes", "314572800\n"); /* more than there is, for a moment */
    put("memory/docker/memory.stat", "cache 1\ntotal_cache 0\n");
    is("5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/c\n0::/\n", 256ull * MIB, 0);
    is("4:memory:/\n", UINT64_MAX, UINT64_MAX);
    is("4:memory_other:/docker\n", UINT64_MAX, UINT64_MAX);
}

/* In a container whose own path is not there: what it sees as the root is its group. */
static void test_a_path_that_is_not_there(void **state) {
    (void)state;
    put("memory.max", "134217728\n");
    put("memory.current", "33554432\n");
    is("0::/system.slice/docker-1.scope\n", 128ull * MIB, 96ull * MIB);
    is("0::/../../outside\n", 128ull * MIB, 96ull * MIB);
}

static void test_nothing_to_read(void **state) {
    (void)state;
    is("", UINT64_MAX, UINT64_MAX);
    is("nonsense\n1:2\n:::\n", UINT64_MAX, UINT64_MAX);
    const struct memory_group g = memory_group_of("/nonexistent", "/nonexistent");
    assert_int_equal(g.most, UINT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_version_2, begin, end),
        cmocka_unit_test_setup_teardown(test_version_1, begin, end),
        cmocka_unit_test_setup_teardown(test_a_path_that_is_not_there, begin, end),
        cmocka_unit_test_setup_teardown(test_nothing_to_read, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
