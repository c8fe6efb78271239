/* Functions and calls of the Berkeley leaderboard from the shared data, as grammars and as texts. */
#ifndef TESTS_AGENT_BFCL_H
#define TESTS_AGENT_BFCL_H

#include "agent/constrain.h"

#define BFCL_TOOLS_MAX 64

/* One line of the data: its functions. */
struct bfcl_entry {
    char *system, *question; /* system: NULL for none */
    char *names[BFCL_TOOLS_MAX], *descriptions[BFCL_TOOLS_MAX], *parameters[BFCL_TOOLS_MAX];
    struct schema *schemas[BFCL_TOOLS_MAX];
    struct constrain_tool tools[BFCL_TOOLS_MAX];
    size_t n;
    struct grammar *grammar; /* constrain_call() */
    char **calls;            /* right answers, as the grammar spells them, from the line break on */
    size_t n_calls;
};

struct bfcl {
    struct bfcl_entry *entries;
    size_t n, n_functions, n_refused, n_inexact, n_calls;
    size_t n_left_out; /* answers that are no valid call of their function */
};

/* Ends the program with 77 (skipped) without the data. `calls`: with the right answers. bfcl_free() frees. */
void bfcl_read(struct bfcl *b, bool calls);
/* The same from a file of such lines, without answers; a line may have a "system" text. */
void bfcl_read_file(struct bfcl *b, const char *path);
void bfcl_free(struct bfcl *b);

#endif
