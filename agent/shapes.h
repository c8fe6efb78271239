/* The shapes in which models write calls, and what is done with each: one row per shape, numbered as in the
 * reference the project works from. tests/agent/test_shapes.c plays at least one output for every row.
 *
 * Three rules stand behind the table. What is said exactly, in another notation, is normalised, runs, and is
 * logged as `repaired` with the row's name. What would have to be guessed never runs: the model gets a short
 * error. What is only text stays text. A tool that is strict refuses even the normalised. Pure. [any-thread]
 */
#ifndef AGENT_SHAPES_H
#define AGENT_SHAPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum shapes_action {
    SHAPES_PARSE,     /* a call as it should be */
    SHAPES_NORMALISE, /* runs, logged as repaired */
    SHAPES_ERROR,     /* does not run; the model is told why */
    SHAPES_TEXT,      /* no call */
    SHAPES_STREAM,    /* a rule of reading, whatever the cut */
    SHAPES_OPTION,    /* a call only where the job asks for it (lenient_calls) */
    SHAPES_LOOP       /* a rule of the conversation, not of one call */
};

struct shape {
    int row; /* 1 to SHAPES_COUNT */
    const char *name;
    enum shapes_action action;
    const char *what; /* the choice, where there was one */
};

#define SHAPES_COUNT 75
extern const struct shape shapes_table[SHAPES_COUNT];

/* The rows the code notes as repaired. */
enum shapes_row {
    SHAPE_SEPARATORS = 7,
    SHAPE_UNCLOSED = 10,
    SHAPE_UNCLOSED_BEFORE_NEXT = 11,
    SHAPE_STRAY_MARKERS = 12,
    SHAPE_WRONG_CLOSE = 13,
    SHAPE_HALF_OPENER = 15,
    SHAPE_OUTER_BRACE_MISSING = 16,
    SHAPE_EXTRA_CLOSERS = 17,
    SHAPE_RAW_CONTROL = 22,
    SHAPE_INVALID_ESCAPE = 23,
    SHAPE_PYTHON_LITERAL = 26,
    SHAPE_TRAILING_COMMA = 28,
    SHAPE_KEYS_AND_COMMENTS = 29,
    SHAPE_DUPLICATE_KEYS = 32,
    SHAPE_LONE_SURROGATE = 34,
    SHAPE_STRING_ARGUMENTS = 35,
    SHAPE_NO_ARGUMENTS = 37,
    SHAPE_PARAMETERS_KEY = 39,
    SHAPE_OPENAI_NESTING = 41,
    SHAPE_ARRAY_OF_CALLS = 42,
    SHAPE_SEVERAL_OBJECTS = 43,
    SHAPE_FUNCTION_MARKUP = 44,
    SHAPE_FOREIGN_WRAPPER = 46,
    SHAPE_FENCED_CALL = 47,
    SHAPE_BARE_CALL = 48,
    SHAPE_UNCLOSED_REASONING = 53,
    SHAPE_NAME_VARIANT = 57,
    SHAPE_STRING_SCALAR = 61,
    SHAPE_FENCED_JSON = 74
};

/* The rows one call was repaired by. {0} is none. */
struct shapes_set {
    uint64_t bits[2];
};
void shapes_add(struct shapes_set *set, enum shapes_row row);
void shapes_merge(struct shapes_set *set, const struct shapes_set *more);
bool shapes_has(const struct shapes_set *set, int row);
bool shapes_any(const struct shapes_set *set);
/* The names of the rows in order, ", " between them; as many as fit. "" for none. */
void shapes_names(const struct shapes_set *set, char *text, size_t size);

#define SHAPES_NAMES_SIZE 800 /* enough for every row there is */

#endif
