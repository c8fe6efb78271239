/* Group commit: many batches, one transaction, one fsync; a batch that cannot be written is taken out alone.
 */
#include "daemon/journal_own.h"

#include "daemon/journal_db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECKPOINT_PAGES 1000

struct journal_writer {
    sqlite3 *db;
    const char *path; /* borrowed */
    sqlite3_stmt *statements[JOURNAL_SQL_COUNT];
    sqlite3_stmt *find_key;
    int wal_pages; /* in the WAL since the last complete checkpoint */
    int broken;
};

static int on_wal(void *arg, sqlite3 *db, const char *name, int pages) {
    (void)db;
    (void)name;
    struct journal_writer *w = arg;
    w->wal_pages = pages;
    return SQLITE_OK;
}

int journal_writer_create(sqlite3 *db, const char *path, struct journal_writer **out, char *err,
                          size_t errlen) {
    struct journal_writer *w = calloc(1, sizeof *w);
    if (w == NULL) {
        sqlite3_close(db);
        return err_set(err, errlen, -ENOMEM, "Not enough memory to open the journal.");
    }
    w->db = db;
    w->path = path;
    sqlite3_wal_hook(db, on_wal, w);
    int rc = SQLITE_OK;
    for (int i = 0; rc == SQLITE_OK && i < JOURNAL_SQL_COUNT; i++)
        rc = sqlite3_prepare_v3(db, journal_statements[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                                &w->statements[i], NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v3(
            db, "SELECT id, request_json = ?3 FROM jobs WHERE client_uid = ?1 AND idempotency_key = ?2", -1,
            SQLITE_PREPARE_PERSISTENT, &w->find_key, NULL);
    if (rc != SQLITE_OK) {
        int code = journal_db_error(db, rc, "preparing the journal", path, err, errlen);
        journal_writer_destroy(w);
        return code;
    }
    *out = w;
    return 0;
}

void journal_writer_destroy(struct journal_writer *w) {
    if (w == NULL)
        return;
    if (w->broken == 0)
        (void)journal_writer_checkpoint(w, JOURNAL_CHECKPOINT_LAST);
    for (int i = 0; i < JOURNAL_SQL_COUNT; i++)
        sqlite3_finalize(w->statements[i]);
    sqlite3_finalize(w->find_key);
    sqlite3_close(w->db);
    free(w);
}

/* ---- one statement ---- */

static int bind(sqlite3_stmt *stmt, int at, const struct journal_value *v) {
    switch (v->type) {
    case JOURNAL_INT:
        return sqlite3_bind_int64(stmt, at, v->as.integer);
    case JOURNAL_REAL:
        return sqlite3_bind_double(stmt, at, v->as.real);
    case JOURNAL_TEXT:
        return sqlite3_bind_text64(stmt, at, v->as.bytes.data, v->as.bytes.len, SQLITE_STATIC, SQLITE_UTF8);
    case JOURNAL_BLOB:
        return sqlite3_bind_blob64(stmt, at, v->as.bytes.data, v->as.bytes.len, SQLITE_STATIC);
    case JOURNAL_NULL:
        break;
    }
    return sqlite3_bind_null(stmt, at);
}

/* Runs it and leaves it unbound. 0, or a negative errno with its sentence. */
static int run_op(struct journal_writer *w, const struct journal_op *op, char *err, size_t errlen) {
    sqlite3_stmt *stmt = w->statements[op->sql];
    int rc = SQLITE_OK;
    for (int i = 0; rc == SQLITE_OK && i < op->n; i++)
        rc = bind(stmt, i + 1, &op->values[i]);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    int code = 0;
    if (rc == SQLITE_CONSTRAINT_UNIQUE && op->sql == JOURNAL_SQL_JOB)
        code = err_set(err, errlen, -EEXIST, "The job is already in the journal.");
    else if (rc != SQLITE_DONE)
        code = journal_db_error(w->db, rc, "writing", w->path, err, errlen);
    else if (journal_statements[op->sql].nothing != NULL && sqlite3_changes(w->db) == 0)
        code = err_set(err, errlen, -ENOENT, journal_statements[op->sql].nothing,
                       (int)op->values[0].as.bytes.len, op->values[0].as.bytes.data);
    if (rc != SQLITE_DONE && journal_db_is_fatal(w->db, rc))
        w->broken = -EIO;
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return code;
}

/* Which job has the idempotency key that this one came with. */
static void find_existing(struct journal_writer *w, const struct journal_op *op, struct journal_answer *a) {
    enum { REQUEST = 5, UID = 8, KEY = 10 }; /* as journal_add_job() puts them */
    if (op->values[KEY].type == JOURNAL_NULL)
        return;
    int rc = bind(w->find_key, 1, &op->values[UID]);
    if (rc == SQLITE_OK)
        rc = bind(w->find_key, 2, &op->values[KEY]);
    if (rc == SQLITE_OK)
        rc = bind(w->find_key, 3, &op->values[REQUEST]);
    if (rc == SQLITE_OK && sqlite3_step(w->find_key) == SQLITE_ROW) {
        snprintf(a->existing_id, sizeof a->existing_id, "%s",
                 (const char *)sqlite3_column_text(w->find_key, 0));
        a->result.existing_id = a->existing_id;
        a->result.same_request = sqlite3_column_int(w->find_key, 1) != 0;
    }
    sqlite3_reset(w->find_key);
    sqlite3_clear_bindings(w->find_key);
}

/* ---- chains ---- */

/* What became of the batches of a chain so far. */
enum { CHAIN_WHOLE, CHAIN_IN_DOUBT /* one failed in the transaction that runs */, CHAIN_BROKEN };

static void chain_break(const struct journal_batch *b, int state) {
    if (b->chain != NULL && b->chain->state < state)
        b->chain->state = state;
}

/* The transaction of these batches is over: what failed in it stays failed when it was committed or will not
 * be tried again, and never happened when it will be. */
static void chains_settle(struct journal_batch *first, const struct journal_batch *end, bool again) {
    for (struct journal_batch *b = first; b != end; b = b->next)
        if (b->chain != NULL && b->chain->state == CHAIN_IN_DOUBT)
            b->chain->state = again ? CHAIN_WHOLE : CHAIN_BROKEN;
}

/* ---- transactions ---- */

static void set_answer(struct journal_answer *a, int status, const char *text) {
    a->result.status = status;
    a->result.existing_id = NULL;
    a->result.same_request = false;
    snprintf(a->err, sizeof a->err, "%s", status < 0 ? text : "");
}

static bool exec(struct journal_writer *w, const char *sql, int *code, char *err, size_t errlen) {
    int rc = sqlite3_exec(w->db, sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return true;
    *code = journal_db_error(w->db, rc, "writing", w->path, err, errlen);
    if (journal_db_is_fatal(w->db, rc))
        w->broken = -EIO;
    return false;
}

/* One batch inside the transaction, all or nothing. False when the whole transaction is lost with it. */
static bool run_batch(struct journal_writer *w, struct journal_batch *b) {
    struct journal_answer *a = b->answer;
    char err[sizeof a->err] = "";
    int code = 0;
    set_answer(a, 0, "");
    if (b->chain != NULL && b->chain->state != CHAIN_WHOLE) {
        set_answer(a, -ECANCELED, "What the entry stands on was not written.");
        return true;
    }
    if (!exec(w, "SAVEPOINT batch", &code, err, sizeof err)) {
        set_answer(a, code, err);
        return false;
    }
    const struct journal_op *op = b->first;
    for (; op != NULL; op = op->next) {
        code = run_op(w, op, err, sizeof err);
        if (code < 0)
            break;
    }
    if (code < 0) {
        set_answer(a, code, err);
        chain_break(b, CHAIN_IN_DOUBT);
        if (sqlite3_get_autocommit(w->db) != 0 || !exec(w, "ROLLBACK TO batch", &code, err, sizeof err))
            return false;
        if (a->result.status == -EEXIST)
            find_existing(w, op, a);
    }
    return exec(w, "RELEASE batch", &code, err, sizeof err);
}

enum outcome { COMMITTED, LOST, NOT_BEGUN };

/* The batches from `first` up to (not with) `end`. The answer of `first` says why nothing of them was
 * committed. */
static enum outcome run_transaction(struct journal_writer *w, struct journal_batch *first,
                                    const struct journal_batch *end) {
    struct journal_answer *a = first->answer;
    char err[sizeof a->err] = "The transaction was lost.";
    int code = -EIO;
    set_answer(a, 0, "");
    if (!exec(w, "BEGIN IMMEDIATE", &code, err, sizeof err)) {
        set_answer(a, code, err);
        return NOT_BEGUN;
    }
    bool alive = true;
    for (struct journal_batch *b = first; alive && b != end; b = b->next)
        alive = run_batch(w, b);
    if (alive && exec(w, "COMMIT", &code, err, sizeof err))
        return COMMITTED;
    if (sqlite3_get_autocommit(w->db) == 0)
        sqlite3_exec(w->db, "ROLLBACK", NULL, NULL, NULL);
    if (a->result.status == 0)
        set_answer(a, code, err);
    return LOST;
}

static void refuse_all(struct journal_batch *batches, int status, const char *text) {
    for (struct journal_batch *b = batches; b != NULL; b = b->next) {
        set_answer(b->answer, status, text);
        chain_break(b, CHAIN_BROKEN);
    }
}

/* The batches of a lost transaction, each in its own, so that only the guilty fail. */
static void run_alone(struct journal_writer *w, struct journal_batch *batches) {
    for (struct journal_batch *b = batches; b != NULL && w->broken == 0; b = b->next) {
        if (run_transaction(w, b, b->next) != COMMITTED)
            chain_break(b, CHAIN_BROKEN);
        chains_settle(b, b->next, false);
    }
}

int journal_writer_commit(struct journal_writer *w, struct journal_batch *batches) {
    static const char broken[] =
        "The journal cannot be trusted any more: what was written before may not have reached the disk.";
    struct journal_answer *first = batches->answer;
    enum outcome outcome = w->broken == 0 ? run_transaction(w, batches, NULL) : LOST;
    /* Something took the transaction down (a full disk, one batch too large). A group of one has its answer
     * already. */
    bool again = outcome == LOST && batches->next != NULL;
    chains_settle(batches, NULL, again);
    if (outcome == NOT_BEGUN && batches->next != NULL)
        refuse_all(batches->next, first->result.status, first->err);
    if (again)
        run_alone(w, batches);
    else if (outcome != COMMITTED)
        chain_break(batches, CHAIN_BROKEN);
    if (outcome != COMMITTED && w->broken != 0)
        refuse_all(batches, -EIO, broken);
    return w->broken;
}

/* ---- checkpoints: only here, never by itself ---- */

bool journal_writer_is_dirty(const struct journal_writer *w) {
    return w->wal_pages > 0;
}

int journal_writer_checkpoint(struct journal_writer *w, enum journal_checkpoint when) {
    if (w->broken != 0 || (when == JOURNAL_CHECKPOINT_IF_LONG && w->wal_pages < CHECKPOINT_PAGES))
        return w->broken;
    int pages = 0, moved = 0;
    int mode = when == JOURNAL_CHECKPOINT_LAST ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    int rc = sqlite3_wal_checkpoint_v2(w->db, NULL, mode, &pages, &moved);
    if (rc != SQLITE_OK && journal_db_is_fatal(w->db, rc))
        w->broken = -EIO;
    /* A reader or a full disk may have kept some back: they stay in the WAL and the next commit tries again.
     * When idle there is no next commit to wait for, and trying for ever would wake the machine for nothing.
     */
    if (rc == SQLITE_OK && moved == pages)
        w->wal_pages = 0;
    else if (when == JOURNAL_CHECKPOINT_IDLE)
        w->wal_pages = 0;
    return w->broken;
}
