/* The tables of the journal, and how an older file becomes a newer one. [journal-thread], or before it runs.
 */
#ifndef DAEMON_JOURNAL_SCHEMA_H
#define DAEMON_JOURNAL_SCHEMA_H

#include "base/err.h"

#include <sqlite3.h>

#define JOURNAL_APPLICATION_ID 0x48455244 /* "HERD" */

/* The version this program writes. */
int journal_schema_version(void);
/* Whose file it is, before anything in it changes. -EPROTO: newer than this program; -EBADMSG: not a journal,
 * or damaged. */
HX_MUST_CHECK int journal_schema_check(sqlite3 *db, const char *path, char *err, size_t errlen);
/* Brings a checked file to journal_schema_version(), one transaction per step. An older file is first copied
 * to
 * "<path>.v<N>" (VACUUM INTO). */
HX_MUST_CHECK int journal_schema_migrate(sqlite3 *db, const char *path, char *err, size_t errlen);
/* The same with other steps (for tests): step i, a NULL-terminated list of SQL, makes version i + 1 of
 * version i. */
HX_MUST_CHECK int journal_schema_migrate_by(sqlite3 *db, const char *path, const char *const *const *by,
                                            int n_steps, char *err, size_t errlen);

#endif
