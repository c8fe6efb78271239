/* What a state allows of whole kinds of bytes, so that most tokens need no walk. Private to engine/. */
#ifndef ENGINE_GRAMMAR_REACH_H
#define ENGINE_GRAMMAR_REACH_H

#include "engine/grammar_program.h"
#include "engine/grammar_vocab.h"

/* Of the texts that begin at a state: where all characters are of kinds `inside`, they are allowed up to
 * `chars` characters and not beyond. Where the first byte of a kind that is not inside is of none in `look`
 * either, they are not allowed. All others have a byte of a kind in `look`. This is known of texts of fewer
 * characters than `known`. */
struct grammar_reach {
    uint32_t inside, look;
    uint32_t chars, known;
};

/* Of all kinds nothing is known. */
struct grammar_reach grammar_reach_nothing(void);
/* Of a state inside of a string, in which some characters may follow; of `most` and less. */
struct grammar_reach grammar_reach_string(const struct grammar *g, uint32_t state, uint32_t most);
/* Of any state. Makes some of the states behind it; after a failure, which then stands in automaton.status,
 * nothing is known. */
struct grammar_reach grammar_reach_of(struct grammar *g, const struct grammar_vocab *v, uint32_t state);

/* Whether all tokens below a node or branch are decided without a look. */
static inline bool grammar_reach_knows(const struct grammar_reach *r, uint32_t holds) {
    return (holds & r->look) == 0 && holds >> GRAMMAR_KINDS < r->known;
}

/* Adds the tokens inside to the mask: of those that begin with a space, whose reach begins behind it, or of
 * the others. */
void grammar_reach_add_string(const struct grammar_reach *r, const struct grammar_vocab *v, bool spaced,
                              uint32_t *mask);
void grammar_reach_add(const struct grammar_reach *r, const struct grammar_vocab *v, bool spaced,
                       uint32_t *mask);

#endif
