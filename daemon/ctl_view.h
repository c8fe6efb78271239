/* What a person sees of a running job: plans dim, calls with arguments, results and milliseconds, then the
 * answer. One thread. Events as api.md has them; unknown ones are skipped. */
#ifndef DAEMON_CTL_VIEW_H
#define DAEMON_CTL_VIEW_H

#include "daemon/ctl.h"

struct ctl_view {
    struct ctl *ctl;    /* borrowed */
    bool live;          /* text is shown as it comes, not only when it is whole */
    bool answer_live;   /* the same for the answer: standard output is a terminal */
    const char *open;   /* "reasoning", "message" or NULL: the part that is being shown */
    int turn, position; /* of that part */
    bool line_start;    /* its next byte begins a line */
    struct buf shown;   /* its text so far */
    struct buf held;    /* a whole message that may be the answer */
    bool held_shown;    /* it was shown as it came */
    bool has_held;
};

void ctl_view_init(struct ctl_view *v, struct ctl *ctl);
void ctl_view_finish(struct ctl_view *v);
/* A connection broke: what was half shown will come whole. */
void ctl_view_break(struct ctl_view *v);
void ctl_view_event(struct ctl_view *v, const char *type, const cJSON *event);
/* What is to be said about a result: its citations, a line each, and that it announces a call which was not
 * made. */
void ctl_view_notes(struct ctl_term *t, const cJSON *result);
/* The job ended: the answer, or why there is none. */
void ctl_view_end(struct ctl_view *v, const cJSON *job);

#endif
