/* Plays files of published schema tests against the compiler and the validator, and counts. */
#ifndef TESTS_TOOLS_SCHEMA_SUITE_H
#define TESTS_TOOLS_SCHEMA_SUITE_H

#include "tools/schema.h"

#include <stdio.h>

#define SUITE_KEYWORDS 64

struct suite_refusals {
    char keyword[SCHEMA_KEYWORD_MAX];
    size_t count;
};

struct suite {
    FILE *wrong;      /* one line per wrong verdict goes there */
    FILE *refused_to; /* one line per refused schema; NULL: nowhere */
    size_t schemas, accepted;
    size_t right, wrong_accepts, wrong_refusals; /* verdicts on instances of accepted schemas */
    size_t soft;                                 /* wrong, but the source itself is not sure */
    size_t unjudged; /* instances that are no JSON for us (U+0000, half a surrogate pair) */
    struct suite_refusals refusals[SUITE_KEYWORDS];
    size_t n_refusals;
    double *compile_us, *check_us; /* owned */
    size_t n_compiles, n_checks;
};

/* [{"description", "schema", "tests": [{"description", "data", "valid"}]}]: one file of the official suite.
 * Ends the program when it cannot be read. */
void suite_file(struct suite *suite, const char *path, const struct schema_options *options);
/* Every .json file under the folder, optional/ included. `format.json`, which says that format is only a
 * note, is played with formats as notes. Returns the number of files. */
size_t suite_folder(struct suite *suite, const char *path, enum schema_draft draft);
/* Lines of {"id", "schema", "tests"}; `unconfirmed` (a file, or NULL) maps ids to the tests that are soft. */
void suite_lines(struct suite *suite, const char *path, const char *unconfirmed);

/* Counts, times, and the refusals by keyword. */
void suite_print(const struct suite *suite, const char *title);
void suite_finish(struct suite *suite);

#endif
