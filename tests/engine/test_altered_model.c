/* A model's file that is altered while the engine uses it: no step begins with it, and what a step computed
 * meanwhile is not kept. */
#include "engine/engine.h"
#include "engine/local.h"
#include "tests/engine/fixture.h"
#include "tests/engine/harness.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define STEP 5 /* of those that give a token, the one in which it happens */

static char path[256], other[256];

struct run {
    struct harness h;
    struct engine_session *s;
    int n_steps;
    bool writes; /* in step STEP */
};

/* The first byte again: only the time tells. */
static void write_to(const char *file) {
    char byte = 0;
    int fd = open(file, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, 0), 1);
    assert_int_equal(pwrite(fd, &byte, 1, 0), 1);
    assert_int_equal(close(fd), 0);
}

/* [engine-thread] Behind the look at the file, before the computation. The prompt may be read in a step of
 * its own, before its generation is asked for: that one gives no token and is not counted. */
static void observe(void *arg, const struct local_engine *e) {
    struct run *r = arg;
    if (e->step.n_samples == 0)
        return;
    if (++r->n_steps == STEP && r->writes)
        write_to(path);
}

static void start(struct run *r, bool writes) {
    char err[400] = "";
    const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    struct fixture f;
    fixture_gguf(&f, NULL);
    fixture_write(path, f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
    *r = (struct run){.writes = writes};
    harness_init(&r->h);
    struct engine_config config = {.model_path = path,
                                   .device = ENGINE_DEVICE_CPU,
                                   .n_threads = 1,
                                   .wake = harness_wake,
                                   .wake_arg = &r->h};
    if (engine_open(&config, &r->h.engine, err, sizeof err) != 0)
        fail_msg("%s", err);
    struct local_engine *e = (struct local_engine *)(void *)r->h.engine;
    pthread_mutex_lock(&e->lock);
    e->observe = observe;
    e->observe_arg = r;
    pthread_mutex_unlock(&e->lock);
    r->s = harness_session(&r->h);
    harness_append_text(r->s, "call");
}

/* Tokens that were told until the engine failed, for which it is given 100 s. No generation has ended. */
static int told_until_failure(struct run *r, const char *change) {
    const struct timespec moment = {.tv_nsec = 1000000};
    char want[500];
    for (int i = 0; i < 100000 && engine_failure(r->h.engine) == NULL; i++)
        (void)nanosleep(&moment, NULL);
    assert_non_null(engine_failure(r->h.engine));
    (void)snprintf(want, sizeof want,
                   "A file of the model '%s' %s while it was in use; files in use are replaced by renaming "
                   "others over them, never written to.",
                   path, change);
    assert_string_equal(engine_failure(r->h.engine), want);
    int n = 0;
    struct engine_event *next;
    for (struct engine_event *event = engine_take_events(r->h.engine); event != NULL; event = next) {
        next = event->next;
        assert_int_equal(event->type, ENGINE_EVENT_TEXT);
        n += event->n_tokens;
        engine_event_free(event);
    }
    return n;
}

/* Each step that is counted gives a token. */
static void test_in_a_step(void **state) {
    (void)state;
    struct run r;
    start(&r, true);
    harness_generate(&r.h, r.s, NULL, 20);
    assert_int_equal(told_until_failure(&r, "was written to"), STEP - 1);
    assert_int_equal(r.n_steps, STEP);
    harness_finish(&r.h);
}

static void test_between_steps(void **state) {
    (void)state;
    struct run r;
    struct stat st;
    start(&r, false);
    harness_generate(&r.h, r.s, NULL, 8);
    assert_true(harness_wait(&r.h, r.s)->done);
    int before = r.n_steps;
    assert_true(before > 1);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - 1), 0);
    harness_generate(&r.h, r.s, NULL, 8);
    assert_int_equal(told_until_failure(&r, "was cut off"), 0);
    assert_int_equal(r.n_steps, before);
    harness_finish(&r.h);
}

/* It is the file that was opened, under whatever name. */
static void test_under_another_name(void **state) {
    (void)state;
    struct run r;
    start(&r, false);
    assert_int_equal(rename(path, other), 0);
    write_to(other);
    harness_generate(&r.h, r.s, NULL, 8);
    assert_int_equal(told_until_failure(&r, "was written to"), 0);
    harness_finish(&r.h);
}

/* How it is to be done: then nothing happens. */
static void test_another_file_in_its_place(void **state) {
    (void)state;
    struct run r;
    struct fixture f;
    start(&r, false);
    fixture_gguf(&f, NULL);
    fixture_write(other, f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    assert_int_equal(rename(other, path), 0);
    write_to(path);
    harness_generate(&r.h, r.s, NULL, 8);
    assert_true(harness_wait(&r.h, r.s)->done);
    assert_null(engine_failure(r.h.engine));
    harness_finish(&r.h);
}

static int set_up(void **state) {
    (void)state;
    (void)fixture_path(path, "altered.gguf");
    (void)fixture_path(other, "altered-other.gguf");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_a_step), cmocka_unit_test(test_between_steps),
                                       cmocka_unit_test(test_under_another_name),
                                       cmocka_unit_test(test_another_file_in_its_place)};
    return cmocka_run_group_tests_name("altered models", tests, set_up, tear_down);
}
