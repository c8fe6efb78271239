#include "agent/events.h"

#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct events_node {
    struct events_node *next;
    struct agent_event event; /* all strings but `text` and `section` are owned */
    struct buf text;
};

void agent_events_init(struct events *q) {
    *q = (struct events){0};
}

static void node_destroy(struct events_node *n) {
    if (n == NULL)
        return;
    buf_finish(&n->text);
    free((char *)n->event.name);
    free((char *)n->event.arguments);
    free((char *)n->event.raw);
    free((char *)n->event.error);
    free((char *)n->event.repaired);
    free(n);
}

void agent_events_release(struct events *q) {
    node_destroy(q->taken);
    q->taken = NULL;
}

void agent_events_finish(struct events *q) {
    agent_events_release(q);
    while (q->first != NULL) {
        struct events_node *n = q->first;
        q->first = n->next;
        node_destroy(n);
    }
    *q = (struct events){0};
}

static size_t size_of(const struct agent_event *e) {
    return sizeof(struct events_node) + e->len + (e->name ? strlen(e->name) : 0) +
           (e->arguments ? strlen(e->arguments) : 0) + (e->raw ? strlen(e->raw) : 0) +
           (e->error ? strlen(e->error) : 0) + (e->repaired ? strlen(e->repaired) : 0);
}

/* *out is a copy, or NULL for NULL; false when memory is out. */
static bool copy(const char *text, const char **out) {
    *out = text != NULL ? strdup(text) : NULL;
    return text == NULL || *out != NULL;
}

static struct events_node *node_create(const struct agent_event *e) {
    struct events_node *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    n->event = *e;
    n->event.name = n->event.arguments = n->event.raw = n->event.error = n->event.repaired = NULL;
    buf_init(&n->text, EVENTS_BYTES_MAX);
    if (buf_append(&n->text, e->text != NULL ? e->text : "", e->len) == 0 && copy(e->name, &n->event.name) &&
        copy(e->arguments, &n->event.arguments) && copy(e->raw, &n->event.raw) &&
        copy(e->error, &n->event.error) && copy(e->repaired, &n->event.repaired))
        return n;
    node_destroy(n);
    return NULL;
}

static bool is_piece_of(const struct agent_event *e, const struct agent_event *before) {
    return (e->type == AGENT_EVENT_MESSAGE_DELTA || e->type == AGENT_EVENT_REASONING_DELTA) &&
           e->type == before->type && e->turn == before->turn && e->position == before->position;
}

int agent_events_push(struct events *q, const struct agent_event *event) {
    size_t size = size_of(event);
    if (size > EVENTS_BYTES_MAX - q->bytes)
        return -ENOBUFS;
    if (q->last != NULL && is_piece_of(event, &q->last->event)) {
        int rc = buf_append(&q->last->text, event->text, event->len);
        if (rc == 0) {
            q->bytes += event->len;
            q->last->event.len += event->len;
        }
        return rc;
    }
    struct events_node *n = node_create(event);
    if (n == NULL)
        return -ENOMEM;
    if (q->last != NULL)
        q->last->next = n;
    else
        q->first = n;
    q->last = n;
    q->bytes += size;
    return 0;
}

bool agent_events_take(struct events *q, struct agent_event *event) {
    agent_events_release(q);
    struct events_node *n = q->first;
    if (n == NULL)
        return false;
    q->first = n->next;
    if (q->first == NULL)
        q->last = NULL;
    q->bytes -= size_of(&n->event);
    q->taken = n;
    *event = n->event;
    event->text = n->text.data != NULL ? n->text.data : "";
    return true;
}
