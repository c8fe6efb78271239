/* What is read for the API and after a restart: one short transaction per question. */
#include "daemon/journal_own.h"

#include "daemon/journal_db.h"

#include <errno.h>

/* Events of one answer; above it the rest comes with the next. */
#define EVENT_BYTES ((size_t)1 << 20)

static const char sql_job[] = "SELECT " JOURNAL_JOB_COLUMNS " FROM jobs WHERE id = ?1";
static const char sql_request[] = "SELECT request_json, tools_json FROM jobs WHERE id = ?1";
static const char sql_live[] =
    "SELECT " JOURNAL_JOB_COLUMNS
    " FROM jobs WHERE status IN ('queued','working','input_required') ORDER BY num";
/* ?1 after (its num), ?2 status, ?3 part of the id, ?4 kind, ?5 uid, ?6 limit */
#define SQL_JOBS(compare, order)                                                                             \
    "SELECT " JOURNAL_JOB_COLUMNS " FROM jobs WHERE (?1 IS NULL OR num " compare " ?1)"                      \
    " AND (?2 IS NULL OR status = ?2) AND (?3 IS NULL OR instr(id, ?3) > 0) AND (?4 IS NULL OR kind = ?4)"   \
    " AND (?5 = -1 OR client_uid = ?5) ORDER BY num " order " LIMIT ?6"
static const char sql_newest[] = SQL_JOBS("<", "DESC");
static const char sql_oldest[] = SQL_JOBS(">", "ASC");
static const char sql_num[] = "SELECT num FROM jobs WHERE id = ?1";
static const char sql_events[] =
    "SELECT " JOURNAL_EVENT_COLUMNS " FROM events WHERE job_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
static const char sql_turns[] = "SELECT " JOURNAL_TURN_COLUMNS " FROM turns WHERE job_id = ?1 ORDER BY turn";
static const char sql_parts[] =
    "SELECT " JOURNAL_PART_COLUMNS " FROM parts WHERE job_id = ?1"
    " ORDER BY turn, CASE role WHEN 'system' THEN 0 WHEN 'user' THEN 1 ELSE 2 END, position";
static const char sql_calls[] =
    "SELECT " JOURNAL_CALL_COLUMNS " FROM tool_calls WHERE job_id = ?1 ORDER BY call";
/* As JOURNAL_CALL_COLUMNS, with nothing but a name and how long it took. */
static const char sql_durations[] =
    "SELECT '', 0, 0, 0, name, '', NULL, 1, 'ok', 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, duration_ms,"
    " NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM tool_calls"
    " WHERE rowid > (SELECT coalesce(max(rowid), 0) FROM tool_calls) - 2000 AND duration_ms IS NOT NULL"
    " ORDER BY rowid";
static const char sql_counts[] = "SELECT status, count(*) FROM jobs GROUP BY status ORDER BY status";

typedef int add_row(struct journal_rows *rows, sqlite3_stmt *s);

struct reading {
    sqlite3 *db;
    const char *path;
    struct journal_answer *answer;
    int sqlite; /* SQLite's result, where it is what failed */
};

/* All rows of a statement, up to `max` of them; what was cut off shows in has_more. */
static int all_rows(struct reading *r, sqlite3_stmt *stmt, add_row *add, size_t max, size_t max_bytes) {
    size_t n = 0, bytes = r->answer->rows.bytes;
    int step = SQLITE_ROW, rc = 0;
    while (rc == 0 && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (n >= max || (n > 0 && r->answer->rows.bytes - bytes >= max_bytes)) {
            r->answer->result.has_more = true;
            step = SQLITE_DONE;
            break;
        }
        rc = add(&r->answer->rows, stmt);
        n++;
    }
    if (rc == 0 && step != SQLITE_DONE) {
        r->sqlite = step;
        rc = -EIO;
    }
    return rc;
}

static sqlite3_stmt *prepare(struct reading *r, const char *sql) {
    sqlite3_stmt *stmt = NULL;
    r->sqlite = sqlite3_prepare_v2(r->db, sql, -1, &stmt, NULL);
    return r->sqlite == SQLITE_OK ? stmt : NULL;
}

static void bind_text(sqlite3_stmt *stmt, int at, const char *text) {
    (void)(text != NULL ? sqlite3_bind_text(stmt, at, text, -1, SQLITE_STATIC) : sqlite3_bind_null(stmt, at));
}

/* The rows of a statement whose only parameter is the job. */
static int rows_of_job(struct reading *r, const char *sql, const char *job_id, add_row *add) {
    sqlite3_stmt *stmt = prepare(r, sql);
    if (stmt == NULL)
        return -EIO;
    if (sqlite3_bind_parameter_count(stmt) > 0)
        bind_text(stmt, 1, job_id);
    int rc = all_rows(r, stmt, add, SIZE_MAX, SIZE_MAX);
    sqlite3_finalize(stmt);
    return rc;
}

static int no_job(struct reading *r, const char *job_id) {
    return err_set(r->answer->err, sizeof r->answer->err, -ENOENT, "There is no job '%s'.", job_id);
}

static int read_job(struct reading *r, const char *job_id) {
    int rc = rows_of_job(r, sql_job, job_id, journal_rows_add_job);
    if (rc == 0 && r->answer->rows.n_jobs == 0)
        return no_job(r, job_id);
    return rc < 0 ? rc : rows_of_job(r, sql_request, job_id, journal_rows_add_request);
}

static int read_trace(struct reading *r, const char *job_id) {
    int rc = read_job(r, job_id);
    if (rc == 0)
        rc = rows_of_job(r, sql_turns, job_id, journal_rows_add_turn);
    if (rc == 0)
        rc = rows_of_job(r, sql_parts, job_id, journal_rows_add_part);
    if (rc == 0)
        rc = rows_of_job(r, sql_calls, job_id, journal_rows_add_call);
    return rc;
}

/* Where the list goes on; -ENOENT when the cursor names no job. */
static int find_num(struct reading *r, const char *job_id, int64_t *num) {
    sqlite3_stmt *stmt = prepare(r, sql_num);
    if (stmt == NULL)
        return -EIO;
    bind_text(stmt, 1, job_id);
    int step = sqlite3_step(stmt);
    if (step == SQLITE_ROW)
        *num = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return step == SQLITE_ROW ? 0 : no_job(r, job_id);
}

static int read_jobs(struct reading *r, const struct journal_query *q) {
    int64_t num = 0;
    int rc = q->job_id != NULL ? find_num(r, q->job_id, &num) : 0;
    if (rc < 0)
        return rc;
    sqlite3_stmt *stmt = prepare(r, q->oldest_first ? sql_oldest : sql_newest);
    if (stmt == NULL)
        return -EIO;
    if (q->job_id != NULL)
        sqlite3_bind_int64(stmt, 1, num);
    bind_text(stmt, 2, q->status);
    bind_text(stmt, 3, q->match);
    bind_text(stmt, 4, q->kind);
    sqlite3_bind_int64(stmt, 5, q->client_uid);
    sqlite3_bind_int64(stmt, 6, (int64_t)q->limit + 1);
    rc = all_rows(r, stmt, journal_rows_add_job, (size_t)q->limit, SIZE_MAX);
    sqlite3_finalize(stmt);
    return rc;
}

static int read_events(struct reading *r, const struct journal_query *q) {
    sqlite3_stmt *stmt = prepare(r, sql_events);
    if (stmt == NULL)
        return -EIO;
    bind_text(stmt, 1, q->job_id);
    sqlite3_bind_int64(stmt, 2, q->after_seq);
    sqlite3_bind_int64(stmt, 3, (int64_t)q->limit + 1);
    int rc = all_rows(r, stmt, journal_rows_add_event, (size_t)q->limit, EVENT_BYTES);
    sqlite3_finalize(stmt);
    return rc;
}

static int run(struct reading *r, const struct journal_query *q) {
    switch (q->type) {
    case JOURNAL_QUERY_JOBS:
        return read_jobs(r, q);
    case JOURNAL_QUERY_JOB:
        return read_job(r, q->job_id);
    case JOURNAL_QUERY_EVENTS:
        return read_events(r, q);
    case JOURNAL_QUERY_TRACE:
        return read_trace(r, q->job_id);
    case JOURNAL_QUERY_COUNTS:
        return rows_of_job(r, sql_counts, NULL, journal_rows_add_count);
    case JOURNAL_QUERY_DURATIONS:
        return rows_of_job(r, sql_durations, NULL, journal_rows_add_call);
    case JOURNAL_QUERY_LIVE:
        return rows_of_job(r, sql_live, NULL, journal_rows_add_job);
    }
    return -EINVAL;
}

void journal_read_run(sqlite3 *db, const char *path, const struct journal_query *q,
                      struct journal_answer *a) {
    struct reading r = {.db = db, .path = path, .answer = a};
    int rc = 0;
    r.sqlite = sqlite3_exec(db, "BEGIN", NULL, NULL, NULL); /* several statements, one state of the file */
    rc = r.sqlite == SQLITE_OK ? run(&r, q) : -EIO;
    if (rc < 0 && r.sqlite != SQLITE_OK)
        rc = journal_db_error(db, r.sqlite, "reading", path, a->err, sizeof a->err);
    else if (rc < 0 && a->err[0] == '\0')
        err_set(a->err, sizeof a->err, rc, "'%s': reading failed: %s.", path,
                rc == -E2BIG     ? "the answer is too large"
                : rc == -EBADMSG ? "a row makes no sense; the file is damaged"
                                 : "memory is out");
    if (sqlite3_get_autocommit(db) == 0)
        sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    a->result.status = rc;
    if (rc < 0)
        journal_rows_finish(&a->rows);
}
