/* What is expected of a tool is what 95 of its last calls out of 100 needed. */
#include "daemon/tool_times.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void expect(const struct tool_times *t, const char *tool, double ms) {
    double got = tool_times_expect(t, tool);
    if (fabs(got - ms) > 0.5) {
        fail_msg("%s: %g, not %g", tool, got, ms);
    }
}

static void the_95th_of_a_hundred(void **state) {
    (void)state;
    struct tool_times *t = tool_times_create();
    expect(t, "slow", TOOL_TIMES_UNKNOWN_MS);
    for (int i = 1; i <= 20; i++) {
        tool_times_add(t, "slow", i * 1000);
        tool_times_add(t, "quick", 2);
    }
    expect(t, "slow", 19000);
    expect(t, "quick", TOOL_TIMES_LEAST_MS);
    expect(t, "other", TOOL_TIMES_UNKNOWN_MS);
    tool_times_destroy(t);
}

static void only_the_last_ones_count(void **state) {
    (void)state;
    struct tool_times *t = tool_times_create();
    tool_times_add(t, "tool", 5000);
    expect(t, "tool", 5000);
    for (int i = 0; i < 64; i++) {
        tool_times_add(t, "tool", 2000);
    }
    expect(t, "tool", 2000);
    for (int i = 0; i < 4; i++) {
        tool_times_add(t, "tool", 1e9);
    }
    expect(t, "tool", TOOL_TIMES_MOST_MS);
    tool_times_add(t, "tool", -1);
    tool_times_add(t, "tool", (double)NAN);
    expect(t, "tool", TOOL_TIMES_MOST_MS);
    tool_times_destroy(t);
}

static void there_is_a_ceiling(void **state) {
    (void)state;
    struct tool_times *t = tool_times_create();
    char name[32];
    for (int i = 0; i < 1030; i++) {
        snprintf(name, sizeof name, "tool_%d", i);
        tool_times_add(t, name, 3000);
    }
    expect(t, "tool_1023", 3000);
    expect(t, "tool_1024", TOOL_TIMES_UNKNOWN_MS);
    tool_times_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_95th_of_a_hundred),
        cmocka_unit_test(only_the_last_ones_count),
        cmocka_unit_test(there_is_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
