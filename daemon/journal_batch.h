/* Inside the journal: a batch is a list of statements with the values they are run with. Made on the loop
 * thread, given away, run on the journal thread. */
#ifndef DAEMON_JOURNAL_BATCH_H
#define DAEMON_JOURNAL_BATCH_H

#include "daemon/journal.h"

/* The statements the journal can run; their SQL is in journal_statements.c. */
enum journal_sql {
    JOURNAL_SQL_TOOL,
    JOURNAL_SQL_JOB,
    JOURNAL_SQL_JOB_STARTED,
    JOURNAL_SQL_JOB_STATUS,
    JOURNAL_SQL_CANCEL,
    JOURNAL_SQL_JOB_FINISHED,
    JOURNAL_SQL_JOB_DELETED,
    JOURNAL_SQL_TURN,
    JOURNAL_SQL_TURN_DROP_PARTS,
    JOURNAL_SQL_TURN_DROP_CALLS,
    JOURNAL_SQL_TURN_KEEP,
    JOURNAL_SQL_TURN_TEXT,
    JOURNAL_SQL_TURN_FINISHED,
    JOURNAL_SQL_PART,
    JOURNAL_SQL_CALL,
    JOURNAL_SQL_CALL_STARTED,
    JOURNAL_SQL_CALL_FINISHED,
    JOURNAL_SQL_CITATION,
    JOURNAL_SQL_EVENT,
    JOURNAL_SQL_COUNT
};
struct journal_statement {
    const char *sql;
    /* What is wrong when it changes no row ("%.*s" is its first value, a job's id); NULL when that is fine.
     */
    const char *nothing;
};
extern const struct journal_statement journal_statements[JOURNAL_SQL_COUNT];

enum journal_value_type { JOURNAL_NULL, JOURNAL_INT, JOURNAL_REAL, JOURNAL_TEXT, JOURNAL_BLOB };
struct journal_value {
    enum journal_value_type type;
    union {
        int64_t integer;
        double real;
        struct {
            const char *data;
            size_t len;
        } bytes;
    } as;
};

#define JOURNAL_VALUES_MAX 20
struct journal_op {
    struct journal_op *next;
    enum journal_sql sql;
    int n;
    struct journal_value values[]; /* the bytes of texts follow behind the array */
};

struct journal_answer;
struct journal_batch {
    struct journal_batch *next; /* in the journal's queue */
    struct journal_op *first, *last;
    size_t bytes;                  /* memory held */
    int status;                    /* first failure of an add */
    bool accepts;                  /* holds a new job */
    struct journal_chain *chain;   /* what it stands on; NULL = nothing */
    struct journal_answer *answer; /* made when it is submitted */
};

#endif
