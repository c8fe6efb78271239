/* The agent's events, waiting to be taken. Each is copied on the way in; pieces of one text are joined while
 * they wait. */
#ifndef AGENT_EVENTS_H
#define AGENT_EVENTS_H

#include "agent/agent.h"

#define EVENTS_BYTES_MAX (16u * 1024 * 1024)

struct events_node;
struct events {
    struct events_node *first, *last;
    struct events_node *taken; /* the one that was handed out last */
    size_t bytes;              /* of all that wait */
};

void agent_events_init(struct events *q);
void agent_events_finish(struct events *q);
/* Copies the event with its texts (`len` bytes of `text`; the others are strings; `section` is static and is
 * not copied). -ENOBUFS when EVENTS_BYTES_MAX wait already, -ENOMEM. */
HX_MUST_CHECK int agent_events_push(struct events *q, const struct agent_event *event);
/* The oldest one; false when there is none. Its texts live until the next call, or agent_events_release(). */
bool agent_events_take(struct events *q, struct agent_event *event);
void agent_events_release(struct events *q);

#endif
