/* Grammars of what a model may write, from JSON Schemas: a call that cannot be anything but a known tool with
 * arguments that are valid.
 *
 * One spelling is allowed, that of Python's json.dumps (", " and ": ", members in the schema's order, those
 * only required behind them, others last); strings may have any escapes. Numbers are plain decimals; an
 * exponent is allowed where no bound is. A leap second is spelled in UTC.
 *
 * Most of JSON Schema can be said exactly. What cannot (uniqueItems, not, if, dependentRequired, a pattern
 * together with a format, …) is left out: the grammar then lets more pass than the schema, `exact` is false
 * and `why` names the first place. Then values must be validated after all. No object has a name twice,
 * however it is spelled: declared ones have one place, of others the matcher remembers which were written
 * (grammar_unique_names()). A name can come again where the names are so few, or so short, that none is left
 * which begins like it; such grammars are not exact. Pure; any thread. */
#ifndef AGENT_CONSTRAIN_H
#define AGENT_CONSTRAIN_H

#include "base/buf.h"
#include "base/err.h"
#include "engine/grammar.h"
#include "tools/schema.h"

#include <stdbool.h>
#include <stddef.h>

struct constrain_tool {
    const char *name;
    const struct schema *schema; /* borrowed during the call */
    /* Arguments that must not be written again, JSON objects: no spelling of them passes, all other arguments
     * do, as far as the schema lets them. Where arguments are the same as forbidden ones up to there, a
     * string is written without needless \u escapes, and in place of a number none with an exponent. Ones
     * that cannot be said (more than 10 members of an object in free order, a number of more than 40 digits)
     * cost the whole tool; long ones (about 4,000 bytes; less where the order of many members is free) all
     * that begin like them. */
    const char *const *forbidden;
    size_t n_forbidden;
    bool *left_out; /* NULL, or set when the whole tool is left out */
};

struct tags_more;

struct constrain_report {
    bool exact;
    char why[256]; /* "read_file: /properties/paths: uniqueItems"; "" when exact */
};

/* What models write well, not all that is valid: no members that no schema declares (unless an object has
 * none declared at all), numbers of at most 15 digits before and 15 behind the point, at most 60 levels. */

/* A turn: any text; after each <tool_call> one call of one of the tools, then </tool_call>. -EINVAL for no
 * tools; -E2BIG, -ENOMEM. Where nothing is left of all tools, any text without <tool_call>. *out is the
 * caller's (grammar_unref). */
HX_MUST_CHECK int constrain_turn(const struct constrain_tool *tools, size_t n, struct grammar **out,
                                 struct constrain_report *report, char *err, size_t errlen);
/* A turn in JSON mode, whose answer is a value of the schema: with tools, reasoning sections, then either
 * calls or the value; without, the value alone. `open_section`: the prompt has opened this section, and the
 * turn begins with the rest of it; NULL = none. `more`: sections beside those of agent/tags.h; NULL = none.
 */
HX_MUST_CHECK int constrain_answer(const struct constrain_tool *tools, size_t n, const struct schema *answer,
                                   const struct tags_more *more, const char *open_section,
                                   struct grammar **out, struct constrain_report *report, char *err,
                                   size_t errlen);
/* The call alone, from the line break behind <tool_call> to </tool_call>. */
HX_MUST_CHECK int constrain_call(const struct constrain_tool *tools, size_t n, struct grammar **out,
                                 struct constrain_report *report, char *err, size_t errlen);
/* A value of the schema and nothing else. `whole`: all that is valid, in the spelling above, with numbers of
 * any length. */
HX_MUST_CHECK int constrain_value(const struct schema *schema, bool whole, struct grammar **out,
                                  struct constrain_report *report, char *err, size_t errlen);

/* Appends the value in the spelling of the schema's grammar. -ENOBUFS, -ENOMEM, -E2BIG for one that is too
 * deep. */
HX_MUST_CHECK int constrain_spell(const struct schema *schema, const struct value *value, struct buf *out);

#endif
