/* Places in the expressions of a builder, for engine/grammar_except.c alone. */
#ifndef ENGINE_GRAMMAR_EXCEPT_PLACES_H
#define ENGINE_GRAMMAR_EXCEPT_PLACES_H

#include "engine/grammar_program.h"

/* ---- numbers for things of four words ---- */

struct grammar_table {
    uint32_t (*keys)[4]; /* by number */
    uint32_t n;
    size_t cap;
    uint32_t *slots, mask;
};

/* The number of the key, a new one when it has none. *status: -ENOMEM. */
uint32_t grammar_table_find(struct grammar_table *t, const uint32_t key[4], int *status);
bool grammar_table_has(const struct grammar_table *t, const uint32_t key[4]);
void grammar_table_finish(struct grammar_table *t);

/* ---- places ---- */

/* What may still come: an expression, then the rest, which is a place again. */
#define GRAMMAR_PLACE_END      0u /* nothing */
#define GRAMMAR_PLACE_ANYTHING 1u /* only where that is followed: all that is left is any bytes */

struct grammar_move {
    uint32_t to;
    uint8_t low, high;
};

struct grammar_moves {
    struct grammar_move *all;
    size_t n, cap;
    bool ends; /* the text may end here */
};

/* A place as an expression; GRAMMAR_NONE: not made yet. */
struct grammar_rest {
    uint32_t inner, whole;
};

struct grammar_places {
    struct grammar_builder *b;
    bool swallow;                     /* grammar_anything() makes all behind it one place */
    struct grammar_table places;      /* an expression, or the end of a nested rule, and the rest */
    struct grammar_table expressions; /* parts that had no number in the builder: kind, a, b, c */
    uint32_t *made;                   /* their numbers there */
    size_t made_cap;
    uint32_t *seen; /* by place: the search that came by last */
    size_t n_seen, seen_cap;
    uint32_t search;
    struct grammar_rest *rests; /* by place */
    size_t n_rests, rests_cap;
    int status;
};

void grammar_places_init(struct grammar_places *p, struct grammar_builder *b, bool swallow);
void grammar_places_finish(struct grammar_places *p);
/* The place of an expression alone. */
uint32_t grammar_places_at(struct grammar_places *p, uint32_t expression);
/* Adds the ways from the place to `out`. 0, -ENOMEM, -E2BIG, -ENOTSUP. */
HX_MUST_CHECK int grammar_places_moves(struct grammar_places *p, uint32_t place, struct grammar_moves *out);
/* An expression of all that may come from the place on. Failures: GRAMMAR_NONE, and in p->status. */
uint32_t grammar_places_rest(struct grammar_places *p, uint32_t place);

#endif
