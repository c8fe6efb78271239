/* One grammar less another. A place of an expression is what may still come: a list of expressions, one after
 * the other. The byte behind a place leads to further places (partial derivatives, after V. Antimirov), so
 * sets of places are followed for both grammars at once, as long as the second one still can match. */
#include "engine/grammar_except.h"

#include "engine/grammar_except_places.h"
#include "engine/grammar_program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WAYS_ENOUGH (1u << 15) /* out of all pairs: no further pairs then */
#define WAYS_MAX    (1u << 20)

/* ---- pairs: a set of places of either grammar ---- */

struct way {
    uint32_t to; /* a pair, or a place of the first grammar */
    uint8_t low, high;
    bool pair;
};

struct pair {
    uint32_t first, n; /* ways */
    bool ends;
};

/* A rule that many pairs lead to. */
struct wide {
    uint32_t list, call;
};

struct except {
    struct grammar_places item, without;
    struct grammar_table sets;  /* a place and the rest of the set; 0: the empty one */
    struct grammar_table pairs; /* two sets */
    struct pair *found;
    size_t found_cap;
    struct way *ways;
    size_t n_ways, ways_cap;
    struct grammar_moves x, y; /* out of the pair being looked at */
    uint32_t *list;            /* room for places */
    size_t list_cap;
    /* while it is put */
    uint32_t *rules;            /* by pair */
    struct grammar_table lists; /* a way, and the rest of the list */
    struct wide *wide;
    size_t n_wide, wide_cap;
    int status;
};

static int compare_numbers(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The set of n places of the list. */
static uint32_t set_of(struct except *e, size_t n) {
    uint32_t set = 0;
    if (n > 1)
        qsort(e->list, n, sizeof *e->list, compare_numbers);
    for (size_t i = n; i-- > 0 && e->status == 0;) {
        const uint32_t key[4] = {e->list[i], set};
        if (i + 1 < n && e->list[i] == e->list[i + 1])
            continue;
        set = grammar_table_find(&e->sets, key, &e->status) + 1;
    }
    return set;
}

/* Where these moves lead with the byte. */
static size_t reached(struct except *e, const struct grammar_moves *moves, unsigned byte) {
    size_t n = 0;
    uint32_t *grown = grammar_grow(e->list, sizeof *e->list, 0, &e->list_cap, moves->n + 1);
    if (grown == NULL) {
        e->status = -ENOMEM;
        return 0;
    }
    e->list = grown;
    for (size_t i = 0; i < moves->n; i++)
        if (moves->all[i].low <= byte && moves->all[i].high >= byte)
            e->list[n++] = moves->all[i].to;
    return n;
}

static void gather(struct except *e, struct grammar_places *places, uint32_t set, struct grammar_moves *out) {
    out->n = 0;
    out->ends = false;
    for (; set != 0 && e->status == 0; set = e->sets.keys[set - 1][1])
        e->status = grammar_places_moves(places, e->sets.keys[set - 1][0], out);
}

static void add_way(struct except *e, struct pair *pair, struct way way) {
    struct way *last = pair->n > 0 ? &e->ways[e->n_ways - 1] : NULL;
    if (last != NULL && last->pair == way.pair && last->to == way.to && last->high + 1 == way.low) {
        last->high = way.high;
        return;
    }
    if (e->n_ways >= WAYS_MAX) {
        e->status = -E2BIG;
        return;
    }
    struct way *grown = grammar_grow(e->ways, sizeof way, e->n_ways, &e->ways_cap, 1);
    if (grown == NULL) {
        e->status = -ENOMEM;
        return;
    }
    e->ways = grown;
    e->ways[e->n_ways++] = way;
    pair->n++;
}

/* Bytes from low to high lead on to both. */
static void add_pair(struct except *e, struct pair *pair, unsigned low, unsigned high, uint32_t without) {
    uint32_t item = set_of(e, reached(e, &e->x, low));
    const uint32_t key[4] = {item, without};
    if (item == 0 || e->status != 0)
        return;
    bool full = e->pairs.n >= GRAMMAR_EXCEPT_PLACES_MAX || e->n_ways >= WAYS_ENOUGH;
    if (full && !grammar_table_has(&e->pairs, key))
        return; /* left out with all that begins so */
    uint32_t to = grammar_table_find(&e->pairs, key, &e->status);
    if (e->status == 0)
        add_way(e, pair, (struct way){to, (uint8_t)low, (uint8_t)high, true});
}

/* The byte ranges that no move tells apart: `begins` marks their first bytes. */
static void mark(const struct grammar_moves *moves, bool *begins) {
    for (size_t i = 0; i < moves->n; i++)
        begins[moves->all[i].low] = begins[moves->all[i].high + 1] = true;
}

#define LEFT_OUT GRAMMAR_NONE

/* What is left of the second grammar behind each byte: a set, 0, or LEFT_OUT. */
static void follow_without(struct except *e, const bool *begins, uint32_t *sets) {
    uint32_t set = 0;
    for (unsigned byte = 0; byte < 256 && e->status == 0; byte++) {
        if (begins[byte]) {
            size_t n = reached(e, &e->y, byte);
            bool all = false;
            for (size_t i = 0; i < n; i++)
                all = all || e->list[i] == GRAMMAR_PLACE_ANYTHING;
            set = all ? LEFT_OUT : set_of(e, n);
        }
        sets[byte] = set;
    }
}

static void look(struct except *e, uint32_t number) {
    struct pair pair = {.first = (uint32_t)e->n_ways};
    bool begins[257] = {true};
    uint32_t sets[256] = {0};
    gather(e, &e->item, e->pairs.keys[number][0], &e->x);
    gather(e, &e->without, e->pairs.keys[number][1], &e->y);
    pair.ends = e->x.ends && !e->y.ends;
    mark(&e->x, begins);
    mark(&e->y, begins);
    if (e->status == 0)
        follow_without(e, begins, sets);
    for (unsigned low = 0, high; low < 256 && e->status == 0; low = high + 1) {
        for (high = low; high < 255 && !begins[high + 1]; high++)
            continue;
        if (sets[low] != 0 && sets[low] != LEFT_OUT)
            add_pair(e, &pair, low, high, sets[low]);
    }
    for (size_t i = 0; i < e->x.n && e->status == 0; i++) {
        const struct grammar_move *m = &e->x.all[i];
        for (unsigned low = m->low, high; low <= m->high && e->status == 0; low = high + 1) {
            for (high = low; high < m->high && (sets[high + 1] == 0) == (sets[low] == 0); high++)
                continue;
            if (sets[low] == 0)
                add_way(e, &pair, (struct way){m->to, (uint8_t)low, (uint8_t)high, false});
        }
    }
    struct pair *grown = grammar_grow(e->found, sizeof pair, number, &e->found_cap, 1);
    if (grown == NULL) {
        e->status = -ENOMEM;
        return;
    }
    e->found = grown;
    e->found[number] = pair;
}

/* ---- as expressions ---- */

static int compare_ways(const void *a, const void *b) {
    const struct way *x = a, *y = b;
    if (x->pair != y->pair)
        return x->pair ? 1 : -1;
    return x->to != y->to ? (x->to > y->to) - (x->to < y->to) : (x->low > y->low) - (x->low < y->low);
}

/* Those from ways[*at] on that have the same aim, and it. */
static uint32_t put_group(struct except *e, const struct way *ways, uint32_t n, uint32_t *at) {
    struct grammar_builder *b = e->item.b;
    const struct way *way = &ways[*at];
    uint32_t bytes[129], n_bytes = 0; /* ranges that do not touch: 128 at most */
    while (*at < n && ways[*at].pair == way->pair && ways[*at].to == way->to) {
        unsigned low = ways[*at].low, high = ways[*at].high;
        for (++*at;
             *at < n && ways[*at].pair == way->pair && ways[*at].to == way->to && ways[*at].low <= high + 1;
             ++*at)
            high = ways[*at].high > high ? ways[*at].high : high;
        bytes[n_bytes++] = grammar_byte(b, (unsigned char)low, (unsigned char)high);
    }
    uint32_t rest = way->pair ? grammar_call(b, e->rules[way->to]) : grammar_places_rest(&e->item, way->to);
    return grammar_sequence(b, (uint32_t[]){grammar_choice(b, bytes, n_bytes), rest}, 2);
}

/* A rule for these alternatives: bytes beyond ASCII lead on alike from most pairs. */
static uint32_t put_wide(struct except *e, uint32_t list, const uint32_t *items, uint32_t n) {
    struct grammar_builder *b = e->item.b;
    uint32_t known = (uint32_t)e->n_wide;
    for (uint32_t i = 0; i < known; i++)
        if (e->wide[i].list == list)
            return e->wide[i].call;
    struct wide *grown = grammar_grow(e->wide, sizeof *e->wide, e->n_wide, &e->wide_cap, 1);
    if (grown == NULL) {
        e->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    e->wide = grown;
    uint32_t rule = grammar_rule(b, false);
    grammar_define(b, rule, grammar_choice(b, items, n));
    e->wide[e->n_wide++] = (struct wide){list, grammar_call(b, rule)};
    return e->wide[known].call;
}

/* The ways out of a pair: bytes with the same aim stand together. */
static uint32_t put_pair(struct except *e, const struct pair *pair, uint32_t *items, uint32_t *wide) {
    struct way *ways = e->ways + pair->first;
    uint32_t n = 0, n_wide = 0, list = 0;
    if (pair->n > 1)
        qsort(ways, pair->n, sizeof *ways, compare_ways);
    if (pair->ends)
        items[n++] = grammar_literal(e->item.b, "", 0);
    for (uint32_t i = 0; i < pair->n && e->status == 0;) {
        uint32_t from = i;
        bool is_wide = !ways[i].pair && ways[i].low >= 0x80;
        uint32_t group = put_group(e, ways, pair->n, &i);
        for (uint32_t k = from; k < i && is_wide; k++) {
            const uint32_t key[4] = {ways[k].to, ways[k].low, ways[k].high, list};
            list = grammar_table_find(&e->lists, key, &e->status) + 1;
        }
        if (is_wide)
            wide[n_wide++] = group;
        else
            items[n++] = group;
    }
    if (n_wide > 0 && e->status == 0)
        items[n++] = put_wide(e, list, wide, n_wide);
    return e->status == 0 ? grammar_choice(e->item.b, items, n) : GRAMMAR_NONE;
}

static int put_all(struct except *e, struct grammar_builder *b, uint32_t *out) {
    uint32_t n = e->pairs.n, most = 0;
    for (uint32_t i = 0; i < n; i++)
        most = e->found[i].n > most ? e->found[i].n : most;
    uint32_t *room = calloc(2 * ((size_t)most + 2), sizeof *room);
    e->rules = calloc(n, sizeof *e->rules);
    if (e->rules == NULL || room == NULL)
        e->status = -ENOMEM;
    for (uint32_t i = 0; i < n && e->status == 0; i++)
        e->rules[i] = grammar_rule(b, false);
    for (uint32_t i = 0; i < n && e->status == 0; i++)
        grammar_define(b, e->rules[i], put_pair(e, &e->found[i], room, room + most + 2));
    e->status = e->status != 0 ? e->status : e->item.status;
    if (e->status == 0)
        *out = grammar_call(b, e->rules[0]);
    free(room);
    return e->status;
}

uint32_t grammar_anything(struct grammar_builder *b) {
    return grammar_repeat(b, grammar_byte(b, 0, 255), 0, GRAMMAR_FOREVER);
}

/* The pair that both begin with. */
static void begin(struct except *e, uint32_t item, uint32_t without) {
    uint32_t key[4] = {0}, both[2];
    both[0] = grammar_places_at(&e->item, item);
    both[1] = grammar_places_at(&e->without, without);
    e->status = e->item.status != 0 ? e->item.status : e->without.status;
    e->list = grammar_grow(NULL, sizeof *e->list, 0, &e->list_cap, 1);
    if (e->list == NULL)
        e->status = -ENOMEM;
    for (int i = 0; i < 2 && e->status == 0; i++) {
        e->list[0] = both[i];
        key[i] = set_of(e, 1);
    }
    if (e->status == 0)
        (void)grammar_table_find(&e->pairs, key, &e->status);
}

int grammar_except(struct grammar_builder *b, uint32_t item, struct grammar_builder *other, uint32_t without,
                   uint32_t *out) {
    struct except e = {.status = 0};
    if (b->status != 0 || other->status != 0) {
        *out = GRAMMAR_NONE;
        return b->status != 0 ? 0 : other->status; /* compiling will say it */
    }
    grammar_places_init(&e.item, b, false);
    grammar_places_init(&e.without, other, true);
    begin(&e, item, without);
    for (uint32_t i = 0; i < e.pairs.n && e.status == 0; i++)
        look(&e, i);
    int rc = e.status == 0 ? put_all(&e, b, out) : e.status;
    grammar_places_finish(&e.item);
    grammar_places_finish(&e.without);
    grammar_table_finish(&e.sets);
    grammar_table_finish(&e.pairs);
    grammar_table_finish(&e.lists);
    free(e.rules);
    free(e.wide);
    free(e.found);
    free(e.ways);
    free(e.x.all);
    free(e.y.all);
    free(e.list);
    return rc;
}
