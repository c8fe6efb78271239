/* Inside the journal: its two threads, their queues, and the answers on their way back to the loop thread. */
#ifndef DAEMON_JOURNAL_OWN_H
#define DAEMON_JOURNAL_OWN_H

#include "daemon/journal_batch.h"
#include "daemon/journal_rows.h"

#include <pthread.h>
#include <sqlite3.h>

/* An answer is made when the work is submitted, so that nothing that was accepted can fail to be answered. */
struct journal_answer {
    struct journal_answer *next;
    journal_done *done; /* may be NULL */
    void *arg;
    struct journal_result result;
    char err[320];
    char existing_id[128];
    struct journal_rows rows;
};

enum journal_query_type {
    JOURNAL_QUERY_JOBS,
    JOURNAL_QUERY_JOB,
    JOURNAL_QUERY_EVENTS,
    JOURNAL_QUERY_TRACE,
    JOURNAL_QUERY_COUNTS,
    JOURNAL_QUERY_DURATIONS,
    JOURNAL_QUERY_LIVE
};
struct journal_query {
    struct journal_query *next;
    enum journal_query_type type;
    char *job_id, *status, *match, *kind; /* owned; NULL = any. job_id: also the `after` of a list */
    int64_t client_uid, after_seq;
    int limit;
    bool oldest_first;
    struct journal_answer *answer;
};

struct journal {
    char *path;
    int lock_fd;
    size_t max_queue_bytes, max_reads;
    void (*wake)(void *arg);
    void *wake_arg;
    pthread_mutex_t lock; /* of everything below it */
    pthread_cond_t work, reads;
    struct journal_batch *batches, *last_batch;
    struct journal_query *queries, *last_query;
    struct journal_answer *answers, *last_answer;
    size_t queued_bytes, queued_reads;
    bool stopping;
    int broken;
    /* not shared */
    pthread_t write_thread, read_thread;
    struct journal_writer *writer;
    sqlite3 *reader;
};

/* ---- answers (journal.c) ---- */
struct journal_answer *journal_answer_create(journal_done *done, void *arg);
void journal_answer_destroy(struct journal_answer *a);
/* Gives a list of answers to the loop thread. [any-thread] */
void journal_give_answers(struct journal *j, struct journal_answer *first);

/* ---- writing (journal_write.c) [journal-thread] ---- */
/* Takes the connection over. */
HX_MUST_CHECK int journal_writer_create(sqlite3 *db, const char *path, struct journal_writer **out, char *err,
                                        size_t errlen);
void journal_writer_destroy(struct journal_writer *w);
/* Commits a list of batches in one transaction; a batch that cannot be written does not take others with it.
 * Fills the answers. Returns 0, or the negative errno after which the journal is broken. */
int journal_writer_commit(struct journal_writer *w, struct journal_batch *batches);
enum journal_checkpoint { JOURNAL_CHECKPOINT_IF_LONG, JOURNAL_CHECKPOINT_IDLE, JOURNAL_CHECKPOINT_LAST };
/* Moves the WAL into the file: after a commit when it is long enough, when idle, and at the end. As
 * journal_writer_commit(). */
int journal_writer_checkpoint(struct journal_writer *w, enum journal_checkpoint when);
/* True while the WAL holds what the file does not have. */
bool journal_writer_is_dirty(const struct journal_writer *w);

/* ---- reading (journal_read.c) [reading thread] ---- */
void journal_read_run(sqlite3 *db, const char *path, const struct journal_query *q, struct journal_answer *a);

#endif
