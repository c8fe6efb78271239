/* The table of tags, and the sections a job names beside it. */
#include "agent/tags.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void tags_of_the_table(void **state) {
    (void)state;
    const struct tag *tag = NULL;
    assert_int_equal(tags_match(NULL, "<PLA", 4, &tag), TAGS_PREFIX);
    assert_int_equal(tags_match(NULL, "<PLAN>", 6, &tag), TAGS_WHOLE);
    assert_true(tag->kind == TAG_SECTION_OPEN && strcmp(tag->section, "PLAN") == 0);
    assert_int_equal(tags_match(NULL, "<plan>", 6, &tag), TAGS_NO);
    assert_int_equal(tags_match(NULL, "<analysis>", 10, &tag), TAGS_NO);
    assert_string_equal(tags_section(NULL, "think"), "think");
    assert_null(tags_section(NULL, "tool_call"));
}

static void sections_beside_it(void **state) {
    (void)state;
    static const char text[] = "a < b <analysi <analysis>x</analysis>";
    struct tags_more more;
    const struct tag *tag = NULL;
    const char *bad = NULL;
    assert_int_equal(tags_more_read(&more, "analysis,PLAN,a", &bad), 0);
    assert_int_equal(more.n, 4); /* PLAN is known */
    assert_int_equal(tags_match(&more, "<a", 2, &tag), TAGS_PREFIX);
    assert_int_equal(tags_match(&more, "<a>", 3, &tag), TAGS_WHOLE);
    assert_string_equal(tag->section, "a");
    assert_int_equal(tags_find(&more, text, strlen(text), &tag), 15);
    assert_true(tag->kind == TAG_SECTION_OPEN && tag->len == 10);
    assert_int_equal(tags_find(&more, text + 16, strlen(text + 16), &tag), 10);
    assert_true(tag->kind == TAG_SECTION_CLOSE && strcmp(tag->section, "analysis") == 0);
    assert_string_equal(tags_section(&more, "analysis"), "analysis");
    assert_string_equal(tags_section(&more, "PLAN"), "PLAN");
    assert_null(tags_section(&more, "b"));
    size_t n = 0;
    while (tags_section_at(NULL, n) != NULL)
        n++;
    assert_string_equal(tags_section_at(&more, n), "analysis");
    assert_string_equal(tags_section_at(&more, n + 1), "a");
    assert_null(tags_section_at(&more, n + 2));
    assert_int_equal(tags_more_read(&more, NULL, &bad), 0);
    assert_int_equal(more.n, 0);
    assert_int_equal(tags_more_read(&more, "", &bad), 0);
}

static void names_that_cannot_be_used(void **state) {
    (void)state;
    static const char *const all[] = {
        "tool_call", "tool_response",         "co", "a b", "a,", ",a", "a,,b", "<a>", "a/b",
        "\xc3\xa9",  "a234567890123456789012"};
    struct tags_more more;
    const char *bad = NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (tags_more_read(&more, all[i], &bad) != -EINVAL)
            fail_msg("'%s' was taken", all[i]);
    assert_int_equal(tags_more_read(&more, "fine,bad name", &bad), -EINVAL);
    assert_string_equal(bad, "bad name");
    assert_int_equal(tags_more_read(&more, "a23456789012345678901", &bad), 0); /* 21 bytes */
    char many[200] = "";
    for (int i = 0; i <= TAGS_MORE_MAX; i++) {
        assert_int_equal(tags_more_read(&more, many, &bad), 0);
        snprintf(many + strlen(many), sizeof many - strlen(many), "%ss%d", i > 0 ? "," : "", i);
    }
    assert_int_equal(more.n, 2 * TAGS_MORE_MAX);
    assert_int_equal(tags_more_read(&more, many, &bad), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_of_the_table),
        cmocka_unit_test(sections_beside_it),
        cmocka_unit_test(names_that_cannot_be_used),
    };
    return cmocka_run_group_tests_name("tags", tests, NULL, NULL);
}
