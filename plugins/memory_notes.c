#include "plugins/memory_notes.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct memory_notes {
    sqlite3 *db;
};

static int fail_sqlite(const struct memory_notes *notes, char *err, size_t errlen) {
    int code = sqlite3_errcode(notes->db) & 0xff;
    if (code == SQLITE_FULL) {
        snprintf(err, errlen, "the memory is full");
        return -ENOSPC;
    }
    snprintf(err, errlen, "the memory cannot be used: %.200s", sqlite3_errmsg(notes->db));
    return code == SQLITE_BUSY ? -EBUSY : -EIO;
}

int memory_notes_open(const char *folder, struct memory_notes **out, char *err, size_t errlen) {
    static const char setup[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = "
                                "2; PRAGMA trusted_schema = 0;"
                                "CREATE TABLE IF NOT EXISTS note (key TEXT PRIMARY KEY, value TEXT NOT NULL, "
                                "changed_at INTEGER NOT NULL)"
                                " STRICT, WITHOUT ROWID";
    char path[4096], limit[64];
    if ((size_t)snprintf(path, sizeof path, "%s/memory.db", folder) >= sizeof path) {
        snprintf(err, errlen, "the state folder's path is too long");
        return -ENAMETOOLONG;
    }
    struct memory_notes *notes = calloc(1, sizeof *notes);
    if (notes == NULL) {
        snprintf(err, errlen, "no memory for the notes");
        return -ENOMEM;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                  0600); /* SQLite would make it readable by others */
    int status = fd < 0 ? -errno : 0;
    if (fd < 0) {
        snprintf(err, errlen, "the memory file cannot be opened: %s", strerror(-status));
    } else {
        close(fd);
        snprintf(limit, sizeof limit, "PRAGMA max_page_count = %d", MEMORY_PAGES_MAX);
        int code = sqlite3_open_v2(path, &notes->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
        if (code == SQLITE_OK)
            code = sqlite3_busy_timeout(notes->db, 3000);
        if (code == SQLITE_OK)
            code = sqlite3_exec(notes->db, setup, NULL, NULL, NULL);
        if (code == SQLITE_OK)
            code = sqlite3_exec(notes->db, limit, NULL, NULL, NULL);
        if (code != SQLITE_OK)
            status = fail_sqlite(notes, err, errlen);
    }
    if (status == 0)
        *out = notes;
    else
        memory_notes_close(notes);
    return status;
}

void memory_notes_close(struct memory_notes *notes) {
    if (notes != NULL)
        sqlite3_close(notes->db);
    free(notes);
}

static int check_key(const char *key, char *err, size_t errlen) {
    if (key[0] != '\0' && strlen(key) <= MEMORY_KEY_MAX)
        return 0;
    snprintf(err, errlen, "the key must have 1 to %d bytes", MEMORY_KEY_MAX);
    return -EINVAL;
}

int memory_notes_put(struct memory_notes *notes, const char *key, const char *value, char *err,
                     size_t errlen) {
    static const char sql[] =
        "INSERT INTO note VALUES (?1, ?2, unixepoch()) ON CONFLICT (key) DO UPDATE SET value = "
        "excluded.value, changed_at = excluded.changed_at";
    sqlite3_stmt *insert = NULL;
    if (check_key(key, err, errlen) != 0)
        return -EINVAL;
    if (strlen(value) > MEMORY_VALUE_MAX) {
        snprintf(err, errlen, "the value is longer than %d bytes", MEMORY_VALUE_MAX);
        return -EINVAL;
    }
    int code = sqlite3_prepare_v2(notes->db, sql, -1, &insert, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_text(insert, 1, key, -1, SQLITE_STATIC);
        sqlite3_bind_text(insert, 2, value, -1, SQLITE_STATIC);
        code = sqlite3_step(insert);
    }
    int status = code == SQLITE_DONE ? 0 : fail_sqlite(notes, err, errlen);
    sqlite3_finalize(insert);
    return status;
}

int memory_notes_get(struct memory_notes *notes, const char *key, struct text *out, char *err,
                     size_t errlen) {
    sqlite3_stmt *select = NULL;
    if (check_key(key, err, errlen) != 0)
        return -EINVAL;
    int code = sqlite3_prepare_v2(notes->db, "SELECT value FROM note WHERE key = ?1", -1, &select, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_text(select, 1, key, -1, SQLITE_STATIC);
        code = sqlite3_step(select);
    }
    int status = 0;
    if (code == SQLITE_ROW) {
        status = text_add(out, (const char *)sqlite3_column_text(select, 0),
                          (size_t)sqlite3_column_bytes(select, 0));
        if (status != 0)
            snprintf(err, errlen, "no memory for the value");
    } else if (code == SQLITE_DONE) {
        snprintf(err, errlen, "no value is stored under '%s'", key);
        status = -ENOENT;
    } else {
        status = fail_sqlite(notes, err, errlen);
    }
    sqlite3_finalize(select);
    return status;
}
