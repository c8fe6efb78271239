/* kill -9 at any moment: what was reported as committed is there, and nothing is there by halves.
 *
 * A child commits jobs in a stream and writes a line to a pipe for every answer; the parent kills it after a
 * random time and looks at the file. The same with a child that reports before it commits shows that the test
 * can see a loss. */
#include "journal_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ROUNDS  40
#define FLIGHTS 16 /* batches that are under way at once */

struct flight {
    int number;
    int report_fd;
    bool busy;
};

static void report(const struct flight *f) {
    int32_t number = f->number;
    if (write(f->report_fd, &number, sizeof number) != sizeof number)
        _exit(3);
}

static void landed(void *arg, const struct journal_result *r) {
    struct flight *f = arg;
    if (r->status != 0)
        _exit(4);
    report(f);
    f->busy = false;
}

static void landed_quietly(void *arg, const struct journal_result *r) {
    struct flight *f = arg;
    f->busy = r->status != 0;
}

/* Never returns. `honest`: reports after the commit, as the daemon does. */
static void child(struct place *p, int first, int report_fd, bool honest) {
    struct flight flights[FLIGHTS] = {0};
    int number = first;
    place_open(p);
    for (;;) {
        for (int i = 0; i < FLIGHTS; i++) {
            if (flights[i].busy)
                continue;
            char id[32];
            snprintf(id, sizeof id, "job_%d", number);
            flights[i] = (struct flight){.number = number++, .report_fd = report_fd, .busy = true};
            struct journal_batch *b = journal_batch_create();
            add_job(b, id, NULL);
            journal_add_event(b, &(struct journal_event){
                                     .job_id = id, .seq = 1, .type = "job.queued", .data = "{}", .len = 2});
            if (!honest)
                report(&flights[i]);
            if (journal_submit(p->journal, b, honest ? landed : landed_quietly, &flights[i]) != 0)
                _exit(5);
        }
        struct pollfd fd = {.fd = p->wake[0], .events = POLLIN};
        if (poll(&fd, 1, 10000) != 1)
            _exit(6);
        char drop[64];
        while (read(p->wake[0], drop, sizeof drop) > 0) {
        }
        journal_dispatch(p->journal);
    }
}

/* One life and death of a child; the reported numbers are marked in `reported`. */
static int live_and_die(struct place *p, int first, unsigned life_us, bool honest, char *reported, int max) {
    int pipes[2];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pipes[0]);
        child(p, first, pipes[1], honest);
    }
    close(pipes[1]);
    /* every other life is counted from its first report, so that slow starts do not take them all */
    struct pollfd first_report = {.fd = pipes[0], .events = POLLIN};
    if (life_us % 2 == 0)
        assert_int_equal(poll(&first_report, 1, 10000), 1);
    usleep(life_us);
    kill(pid, SIGKILL);
    int32_t number;
    int last = first;
    while (read(pipes[0], &number, sizeof number) == sizeof number) {
        if (number < max)
            reported[number] = 1;
        if (number >= last)
            last = number + 1;
    }
    close(pipes[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* it did not end by itself */
    return last + FLIGHTS;
}

static int count_lost(struct place *p, const char *reported, int max) {
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int lost = 0;
    assert_int_equal(sqlite3_open_v2(p->db, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM jobs WHERE id = ?1", -1, &stmt, NULL),
                     SQLITE_OK);
    for (int i = 0; i < max; i++) {
        if (!reported[i])
            continue;
        char id[32];
        snprintf(id, sizeof id, "job_%d", i);
        sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
        lost += sqlite3_column_int(stmt, 0) != 1;
        sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return lost;
}

/* Rounds until the end or, for the dishonest child, until a loss was seen. */
static int lose(bool honest, int *acknowledged) {
    struct place *p = place_make();
    int max = 1 << 20, next = 0, lost = 0;
    char *reported = calloc(1, (size_t)max);
    assert_non_null(reported);
    unsigned random = 12345;
    for (int round = 0; round < ROUNDS && (honest || lost == 0); round++) {
        random = random * 1103515245u + 12345u;
        next = live_and_die(p, next, 5000 + random / 65536 % 60000, honest, reported, max);
        if (access(p->db, F_OK) == 0)
            lost = count_lost(p, reported, max);
    }
    for (int i = 0; i < max; i++)
        *acknowledged += reported[i];
    free(reported);
    place_open(p); /* checks the file too */
    assert_file(p, "PRAGMA integrity_check", "ok");
    assert_file(p, "SELECT count(*) FROM jobs LEFT JOIN events ON job_id = id WHERE seq IS NULL", "0");
    place_remove(p);
    return lost;
}

static void test_nothing_that_was_reported_is_lost(void **state) {
    (void)state;
    int acknowledged = 0;
    assert_int_equal(lose(true, &acknowledged), 0);
    assert_true(acknowledged > 100);
}

static void test_this_test_sees_a_loss(void **state) {
    (void)state;
    int acknowledged = 0;
    assert_true(lose(false, &acknowledged) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_that_was_reported_is_lost),
        cmocka_unit_test(test_this_test_sees_a_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
