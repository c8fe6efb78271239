/* Plays a conversation against an agent and writes down what it asked for and what it told. */
#ifndef TESTS_AGENT_SCRIPT_H
#define TESTS_AGENT_SCRIPT_H

#include "agent/agent.h"
#include "base/buf.h"

enum script_op_type { SCRIPT_END_OF_SCRIPT, SCRIPT_SAY, SCRIPT_END, SCRIPT_RESULT, SCRIPT_MESSAGE };
struct script_op {
    enum script_op_type type;
    const char *text;
    enum agent_finish finish;
    int call;
    enum agent_result status;
};
#define SAY(words)                                                                                           \
    { .type = SCRIPT_SAY, .text = words }
#define END(how)                                                                                             \
    { .type = SCRIPT_END, .finish = AGENT_FINISH_##how }
#define RESULT(n, how, words)                                                                                \
    { .type = SCRIPT_RESULT, .call = n, .status = AGENT_RESULT_##how, .text = words }
#define MESSAGE(words)                                                                                       \
    { .type = SCRIPT_MESSAGE, .text = words }

/* The tools of the scripts: add, echo, and poll, which is a poller. */
extern const struct agent_tool script_tools[3];

/* An agent with these tools, the default limits (or `limits`) and one user message "Hi". */
struct agent *script_agent(const struct agent_limits *limits);

/* Plays the operations, the model's text in pieces of `piece` bytes (0: whole, each byte one token). Steps,
 * separated by '\n': GENERATE turn max_tokens        and, from the second turn on, the text of its spans with
 * '\n' as it is CALL turn.call name arguments STOP / DONE text / FAILED reason Events, one line each: MESSAGE
 * turn.position text      REASONING turn.position section text (~ when truncated) CALL turn.position call
 * name arguments [! error]     REHEARSED turn.position section name arguments Pieces of text are joined and
 * compared with the whole. The caller frees both with buf_finish(). */
void script_play(struct agent *a, const struct script_op *ops, size_t piece, struct buf *steps,
                 struct buf *events);

/* Plays with several cuts of the text on fresh agents; all must give these steps and events (NULL: not
 * compared). */
void script_expect(const struct agent_limits *limits, const struct script_op *ops, const char *steps,
                   const char *events);

#endif
