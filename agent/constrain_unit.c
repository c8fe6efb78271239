/* Units: what must hold together, taken apart into alternatives. */
#include "agent/constrain_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- units ---- */

static bool says_nothing(const struct schema_node *s) {
    return s->types == SCHEMA_ANY && !s->has_choices && s->lower.value == NULL && s->upper.value == NULL &&
           s->multiple_of == NULL && s->min_length == 0 && s->max_length == SCHEMA_NO_MAX &&
           s->pattern == NULL && s->format == FORMAT_NONE && s->prefix.count == 0 && s->items == NULL &&
           s->min_items == 0 && s->max_items == SCHEMA_NO_MAX && !s->unique_items && s->contains == NULL &&
           s->n_properties == 0 && s->n_patterns == 0 && s->additional == NULL && s->names == NULL &&
           s->min_properties == 0 && s->max_properties == SCHEMA_NO_MAX && s->n_dependents == 0 &&
           s->ref == NULL && s->all_of.count == 0 && s->any_of.count == 0 && s->one_of.count == 0 &&
           s->negated == NULL && s->condition == NULL;
}

bool constrain_add(struct constrain *c, struct unit *unit, const struct schema_node *node) {
    size_t i = 0;
    while (i < unit->n && unit->at[i]->id < node->id)
        i++;
    if ((i < unit->n && unit->at[i] == node) || says_nothing(node))
        return true;
    if (unit->n == CONSTRAIN_UNIT_MAX) {
        constrain_note(c, "too many schemas for one value");
        return false;
    }
    memmove(&unit->at[i + 1], &unit->at[i], (unit->n - i) * sizeof unit->at[0]);
    unit->at[i] = node;
    unit->n++;
    return true;
}

static uint64_t hash_unit(const struct unit *unit) {
    uint64_t h = unit->n;
    for (size_t i = 0; i < unit->n; i++) {
        h = (h ^ unit->at[i]->id) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    return h;
}

static bool same_unit(const struct constrain *c, const struct constrain_known *k, const struct unit *unit) {
    if (k->n != unit->n)
        return false;
    for (size_t i = 0; i < k->n; i++)
        if (c->ids[k->from + i] != unit->at[i]->id)
            return false;
    return true;
}

static bool rehash(struct constrain *c) {
    size_t n = c->n_slots == 0 ? 64 : c->n_slots * 2;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (slots == NULL) {
        c->status = -ENOMEM;
        return false;
    }
    for (size_t k = 0; k < c->n_known; k++) {
        uint64_t h = c->known[k].n;
        for (size_t i = 0; i < c->known[k].n; i++) {
            h = (h ^ c->ids[c->known[k].from + i]) * 0x9E3779B97F4A7C15u;
            h ^= h >> 29;
        }
        while (slots[h & (n - 1)] != 0)
            h++;
        slots[h & (n - 1)] = (uint32_t)k + 1;
    }
    free(c->slots);
    c->slots = slots;
    c->n_slots = n;
    return true;
}

/* The unit's rule; *fresh when it is not defined yet. GRAMMAR_NONE ends the translation. */
static uint32_t find_rule(struct constrain *c, const struct unit *unit, bool *fresh) {
    *fresh = false;
    if ((c->n_known + 1) * 2 > c->n_slots && !rehash(c))
        return GRAMMAR_NONE;
    uint64_t h = hash_unit(unit);
    for (; c->slots[h & (c->n_slots - 1)] != 0; h++) {
        const struct constrain_known *k = &c->known[c->slots[h & (c->n_slots - 1)] - 1];
        if (same_unit(c, k, unit))
            return k->rule;
    }
    if (c->n_known == CONSTRAIN_UNITS_MAX) {
        c->status = -E2BIG;
        return GRAMMAR_NONE;
    }
    void *known = constrain_grow(c, c->known, sizeof *c->known, c->n_known, &c->known_cap, 1);
    c->known = known != NULL ? known : c->known;
    void *ids = constrain_grow(c, c->ids, sizeof *c->ids, c->n_ids, &c->ids_cap, unit->n);
    c->ids = ids != NULL ? ids : c->ids;
    if (known == NULL || ids == NULL)
        return GRAMMAR_NONE;
    uint32_t rule = grammar_rule(c->b, false);
    c->known[c->n_known] = (struct constrain_known){c->n_ids, unit->n, rule};
    c->slots[h & (c->n_slots - 1)] = (uint32_t)++c->n_known;
    for (size_t i = 0; i < unit->n; i++)
        c->ids[c->n_ids++] = unit->at[i]->id;
    *fresh = true;
    return rule;
}

/* ---- ways through the forms ---- */

#define FORMS_MAX 16

struct ways {
    const struct unit *unit; /* as it was asked for */
    uint32_t *found;         /* their expressions */
    size_t n, cap;
};

struct way {
    struct unit atoms;
    const struct schema_list *forms[FORMS_MAX];
    size_t n_forms;
    unsigned types;
    bool quiet; /* only looked at, never translated */
};

static void check_one_of(struct constrain *c, const struct schema_node *s);

/* Takes a node apart into the way. */
static void take(struct constrain *c, struct way *way, const struct schema_node *s, int depth) {
    size_t before = way->atoms.n;
    if (depth > SCHEMA_CHAIN_MAX || !constrain_add(c, &way->atoms, s) || way->atoms.n == before)
        return;
    way->types &= s->types;
    if (s->one_of.count > 1 && !way->quiet)
        check_one_of(c, s);
    if (s->ref != NULL)
        take(c, way, s->ref, depth + 1);
    for (size_t i = 0; i < s->all_of.count; i++)
        take(c, way, s->all_of.at[i], depth + 1);
    const struct schema_list *forms[] = {&s->any_of, &s->one_of};
    for (size_t i = 0; i < 2; i++) {
        if (forms[i]->count == 0)
            continue;
        if (way->n_forms == FORMS_MAX)
            constrain_note(c, "too many anyOf for one value");
        else
            way->forms[way->n_forms++] = forms[i];
    }
}

static bool has_choices(const struct unit *atoms) {
    for (size_t i = 0; i < atoms->n; i++)
        if (atoms->at[i]->has_choices)
            return true;
    return false;
}

/* A value in the spelling of this project. */
static uint32_t spelled(struct constrain *c, const struct value *value) {
    struct buf text;
    buf_init(&text, 8u << 20);
    int rc = constrain_spell_alone(value, &text);
    uint32_t e = rc == 0 ? grammar_literal(c->b, text.data, text.len) : GRAMMAR_NONE;
    if (rc < 0)
        c->status = rc == -ENOMEM ? rc : -E2BIG;
    buf_finish(&text);
    return e;
}

static bool passes_all(struct constrain *c, const struct unit *unit, const struct value *value) {
    for (size_t i = 0; i < unit->n; i++) {
        int rc = schema_passes(unit->at[i], value);
        if (rc < 0)
            c->status = rc;
        if (rc != 1)
            return false;
    }
    return true;
}

static unsigned types_of(const struct value *value) {
    static const unsigned types[] = {
        [VALUE_NULL] = SCHEMA_NULL,     [VALUE_FALSE] = SCHEMA_BOOLEAN,
        [VALUE_TRUE] = SCHEMA_BOOLEAN,  [VALUE_NUMBER] = SCHEMA_NUMBER | SCHEMA_INTEGER,
        [VALUE_STRING] = SCHEMA_STRING, [VALUE_ARRAY] = SCHEMA_ARRAY,
        [VALUE_OBJECT] = SCHEMA_OBJECT,
    };
    return types[value->kind];
}

/* The values of an enum that all of the unit and the way let pass: whatever else is said is judged by the
 * validator here. */
static uint32_t choices(struct constrain *c, const struct unit *unit, const struct unit *atoms,
                        unsigned types) {
    const struct schema_node *fewest = NULL;
    for (size_t i = 0; i < atoms->n; i++)
        if (atoms->at[i]->has_choices && (fewest == NULL || atoms->at[i]->n_choices < fewest->n_choices))
            fewest = atoms->at[i];
    uint32_t *items = calloc(fewest->n_choices + 1, sizeof *items);
    if (items == NULL) {
        c->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    size_t n = 0;
    for (size_t i = 0; i < fewest->n_choices && c->status == 0; i++)
        if ((types & types_of(fewest->choices[i])) != 0 && passes_all(c, unit, fewest->choices[i]) &&
            passes_all(c, atoms, fewest->choices[i]))
            items[n++] = spelled(c, fewest->choices[i]);
    uint32_t e = c->status == 0 ? grammar_choice(c->b, items, n) : GRAMMAR_NONE;
    free(items);
    return e;
}

/* Values of the atoms by type. */
static uint32_t by_type(struct constrain *c, const struct way *way) {
    uint32_t items[SCHEMA_TYPES];
    size_t n = 0;
    const struct unit *atoms = &way->atoms;
    for (size_t i = 0; i < atoms->n; i++) {
        const struct schema_node *s = atoms->at[i];
        c->place = s->place;
        if (s->negated != NULL)
            constrain_note(c, "not");
        if (s->condition != NULL)
            constrain_note(c, "if");
    }
    if ((way->types & SCHEMA_NULL) != 0)
        items[n++] = constrain_text(c, "null");
    if ((way->types & SCHEMA_BOOLEAN) != 0)
        items[n++] = constrain_either(c, constrain_text(c, "true"), constrain_text(c, "false"));
    if ((way->types & (SCHEMA_NUMBER | SCHEMA_INTEGER)) != 0)
        items[n++] = constrain_number(c, atoms, (way->types & SCHEMA_NUMBER) == 0);
    if ((way->types & SCHEMA_STRING) != 0)
        items[n++] = constrain_string(c, atoms);
    if ((way->types & SCHEMA_ARRAY) != 0)
        items[n++] = constrain_array(c, atoms);
    if ((way->types & SCHEMA_OBJECT) != 0)
        items[n++] = constrain_object(c, atoms);
    return grammar_choice(c->b, items, n);
}

static void add_way(struct constrain *c, struct ways *ways, uint32_t e) {
    uint32_t *grown = constrain_grow(c, ways->found, sizeof *ways->found, ways->n, &ways->cap, 1);
    if (grown == NULL)
        return;
    ways->found = grown;
    ways->found[ways->n++] = e;
}

static void walk_ways(struct constrain *c, struct ways *ways, const struct way *way) {
    if (c->status != 0 || way->types == 0)
        return;
    if (ways->n >= CONSTRAIN_WAYS_MAX) {
        c->status = -E2BIG;
        return;
    }
    if (has_choices(&way->atoms)) { /* whatever else there is */
        add_way(c, ways, choices(c, ways->unit, &way->atoms, way->types));
        return;
    }
    if (way->n_forms == 0) {
        add_way(c, ways, by_type(c, way));
        return;
    }
    const struct schema_list *form = way->forms[way->n_forms - 1];
    for (size_t i = 0; i < form->count; i++) {
        struct way *next = malloc(sizeof *next);
        if (next == NULL) {
            c->status = -ENOMEM;
            return;
        }
        *next = *way;
        next->n_forms--;
        take(c, next, form->at[i], 0);
        walk_ways(c, ways, next);
        free(next);
    }
}

/* ---- oneOf ---- */

/* What a node asks for with everything in place below it. */
static void gather(struct constrain *c, struct way *way, const struct schema_node *s) {
    *way = (struct way){.types = SCHEMA_ANY, .quiet = true};
    take(c, way, s, 0);
}

/* The few values that the member may have, or NULL. */
static const struct schema_node *tag_of(const struct unit *atoms, const char *name, bool *required) {
    const struct schema_node *found = NULL;
    *required = false;
    for (size_t i = 0; i < atoms->n; i++) {
        const struct schema_property *p = schema_property(atoms->at[i], name);
        if (p == NULL)
            continue;
        *required = *required || p->required;
        for (const struct schema_node *s = p->schema; s != NULL; s = s->ref)
            if (s->has_choices) {
                found = s;
                break;
            }
    }
    return found;
}

/* Without memory: not known to be. */
static bool disjoint_choices(const struct schema_node *a, const struct schema_node *b) {
    return value_any_equal(a->choices, a->n_choices, b->choices, b->n_choices, NULL) == 0;
}

static const struct schema_node *choice_of(const struct unit *atoms) {
    for (size_t i = 0; i < atoms->n; i++)
        if (atoms->at[i]->has_choices)
            return atoms->at[i];
    return NULL;
}

/* A member that one requires and the other forbids, or that must have different values. */
static bool members_differ(const struct unit *a, const struct unit *b) {
    for (size_t i = 0; i < a->n; i++)
        for (size_t p = 0; p < a->at[i]->n_properties; p++) {
            const char *name = a->at[i]->properties[p].name;
            bool here, there;
            const struct schema_node *mine = tag_of(a, name, &here), *other = tag_of(b, name, &there);
            if (here && there && mine != NULL && other != NULL && disjoint_choices(mine, other))
                return true;
            for (size_t k = 0; here && k < b->n; k++) {
                const struct schema_node *s = b->at[k];
                if (s->additional != NULL && s->additional->types == 0 && s->n_patterns == 0 &&
                    schema_property(s, name) == NULL)
                    return true;
            }
        }
    return false;
}

static bool are_disjoint(const struct way *a, const struct way *b) {
    unsigned common = a->types & b->types;
    if (common == 0)
        return true;
    const struct schema_node *x = choice_of(&a->atoms), *y = choice_of(&b->atoms);
    if (x != NULL && y != NULL)
        return disjoint_choices(x, y);
    return common == SCHEMA_OBJECT &&
           (members_differ(&a->atoms, &b->atoms) || members_differ(&b->atoms, &a->atoms));
}

/* Notes it when a value could be of two forms: then it is of none. */
static void check_one_of(struct constrain *c, const struct schema_node *s) {
    size_t n = s->one_of.count;
    struct way *ways = n <= 64 ? calloc(n, sizeof *ways) : NULL;
    bool sure = ways != NULL;
    for (size_t i = 0; i < n && sure; i++) {
        gather(c, &ways[i], s->one_of.at[i]);
        for (size_t k = 0; k < i && sure; k++)
            sure = are_disjoint(&ways[i], &ways[k]);
    }
    free(ways);
    if (sure)
        return;
    c->place = s->place;
    constrain_note(c, "oneOf whose forms may overlap");
}

/* ---- the whole ---- */

static uint32_t translate(struct constrain *c, const struct unit *unit, unsigned types) {
    struct ways ways = {.unit = unit};
    struct way *way = calloc(1, sizeof *way);
    if (way == NULL) {
        c->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    way->types = types;
    for (size_t i = 0; i < unit->n; i++)
        take(c, way, unit->at[i], 0);
    walk_ways(c, &ways, way);
    free(way);
    uint32_t e = c->status == 0 ? grammar_choice(c->b, ways.found, ways.n) : GRAMMAR_NONE;
    free(ways.found);
    return e;
}

uint32_t constrain_unit(struct constrain *c, const struct unit *unit) {
    bool fresh;
    if (c->status != 0)
        return GRAMMAR_NONE;
    uint32_t rule = find_rule(c, unit, &fresh);
    if (c->status != 0)
        return GRAMMAR_NONE;
    if (fresh) {
        if (c->depth >= CONSTRAIN_DEPTH_MAX) {
            c->status = -E2BIG;
            return GRAMMAR_NONE;
        }
        const char *place = c->place;
        c->depth++;
        uint32_t e = translate(c, unit, SCHEMA_ANY);
        c->depth--;
        c->place = place;
        grammar_define(c->b, rule, e);
    }
    return grammar_call(c->b, rule);
}

uint32_t constrain_unit_of_type(struct constrain *c, const struct unit *unit, unsigned types) {
    return c->status == 0 ? translate(c, unit, types) : GRAMMAR_NONE;
}
