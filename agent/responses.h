/* The tool turn behind the model's turn, rendered as far as the results are known. */
#ifndef AGENT_RESPONSES_H
#define AGENT_RESPONSES_H

#include "agent/calls.h"
#include "agent/render.h"

/* Zeroed: not begun. */
struct responses {
    bool begun;
    size_t n_rendered; /* calls whose result stands in it */
    size_t n_taken;    /* spans of it that responses_take() gave out */
};

/* Renders what is known by now, one response per call, in call order. It stops before a result, where a span
 * ends in any case, so that the spans are the same as if all had been known at once. */
void responses_render(struct responses *p, struct render *r, const struct calls *calls);
/* All spans so far when there are more than the last time (1), else 0; a status of render_spans(). */
HX_MUST_CHECK int responses_take(struct responses *p, struct render *r, const struct agent_span **spans,
                                 size_t *n);
/* The rest of it: all calls are answered. */
void responses_end(struct responses *p, struct render *r, const struct calls *calls);

#endif
