/* Published schema tests: no accepted schema may give a wrong verdict, and nearly all real-world schemas must
 * be accepted. The official suite is Debian's json-schema-test-suite and a newer part beside the repository.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/shared.h"
#include "tests/tools/schema_suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEBIAN "/usr/share/json-schema-test-suite/tests"

static void play(const char *path, enum schema_draft draft, size_t least_accepted) {
    struct suite suite = {.wrong = stdout};
    assert_true(suite_folder(&suite, path, draft) > 10);
    suite_print(&suite, path);
    assert_int_equal(suite.wrong_accepts + suite.wrong_refusals, 0);
    assert_true(suite.accepted >= least_accepted);
    assert_true(suite.right > 4 * (suite.accepted / 2));
    suite_finish(&suite);
}

static void test_debian(void **state) {
    (void)state;
    if (access(DEBIAN, R_OK) != 0) {
        printf("skipped: there is no " DEBIAN " (package json-schema-test-suite)\n");
        skip();
    }
    play(DEBIAN "/draft7", SCHEMA_DRAFT_07, 140);
    play(DEBIAN "/draft6", SCHEMA_DRAFT_06, 120);
    play(DEBIAN "/draft4", SCHEMA_DRAFT_04, 90);
}

static void test_shared(void **state) {
    char path[4096], inner[4200];
    (void)state;
    shared_path(path, "json-schema-suite/tests");
    snprintf(inner, sizeof inner, "%s/draft2020-12", path);
    play(inner, SCHEMA_DRAFT_2020_12, 220);
    snprintf(inner, sizeof inner, "%s/draft7", path);
    play(inner, SCHEMA_DRAFT_07, 190);
}

static void test_real_world(void **state) {
    struct suite suite = {.wrong = stdout, .refused_to = stdout};
    char path[4096], soft[4096];
    (void)state;
    suite_lines(&suite, shared_path(path, "jsonschemabench/schemas.jsonl"),
                shared_path(soft, "jsonschemabench/unconfirmed.json"));
    suite_print(&suite, path);
    assert_true(suite.schemas > 1000);
    assert_int_equal(suite.wrong_accepts + suite.wrong_refusals, 0);
    assert_true(suite.accepted * 100 >= suite.schemas * 98);
    suite_finish(&suite);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_debian),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_real_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
