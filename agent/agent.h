/* One conversation as a pure state machine: text and results in, the next step out.
 *
 * No I/O, no threads, no clock, no engine: whoever drives it (daemon/job.c, a test) asks agent_next() what to
 * do, does it, and feeds what came of it. Feeding the same inputs again gives the same steps; that is how a
 * job goes on after a crash. One thread at a time. All pointers handed out are the agent's and valid until
 * the next call that feeds it, unless said otherwise. The prompt format is agent/render.h, the scanner of the
 * model's output agent/scanner.h.
 *
 *   agent_create → agent_start → loop { agent_next → do it → agent_feed_… } → agent_destroy
 *
 * Reasons a job fails with: "max_turns", "max_tool_calls", "max_output_tokens", "turn_too_long",
 * "identical_calls", "loop_detected", "no_progress" (limits, agent/loop.h), "context_full", "empty_answer" (a
 * turn without a call and without visible text), "invalid_answer" (it was to be JSON), "cancelled" (the
 * generation was, and not for AGENT_STEP_STOP), "too_large" and "out_of_memory".
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct agent;

/* ---- what a conversation is made of ---- */

struct agent_tool {
    const char *name;
    const char *description;
    const char *schema; /* JSON Schema of the arguments object, JSON text */
    bool poller;        /* repeating it with the same arguments is its purpose: left out of agent/loop.h */
    bool read_only;     /* changes nothing: a result that it gave before is nothing new */
    bool strict;        /* takes only calls that are written exactly: what was repaired is refused */
};

enum agent_profile {
    AGENT_PROFILE_STABLE,   /* append-only, everything escaped: the default */
    AGENT_PROFILE_HF_COMPAT /* byte-equal to the published Hermes 3 tool_use template, for evaluation */
};

/* Each limit ends the job with its own reason. 0 = no limit. All but max_result_bytes count from the last
 * user message. A call counts when it closes, whether it can run or not. */
struct agent_limits {
    int max_turns;           /* generations: "max_turns" */
    int max_calls;           /* tool calls: "max_tool_calls" */
    int max_calls_per_turn;  /* further calls of the turn are answered with an error, not run */
    int max_output_tokens;   /* generated over all turns: "max_output_tokens" */
    int max_turn_tokens;     /* generated in one turn: "turn_too_long" */
    int max_identical_calls; /* same name, arguments and result: then the call is forbidden, and
                                "identical_calls" when it comes all the same */
    int max_cycle_repeats;   /* of two to four calls with their results, 2 or more: "loop_detected" */
    int max_idle_calls;      /* one after the other that failed or gave nothing new: "no_progress" */
    size_t max_result_bytes; /* a longer result is cut and marked "truncated" before the model sees it; 0 = 32
                                KiB */
};
extern const struct agent_limits agent_limits_default;

/* Something to answer from and to cite. */
struct agent_document {
    const char *id, *text;
};

struct schema;
/* JSON mode: what the answer must be. */
struct agent_answer {
    const char *prompt_schema;   /* a JSON object that the model is shown, copied; NULL: it is told "JSON" */
    bool in_system;              /* the system text says all that already: nothing is added to the prompt */
    const struct schema *schema; /* what is checked; borrowed as long as the agent lives */
};

struct agent_config {
    enum agent_profile profile;
    const char *system; /* the job's own system text, verbatim; NULL or "" = none, and stays none */
    const struct agent_tool *tools; /* copied; the order is the order in the prompt */
    size_t n_tools;
    struct agent_limits limits;
    bool lenient_calls; /* also run whole messages that are a call in another notation, and a call at the end
                           of a reasoning section that was never closed (agent/shapes.h, 46 to 48 and 53) */
    const char *open_section; /* the prompt opens this reasoning section for every turn ("think"), and reading
                                 starts inside it; NULL = none. -EINVAL in agent_create() for a section that
                                 neither agent/tags.h nor reasoning_tags has */
    const char
        *reasoning_tags; /* names of further reasoning sections, ',' between them (agent/tags.h); copied;
                            NULL or "" = none. -EINVAL in agent_create() for one that cannot be used */
    const struct agent_document *documents; /* copied; they stand behind the last message of agent_start(), as
                                               {"passages": [{"id": …, "text": …}]} */
    size_t n_documents;
    const struct agent_answer *answer; /* NULL: the answer is text */
    bool sequential; /* a call starts when the turn is over and all before it have their results, and nothing
                        is appended before all have: to measure what doing it at once saves */
};

enum agent_role { AGENT_ROLE_USER, AGENT_ROLE_ASSISTANT };
struct agent_message {
    enum agent_role role;
    const char *text;
};

/* -EINVAL when a tool's schema is not JSON, -ENOMEM. */
HX_MUST_CHECK int agent_create(const struct agent_config *config, struct agent **out, char *err,
                               size_t errlen);
void agent_destroy(struct agent *a);
/* Gives the conversation its messages (the last one is the user's). Once. -EINVAL, -ENOBUFS above 64 MiB,
 * -ENOMEM. */
HX_MUST_CHECK int agent_start(struct agent *a, const struct agent_message *messages, size_t n, char *err,
                              size_t errlen);

/* ---- what to do next ---- */

enum agent_step_type {
    AGENT_STEP_WAIT,     /* nothing: feed what is outstanding (text of the generation, results of calls) */
    AGENT_STEP_GENERATE, /* append `spans` to the timeline, then generate at most `max_tokens` */
    AGENT_STEP_CALL,     /* start this call; may come while the generation still runs */
    AGENT_STEP_APPEND, /* calls of the turn still run, and of the next prompt this much is known: `spans` are
                          its beginning, longer than the last time. What of it was put on the timeline now is
                          not put there with GENERATE, whose spans are the whole prompt; nothing has to be */
    AGENT_STEP_STOP,  /* cancel the running generation (a limit, or the model began to write a <tool_response>
                         itself); its end is still fed */
    AGENT_STEP_DONE,  /* the job is complete: `text` is the answer; in JSON mode its JSON */
    AGENT_STEP_FAILED /* the job ends with `reason` (snake_case code) and `text` (one sentence) */
};

enum agent_span_kind { AGENT_SPAN_TRUSTED, AGENT_SPAN_UNTRUSTED };
struct agent_span {
    enum agent_span_kind kind;
    const char *text;
    size_t len;
};

/* A call that must not be made again, and from which turn on. */
struct agent_forbidden {
    const char *name, *arguments; /* the latter are no JSON when the call had none */
    int since;
};

struct agent_step {
    enum agent_step_type type;
    const struct agent_span *spans; /* GENERATE, APPEND */
    size_t n_spans;
    int max_tokens;
    const struct agent_forbidden *forbidden; /* GENERATE: what must not be written, oldest first */
    size_t n_forbidden;
    int turn;              /* GENERATE, CALL: 0, 1, … */
    int call;              /* CALL: 0, 1, … over the whole job; the number agent_feed_result() wants */
    const char *name;      /* CALL */
    const char *arguments; /* CALL: JSON text of an object */
    const char *reason;    /* FAILED */
    const char *text;      /* DONE, FAILED */
    size_t len;
    const char *repaired; /* DONE: names of the rows of agent/shapes.h that made JSON of the answer, "" for
                             none; NULL: the answer is text */
    bool narrated; /* DONE: the answer announces a call that the model did not make, though it was asked to */
};
/* Never fails: what goes wrong inside becomes AGENT_STEP_FAILED. Call it until it says WAIT, DONE or FAILED;
 * DONE and FAILED repeat. */
void agent_next(struct agent *a, struct agent_step *step);

/* ---- what came of it ---- */

/* A <co>id</co> in the answer. */
struct agent_citation {
    const char *id;
    size_t start, end; /* bytes of the answer: the whole tag */
    bool resolved;     /* a passage has this id: one the job was given, or of a result */
    int call;          /* whose result it was in; -1 = given, or not resolved */
};
/* The citations of the answer, in order. After AGENT_STEP_DONE; the agent's, until it is fed again. */
const struct agent_citation *agent_citations(const struct agent *a, size_t *n);

enum agent_finish {
    AGENT_FINISH_STOP,     /* the model ended its turn */
    AGENT_FINISH_LENGTH,   /* max_tokens */
    AGENT_FINISH_CONTEXT,  /* the context is full: the job fails with "context_full" */
    AGENT_FINISH_CANCELLED /* after AGENT_STEP_STOP */
};
/* A piece of the generated text, any cut, with the number of tokens behind it. -EINVAL when nothing is
 * generated; -ENOMEM, which is also the job's end: the next steps are STOP and FAILED. Crossing a limit is no
 * error here. */
HX_MUST_CHECK int agent_feed_text(struct agent *a, const char *text, size_t len, int n_tokens);
/* The generation ended. A call without its closing tag runs only if its JSON is complete and the model ended
 * the turn itself; what was cut off is never run. The same errors. */
HX_MUST_CHECK int agent_feed_end(struct agent *a, enum agent_finish finish);

enum agent_result {
    AGENT_RESULT_OK,      /* text = the tool's result: JSON, or plain text */
    AGENT_RESULT_ERROR,   /* the tool said no; text = one sentence */
    AGENT_RESULT_INVALID, /* arguments did not fit the schema; text says where */
    AGENT_RESULT_TIMEOUT,
    AGENT_RESULT_CRASHED,     /* the plugin's process ended */
    AGENT_RESULT_UNAVAILABLE, /* no worker could be had */
    AGENT_RESULT_UNKNOWN, /* started before a crash of the daemon; it is not known whether it took effect */
    AGENT_RESULT_CANCELLED
};
/* The result of call `call` (any order). text may be NULL for all but OK and ERROR; a fitting sentence is
 * made then. -EINVAL for a call that is not outstanding. */
HX_MUST_CHECK int agent_feed_result(struct agent *a, int call, enum agent_result status, const char *text,
                                    size_t len);
/* A further user message after DONE: the conversation goes on. -EBUSY while something is outstanding, -EINVAL
 * after FAILED. */
HX_MUST_CHECK int agent_feed_message(struct agent *a, const char *text, size_t len);

/* ---- what happened (for people and for the trace) ---- */

enum agent_event_type {
    AGENT_EVENT_MESSAGE_DELTA, /* visible text as it comes */
    AGENT_EVENT_MESSAGE_DONE, /* one run of visible text, whole, trimmed; the last one of the last turn is the
                                 answer */
    AGENT_EVENT_REASONING_DELTA, /* inside `section` */
    AGENT_EVENT_REASONING_DONE,  /* whole, trimmed; truncated = the section was never closed */
    AGENT_EVENT_CALL, /* a call closed: name, arguments, raw; `error` set when it will not run (unknown tool,
                         bad JSON, a limit) */
    AGENT_EVENT_REHEARSED /* a call written inside a reasoning section: recorded, never run */
};
struct agent_event {
    enum agent_event_type type;
    int turn;
    int position;        /* order of parts inside the turn */
    const char *section; /* "SCRATCHPAD", "PLAN", … */
    const char *text;
    size_t len;
    bool truncated;
    int call; /* CALL: the call's number (also for those that will not run) */
    const char *name, *arguments, *raw, *error;
    int n_tokens;         /* DONE events and CALL: tokens of the part, as exactly as the pieces allow */
    int token_from;       /* the same: tokens of the turn before the part */
    const char *repaired; /* CALL: names of the rows of agent/shapes.h it was normalised by, ", " between
                             them; NULL for one that was written as it should be */
};
/* Takes the oldest event: true while there are any. Its pointers stay valid until the next agent_take_event()
 * or agent_feed_…(). */
bool agent_take_event(struct agent *a, struct agent_event *event);

#endif
