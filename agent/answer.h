/* JSON mode: what a turn ended with becomes JSON that fits the job's schema, or a sentence for the model.
 *
 * Notation that loses nothing is normalised (agent/repair.h); everything else is told, and the model writes
 * again, ANSWER_TRIES times in all between two messages of the user. Pure. One thread at a time. */
#ifndef AGENT_ANSWER_H
#define AGENT_ANSWER_H

#include "agent/agent.h"
#include "agent/shapes.h"
#include "base/buf.h"

#define ANSWER_TRIES     3
#define ANSWER_BYTES_MAX (1024u * 1024)
#define ANSWER_DEPTH_MAX 60 /* a client reads it inside other objects */

struct answer {
    bool on;
    bool in_system;              /* agent_answer.in_system */
    char *prompt_schema;         /* owned; NULL: the model is shown none */
    const struct schema *schema; /* borrowed */
    int failures;
    struct buf json; /* of the last turn, when it fits */
    char repaired[SHAPES_NAMES_SIZE];
    char why[600]; /* when it does not */
};

/* `config` NULL: answers are text. -EINVAL for a schema that is no JSON object; -ENOMEM. The caller ends it
 * in every case. */
HX_MUST_CHECK int answer_init(struct answer *a, const struct agent_answer *config, char *err, size_t errlen);
void answer_finish(struct answer *a);
/* Reads the text of a turn: 0 with `json` and `repaired`; -EINVAL with `why`; -ENOMEM. */
HX_MUST_CHECK int answer_read(struct answer *a, const char *text, size_t len);
/* After a failed answer_read(): appends what the model is told. False: it was told often enough. -ENOBUFS,
 * -ENOMEM in *status. */
bool answer_again(struct answer *a, struct buf *out, int *status);

#endif
