#include "engine/grammar_except_places.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 1000        /* expressions entered for one move */
#define CLOSE     0xFFFFFFFEu /* in the place of an expression: the end of a nested rule */

/* ---- tables ---- */

static uint64_t hash_key(const uint32_t key[4]) {
    uint64_t h = 0;
    for (int i = 0; i < 4; i++) {
        h = (h ^ key[i]) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    return h;
}

static bool rehash(struct grammar_table *t) {
    uint32_t size = t->mask == 0 ? 64 : (t->mask + 1) * 2;
    uint32_t *slots = calloc(size, sizeof *slots);
    if (slots == NULL)
        return false;
    for (uint32_t i = 0; i < t->n; i++) {
        uint64_t h = hash_key(t->keys[i]);
        while (slots[h & (size - 1)] != 0)
            h++;
        slots[h & (size - 1)] = i + 1;
    }
    free(t->slots);
    t->slots = slots;
    t->mask = size - 1;
    return true;
}

/* The slot of the key, or an empty one. */
static uint32_t *slot_of(const struct grammar_table *t, const uint32_t key[4]) {
    uint64_t h = hash_key(key);
    while (t->slots[h & t->mask] != 0 &&
           memcmp(t->keys[t->slots[h & t->mask] - 1], key, sizeof t->keys[0]) != 0)
        h++;
    return &t->slots[h & t->mask];
}

uint32_t grammar_table_find(struct grammar_table *t, const uint32_t key[4], int *status) {
    if (((size_t)t->n + 1) * 2 > t->mask && !rehash(t)) {
        *status = -ENOMEM;
        return 0;
    }
    uint32_t *slot = slot_of(t, key);
    if (*slot != 0)
        return *slot - 1;
    void *grown = grammar_grow(t->keys, sizeof *t->keys, t->n, &t->cap, 1);
    if (grown == NULL) {
        *status = -ENOMEM;
        return 0;
    }
    t->keys = grown;
    memcpy(t->keys[t->n], key, sizeof *t->keys);
    *slot = ++t->n;
    return t->n - 1;
}

bool grammar_table_has(const struct grammar_table *t, const uint32_t key[4]) {
    return t->n > 0 && *slot_of(t, key) != 0;
}

void grammar_table_finish(struct grammar_table *t) {
    free(t->keys);
    free(t->slots);
    *t = (struct grammar_table){0};
}

/* ---- places ---- */

static uint32_t add_place(struct grammar_places *p, uint32_t expression, uint32_t rest) {
    const uint32_t key[4] = {expression, rest};
    return grammar_table_find(&p->places, key, &p->status);
}

void grammar_places_init(struct grammar_places *p, struct grammar_builder *b, bool swallow) {
    *p = (struct grammar_places){.b = b, .swallow = swallow};
    (void)add_place(p, GRAMMAR_NONE, 0); /* GRAMMAR_PLACE_END */
    (void)add_place(p, GRAMMAR_NONE, 1); /* GRAMMAR_PLACE_ANYTHING */
}

void grammar_places_finish(struct grammar_places *p) {
    grammar_table_finish(&p->places);
    grammar_table_finish(&p->expressions);
    free(p->made);
    free(p->seen);
    free(p->rests);
    *p = (struct grammar_places){.b = p->b};
}

static bool is_anything(const struct grammar_places *p, uint32_t expression) {
    const struct grammar_expression *x = &p->b->expressions[expression];
    if (!p->swallow || x->kind != GRAMMAR_REPEAT || x->b != 0 || x->c != GRAMMAR_FOREVER)
        return false;
    const struct grammar_expression *one = &p->b->expressions[x->a];
    return one->kind == GRAMMAR_RANGE && one->a == 0 && one->b == 255;
}

/* The expression, then the rest. */
static uint32_t before(struct grammar_places *p, uint32_t expression, uint32_t rest) {
    if (is_anything(p, expression))
        return GRAMMAR_PLACE_ANYTHING;
    bool empty =
        p->b->expressions[expression].kind == GRAMMAR_LITERAL && p->b->expressions[expression].b == 0;
    return empty ? rest : add_place(p, expression, rest);
}

uint32_t grammar_places_at(struct grammar_places *p, uint32_t expression) {
    return before(p, expression, GRAMMAR_PLACE_END);
}

/* What is left of an expression behind a byte or a round: one that the builder may not have yet. */
static uint32_t part(struct grammar_places *p, struct grammar_expression x) {
    const uint32_t key[4] = {(uint32_t)x.kind, x.a, x.b, x.c};
    uint32_t known = p->expressions.n, number = grammar_table_find(&p->expressions, key, &p->status);
    if (p->status != 0 || number < known)
        return p->status != 0 ? 0 : p->made[number];
    struct grammar_builder *b = p->b;
    if (b->n_expressions >= GRAMMAR_EXPRESSIONS_MAX) {
        p->status = -E2BIG;
        return 0;
    }
    void *made = grammar_grow(p->made, sizeof *p->made, number, &p->made_cap, 1);
    p->made = made != NULL ? made : p->made;
    void *all = grammar_grow(b->expressions, sizeof x, b->n_expressions, &b->expressions_cap, 1);
    b->expressions = all != NULL ? all : b->expressions;
    if (made == NULL || all == NULL) {
        p->status = -ENOMEM;
        return 0;
    }
    b->expressions[b->n_expressions] = x;
    p->made[number] = (uint32_t)b->n_expressions;
    return (uint32_t)b->n_expressions++;
}

/* ---- moves ---- */

static void enter(struct grammar_places *p, uint32_t expression, uint32_t rest, struct grammar_moves *out,
                  int depth);

static void add_move(struct grammar_places *p, struct grammar_moves *out, uint32_t low, uint32_t high,
                     uint32_t to) {
    struct grammar_move *grown = grammar_grow(out->all, sizeof *out->all, out->n, &out->cap, 1);
    if (grown == NULL) {
        p->status = -ENOMEM;
        return;
    }
    out->all = grown;
    out->all[out->n++] = (struct grammar_move){to, (uint8_t)low, (uint8_t)high};
}

/* Whether the running search is here for the first time: rounds that may be empty lead in circles. */
static bool is_new(struct grammar_places *p, uint32_t place) {
    if (place >= p->n_seen) {
        uint32_t *grown =
            grammar_grow(p->seen, sizeof *p->seen, p->n_seen, &p->seen_cap, p->places.n - p->n_seen);
        if (grown == NULL) {
            p->status = -ENOMEM;
            return false;
        }
        p->seen = grown;
        memset(p->seen + p->n_seen, 0, (p->places.n - p->n_seen) * sizeof *p->seen);
        p->n_seen = p->places.n;
    }
    bool fresh = p->seen[place] != p->search;
    p->seen[place] = p->search;
    return fresh;
}

static void enter_place(struct grammar_places *p, uint32_t place, struct grammar_moves *out, int depth) {
    if (place == GRAMMAR_PLACE_END || place == GRAMMAR_PLACE_ANYTHING)
        out->ends = true;
    if (place == GRAMMAR_PLACE_ANYTHING)
        add_move(p, out, 0, 255, GRAMMAR_PLACE_ANYTHING);
    if (place <= GRAMMAR_PLACE_ANYTHING || p->status != 0 || !is_new(p, place))
        return;
    uint32_t expression = p->places.keys[place][0], rest = p->places.keys[place][1];
    if (expression == CLOSE)
        enter_place(p, rest, out, depth + 1);
    else
        enter(p, expression, rest, out, depth + 1);
}

static void enter_repeat(struct grammar_places *p, struct grammar_expression x, uint32_t rest,
                         struct grammar_moves *out, int depth) {
    struct grammar_expression again = x;
    again.b = x.b > 0 ? x.b - 1 : 0;
    again.c = x.c == GRAMMAR_FOREVER ? x.c : x.c - 1;
    if (x.b == 0)
        enter_place(p, rest, out, depth);
    if (x.c == 0)
        return;
    uint32_t behind = again.c == 0 ? rest : before(p, part(p, again), rest);
    if (p->status == 0)
        enter(p, x.a, behind, out, depth);
}

/* The ways through the expression, to what is left of it and then the rest. */
static void enter(struct grammar_places *p, uint32_t expression, uint32_t rest, struct grammar_moves *out,
                  int depth) {
    const struct grammar_expression x = p->b->expressions[expression];
    if (depth > DEPTH_MAX)
        p->status = p->status != 0 ? p->status : -E2BIG;
    if (p->status != 0)
        return;
    if (is_anything(p, expression)) {
        enter_place(p, GRAMMAR_PLACE_ANYTHING, out, depth);
        return;
    }
    switch (x.kind) {
    case GRAMMAR_LITERAL:
        if (x.b == 0) {
            enter_place(p, rest, out, depth);
            return;
        }
        if (x.b > 1)
            rest = before(p, part(p, (struct grammar_expression){x.kind, x.a + 1, x.b - 1, 0}), rest);
        add_move(p, out, (unsigned char)p->b->bytes[x.a], (unsigned char)p->b->bytes[x.a], rest);
        return;
    case GRAMMAR_RANGE:
        add_move(p, out, x.a, x.b, rest);
        return;
    case GRAMMAR_SEQUENCE:
        for (uint32_t i = x.b; i-- > 1 && p->status == 0;)
            rest = before(p, p->b->items[x.a + i], rest);
        if (x.b == 0)
            enter_place(p, rest, out, depth);
        else
            enter(p, p->b->items[x.a], rest, out, depth + 1);
        return;
    case GRAMMAR_CHOICE:
        for (uint32_t i = 0; i < x.b; i++)
            enter(p, p->b->items[x.a + i], rest, out, depth + 1);
        return;
    case GRAMMAR_REPEAT:
    case GRAMMAR_STRING:
        enter_repeat(p, x, rest, out, depth + 1);
        return;
    case GRAMMAR_OPEN: /* holds for the whole only, not for what is left of it */
        enter(p, x.a, rest, out, depth + 1);
        return;
    case GRAMMAR_CALL:
        if (p->b->rules[x.a].expression == GRAMMAR_NONE) {
            p->status = -EINVAL;
            return;
        }
        if (p->b->rules[x.a].nested)
            rest = add_place(p, CLOSE, rest);
        enter(p, p->b->rules[x.a].expression, rest, out, depth + 1);
        return;
    case GRAMMAR_TAG:
    case GRAMMAR_UNTIL:
    case GRAMMAR_WITHOUT:
        break;
    }
    p->status = -ENOTSUP;
}

int grammar_places_moves(struct grammar_places *p, uint32_t place, struct grammar_moves *out) {
    p->search++;
    enter_place(p, place, out, 0);
    return p->status;
}

/* ---- the rest as an expression ---- */

/* Room for the two expressions of each place: up to the end of the innermost nested rule, and all. */
static bool make_room(struct grammar_places *p) {
    if (p->places.n <= p->n_rests)
        return true;
    void *grown =
        grammar_grow(p->rests, sizeof *p->rests, p->n_rests, &p->rests_cap, p->places.n - p->n_rests);
    if (grown == NULL) {
        p->status = -ENOMEM;
        return false;
    }
    p->rests = grown;
    for (; p->n_rests < p->places.n; p->n_rests++)
        p->rests[p->n_rests].inner = p->rests[p->n_rests].whole = GRAMMAR_NONE;
    return true;
}

static bool closes(const struct grammar_places *p, uint32_t place) {
    return place == GRAMMAR_PLACE_END || p->places.keys[place][0] == CLOSE;
}

/* Up to the end of the nested rule that the place is in. */
static uint32_t inner(struct grammar_places *p, uint32_t place) {
    struct grammar_builder *b = p->b;
    if (closes(p, place))
        return grammar_literal(b, "", 0);
    if (p->rests[place].inner != GRAMMAR_NONE)
        return p->rests[place].inner;
    uint32_t expression = p->places.keys[place][0], rest = p->places.keys[place][1];
    uint32_t rule = grammar_rule(b, false), call = grammar_call(b, rule);
    p->rests[place].inner = call;
    uint32_t whole =
        closes(p, rest) ? expression : grammar_sequence(b, (uint32_t[]){expression, inner(p, rest)}, 2);
    grammar_define(b, rule, whole);
    return call;
}

/* The levels that the place is in are opened again, each inside the other, so they count for what comes. */
uint32_t grammar_places_rest(struct grammar_places *p, uint32_t place) {
    struct grammar_builder *b = p->b;
    if (!make_room(p))
        return GRAMMAR_NONE;
    if (p->rests[place].whole != GRAMMAR_NONE)
        return p->rests[place].whole;
    uint32_t e = inner(p, place), at = place;
    bool levels = false;
    for (;;) {
        while (!closes(p, at))
            at = p->places.keys[at][1];
        if (at == GRAMMAR_PLACE_END)
            break;
        uint32_t level = grammar_rule(b, true);
        levels = true;
        grammar_define(b, level, e);
        at = p->places.keys[at][1];
        e = grammar_sequence(b, (uint32_t[]){grammar_call(b, level), inner(p, at)}, 2);
    }
    if (levels) {
        uint32_t rule = grammar_rule(b, false);
        grammar_define(b, rule, e);
        e = grammar_call(b, rule);
    }
    p->rests[place].whole = e;
    return e;
}
