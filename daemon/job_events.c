/* Events of one job, in order. One with a number waits until it is on disk, and whatever comes after it waits
 * behind it, so that every client sees the same order. */
#include "daemon/job.h"

#include <errno.h>
#include <stdlib.h>

/* Outputs of tools are up to 1 MiB, and JSON may write a byte as six. */
#define EVENT_MAX ((size_t)8 << 20)

struct job_item {
    struct job_item *next;
    int64_t seq; /* 0: live only */
    const char *type;
    char *json;
    size_t len;
};

void job_event_begin(struct job_event *e, struct job *job, const char *type, bool durable) {
    *e = (struct job_event){.job = job, .type = type, .seq = durable ? ++job->last_seq : 0};
    buf_init(&e->json, EVENT_MAX);
    json_writer_begin(&e->w, &e->json);
    json_object_begin(&e->w);
    json_key(&e->w, "type");
    json_string(&e->w, type);
    if (durable) {
        json_key(&e->w, "sequence_number");
        json_int(&e->w, e->seq);
    }
    json_key(&e->w, "job_id");
    json_string(&e->w, job->id);
}

static int keep_event(struct job_event *e) {
    struct journal_batch *batch = job_batch(e->job);
    if (batch == NULL) {
        return -ENOMEM;
    }
    journal_add_event(
        batch,
        &(struct journal_event){
            .job_id = e->job->id, .seq = e->seq, .type = e->type, .data = e->json.data, .len = e->json.len});
    e->job->urgent = true;
    return 0;
}

static int queue_event(struct job_event *e) {
    struct job_item *item = malloc(sizeof *item);
    if (item == NULL) {
        return -ENOMEM;
    }
    *item = (struct job_item){.seq = e->seq, .type = e->type};
    item->json = buf_take(&e->json, &item->len);
    if (item->json == NULL) {
        free(item);
        return -ENOMEM;
    }
    *e->job->items_end = item;
    e->job->items_end = &item->next;
    return 0;
}

void job_event_end(struct job_event *e) {
    struct job *job = e->job;
    json_object_end(&e->w);
    int rc = json_writer_end(&e->w);
    if (rc == 0 && e->seq > 0) {
        rc = keep_event(e);
    }
    if (rc == 0 && job->phase != JOB_ENDED && job->phase != JOB_LEFT && (e->seq > 0 || job_is_watched(job))) {
        rc = queue_event(e);
    }
    buf_finish(&e->json);
    if (rc != 0 && e->seq > 0) {
        job_abandon(job, "memory is out");
    } else if (e->seq == 0) {
        job_events_deliver(job);
    }
}

void job_events_deliver(struct job *job) {
    while (job->items != NULL && job->items->seq <= job->committed_seq) {
        struct job_item *item = job->items;
        job->items = item->next;
        if (job->items == NULL) {
            job->items_end = &job->items;
        }
        job_watch_send(job, item->seq, item->type, item->json, item->len);
        free(item->json);
        free(item);
    }
}

void job_events_free(struct job *job) {
    while (job->items != NULL) {
        struct job_item *item = job->items;
        job->items = item->next;
        free(item->json);
        free(item);
    }
    job->items_end = &job->items;
}
