/* Citations: what stands in <co>, against passages that were given or retrieved. */
#include "agent/citations.h"
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

/* "id start-end call" a line; ? for one that resolves to nothing. */
static void expect(struct citations *c, const char *answer, const char *wanted) {
    struct buf got;
    buf_init(&got, 1u << 20);
    assert_int_equal(buf_puts(&got, ""), 0);
    assert_int_equal(citations_find(c, answer, strlen(answer)), 0);
    for (size_t i = 0; i < c->n_found; i++) {
        const struct agent_citation *f = &c->found[i];
        assert_int_equal(
            buf_printf(&got, "%s %zu-%zu %s%d\n", f->id, f->start, f->end, f->resolved ? "" : "?", f->call),
            0);
    }
    assert_string_equal(got.data, wanted);
    buf_finish(&got);
}

static void tags_are_resolved_or_flagged(void **state) {
    (void)state;
    struct citations c;
    citations_init(&c);
    const char *result =
        "{\"passages\": [{\"id\": \"a#1\", \"text\": \"x\"}, {\"id\": \"b\"}, {\"no\": 1}, 3]}";
    assert_int_equal(citations_add(&c, "given", -1), 0);
    assert_int_equal(citations_add(&c, "a,b", -1), 0);
    assert_int_equal(citations_add_result(&c, 4, result, strlen(result)), 0);
    expect(&c, "None.", "");
    expect(&c, "One.<co>a#1</co>", "a#1 4-16 4\n");
    expect(&c, "<co>given</co> and <co> b </co>", "given 0-14 -1\nb 19-31 4\n");
    expect(&c, "<co>a#1, b</co>", "a#1 0-15 4\nb 0-15 4\n");
    expect(&c, "<co>a,b</co>", "a,b 0-12 -1\n");
    expect(&c, "<co>nothing</co>", "nothing 0-16 ?-1\n");
    expect(&c, "<co></co>", " 0-9 ?-1\n");
    expect(&c, "x <co>b and on\nmore", "b and on 2-14 ?-1\n");
    expect(&c, "<co>b<co>a#1</co>", "b 0-5 4\na#1 5-17 4\n");
    expect(&c, "x<co>", " 1-5 ?-1\n");
    citations_finish(&c);
}

/* The same id again: what was retrieved last is what the model saw last. */
static void the_last_passage_counts(void **state) {
    (void)state;
    struct citations c;
    citations_init(&c);
    static const char result[] = "{\"passages\": [{\"id\": \"a\", \"text\": \"x\"}]}";
    assert_int_equal(citations_add_result(&c, 0, result, sizeof result - 1), 0);
    assert_int_equal(citations_add_result(&c, 2, result, sizeof result - 1), 0);
    expect(&c, "<co>a</co>", "a 0-10 2\n");
    citations_finish(&c);
}

static void other_results_have_no_passages(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "\"passages\"",
                                        "{\"passages\": {\"id\": \"a\"}, \"x\": [{\"id\": \"a\"}]}",
                                        "{\"passages\": [{\"id\": 3}]}",
                                        "{\"passages\": [",
                                        "[{\"passages\": [{\"id\": \"a\"}]}]"};
    struct citations c;
    citations_init(&c);
    assert_int_equal(citations_add_result(&c, 0, NULL, 0), 0);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(citations_add_result(&c, 0, texts[i], strlen(texts[i])), 0);
    expect(&c, "<co>a</co>", "a 0-10 ?-1\n");
    citations_finish(&c);
}

/* Through a conversation: documents in the prompt, passages of a result, citations of the answer. */
static void a_job_cites_what_it_has(void **state) {
    (void)state;
    const struct agent_tool tool = {.name = "retrieve", .schema = "{}"};
    const struct agent_document given = {"memo", "Ships <sail>."};
    const struct agent_config config = {
        .tools = &tool, .n_tools = 1, .documents = &given, .n_documents = 1, .limits = agent_limits_default};
    const struct agent_message ask = {AGENT_ROLE_USER, "What sails?"};
    const char *call = "<tool_call>{\"name\": \"retrieve\", \"arguments\": {}}</tool_call>",
               *result = "{\"passages\": [{\"id\": \"p1\", \"text\": \"x\"}]}",
               *answer = "Ships.<co>memo</co> All.<co>p1</co> More.<co>p2</co>";
    struct agent *a;
    struct agent_step s;
    struct buf prompt;
    size_t n = 9;
    buf_init(&prompt, 1u << 20);
    assert_int_equal(agent_create(&config, &a, NULL, 0), 0);
    assert_int_equal(agent_start(a, &ask, 1, NULL, 0), 0);
    agent_next(a, &s);
    for (size_t i = 0; i < s.n_spans; i++)
        assert_int_equal(buf_append(&prompt, s.spans[i].text, s.spans[i].len), 0);
    assert_non_null(strstr(prompt.data,
                           "What sails?\n\nDocuments:\n{\"passages\": [{\"id\": \"memo\", \"text\": "
                           "\"Ships \\u003csail\\u003e.\"}]}<|im_end|>"));
    buf_finish(&prompt);
    (void)agent_citations(a, &n);
    assert_int_equal(n, 0);
    assert_int_equal(agent_feed_text(a, call, strlen(call), 1), 0);
    assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), 0);
    agent_next(a, &s);
    assert_int_equal(agent_feed_result(a, 0, AGENT_RESULT_OK, result, strlen(result)), 0);
    agent_next(a, &s);
    assert_int_equal(agent_feed_text(a, answer, strlen(answer), 1), 0);
    assert_int_equal(agent_feed_end(a, AGENT_FINISH_STOP), 0);
    agent_next(a, &s);
    assert_int_equal(s.type, AGENT_STEP_DONE);
    const struct agent_citation *found = agent_citations(a, &n);
    assert_int_equal(n, 3);
    assert_true(found[0].resolved && found[0].call == -1 && found[0].start == 6 && found[0].end == 19);
    assert_true(found[1].resolved && found[1].call == 0);
    assert_false(found[2].resolved);
    assert_string_equal(found[2].id, "p2");
    agent_destroy(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_are_resolved_or_flagged),
        cmocka_unit_test(the_last_passage_counts),
        cmocka_unit_test(other_results_have_no_passages),
        cmocka_unit_test(a_job_cites_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
