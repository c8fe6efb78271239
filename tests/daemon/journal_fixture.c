#include "journal_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void wake(void *arg) {
    struct place *p = arg;
    if (write(p->wake[1], "x", 1) != 1)
        return; /* the pipe is full: there is a wake in it already */
}

struct place *place_make(void) {
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    snprintf(p->folder, sizeof p->folder, "/tmp/hermesd-journal-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->state, sizeof p->state, "%s/state", p->folder);
    snprintf(p->db, sizeof p->db, "%s/hermesd.db", p->state);
    assert_int_equal(pipe2(p->wake, O_CLOEXEC | O_NONBLOCK), 0);
    return p;
}

void place_open(struct place *p) {
    char err[512] = "";
    struct journal_config config = {.state_dir = p->state, .wake = wake, .wake_arg = p};
    int rc = journal_open(&config, &p->journal, err, sizeof err);
    if (rc != 0)
        fail_msg("journal_open: %d %s", rc, err);
}

void place_close(struct place *p) {
    journal_close(p->journal);
    p->journal = NULL;
}

void place_remove(struct place *p) {
    place_close(p);
    const char *names[] = {"hermesd.db",   "hermesd.db-wal", "hermesd.db-shm",
                           "hermesd.lock", "hermesd.db.v0",  "hermesd.db.v1"};
    char path[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", p->state, names[i]);
        unlink(path);
    }
    rmdir(p->state);
    assert_int_equal(rmdir(p->folder), 0); /* nothing else was left behind */
    close(p->wake[0]);
    close(p->wake[1]);
    free(p);
}

void take_answer(void *arg, const struct journal_result *result) {
    struct answer *a = arg;
    a->calls++;
    a->status = result->status;
    a->same_request = result->same_request;
    snprintf(a->err, sizeof a->err, "%s", result->err);
    snprintf(a->existing_id, sizeof a->existing_id, "%s",
             result->existing_id != NULL ? result->existing_id : "");
}

void wait_for(struct place *p, const struct answer *answer) {
    for (int i = 0; answer->calls == 0; i++) {
        struct pollfd fd = {.fd = p->wake[0], .events = POLLIN};
        if (poll(&fd, 1, 10000) != 1)
            fail_msg("no answer within ten seconds");
        char drop[64];
        while (read(p->wake[0], drop, sizeof drop) > 0) {
        }
        journal_dispatch(p->journal);
    }
    assert_int_equal(answer->calls, 1);
}

int commit_with(struct place *p, struct journal_batch *b, struct answer *answer) {
    *answer = (struct answer){0};
    assert_int_equal(journal_submit(p->journal, b, take_answer, answer), 0);
    wait_for(p, answer);
    return answer->status;
}

int commit(struct place *p, struct journal_batch *b) {
    struct answer answer;
    return commit_with(p, b, &answer);
}

void add_job(struct journal_batch *b, const char *id, const char *key) {
    struct journal_job job = {.id = id,
                              .title = "hello",
                              .model = "tiny",
                              .request_json = "{\"input\": \"hello\"}",
                              .client_uid = 1000,
                              .idempotency_key = key};
    journal_add_job(b, &job);
}

char *ask_file(const struct place *p, const char *sql) {
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_open_v2(p->db, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    const char *text = sqlite3_step(stmt) == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    char *copy = strdup(text != NULL ? text : "");
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    assert_non_null(copy);
    return copy;
}

void assert_file(const struct place *p, const char *sql, const char *expected) {
    char *text = ask_file(p, sql);
    assert_string_equal(text, expected);
    free(text);
}

void change_file(const struct place *p, const char *sql) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(p->db, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL),
                     SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}
