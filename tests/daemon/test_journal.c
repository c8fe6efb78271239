/* What goes into the journal comes out of it again: jobs, turns, parts, calls, events; paging; recovery. */
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

/* ---- jobs ---- */

static void test_a_job_is_committed_and_read(void **state) {
    struct place *p = *state;
    struct journal_batch *b = journal_batch_create();
    struct journal_job job = {.id = "job_1",
                              .title = "t",
                              .model = "m",
                              .request_json = "{\"input\": \"a\"}",
                              .tools_json = "[]",
                              .metadata_json = "{\"a\": \"b\"}",
                              .client_uid = 1000,
                              .client_name = "hermesctl",
                              .trace_id = "abc",
                              .priority = 3,
                              .created_ns = 1732345200123000000,
                              .deadline_ns = 1732345260500000000};
    journal_add_job(b, &job);
    assert_int_equal(commit(p, b), 0);
    assert_file(p, "SELECT status || created_at || deadline_at || tools_json || metadata_json FROM jobs",
                "queued2024-11-23T07:00:00.123Z2024-11-23T07:01:00.500Z[]{\"a\": \"b\"}");

    b = journal_batch_create();
    journal_add_job_started(b, "job_1", 0);
    journal_add_job_status(b, "job_1", "input_required");
    journal_add_cancel(b, "job_1");
    assert_int_equal(commit(p, b), 0);
    assert_file(p, "SELECT status || starts || cancel_requested || (started_at > created_at) FROM jobs",
                "input_required111");
}

struct seen_job {
    struct answer answer;
    struct journal_job job;
    char id[32], status[32], kind[32], request[64], tools[32], result[32], repaired[64], code[32];
};

static void see_job(void *arg, const struct journal_result *r) {
    struct seen_job *s = arg;
    take_answer(&s->answer, r);
    if (r->status < 0)
        return;
    assert_int_equal(r->n_jobs, 1);
    s->job = r->jobs[0];
    snprintf(s->id, sizeof s->id, "%s", s->job.id);
    snprintf(s->status, sizeof s->status, "%s", s->job.status);
    snprintf(s->kind, sizeof s->kind, "%s", s->job.kind);
    snprintf(s->request, sizeof s->request, "%s", s->job.request_json);
    snprintf(s->tools, sizeof s->tools, "%s", s->job.tools_json != NULL ? s->job.tools_json : "NULL");
    snprintf(s->result, sizeof s->result, "%s", s->job.result_text != NULL ? s->job.result_text : "NULL");
    snprintf(s->repaired, sizeof s->repaired, "%s",
             s->job.result_repaired != NULL ? s->job.result_repaired : "NULL");
    snprintf(s->code, sizeof s->code, "%s", s->job.error_code != NULL ? s->job.error_code : "NULL");
}

static void test_a_finished_job_stays_finished(void **state) {
    struct place *p = *state;
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    journal_add_job_started(b, "job_1", 1732345200874000000);
    journal_add_job_started(b, "job_1", 1732345200999000000); /* a restart: it began when it first did */
    struct journal_job end = {.id = "job_1",
                              .status = "completed",
                              .result_text = "42",
                              .result_repaired = "fenced_json",
                              .finished_ns = 1732345201000000000,
                              .input_tokens = 10,
                              .output_tokens = 20,
                              .cached_tokens = 5,
                              .prefix_miss_tokens = 6,
                              .reasoning_tokens = 7,
                              .turns = 2,
                              .tool_calls = 1};
    journal_add_job_finished(b, &end);
    struct journal_event event = {
        .job_id = "job_1", .seq = 1, .type = "job.completed", .data = "{}", .len = 2};
    journal_add_event(b, &event);
    assert_int_equal(commit(p, b), 0);

    struct seen_job seen = {0};
    assert_int_equal(journal_read_job(p->journal, "job_1", see_job, &seen), 0);
    wait_for(p, &seen.answer);
    assert_int_equal(seen.answer.status, 0);
    assert_string_equal(seen.id, "job_1");
    assert_string_equal(seen.status, "completed");
    assert_string_equal(seen.kind, "agent");
    assert_string_equal(seen.request, "{\"input\": \"hello\"}");
    assert_string_equal(seen.tools, "NULL");
    assert_string_equal(seen.result, "42");
    assert_string_equal(seen.repaired, "fenced_json");
    assert_string_equal(seen.code, "NULL");
    assert_true(seen.job.started_ns == 1732345200874000000);
    assert_true(seen.job.finished_ns == 1732345201000000000);
    assert_true(seen.job.deadline_ns == 0);
    assert_true(seen.job.input_tokens == 10 && seen.job.output_tokens == 20 && seen.job.cached_tokens == 5 &&
                seen.job.prefix_miss_tokens == 6 && seen.job.reasoning_tokens == 7 && seen.job.last_seq == 1);
    assert_true(seen.job.turns == 2 && seen.job.tool_calls == 1 && seen.job.starts == 2 &&
                seen.job.client_uid == 1000);

    struct answer answer;
    b = journal_batch_create();
    end.status = "failed";
    journal_add_job_finished(b, &end);
    assert_int_equal(commit_with(p, b, &answer), -ENOENT);
    assert_string_equal(answer.err, "There is no unfinished job 'job_1' to finish.");
    b = journal_batch_create();
    journal_add_job_started(b, "job_1", 0);
    assert_int_equal(commit(p, b), -ENOENT);
    assert_file(p, "SELECT status FROM jobs", "completed");
}

static void test_an_unknown_job_is_no_row(void **state) {
    struct place *p = *state;
    struct seen_job seen = {0};
    assert_int_equal(journal_read_job(p->journal, "job_x", see_job, &seen), 0);
    wait_for(p, &seen.answer);
    assert_int_equal(seen.answer.status, -ENOENT);
    assert_string_equal(seen.answer.err, "There is no job 'job_x'.");
    struct answer answer = {0};
    assert_int_equal(journal_read_trace(p->journal, "job_x", take_answer, &answer), 0);
    wait_for(p, &answer);
    assert_int_equal(answer.status, -ENOENT);
}

static void test_deleting_takes_everything_along(void **state) {
    struct place *p = *state;
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    struct journal_turn turn = {.job_id = "job_1"};
    journal_add_turn(b, &turn, false);
    struct journal_part part = {.job_id = "job_1", .role = "user", .type = "text", .text = "hi", .len = 2};
    journal_add_part(b, &part);
    struct journal_call call = {.job_id = "job_1", .name = "clock", .arguments = "{}", .valid = true};
    journal_add_call(b, &call);
    struct journal_event event = {.job_id = "job_1", .seq = 1, .type = "job.queued", .data = "{}", .len = 2};
    journal_add_event(b, &event);
    assert_int_equal(commit(p, b), 0);
    b = journal_batch_create();
    journal_add_job_deleted(b, "job_1");
    assert_int_equal(commit(p, b), 0);
    assert_file(
        p,
        "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM turns) + (SELECT count(*) FROM parts) +"
        " (SELECT count(*) FROM tool_calls) + (SELECT count(*) FROM events)",
        "0");
}

/* ---- batches ---- */

static void test_a_batch_is_all_or_nothing(void **state) {
    struct place *p = *state;
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    journal_add_job_status(b, "job_1", "sleeping"); /* no such status */
    struct answer answer;
    assert_int_equal(commit_with(p, b, &answer), -EINVAL);
    assert_non_null(strstr(answer.err, "CHECK constraint failed"));
    assert_file(p, "SELECT count(*) FROM jobs", "0");
    b = journal_batch_create();
    struct journal_event event = {.job_id = "job_9", .seq = 1, .type = "x", .data = "{}", .len = 2};
    journal_add_event(b, &event); /* of a job that is not there */
    assert_int_equal(commit(p, b), -EINVAL);
}

static void test_one_bad_batch_leaves_its_neighbours(void **state) {
    struct place *p = *state;
    struct answer answers[50] = {0};
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "job_%d", i);
        struct journal_batch *b = journal_batch_create();
        add_job(b, id, NULL);
        if (i % 10 == 3)
            journal_add_job_finished(b, &(struct journal_job){.id = "nobody", .status = "failed"});
        assert_int_equal(journal_submit(p->journal, b, take_answer, &answers[i]), 0);
    }
    for (int i = 0; i < 50; i++) {
        wait_for(p, &answers[i]);
        assert_int_equal(answers[i].status, i % 10 == 3 ? -ENOENT : 0);
    }
    assert_file(p, "SELECT count(*) FROM jobs", "45");
    assert_int_equal(journal_queued_bytes(p->journal), 0);
}

static int order[8], n_order;

static void note_order(void *arg, const struct journal_result *r) {
    (void)r;
    order[n_order++] = *(int *)arg;
}

static void test_answers_come_in_order_and_at_the_latest_when_closing(void **state) {
    struct place *p = *state;
    static int numbers[] = {0, 1, 2, 3};
    n_order = 0;
    for (int i = 0; i < 4; i++)
        assert_int_equal(journal_submit(p->journal, journal_batch_create(), note_order, &numbers[i]), 0);
    assert_int_equal(journal_submit(p->journal, journal_batch_create(), NULL, NULL), 0);
    place_close(p);
    assert_int_equal(n_order, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(order[i], i);
}

static void test_the_queue_has_a_ceiling(void **state) {
    struct place *p = *state;
    place_close(p);
    char err[256];
    struct journal_config config = {.state_dir = p->state, .max_queue_bytes = 64 << 10};
    assert_int_equal(journal_open(&config, &p->journal, err, sizeof err), 0);
    char *large = calloc(1, 80001);
    assert_non_null(large);
    memset(large, 'a', 80000);
    struct journal_batch *b = journal_batch_create();
    struct journal_job job = {.id = "job_1", .request_json = large};
    journal_add_job(b, &job);
    assert_int_equal(journal_submit(p->journal, b, take_answer, NULL), -EAGAIN);
    /* what belongs to jobs that were accepted has more room */
    b = journal_batch_create();
    journal_add_tool(b, &(struct journal_tool){.name = large});
    assert_int_equal(journal_submit(p->journal, b, NULL, NULL), 0);
    b = journal_batch_create();
    for (int i = 0; i < 4; i++)
        journal_add_tool(b, &(struct journal_tool){.name = large});
    assert_int_equal(journal_submit(p->journal, b, NULL, NULL), -EAGAIN);
    free(large);
}

/* ---- idempotency keys ---- */

static void test_a_key_names_one_job(void **state) {
    struct place *p = *state;
    struct answer answer;
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", "key");
    assert_int_equal(commit(p, b), 0);
    b = journal_batch_create();
    add_job(b, "job_2", "key");
    assert_int_equal(commit_with(p, b, &answer), -EEXIST);
    assert_string_equal(answer.existing_id, "job_1");
    assert_true(answer.same_request);
    b = journal_batch_create();
    struct journal_job other = {
        .id = "job_3", .request_json = "{}", .client_uid = 1000, .idempotency_key = "key"};
    journal_add_job(b, &other);
    assert_int_equal(commit_with(p, b, &answer), -EEXIST);
    assert_string_equal(answer.existing_id, "job_1");
    assert_false(answer.same_request);
    b = journal_batch_create();
    other.client_uid = 1001; /* another client's key is another key */
    journal_add_job(b, &other);
    assert_int_equal(commit(p, b), 0);
    b = journal_batch_create();
    add_job(b, "job_1", NULL); /* the id is taken, but by no key */
    assert_int_equal(commit_with(p, b, &answer), -EEXIST);
    assert_string_equal(answer.existing_id, "");
    assert_file(p, "SELECT count(*) FROM jobs", "2");
}

static void test_a_key_twice_in_one_group(void **state) {
    struct place *p = *state;
    struct answer first = {0}, second = {0};
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", "key");
    struct journal_batch *c = journal_batch_create();
    add_job(c, "job_2", "key");
    assert_int_equal(journal_submit(p->journal, b, take_answer, &first), 0);
    assert_int_equal(journal_submit(p->journal, c, take_answer, &second), 0);
    wait_for(p, &first);
    wait_for(p, &second);
    assert_int_equal(first.status, 0);
    assert_int_equal(second.status, -EEXIST);
    assert_string_equal(second.existing_id, "job_1");
}

/* ---- lists ---- */

struct seen_list {
    struct answer answer;
    char ids[512];
    bool has_more;
};

static void see_list(void *arg, const struct journal_result *r) {
    struct seen_list *s = arg;
    take_answer(&s->answer, r);
    s->has_more = r->has_more;
    s->ids[0] = '\0';
    for (size_t i = 0; i < r->n_jobs; i++) {
        size_t at = strlen(s->ids);
        snprintf(s->ids + at, sizeof s->ids - at, "%s%s", i > 0 ? " " : "", r->jobs[i].id);
    }
}

static void assert_list(struct place *p, struct journal_jobs_query query, const char *ids, bool has_more) {
    struct seen_list seen = {0};
    assert_int_equal(journal_read_jobs(p->journal, &query, see_list, &seen), 0);
    wait_for(p, &seen.answer);
    assert_int_equal(seen.answer.status, 0);
    assert_string_equal(seen.ids, ids);
    assert_int_equal(seen.has_more, has_more);
}

static void test_lists_page_filter_and_count(void **state) {
    struct place *p = *state;
    struct journal_batch *b = journal_batch_create();
    for (int i = 0; i < 7; i++) {
        char id[16];
        snprintf(id, sizeof id, "job_%c%d", 'a' + i, i);
        struct journal_job job = {.id = id,
                                  .request_json = "{}",
                                  .client_uid = i < 3 ? 1000 : 1001,
                                  .kind = i == 6 ? "tool" : NULL,
                                  .status = i == 2 ? "failed" : NULL};
        journal_add_job(b, &job);
    }
    assert_int_equal(commit(p, b), 0);
    struct journal_jobs_query all = {.client_uid = -1, .limit = 3};
    assert_list(p, all, "job_g6 job_f5 job_e4", true);
    all.after = "job_e4";
    assert_list(p, all, "job_d3 job_c2 job_b1", true);
    all.after = "job_b1";
    assert_list(p, all, "job_a0", false);
    all.oldest_first = true;
    assert_list(p, all, "job_c2 job_d3 job_e4", true);
    assert_list(p, (struct journal_jobs_query){.client_uid = 1000, .limit = 3}, "job_c2 job_b1 job_a0",
                false);
    assert_list(p, (struct journal_jobs_query){.client_uid = -1, .limit = 9, .status = "failed"}, "job_c2",
                false);
    assert_list(p, (struct journal_jobs_query){.client_uid = -1, .limit = 9, .kind = "tool"}, "job_g6",
                false);
    assert_list(p, (struct journal_jobs_query){.client_uid = -1, .limit = 9, .match = "b1"}, "job_b1", false);
    assert_list(p, (struct journal_jobs_query){.client_uid = -1, .limit = 9, .match = "%"}, "", false);

    struct seen_list seen = {0};
    all.after = "job_x";
    assert_int_equal(journal_read_jobs(p->journal, &all, see_list, &seen), 0);
    wait_for(p, &seen.answer);
    assert_int_equal(seen.answer.status, -ENOENT);
}

static void see_counts(void *arg, const struct journal_result *r) {
    struct seen_list *s = arg;
    take_answer(&s->answer, r);
    for (size_t i = 0; i < r->n_counts; i++) {
        size_t at = strlen(s->ids);
        snprintf(s->ids + at, sizeof s->ids - at, "%s=%d ", r->counts[i].status, (int)r->counts[i].jobs);
    }
}

static void test_counts(void **state) {
    struct place *p = *state;
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    add_job(b, "job_2", NULL);
    add_job(b, "job_3", NULL);
    journal_add_job_started(b, "job_2", 0);
    assert_int_equal(commit(p, b), 0);
    struct seen_list seen = {0};
    assert_int_equal(journal_read_counts(p->journal, see_counts, &seen), 0);
    wait_for(p, &seen.answer);
    assert_string_equal(seen.ids, "queued=2 working=1 ");
}

/* ---- events ---- */

struct seen_events {
    struct answer answer;
    size_t n;
    int64_t first, last;
    bool has_more;
    char data[64];
};

static void see_events(void *arg, const struct journal_result *r) {
    struct seen_events *s = arg;
    take_answer(&s->answer, r);
    s->n = r->n_events;
    s->has_more = r->has_more;
    if (r->n_events == 0)
        return;
    s->first = r->events[0].seq;
    s->last = r->events[r->n_events - 1].seq;
    assert_int_equal(strlen(r->events[0].data), r->events[0].len);
    snprintf(s->data, sizeof s->data, "%s %.40s", r->events[0].type, r->events[0].data);
}

static struct seen_events read_events(struct place *p, const char *id, int64_t after, int limit) {
    struct seen_events seen = {0};
    assert_int_equal(journal_read_events(p->journal, id, after, limit, see_events, &seen), 0);
    wait_for(p, &seen.answer);
    assert_int_equal(seen.answer.status, 0);
    return seen;
}

static void test_events_are_replayed_from_any_number(void **state) {
    struct place *p = *state;
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    add_job(b, "job_2", NULL);
    for (int i = 1; i <= 9; i++) {
        char data[32];
        int n = snprintf(data, sizeof data, "{\"n\": %d}", i);
        struct journal_event event = {
            .job_id = "job_1", .seq = i, .type = "message.done", .data = data, .len = (size_t)n};
        journal_add_event(b, &event);
    }
    assert_int_equal(commit(p, b), 0);
    struct seen_events seen = read_events(p, "job_1", 0, 100);
    assert_true(seen.n == 9 && seen.first == 1 && seen.last == 9 && !seen.has_more);
    seen = read_events(p, "job_1", 4, 3);
    assert_true(seen.n == 3 && seen.first == 5 && seen.last == 7 && seen.has_more);
    assert_string_equal(seen.data, "message.done {\"n\": 5}");
    seen = read_events(p, "job_1", 9, 3);
    assert_true(seen.n == 0 && !seen.has_more);
    seen = read_events(p, "job_2", 0, 3);
    assert_int_equal(seen.n, 0);
    b = journal_batch_create();
    struct journal_event again = {.job_id = "job_1", .seq = 9, .type = "x", .data = "{}", .len = 2};
    journal_add_event(b, &again); /* a number is given once */
    assert_int_equal(commit(p, b), -EINVAL);
}

static void test_large_events_come_in_pieces(void **state) {
    struct place *p = *state;
    size_t len = 400 << 10;
    char *large = malloc(len);
    assert_non_null(large);
    memset(large, ' ', len);
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    for (int i = 1; i <= 6; i++)
        journal_add_event(
            b, &(struct journal_event){.job_id = "job_1", .seq = i, .type = "x", .data = large, .len = len});
    free(large);
    assert_int_equal(commit(p, b), 0);
    struct seen_events seen = read_events(p, "job_1", 0, 100);
    assert_true(seen.n == 3 && seen.has_more);
    seen = read_events(p, "job_1", 3, 100);
    assert_true(seen.n == 3 && !seen.has_more);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_job_is_committed_and_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_finished_job_stays_finished, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_unknown_job_is_no_row, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deleting_takes_everything_along, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_batch_is_all_or_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_bad_batch_leaves_its_neighbours, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answers_come_in_order_and_at_the_latest_when_closing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_queue_has_a_ceiling, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_key_names_one_job, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_key_twice_in_one_group, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lists_page_filter_and_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_events_are_replayed_from_any_number, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large_events_come_in_pieces, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
