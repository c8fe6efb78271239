/* What a job's schemas are made into: a schema to check its answers with, and the grammar that its model is
 * held to. It takes up to a second for schemas that were written to take long, so it is a work order: inputs
 * and outputs are its own, and whichever thread has it may run it. daemon/job_constrain.c sends it to the
 * thread pool. [any-thread], one thread at a time per order */
#ifndef DAEMON_JOB_COMPILE_H
#define DAEMON_JOB_COMPILE_H

#include "base/err.h"
#include "daemon/job_format.h"
#include "daemon/job_problem.h"

#include <stdbool.h>
#include <stddef.h>

struct grammar;
struct schema;

enum job_compile_what {
    JOB_COMPILE_CHECK, /* whether answers of the format can be checked and, when `grammar` is wanted, written
                        */
    JOB_COMPILE_TURN,  /* the schema of the answer, and when `grammar` is wanted the grammar of a turn */
};

struct job_compile_call {
    char *name, *arguments; /* owned */
};

struct job_compile {
    /* What to do; filled before, not touched while it runs. Texts are owned. */
    enum job_compile_what what;
    bool wants_grammar;
    struct job_format format;
    char *open_section;                 /* NULL: none */
    char *reasoning_tags;               /* NULL: none */
    char *tools_json;                   /* as the journal has them; TURN */
    struct job_compile_call *forbidden; /* owned array; calls that the grammar must not allow */
    size_t n_forbidden;

    /* What came of it. */
    int status;                 /* 0; else a negative errno, and `problem` says why */
    struct job_problem problem; /* code and param only for CHECK; the code is NULL when memory was out */
    struct schema *answer;      /* owned; JSON mode, TURN */
    int grammar_status;      /* TURN: 0, or why there is no grammar, with the sentence: not the job's end */
    char grammar_why[512];   /* "", or what the grammar does not say */
    struct grammar *grammar; /* owned; NULL: none was wanted, or there is none */
    bool *left_out;          /* owned, by tool: all of its calls are forbidden; NULL: nothing is */
};

/* With a copy of the format. -ENOMEM. */
HX_MUST_CHECK int job_compile_init(struct job_compile *c, enum job_compile_what what,
                                   const struct job_format *format);
void job_compile_finish(struct job_compile *c);
/* Does it, once. */
void job_compile_run(struct job_compile *c);

#endif
