/* The journal's folder and file: who may open it, what is refused, and a disk that is full. */
#include "journal_fixture.h"

#include "daemon/journal_schema.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int set_up(void **state) {
    *state = place_make();
    return 0;
}

static int tear_down(void **state) {
    place_remove(*state);
    return 0;
}

static int try_open(struct place *p, char *err, size_t errlen) {
    struct journal *j = NULL;
    struct journal_config config = {.state_dir = p->state};
    int rc = journal_open(&config, &j, err, errlen);
    journal_close(j);
    return rc;
}

static void test_files_belong_to_the_user_alone(void **state) {
    struct place *p = *state;
    umask(0);
    place_open(p);
    umask(022);
    struct stat st;
    assert_int_equal(stat(p->state, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(p->db, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_file(p, "PRAGMA application_id", "1212502596");
    assert_file(p, "PRAGMA user_version", "8");
    assert_file(p, "PRAGMA journal_mode", "wal");
}

static void test_closing_leaves_one_file(void **state) {
    struct place *p = *state;
    place_open(p);
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    assert_int_equal(commit(p, b), 0);
    place_close(p);
    char wal[160];
    snprintf(wal, sizeof wal, "%s-wal", p->db);
    assert_int_equal(access(wal, F_OK), -1);
    assert_file(p, "SELECT id FROM jobs", "job_1");
}

static void test_one_daemon_per_folder(void **state) {
    struct place *p = *state;
    char err[512] = "", expected[512];
    place_open(p);
    assert_int_equal(try_open(p, err, sizeof err), -EBUSY);
    snprintf(expected, sizeof expected,
             "Another hermesd (process %ld) uses the state folder '%s'; stop it, or give this one a folder "
             "of its own with "
             "--state.",
             (long)getpid(), p->state);
    assert_string_equal(err, expected);
    place_close(p);
    assert_int_equal(try_open(p, err, sizeof err), 0);
}

static void test_a_newer_file_is_refused_unchanged(void **state) {
    struct place *p = *state;
    char err[512] = "";
    assert_int_equal(try_open(p, err, sizeof err), 0);
    change_file(p, "PRAGMA user_version = 99");
    assert_int_equal(try_open(p, err, sizeof err), -EPROTO);
    assert_non_null(strstr(err, "newer hermesd (version 99 of its tables, this one knows 8)"));
    assert_file(p, "PRAGMA user_version", "99");
}

static int migrate(struct place *p, const char *const *const *steps, int n, char *err, size_t errlen) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(p->db, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    int rc = journal_schema_migrate_by(db, p->db, steps, n, err, errlen);
    sqlite3_close(db);
    return rc;
}

static void test_an_older_file_is_copied_and_migrated(void **state) {
    struct place *p = *state;
    char err[512] = "";
    place_open(p);
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    assert_int_equal(commit(p, b), 0);
    place_close(p);
    const char *const never[] = {"this is not run", NULL};
    const char *const second[] = {"ALTER TABLE jobs ADD COLUMN color TEXT", "UPDATE jobs SET color = 'red'",
                                  NULL};
    const char *const wrong[] = {"ALTER TABLE jobs ADD COLUMN size TEXT", "UPDATE nowhere SET x = 1", NULL};
    const char *const *const steps[] = {never, never, never, never,  never,
                                        never, never, never, second, wrong};
    assert_int_equal(migrate(p, steps, 10, err, sizeof err),
                     -EINVAL); /* the tenth step fails: the ninth stands */
    assert_non_null(strstr(err, "no such table: nowhere"));
    assert_file(p, "PRAGMA user_version", "9");
    assert_file(p, "SELECT color FROM jobs", "red");
    assert_file(p, "SELECT group_concat(name) FROM pragma_table_info('jobs') WHERE name = 'size'", "");
    assert_int_equal(migrate(p, steps, 9, err, sizeof err), 0); /* nothing is left to do */
    char copy[160];
    snprintf(copy, sizeof copy, "%s.v8", p->db);
    assert_int_equal(rename(copy, p->db), 0); /* the copy is the file as it was */
    assert_file(p, "PRAGMA user_version", "8");
    assert_file(p, "SELECT group_concat(name) FROM pragma_table_info('jobs') WHERE name = 'color'", "");
    place_open(p);
    assert_file(p, "SELECT id FROM jobs", "job_1");
}

/* A file as version 1 left it: what versions 2 to 8 added is taken away again. */
static void test_a_file_of_version_1_goes_on(void **state) {
    struct place *p = *state;
    place_open(p);
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    assert_int_equal(commit(p, b), 0);
    place_close(p);
    change_file(
        p,
        "DROP VIEW plan_calls; DROP VIEW rehearsals; DROP VIEW reasoning; DROP TABLE citations;"
        "ALTER TABLE parts DROP COLUMN token_from; ALTER TABLE tool_calls DROP COLUMN repaired;"
        "ALTER TABLE jobs DROP COLUMN clean_stops; ALTER TABLE jobs DROP COLUMN result_repaired;"
        "ALTER TABLE turns DROP COLUMN forced_tokens; ALTER TABLE turns DROP COLUMN prefix_miss_tokens;"
        "ALTER TABLE turns DROP COLUMN prefix_misses_json; ALTER TABLE jobs DROP COLUMN prefix_miss_tokens;"
        "ALTER TABLE turns DROP COLUMN drafted_tokens; ALTER TABLE turns DROP COLUMN accepted_tokens;"
        "ALTER TABLE turns DROP COLUMN ahead_tokens; ALTER TABLE jobs DROP COLUMN result_narrated;"
        "PRAGMA user_version = 1");
    place_open(p);
    assert_file(p, "PRAGMA user_version", "8");
    assert_file(p, "SELECT id FROM jobs", "job_1");
    assert_file(p, "SELECT count(*) FROM plan_calls", "0");
    b = journal_batch_create();
    journal_add_job_started(b, "job_1", 0);
    journal_add_job_status(b, "job_1", "queued"); /* one stop, however often it is said */
    journal_add_job_status(b, "job_1", "queued");
    assert_int_equal(commit(p, b), 0);
    assert_file(p, "SELECT starts || '/' || clean_stops FROM jobs", "1/1");
    char copy[160];
    snprintf(copy, sizeof copy, "%s.v1", p->db);
    assert_int_equal(access(copy, F_OK), 0);
}

static void test_a_file_of_another_program_is_refused_unchanged(void **state) {
    struct place *p = *state;
    char err[512] = "";
    assert_int_equal(mkdir(p->state, 0700), 0);
    change_file(p, "CREATE TABLE recipes(name TEXT); PRAGMA journal_mode = DELETE");
    assert_int_equal(try_open(p, err, sizeof err), -EBADMSG);
    assert_non_null(strstr(err, "is a database of another program"));
    assert_file(p, "SELECT group_concat(name) FROM sqlite_schema", "recipes");
    assert_file(p, "PRAGMA journal_mode", "delete");
}

static void write_at(const char *path, off_t at, const char *bytes, size_t n) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), (ssize_t)n);
    close(fd);
}

static void test_damage_is_named(void **state) {
    struct place *p = *state;
    char err[512] = "";
    assert_int_equal(mkdir(p->state, 0700), 0);
    write_at(p->db, 0, "this is not a database at all, it is a text.................", 60);
    assert_int_equal(try_open(p, err, sizeof err), -EBADMSG);
    assert_non_null(strstr(err, "the file is damaged; move it away, or restore it from a backup"));
    unlink(p->db);
    assert_int_equal(try_open(p, err, sizeof err), 0);
    assert_int_equal(truncate(p->db, 3 * 4096), 0);
    assert_int_equal(try_open(p, err, sizeof err), -EBADMSG);
    assert_non_null(strstr(err, p->db));
}

static void test_an_unclean_stop_is_checked(void **state) {
    struct place *p = *state;
    char err[512] = "", wal[160];
    place_open(p);
    struct journal_batch *b = journal_batch_create();
    for (int i = 0; i < 100; i++) {
        char id[16];
        snprintf(id, sizeof id, "job_%d", i);
        add_job(b, id, NULL);
    }
    assert_int_equal(commit(p, b), 0);
    place_close(p);
    /* the index of ids loses a page's content; a WAL says that the end was not clean */
    char *root = ask_file(p, "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_jobs_1'");
    long page = strtol(root, NULL, 10);
    free(root);
    assert_true(page > 1);
    char zeros[64] = {0};
    write_at(p->db, (page - 1) * 4096 + 12, zeros, sizeof zeros);
    snprintf(wal, sizeof wal, "%s-wal", p->db);
    write_at(wal, 0, "x", 1);
    assert_int_equal(try_open(p, err, sizeof err), -EBADMSG);
    assert_non_null(strstr(err, "is damaged"));
}

static void test_places_that_cannot_be_used(void **state) {
    struct place *p = *state;
    char err[512] = "", long_path[5000];
    struct journal *j = NULL;
    memset(long_path, 'a', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    struct journal_config config = {.state_dir = long_path};
    assert_int_equal(journal_open(&config, &j, err, sizeof err), -ENAMETOOLONG);
    config.state_dir = "";
    assert_int_equal(journal_open(&config, &j, err, sizeof err), -EINVAL);
    config.state_dir = "/proc/hermesd";
    assert_true(journal_open(&config, &j, err, sizeof err) < 0);
    assert_non_null(strstr(err, "'/proc/hermesd' cannot be made"));
    assert_int_equal(mkdir(p->state, 0700), 0);
    assert_int_equal(chmod(p->state, 0777), 0);
    assert_int_equal(try_open(p, err, sizeof err), -EACCES);
    assert_non_null(strstr(err, "can be written by everybody"));
    assert_int_equal(chmod(p->state, 0700), 0);
    write_at(p->db, 0, "", 0);
    char link[160];
    snprintf(link, sizeof link, "%s/real", p->folder);
    assert_int_equal(rename(p->db, link), 0);
    assert_int_equal(symlink(link, p->db), 0); /* nobody leads the journal elsewhere */
    assert_int_equal(try_open(p, err, sizeof err), -ELOOP);
    unlink(p->db);
    unlink(link);
}

/* In a child that is not root: root may write everywhere. */
static void test_a_read_only_file_is_named(void **state) {
    struct place *p = *state;
    char err[512] = "";
    assert_int_equal(try_open(p, err, sizeof err), 0);
    assert_int_equal(chmod(p->db, 0400), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (geteuid() == 0 && (chown(p->db, 65534, 65534) != 0 || chown(p->state, 65534, 65534) != 0 ||
                               chown(p->folder, 65534, 65534) != 0 || chmod(p->state, 0500) != 0 ||
                               setgid(65534) != 0 || setuid(65534) != 0))
            _exit(2);
        int rc = try_open(p, err, sizeof err);
        _exit(rc == -EACCES && strstr(err, p->state) != NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- no room ---- */

static void submit_large(struct place *p, const char *id, size_t bytes, struct answer *answer) {
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    memset(text, 'a', bytes);
    text[bytes] = '\0';
    struct journal_batch *b = journal_batch_create();
    struct journal_job job = {.id = id, .request_json = text};
    journal_add_job(b, &job);
    free(text);
    *answer = (struct answer){0};
    assert_int_equal(journal_submit(p->journal, b, take_answer, answer), 0);
}

/* Files of this process may not grow above 512 KiB for a while: the same errors a full disk gives. */
static void test_a_full_disk_refuses_what_does_not_fit_and_goes_on(void **state) {
    struct place *p = *state;
    signal(SIGXFSZ, SIG_IGN);
    place_open(p);
    struct answer small = {0}, large[3], after = {0};
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_small", NULL);
    assert_int_equal(commit(p, b), 0);
    struct rlimit old, tight = {512 << 10, RLIM_INFINITY};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    submit_large(p, "job_1", 2 << 20, &large[0]);
    submit_large(p, "job_2", 2 << 20, &large[1]);
    b = journal_batch_create();
    add_job(b, "job_fits", NULL);
    assert_int_equal(journal_submit(p->journal, b, take_answer, &small), 0);
    submit_large(p, "job_3", 2 << 20, &large[2]);
    for (int i = 0; i < 3; i++)
        wait_for(p, &large[i]);
    wait_for(p, &small);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(large[i].status, -ENOSPC);
        assert_non_null(strstr(large[i].err, "the disk is full; free some space"));
    }
    assert_int_equal(small.status, 0); /* in the company of those that failed */
    assert_int_equal(journal_broken(p->journal), 0);
    submit_large(p, "job_4", 2 << 20, &after); /* room again */
    wait_for(p, &after);
    assert_int_equal(after.status, 0);
    place_close(p);
    assert_file(p, "SELECT group_concat(id) FROM (SELECT id FROM jobs ORDER BY num)",
                "job_small,job_fits,job_4");
    assert_file(p, "PRAGMA integrity_check", "ok");
}

static void test_a_file_locked_by_another_program_is_named(void **state) {
    struct place *p = *state;
    place_open(p);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(p->db, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    struct journal_batch *b = journal_batch_create();
    add_job(b, "job_1", NULL);
    struct answer answer;
    assert_int_equal(commit_with(p, b, &answer), -EBUSY);
    assert_non_null(strstr(answer.err, "another program keeps the file locked"));
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    b = journal_batch_create();
    add_job(b, "job_1", NULL);
    assert_int_equal(commit(p, b), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files_belong_to_the_user_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closing_leaves_one_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_daemon_per_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_newer_file_is_refused_unchanged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_older_file_is_copied_and_migrated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_of_version_1_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_of_another_program_is_refused_unchanged, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_damage_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_unclean_stop_is_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_places_that_cannot_be_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_read_only_file_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_disk_refuses_what_does_not_fit_and_goes_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_locked_by_another_program_is_named, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
