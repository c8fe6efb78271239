/* One turn of the model: its text becomes events, and calls for whoever decides about them. */
#ifndef AGENT_TURN_H
#define AGENT_TURN_H

#include "agent/agent.h"
#include "agent/events.h"
#include "agent/repair.h"
#include "agent/scanner.h"

#define TURN_TEXT_MAX (1024u * 1024)

/* A call that closed. All borrowed during the callback. */
struct turn_call {
    int position;
    const char *name;      /* "" when unknown */
    const char *arguments; /* NULL when the call cannot be read */
    const char *raw;
    const char *error; /* why it cannot run, for the model; NULL for a call that can */
    const struct shapes_set *repaired;
    int n_tokens, token_from;
};
/* 0, or a negative errno that ends the reading. */
typedef int (*turn_on_call)(void *arg, const struct turn_call *call);

/* What a turn is read with. Borrowed. */
struct turn_rules {
    struct repair_tools tools;
    bool lenient;                 /* agent_config.lenient_calls */
    const char *open_section;     /* the prompt opened it; NULL = none */
    const struct tags_more *more; /* sections beside those of agent/tags.h; NULL = none */
    bool json;                    /* the answer is to be JSON: tags inside it are data, and it is no call */
};

struct turn {
    struct scanner scanner;
    struct events *events; /* borrowed */
    const struct turn_rules *rules;
    turn_on_call on_call;
    void *arg;
    int number;

    int n_parts;    /* positions given */
    bool part_open; /* a run of visible text or a section */
    int part_position;
    struct buf part;      /* its text, without leading space */
    size_t part_sent;     /* of it, what went out; always up to the last character that is no space */
    struct buf answer;    /* the last run of visible text */
    int n_messages;       /* runs of visible text */
    int n_calls;          /* handed to on_call */
    struct buf rehearsed; /* the first call of the open section */
    bool stopped;         /* the model wrote what is not its to write */

    size_t piece_at, piece_len; /* the piece being read */
    int piece_tokens;
    int n_tokens;  /* of all pieces before it */
    int part_from; /* tokens before the open part */
};

/* `rules` lasts as long as the turn. -EINVAL for a section that is not known; -ENOBUFS, -ENOMEM. The caller
 * ends it in every case. */
HX_MUST_CHECK int turn_init(struct turn *t, int number, const struct turn_rules *rules, struct events *events,
                            turn_on_call on_call, void *arg);
void turn_finish(struct turn *t);
/* -E2BIG above TURN_TEXT_MAX, -ENOBUFS for events nobody takes, -ENOMEM, or what on_call returned. */
HX_MUST_CHECK int turn_feed(struct turn *t, const char *text, size_t len, int n_tokens);
/* The text is complete: parts end, the answer is known. A call in a section that never ended is handed to
 * on_call when the turn has no other: with an error, or to be run by a lenient one. The same for a whole
 * message that is a call in another notation. The same errors. */
HX_MUST_CHECK int turn_end(struct turn *t);

#endif
