/* The scripted engine: turns, streaming, cancel, limits, replay. */
#include "engine/engine.h"
#include "tests/engine/harness.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char script[] =
    "{\"scripts\": ["
    "{\"match\": \"weather\", \"turns\": [\"It is h\xC3\xB6t \xF0\x9F\x8C\x9E.\", \"Second.\"]},"
    "{\"match\": \"endless\", \"turns\": [\"abc\"], \"repeat\": true},"
    "{\"match\": \"slow\", \"turns\": [\"abcdefghi\"], \"delay_ms\": 1},"
    "{\"match\": \"broken\", \"turns\": [\"half\"], \"fail\": \"the device was lost\"},"
    "{\"match\": \"nothing\", \"turns\": [\"\"]}], \"chunk\": 3}";

static char *write_script(const char *text) {
    char *path = strdup("/tmp/hermesd-script-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static int open_script(const char *text, struct harness *h, int max_context, char *err, size_t errlen) {
    char *path = write_script(text);
    harness_init(h);
    struct engine_config config = {.model_path = path,
                                   .scripted = true,
                                   .max_context = max_context,
                                   .max_sessions = 2,
                                   .wake = harness_wake,
                                   .wake_arg = h};
    int rc = engine_open(&config, &h->engine, err, errlen);
    unlink(path);
    free(path);
    return rc;
}

static void start(struct harness *h, int max_context) {
    char err[300] = "";
    if (open_script(script, h, max_context, err, sizeof err) < 0)
        fail_msg("%s", err);
}

static void test_turns_follow_each_other(void **state) {
    (void)state;
    struct harness h;
    start(&h, 0);
    struct engine_session *s = harness_session(&h);
    harness_append_text(s, "What is the weather?");
    assert_int_equal(engine_session_length(s), 7);
    harness_generate(&h, s, NULL, 100);
    struct outcome *o = harness_wait(&h, s);
    assert_string_equal(o->text, "It is h\xC3\xB6t \xF0\x9F\x8C\x9E.");
    assert_int_equal(o->last.finish, ENGINE_FINISH_STOP);
    assert_int_equal(o->n_tokens, 6);
    assert_int_equal(o->last.prompt_tokens, 7);
    assert_int_equal(engine_session_length(s), 13);
    harness_generate(&h, s, NULL, 100);
    assert_string_equal(harness_wait(&h, s)->text, "Second.");
    harness_generate(&h, s, NULL, 100);
    o = harness_wait(&h, s);
    assert_true(o->failed);
    assert_string_equal(o->sentence, "Script \"weather\" has 2 turns and turn 3 was asked for.");
    harness_finish(&h);
}

/* The tokens of a first run, appended to a new session, put it where the first one was. */
static void test_replayed_tokens_count_as_a_turn(void **state) {
    (void)state;
    struct harness h;
    start(&h, 0);
    struct engine_session *a = harness_session(&h), *b = harness_session(&h);
    harness_append_text(a, "weather");
    harness_generate(&h, a, NULL, 100);
    struct outcome *o = harness_wait(&h, a);
    harness_append_text(b, "weather");
    harness_append_tokens(b, o->tokens, (size_t)o->n_tokens);
    assert_int_equal(engine_session_length(a), engine_session_length(b));
    harness_generate(&h, b, NULL, 100);
    assert_string_equal(harness_wait(&h, b)->text, "Second.");
    harness_finish(&h);
}

static void test_cancel_and_limits(void **state) {
    (void)state;
    struct harness h;
    start(&h, 100);
    struct engine_session *s = harness_session(&h);
    harness_append_text(s, "endless");
    harness_generate(&h, s, NULL, 5);
    struct outcome *o = harness_wait(&h, s);
    assert_int_equal(o->last.finish, ENGINE_FINISH_LENGTH);
    assert_string_equal(o->text, "abcabcabcabcabc");
    harness_finish(&h);

    start(&h, 100);
    s = harness_session(&h);
    harness_append_text(s, "endless");
    harness_generate(&h, s, NULL, 1000);
    assert_int_equal(harness_wait(&h, s)->last.finish, ENGINE_FINISH_CONTEXT_FULL);
    assert_int_equal(engine_session_length(s), 100);
    char err[300];
    struct engine_span span = {.kind = ENGINE_SPAN_TEXT, .data = "x", .len = 1};
    assert_int_equal(engine_session_append(s, &span, 1, err, sizeof err), -E2BIG);
    harness_finish(&h);

    start(&h, 0);
    s = harness_session(&h);
    harness_append_text(s, "endless");
    harness_generate(&h, s, NULL, 1000000);
    assert_int_equal(engine_session_append(s, &span, 1, err, sizeof err), -EBUSY);
    harness_wait_tokens(&h, s, 10);
    engine_session_cancel(s);
    assert_int_equal(harness_wait(&h, s)->last.finish, ENGINE_FINISH_CANCELLED);
    harness_finish(&h);
}

static void test_failures_and_empty_turns(void **state) {
    (void)state;
    struct harness h;
    start(&h, 0);
    struct engine_session *s = harness_session(&h), *t = harness_session(&h);
    struct engine_session *third;
    char err[300];
    assert_int_equal(engine_session_create(h.engine, NULL, &third, err, sizeof err), -EAGAIN);
    harness_append_text(s, "broken");
    harness_generate(&h, s, NULL, 100);
    struct outcome *o = harness_wait(&h, s);
    assert_true(o->failed);
    assert_string_equal(o->text, "half");
    assert_string_equal(o->sentence, "the device was lost");
    harness_append_text(t, "nothing");
    harness_generate(&h, t, NULL, 100);
    o = harness_wait(&h, t);
    assert_true(o->done && o->len == 0 && o->last.finish == ENGINE_FINISH_STOP);
    harness_destroy(&h, t);
    t = harness_session(&h);
    harness_append_text(t, "unknown");
    harness_generate(&h, t, NULL, 100);
    assert_true(harness_wait(&h, t)->failed);
    harness_finish(&h);
}

static void test_delay_paces_chunks(void **state) {
    (void)state;
    struct harness h;
    start(&h, 0);
    struct engine_session *s = harness_session(&h);
    harness_append_text(s, "slow");
    harness_generate(&h, s, NULL, 100);
    struct outcome *o = harness_wait(&h, s);
    assert_string_equal(o->text, "abcdefghi");
    assert_true(o->last.first_token_ms >= 1);
    assert_true(o->last.decode_ms >= 2);
    harness_finish(&h);
}

static void test_destroy_while_running(void **state) {
    (void)state;
    struct harness h;
    start(&h, 0);
    for (int i = 0; i < 200; i++) {
        struct engine_session *s = harness_session(&h);
        harness_append_text(s, "endless");
        harness_generate(&h, s, NULL, 1000000);
        harness_destroy(&h, s);
        assert_null(engine_take_events(h.engine));
    }
    harness_finish(&h);
}

static void test_bad_scripts_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{}",
        "[]",
        "{\"scripts\": [{}]}",
        "{\"scripts\": [{\"match\": \"\", \"turns\": [1]}]}",
        "{\"scripts\": [], \"chunk\": 4}",
        "{\"scripts\": [], \"scripts\": []}",
        "{\"scripts\": [{\"match\": \"\", \"turns\": [\"\"], \"repeat\": true}]}"};
    struct harness h;
    char err[300];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(open_script(bad[i], &h, 0, err, sizeof err), -EINVAL);
    struct engine_config config = {.model_path = "/nonexistent", .scripted = true};
    assert_int_equal(engine_open(&config, &h.engine, err, sizeof err), -ENOENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns_follow_each_other),
        cmocka_unit_test(test_replayed_tokens_count_as_a_turn),
        cmocka_unit_test(test_cancel_and_limits),
        cmocka_unit_test(test_failures_and_empty_turns),
        cmocka_unit_test(test_delay_paces_chunks),
        cmocka_unit_test(test_destroy_while_running),
        cmocka_unit_test(test_bad_scripts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
