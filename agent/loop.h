/* Calls that lead nowhere: the same one again, a few in a circle, one after the other without anything new.
 *
 * Two calls are the same when their tool and their arguments are: members in any order, numbers by value. The
 * same (call, result) is that with the same result, byte for byte as the model reads it. Counted from the
 * last user message; calls of pollers, and calls that only a limit of the turn kept from running, are left
 * out of everything here.
 *
 * - A (call, result) that came `max_identical_calls` times forbids the call for the rest of the job. What is
 *   generated under a grammar cannot contain it any more; where it comes all the same it is not run and the
 *   model is told, LOOP_REFUSALS_MAX times: the next one is "identical_calls". So is, within one turn, the
 *   same call beyond that number, before its results are known.
 * - The last calls are `max_cycle_repeats` times the same two, three or four (call, result): "loop_detected".
 * - The last `max_idle_calls` calls all failed or brought nothing new: "no_progress". Nothing new is the same
 *   (call, result) again, and from a tool that only reads also the same result of another call.
 *
 * The last two end the job only when the calls are of more than one turn, so that the model has read some of
 * the results. All is decided by the text of a turn and the results of earlier ones, never by which result
 * came first: so a job that is replayed from its journal takes the same way. */
#ifndef AGENT_LOOP_H
#define AGENT_LOOP_H

#include "agent/agent.h"

#include <stdint.h>

#define LOOP_REFUSALS_MAX 2
#define LOOP_PERIOD_MAX   4

struct loop_call; /* a tool and arguments */
struct loop_step; /* one that came, with its result */

struct loop {
    struct agent_limits max;
    struct loop_call *calls; /* all different ones */
    size_t n_calls, calls_cap;
    struct loop_step *steps; /* in call order */
    size_t n_steps, steps_cap;
    size_t *asked; /* calls of the running turn, in order: number in `calls`, or LOOP_LEFT_OUT */
    size_t n_asked, asked_cap;
    int refusals;
    size_t n_idle;  /* steps without anything new, up to the last one */
    int idle_since; /* turn of the first of them */
    struct agent_forbidden *forbidden;
    size_t n_forbidden, forbidden_cap;
};

void loop_init(struct loop *l, const struct agent_limits *max);
void loop_finish(struct loop *l);
/* A new user message: everything is forgotten. */
void loop_reset(struct loop *l);

/* A call of the running turn closed. *refused: it must not run, and `text` says why. Returns the reason that
 * the job ends with (then `text` says that), or NULL. *status is -ENOMEM when memory is out, else 0. */
const char *loop_ask(struct loop *l, const char *name, const char *arguments, bool *refused, int *status,
                     char *text, size_t size);
/* One that is left out. -ENOMEM. */
HX_MUST_CHECK int loop_leave_out(struct loop *l);

struct loop_result {
    const char *text;
    size_t len;
    bool failed, read_only;
};
/* The turn's calls are answered: their results, as many as were asked, in the same order. -ENOMEM. */
HX_MUST_CHECK int loop_answer(struct loop *l, int turn, const struct loop_result *results, size_t n);
/* The reason the job ends with after them and a sentence in `text`, or NULL. */
const char *loop_verdict(const struct loop *l, char *text, size_t size);

#endif
