/* The translation at work. Private to agent/constrain*.c.
 *
 * A unit is a set of schema nodes that one value must pass together; each distinct unit becomes one rule. Its
 * nodes are first taken apart into atoms (a node's own conditions) and forms (anyOf, oneOf); each way to
 * choose among the forms gives a set of atoms, and from those come the alternatives by type. */
#ifndef AGENT_CONSTRAIN_INNER_H
#define AGENT_CONSTRAIN_INNER_H

#include "agent/constrain.h"
#include "tools/schema_graph.h"

#define CONSTRAIN_UNIT_MAX  48  /* nodes of a unit; more is not constrainable */
#define CONSTRAIN_WAYS_MAX  256 /* ways through the forms of a unit */
#define CONSTRAIN_UNITS_MAX 20000
#define CONSTRAIN_DEPTH_MAX 400 /* units being translated inside each other */

struct unit {
    const struct schema_node *at[CONSTRAIN_UNIT_MAX];
    size_t n;
};

struct constrain_known {
    size_t from, n; /* node ids in `ids` */
    uint32_t rule;
};

struct constrain {
    struct grammar_builder *b;
    const char *tool;  /* for the report; NULL: none */
    const char *place; /* JSON pointer of what is being translated */
    bool whole;
    struct constrain_report *report;
    int status; /* -ENOMEM, -E2BIG: ends the translation */
    int depth;
    bool free_names;               /* some object of this schema may have members that it does not declare */
    struct constrain_known *known; /* the units of this schema that have a rule */
    size_t n_known, known_cap;
    uint32_t *slots; /* hash table over `known`, index + 1 */
    size_t n_slots;
    uint32_t *ids;
    size_t n_ids, ids_cap;
    /* rules for what comes again and again; GRAMMAR_NONE: not made yet */
    uint32_t name_rest;                       /* the rest of any name, with its quote */
    uint32_t escaped_rest;                    /* the same behind a character that JSON escapes */
    uint32_t odd_rest;                        /* or behind one beyond ASCII */
    uint32_t formats[FORMAT_UNSUPPORTED + 1]; /* strings of a format, without lengths */
};

/* Adds a node, unless it is there or says nothing. False when the unit is full (noted). */
bool constrain_add(struct constrain *c, struct unit *unit, const struct schema_node *node);
/* The expression of a value that passes all nodes of the unit. */
uint32_t constrain_unit(struct constrain *c, const struct unit *unit);
/* The same, and the value has one of these types. */
uint32_t constrain_unit_of_type(struct constrain *c, const struct unit *unit, unsigned types);
/* Something cannot be said; the grammar lets more pass. */
void constrain_note(struct constrain *c, const char *what);

/* By type; the atoms of the unit are nodes whose in-place edges are no concern any more. */
uint32_t constrain_number(struct constrain *c, const struct unit *atoms, bool integer);
uint32_t constrain_string(struct constrain *c, const struct unit *atoms);
uint32_t constrain_array(struct constrain *c, const struct unit *atoms);
uint32_t constrain_object(struct constrain *c, const struct unit *atoms);

/* Strings with this pattern, without the quotes; GRAMMAR_NONE when it cannot be said. */
uint32_t constrain_pattern(struct constrain *c, const struct regex *regex, size_t min, size_t max);
/* The escape of a character that has one. */
uint32_t constrain_escapes(struct constrain *c);
/* One character of these ranges as JSON strings have it, sorted. */
uint32_t constrain_characters(struct constrain *c, const struct regex_range *ranges, size_t n);

/* ---- whole grammars ---- */

/* -ENOMEM. */
HX_MUST_CHECK int constrain_begin(struct constrain *c, bool whole, struct constrain_report *report);
/* The grammar of `root`, and the end of the translation; the errors of constrain_value(). */
HX_MUST_CHECK int constrain_end(struct constrain *c, uint32_t root, struct grammar **out, char *err,
                                size_t errlen);
/* A value of the schema. Where names are free, to be put into constrain_unique(). */
uint32_t constrain_root(struct constrain *c, const struct schema *schema);
/* The same value, in which no object has a name twice. Ends the work on the schema. */
uint32_t constrain_unique(struct constrain *c, uint32_t value);
/* A call of one of the tools, from the line break behind <tool_call> to </tool_call>. */
uint32_t constrain_calls(struct constrain *c, const struct constrain_tool *tools, size_t n);

/* The arguments less those that the tool must not be called with; nothing when they cannot be said. */
uint32_t constrain_except(struct constrain *c, uint32_t arguments, const struct constrain_tool *tool);

/* constrain_spell.c: appends the value as constrain_spell() does, members in the value's own order. -ENOBUFS,
 * -ENOMEM, -E2BIG for one that is too deep. */
HX_MUST_CHECK int constrain_spell_alone(const struct value *value, struct buf *out);
/* constrain_spell.c: the nodes that apply to a value, by id, which is the order in which members are looked
 * for. Of forms the first that the value passes. */
#define CONSTRAIN_NODES_MAX 512
struct constrain_nodes {
    const struct schema_node *at[CONSTRAIN_NODES_MAX];
    size_t n;
    bool several; /* here or above the value passes more than one form: other orders may be allowed, too */
};
void constrain_nodes_root(struct constrain_nodes *nodes, const struct schema *schema,
                          const struct value *value);
/* Of a member (name) or an item (index). */
void constrain_nodes_child(struct constrain_nodes *nodes, const struct constrain_nodes *parent,
                           const struct value *child, const char *name, size_t index);
/* The members as grammars have them: those that are declared, whose number it returns, in their order; then
 * the others. */
size_t constrain_nodes_order(const struct constrain_nodes *nodes, const struct value *value,
                             const struct value **members);

/* A rule of its own for the expression: a call of it. */
uint32_t constrain_once(struct constrain *c, uint32_t expression);

/* ---- short words for building ---- */

uint32_t constrain_text(struct constrain *c, const char *text);
uint32_t constrain_quoted(struct constrain *c, const char *text); /* as a JSON string */
uint32_t constrain_two(struct constrain *c, uint32_t x, uint32_t y);
uint32_t constrain_three(struct constrain *c, uint32_t x, uint32_t y, uint32_t z);
uint32_t constrain_either(struct constrain *c, uint32_t x, uint32_t y);
uint32_t constrain_nothing(struct constrain *c); /* no text at all matches */
/* Room for n more; NULL when memory is out, which ends the translation. */
void *constrain_grow(struct constrain *c, void *items, size_t size, size_t used, size_t *cap, size_t n);

#endif
