/* A compiled schema as a graph that a stranger can walk: the validator does, and a grammar is made from it.
 *
 * A value passes a node when it passes everything that the node says: every member below is one condition,
 * and all of them hold together. A member at its neutral value (named in each comment) is no condition.
 * Conditions on numbers, strings, arrays and objects apply to values of that type only and let others pass
 * ("types" decides which types there may be). Nodes are shared and the graph has cycles where the schema is
 * recursive: keep what you made of a node in an array of schema_nodes() entries, by `id`. Every cycle goes
 * through a property, an item or the like, so walking only the in-place edges (ref, all_of, any_of, one_of,
 * negated, condition, then_schema, else_schema, dependents) ends, in fewer than SCHEMA_CHAIN_MAX steps. All
 * is borrowed until schema_destroy(), immutable, and may be read by any thread. */
#ifndef TOOLS_SCHEMA_GRAPH_H
#define TOOLS_SCHEMA_GRAPH_H

#include "tools/decimal.h"
#include "tools/format.h"
#include "tools/regex.h"
#include "tools/value.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct schema; /* tools/schema.h compiles it */

enum schema_type {
    SCHEMA_NULL = 1,
    SCHEMA_BOOLEAN = 2,
    SCHEMA_INTEGER = 4, /* a number without fraction: 2 and 2.0 and 2e3 */
    SCHEMA_NUMBER = 8,  /* any number; a node that has it has SCHEMA_INTEGER too */
    SCHEMA_STRING = 16,
    SCHEMA_ARRAY = 32,
    SCHEMA_OBJECT = 64,
};
#define SCHEMA_TYPES     7
#define SCHEMA_ANY       127u
#define SCHEMA_CHAIN_MAX 256
#define SCHEMA_NO_MAX    SIZE_MAX
/* "null", "boolean", … of the i-th bit. */
extern const char *const schema_type_names[SCHEMA_TYPES];

struct schema_node;

struct schema_bound {
    const struct decimal *value; /* NULL: none */
    bool exclusive;
};

struct schema_list {
    const struct schema_node *const *at;
    size_t count;
};

/* One of `properties`, or a name that is only in `required`. */
struct schema_property {
    const char *name;
    /* What its value must pass. NULL: the name is not in `properties` (only required), so patterns and
     * `additional` decide. */
    const struct schema_node *schema;
    bool required;
};

/* Values of members whose name the pattern is found in, also of those in `properties`. */
struct schema_pattern_property {
    const struct regex *pattern;
    const struct schema_node *schema;
};

/* When the object has the member `name`: */
struct schema_dependent {
    const char *name;
    const char *const *required; /* then it has these as well (dependentRequired) */
    size_t n_required;
    const struct schema_node *schema; /* and passes this (dependentSchemas); NULL: any. An in-place edge */
};

struct schema_node {
    uint32_t id;       /* below schema_nodes(); the root's is 0 */
    const char *place; /* JSON pointer of the schema, "" for the root */
    unsigned types;    /* bits of enum schema_type; SCHEMA_ANY: no condition; 0: nothing passes (`false`) */
    /* Draft-04: SCHEMA_INTEGER is a number that is written without point and exponent; 2.0 is none. */
    bool integers_as_written;

    /* enum and const, as one list of which the value must equal one (both given: what is in both). */
    bool has_choices; /* false: no condition; true with none: nothing passes */
    const struct value *const *choices;
    const struct value *const *sorted_choices; /* for value_is_among() */
    size_t n_choices;

    /* numbers; the tighter of minimum and exclusiveMinimum where both are given */
    struct schema_bound lower, upper;
    const struct decimal *multiple_of; /* NULL: any */

    /* strings; lengths in code points */
    size_t min_length, max_length; /* 0, SCHEMA_NO_MAX */
    const struct regex *pattern;   /* found anywhere, unless anchored; NULL: any */
    enum format format;            /* FORMAT_NONE: any */

    /* arrays */
    struct schema_list prefix;       /* the i-th item passes prefix.at[i]; an array may be shorter */
    const struct schema_node *items; /* every item behind those; NULL: any */
    size_t min_items, max_items;     /* 0, SCHEMA_NO_MAX */
    bool unique_items;
    const struct schema_node *contains; /* NULL: no condition; else min to max items pass it */
    size_t min_contains, max_contains;  /* 1 where not given, SCHEMA_NO_MAX */

    /* objects */
    const struct schema_property *properties; /* in the schema's order; those only required behind them */
    size_t n_properties;
    const struct schema_pattern_property *patterns;
    size_t n_patterns;
    /* Values of members that are not in `properties` (or have no schema there) and fit no pattern. NULL: any;
     * closed (`additionalProperties: false`) is a node whose types are 0. */
    const struct schema_node *additional;
    const struct schema_node *names;       /* every name, as a string; NULL: any */
    size_t min_properties, max_properties; /* 0, SCHEMA_NO_MAX */
    const struct schema_dependent *dependents;
    size_t n_dependents;

    /* in-place: the same value, against other nodes */
    const struct schema_node *ref;     /* $ref; NULL: none */
    struct schema_list all_of;         /* all of them; empty: no condition */
    struct schema_list any_of;         /* at least one, unless empty */
    struct schema_list one_of;         /* exactly one, unless empty */
    const struct schema_node *negated; /* `not`: must fail; NULL: none */
    /* Passes condition: must pass then_schema, else must pass else_schema. All NULL: none; either of the last
     * two may be NULL (any). */
    const struct schema_node *condition, *then_schema, *else_schema;

    bool is_ref_target;                           /* some $ref leads here */
    const struct schema_property *const *by_name; /* the properties sorted by name (strcmp) */
};

const struct schema_node *schema_root(const struct schema *schema);
/* Nodes in the graph. */
size_t schema_nodes(const struct schema *schema);
/* Whether the value, or the string of these characters, passes the node: 1, 0, -E2BIG when the verdict would
 * take more work than is allowed, -ENOMEM. */
HX_MUST_CHECK int schema_passes(const struct schema_node *node, const struct value *value);
HX_MUST_CHECK int schema_passes_text(const struct schema_node *node, const char *text);
/* The property by name, or NULL: binary search. */
const struct schema_property *schema_property(const struct schema_node *node, const char *name);

#endif
