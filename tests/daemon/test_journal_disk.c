/* Disks that fail, lose power, and are asked too often: what the journal promises then. */
#include "journal_disk.h"
#include "journal_fixture.h"

#include <errno.h>
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

static int set_up(void **state) {
    struct disk *disk = disk_mount();
    disk->fail_syncs = disk->fail_writes = 0;
    disk->keep = disk->lie = false;
    *state = place_make();
    return 0;
}

static int tear_down(void **state) {
    struct place *p = *state;
    disk_clean(p->state);
    place_remove(p);
    return 0;
}

static struct journal_batch *job_batch(int number) {
    char id[32];
    snprintf(id, sizeof id, "job_%d", number);
    struct journal_batch *b = journal_batch_create();
    assert_non_null(b);
    add_job(b, id, NULL);
    return b;
}

static void test_many_batches_share_a_sync(void **state) {
    struct place *p = *state;
    struct disk *disk = disk_mount();
    struct answer answers[400] = {0};
    place_open(p);
    assert_int_equal(commit(p, job_batch(1000)), 0);
    int before = disk->syncs;
    assert_int_equal(commit(p, job_batch(1001)), 0);
    assert_int_equal(disk->syncs - before, 1); /* one commit, one sync */
    before = disk->syncs;
    for (int i = 0; i < 400; i++)
        assert_int_equal(journal_submit(p->journal, job_batch(i), take_answer, &answers[i]), 0);
    for (int i = 0; i < 400; i++) {
        wait_for(p, &answers[i]);
        assert_int_equal(answers[i].status, 0);
    }
    assert_in_range(disk->syncs - before, 1, 200);
}

static void test_a_failed_sync_is_the_end(void **state) {
    struct place *p = *state;
    struct disk *disk = disk_mount();
    struct answer answer;
    place_open(p);
    assert_int_equal(commit(p, job_batch(1)), 0);
    disk->fail_syncs = 1;
    assert_int_equal(commit_with(p, job_batch(2), &answer), -EIO);
    assert_non_null(strstr(answer.err, "cannot be trusted any more"));
    assert_int_equal(journal_broken(p->journal), -EIO);
    /* the disk would sync again, and say nothing of what it lost: not asked */
    assert_int_equal(journal_submit(p->journal, job_batch(3), take_answer, &answer), -EIO);
    struct answer read = {0};
    assert_int_equal(journal_read_job(p->journal, "job_1", take_answer, &read), 0); /* reading goes on */
    wait_for(p, &read);
    assert_int_equal(read.status, 0);
    place_close(p);
    place_open(p); /* a new start reads what is really there */
    assert_int_equal(journal_broken(p->journal), 0);
    assert_int_equal(commit(p, job_batch(4)), 0);
    assert_file(p, "SELECT count(*) FROM jobs WHERE id IN ('job_1', 'job_4')", "2");
}

static void test_a_failed_sync_while_idle_is_noticed(void **state) {
    struct place *p = *state;
    struct disk *disk = disk_mount();
    place_open(p);
    assert_int_equal(commit(p, job_batch(1)), 0);
    disk->fail_syncs = 1; /* of the move from the WAL into the file, a second later */
    struct pollfd wake = {.fd = p->wake[0], .events = POLLIN};
    assert_int_equal(poll(&wake, 1, 10000), 1);
    assert_int_equal(journal_broken(p->journal), -EIO);
    disk->fail_syncs = 0;
}

static void test_an_idle_journal_moves_its_log_into_the_file(void **state) {
    struct place *p = *state;
    struct disk *disk = disk_mount();
    place_open(p);
    assert_int_equal(commit(p, job_batch(1)), 0);
    int before = disk->syncs;
    for (int i = 0; i < 100 && disk->syncs < before + 2; i++)
        usleep(50000);
    assert_int_equal(disk->syncs, before + 2); /* the log once more, then the file */
    usleep(1500000);
    assert_int_equal(disk->syncs, before + 2); /* and then it sleeps */
}

static void test_a_failed_write_costs_one_batch(void **state) {
    struct place *p = *state;
    struct disk *disk = disk_mount();
    struct answer answer;
    place_open(p);
    assert_int_equal(commit(p, job_batch(1)), 0);
    disk->fail_writes = 1;
    assert_int_equal(commit_with(p, job_batch(2), &answer), -EIO);
    assert_non_null(strstr(answer.err, "writing failed"));
    assert_int_equal(journal_broken(p->journal), 0);
    assert_int_equal(commit(p, job_batch(2)), 0);
    assert_file(p, "SELECT group_concat(id) FROM (SELECT id FROM jobs ORDER BY num)", "job_1,job_2");
}

/* Text for a turn that is not there: cannot be written. */
static struct journal_batch *lost_batch(void) {
    struct journal_batch *b = journal_batch_create();
    assert_non_null(b);
    journal_add_turn_text(b, "job_1", 7, "x", 1, NULL, 0);
    return b;
}

static void test_nothing_stands_on_what_was_not_written(void **state) {
    struct place *p = *state;
    struct journal_chain chain = {0}, other = {0};
    struct answer answers[5] = {0};
    struct journal_batch *batches[5] = {job_batch(1), lost_batch(), job_batch(2), job_batch(3), job_batch(4)};
    place_open(p);
    journal_batch_chain(batches[0], &chain);
    journal_batch_chain(batches[1], &chain);
    journal_batch_chain(batches[2], &chain);
    journal_batch_chain(batches[3], &other);
    for (int i = 0; i < 5; i++)
        assert_int_equal(journal_submit(p->journal, batches[i], take_answer, &answers[i]), 0);
    for (int i = 0; i < 5; i++)
        wait_for(p, &answers[i]);
    assert_int_equal(answers[0].status, 0);
    assert_int_equal(answers[1].status, -ENOENT);
    assert_int_equal(answers[2].status, -ECANCELED);
    assert_string_equal(answers[2].err, "What the entry stands on was not written.");
    assert_int_equal(answers[3].status, 0);
    assert_int_equal(answers[4].status, 0);
    struct journal_batch *late = job_batch(5);
    journal_batch_chain(late, &chain); /* in a later transaction too */
    assert_int_equal(commit(p, late), -ECANCELED);
    assert_file(p, "SELECT group_concat(id) FROM (SELECT id FROM jobs ORDER BY num)", "job_1,job_3,job_4");
}

/* Two writes fail: of the transaction of all, then of the first batch alone. However the thread has grouped
 * them, what is written is a beginning of the chain. */
static void test_a_full_disk_leaves_no_gap(void **state) {
    struct place *p = *state;
    struct disk *disk = disk_mount();
    place_open(p);
    assert_int_equal(commit(p, job_batch(1)), 0);
    for (int round = 0; round < 20; round++) {
        struct journal_chain chain = {0};
        struct answer answers[4] = {0};
        disk->fail_writes = 2;
        for (int i = 0; i < 4; i++) {
            struct journal_batch *b = job_batch(100 + round * 4 + i);
            journal_batch_chain(b, &chain);
            assert_int_equal(journal_submit(p->journal, b, take_answer, &answers[i]), 0);
        }
        bool failed = false;
        for (int i = 0; i < 4; i++) {
            wait_for(p, &answers[i]);
            if (failed)
                assert_int_equal(answers[i].status, -ECANCELED);
            failed = failed || answers[i].status != 0;
        }
        assert_true(failed);
        disk->fail_writes = 0;
    }
    assert_int_equal(commit(p, job_batch(2)), 0);
}

/* ---- power cuts ---- */

static void say(void *arg, const struct journal_result *r) {
    int *fd = arg;
    if (r->status != 0 || write(*fd, "x", 1) != 1)
        _exit(3);
}

/* Commits jobs one after the other, telling each commit, until it is killed. */
static void child(struct place *p, int first, int fd, bool lie) {
    disk_mount()->keep = true;
    disk_mount()->lie = lie;
    place_open(p);
    for (int i = first;; i++) {
        if (journal_submit(p->journal, job_batch(i), say, &fd) != 0)
            _exit(4);
        struct pollfd wake = {.fd = p->wake[0], .events = POLLIN};
        if (poll(&wake, 1, 10000) != 1)
            _exit(5);
        char drop[64];
        while (read(p->wake[0], drop, sizeof drop) > 0) {
        }
        journal_dispatch(p->journal);
    }
}

/* Cuts the power after `commits` reports; how many jobs were reported in this life. */
static int live(struct place *p, int first, int commits, bool lie) {
    int pipes[2];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child(p, first, pipes[1], lie);
    close(pipes[1]);
    char seen[256];
    int reported = 0;
    ssize_t n;
    while (reported < commits && (n = read(pipes[0], seen, sizeof seen)) > 0)
        reported += (int)n;
    kill(pid, SIGKILL);
    while ((n = read(pipes[0], seen, sizeof seen)) > 0)
        reported += (int)n;
    close(pipes[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    disk_cut_power(p->state);
    return reported;
}

static int count_jobs(struct place *p) {
    char *text = ask_file(p, "SELECT count(*) FROM jobs");
    int n = (int)strtol(text, NULL, 10);
    free(text);
    return n;
}

static void test_a_power_cut_loses_nothing_reported(void **state) {
    struct place *p = *state;
    int there = 0;
    for (int round = 0; round < 15; round++) {
        int reported = live(p, there, 1 + round * 7 % 40, false);
        int now = count_jobs(p);
        assert_in_range(now, there + reported,
                        there + reported + 1); /* the last may have been committed and not reported */
        there = now;
        assert_file(p, "PRAGMA integrity_check", "ok");
    }
}

static void test_this_test_sees_a_loss(void **state) {
    struct place *p = *state;
    place_open(p);
    disk_mount()->keep = true;
    assert_int_equal(commit(p, job_batch(1000)), 0);
    place_close(p);
    assert_int_equal(count_jobs(p), 1);
    assert_true(live(p, 0, 20, true) >= 20);
    assert_true(count_jobs(p) < 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_batches_share_a_sync, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_sync_is_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_sync_while_idle_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_idle_journal_moves_its_log_into_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_write_costs_one_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_stands_on_what_was_not_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_disk_leaves_no_gap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_power_cut_loses_nothing_reported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_this_test_sees_a_loss, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
