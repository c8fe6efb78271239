#include "tests/plugins/expect.h"

#include "plugins/clock_date.h"

#include <stdlib.h>
#include <time.h>

static struct hermes_test t;

static int start(void **state) {
    (void)state;
    return hermes_test_start(&t, hermes_plugin_v1(), "{}");
}

static int finish(void **state) {
    (void)state;
    hermes_test_finish(&t);
    return 0;
}

static void test_declaration(void **state) {
    (void)state;
    uint32_t flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_CLOSED_WORLD;
    expect_declared(hermes_plugin_v1(), "now", flags, "Get the current date, time and weekday.",
                    "{\"type\": \"object\", \"properties\": {\"utc_offset\": {\"type\": \"string\", "
                    "\"description\": \"e.g. "
                    "+02:00\"}}, \"additionalProperties\": false}");
    expect_declared(hermes_plugin_v1(), "date_add", flags, "Add days to a date.",
                    "{\"type\": \"object\", \"properties\": {\"date\": {\"type\": \"string\", "
                    "\"description\": \"YYYY-MM-DD\"}, "
                    "\"days\": {\"type\": \"integer\"}}, \"required\": [\"date\", \"days\"], "
                    "\"additionalProperties\": false}");
    expect_declared(
        hermes_plugin_v1(), "date_diff", flags, "Count the days between two dates.",
        "{\"type\": \"object\", \"properties\": {\"from\": {\"type\": \"string\", \"description\": "
        "\"YYYY-MM-DD\"}, "
        "\"to\": {\"type\": \"string\", \"description\": \"YYYY-MM-DD\"}}, \"required\": [\"from\", \"to\"], "
        "\"additionalProperties\": false}");
    expect_declared(hermes_plugin_v1(), "weekday", flags, "Tell the weekday of a date.",
                    "{\"type\": \"object\", \"properties\": {\"date\": {\"type\": \"string\", "
                    "\"description\": \"YYYY-MM-DD\"}}, "
                    "\"required\": [\"date\"], \"additionalProperties\": false}");
}

static void test_add(void **state) {
    (void)state;
    expect_result(&t, "date_add", "{\"date\": \"2026-11-24\", \"days\": 30}",
                  "{\"date\": \"2026-12-24\", \"weekday\": \"Thursday\"}");
    expect_result(&t, "date_add", "{\"date\": \"2024-03-01\", \"days\": -1}",
                  "{\"date\": \"2024-02-29\", \"weekday\": \"Thursday\"}");
    expect_result(&t, "date_add", "{\"date\": \"0001-01-01\", \"days\": 3652058}",
                  "{\"date\": \"9999-12-31\", \"weekday\": \"Friday\"}");
    expect_refusal(&t, "date_add", "{\"date\": \"9999-12-31\", \"days\": 1}",
                   "the result is outside the years 1 to 9999");
    expect_refusal(&t, "date_add", "{\"date\": \"0001-01-01\", \"days\": -1}",
                   "the result is outside the years 1 to 9999");
    expect_refusal(&t, "date_add", "{\"date\": \"2026-01-01\", \"days\": 9007199254740991}",
                   "outside the years");
}

static void test_diff(void **state) {
    (void)state;
    expect_result(&t, "date_diff", "{\"from\": \"2026-11-24\", \"to\": \"2026-12-24\"}", "{\"days\": 30}");
    expect_result(&t, "date_diff", "{\"from\": \"2026-12-24\", \"to\": \"2026-11-24\"}", "{\"days\": -30}");
    expect_result(&t, "date_diff", "{\"from\": \"2024-02-28\", \"to\": \"2024-03-01\"}", "{\"days\": 2}");
    expect_result(&t, "date_diff", "{\"from\": \"1900-02-28\", \"to\": \"1900-03-01\"}", "{\"days\": 1}");
}

static void test_weekday(void **state) {
    (void)state;
    expect_result(&t, "weekday", "{\"date\": \"2026-11-27\"}", "{\"weekday\": \"Friday\"}");
    expect_result(&t, "weekday", "{\"date\": \"0001-01-01\"}", "{\"weekday\": \"Monday\"}");
}

static void test_bad_dates(void **state) {
    (void)state;
    static const char *const shapes[] = {"3/4",        "2026-1-01",  "2026-01-1",        "26-01-01",
                                         "2026/01/01", "20260101",   "2026-01-011",      " 2026-01-01",
                                         "2026-01-0a", "+026-01-01", "2026-01-01T00:00", ""};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        char args[80], want[120];
        snprintf(args, sizeof args, "{\"date\": \"%s\"}", shapes[i]);
        snprintf(want, sizeof want, "date must be YYYY-MM-DD, got '%s'", shapes[i]);
        expect_failure(&t, "weekday", args, HERMES_E_TOOL, want);
    }
    /* Forty bytes of it are told, never half a character. */
    expect_failure(&t, "weekday", "{\"date\": \"123456789012345678901234567890123456789\xe2\x82\xac\"}",
                   HERMES_E_TOOL, "date must be YYYY-MM-DD, got '123456789012345678901234567890123456789'");
    static const char *const days[] = {"2026-02-30", "2026-02-29", "1900-02-29", "2026-13-01",
                                       "2026-00-10", "2026-04-31", "2026-01-00", "0000-01-01"};
    for (size_t i = 0; i < sizeof days / sizeof days[0]; i++) {
        char args[80], want[120];
        snprintf(args, sizeof args, "{\"from\": \"2026-01-01\", \"to\": \"%s\"}", days[i]);
        snprintf(want, sizeof want, "%s is not a date", days[i]);
        expect_failure(&t, "date_diff", args, HERMES_E_TOOL, want);
    }
}

static void test_golden(void **state) {
    (void)state;
    FILE *f = fopen("tests/plugins/dates_golden.txt", "r");
    char line[128], date[16], weekday[16], err[128], text[11];
    int count = 0;
    long want, got;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        assert_int_equal(sscanf(line, "%15s %ld %15s", date, &want, weekday), 3);
        assert_int_equal(clock_parse_date(date, &got, err, sizeof err), 0);
        assert_int_equal(got, want);
        assert_string_equal(clock_weekday(got), weekday);
        clock_format_date(want, text);
        assert_string_equal(text, date);
        count++;
    }
    fclose(f);
    assert_true(count > 900);
}

static void test_every_day(void **state) {
    (void)state;
    char text[11], err[128];
    long back;
    for (long day = CLOCK_DAY_MIN; day <= CLOCK_DAY_MAX; day++) {
        clock_format_date(day, text);
        if (clock_parse_date(text, &back, err, sizeof err) != 0 || back != day)
            fail_msg("%ld became %s", day, text);
    }
}

/* The clock itself: what libc says before and after brackets what the tool says. */
static void test_now(void **state) {
    (void)state;
    static const struct {
        const char *args, *offset;
        long seconds;
    } cases[] = {{"{}", "+00:00", 0},
                 {"{\"utc_offset\": \"+02:00\"}", "+02:00", 7200},
                 {"{\"utc_offset\": \"-09:30\"}", "-09:30", -34200},
                 {"{\"utc_offset\": \"Z\"}", "+00:00", 0}};
    static const char *const names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        time_t before = time(NULL) + cases[i].seconds;
        assert_int_equal(HERMES_TEST_CALL(&t, "now", cases[i].args), HERMES_OK);
        time_t after = time(NULL) + cases[i].seconds;
        bool matched = false;
        for (time_t at = before; at <= after; at++) {
            char want[160];
            struct tm tm;
            gmtime_r(&at, &tm);
            size_t n = strftime(want, sizeof want, "{\"date\": \"%Y-%m-%d\", \"time\": \"%H:%M:%S\", ", &tm);
            snprintf(want + n, sizeof want - n, "\"weekday\": \"%s\", \"utc_offset\": \"%s\"}",
                     names[tm.tm_wday], cases[i].offset);
            matched = matched || strcmp(want, t.text) == 0;
        }
        if (!matched)
            fail_msg("now %s gave %s", cases[i].args, t.text);
    }
    expect_failure(&t, "now", "{\"utc_offset\": \"CET\"}", HERMES_E_TOOL,
                   "utc_offset must look like +02:00, got 'CET'");
    expect_refusal(&t, "now", "{\"utc_offset\": \"+19:00\"}", "utc_offset must look like");
    expect_refusal(&t, "now", "{\"utc_offset\": \"+02:60\"}", "utc_offset must look like");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declaration), cmocka_unit_test(test_add),       cmocka_unit_test(test_diff),
        cmocka_unit_test(test_weekday),     cmocka_unit_test(test_bad_dates), cmocka_unit_test(test_golden),
        cmocka_unit_test(test_every_day),   cmocka_unit_test(test_now),
    };
    return cmocka_run_group_tests(tests, start, finish);
}
