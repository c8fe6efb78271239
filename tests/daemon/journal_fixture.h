/* A journal in a folder of its own, and answers that are waited for. */
#ifndef TESTS_DAEMON_JOURNAL_FIXTURE_H
#define TESTS_DAEMON_JOURNAL_FIXTURE_H

#include "daemon/journal.h"

#include <sqlite3.h>

struct place {
    char folder[64]; /* exists; removed by place_remove() */
    char state[96];  /* the state folder inside; not made yet */
    char db[128];
    int wake[2]; /* a pipe */
    struct journal *journal;
};

struct place *place_make(void);
/* Opens the journal of the place; fails the test when it cannot. */
void place_open(struct place *p);
void place_close(struct place *p);
/* Closes the journal if need be and removes everything. */
void place_remove(struct place *p);

/* What an answer was; texts are copies. */
struct answer {
    int calls; /* how often `done` came */
    int status;
    char err[320];
    char existing_id[128];
    bool same_request;
};
/* For journal_submit(): fills a struct answer. */
void take_answer(void *arg, const struct journal_result *result);
/* Dispatches until `answer` came; fails the test after ten seconds. */
void wait_for(struct place *p, const struct answer *answer);
/* Submits and waits; the result's status. */
int commit(struct place *p, struct journal_batch *b);
int commit_with(struct place *p, struct journal_batch *b, struct answer *answer);

/* A queued job of uid 1000 with the request {"input": "hello"}. */
void add_job(struct journal_batch *b, const char *id, const char *key);
/* First column of the first row as text, read from the file by a connection of its own; "" for none or NULL.
 * Freed by the caller. */
char *ask_file(const struct place *p, const char *sql);
void assert_file(const struct place *p, const char *sql, const char *expected);
/* Changes the file behind the journal's back (while it is closed). */
void change_file(const struct place *p, const char *sql);

#endif
