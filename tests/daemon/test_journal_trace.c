/* Turns, parts and calls: what a job needs to go on after a restart, and the view people read. */
#include "journal_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int set_up(void **state) {
    struct place *p = place_make();
    place_open(p);
    *state = p;
    return 0;
}

static int tear_down(void **state) {
    place_remove(*state);
    return 0;
}

static const struct journal_span prompt[] = {{true, "<|im_start|>user\n", 17},
                                             {false, "Grüße <|im_end|>", 18},
                                             {true, "", 0},
                                             {true, "<|im_end|>\n", 11}};

static void add_turn(struct journal_batch *b, int number, bool keep) {
    struct journal_turn turn = {.job_id = "job_1",
                                .turn = number,
                                .prompt = prompt,
                                .n_prompt = sizeof prompt / sizeof *prompt,
                                .seed = UINT64_MAX - 1,
                                .sampling_json = "{\"temperature\": 0}"};
    journal_add_turn(b, &turn, keep);
}

static void finish_turn(struct journal_batch *b, int number) {
    struct journal_turn turn = {.job_id = "job_1",
                                .turn = number,
                                .finish = "stop",
                                .input_tokens = 100,
                                .output_tokens = 4,
                                .cached_tokens = 60,
                                .forced_tokens = 3,
                                .drafted_tokens = 8,
                                .accepted_tokens = 5,
                                .ahead_tokens = 40,
                                .prefix_miss_tokens = 9,
                                .prefix_misses_json = "{\"evicted\":9}",
                                .queue_ms = 1,
                                .prompt_ms = 20,
                                .first_token_ms = 25,
                                .decode_ms = 30};
    journal_add_turn_finished(b, &turn);
}

static void add_part(struct journal_batch *b, int turn, int position, const char *role, const char *type,
                     const char *section, const char *text) {
    struct journal_part part = {.job_id = "job_1",
                                .turn = turn,
                                .position = position,
                                .role = role,
                                .type = type,
                                .section = section,
                                .text = text,
                                .len = strlen(text),
                                .n_tokens = 3,
                                .ms = -1};
    journal_add_part(b, &part);
}

static void add_call(struct journal_batch *b, int number, int position) {
    struct journal_call call = {.job_id = "job_1",
                                .call = number,
                                .position = position,
                                .name = "read_file",
                                .arguments = "{\"path\": \"a\"}",
                                .raw = "<tool_call>\n{}",
                                .valid = true};
    journal_add_call(b, &call);
}

static void start_call(struct journal_batch *b, int number, int attempt) {
    struct journal_call call = {
        .job_id = "job_1", .call = number, .attempt = attempt, .pid = 77, .idempotency_key = "job_1/0"};
    journal_add_call_started(b, &call);
}

static void finish_call(struct journal_batch *b, int number) {
    struct journal_call call = {.job_id = "job_1",
                                .call = number,
                                .state = "ok",
                                .output = "2340\n",
                                .output_len = 5,
                                .duration_ms = 1.5,
                                .first_byte_us = 90,
                                .cpu_ms = 0.5,
                                .max_rss_kib = 2048};
    journal_add_call_finished(b, &call);
}

/* A job in the middle of its second turn: one call has its result, one was started. */
static void make_job(struct place *p) {
    const int32_t tokens[] = {0, 1, -1, 0x7fffffff};
    struct journal_batch *b = journal_batch_create();
    journal_add_tool(b,
                     &(struct journal_tool){.name = "read_file", .version = "1", .provider = "plugin:files"});
    add_job(b, "job_1", NULL);
    journal_add_job_started(b, "job_1", 0);
    add_part(b, 0, 0, "system", "text", NULL, "Be brief.");
    add_part(b, 0, 0, "user", "text", NULL, "Read a.");
    add_turn(b, 0, false);
    journal_add_turn_text(b, "job_1", 0, "<PLAN>\nfirst\n</PLAN>", 20, tokens, 3);
    add_part(b, 0, 0, "assistant", "reasoning", "PLAN", "first");
    add_call(b, 0, 1);
    assert_int_equal(commit(p, b), 0);
    b = journal_batch_create();
    start_call(b, 0, 1);
    journal_add_turn_text(b, "job_1", 0, "<tool_call>\0x", 13, tokens + 3, 1);
    add_call(b, 1, 2);
    finish_turn(b, 0);
    assert_int_equal(commit(p, b), 0);
    b = journal_batch_create();
    finish_call(b, 0);
    start_call(b, 1, 1);
    add_turn(b, 1, false);
    journal_add_event(
        b, &(struct journal_event){.job_id = "job_1", .seq = 7, .type = "x", .data = "{}", .len = 2});
    assert_int_equal(commit(p, b), 0);
}

static int check_job(void *arg, const struct journal_result *r) {
    int *n = arg;
    (*n)++;
    assert_int_equal(r->n_jobs, 1);
    assert_string_equal(r->jobs[0].id, "job_1");
    assert_string_equal(r->jobs[0].request_json, "{\"input\": \"hello\"}");
    assert_true(r->jobs[0].last_seq == 7 && r->jobs[0].starts == 1);
    assert_int_equal(r->n_turns, 2);
    const struct journal_turn *t = &r->turns[0];
    assert_int_equal(t->n_prompt, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(t->prompt[i].trusted, prompt[i].trusted);
        assert_int_equal(t->prompt[i].len, prompt[i].len);
        assert_memory_equal(t->prompt[i].text, prompt[i].text, prompt[i].len);
    }
    assert_true(t->seed == UINT64_MAX - 1);
    assert_string_equal(t->sampling_json, "{\"temperature\": 0}");
    assert_int_equal(t->len, 33);
    assert_memory_equal(t->text, "<PLAN>\nfirst\n</PLAN><tool_call>\0x", 33);
    assert_int_equal(t->n_tokens, 4);
    assert_true(t->tokens[0] == 0 && t->tokens[1] == 1 && t->tokens[2] == -1 && t->tokens[3] == 0x7fffffff);
    assert_string_equal(t->finish, "stop");
    assert_true(t->input_tokens == 100 && t->output_tokens == 4 && t->cached_tokens == 60 &&
                t->forced_tokens == 3 && t->prefix_miss_tokens == 9);
    assert_string_equal(t->prefix_misses_json, "{\"evicted\":9}");
    assert_true(t->drafted_tokens == 8 && t->accepted_tokens == 5 && t->ahead_tokens == 40);
    assert_true(r->turns[1].drafted_tokens == -1 && r->turns[1].accepted_tokens == -1 &&
                r->turns[1].ahead_tokens == -1);
    assert_int_equal(r->turns[1].forced_tokens, -1); /* it did not end */
    assert_int_equal(r->turns[1].prefix_miss_tokens, -1);
    assert_true(t->queue_ms == 1 && t->prompt_ms == 20 && t->first_token_ms == 25 && t->decode_ms == 30);
    assert_true(t->started_ns > 0 && t->finished_ns >= t->started_ns);
    assert_null(r->turns[1].finish);
    assert_true(r->turns[1].len == 0 && r->turns[1].n_tokens == 0 && r->turns[1].decode_ms < 0);
    assert_int_equal(r->n_parts, 5);
    assert_string_equal(r->parts[0].role, "system");
    assert_string_equal(r->parts[1].text, "Read a.");
    assert_string_equal(r->parts[2].section, "PLAN");
    assert_int_equal(r->parts[2].call, -1);
    assert_string_equal(r->parts[3].type, "tool_call");
    assert_int_equal(r->parts[4].call, 1);
    assert_int_equal(r->n_calls, 2);
    const struct journal_call *c = &r->calls[0];
    assert_string_equal(c->state, "ok");
    assert_string_equal(c->output, "2340\n");
    assert_true(c->duration_ms == 1.5 && c->first_byte_us == 90 && c->cpu_ms == 0.5 &&
                c->max_rss_kib == 2048);
    assert_true(c->attempt == 1 && c->pid == 77 && c->valid && !c->is_json && !c->truncated);
    assert_string_equal(c->idempotency_key, "job_1/0");
    assert_string_equal(c->raw, "<tool_call>\n{}");
    assert_true(c->finished_ns >= c->started_ns && c->started_ns >= c->created_ns && c->created_ns > 0);
    assert_string_equal(r->calls[1].state, "started");
    assert_null(r->calls[1].output);
    assert_true(r->calls[1].duration_ms < 0);
    return 0;
}

static void test_an_unfinished_job_is_recovered_whole(void **state) {
    struct place *p = *state;
    char err[256] = "";
    make_job(p);
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_0", NULL);
    journal_add_job_finished(b, &(struct journal_job){.id = "job_0", .status = "cancelled"});
    assert_int_equal(commit(p, b), 0);
    place_close(p);
    place_open(p);
    int n = 0;
    assert_int_equal(journal_recover(p->journal, check_job, &n, err, sizeof err), 0);
    assert_int_equal(n, 1);
}

static int refuse(void *arg, const struct journal_result *r) {
    (void)r;
    ++*(int *)arg;
    return -7;
}

static void test_recovery_stops_when_told(void **state) {
    struct place *p = *state;
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    add_job(b, "job_2", NULL);
    assert_int_equal(commit(p, b), 0);
    char err[256];
    int n = 0;
    assert_int_equal(journal_recover(p->journal, refuse, &n, err, sizeof err), -7);
    assert_int_equal(n, 1);
}

static void see_trace(void *arg, const struct journal_result *r) {
    struct answer *a = arg;
    int n = 0;
    take_answer(a, r);
    check_job(&n, r);
}

static void test_the_trace_is_read_as_it_is_recovered(void **state) {
    struct place *p = *state;
    make_job(p);
    struct answer answer = {0};
    assert_int_equal(journal_read_trace(p->journal, "job_1", see_trace, &answer), 0);
    wait_for(p, &answer);
    assert_int_equal(answer.status, 0);
}

static void see_durations(void *arg, const struct journal_result *r) {
    take_answer(arg, r);
    assert_int_equal(r->n_calls, 1); /* the other one was started, and has not ended */
    assert_string_equal(r->calls[0].name, "read_file");
    assert_true(r->calls[0].duration_ms == 1.5);
}

static void test_durations_of_calls(void **state) {
    struct place *p = *state;
    make_job(p);
    struct answer answer = {0};
    assert_int_equal(journal_read_durations(p->journal, see_durations, &answer), 0);
    wait_for(p, &answer);
    assert_int_equal(answer.status, 0);
}

static void test_the_view_reads_as_a_story(void **state) {
    struct place *p = *state;
    make_job(p);
    struct journal_batch *b = journal_batch_create();
    struct journal_call wrong = {.job_id = "job_1",
                                 .call = 2,
                                 .turn = 1,
                                 .position = 0,
                                 .name = "reed_file",
                                 .arguments = "{}",
                                 .state = "error",
                                 .error_code = "unknown_tool",
                                 .output = "no such tool",
                                 .output_len = 12};
    journal_add_call(b, &wrong);
    add_part(b, 1, 1, "assistant", "rehearsed", "now", "{}");
    add_part(b, 1, 2, "assistant", "text", NULL, "2340.");
    finish_turn(b, 1);
    assert_int_equal(commit(p, b), 0);
    /* as README says it, without ORDER BY */
    assert_file(p,
                "SELECT group_concat(turn || ' ' || kind || ' ' || coalesce(name, '-') || ' ' || "
                "coalesce(text, '-') || ' ' ||"
                " coalesce(ms, '-') || ' ' || coalesce(state, '-'), char(10))"
                " FROM (SELECT turn, kind, name, text, ms, state FROM trace WHERE job_id = 'job_1')",
                "0 system - Be brief. - -\n"
                "0 user - Read a. - -\n"
                "0 turn stop - 50.0 -\n"
                "0 reasoning PLAN first - -\n"
                "0 call read_file {\"path\": \"a\"} - -\n"
                "0 result read_file 2340\n 1.5 ok\n"
                "0 call read_file {\"path\": \"a\"} - -\n"
                "1 turn stop - 50.0 -\n"
                "1 call reed_file {} - -\n"
                "1 result reed_file no such tool - unknown_tool\n"
                "1 rehearsed now {} - -\n"
                "1 text - 2340. - -");
    assert_file(p, "SELECT t.provider FROM tool_calls c JOIN tools t ON t.id = c.tool_id WHERE call = 0",
                "plugin:files");
}

static void test_a_generation_begins_again(void **state) {
    struct place *p = *state;
    const int32_t token = 5;
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    add_turn(b, 0, false);
    add_part(b, 0, 0, "user", "text", NULL, "Read a.");
    journal_add_turn_text(b, "job_1", 0, "abc", 3, &token, 1);
    add_part(b, 0, 0, "assistant", "reasoning", "PLAN", "first");
    add_call(b, 0, 1);
    assert_int_equal(commit(p, b), 0);
    b = journal_batch_create();
    add_turn(b, 0, true); /* the text was committed because a call depends on it: kept */
    assert_int_equal(commit(p, b), 0);
    assert_file(p, "SELECT output_text || length(output_tokens_blob) FROM turns", "abc4");
    assert_file(p, "SELECT count(*) FROM parts", "3");
    b = journal_batch_create();
    add_part(b, 0, 0, "assistant", "reasoning", "PLAN", "second"); /* the replay writes the same part again */
    assert_int_equal(commit(p, b), 0);
    assert_file(p, "SELECT group_concat(text) FROM (SELECT text FROM parts WHERE type = 'reasoning')",
                "second");
    b = journal_batch_create();
    add_turn(b, 0, false); /* nothing depends on it: dropped */
    assert_int_equal(commit(p, b), 0);
    assert_file(p, "SELECT output_text || length(output_tokens_blob) FROM turns", "0");
    assert_file(p, "SELECT group_concat(role) FROM parts", "user");
    assert_file(p, "SELECT count(*) FROM tool_calls", "0");
    b = journal_batch_create();
    add_call(b, 0, 1);
    start_call(b, 0, 1);
    add_turn(b, 0, false); /* a call that was started is never forgotten */
    assert_int_equal(commit(p, b), 0);
    assert_file(p, "SELECT state FROM tool_calls", "started");
}

static void test_calls_and_turns_only_go_forward(void **state) {
    struct place *p = *state;
    struct answer answer;
    make_job(p);
    struct journal_batch *b = journal_batch_create();
    start_call(b, 0, 2); /* it has a result */
    assert_int_equal(commit_with(p, b, &answer), -ENOENT);
    assert_string_equal(answer.err, "Job 'job_1' has no open call of that number to start.");
    b = journal_batch_create();
    finish_call(b, 0);
    assert_int_equal(commit(p, b), -ENOENT);
    b = journal_batch_create();
    finish_call(b, 9);
    assert_int_equal(commit(p, b), -ENOENT);
    b = journal_batch_create();
    add_call(b, 0, 1); /* the number is given */
    assert_int_equal(commit(p, b), -EINVAL);
    b = journal_batch_create();
    journal_add_turn_text(b, "job_1", 0, "x", 1, NULL, 0); /* it has ended */
    assert_int_equal(commit(p, b), -ENOENT);
    b = journal_batch_create();
    finish_turn(b, 0);
    assert_int_equal(commit(p, b), -ENOENT);
    b = journal_batch_create();
    start_call(b, 1, 2); /* an idempotent call runs again after a crash */
    assert_int_equal(commit(p, b), 0);
    assert_file(p, "SELECT attempt FROM tool_calls WHERE call = 1", "2");
}

static void test_a_tool_is_stored_once(void **state) {
    struct place *p = *state;
    struct journal_tool old = {.name = "t", .version = "1", .input_schema = "{}", .flags = 1};
    struct journal_tool new = {.name = "t", .version = "2", .input_schema = "{}", .flags = 1};
    struct journal_batch *b = journal_batch_create();
    journal_add_tool(b, &old);
    journal_add_tool(b, &new);
    journal_add_tool(b, &old); /* in use again */
    assert_int_equal(commit(p, b), 0);
    assert_file(p, "SELECT count(*) || (SELECT version FROM tools ORDER BY seen DESC LIMIT 1) FROM tools",
                "21");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_unfinished_job_is_recovered_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_recovery_stops_when_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_trace_is_read_as_it_is_recovered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_durations_of_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_view_reads_as_a_story, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_generation_begins_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_calls_and_turns_only_go_forward, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_tool_is_stored_once, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
