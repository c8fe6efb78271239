/* Regular expressions of JSON Schema (`pattern`, `patternProperties`): ECMA-262 with the u flag, less what
 * cannot be matched in linear time.
 *
 * There is no backtracking: a pattern becomes a Thompson automaton with a ceiling of states, and matching
 * costs at most states × characters, taken from a budget. Refused when compiled, by name: back-references,
 * look-ahead and look-behind, \p{…}, patterns above the ceilings. Groups only group. Immutable once compiled;
 * any thread. */
#ifndef TOOLS_REGEX_H
#define TOOLS_REGEX_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGEX_STATES_MAX 8192  /* after counted repetition is written out */
#define REGEX_BYTES_MAX  16384 /* of a pattern */
#define REGEX_DEPTH_MAX  64    /* of groups */
#define REGEX_FOREVER    UINT32_MAX

struct regex;

/* -EINVAL with a sentence for a pattern that is none ("nothing to repeat at byte 3"), -ENOTSUP for one that
 * is valid as far as it was read and not supported ("look-ahead is not supported at byte 3"), -E2BIG above a
 * ceiling, -ENOMEM. */
HX_MUST_CHECK int regex_compile(const char *pattern, struct regex **out, char *err, size_t errlen);
void regex_destroy(struct regex *regex);
/* States of its automaton: what it costs to keep and, per character, to run. */
size_t regex_states(const struct regex *regex);

/* Whether the pattern is found anywhere in the valid UTF-8 text (as JSON Schema wants it: not anchored): 1,
 * 0, -E2BIG when *budget, which counts steps down, is used up, -ENOMEM. */
HX_MUST_CHECK int regex_search(const struct regex *regex, const char *text, size_t len, uint64_t *budget);

/* ---- the parsed pattern, for who makes another automaton of it ---- */

enum regex_kind {
    REGEX_EMPTY,    /* matches the empty text */
    REGEX_SET,      /* one code point of `ranges` */
    REGEX_CAT,      /* children one after the other */
    REGEX_ALT,      /* one of the children */
    REGEX_REPEAT,   /* children[0], min to max times */
    REGEX_BEGIN,    /* ^: only at the start of the text */
    REGEX_END,      /* $: only at the end of the text */
    REGEX_WORD,     /* \b */
    REGEX_NOT_WORD, /* \B */
};

struct regex_range {
    uint32_t first, last; /* both included */
};

struct regex_node {
    enum regex_kind kind;
    /* REGEX_SET: sorted, neither touching nor overlapping, no surrogates; none: matches nothing. */
    const struct regex_range *ranges;
    size_t n_ranges;
    uint32_t set_id;                          /* counts the sets of the pattern from 0 */
    const struct regex_node *const *children; /* CAT, ALT, REPEAT */
    size_t n_children;
    uint32_t min, max; /* REPEAT; max may be REGEX_FOREVER */
};

/* The pattern as written, and as a tree. Borrowed until regex_destroy(). */
const char *regex_source(const struct regex *regex);
const struct regex_node *regex_tree(const struct regex *regex);

#endif
