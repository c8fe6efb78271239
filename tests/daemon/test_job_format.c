/* The member `response_format` of a job: read, and refused where an answer could not be held to it. */
#include "daemon/job_request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SCHEMA "{\"type\": \"object\", \"properties\": {\"n\": {\"maximum\": 0.10}}}"

/* The request with this format and other members; 0 or what parsing or checking it gave. */
static int judge(const char *format, const char *more, struct job_request *request,
                 struct job_problem *problem) {
    struct buf body;
    buf_init(&body, 1u << 20);
    assert_int_equal(buf_printf(&body, "{\"input\": \"hi\", \"response_format\": %s%s}", format, more), 0);
    *problem = (struct job_problem){0};
    int rc = job_request_parse(body.data, body.len, request, problem);
    if (rc == 0 && (rc = job_format_check(&request->format, request->constrained, problem)) != 0)
        job_request_finish(request);
    buf_finish(&body);
    return rc;
}

static void good_ones_are_kept_as_written(void **state) {
    (void)state;
    static const struct {
        const char *format, *schema, *param;
        bool json, strict;
    } all[] = {
        {"null", NULL, NULL, false, false},
        {"{\"type\": \"text\"}", NULL, NULL, false, false},
        {"{\"type\": \"json_object\"}", NULL, "response_format", true, false},
        {"{\"type\": \"json_object\", \"schema\": " SCHEMA "}", SCHEMA, "response_format.schema", true,
         false},
        {"{\"type\": \"json_schema\", \"json_schema\": {\"name\": \"x\", \"schema\": " SCHEMA
         ", \"strict\": true}}",
         SCHEMA, "response_format.json_schema.schema", true, true},
        {"{\"json_schema\": {\"schema\": " SCHEMA ", \"strict\": null, \"description\": 1}, \"t\\u0079pe\": "
         "\"json\\u005fschema\"}",
         SCHEMA, "response_format.json_schema.schema", true, false},
        {"{\"type\": \"json_schema\", \"json_schema\": {\"schema\": {\"type\": \"array\", \"uniqueItems\": "
         "true}}}",
         "{\"type\": \"array\", \"uniqueItems\": true}", "response_format.json_schema.schema", true, false},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct job_request r;
        struct job_problem problem;
        if (judge(all[i].format, "", &r, &problem) != 0)
            fail_msg("%s: %s", all[i].format, problem.message);
        assert_true(r.format.json == all[i].json && r.format.strict == all[i].strict);
        if (all[i].schema == NULL)
            assert_null(r.format.schema);
        else
            assert_string_equal(r.format.schema, all[i].schema);
        if (all[i].json)
            assert_string_equal(r.format.param, all[i].param);
        job_request_finish(&r);
    }
}

#define FULL(inner) "{\"type\": \"json_schema\", \"json_schema\": {\"schema\": " inner ", \"strict\": true}}"

static void bad_ones_name_place_and_keyword(void **state) {
    (void)state;
    static const struct {
        const char *format, *code, *param, *said;
    } all[] = {
        {"\"json_object\"", "invalid_value", "response_format", "object with 'type'"},
        {"[]", "invalid_value", "response_format", "object with 'type'"},
        {"{}", "invalid_value", "response_format.type", "json_schema"},
        {"{\"type\": \"xml\"}", "invalid_value", "response_format.type", "json_schema"},
        {"{\"type\": 7}", "invalid_value", "response_format.type", "json_schema"},
        {"{\"type\": \"json_object\", \"schema\": 1}", "invalid_value", "response_format.schema",
         "JSON Schema"},
        {"{\"type\": \"json_schema\"}", "invalid_value", "response_format.json_schema", "'schema'"},
        {"{\"type\": \"json_schema\", \"json_schema\": {}}", "invalid_value",
         "response_format.json_schema.schema", "JSON Schema"},
        {"{\"type\": \"json_schema\", \"json_schema\": {\"schema\": {}, \"name\": 1}}", "invalid_value",
         "response_format.json_schema.name", "64"},
        {"{\"type\": \"json_schema\", \"json_schema\": {\"schema\": {}, \"strict\": \"yes\"}}",
         "invalid_value", "response_format.json_schema.strict", "true or false"},
        {FULL("{\"properties\": {\"a\": {\"$ref\": \"http://x/y\"}}}"), "schema_unsupported",
         "response_format.json_schema.schema", "at /properties/a: keyword '$ref'"},
        {FULL("{\"properties\": {\"a\": {\"pattern\": \"(?=x)\"}}}"), "schema_unsupported",
         "response_format.json_schema.schema", "at /properties/a: keyword 'pattern'"},
        {FULL("{\"type\": \"integer\", \"minimum\": 3, \"maximum\": 2}"), "schema_unsupported",
         "response_format.json_schema.schema", "No text matches"},
        {FULL("{\"properties\": {\"a\": {\"type\": \"array\", \"uniqueItems\": true}}}"),
         "schema_unsupported", "response_format.json_schema.schema", "/properties/a: uniqueItems"},
        {"{\"type\": \"json_object\", \"schema\": {\"type\": \"objekt\"}}", "schema_unsupported",
         "response_format.schema", "at the top: keyword 'type'"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct job_request r;
        struct job_problem problem;
        if (judge(all[i].format, "", &r, &problem) != -EINVAL)
            fail_msg("%s was taken", all[i].format);
        assert_string_equal(problem.code, all[i].code);
        assert_string_equal(problem.param, all[i].param);
        if (strstr(problem.message, all[i].said) == NULL)
            fail_msg("%s: %s", all[i].format, problem.message);
    }
}

/* Without a grammar nothing has to be said by one. */
static void unconstrained_jobs_are_checked_afterwards(void **state) {
    (void)state;
    struct job_request r;
    struct job_problem problem;
    assert_int_equal(
        judge(FULL("{\"type\": \"array\", \"uniqueItems\": true}"), ", \"constrained\": false", &r, &problem),
        0);
    job_request_finish(&r);
    assert_int_equal(
        judge(FULL("{\"type\": \"array\", \"$ref\": \"#/no\"}"), ", \"constrained\": false", &r, &problem),
        -EINVAL);
}

static void large_ones_are_refused(void **state) {
    (void)state;
    static const char head[] = "{\"type\": \"json_object\", \"schema\": {\"title\": \"";
    for (size_t n = JOB_FORMAT_SCHEMA_MAX - 1; n <= JOB_FORMAT_SCHEMA_MAX + 1; n++) {
        struct job_request r;
        struct job_problem problem;
        struct buf format;
        buf_init(&format, 1u << 20);
        assert_int_equal(buf_puts(&format, head), 0);
        for (size_t left = n - strlen("{\"title\": \"\"}"); left > 0; left--)
            assert_int_equal(buf_putc(&format, 'x'), 0);
        assert_int_equal(buf_puts(&format, "\"}}"), 0);
        assert_int_equal(judge(format.data, "", &r, &problem), n <= JOB_FORMAT_SCHEMA_MAX ? 0 : -EINVAL);
        if (n <= JOB_FORMAT_SCHEMA_MAX)
            job_request_finish(&r);
        else
            assert_string_equal(problem.code, "schema_unsupported");
        buf_finish(&format);
    }
}

static void its_schema_compiles(void **state) {
    (void)state;
    static const char *const texts[] = {"{\"a\": 1}", "[1]", "{\"n\": 0.2}"};
    struct job_request r;
    struct job_problem problem;
    for (int with = 0; with < 2; with++) {
        struct schema *schema = NULL;
        const char *format =
            with ? "{\"type\": \"json_object\", \"schema\": " SCHEMA "}" : "{\"type\": \"json_object\"}";
        assert_int_equal(judge(format, "", &r, &problem), 0);
        assert_int_equal(job_format_compile(&r.format, &schema, NULL, 0), 0);
        for (int i = 0; i < 3; i++) {
            struct value_document *d = NULL;
            assert_int_equal(value_parse(texts[i], strlen(texts[i]), &schema_value_limits, &d, NULL, 0), 0);
            bool fits = i == 0 || (i == 2 && !with);
            assert_int_equal(schema_check(schema, value_root(d), NULL, 0), fits ? 0 : -EINVAL);
            value_destroy(d);
        }
        schema_destroy(schema);
        job_request_finish(&r);
    }
}

#define SAYS "You answer in JSON. Here's the json schema you must adhere to:\\n<schema>\\n"

/* The body {"input", "system", …}; 0 or what parsing or checking it gave. */
static int judge_system(const char *system, const char *more, struct job_request *r,
                        struct job_problem *problem) {
    struct buf body;
    buf_init(&body, 1u << 20);
    assert_int_equal(buf_printf(&body, "{\"input\": \"hi\", \"system\": \"%s\"%s}", system, more), 0);
    *problem = (struct job_problem){0};
    int rc = job_request_parse(body.data, body.len, r, problem);
    if (rc == 0 && (rc = job_format_check(&r->format, r->constrained, problem)) != 0)
        job_request_finish(r);
    buf_finish(&body);
    return rc;
}

static void the_prompt_of_json_mode_asks_for_it(void **state) {
    (void)state;
    static const struct {
        const char *system, *more, *schema; /* NULL: it is only text */
    } all[] = {
        {SAYS "{\\\"type\\\": \\\"array\\\"}\\n</schema>", "", "{\"type\": \"array\"}"},
        {"First. " SAYS " {} </schema> Then.", "", "{}"},
        {SAYS "{\\\"const\\\": \\\"</schema>\\\"}</schema>", "", "{\"const\": \"</schema>\"}"},
        {SAYS "{}</schema>", ", \"response_format\": null", "{}"},
        {SAYS "{}</schema>", ", \"response_format\": {\"type\": \"text\"}", NULL},
        {SAYS "{}", "", NULL},
        {SAYS "[]</schema>", "", NULL},
        {SAYS "{'a': 1}</schema>", "", NULL},
        {SAYS "</schema>", "", NULL},
        {"Here's the json schema you must adhere to: {}</schema>", "", NULL},
        {"<schema>{}</schema>", "", NULL},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct job_request r;
        struct job_problem problem;
        if (judge_system(all[i].system, all[i].more, &r, &problem) != 0)
            fail_msg("%s: %s", all[i].system, problem.message);
        assert_true(r.format.json == (all[i].schema != NULL) && r.format.in_system == r.format.json);
        if (all[i].schema != NULL)
            assert_string_equal(r.format.schema, all[i].schema);
        job_request_finish(&r);
    }
    struct job_request r;
    struct job_problem problem;
    assert_int_equal(judge_system(SAYS "{\\\"type\\\": \\\"objekt\\\"}</schema>", "", &r, &problem), -EINVAL);
    assert_string_equal(problem.code, "schema_unsupported");
    assert_string_equal(problem.param, "system");
    assert_non_null(strstr(problem.message, "it is only text"));
    const char *object = ", \"response_format\": {\"type\": \"json_object\"}";
    assert_int_equal(judge_system(SAYS "{\\\"type\\\": \\\"array\\\"}</schema>", object, &r, &problem), 0);
    assert_true(r.format.json && !r.format.in_system && r.format.schema == NULL);
    job_request_finish(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones_are_kept_as_written),
        cmocka_unit_test(bad_ones_name_place_and_keyword),
        cmocka_unit_test(unconstrained_jobs_are_checked_afterwards),
        cmocka_unit_test(large_ones_are_refused),
        cmocka_unit_test(its_schema_compiles),
        cmocka_unit_test(the_prompt_of_json_mode_asks_for_it),
    };
    return cmocka_run_group_tests_name("job_format", tests, NULL, NULL);
}
