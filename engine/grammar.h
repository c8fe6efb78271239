/* Which text a model may write: a grammar over bytes, and the place in it after what was written so far.
 *
 * Building. A struct grammar_builder takes expressions bottom-up; each call returns the number of a new
 * expression. The first failure sticks (GRAMMAR_NONE is returned from then on and accepted everywhere), and
 * grammar_compile() reports it, so the calls in between need no checks. An expression used in several places
 * is written out in each; use a rule for what is large or recursive.
 *
 * Matching. The compiled program is nondeterministic; its states are made deterministic one by one as they
 * are reached, with an explicit stack for calls of rules and for counters, and are kept in the grammar for
 * all who match it. Nothing is unrolled: a repetition costs a counter, recursion a frame.
 *
 * The alphabet is the 256 bytes and the added tokens of a tokenizer. Bytes never match an added token and an
 * added token never matches bytes, so no text in a string can be written with a control token:
 * grammar_tag() and grammar_text_until() are the only places where added tokens pass.
 *
 * No state is ever a dead end: from every place that a matcher can reach the end of the grammar can be
 * reached, below the nesting limit, and in grammar_matcher_distance() bytes at most, but for what is said
 * there of unique names. Knows nothing of JSON Schema; agent/constrain.h translates. */
#ifndef ENGINE_GRAMMAR_H
#define ENGINE_GRAMMAR_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct grammar;
struct grammar_builder;
struct grammar_vocab; /* engine/grammar_vocab.h */

/* ---- building ---- [any-thread], one thread at a time per builder */

#define GRAMMAR_NONE    UINT32_MAX
#define GRAMMAR_FOREVER UINT32_MAX

/* Ceilings: above them compiling fails with -E2BIG. */
#define GRAMMAR_EXPRESSIONS_MAX  (1u << 20)
#define GRAMMAR_INSTRUCTIONS_MAX (1u << 19)
#define GRAMMAR_DEPTH_MAX        512 /* expressions inside expressions, rules apart */
#define GRAMMAR_TAGS_MAX         64
#define GRAMMAR_COUNT_MAX        0x3FFFFFFFu /* of a repetition, if not GRAMMAR_FOREVER */
#define GRAMMAR_NESTING_MAX      250

/* NULL when memory is out. */
struct grammar_builder *grammar_builder_create(void);
void grammar_builder_destroy(struct grammar_builder *b);

struct grammar_range {
    uint32_t first, last; /* code points, both included */
};

/* These bytes. len 0: the empty text. */
uint32_t grammar_literal(struct grammar_builder *b, const char *text, size_t len);
/* One byte from first to last. */
uint32_t grammar_byte(struct grammar_builder *b, unsigned char first, unsigned char last);
/* One code point of these ranges in UTF-8 (surrogates are left out). None: nothing matches. */
uint32_t grammar_chars(struct grammar_builder *b, const struct grammar_range *ranges, size_t n);
/* All of them, one after the other; none: the empty text. */
uint32_t grammar_sequence(struct grammar_builder *b, const uint32_t *items, size_t n);
/* One of them; none: nothing matches. */
uint32_t grammar_choice(struct grammar_builder *b, const uint32_t *items, size_t n);
/* min to max times; max may be GRAMMAR_FOREVER. */
uint32_t grammar_repeat(struct grammar_builder *b, uint32_t item, uint32_t min, uint32_t max);
/* The inside of a JSON string: min to max characters, each plain or as an escape; \u0000 and lone surrogates
 * excepted. The same as building it from the above, but masks of its states cost microseconds. */
uint32_t grammar_string(struct grammar_builder *b, uint32_t min, uint32_t max);
/* The item, of which the caller knows: any characters of a JSON string, plain or as one of \b \f \n \r \t \"
 * \\, are the beginning of some text of it. It matches the same, but masks of its states cost microseconds. A
 * wrong claim makes wrong masks. */
uint32_t grammar_open(struct grammar_builder *b, uint32_t item);

/* The item, a JSON value in which strings alone have quotes: no object in it has a name twice, whatever the
 * item says, unless its names are so few that none other is left that begins like it. Matchers remember the
 * names of the objects that are open; states are shared as ever. */
uint32_t grammar_unique_names(struct grammar_builder *b, uint32_t item);

/* A rule, to be defined before grammar_compile(); GRAMMAR_NONE after a failure. `nested`: its calls count as
 * nesting levels. */
uint32_t grammar_rule(struct grammar_builder *b, bool nested);
void grammar_define(struct grammar_builder *b, uint32_t rule, uint32_t expression);
uint32_t grammar_call(struct grammar_builder *b, uint32_t rule);

/* The tag: the added token of this text where the tokenizer has one, or its bytes. */
uint32_t grammar_tag(struct grammar_builder *b, const char *text);
/* Any text, added tokens too, up to and with the first time the tag comes, written either way, also when its
 * bytes are cut over tokens. */
uint32_t grammar_text_until(struct grammar_builder *b, const char *tag);
/* Any text in which the tag does not come. */
uint32_t grammar_text_without(struct grammar_builder *b, const char *tag);

/* The grammar whose text is `root`. max_nesting: calls of nested rules inside each other at most, itself at
 * most GRAMMAR_NESTING_MAX, above it counts as that. -E2BIG
 * above a ceiling; -EINVAL for a rule without definition, one that calls itself before it takes a byte, a
 * counted repetition of what may be empty, or when no text matches at all; -ENOMEM. *out is the caller's
 * (grammar_unref). The builder is used up; destroy it. */
HX_MUST_CHECK int grammar_compile(struct grammar_builder *b, uint32_t root, uint32_t max_nesting,
                                  struct grammar **out, char *err, size_t errlen);

/* Counted by everyone who keeps it; the last one frees. [any-thread] */
struct grammar *grammar_ref(struct grammar *g);
void grammar_unref(struct grammar *g); /* NULL is fine */

struct grammar_info {
    size_t n_rules, n_instructions, program_bytes;
    size_t n_states, state_bytes, mask_bytes; /* built so far */
    size_t n_cut;                             /* masks that lacked tokens (grammar_matcher_mask) */
};
void grammar_info(const struct grammar *g, struct grammar_info *info);

/* ---- matching ---- one thread at a time for all matchers of a grammar together: in the daemon the engine
 * thread */

/* What a matcher remembers inside of grammar_unique_names() (engine/grammar_names.h). */
struct grammar_names {
    uint8_t mode, digits;
    bool name_next;
    uint16_t unit, high;
    struct grammar_names_kept *kept;
};

struct grammar_matcher {
    struct grammar *grammar;              /* a reference; NULL: not begun */
    struct grammar_matcher *next, **link; /* all matchers of the grammar */
    uint32_t state, moved;
    struct grammar_names names;
};

/* At the beginning of the grammar. The matcher must stay where it is in memory. -ENOMEM. */
HX_MUST_CHECK int grammar_matcher_init(struct grammar_matcher *m, struct grammar *g);
/* At the place of another. -ENOMEM. */
HX_MUST_CHECK int grammar_matcher_clone(struct grammar_matcher *m, const struct grammar_matcher *from);
/* Fine also when it was never begun or is finished already. */
void grammar_matcher_finish(struct grammar_matcher *m);

/* One more byte, or all of these. 1; 0 when the grammar does not allow it (the matcher stays where it was);
 * -ENOMEM, or -E2BIG when a state would be too large. */
HX_MUST_CHECK int grammar_matcher_byte(struct grammar_matcher *m, unsigned char byte);
HX_MUST_CHECK int grammar_matcher_bytes(struct grammar_matcher *m, const char *bytes, size_t n);
/* The same for a token of the vocabulary. The token that ends a turn is 1 where the text may end. -E2BIG also
 * when the token takes too much work, which is counted, so that a grammar cannot hold up its thread. */
HX_MUST_CHECK int grammar_matcher_token(struct grammar_matcher *m, const struct grammar_vocab *vocab,
                                        int32_t token);
/* Whether the text may end here. */
bool grammar_matcher_is_complete(const struct grammar_matcher *m);
/* Bytes of a shortest way to where the text may end; tokens, too, are never more. Fewer than that where
 * unique names must yet be written and those of the least length are not enough for them. */
uint32_t grammar_matcher_distance(const struct grammar_matcher *m);

/* The tokens that may come next, bit `id % 32` of mask[id / 32], for grammar_vocab_words() words; never none.
 * Work is counted here too: in a state of a grammar that takes too much of it, the mask is cut. Then it lacks
 * tokens, but has none too many, and those of one byte still, so that every text can be written.
 * `within`: only those after which grammar_matcher_distance() is below it (GRAMMAR_FOREVER: all). 0, -ENOMEM,
 * -E2BIG; -ENODATA when `within` leaves none, which it does not where it is above the present distance. */
HX_MUST_CHECK int grammar_matcher_mask(struct grammar_matcher *m, const struct grammar_vocab *vocab,
                                       uint32_t within, uint32_t *mask);
/* The bytes that must come next whatever the model wants: at most `size` into `bytes`. Stops where there is a
 * choice, or the text may end. Returns their number, or -ENOMEM, -E2BIG. */
HX_MUST_CHECK long grammar_matcher_forced(const struct grammar_matcher *m, char *bytes, size_t size);

#endif
