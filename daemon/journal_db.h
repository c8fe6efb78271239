/* One SQLite connection of the journal: its settings, and SQLite's errors as ours. One thread per connection.
 */
#ifndef DAEMON_JOURNAL_DB_H
#define DAEMON_JOURNAL_DB_H

#include "base/err.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

/* Opens `path`, for writing (created 0600, WAL, synchronous=FULL, checked after an unclean stop, migrated) or
 * for reading only. Blocks. Errors as journal_open(). */
HX_MUST_CHECK int journal_db_open_writer(const char *path, sqlite3 **out, char *err, size_t errlen);
HX_MUST_CHECK int journal_db_open_reader(const char *path, sqlite3 **out, char *err, size_t errlen);

/* The errno of SQLite's result `rc` (never 0) and a sentence: "<doing> failed: … ('path')". */
int journal_db_error(sqlite3 *db, int rc, const char *doing, const char *path, char *err, size_t errlen);
/* True for a failure after which what was written before cannot be trusted: fsync, damage. */
bool journal_db_is_fatal(sqlite3 *db, int rc);
/* First column of the first row; SQLite's result. */
int journal_db_int(sqlite3 *db, const char *sql, int64_t *value);

/* 2026-11-23T05:00:00.123Z as nanoseconds; 0 for NULL and for anything else. */
int64_t journal_db_time(const char *text);

#endif
