/* clock: what day it is, and reckoning with dates. */
#include "plugins/clock_date.h"
#include "plugins/door.h"

#include <stdio.h>
#include <time.h>

static int now(void *state, hermes_call *call, hermes_str args_json) {
    struct door_call c = {.host = state, .call = call};
    char err[256], date[11], offset[7];
    long seconds = 0;
    cJSON *arguments = door_arguments(args_json);
    int status = clock_parse_offset(door_string(arguments, "utc_offset", "UTC"), &seconds, err, sizeof err);
    cJSON_Delete(arguments);
    if (status != 0)
        return door_refuse(&c, HERMES_E_TOOL, err);
    long long local = (long long)time(NULL) + seconds;
    long day = (long)(local / 86400), second = (long)(local % 86400);
    if (local < 0 || day > CLOCK_DAY_MAX)
        return door_refuse(&c, HERMES_E_TOOL, "the clock of this machine is not set");
    clock_format_date(day, date);
    clock_format_offset(seconds, offset);
    struct text result;
    text_init(&result, 1024);
    text_format(
        &result,
        "{\"date\": \"%s\", \"time\": \"%02ld:%02ld:%02ld\", \"weekday\": \"%s\", \"utc_offset\": \"%s\"}",
        date, second / 3600, second / 60 % 60, second % 60, clock_weekday(day), offset);
    return door_reply(&c, &result);
}

static int date_add(void *state, hermes_call *call, hermes_str args_json) {
    struct door_call c = {.host = state, .call = call};
    char err[256], date[11];
    long day = 0;
    cJSON *arguments = door_arguments(args_json);
    int status = clock_parse_date(door_string(arguments, "date", ""), &day, err, sizeof err);
    double days = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(arguments, "days"));
    cJSON_Delete(arguments);
    if (status != 0)
        return door_refuse(&c, HERMES_E_TOOL, err);
    if (!(days >= -4e6 && days <= 4e6) || day + (long)days < CLOCK_DAY_MIN ||
        day + (long)days > CLOCK_DAY_MAX)
        return door_refuse(&c, HERMES_E_TOOL, "the result is outside the years 1 to 9999");
    day += (long)days;
    clock_format_date(day, date);
    struct text result;
    text_init(&result, 1024);
    text_format(&result, "{\"date\": \"%s\", \"weekday\": \"%s\"}", date, clock_weekday(day));
    return door_reply(&c, &result);
}

static int date_diff(void *state, hermes_call *call, hermes_str args_json) {
    struct door_call c = {.host = state, .call = call};
    char err[256];
    long from = 0, to = 0;
    cJSON *arguments = door_arguments(args_json);
    int status = clock_parse_date(door_string(arguments, "from", ""), &from, err, sizeof err);
    if (status == 0)
        status = clock_parse_date(door_string(arguments, "to", ""), &to, err, sizeof err);
    cJSON_Delete(arguments);
    if (status != 0)
        return door_refuse(&c, HERMES_E_TOOL, err);
    struct text result;
    text_init(&result, 1024);
    text_format(&result, "{\"days\": %ld}", to - from);
    return door_reply(&c, &result);
}

static int weekday(void *state, hermes_call *call, hermes_str args_json) {
    struct door_call c = {.host = state, .call = call};
    char err[256];
    long day = 0;
    cJSON *arguments = door_arguments(args_json);
    int status = clock_parse_date(door_string(arguments, "date", ""), &day, err, sizeof err);
    cJSON_Delete(arguments);
    if (status != 0)
        return door_refuse(&c, HERMES_E_TOOL, err);
    return door_reply_pair(&c, "weekday", clock_weekday(day));
}

static const hermes_tool tool_now = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_CLOSED_WORLD,
    .name = "now",
    .description = "Get the current date, time and weekday.",
    .args_schema = "{\"type\": \"object\", \"properties\": {\"utc_offset\": {\"type\": \"string\", "
                   "\"description\": \"e.g. +02:00\"}}, \"additionalProperties\": false}",
    .timeout_ms = 2000,
    .max_concurrency = 4,
    .invoke = now,
};

static const hermes_tool tool_date_add = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_CLOSED_WORLD,
    .name = "date_add",
    .description = "Add days to a date.",
    .args_schema = "{\"type\": \"object\", \"properties\": {\"date\": {\"type\": \"string\", "
                   "\"description\": \"YYYY-MM-DD\"}, \"days\": {\"type\": \"integer\"}}, \"required\": "
                   "[\"date\", \"days\"], \"additionalProperties\": false}",
    .timeout_ms = 2000,
    .max_concurrency = 4,
    .invoke = date_add,
};

static const hermes_tool tool_date_diff = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_CLOSED_WORLD,
    .name = "date_diff",
    .description = "Count the days between two dates.",
    .args_schema = "{\"type\": \"object\", \"properties\": {\"from\": {\"type\": \"string\", "
                   "\"description\": \"YYYY-MM-DD\"}, \"to\": {\"type\": \"string\", \"description\": "
                   "\"YYYY-MM-DD\"}}, \"required\": [\"from\", \"to\"], \"additionalProperties\": false}",
    .timeout_ms = 2000,
    .max_concurrency = 4,
    .invoke = date_diff,
};

static const hermes_tool tool_weekday = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_CLOSED_WORLD,
    .name = "weekday",
    .description = "Tell the weekday of a date.",
    .args_schema =
        "{\"type\": \"object\", \"properties\": {\"date\": {\"type\": \"string\", \"description\": "
        "\"YYYY-MM-DD\"}}, \"required\": [\"date\"], \"additionalProperties\": false}",
    .timeout_ms = 2000,
    .max_concurrency = 4,
    .invoke = weekday,
};

static const hermes_tool *const tools[] = {&tool_now, &tool_date_add, &tool_date_diff, &tool_weekday, NULL};

static const hermes_plugin plugin = {
    HERMES_PLUGIN_INIT, .name = "clock",        .version = "1.0.0",
    .tools = tools,     .init = door_init_host, .fini = NULL,
};

HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void) {
    return &plugin;
}
