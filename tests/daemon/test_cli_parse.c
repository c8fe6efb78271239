/* `hermesd parse`: a turn in, events and verdicts out. */
#include "base/json.h"
#include "daemon/cli_parse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOOLS                                                                                                \
    "[{\"type\": \"function\", \"function\": {\"name\": \"add\", \"description\": \"d\", \"parameters\": "   \
    "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}}, \"required\": [\"a\"]}}},"     \
    " {\"name\": \"now\", \"parameters\": {\"type\": \"object\"}}]"

/* The lines, checked to be JSON; the caller frees. */
static char *parse(const char *text, struct cli_parse_options options) {
    struct buf out;
    char err[300] = "";
    buf_init(&out, 1u << 20);
    assert_int_equal(buf_puts(&out, ""), 0);
    int rc = cli_parse_text(text, strlen(text), &options, &out, err, sizeof err);
    if (rc != 0) {
        fail_msg("%s: %s", text, err);
    }
    for (char *line = out.data; *line != '\0';) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        assert_int_equal(json_check(line, (size_t)(end - line), NULL, NULL, 0), 0);
        line = end + 1;
    }
    return buf_take(&out, NULL);
}

static void expect(const char *text, struct cli_parse_options options, const char *wanted) {
    char *got = parse(text, options);
    assert_string_equal(got, wanted);
    free(got);
}

static void events_in_the_order_they_complete(void **state) {
    (void)state;
    expect("", (struct cli_parse_options){0}, "");
    expect(
        "<think>I <tool_call>{\"name\": \"f\"}</tool_call></think>Hi\n<tool_call>{\"name\": \"f\", "
        "\"arguments\": "
        "{\"x\": 1.0}}</tool_call><PLAN>more",
        (struct cli_parse_options){0},
        "{\"event\": \"rehearsed\", \"position\": 1, \"section\": \"think\", \"name\": \"f\", \"arguments\": "
        "{}}\n"
        "{\"event\": \"reasoning\", \"position\": 0, \"section\": \"think\", \"text\": \"I "
        "<tool_call>{\\\"name\\\": \\\"f\\\"}</tool_call>\", \"truncated\": false}\n"
        "{\"event\": \"text\", \"position\": 2, \"text\": \"Hi\"}\n"
        "{\"event\": \"call\", \"position\": 3, \"call\": 0, \"name\": \"f\", \"arguments\": {\"x\": 1.0}, "
        "\"verdict\": \"run\", \"repaired\": [], \"error\": null, \"raw\": \"{\\\"name\\\": \\\"f\\\", "
        "\\\"arguments\\\": {\\\"x\\\": 1.0}}\"}\n"
        "{\"event\": \"reasoning\", \"position\": 4, \"section\": \"PLAN\", \"text\": \"more\", "
        "\"truncated\": "
        "true}\n");
}

/* The verdict, the rules and a part of the error of the only call. */
static void expect_verdict(const char *text, struct cli_parse_options options, const char *verdict,
                           const char *rules, const char *error) {
    char *got = parse(text, options);
    cJSON *line = cJSON_Parse(got);
    assert_string_equal(json_get_string(line, "event"), "call");
    if (strcmp(json_get_string(line, "verdict"), verdict) != 0) {
        fail_msg("%s: %s", text, got);
    }
    char *repaired = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(line, "repaired"));
    assert_string_equal(repaired, rules);
    const char *said = json_get_string(line, "error");
    assert_true((said == NULL) == (error == NULL));
    if (error != NULL && strstr(said, error) == NULL) {
        fail_msg("'%s' does not say '%s'", said, error);
    }
    cJSON_free(repaired);
    cJSON_Delete(line);
    free(got);
}

static void verdicts_of_calls(void **state) {
    (void)state;
    const struct cli_parse_options given = {.tools_json = TOOLS},
                                   strict = {.tools_json = TOOLS, .strict = true},
                                   cut_off = {.tools_json = TOOLS, .cut_off = true},
                                   opened = {.tools_json = TOOLS, .open_section = "think"};
#define CALL(body) "<tool_call>" body "</tool_call>"
#define ADD(value) "{\"name\": \"add\", \"arguments\": {\"a\": " value "}}"
    expect_verdict(CALL(ADD("1")), given, "run", "[]", NULL);
    expect_verdict(CALL(ADD("1")), strict, "run", "[]", NULL);
    expect_verdict(CALL(ADD("\"1\"") "}"), given, "repaired", "[\"extra_closers\",\"string_scalar\"]", NULL);
    expect_verdict(CALL(ADD("\"1\"")), strict, "refused", "[\"string_scalar\"]", "written exactly");
    expect_verdict(CALL(ADD("\"one\"")), given, "invalid", "[]", "integer");
    expect_verdict(CALL("{\"name\": \"add\", \"arguments\": {}}"), given, "invalid", "[]", "a");
    expect_verdict(CALL("{\"name\": \"sub\", \"arguments\": {}}"), given, "refused", "[]",
                   "Available tools: add, now");
    expect_verdict("<tool_call>" ADD("1"), given, "repaired", "[\"unclosed\"]", NULL);
    expect_verdict("<tool_call>" ADD("1"), cut_off, "refused", "[\"unclosed\"]", "truncated");
    char *got = parse("I think.</think>" CALL(ADD("1")), opened);
    assert_non_null(strstr(got, "\"text\": \"I think.\""));
    assert_non_null(strstr(got, "\"verdict\": \"run\""));
    free(got);
    got = parse("<analysis>" CALL(ADD("1")) "</analysis>x",
                (struct cli_parse_options){.reasoning_tags = "notes,analysis"});
    assert_non_null(strstr(got, "\"section\": \"analysis\""));
    assert_non_null(strstr(got, "\"event\": \"rehearsed\""));
    free(got);
    got =
        parse("<tool>" ADD("1") "</tool>", (struct cli_parse_options){.tools_json = TOOLS, .lenient = true});
    assert_non_null(strstr(got, "\"verdict\": \"repaired\", \"repaired\": [\"foreign_wrapper\"]"));
    free(got);
}

static void what_cannot_be_used_is_named(void **state) {
    (void)state;
    static const struct {
        struct cli_parse_options options;
        const char *part;
    } all[] = {
        {{.tools_json = "{"}, "The tools cannot be read"},
        {{.tools_json = "{}"}, "must be a JSON list"},
        {{.tools_json = "[{\"name\": \"f\"}]"}, "Tool 1 must have a name and parameters"},
        {{.tools_json = "[{\"name\": \"f\", \"parameters\": {}}, {\"name\": \"f\", \"parameters\": {}}]"},
         "Two tools are called 'f'"},
        {{.tools_json = "[]", .open_section = "thoughts"}, "no reasoning section 'thoughts'"},
        {{.open_section = "thoughts"}, "no reasoning section"},
        {{.reasoning_tags = "a,b c"}, "'b c' cannot be the name"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct buf out;
        char err[300] = "";
        buf_init(&out, 1u << 20);
        assert_int_equal(cli_parse_text("x", 1, &all[i].options, &out, err, sizeof err), -EINVAL);
        if (strstr(err, all[i].part) == NULL) {
            fail_msg("'%s' does not say '%s'", err, all[i].part);
        }
        assert_int_equal(out.len, 0);
        buf_finish(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_in_the_order_they_complete),
        cmocka_unit_test(verdicts_of_calls),
        cmocka_unit_test(what_cannot_be_used_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
