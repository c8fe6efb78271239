/* Whether a turn without a call needs one more word to the model: it announced a call and made none, or it
 * said nothing behind a result. Careful on purpose: a nudge costs a turn. Pure. [any-thread] */
#ifndef AGENT_NUDGE_H
#define AGENT_NUDGE_H

#include "agent/agent.h"

/* What the user's turn says then (static); NULL for none. `calls`: made since the last message of the user.
 */
const char *nudge_text(const char *answer, size_t len, const struct agent_tool *tools, size_t n_tools,
                       int calls);

#endif
