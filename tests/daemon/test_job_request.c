/* The body of POST /v1/jobs, ids, and paths of plugins: what is pure of jobs. */
#include "daemon/job_id.h"
#include "daemon/job_request.h"
#include "daemon/plugin_paths.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int parse(const char *text, struct job_request *request, struct job_problem *problem) {
    return job_request_parse(text, strlen(text), request, problem);
}

static void a_plain_request_gets_the_defaults(void **state) {
    struct job_request r;
    struct job_problem problem;
    (void)state;
    assert_int_equal(parse("{\"input\": \"hi\"}", &r, &problem), 0);
    assert_int_equal(r.n_messages, 1);
    assert_string_equal(r.messages[0].text, "hi");
    assert_int_equal(r.messages[0].role, AGENT_ROLE_USER);
    assert_null(r.system);
    assert_int_equal(r.limits.max_turns, 16);
    assert_int_equal(r.limits.max_calls, 64);
    assert_int_equal(r.limits.max_calls_per_turn, 8);
    assert_int_equal(r.limits.max_identical_calls, 3);
    assert_int_equal(r.limits.max_cycle_repeats, 3);
    assert_int_equal(r.limits.max_idle_calls, 8);
    assert_int_equal(r.limits.max_output_tokens, 16384);
    assert_int_equal(r.limits.max_turn_tokens, 4096);
    assert_true(r.sampling.temperature <= 0);
    assert_true(r.sampling.top_p >= 1);
    assert_false(r.has_seed);
    assert_null(r.tools);
    assert_int_equal(r.deadline_ms, 0);
    job_request_finish(&r);
}

static void every_number_has_its_range(void **state) {
    static const struct {
        const char *name, *low, *below, *high, *above;
    } table[] = {
        {"max_turns", "1", "0", "1000", "1001"},
        {"max_tool_calls", "1", "0", "10000", "10001"},
        {"max_calls_per_turn", "1", "0", "100", "101"},
        {"max_identical_calls", "1", "0", "1000", "1001"},
        {"max_cycle_repeats", "2", "1", "1000", "1001"},
        {"max_idle_calls", "1", "0", "10000", "10001"},
        {"max_output_tokens", "1", "0", "1000000", "1000001"},
        {"max_turn_tokens", "1", "0", "131072", "131073"},
        {"deadline_ms", "1", "0", "86400000", "86400001"},
        {"temperature", "0", "-0.1", "2", "2.01"},
        {"top_k", "0", "-1", "1000", "1001"},
        {"top_p", "0", "-0.01", "1", "1.01"},
        {"min_p", "0", "-0.01", "1", "1.01"},
        {"repeat_penalty", "0.5", "0.49", "2", "2.1"},
        {"priority", "-10", "-11", "10", "11"},
        {"seed", "0", "-1", "9007199254740992", "1e300"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *good[] = {table[i].low, table[i].high, "null"};
        const char *bad[] = {table[i].below, table[i].above, "\"1\"", "true", "[]", "1e308", "-1e308"};
        for (size_t k = 0; k < sizeof good / sizeof *good + sizeof bad / sizeof *bad; k++) {
            bool want = k < sizeof good / sizeof *good;
            struct job_request r;
            struct job_problem problem;
            char text[200];
            snprintf(text, sizeof text, "{\"input\": \"hi\", \"%s\": %s}", table[i].name,
                     want ? good[k] : bad[k - sizeof good / sizeof *good]);
            int rc = parse(text, &r, &problem);
            if (rc != (want ? 0 : -EINVAL)) {
                fail_msg("%s gave %d", text, rc);
            }
            if (rc == 0) {
                job_request_finish(&r);
            } else {
                assert_string_equal(problem.code, "invalid_value");
                assert_string_equal(problem.param, table[i].name);
                assert_non_null(strstr(problem.message, table[i].name));
            }
        }
    }
}

static void messages_keep_their_order_and_roles(void **state) {
    struct job_request r;
    struct job_problem problem;
    (void)state;
    assert_int_equal(parse("{\"input\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", "
                           "\"content\": \"a\"}, "
                           "{\"role\": \"assistant\", \"content\": \"\"}, {\"role\": \"user\", \"content\": "
                           "\"  \\n b\\nc\"}]}",
                           &r, &problem),
                     0);
    char title[201];
    assert_string_equal(r.system, "S");
    assert_int_equal(r.n_messages, 3);
    assert_int_equal(r.messages[1].role, AGENT_ROLE_ASSISTANT);
    job_request_title(&r, title);
    assert_string_equal(title, "b");
    job_request_finish(&r);
    assert_int_equal(parse("{\"system\": \"T\", \"input\": [{\"role\": \"system\", \"content\": \"S\"}, "
                           "{\"role\": \"user\", \"content\": \"a\"}]}",
                           &r, &problem),
                     -EINVAL);
}

static void titles_are_cut_between_characters(void **state) {
    struct job_request r;
    struct job_problem problem;
    char title[201];
    char text[1200] = "{\"input\": \"x";
    (void)state;
    for (int i = 0; i < 150; i++) {
        strncat(text, "\xc3\xa4", sizeof text - strlen(text) - 1);
    }
    strncat(text, "\"}", sizeof text - strlen(text) - 1);
    assert_int_equal(parse(text, &r, &problem), 0);
    job_request_title(&r, title);
    assert_int_equal(strlen(title), 199);
    assert_int_equal((unsigned char)title[198], 0xa4);
    job_request_finish(&r);
}

static void tools_are_read_back_as_they_were(void **state) {
    struct job_tools t;
    (void)state;
    assert_int_equal(
        job_tools_read("[{\"name\": \"a\", \"description\": \"b\\u00e4\", \"schema\": \"{\\\"x\\\": 1.0}\"}]",
                       &t),
        0);
    assert_int_equal(t.n, 1);
    assert_string_equal(t.items[0].name, "a");
    assert_string_equal(t.items[0].description, "b\xc3\xa4");
    assert_string_equal(t.items[0].schema, "{\"x\": 1.0}");
    job_tools_finish(&t);
    assert_int_equal(job_tools_read("[]", &t), 0);
    assert_int_equal(t.n, 0);
    job_tools_finish(&t);
    assert_int_equal(job_tools_read("[{\"name\": \"a\"}]", &t), -EINVAL);
    assert_int_equal(job_tools_read("[", &t), -EINVAL);
}

static void reading_is_chosen_by_the_request(void **state) {
    struct job_request r;
    struct job_problem problem;
    struct job_tools t;
    (void)state;
    assert_int_equal(parse("{\"input\": \"x\", \"strict\": true, \"lenient_calls\": false, \"open_section\": "
                           "\"think\", \"documents\": [{\"id\": \"a\", \"text\": \"\"}, {\"id\": \"b\", "
                           "\"text\": \"B\", \"more\": 1}]}",
                           &r, &problem),
                     0);
    assert_true(r.strict && !r.lenient_calls && r.constrained);
    assert_string_equal(r.open_section, "think");
    assert_int_equal(r.n_documents, 2);
    assert_string_equal(r.documents[1].text, "B");
    job_request_finish(&r);
    assert_int_equal(parse("{\"input\": \"x\", \"constrained\": false}", &r, &problem), 0);
    assert_true(!r.constrained && r.overlap && r.speculation);
    job_request_finish(&r);
    assert_int_equal(parse("{\"input\": \"x\", \"overlap\": false, \"speculation\": false}", &r, &problem),
                     0);
    assert_true(r.constrained && !r.overlap && !r.speculation);
    job_request_finish(&r);
    assert_int_equal(parse("{\"input\": \"x\", \"reasoning_tags\": [\"analysis\", \"PLAN\", \"my-notes\"], "
                           "\"open_section\": \"analysis\"}",
                           &r, &problem),
                     0);
    assert_string_equal(r.reasoning_tags, "analysis,PLAN,my-notes");
    job_request_finish(&r);
    assert_int_equal(parse("{\"input\": \"x\", \"reasoning_tags\": []}", &r, &problem), 0);
    assert_null(r.reasoning_tags);
    job_request_finish(&r);
    static const char *const wrong[] = {"\"strict\": 1",
                                        "\"reasoning_tags\": \"a\"",
                                        "\"reasoning_tags\": [1]",
                                        "\"reasoning_tags\": [\"\"]",
                                        "\"reasoning_tags\": [\"a,b\"]",
                                        "\"reasoning_tags\": [\"a b\"]",
                                        "\"reasoning_tags\": [\"tool_call\"]",
                                        "\"reasoning_tags\": [\"co\"]",
                                        "\"reasoning_tags\": [\"a23456789012345678901234567890\"]",
                                        "\"reasoning_tags\": [\"analysis\"], \"open_section\": \"other\"",
                                        "\"constrained\": \"no\"",
                                        "\"lenient_calls\": \"yes\"",
                                        "\"overlap\": 0",
                                        "\"speculation\": \"no\"",
                                        "\"open_section\": \"x\"",
                                        "\"open_section\": true",
                                        "\"documents\": {}",
                                        "\"documents\": [1]",
                                        "\"documents\": [{\"id\": \"a\", \"text\": 1}]",
                                        "\"documents\": [{\"id\": \"\", \"text\": \"\"}]"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[200];
        snprintf(text, sizeof text, "{\"input\": \"x\", %s}", wrong[i]);
        assert_int_equal(parse(text, &r, &problem), -EINVAL);
        assert_string_equal(problem.code, "invalid_value");
    }
    assert_int_equal(
        job_tools_read("[{\"name\": \"a\", \"description\": \"\", \"schema\": \"{}\", \"strict\": true}, "
                       "{\"name\": \"b\", \"description\": \"\", \"schema\": \"{}\"}]",
                       &t),
        0);
    assert_true(t.items[0].strict && !t.items[1].strict);
    job_tools_finish(&t);
}

static void ids_follow_the_ulid_layout(void **state) {
    const unsigned char random[10] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const unsigned char counted[10] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23};
    char id[31];
    char later[31];
    char trace[33];
    (void)state;
    /* The largest ULID there is, and the time of its specification's example. */
    job_id_write(id, ((int64_t)1 << 48) - 1, random);
    assert_string_equal(id, "job_7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    job_id_write(id, 1469918176385, counted);
    assert_int_equal(strncmp(id, "job_01ARYZ6S41", 14), 0);
    assert_string_equal(id + 14, "04HMASW9NF6YY093");
    assert_int_equal(job_id_make(id, trace), 0);
    assert_int_equal(strlen(id), 30);
    assert_int_equal(strlen(trace), 32);
    assert_int_equal(job_id_make(later, trace), 0);
    assert_string_not_equal(id, later);
    assert_true(strncmp(id, later, 14) <= 0);
}

static void plugin_paths_are_split(void **state) {
    struct plugin_paths paths = {0};
    (void)state;
    assert_int_equal(plugin_paths_split(&paths, ":/a::/b:", NULL, 0), 0);
    assert_string_equal(paths.items[0], "/a");
    assert_string_equal(paths.items[1], "/b");
    assert_null(paths.items[2]);
    plugin_paths_finish(&paths);
    assert_int_equal(plugin_paths_split(&paths, NULL, NULL, 0), 0);
    assert_null(paths.items[0]);
    plugin_paths_finish(&paths);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_gets_the_defaults),
        cmocka_unit_test(every_number_has_its_range),
        cmocka_unit_test(messages_keep_their_order_and_roles),
        cmocka_unit_test(titles_are_cut_between_characters),
        cmocka_unit_test(tools_are_read_back_as_they_were),
        cmocka_unit_test(reading_is_chosen_by_the_request),
        cmocka_unit_test(ids_follow_the_ulid_layout),
        cmocka_unit_test(plugin_paths_are_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
