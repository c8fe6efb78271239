#include "daemon/journal_db.h"

#include "daemon/journal_schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUSY_MS           5000
#define JOURNAL_SIZE_STOP "67108864" /* the WAL is cut back to this after a checkpoint that emptied it */

/* ---- errors ---- */

static int full_or(int code) {
    return code == ENOSPC || code == EDQUOT || code == EFBIG ? -ENOSPC : -EIO;
}

static int last_errno(sqlite3_file *file) {
    int os = 0;
    if (file != NULL && file->pMethods != NULL &&
        file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &os) == SQLITE_OK)
        return os;
    return 0;
}

/* The errno behind an I/O error: sqlite3_system_errno() may have seen later calls, the files remember their
 * own. */
static int os_errno(sqlite3 *db, int rc) {
    if (db == NULL)
        return 0;
    int os = 0;
    sqlite3_file *file = NULL;
    if ((rc & 0xff) == SQLITE_IOERR &&
        sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) == SQLITE_OK)
        os = last_errno(file);
    if ((rc & 0xff) == SQLITE_IOERR && os == 0 &&
        sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK)
        os = last_errno(file);
    return os != 0 ? os : sqlite3_system_errno(db);
}

static int code_of(sqlite3 *db, int rc) {
    int os = os_errno(db, rc);
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_READONLY:
        return os == EACCES || os == EPERM ? -EACCES : -EROFS;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return -EACCES;
    case SQLITE_CANTOPEN:
        return os > 0 ? -os : -EACCES;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
        return -EBADMSG;
    case SQLITE_TOOBIG:
        return -E2BIG;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_ERROR:
        return -EINVAL;
    default:
        return full_or(os);
    }
}

static const char *advice(int code) {
    switch (code) {
    case -ENOSPC:
        return "the disk is full; free some space";
    case -EROFS:
        return "it can only be read; give hermesd a state folder that it may write";
    case -EACCES:
        return "permission denied; give hermesd a state folder of its own";
    case -EBUSY:
        return "another program keeps the file locked";
    case -EBADMSG:
        return "the file is damaged; move it away, or restore it from a backup";
    default:
        return NULL;
    }
}

int journal_db_error(sqlite3 *db, int rc, const char *doing, const char *path, char *err, size_t errlen) {
    int code = code_of(db, rc);
    const char *text = advice(code);
    if (text == NULL)
        text = db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    return err_set(err, errlen, code, "'%s': %s failed: %s.", path, doing, text);
}

bool journal_db_is_fatal(sqlite3 *db, int rc) {
    int extended = sqlite3_extended_errcode(db);
    return extended == SQLITE_IOERR_FSYNC || extended == SQLITE_IOERR_DIR_FSYNC ||
           (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

/* ---- small readings ---- */

int journal_db_int(sqlite3 *db, const char *sql, int64_t *value) {
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW)
        *value = sqlite3_column_int64(stmt, 0);
    int end = sqlite3_finalize(stmt);
    return rc != SQLITE_OK ? rc : end;
}

int64_t journal_db_time(const char *text) {
    struct tm tm = {0};
    int ms = 0;
    if (text == NULL || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                               &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms) != 7)
        return 0;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return (int64_t)timegm(&tm) * 1000000000 + (int64_t)ms * 1000000;
}

/* ---- opening ---- */

static int set_limits(sqlite3 *db) {
    int on = 0;
    int rc = sqlite3_busy_timeout(db, BUSY_MS);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, &on);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, &on);
    if (rc == SQLITE_OK)
        rc =
            sqlite3_exec(db, "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;",
                         NULL, NULL, NULL);
    sqlite3_extended_result_codes(db, 1);
    return rc;
}

/* A WAL that was left behind says that the last daemon did not come to its end. */
static bool left_behind(const char *path) {
    char wal[4096];
    struct stat st;
    return snprintf(wal, sizeof wal, "%s-wal", path) < (int)sizeof wal && stat(wal, &st) == 0 &&
           st.st_size > 0;
}

static int check_quickly(sqlite3 *db, const char *path, char *err, size_t errlen) {
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &stmt, NULL);
    int code = 0;
    if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);
        if (text == NULL || strcmp(text, "ok") != 0)
            code = err_set(err, errlen, -EBADMSG,
                           "The journal '%s' is damaged (%s); move it away, or restore it from a backup.",
                           path, text != NULL ? text : "no answer");
        rc = SQLITE_OK;
    }
    if (rc != SQLITE_OK)
        code = journal_db_error(db, rc, "checking the journal", path, err, errlen);
    sqlite3_finalize(stmt);
    return code;
}

static int prepare_writer(sqlite3 *db, const char *path, bool unclean, char *err, size_t errlen) {
    int rc = set_limits(db);
    if (rc != SQLITE_OK)
        return journal_db_error(db, rc, "opening the journal", path, err, errlen);
    int code = journal_schema_check(db, path, err, errlen);
    if (code < 0)
        return code;
    rc = sqlite3_exec(db,
                      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                      "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = " JOURNAL_SIZE_STOP,
                      NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return journal_db_error(db, rc, "opening the journal", path, err, errlen);
    if (unclean)
        code = check_quickly(db, path, err, errlen);
    return code < 0 ? code : journal_schema_migrate(db, path, err, errlen);
}

int journal_db_open_writer(const char *path, sqlite3 **out, char *err, size_t errlen) {
    bool unclean = left_behind(path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(err, errlen, -errno, "The journal '%s' cannot be opened: %s.", path, strerror(errno));
    close(fd);
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    int code = rc != SQLITE_OK ? journal_db_error(db, rc, "opening the journal", path, err, errlen)
                               : prepare_writer(db, path, unclean, err, errlen);
    if (code < 0) {
        sqlite3_close(db);
        return code;
    }
    *out = db;
    return 0;
}

int journal_db_open_reader(const char *path, sqlite3 **out, char *err, size_t errlen) {
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = set_limits(db);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "PRAGMA query_only = ON", NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        int code = journal_db_error(db, rc, "opening the journal for reading", path, err, errlen);
        sqlite3_close(db);
        return code;
    }
    *out = db;
    return 0;
}
