/* One grammar less another: text of an expression that is no text of a second one. Part of building
 * (engine/grammar.h). [any-thread], one thread at a time per builder */
#ifndef ENGINE_GRAMMAR_EXCEPT_H
#define ENGINE_GRAMMAR_EXCEPT_H

#include "engine/grammar.h"

/* Places of both grammars that are looked at together, at most; less where many ways lead on from each. */
#define GRAMMAR_EXCEPT_PLACES_MAX 4000u

/* Any bytes at all. As the end of what is left out it means "and everything that begins so". */
uint32_t grammar_anything(struct grammar_builder *b);

/* *out: the text of `item` that is no text of `without`, which is an expression of the builder `other`; all
 * rules that they call must be defined. Both are followed side by side: where they part, *out goes on as
 * `item` does, so it costs what the two have in common. Beyond GRAMMAR_EXCEPT_PLACES_MAX places, nearest to
 * the beginning first, everything is left out that begins like a text of `without` to there: more than asked,
 * never less. Where no text is left *out matches nothing.
 *
 * -ENOTSUP for tags inside, -E2BIG for parts deeper inside each other than can be followed: then `b` is as
 * good as before. -ENOMEM. A failure of the builder shows in grammar_compile() as always. */
HX_MUST_CHECK int grammar_except(struct grammar_builder *b, uint32_t item, struct grammar_builder *other,
                                 uint32_t without, uint32_t *out);

#endif
