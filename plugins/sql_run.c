#include "plugins/sql_run.h"

#include "plugins/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct watch {
    bool (*stop)(void *arg);
    void *arg;
    bool stopped;
};

static int watch_progress(void *arg) {
    struct watch *w = arg;
    w->stopped = w->stopped || w->stop(w->arg);
    return w->stopped;
}

/* Reading is allowed, and the pragmas that describe tables; everything else is not, whatever the file's own
 * views and triggers say. */
static int authorize(void *arg, int action, const char *first, const char *second, const char *database,
                     const char *trigger) {
    static const char *const pragmas[] = {"table_info", "table_xinfo", "table_list",       "index_list",
                                          "index_info", "index_xinfo", "foreign_key_list", "data_version",
                                          "page_size"}; /* the last two are what FTS5 asks */
    static const char *const functions[] = {"load_extension", "fts3_tokenizer", "readfile", "writefile",
                                            "edit"};
    (void)arg, (void)database, (void)trigger;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_FUNCTION:
        for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
            if (second == NULL || sqlite3_stricmp(second, functions[i]) == 0)
                return SQLITE_DENY;
        return SQLITE_OK;
    case SQLITE_PRAGMA:
        for (size_t i = 0; i < sizeof pragmas / sizeof pragmas[0]; i++)
            if (sqlite3_stricmp(first, pragmas[i]) == 0)
                return SQLITE_OK;
        return SQLITE_DENY;
    case SQLITE_UPDATE: /* asked about while a virtual table (FTS5, pragma_…) declares its columns; writing
                           there is refused anyway */
        return sqlite3_stricmp(first, "sqlite_master") == 0 ? SQLITE_OK : SQLITE_DENY;
    default:
        return SQLITE_DENY;
    }
}

/* Changes waiting beside the file would be missing from the snapshot. */
static int check_pending(int root, const char *database, char *err, size_t errlen) {
    static const char *const endings[] = {"-wal", "-journal"};
    for (int i = 0; i < 2; i++) {
        char beside[4200];
        struct stat st;
        int n = snprintf(beside, sizeof beside, "%s%s", database, endings[i]);
        int fd = n > 0 && (size_t)n < sizeof beside ? beneath_open(root, beside, O_PATH) : -1;
        if (fd < 0)
            continue;
        bool pending = fstat(fd, &st) == 0 && st.st_size > 0;
        close(fd);
        if (pending) {
            snprintf(
                err, errlen,
                "%.200s is being written (it has a %s file), close the program that writes it and try again",
                database, endings[i]);
            return -EBUSY;
        }
    }
    return 0;
}

static int open_database(int fd, sqlite3 **out, char *err, size_t errlen) {
    char uri[80];
    sqlite3 *db = NULL;
    snprintf(uri, sizeof uri, "file:/proc/self/fd/%d?mode=ro&immutable=1", fd);
    sqlite3_hard_heap_limit64(SQL_HEAP_MAX);
    int status =
        sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
    if (status == SQLITE_OK) {
        sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
        sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 16 * 1024 * 1024);
        sqlite3_limit(db, SQLITE_LIMIT_SQL_LENGTH, SQL_QUERY_MAX);
        sqlite3_limit(db, SQLITE_LIMIT_EXPR_DEPTH, 200);
        sqlite3_limit(db, SQLITE_LIMIT_COLUMN, 500);
        sqlite3_limit(db, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000);
        status = sqlite3_exec(db, "PRAGMA query_only = 1; PRAGMA temp_store = 2", NULL, NULL, NULL);
    }
    if (status == SQLITE_OK)
        status = sqlite3_set_authorizer(db, authorize, NULL);
    if (status != SQLITE_OK) {
        snprintf(err, errlen, "the database cannot be opened: %.200s",
                 db != NULL ? sqlite3_errmsg(db) : "no memory");
        sqlite3_close(db);
        return -EIO;
    }
    *out = db;
    return 0;
}

static void put_float(struct text *out, double value) {
    char number[40];
    if (!isfinite(value)) {
        text_put(out, value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(number, sizeof number, "%.*g", digits, value);
        if (strtod(number, NULL) == value)
            break;
    }
    text_put(out, number);
    if (strpbrk(number, ".e") == NULL)
        text_put(out, ".0");
}

static void put_blob(struct text *out, const unsigned char *bytes, int len) {
    if (len > 256) {
        text_format(out, "\"blob of %d bytes\"", len);
        return;
    }
    text_put(out, "\"x'");
    for (int i = 0; i < len; i++)
        text_format(out, "%02x", bytes[i]);
    text_put(out, "'\"");
}

/* One cell; true when its text was cut. */
static bool put_cell(struct text *out, sqlite3_stmt *select, int column) {
    const long long exact = 1LL << 53;
    switch (sqlite3_column_type(select, column)) {
    case SQLITE_INTEGER: {
        long long value = sqlite3_column_int64(select, column);
        bool fits = value >= -exact && value <= exact;
        text_format(out, fits ? "%lld" : "\"%lld\"", value);
        return false;
    }
    case SQLITE_FLOAT:
        put_float(out, sqlite3_column_double(select, column));
        return false;
    case SQLITE_TEXT: {
        const char *value = (const char *)sqlite3_column_text(select, column);
        size_t len = (size_t)sqlite3_column_bytes(select, column);
        text_quote(out, value, text_cut(value, len, SQL_CELL_MAX));
        return len > SQL_CELL_MAX;
    }
    case SQLITE_BLOB:
        put_blob(out, sqlite3_column_blob(select, column), sqlite3_column_bytes(select, column));
        return false;
    default:
        text_put(out, "null");
        return false;
    }
}

/* The rows, as many as fit: SQLite's last status. */
static int put_rows(struct text *out, sqlite3_stmt *select) {
    int columns = sqlite3_column_count(select), step = SQLITE_ROW;
    bool truncated = false;
    text_put(out, "{\"columns\": [");
    for (int i = 0; i < columns; i++) {
        const char *name = sqlite3_column_name(select, i);
        text_put(out, i == 0 ? "" : ", ");
        text_quote(out, name == NULL ? "" : name, name == NULL ? 0 : strlen(name));
    }
    text_put(out, "], \"rows\": [");
    for (int row = 0; (step = sqlite3_step(select)) == SQLITE_ROW; row++) {
        if (row == SQL_ROWS_MAX || out->len > SQL_RESULT_MAX) {
            truncated = true;
            step = SQLITE_DONE;
            break;
        }
        text_put(out, row == 0 ? "[" : ", [");
        for (int i = 0; i < columns; i++) {
            text_put(out, i == 0 ? "" : ", ");
            truncated = put_cell(out, select, i) || truncated;
        }
        text_put(out, "]");
    }
    text_put(out, truncated ? "], \"truncated\": true}" : "]}");
    return step;
}

/* Whether nothing but blanks, comments and semicolons follows the statement. */
static bool is_last_statement(sqlite3 *db, const char *tail) {
    sqlite3_stmt *second = NULL;
    int status = SQLITE_OK;
    while (status == SQLITE_OK && second == NULL && *tail != '\0')
        status = sqlite3_prepare_v2(db, tail, -1, &second, &tail);
    bool last = status == SQLITE_OK && second == NULL;
    sqlite3_finalize(second);
    return last;
}

static int explain(sqlite3 *db, int status, const struct watch *w, char *err, size_t errlen) {
    if (w->stopped) {
        snprintf(err, errlen, "the query took too long and was stopped");
        return -ECANCELED;
    }
    if ((status & 0xff) == SQLITE_AUTH)
        snprintf(err, errlen, "only queries that read are allowed (SELECT)");
    else if ((status & 0xff) == SQLITE_NOTADB)
        snprintf(err, errlen, "the file is not an SQLite database");
    else
        snprintf(err, errlen, "SQLite says: %.300s", sqlite3_errmsg(db));
    return -EINVAL;
}

static int run_statement(sqlite3 *db, const char *query, const struct watch *w, struct text *out, char *err,
                         size_t errlen) {
    sqlite3_stmt *select = NULL;
    const char *tail = query;
    int status = SQLITE_OK;
    while (status == SQLITE_OK && select == NULL &&
           *tail != '\0') /* leading comments and semicolons give no statement */
        status = sqlite3_prepare_v2(db, tail, -1, &select, &tail);
    if (status != SQLITE_OK)
        return explain(db, status, w, err, errlen);
    int result = -EINVAL;
    if (select == NULL) {
        snprintf(err, errlen, "the query is empty");
    } else if (!is_last_statement(db, tail)) {
        snprintf(err, errlen, "only one statement at a time is allowed");
    } else if (!sqlite3_stmt_readonly(select) || sqlite3_column_count(select) == 0) {
        snprintf(err, errlen, "only queries that read are allowed (SELECT)");
    } else {
        status = put_rows(out, select);
        result = status == SQLITE_DONE ? 0 : explain(db, status, w, err, errlen);
        if (result == 0 && out->status != 0) {
            snprintf(err, errlen, "the result is too large, select fewer columns or rows");
            result = out->status;
        }
    }
    sqlite3_finalize(select);
    return result;
}

int sql_run(int root, const char *database, const char *query, bool (*stop)(void *arg), void *arg,
            struct text *out, char *err, size_t errlen) {
    struct watch w = {.stop = stop, .arg = arg};
    if (strlen(query) > SQL_QUERY_MAX) {
        snprintf(err, errlen, "the query is longer than %d bytes", SQL_QUERY_MAX);
        return -E2BIG;
    }
    int fd = beneath_open_file(root, database, err, errlen);
    if (fd < 0)
        return fd;
    sqlite3 *db = NULL;
    int status = check_pending(root, database, err, errlen);
    if (status == 0)
        status = open_database(fd, &db, err, errlen);
    if (status == 0) {
        sqlite3_progress_handler(db, 1000, watch_progress, &w);
        status = run_statement(db, query, &w, out, err, errlen);
        sqlite3_close(db);
    }
    close(fd);
    return status;
}
