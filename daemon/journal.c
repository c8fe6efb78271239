/* The journal as the loop thread sees it: queues in, answers out, and the two threads between. */
#include "daemon/journal_own.h"

#include "daemon/journal_db.h"
#include "daemon/journal_lock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_BYTES_DEFAULT ((size_t)64 << 20)
#define READS_DEFAULT       256
#define HARD_FACTOR         4 /* how far work of accepted jobs may go above the ceiling */
#define GROUP_BATCHES       1024
#define GROUP_BYTES         ((size_t)8 << 20)
#define IDLE_SECONDS        1 /* without a commit, until the WAL is moved into the file */

/* ---- answers ---- */

struct journal_answer *journal_answer_create(journal_done *done, void *arg) {
    struct journal_answer *a = calloc(1, sizeof *a);
    if (a == NULL)
        return NULL;
    a->done = done;
    a->arg = arg;
    a->result.err = a->err;
    return a;
}

void journal_answer_destroy(struct journal_answer *a) {
    if (a == NULL)
        return;
    journal_rows_finish(&a->rows);
    free(a);
}

void journal_give_answers(struct journal *j, struct journal_answer *first) {
    if (first == NULL)
        return;
    struct journal_answer *last = first;
    while (last->next != NULL)
        last = last->next;
    pthread_mutex_lock(&j->lock);
    if (j->last_answer != NULL)
        j->last_answer->next = first;
    else
        j->answers = first;
    j->last_answer = last;
    pthread_mutex_unlock(&j->lock);
    if (j->wake != NULL)
        j->wake(j->wake_arg);
}

void journal_dispatch(struct journal *j) {
    pthread_mutex_lock(&j->lock);
    struct journal_answer *a = j->answers;
    j->answers = j->last_answer = NULL;
    pthread_mutex_unlock(&j->lock);
    while (a != NULL) {
        struct journal_answer *next = a->next;
        journal_rows_show(&a->rows, &a->result);
        if (a->done != NULL)
            a->done(a->arg, &a->result);
        journal_answer_destroy(a);
        a = next;
    }
}

/* ---- the writing thread ---- */

/* Takes what one transaction shall hold off the queue; with the lock held. */
static struct journal_batch *take_group(struct journal *j, size_t *bytes) {
    struct journal_batch *first = j->batches, *last = first;
    *bytes = first->bytes;
    for (int n = 1; n < GROUP_BATCHES && last->next != NULL && *bytes + last->next->bytes <= GROUP_BYTES;
         n++) {
        last = last->next;
        *bytes += last->bytes;
    }
    j->batches = last->next;
    if (j->batches == NULL)
        j->last_batch = NULL;
    last->next = NULL;
    return first;
}

/* The answers of a group as one list; the batches are freed. */
static struct journal_answer *answers_of(struct journal_batch *b) {
    struct journal_answer *first = NULL, **end = &first;
    while (b != NULL) {
        struct journal_batch *next = b->next;
        *end = b->answer;
        end = &(*end)->next;
        journal_batch_destroy(b);
        b = next;
    }
    return first;
}

/* Keeps the first failure that nothing repairs; the loop thread is woken to see it. With the lock held. */
static void note_broken(struct journal *j, int rc) {
    if (rc == 0 || j->broken != 0)
        return;
    j->broken = rc;
    if (j->wake != NULL)
        j->wake(j->wake_arg);
}

static void wait_for_work(struct journal *j) {
    if (!journal_writer_is_dirty(j->writer) || j->broken != 0) {
        pthread_cond_wait(&j->work, &j->lock);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    if (pthread_cond_timedwait(&j->work, &j->lock, &until) != ETIMEDOUT || j->batches != NULL)
        return;
    pthread_mutex_unlock(&j->lock);
    int rc = journal_writer_checkpoint(j->writer, JOURNAL_CHECKPOINT_IDLE);
    pthread_mutex_lock(&j->lock);
    note_broken(j, rc);
}

static void *write_main(void *arg) {
    struct journal *j = arg;
    pthread_mutex_lock(&j->lock);
    for (;;) {
        while (j->batches == NULL && !j->stopping)
            wait_for_work(j);
        if (j->batches == NULL)
            break;
        size_t bytes;
        struct journal_batch *group = take_group(j, &bytes);
        pthread_mutex_unlock(&j->lock);
        int broken = journal_writer_commit(j->writer, group);
        struct journal_answer *answers = answers_of(group);
        pthread_mutex_lock(&j->lock);
        j->queued_bytes -= bytes;
        note_broken(j, broken);
        pthread_mutex_unlock(&j->lock);
        journal_give_answers(j, answers);
        broken = journal_writer_checkpoint(j->writer, JOURNAL_CHECKPOINT_IF_LONG);
        pthread_mutex_lock(&j->lock);
        note_broken(j, broken);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

int journal_submit(struct journal *j, struct journal_batch *b, journal_done *done, void *arg) {
    if (b->status < 0) {
        int rc = b->status;
        journal_batch_destroy(b);
        return rc;
    }
    struct journal_answer *answer = journal_answer_create(done, arg);
    b->answer = answer;
    b->bytes += sizeof *answer;
    b->next = NULL;
    pthread_mutex_lock(&j->lock);
    size_t ceiling = b->accepts ? j->max_queue_bytes : j->max_queue_bytes * HARD_FACTOR;
    int rc = answer == NULL                         ? -ENOMEM
             : j->stopping                          ? -ESHUTDOWN
             : j->broken != 0                       ? -EIO
             : j->queued_bytes + b->bytes > ceiling ? -EAGAIN
                                                    : 0;
    if (rc == 0) {
        if (j->last_batch != NULL)
            j->last_batch->next = b;
        else
            j->batches = b;
        j->last_batch = b;
        j->queued_bytes += b->bytes;
        pthread_cond_signal(&j->work);
    }
    pthread_mutex_unlock(&j->lock);
    if (rc < 0) {
        journal_answer_destroy(answer);
        journal_batch_destroy(b);
    }
    return rc;
}

void journal_batch_chain(struct journal_batch *b, struct journal_chain *chain) {
    b->chain = chain;
}

size_t journal_queued_bytes(struct journal *j) {
    pthread_mutex_lock(&j->lock);
    size_t bytes = j->queued_bytes;
    pthread_mutex_unlock(&j->lock);
    return bytes;
}

int journal_broken(struct journal *j) {
    pthread_mutex_lock(&j->lock);
    int broken = j->broken;
    pthread_mutex_unlock(&j->lock);
    return broken;
}

/* ---- the reading thread ---- */

static void query_destroy(struct journal_query *q) {
    if (q == NULL)
        return;
    free(q->job_id);
    free(q->status);
    free(q->match);
    free(q->kind);
    journal_answer_destroy(q->answer);
    free(q);
}

static void *read_main(void *arg) {
    struct journal *j = arg;
    pthread_mutex_lock(&j->lock);
    for (;;) {
        while (j->queries == NULL && !j->stopping)
            pthread_cond_wait(&j->reads, &j->lock);
        struct journal_query *q = j->queries;
        if (q == NULL)
            break;
        j->queries = q->next;
        if (j->queries == NULL)
            j->last_query = NULL;
        pthread_mutex_unlock(&j->lock);
        journal_read_run(j->reader, j->path, q, q->answer);
        struct journal_answer *answer = q->answer;
        q->answer = NULL;
        query_destroy(q);
        journal_give_answers(j, answer);
        pthread_mutex_lock(&j->lock);
        j->queued_reads--;
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

static bool copy_text(char **to, const char *from) {
    if (from == NULL)
        return true;
    *to = strdup(from);
    return *to != NULL;
}

static int ask(struct journal *j, const struct journal_query *wanted, journal_done *done, void *arg) {
    struct journal_query *q = malloc(sizeof *q);
    if (q == NULL)
        return -ENOMEM;
    *q = *wanted;
    q->job_id = q->status = q->match = q->kind = NULL;
    q->answer = journal_answer_create(done, arg);
    if (q->answer == NULL || !copy_text(&q->job_id, wanted->job_id) ||
        !copy_text(&q->status, wanted->status) || !copy_text(&q->match, wanted->match) ||
        !copy_text(&q->kind, wanted->kind)) {
        query_destroy(q);
        return -ENOMEM;
    }
    pthread_mutex_lock(&j->lock);
    int rc = j->stopping ? -ESHUTDOWN : j->queued_reads >= j->max_reads ? -EAGAIN : 0;
    if (rc == 0) {
        if (j->last_query != NULL)
            j->last_query->next = q;
        else
            j->queries = q;
        j->last_query = q;
        j->queued_reads++;
        pthread_cond_signal(&j->reads);
    }
    pthread_mutex_unlock(&j->lock);
    if (rc < 0)
        query_destroy(q);
    return rc;
}

/* `ask` copies the texts, so they may be borrowed here. */
int journal_read_jobs(struct journal *j, const struct journal_jobs_query *query, journal_done *done,
                      void *arg) {
    struct journal_query q = {.type = JOURNAL_QUERY_JOBS,
                              .job_id = (char *)(uintptr_t)query->after,
                              .status = (char *)(uintptr_t)query->status,
                              .match = (char *)(uintptr_t)query->match,
                              .kind = (char *)(uintptr_t)query->kind,
                              .client_uid = query->client_uid,
                              .limit = query->limit < 1      ? 1
                                       : query->limit > 1000 ? 1000
                                                             : query->limit,
                              .oldest_first = query->oldest_first};
    return ask(j, &q, done, arg);
}

int journal_read_job(struct journal *j, const char *job_id, journal_done *done, void *arg) {
    struct journal_query q = {.type = JOURNAL_QUERY_JOB, .job_id = (char *)(uintptr_t)job_id};
    return ask(j, &q, done, arg);
}

int journal_read_events(struct journal *j, const char *job_id, int64_t after, int limit, journal_done *done,
                        void *arg) {
    struct journal_query q = {.type = JOURNAL_QUERY_EVENTS,
                              .job_id = (char *)(uintptr_t)job_id,
                              .after_seq = after,
                              .limit = limit < 1 ? 1 : limit};
    return ask(j, &q, done, arg);
}

int journal_read_trace(struct journal *j, const char *job_id, journal_done *done, void *arg) {
    struct journal_query q = {.type = JOURNAL_QUERY_TRACE, .job_id = (char *)(uintptr_t)job_id};
    return ask(j, &q, done, arg);
}

int journal_read_counts(struct journal *j, journal_done *done, void *arg) {
    struct journal_query q = {.type = JOURNAL_QUERY_COUNTS};
    return ask(j, &q, done, arg);
}

int journal_read_durations(struct journal *j, journal_done *done, void *arg) {
    struct journal_query q = {.type = JOURNAL_QUERY_DURATIONS};
    return ask(j, &q, done, arg);
}

/* ---- opening and closing ---- */

static void free_all(struct journal *j) {
    journal_writer_destroy(j->writer);
    sqlite3_close(j->reader);
    if (j->lock_fd >= 0)
        close(j->lock_fd);
    pthread_cond_destroy(&j->work);
    pthread_cond_destroy(&j->reads);
    pthread_mutex_destroy(&j->lock);
    free(j->path);
    free(j);
}

static int open_files(struct journal *j, const char *state_dir, char *err, size_t errlen) {
    int rc = journal_lock_take(state_dir, &j->lock_fd, err, errlen);
    if (rc < 0)
        return rc;
    if (asprintf(&j->path, "%s/hermesd.db", state_dir) < 0) {
        j->path = NULL;
        return err_set(err, errlen, -ENOMEM, "Not enough memory to open the journal.");
    }
    sqlite3 *db = NULL;
    rc = journal_db_open_writer(j->path, &db, err, errlen);
    if (rc == 0)
        rc = journal_writer_create(db, j->path, &j->writer, err, errlen);
    if (rc == 0)
        rc = journal_db_open_reader(j->path, &j->reader, err, errlen);
    return rc;
}

/* Signals are the loop thread's. */
static int start_threads(struct journal *j, char *err, size_t errlen) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&j->write_thread, NULL, write_main, j);
    if (rc == 0) {
        rc = pthread_create(&j->read_thread, NULL, read_main, j);
        if (rc != 0) {
            pthread_mutex_lock(&j->lock);
            j->stopping = true;
            pthread_cond_broadcast(&j->work);
            pthread_mutex_unlock(&j->lock);
            pthread_join(j->write_thread, NULL);
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? 0
                   : err_set(err, errlen, -rc, "The journal's threads cannot be started: %s.", strerror(rc));
}

int journal_open(const struct journal_config *config, struct journal **out, char *err, size_t errlen) {
    struct journal *j = calloc(1, sizeof *j);
    if (j == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory to open the journal.");
    j->lock_fd = -1;
    j->max_queue_bytes = config->max_queue_bytes != 0 ? config->max_queue_bytes : QUEUE_BYTES_DEFAULT;
    j->max_reads = config->max_reads != 0 ? config->max_reads : READS_DEFAULT;
    j->wake = config->wake;
    j->wake_arg = config->wake_arg;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->work, &monotonic);
    pthread_cond_init(&j->reads, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int rc = open_files(j, config->state_dir, err, errlen);
    if (rc == 0)
        rc = start_threads(j, err, errlen);
    if (rc < 0) {
        free_all(j);
        return rc;
    }
    *out = j;
    return 0;
}

void journal_close(struct journal *j) {
    if (j == NULL)
        return;
    pthread_mutex_lock(&j->lock);
    j->stopping = true;
    pthread_cond_broadcast(&j->work);
    pthread_cond_broadcast(&j->reads);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->write_thread, NULL);
    pthread_join(j->read_thread, NULL);
    journal_dispatch(j);
    free_all(j);
}

int journal_recover(struct journal *j, int (*each)(void *arg, const struct journal_result *job), void *arg,
                    char *err, size_t errlen) {
    sqlite3 *db = NULL;
    int rc = journal_db_open_reader(j->path, &db, err, errlen);
    struct journal_answer *live = journal_answer_create(NULL, NULL);
    if (rc == 0 && live == NULL)
        rc = err_set(err, errlen, -ENOMEM, "Not enough memory to read the journal.");
    if (rc == 0) {
        struct journal_query q = {.type = JOURNAL_QUERY_LIVE};
        journal_read_run(db, j->path, &q, live);
        rc = live->result.status;
        if (rc < 0)
            err_set(err, errlen, rc, "%s", live->err);
    }
    for (size_t i = 0; rc == 0 && i < live->rows.n_jobs; i++) {
        struct journal_answer *job = journal_answer_create(NULL, NULL);
        if (job == NULL) {
            rc = err_set(err, errlen, -ENOMEM, "Not enough memory to read the journal.");
            break;
        }
        struct journal_query q = {.type = JOURNAL_QUERY_TRACE,
                                  .job_id = (char *)(uintptr_t)live->rows.jobs[i].id};
        journal_read_run(db, j->path, &q, job);
        journal_rows_show(&job->rows, &job->result);
        rc = job->result.status < 0 ? err_set(err, errlen, job->result.status, "%s", job->err)
                                    : each(arg, &job->result);
        journal_answer_destroy(job);
    }
    journal_answer_destroy(live);
    sqlite3_close(db);
    return rc;
}
