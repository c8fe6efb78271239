/* How regex_parse.c and regex.c share a pattern that is being compiled. */
#ifndef TOOLS_REGEX_BUILD_H
#define TOOLS_REGEX_BUILD_H

#include "tools/regex.h"

struct regex_step;       /* of the automaton */
struct regex_characters; /* of a step that takes one */

struct regex_kept {
    struct regex_kept *next;
    _Alignas(max_align_t) char bytes[];
};

struct regex {
    char *source;
    const struct regex_node *tree;
    uint32_t n_sets;
    const struct regex_characters **sets; /* by set_id; NULL: not made yet */
    struct regex_step *steps;
    size_t n_steps, cap_steps;
    size_t visits; /* of nodes while the steps are written: repetitions of nothing cost time, not states */
    struct regex_kept *kept; /* everything that the tree and the steps point to */
};

/* Zeroed memory that lives as long as the pattern; NULL when there is none. */
void *regex_keep(struct regex *regex, size_t size);
/* Makes regex->tree of regex->source; errors as regex_compile(). */
HX_MUST_CHECK int regex_parse(struct regex *regex, char *err, size_t errlen);

/* ---- sets of code points that grow (regex_set.c) ---- */

#define REGEX_LAST 0x10FFFFu

struct regex_set {
    struct regex_range *ranges; /* owned */
    size_t n, cap;
    int status; /* the first failure: -ENOMEM */
};
void regex_set_add(struct regex_set *set, uint32_t first, uint32_t last);
/* What \d \w \s (and \D \W \S) mean; false for another letter. */
bool regex_set_add_class(struct regex_set *set, char letter);
/* Sorts and merges; with `negate`, what is not in it. Takes out the surrogates. */
void regex_set_finish(struct regex_set *set, bool negate);

#endif
