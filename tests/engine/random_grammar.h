/* Grammars by chance: strings, names, patterns, tags, choices and counters in each other. */
#ifndef TESTS_ENGINE_RANDOM_GRAMMAR_H
#define TESTS_ENGINE_RANDOM_GRAMMAR_H

#include "engine/grammar.h"

/* The same numbers again for the same seed, which is not 0. */
void random_begin(uint64_t seed);
uint32_t random_below(uint32_t n);
/* An expression of at most so many levels, the same for the same numbers. */
uint32_t random_grammar(struct grammar_builder *b, int depth);

#endif
