/* The calls of one turn, in call order, each with what the model is told about it. */
#ifndef AGENT_CALLS_H
#define AGENT_CALLS_H

#include "agent/agent.h"
#include "base/buf.h"

#include <stdbool.h>

enum calls_state { CALLS_READY, CALLS_RUNNING, CALLS_ANSWERED };

struct calls_one {
    int number;
    enum calls_state state;
    char *name, *arguments;
    struct buf body; /* of its <tool_response>, once answered */
    bool failed;     /* it is answered with an error */
};

struct calls {
    enum agent_profile profile;
    size_t max_result_bytes;
    struct calls_one *all;
    size_t n, cap;
    size_t n_open;     /* not answered */
    size_t next_ready; /* none before this one is ready */
};

void calls_init(struct calls *c, enum agent_profile profile, size_t max_result_bytes);
void calls_finish(struct calls *c);
/* Forgets all calls: a new turn. */
void calls_clear(struct calls *c);

/* Adds a call that is to run, or, with `error`, one that is answered already. -ENOMEM, -ENOBUFS. */
HX_MUST_CHECK int calls_add(struct calls *c, int number, const char *name, const char *arguments,
                            const char *error);
/* Whether one is running. */
bool calls_running(const struct calls *c);
/* The next call to start, which is running from now on; NULL for none. */
const struct calls_one *calls_start(struct calls *c);
/* The result of a running call. -EINVAL when this call is not running; -ENOMEM. */
HX_MUST_CHECK int calls_answer(struct calls *c, int number, enum agent_result status, const char *text,
                               size_t len);

/* What the model is told of a call that does not run: that no tool has its name (with the names there are, as
 * many as fit); that its tool takes none that was repaired, by these rows of agent/shapes.h. */
void calls_say_unknown(const struct agent_tool *tools, size_t n_tools, const char *name, char *text,
                       size_t size);
void calls_say_strict(const char *name, const char *repaired, char *text, size_t size);

#endif
