/* A schema while it is compiled: what schema.c, schema_keywords.c, schema_members.c and schema_refs.c share.
 *
 * Nothing recurses: a keyword that holds a schema asks for its node (build_node) and goes on; the node waits
 * in a queue until schema.c fills it. */
#ifndef TOOLS_SCHEMA_BUILD_H
#define TOOLS_SCHEMA_BUILD_H

#include "tools/schema.h"
#include "tools/schema_graph.h"

#define SCHEMA_NODES_MAX  20000
#define SCHEMA_STATES_MAX 131072 /* of all patterns together */
#define SCHEMA_PLACE_MAX  1000   /* bytes of a JSON pointer; a longer one is cut */

struct schema_kept {
    struct schema_kept *next;
    _Alignas(max_align_t) char bytes[];
};

struct schema {
    struct value_document *document; /* choices and numbers point into it */
    struct schema_node **nodes;      /* by id */
    size_t n_nodes, cap_nodes;
    struct regex **patterns;
    size_t n_patterns, cap_patterns, n_states;
    struct schema_kept *kept; /* the nodes and all they point to */
};

/* A schema with an identifier of its own: what "#" means inside of it. */
struct build_resource {
    const struct value *root;
    char *uri; /* absolute as far as it can be, without fragment; "" when nobody named it. Owned */
};

struct build_anchor {
    uint32_t resource;
    const char *name; /* in the document */
    const struct value *target;
};

struct build {
    struct schema *schema;
    const struct value *root;
    enum schema_draft draft;
    bool declared; /* by `$schema`; else what only one dialect has is taken as that dialect means it */
    bool formats_are_notes;
    struct schema_node **node_of;  /* by value id; NULL: none yet */
    const struct value **value_of; /* by node id */
    uint32_t *resource_of;         /* by node id */
    size_t n_filled;               /* nodes before it are filled, those behind wait */
    uint32_t *resource_at;         /* by value id: 1 + the resource whose root it is, 0: none */
    struct build_resource *resources;
    size_t n_resources, cap_resources;
    struct build_anchor *anchors;
    size_t n_anchors, cap_anchors;
    const struct value *at; /* the schema that is being read, and its node */
    struct schema_node *node;
    char *keyword; /* SCHEMA_KEYWORD_MAX bytes, or NULL */
    char *err;
    size_t errlen;
};

/* Zeroed memory that lives as long as the schema; NULL when there is none. */
void *build_keep(struct build *b, size_t size);
/* -EINVAL with "at PLACE: keyword 'K' WHY", the place being b->node's. */
HX_MUST_CHECK int build_refuse(struct build *b, const char *keyword, const char *why, ...) HX_PRINTF(3, 4);
HX_MUST_CHECK int build_no_memory(struct build *b);

/* The node of the subschema `value`, which stands in b->at under `keyword` and, where that holds several,
 * under `name` (else NULL). Made and queued when it is new. */
HX_MUST_CHECK int build_node(struct build *b, const struct value *value, const char *keyword,
                             const char *name, const struct schema_node **out);
/* Compiles the pattern, or finds it among the last ones. */
HX_MUST_CHECK int build_pattern(struct build *b, const char *keyword, const char *source,
                                const struct regex **out);

/* ---- schema_keywords.c ---- */

/* Reads one member of b->at into b->node. */
HX_MUST_CHECK int build_keyword(struct build *b, const struct value *member);

/* ---- schema_members.c: the keywords that need each other; each reads b->at itself, once ---- */

HX_MUST_CHECK int build_properties(struct build *b, const struct value *member);
HX_MUST_CHECK int build_patterns(struct build *b, const struct value *member);
HX_MUST_CHECK int build_dependents(struct build *b, const struct value *member);
HX_MUST_CHECK int build_items(struct build *b, const struct value *member);
/* A list of schemas that is not empty. */
HX_MUST_CHECK int build_list(struct build *b, const struct value *member, struct schema_list *out);

/* ---- schema_refs.c ---- */

/* Finds every identifier and anchor of the document. */
HX_MUST_CHECK int refs_scan(struct build *b);
/* The value that the reference, read inside `resource`, leads to, and the resource that holds it. */
HX_MUST_CHECK int refs_resolve(struct build *b, uint32_t resource, const char *reference,
                               const struct value **out, uint32_t *out_resource);
/* Whether the dialect lets `$ref` stand alone: what is beside it has no effect (draft-07 and before). */
bool refs_stand_alone(const struct build *b, const struct value *schema);

/* ---- schema_uri.c ---- */

/* RFC 3986, 5.2: `reference` seen from `base`, without fragment. Allocated; NULL when memory is out. */
char *schema_uri_resolve(const char *base, const char *reference);

#endif
