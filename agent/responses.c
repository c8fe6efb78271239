#include "agent/responses.h"

void responses_render(struct responses *p, struct render *r, const struct calls *calls) {
    if (!p->begun) {
        p->begun = true;
        render_clear(r);
        render_responses_begin(r);
        render_response_open(r);
    }
    while (p->n_rendered < calls->n && calls->all[p->n_rendered].state == CALLS_ANSWERED) {
        const struct calls_one *one = &calls->all[p->n_rendered++];
        render_response_close(r, one->body.data, one->body.len);
        if (p->n_rendered < calls->n)
            render_response_open(r);
    }
}

int responses_take(struct responses *p, struct render *r, const struct agent_span **spans, size_t *n) {
    int rc = render_spans(r, spans, n);
    if (rc < 0 || *n <= p->n_taken)
        return rc;
    p->n_taken = *n;
    return 1;
}

void responses_end(struct responses *p, struct render *r, const struct calls *calls) {
    responses_render(p, r, calls);
    render_responses_end(r, true);
    *p = (struct responses){0};
}
