/* What a job may use up, counted from the last user message. */
#ifndef AGENT_LIMITS_H
#define AGENT_LIMITS_H

#include "agent/agent.h"

#define LIMITS_TURN_TOKENS_MAX (1 << 20) /* a generation where no limit was set */
#define LIMITS_CALLS_MAX       100000    /* of one job, whatever was set */

struct limits {
    struct agent_limits max;
    int turns, calls, tokens;
};

void limits_init(struct limits *l, const struct agent_limits *max);
/* A new user message: everything is counted anew. */
void limits_reset(struct limits *l);

/* Each counts one more; NULL, or the reason a job ends with and a sentence in `text` (a limit was crossed).
 */
const char *limits_turn(struct limits *l, char *text, size_t size);
const char *limits_call(struct limits *l, char *text, size_t size);
/* Tokens the next generation may have; 0 or less: none are left. */
int limits_tokens(const struct limits *l);
/* The reason for a generation that used up `limits_tokens()`, asked before its tokens were counted. */
const char *limits_token_reason(const struct limits *l, char *text, size_t size);

#endif
