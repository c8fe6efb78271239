/* Text that a grammar leaves no choice about, as tokens that cost no step of the model.
 *
 * After each token that the model chose, forced_follow() takes the bytes that must come next and returns the
 * tokens of both together. They are those that the tokenizer makes of the text, also where the model's last
 * token and the forced bytes merge: the tail of the timeline, the part that may still change, is given and
 * taken back. Only whole words of the split whose end is sure are written in this way. What is left of the
 * forced bytes, the beginning of a word, is not written: the grammar lets nothing else pass, so the model
 * chooses among the tokens that begin with them, and those it would see in such a place anyway. When that
 * word's end is sure too, its tokens are replaced if the model chose others than the tokenizer would.
 *
 * Why this is right: the split is made from left to right and never looks back, and no token is made of parts
 * of two words. So the tokens of a text are those of its words, and when the end of a word is sure
 * (tokenizer_word()), so are the tokens up to there, whatever the grammar lets come after. An added token is
 * a boundary in any case. Private to engine/. [engine-thread] */
#ifndef ENGINE_FORCED_H
#define ENGINE_FORCED_H

#include "engine/grammar.h"
#include "engine/grammar_vocab.h"
#include "engine/tokenizer.h"

/* Bytes that one call looks ahead. */
#define FORCED_BYTES 1024

/* In the place of a token. */
#define FORCED_BEGIN (-1) /* nothing was chosen yet */
#define FORCED_END   (-2) /* a token that ends the turn: it is not kept */

/* Zeroed at the beginning of a text. */
struct forced {
    bool owed; /* the word that the tail begins with has bytes that were forced */
    /* what forced_follow() returned */
    struct token_list ids; /* instead of the tail and the token */
    size_t n_sure;         /* of these, so many are never replaced; the others are the next tail */
    bool over;             /* nothing can follow, not even by the model's choice */
};
void forced_finish(struct forced *f);

/* `tail`: the tokens behind the last sure one; `token`: what the model chose after them, which `m` has taken
 * already. Moves `m` over the bytes that were added. `most`: tokens that f->ids may have more than the tail.
 * Where that is too few, or the tokenizer makes so many tokens of a text that the rest of the grammar would
 * have no room, the token alone is added. 0, or a negative errno as of grammar_matcher_forced() and
 * tokenizer_encode_text(). */
HX_MUST_CHECK int forced_follow(struct forced *f, const struct tokenizer *t, const struct grammar_vocab *v,
                                struct grammar_matcher *m, const int32_t *tail, size_t n_tail, int32_t token,
                                uint32_t most);

#endif
