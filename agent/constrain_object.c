/* Objects: the declared members in their order, each there or not, then others. */
#include "agent/constrain_inner.h"

#include "base/json.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MEMBERS_MAX   2000
#define PATTERN_STEPS 1000000u /* of looking for one pattern in one name */

struct member {
    const char *name;
    bool required;
    struct unit values;
};

struct object {
    struct constrain *c;
    const struct unit *atoms;
    struct member *members;
    size_t n, cap;
    size_t min, max; /* members */
    uint32_t entry;  /* a member that is not declared; GRAMMAR_NONE: there may be none */
    bool quoted;     /* members have the quote before their names; else it stands with the comma or brace */
    bool declared;   /* some atom has properties or patterns */
    bool listed;     /* no names but those of the members: a list says which there may be */
    bool impossible;
};

/* ---- declared members ---- */

static struct member *find(struct object *o, const char *name) {
    for (size_t i = 0; i < o->n; i++)
        if (strcmp(o->members[i].name, name) == 0)
            return &o->members[i];
    return NULL;
}

static void add_member(struct object *o, const struct schema_property *p) {
    struct member *m = find(o, p->name);
    if (m == NULL) {
        if (o->n == MEMBERS_MAX) {
            o->c->status = -E2BIG;
            return;
        }
        struct member *grown = constrain_grow(o->c, o->members, sizeof *o->members, o->n, &o->cap, 1);
        if (grown == NULL)
            return;
        o->members = grown;
        m = &o->members[o->n++];
        *m = (struct member){.name = p->name};
    }
    m->required = m->required || p->required;
}

/* 1, 0; a failure ends the translation. */
static int found_in(struct constrain *c, const struct regex *pattern, const char *name) {
    uint64_t steps = PATTERN_STEPS;
    int rc = regex_search(pattern, name, strlen(name), &steps);
    if (rc < 0)
        c->status = rc;
    return rc == 1;
}

/* What the member's value must pass. False when its name is not allowed. */
static bool gather_values(struct object *o, struct member *m) {
    for (size_t i = 0; i < o->atoms->n; i++) {
        const struct schema_node *s = o->atoms->at[i];
        const struct schema_property *p = schema_property(s, m->name);
        bool covered = p != NULL && p->schema != NULL;
        if (covered)
            (void)constrain_add(o->c, &m->values, p->schema);
        for (size_t k = 0; k < s->n_patterns; k++)
            if (found_in(o->c, s->patterns[k].pattern, m->name)) {
                covered = true;
                (void)constrain_add(o->c, &m->values, s->patterns[k].schema);
            }
        if (!covered && s->additional != NULL)
            (void)constrain_add(o->c, &m->values, s->additional);
        int fits = s->names != NULL ? schema_passes_text(s->names, m->name) : 1;
        if (fits < 0)
            o->c->status = fits;
        if (fits != 1)
            return false;
    }
    return true;
}

/* Names that are listed one by one are as if they were declared, in the order of the list: so none comes
 * twice. */
static void list_names(struct object *o, const struct schema_node *names) {
    if (names == NULL || !names->has_choices)
        return;
    o->listed = true;
    for (size_t k = 0; k < names->n_choices && o->c->status == 0; k++)
        if (names->choices[k]->kind == VALUE_STRING)
            add_member(o, &(struct schema_property){.name = names->choices[k]->text});
}

static void gather_members(struct object *o) {
    struct constrain *c = o->c;
    for (size_t i = 0; i < o->atoms->n; i++) {
        const struct schema_node *s = o->atoms->at[i];
        c->place = s->place;
        o->min = s->min_properties > o->min ? s->min_properties : o->min;
        o->max = s->max_properties < o->max ? s->max_properties : o->max;
        o->declared = o->declared || s->n_properties > 0 || s->n_patterns > 0;
        if (s->n_dependents > 0)
            constrain_note(c, "dependentRequired or dependentSchemas");
        for (size_t k = 0; k < s->n_properties && c->status == 0; k++)
            add_member(o, &s->properties[k]);
    }
    for (size_t i = 0; i < o->atoms->n && o->n == 0 && !o->listed; i++)
        list_names(o, o->atoms->at[i]->names);
    size_t kept = 0;
    for (size_t i = 0; i < o->n && c->status == 0; i++) {
        struct member m = o->members[i];
        if (gather_values(o, &m))
            o->members[kept++] = m;
        else
            o->impossible = o->impossible || m.required;
    }
    o->n = c->status == 0 ? kept : o->n;
}

/* ---- names of others ---- */

/* The rest of any name. */
static uint32_t name_rest(struct constrain *c) {
    if (c->name_rest == GRAMMAR_NONE)
        c->name_rest = constrain_once(
            c, constrain_two(c, grammar_string(c->b, 0, GRAMMAR_FOREVER), constrain_text(c, "\"")));
    return c->name_rest;
}

/* A character that JSON escapes, or one beyond ASCII unless such ones are `narrow`, and the rest of any name:
 * one rule for all names, in which every place has this. */
static uint32_t odd_rest(struct constrain *c, bool narrow) {
    static const struct grammar_range beyond[] = {{0x80, 0x10FFFF}};
    uint32_t *rest = narrow ? &c->escaped_rest : &c->odd_rest;
    if (*rest == GRAMMAR_NONE) {
        uint32_t ways[2] = {constrain_escapes(c)};
        if (!narrow)
            ways[1] = grammar_chars(c->b, beyond, 1);
        *rest = constrain_once(c, constrain_two(c, grammar_choice(c->b, ways, narrow ? 1 : 2), name_rest(c)));
    }
    return *rest;
}

/* A plain ASCII character of these bytes. */
static uint32_t plain_bytes(struct constrain *c, unsigned first, unsigned last) {
    uint32_t ways[3];
    size_t n = 0;
    static const unsigned cuts[] = {'"', '\\', 0x80};
    for (size_t i = 0; i < 3; i++) {
        unsigned to = last < cuts[i] ? last : cuts[i] - 1;
        if (first <= to)
            ways[n++] = grammar_byte(c->b, (unsigned char)first, (unsigned char)to);
        first = first > cuts[i] ? first : cuts[i] + 1;
    }
    return grammar_choice(c->b, ways, n);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The rest of a name, with its closing quote, that is none of these, which are equal up to `at`. Names that
 * go another way after a character beyond ASCII go there at its first byte. `open`: none has such a
 * character, so that any characters are the beginning of another name. */
static uint32_t other_name(struct constrain *c, const char *const *names, size_t n, size_t at, bool open,
                           int depth) {
    uint32_t *ways = calloc(2 * n + 6, sizeof *ways);
    if (ways == NULL || depth > GRAMMAR_DEPTH_MAX / 4) {
        c->status = ways == NULL ? -ENOMEM : -E2BIG;
        free(ways);
        return GRAMMAR_NONE;
    }
    size_t count = 0, first = 0;
    uint32_t quote = constrain_text(c, "\"");
    uint32_t anything = name_rest(c);
    unsigned from = 0x20;
    bool wide_names = false;
    if (names[0][at] != '\0' && (c->whole || at > 0)) /* models write no empty name */
        ways[count++] = quote;
    while (first < n && names[first][at] == '\0')
        first++;
    while (first < n) {
        unsigned char byte = (unsigned char)names[first][at];
        size_t last = first;
        while (last < n && (unsigned char)names[last][at] == byte)
            last++;
        if (byte >= 0x80) {
            wide_names = true;
            break;
        }
        if (byte > from)
            ways[count++] = constrain_two(c, plain_bytes(c, from, byte - 1u), anything);
        from = byte + 1u;
        ways[count++] = constrain_two(c, plain_bytes(c, byte, byte),
                                      other_name(c, names + first, last - first, at + 1, open, depth + 1));
        first = last;
    }
    if (from < 0x80)
        ways[count++] = constrain_two(c, plain_bytes(c, from, 0x7F), anything);
    ways[count++] = odd_rest(c, wide_names);
    uint32_t e = c->status == 0 ? grammar_choice(c->b, ways, count) : GRAMMAR_NONE;
    free(ways);
    return open ? grammar_open(c->b, e) : e;
}

/* A name that is no declared member's, with the quote behind it. */
static uint32_t name_behind_quote(struct object *o) {
    struct constrain *c = o->c;
    if (o->n == 0)
        return constrain_two(c, grammar_string(c->b, c->whole ? 0 : 1, GRAMMAR_FOREVER),
                             constrain_text(c, "\""));
    const char **known = calloc(o->n, sizeof *known);
    if (known == NULL) {
        c->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    bool open = true;
    for (size_t i = 0; i < o->n; i++) {
        known[i] = o->members[i].name;
        for (const char *p = known[i]; *p != '\0'; p++)
            if ((unsigned char)*p >= 0x7F || (unsigned char)*p < 0x20 || *p == '"' || *p == '\\') {
                constrain_note(c, "other members beside ones with names beyond plain ASCII");
                open = false;
                break;
            }
    }
    qsort(known, o->n, sizeof *known, by_name);
    uint32_t name = other_name(c, known, o->n, 0, open, 0);
    free(known);
    return name;
}

/* Whether it is clear that every text with this pattern is the beginning of a longer one: the end is free, or
 * it is the end of a repetition. Else an object may have all the names there are, and the next one is one
 * again. */
static bool goes_on(const struct regex *pattern) {
    const char *source = regex_source(pattern);
    size_t n = strlen(source);
    if (strchr(source, '$') == NULL)
        return strstr(source, "\\Z") == NULL && strstr(source, "\\z") == NULL &&
               strstr(source, "\\b") == NULL && strstr(source, "\\B") == NULL;
    bool repeats = n >= 4 && source[n - 1] == '$' && (source[n - 2] == '+' || source[n - 2] == '*') &&
                   strchr("\\)}", source[n - 3]) == NULL; /* a group may be empty */
    return repeats && strchr(source, '$') == source + n - 1 && strchr(source, '|') == NULL;
}

static bool name_goes_on(const struct schema_node *s) {
    return !s->has_choices && s->max_length == SCHEMA_NO_MAX && s->format == FORMAT_NONE &&
           (s->pattern == NULL || goes_on(s->pattern)) && s->ref == NULL && s->all_of.count == 0 &&
           s->any_of.count == 0 && s->one_of.count == 0 && s->negated == NULL && s->condition == NULL;
}

/* A name that is no declared member's, with the quote behind it, and the one before where o->quoted. */
static uint32_t undeclared_name(struct object *o) {
    struct constrain *c = o->c;
    struct unit names = {.n = 0};
    for (size_t i = 0; i < o->atoms->n; i++)
        if (o->atoms->at[i]->names != NULL)
            (void)constrain_add(c, &names, o->atoms->at[i]->names);
    if (names.n > 0) {
        if (o->n > 0)
            constrain_note(c, "propertyNames beside properties");
        for (size_t i = 0; i < names.n; i++)
            if (!name_goes_on(names.at[i]))
                constrain_note(c, "propertyNames that an object can use up");
        /* Only strings come before the colon. */
        struct unit strings = names;
        return constrain_unit_of_type(c, &strings, SCHEMA_STRING);
    }
    if (o->quoted) /* the schemas of the names allow any */
        return constrain_two(c, constrain_text(c, "\""), name_behind_quote(o));
    return name_behind_quote(o);
}

/* ---- other members ---- */

/* Whether a pattern is found in every name. */
static bool finds_all(const struct regex *pattern) {
    static const char *const all[] = {"",  ".*",   "^.*$",   "^.*",   ".*$",  "^",
                                      "$", "(.*)", "^(.*)$", "^(.*)", "(.*)$"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(regex_source(pattern), all[i]) == 0)
            return true;
    return false;
}

static bool is_closed(const struct unit *unit) {
    for (size_t i = 0; i < unit->n; i++)
        if (unit->at[i]->types == 0)
            return true;
    return false;
}

static uint32_t entry(struct constrain *c, uint32_t name, const struct unit *values) {
    return constrain_three(c, name, constrain_text(c, ": "), constrain_unit(c, values));
}

/* Members whose names have a pattern. */
static uint32_t patterned(struct object *o, const struct schema_node *s) {
    struct constrain *c = o->c;
    uint32_t ways[16];
    size_t n = 0;
    for (size_t k = 0; k < s->n_patterns && n < 16; k++) {
        struct unit values = {.n = 0};
        for (size_t i = 0; i < o->atoms->n; i++)
            if (o->atoms->at[i] != s && o->atoms->at[i]->additional != NULL)
                (void)constrain_add(c, &values, o->atoms->at[i]->additional);
        (void)constrain_add(c, &values, s->patterns[k].schema);
        if (is_closed(&values))
            continue;
        for (size_t i = 0; i < o->n; i++)
            if (found_in(c, s->patterns[k].pattern, o->members[i].name)) {
                constrain_note(c, "patternProperties that cover properties");
                break;
            }
        uint32_t name = constrain_pattern(c, s->patterns[k].pattern, 0, SCHEMA_NO_MAX);
        if (name == GRAMMAR_NONE) {
            constrain_note(c, "patternProperties with anchors that cannot be said");
            continue;
        }
        if (!goes_on(s->patterns[k].pattern))
            constrain_note(c, "patternProperties whose names an object can use up");
        uint32_t quote = constrain_text(c, "\"");
        name = constrain_two(c, name, quote);
        ways[n++] = entry(c, o->quoted ? constrain_two(c, quote, name) : name, &values);
    }
    if (s->n_patterns > 1)
        constrain_note(c, "several patternProperties");
    return n > 0 ? grammar_choice(c->b, ways, n) : GRAMMAR_NONE;
}

/* What members there may be beside the declared ones. */
static void gather_others(struct object *o) {
    struct constrain *c = o->c;
    struct unit values = {.n = 0};
    const struct schema_node *with_patterns = NULL;
    bool explicit = false, names = false;
    if (o->listed)
        return;
    for (size_t i = 0; i < o->atoms->n; i++) {
        const struct schema_node *s = o->atoms->at[i];
        names = names || s->names != NULL;
        if (s->n_patterns == 1 && finds_all(s->patterns[0].pattern)) {
            (void)constrain_add(c, &values, s->patterns[0].schema);
            explicit = true;
            continue;
        }
        if (s->n_patterns > 0) {
            c->place = s->place;
            if (with_patterns != NULL || s->names != NULL)
                constrain_note(c, "patternProperties in several places, or beside propertyNames");
            with_patterns = s;
        }
        if (s->additional != NULL) {
            (void)constrain_add(c, &values, s->additional);
            explicit = true;
        }
    }
    o->quoted = names; /* these come as whole strings */
    bool open = !is_closed(&values) && (c->whole || explicit || !o->declared);
    if (with_patterns != NULL) {
        if (open)
            constrain_note(c, "patternProperties beside additionalProperties");
        o->entry = patterned(o, with_patterns);
        if (names)
            constrain_note(c, "patternProperties beside propertyNames");
        if (!open)
            return;
    }
    if (open) {
        uint32_t any = entry(c, undeclared_name(o), &values);
        o->entry = o->entry != GRAMMAR_NONE ? constrain_either(c, o->entry, any) : any;
    }
}

/* ---- the whole ---- */

/* What comes before a member: the brace or the comma, and the quote of its name. */
static uint32_t before(const struct object *o, const char *text, const char *text_and_quote) {
    return constrain_text(o->c, o->quoted ? text : text_and_quote);
}

/* Members none of which is declared. */
static uint32_t free_members(struct object *o) {
    struct constrain *c = o->c;
    uint32_t empty = grammar_literal(c->b, "", 0);
    if (o->entry == GRAMMAR_NONE || o->max == 0)
        return o->min == 0 ? empty : constrain_nothing(c);
    uint32_t more = constrain_two(c, before(o, ", ", ", \""), o->entry);
    uint32_t low = o->min > GRAMMAR_COUNT_MAX ? GRAMMAR_COUNT_MAX : (uint32_t)o->min;
    uint32_t high = o->max > GRAMMAR_COUNT_MAX ? GRAMMAR_FOREVER : (uint32_t)o->max - 1;
    uint32_t some = constrain_three(c, before(o, "", "\""), o->entry,
                                    grammar_repeat(c->b, more, low > 0 ? low - 1 : 0, high));
    return low == 0 ? grammar_repeat(c->b, some, 0, 1) : some;
}

/* A declared member's name as a JSON string, without its first quote unless o->quoted. */
static uint32_t declared_name(struct object *o, const char *name) {
    struct constrain *c = o->c;
    struct buf quoted;
    buf_init(&quoted, 16u << 20);
    uint32_t e = GRAMMAR_NONE;
    size_t skip = o->quoted ? 0 : 1;
    int rc = json_quote(&quoted, name, strlen(name), false);
    rc = rc ? rc : buf_append(&quoted, ": ", 2);
    if (rc == 0)
        e = grammar_literal(c->b, quoted.data + skip, quoted.len - skip);
    else
        c->status = rc == -ENOBUFS ? -E2BIG : rc;
    buf_finish(&quoted);
    return e;
}

/* Declared ones, then others, with one rule each: the members from this one on, of which at least one comes.
 * What they all begin with stands before the choice among them, so that few places are open at a time. */
static uint32_t declared_members(struct object *o, bool may_be_empty) {
    struct constrain *c = o->c;
    uint32_t comma = before(o, ", ", ", \""), some = constrain_nothing(c);
    bool must = false, any = o->entry != GRAMMAR_NONE; /* one of them comes; one may */
    if (any) {
        o->entry = constrain_once(c, o->entry);
        uint32_t more = grammar_repeat(c->b, constrain_two(c, comma, o->entry), 0, GRAMMAR_FOREVER);
        some = constrain_once(c, constrain_two(c, o->entry, more));
    }
    for (size_t i = o->n; i-- > 0 && c->status == 0;) {
        struct member *m = &o->members[i];
        uint32_t rest = constrain_two(c, comma, some);
        if (!any)
            rest = grammar_literal(c->b, "", 0);
        else if (!must)
            rest = grammar_repeat(c->b, rest, 0, 1);
        uint32_t own = constrain_three(c, declared_name(o, m->name), constrain_unit(c, &m->values), rest);
        some = constrain_once(c, m->required || !any ? own : constrain_either(c, own, some));
        must = must || m->required;
        any = true;
    }
    some = constrain_two(c, before(o, "", "\""), some);
    return may_be_empty && !must ? grammar_repeat(c->b, some, 0, 1) : some;
}

static uint32_t members(struct object *o) {
    struct constrain *c = o->c;
    size_t required = 0;
    for (size_t i = 0; i < o->n; i++)
        required += o->members[i].required;
    if (o->n == 0)
        return free_members(o);
    if (o->min > required && (o->min > 1 || required > 0))
        constrain_note(c, "minProperties beside properties");
    if (o->max < o->n || (o->max != SCHEMA_NO_MAX && o->entry != GRAMMAR_NONE))
        constrain_note(c, "maxProperties beside properties");
    return declared_members(o, o->min == 0);
}

uint32_t constrain_object(struct constrain *c, const struct unit *atoms) {
    struct object o = {.c = c, .atoms = atoms, .max = SCHEMA_NO_MAX, .entry = GRAMMAR_NONE};
    uint32_t result = GRAMMAR_NONE;
    gather_members(&o);
    if (c->status == 0 && (o.impossible || o.min > o.max)) {
        result = constrain_nothing(c);
    } else if (c->status == 0) {
        gather_others(&o);
        c->free_names = c->free_names || o.entry != GRAMMAR_NONE;
        uint32_t body = grammar_rule(c->b, true);
        grammar_define(c->b, body,
                       constrain_three(c, constrain_text(c, "{"), members(&o), constrain_text(c, "}")));
        result = grammar_call(c->b, body);
    }
    free(o.members);
    return result;
}
