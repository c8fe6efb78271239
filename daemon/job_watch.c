/* Event streams. A watch first reads what the journal has, page by page, then goes on live; the change from
 * one to the other happens between two events, so that nothing is lost or sent twice. */
#include "daemon/job.h"
#include "daemon/jobs_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WATCHES_MAX 32 /* of one job */
#define PAGE_EVENTS 256
#define PAUSE_BYTES (512u << 10) /* a client that has not read so much yet gets its next page later */
#define PAUSE_MS    20

struct job_watch {
    struct jobs *jobs;
    struct job_watch *prev, *next; /* in jobs->watches or, live, in job->watches */
    struct job *live;              /* NULL: reads from the journal */
    struct http_stream *stream;    /* NULL: gone, waits for a read to come back */
    char job_id[JOB_ID_SIZE];
    int64_t sent; /* number of the last event that was sent */
    bool reading; /* a page is on its way */
    bool last;    /* it was asked for when the job had ended: nothing can come after it */
    uv_timer_t pause;
};

static void link_to(struct job_watch **list, struct job_watch *watch) {
    watch->prev = NULL;
    watch->next = *list;
    if (watch->next != NULL) {
        watch->next->prev = watch;
    }
    *list = watch;
}

static void unlink_from(struct job_watch *watch) {
    struct job_watch **list = watch->live != NULL ? &watch->live->watches : &watch->jobs->watches;
    if (watch->prev != NULL) {
        watch->prev->next = watch->next;
    } else {
        *list = watch->next;
    }
    if (watch->next != NULL) {
        watch->next->prev = watch->prev;
    }
    if (watch->live != NULL) {
        watch->live->n_watches--;
        watch->live = NULL;
    }
    watch->prev = watch->next = NULL;
}

static void on_pause_closed(uv_handle_t *handle) {
    free(handle->data);
}

/* The stream is gone already. */
static void drop(struct job_watch *watch) {
    unlink_from(watch);
    uv_close((uv_handle_t *)&watch->pause, on_pause_closed);
}

static void finish(struct job_watch *watch) {
    http_stream_end(watch->stream);
    watch->stream = NULL;
    drop(watch);
}

static void on_client_left(struct http_stream *stream, void *arg) {
    (void)stream;
    struct job_watch *watch = arg;
    watch->stream = NULL;
    if (!watch->reading) {
        drop(watch);
    }
}

static void break_off(struct job_watch *watch, const char *code, const char *message) {
    struct buf json;
    struct json_writer w;
    buf_init(&json, 4096);
    json_writer_begin(&w, &json);
    json_object_begin(&w);
    json_key(&w, "type");
    json_string(&w, "error");
    json_key(&w, "error");
    json_object_begin(&w);
    json_key(&w, "message");
    json_string(&w, message);
    json_key(&w, "type");
    json_string(&w, "server_error");
    json_key(&w, "param");
    json_null(&w);
    json_key(&w, "code");
    json_string(&w, code);
    json_object_end(&w);
    json_object_end(&w);
    if (json_writer_end(&w) == 0) {
        (void)!http_stream_event(watch->stream, HTTP_EVENT_PLAIN, "error", json.data, json.len);
    }
    buf_finish(&json);
    finish(watch);
}

static void read_page(struct job_watch *watch);

static void on_pause(uv_timer_t *timer) {
    read_page(timer->data);
}

/* All pages are sent: live, if the job still is. */
static void go_on(struct job_watch *watch) {
    struct job *job = jobs_find(watch->jobs, watch->job_id);
    if (job == NULL && watch->last) {
        finish(watch);
    } else if (job == NULL) {
        read_page(watch);
    } else if (job->committed_seq > watch->sent) {
        read_page(watch);
    } else {
        unlink_from(watch);
        watch->live = job;
        job->n_watches++;
        link_to(&job->watches, watch);
    }
}

static void on_page(void *arg, const struct journal_result *result) {
    struct job_watch *watch = arg;
    watch->reading = false;
    if (watch->stream == NULL) {
        drop(watch);
        return;
    }
    if (watch->jobs->suspended) {
        break_off(watch, "shutting_down", "the daemon is stopping; reconnect with Last-Event-ID");
        return;
    }
    if (result->status != 0 && result->status != -ENOENT) {
        break_off(watch, "internal_error", result->err);
        return;
    }
    for (size_t i = 0; i < result->n_events; i++) {
        const struct journal_event *event = &result->events[i];
        if (http_stream_event(watch->stream, event->seq, event->type, event->data, event->len) != 0) {
            return; /* closing: on_client_left comes */
        }
        watch->sent = event->seq;
    }
    if (result->has_more) {
        read_page(watch);
    } else {
        go_on(watch);
    }
}

static void read_page(struct job_watch *watch) {
    if (watch->stream == NULL) {
        return;
    }
    if (http_stream_queued(watch->stream) > PAUSE_BYTES) {
        uv_timer_start(&watch->pause, on_pause, PAUSE_MS, 0);
        return;
    }
    watch->last = jobs_find(watch->jobs, watch->job_id) == NULL;
    int rc = journal_read_events(watch->jobs->config.journal, watch->job_id, watch->sent, PAGE_EVENTS,
                                 on_page, watch);
    watch->reading = rc == 0;
    if (rc != 0) {
        break_off(watch, "internal_error", "the journal is busy; reconnect with Last-Event-ID");
    }
}

void jobs_watch(struct jobs *jobs, struct http_request *req, enum http_stream_kind kind, const char *id,
                int64_t after) {
    struct job *job = jobs_find(jobs, id);
    if (job != NULL && job->n_watches >= WATCHES_MAX) {
        http_reply_error(req, 429, "invalid_request_error", "quota_exceeded", NULL,
                         "the job has %d watchers already", WATCHES_MAX);
        return;
    }
    struct job_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) {
        http_reply_error(req, 500, "server_error", "internal_error", NULL, "memory is out");
        return;
    }
    watch->jobs = jobs;
    watch->sent = after;
    strncpy(watch->job_id, id, sizeof watch->job_id - 1);
    watch->stream = http_stream_begin(req, kind, on_client_left, watch);
    if (watch->stream == NULL) {
        free(watch);
        return;
    }
    uv_timer_init(jobs->config.loop, &watch->pause);
    watch->pause.data = watch;
    link_to(&jobs->watches, watch);
    read_page(watch);
}

bool job_is_watched(const struct job *job) {
    return job->watches != NULL;
}

void job_watch_send(struct job *job, int64_t seq, const char *type, const char *json, size_t len) {
    struct job_watch *next = NULL;
    for (struct job_watch *watch = job->watches; watch != NULL; watch = next) {
        next = watch->next;
        if (seq > 0 && seq <= watch->sent) {
            continue;
        }
        /* A client that left or is too slow is dropped by its callback, from the loop. */
        (void)!http_stream_event(watch->stream, seq > 0 ? seq : HTTP_EVENT_DELTA, type, json, len);
        watch->sent = seq > 0 ? seq : watch->sent;
    }
}

void job_watch_end(struct job *job) {
    while (job->watches != NULL) {
        finish(job->watches);
    }
}

void job_watch_break(struct job *job, const char *code, const char *message) {
    while (job->watches != NULL) {
        break_off(job->watches, code, message);
    }
}
