/* One reading query on an SQLite file beneath a folder. The file is opened by the kernel beneath the folder
 * and SQLite gets that very descriptor (through /proc/self/fd), read-only and as a snapshot: nothing is
 * locked, no -wal or -shm file is made. So a file whose -wal or -journal still holds changes is refused
 * rather than read without them. [any-thread] */
#ifndef PLUGINS_SQL_RUN_H
#define PLUGINS_SQL_RUN_H

#include "plugins/text.h"

#define SQL_ROWS_MAX   200         /* rows a result tells */
#define SQL_RESULT_MAX (64 * 1024) /* bytes after which it tells no further row */
#define SQL_CELL_MAX   4096        /* bytes of one text it tells */
#define SQL_QUERY_MAX  (64 * 1024)
#define SQL_HEAP_MAX   (64L * 1024 * 1024)

/* Appends {"columns": […], "rows": [[…], …]}, and "truncated": true when a ceiling was met. Integers beyond
 * 2^53 and infinities are told as strings, blobs as "x'0a0b'". `stop(arg)` is asked now and then: non-zero
 * ends the query with -ECANCELED. 0, or -errno with a sentence. */
int sql_run(int root, const char *database, const char *query, bool (*stop)(void *arg), void *arg,
            struct text *out, char *err, size_t errlen);

#endif
