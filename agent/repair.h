/* What stands between <tool_call> and its end becomes calls: one, several, or one with an error.
 *
 * What is normalised and what is refused is the table in agent/shapes.h. A block that is written as it should
 * be comes out byte for byte. Pure. [any-thread] */
#ifndef AGENT_REPAIR_H
#define AGENT_REPAIR_H

#include "agent/agent.h"
#include "agent/shapes.h"
#include "base/buf.h"

#define REPAIR_CALLS_MAX 64 /* of one block */
#define REPAIR_SHAPE     "Write {\"name\": <function-name>, \"arguments\": <args-dict>}."

/* The tools that names and types are looked up in. Borrowed. */
struct repair_tools {
    const struct agent_tool *all;
    size_t n;
};

struct repair_block {
    const char *raw; /* borrowed */
    size_t len;
    bool closed;                /* by its own </tool_call> */
    bool half_open;             /* its opening tag was cut: one call only */
    struct shapes_set repaired; /* what was noted about its frame */
};

struct repair_call {
    char *name;      /* owned; "" when there is none */
    char *arguments; /* owned; JSON text of an object; NULL when it cannot be read */
    char *error;     /* owned; one sentence for the model, NULL for a call that can run */
    struct shapes_set repaired;
};
struct repair_calls {
    struct repair_call *all;
    size_t n; /* at least one after success */
};

/* 0 or -ENOMEM. The caller ends `out` in every case. */
HX_MUST_CHECK int repair_read(const struct repair_block *block, const struct repair_tools *tools,
                              struct repair_calls *out);
void repair_finish(struct repair_calls *calls);

/* A whole message that is one call, or several, in a notation of other models: a wrapper such as
 * <function_call>, a fence, or nothing around it, and every tool exists. *row says which:
 * SHAPE_FOREIGN_WRAPPER, SHAPE_FENCED_CALL, SHAPE_BARE_CALL, or 50 for [TOOL_CALL]; 0 when it is none, and
 * `out` is empty then. -ENOMEM. */
HX_MUST_CHECK int repair_message(const char *text, size_t len, const struct repair_tools *tools,
                                 struct repair_calls *out, int *row);

/* JSON mode: the JSON value in an answer, without one fence or text around it. 0 with its place, and *taken
 * when something was taken off; -EINVAL when there is not exactly one. */
HX_MUST_CHECK int repair_answer(const char *text, size_t len, size_t *from, size_t *n, bool *taken);
/* The same as strict JSON, appended to `out`: in a fence or alone it may also be slightly wrong JSON, where
 * that loses nothing (agent/repair_json.h). What was done is noted in *repaired. -EINVAL with one sentence in
 * `why`; -ENOBUFS, -ENOMEM; `out` may hold a part then. */
HX_MUST_CHECK int repair_answer_json(const char *text, size_t len, struct buf *out,
                                     struct shapes_set *repaired, char *why, size_t whylen);

#endif
