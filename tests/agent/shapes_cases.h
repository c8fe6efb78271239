/* The cases that tests/agent/test_shapes.c plays. */
#ifndef TESTS_AGENT_SHAPES_CASES_H
#define TESTS_AGENT_SHAPES_CASES_H

#include <stdbool.h>
#include <stddef.h>

struct shapes_case {
    int row;
    const char *text;
    /* A line each: 'visible text', [section text] (~ when truncated), ?rehearsed, and for a call its name
     * (with a ! when it does not run), its arguments and ~ the rows it was repaired by. */
    const char *wanted;
    const char *error;  /* a part of what the model is told */
    bool lenient;       /* agent_config.lenient_calls */
    const char *opened; /* agent_config.open_section */
    bool cut_off;       /* the turn ended with max_tokens */
    /* how this case differs from the rule of its row */
    bool mixed;   /* a sibling runs */
    bool runs;    /* an error row's case that is none */
    bool refused; /* a normalised row's case that is an error */
};
extern const struct shapes_case shapes_cases[];
extern const size_t shapes_cases_count;

#endif
