/* The names of the members of the objects that are open around a place of a JSON value, so that none is
 * written twice in one object. A name is what its characters are, however they are escaped. Private to
 * engine/. */
#ifndef ENGINE_GRAMMAR_NAMES_H
#define ENGINE_GRAMMAR_NAMES_H

#include "engine/grammar.h"

/* Ceilings of one place: -E2BIG above them. */
#define GRAMMAR_NAMES_MAX       4096u      /* of all objects that are open */
#define GRAMMAR_NAMES_BYTES_MAX (1u << 20) /* and their bytes */

/* Whether the place is inside of a value whose names are kept. */
static inline bool grammar_names_is_inside(const struct grammar_names *n) {
    return n->mode != 0;
}

/* The first byte of an object or array. -ENOMEM. */
HX_MUST_CHECK int grammar_names_begin(struct grammar_names *n, unsigned char byte);
/* The next byte of the value, behind whose end the place is outside. 1; 0: it closes a name that the object
 * has already; -ENOMEM, -E2BIG: the place is of no use any more but to grammar_names_finish(). */
HX_MUST_CHECK int grammar_names_byte(struct grammar_names *n, unsigned char byte);
/* Whether none of the bytes begins or ends anything; all of such bytes at once. */
bool grammar_names_is_plain(const char *bytes, size_t len);
HX_MUST_CHECK int grammar_names_plain(struct grammar_names *n, const char *bytes, size_t len);
/* Whether it is clear without taking them that the bytes end no name that the object has, and begin no other
 * value behind the end of this one. */
bool grammar_names_is_new(const struct grammar_names *n, const char *bytes, size_t len);

/* The same place again; costs nothing until one of the two goes on. */
void grammar_names_copy(struct grammar_names *n, const struct grammar_names *from);
void grammar_names_finish(struct grammar_names *n);

/* Of all objects that are open. */
uint32_t grammar_names_count(const struct grammar_names *n);
/* Whether the place is in a name; `escape`: in an escape there. */
bool grammar_names_in_name(const struct grammar_names *n, bool escape);
/* What the names of the object have behind what is written of this one, those that begin with it: the next
 * from *at on, which begins as 0. NULL: no more. */
const char *grammar_names_rest(const struct grammar_names *n, uint32_t *at, size_t *len);
/* Takes the tokens out of the mask of the matcher's state that write a name again; those after which a name
 * must go on and the end is not `within` reach (grammar_matcher_mask()). */
HX_MUST_CHECK int grammar_names_drop_repeats(const struct grammar_matcher *m, const struct grammar_vocab *v,
                                             uint32_t *mask);
HX_MUST_CHECK int grammar_names_drop_far(const struct grammar_matcher *m, const struct grammar_vocab *v,
                                         uint32_t within, uint32_t *mask);
/* Whether what is written is a name of the object. */
bool grammar_names_has_this(const struct grammar_names *n);
/* Whether a name comes next, and may not be the empty one, which the object has. */
bool grammar_names_is_longer_next(const struct grammar_names *n);

#endif
