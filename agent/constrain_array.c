/* Arrays: the first items one by one, then any number of equal ones. */
#include "agent/constrain_inner.h"

#include <errno.h>
#include <stdlib.h>

#define PREFIX_MAX 200

struct asked {
    size_t min, max, prefix;
};

static void gather(struct constrain *c, const struct unit *atoms, struct asked *out) {
    *out = (struct asked){.max = SCHEMA_NO_MAX};
    for (size_t i = 0; i < atoms->n; i++) {
        const struct schema_node *s = atoms->at[i];
        out->min = s->min_items > out->min ? s->min_items : out->min;
        out->max = s->max_items < out->max ? s->max_items : out->max;
        out->prefix = s->prefix.count > out->prefix ? s->prefix.count : out->prefix;
    }
    for (size_t i = 0; i < atoms->n; i++) {
        c->place = atoms->at[i]->place;
        if (atoms->at[i]->unique_items && out->max > 1)
            constrain_note(c, "uniqueItems");
        if (atoms->at[i]->contains != NULL)
            constrain_note(c, "contains");
    }
    if (out->prefix > PREFIX_MAX) {
        constrain_note(c, "more than 200 prefixItems");
        out->prefix = PREFIX_MAX;
    }
}

/* The item at `index`, or, at the length of the longest prefix, any one behind. */
static uint32_t item(struct constrain *c, const struct unit *atoms, size_t index) {
    struct unit unit = {.n = 0};
    for (size_t i = 0; i < atoms->n; i++) {
        const struct schema_node *s = atoms->at[i];
        const struct schema_node *own = index < s->prefix.count ? s->prefix.at[index] : s->items;
        if (own != NULL)
            (void)constrain_add(c, &unit, own);
    }
    return constrain_unit(c, &unit);
}

static uint32_t count(size_t n) {
    return n > GRAMMAR_COUNT_MAX ? GRAMMAR_FOREVER : (uint32_t)n;
}

/* Any number of items behind `before` of them. */
static uint32_t tail(struct constrain *c, const struct asked *asked, size_t before, uint32_t one) {
    size_t min = asked->min > before ? asked->min - before : 0;
    size_t max = asked->max == SCHEMA_NO_MAX ? SCHEMA_NO_MAX : asked->max - before;
    uint32_t more = constrain_two(c, constrain_text(c, ", "), one);
    if (min > GRAMMAR_COUNT_MAX)
        return constrain_nothing(c);
    if (before > 0)
        return grammar_repeat(c->b, more, (uint32_t)min, count(max));
    if (max == 0)
        return grammar_literal(c->b, "", 0);
    uint32_t some = constrain_two(c, one,
                                  grammar_repeat(c->b, more, min > 0 ? (uint32_t)min - 1 : 0,
                                                 max == SCHEMA_NO_MAX ? GRAMMAR_FOREVER : count(max - 1)));
    return min > 0 ? some : grammar_repeat(c->b, some, 0, 1);
}

uint32_t constrain_array(struct constrain *c, const struct unit *atoms) {
    struct asked asked;
    gather(c, atoms, &asked);
    if (asked.min > asked.max)
        return constrain_nothing(c);
    uint32_t body = grammar_rule(c->b, true), empty = grammar_literal(c->b, "", 0), rest;
    if (asked.prefix >= asked.max)
        rest = empty;
    else
        rest = tail(c, &asked, asked.prefix, item(c, atoms, asked.prefix));
    size_t last = asked.prefix < asked.max ? asked.prefix : asked.max;
    for (size_t i = last; i-- > 0 && c->status == 0;) {
        uint32_t one = item(c, atoms, i);
        rest = constrain_three(c, constrain_text(c, i > 0 ? ", " : ""), one, rest);
        if (i >= asked.min)
            rest = constrain_either(c, empty, rest);
    }
    grammar_define(c->b, body, constrain_three(c, constrain_text(c, "["), rest, constrain_text(c, "]")));
    return grammar_call(c->b, body);
}
