/* What a job's schemas are made into: what the grammars let through, what is refused, and the same on the
 * thread pool, while the loop's thread uses what came back before. */
#include "daemon/job_compile.h"

#include "base/json.h"
#include "engine/grammar.h"
#include "tools/schema.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#define TOOL(name, schema) "{\"name\": \"" name "\", \"description\": \"\", \"schema\": \"" schema "\"}"
/* By name, in one order, and with members that no order is declared of. */
#define ADD                                                                                                  \
    TOOL("add", "{\\\"type\\\": \\\"object\\\", \\\"properties\\\": {\\\"n\\\": {\\\"type\\\": "             \
                "\\\"integer\\\"}}, \\\"required\\\": [\\\"n\\\"], \\\"additionalProperties\\\": false}")
#define ANY   TOOL("any", "{\\\"type\\\": \\\"object\\\"}")
#define TOOLS "[" ADD ", " ANY "]"
#define CALL(name, arguments)                                                                                \
    "<tool_call>\n{\"name\": \"" name "\", \"arguments\": " arguments "}\n</tool_call>"

static struct job_format format_of(const char *schema) {
    return (struct job_format){.json = schema != NULL, .schema = (char *)(uintptr_t)schema, .param = "p"};
}

static void order(struct job_compile *c, enum job_compile_what what, const char *schema, const char *tools) {
    struct job_format format = format_of(schema);
    assert_int_equal(job_compile_init(c, what, &format), 0);
    c->wants_grammar = true;
    c->tools_json = tools != NULL ? strdup(tools) : NULL;
}

static void forbid(struct job_compile *c, const char *name, const char *arguments) {
    c->forbidden = realloc(c->forbidden, (c->n_forbidden + 1) * sizeof *c->forbidden);
    assert_non_null(c->forbidden);
    c->forbidden[c->n_forbidden++] =
        (struct job_compile_call){.name = strdup(name), .arguments = strdup(arguments)};
}

static bool lets(struct grammar *grammar, const char *text) {
    struct grammar_matcher m = {.grammar = NULL};
    assert_int_equal(grammar_matcher_init(&m, grammar), 0);
    bool whole = grammar_matcher_bytes(&m, text, strlen(text)) == 1 && grammar_matcher_is_complete(&m);
    grammar_matcher_finish(&m);
    return whole;
}

static int judge(const struct schema *schema, const char *text) {
    struct value_document *d = NULL;
    assert_int_equal(value_parse(text, strlen(text), &schema_value_limits, &d, NULL, 0), 0);
    int rc = schema_check(schema, value_root(d), NULL, 0);
    value_destroy(d);
    return rc;
}

static void a_check_takes_or_refuses(void **state) {
    (void)state;
    struct job_compile c;
    order(&c, JOB_COMPILE_CHECK, "{\"type\": \"integer\"}", NULL);
    job_compile_run(&c);
    assert_int_equal(c.status, 0);
    assert_true(c.grammar == NULL && c.answer == NULL);
    job_compile_finish(&c);

    order(&c, JOB_COMPILE_CHECK, "{\"$ref\": \"#/no\"}", NULL);
    job_compile_run(&c);
    assert_int_equal(c.status, -EINVAL);
    assert_string_equal(c.problem.code, "schema_unsupported");
    assert_string_equal(c.problem.param, "p");
    job_compile_finish(&c);
}

static void a_turn_has_calls_of_the_tools(void **state) {
    (void)state;
    struct job_compile c;
    order(&c, JOB_COMPILE_TURN, NULL, TOOLS);
    job_compile_run(&c);
    assert_int_equal(c.status, 0);
    assert_int_equal(c.grammar_status, 0);
    assert_null(c.answer);
    assert_null(c.left_out);
    assert_true(lets(c.grammar, "Well. " CALL("add", "{\"n\": 7}")));
    assert_true(lets(c.grammar, CALL("any", "{\"x\": [1]}")));
    assert_false(lets(c.grammar, CALL("add", "{\"n\": \"7\"}")));
    assert_false(lets(c.grammar, CALL("sub", "{\"n\": 7}")));
    job_compile_finish(&c);
}

static void a_json_turn_ends_with_calls_or_the_answer(void **state) {
    (void)state;
    struct job_compile c;
    order(&c, JOB_COMPILE_TURN, "{\"type\": \"integer\"}", TOOLS);
    c.open_section = strdup("think");
    job_compile_run(&c);
    assert_int_equal(c.status + c.grammar_status, 0);
    assert_int_equal(judge(c.answer, "7"), 0);
    assert_int_equal(judge(c.answer, "7.5"), -EINVAL);
    assert_true(lets(c.grammar, "so it is</think>7"));
    assert_true(lets(c.grammar, "so it is</think>" CALL("add", "{\"n\": 7}")));
    assert_false(lets(c.grammar, "so it is</think>Well."));
    job_compile_finish(&c);

    order(&c, JOB_COMPILE_TURN, "{\"type\": \"integer\"}", NULL);
    c.wants_grammar = false;
    job_compile_run(&c);
    assert_int_equal(c.status, 0);
    assert_true(c.answer != NULL && c.grammar == NULL);
    job_compile_finish(&c);
}

static void forbidden_calls_are_left_out(void **state) {
    (void)state;
    for (int json = 0; json < 2; json++) {
        struct job_compile c;
        order(&c, JOB_COMPILE_TURN, json ? "{\"type\": \"integer\"}" : NULL, TOOLS);
        forbid(&c, "add", "{\"n\": 7}");
        job_compile_run(&c);
        assert_int_equal(c.status + c.grammar_status, 0);
        assert_false(c.left_out[0] || c.left_out[1]);
        assert_false(lets(c.grammar, CALL("add", "{\"n\": 7}")));
        assert_true(lets(c.grammar, CALL("add", "{\"n\": 8}")));
        assert_true(lets(c.grammar, CALL("any", "{\"n\": 7}")));
        assert_int_equal(lets(c.grammar, "7"), 1);
        assert_int_equal(lets(c.grammar, "Well."), !json);
        job_compile_finish(&c);
    }
}

static void a_tool_goes_where_its_arguments_cannot_be_said(void **state) {
    (void)state;
    struct job_compile c;
    order(&c, JOB_COMPILE_TURN, "{\"type\": \"integer\"}", TOOLS);
    forbid(&c, "any",
           "{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1}");
    job_compile_run(&c);
    assert_int_equal(c.status + c.grammar_status, 0);
    assert_false(c.left_out[0]);
    assert_true(c.left_out[1]);
    assert_false(lets(c.grammar, CALL("any", "{\"x\": 1}")));
    assert_true(lets(c.grammar, CALL("add", "{\"n\": 7}")));
    job_compile_finish(&c);
}

static void what_fails_is_said(void **state) {
    (void)state;
    struct job_compile c;
    order(&c, JOB_COMPILE_TURN, "{\"type\": \"integer\"}", "[{\"name\": 1}]");
    job_compile_run(&c);
    assert_int_equal(c.status, 0); /* its answers can be checked all the same */
    assert_int_equal(c.grammar_status, -EINVAL);
    assert_non_null(strstr(c.grammar_why, "cannot be read back"));
    assert_non_null(c.answer);
    assert_null(c.grammar);
    job_compile_finish(&c);

    order(&c, JOB_COMPILE_TURN, "{\"type\": 7}", TOOLS);
    job_compile_run(&c);
    assert_int_equal(c.status, -EINVAL);
    assert_non_null(strstr(c.problem.message, "type"));
    assert_null(c.grammar);
    job_compile_finish(&c);

    order(&c, JOB_COMPILE_TURN, "{\"type\": \"array\", \"uniqueItems\": true}", "[]");
    job_compile_run(&c);
    assert_int_equal(c.status + c.grammar_status, 0);
    assert_non_null(strstr(c.grammar_why, "uniqueItems"));
    assert_non_null(c.grammar);
    job_compile_finish(&c);
}

/* ---- on the pool ---- */

#define ORDERS 24

struct pooled {
    uv_work_t work;
    struct job_compile c;
    int *done;
};

static void run(uv_work_t *work) {
    job_compile_run(&((struct pooled *)work->data)->c);
}

static void came_back(uv_work_t *work, int status) {
    struct pooled *p = work->data;
    assert_int_equal(status, 0);
    assert_int_equal(p->c.status + p->c.grammar_status, 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(judge(p->c.answer, "{\"at\": \"2026-03-01T10:00:00Z\", \"id\": \"ab-12\"}"), 0);
        assert_int_equal(judge(p->c.answer, "{\"at\": \"today\"}"), -EINVAL);
        assert_true(lets(p->c.grammar, "{\"at\": \"2026-03-01T10:00:00Z\", \"id\": \"ab-12\"}"));
        assert_false(lets(p->c.grammar, CALL("add", "{\"n\": 7}")));
    }
    job_compile_finish(&p->c);
    ++*p->done;
}

static void many_at_once(void **state) {
    (void)state;
    static struct pooled all[ORDERS];
    int done = 0;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    for (int i = 0; i < ORDERS; i++) {
        order(&all[i].c, JOB_COMPILE_TURN,
              "{\"type\": \"object\", \"properties\": {\"at\": {\"type\": \"string\", \"format\": "
              "\"date-time\"}, \"id\": {\"type\": \"string\", \"pattern\": \"^[a-z]{2}-[0-9]{2}$\"}}}",
              TOOLS);
        forbid(&all[i].c, "add", "{\"n\": 7}");
        all[i].done = &done;
        all[i].work.data = &all[i];
        assert_int_equal(uv_queue_work(&loop, &all[i].work, run, came_back), 0);
    }
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(done, ORDERS);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_check_takes_or_refuses),
        cmocka_unit_test(a_turn_has_calls_of_the_tools),
        cmocka_unit_test(a_json_turn_ends_with_calls_or_the_answer),
        cmocka_unit_test(forbidden_calls_are_left_out),
        cmocka_unit_test(a_tool_goes_where_its_arguments_cannot_be_said),
        cmocka_unit_test(what_fails_is_said),
        cmocka_unit_test(many_at_once),
    };
    return cmocka_run_group_tests_name("job_compile", tests, NULL, NULL);
}
