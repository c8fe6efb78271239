/* JSON Schema, compiled once when a tool loads: one immutable graph that the validator runs over and that a
 * grammar can be made from.
 *
 * Dialects: 2020-12, 2019-09, draft-07, -06 and -04, by `$schema`; none means 2020-12. Meaning as in
 * JSON Schema's core and validation vocabularies, numbers exact.
 *
 *   type enum const
 *   minimum maximum exclusiveMinimum exclusiveMaximum multipleOf
 *   minLength maxLength (code points) pattern (tools/regex.h) format (tools/format.h)
 *   items prefixItems additionalItems minItems maxItems uniqueItems contains minContains maxContains
 *   properties required additionalProperties patternProperties propertyNames minProperties maxProperties
 *   dependentRequired dependentSchemas dependencies
 *   allOf anyOf oneOf not if then else
 *   $ref (inside the document: pointers, anchors, $id) $defs definitions $id $anchor $schema
 *
 * Annotations (title, description, default, examples, content…, and names that no dialect knows) have no
 * effect. What a dialect knows and we do not ($dynamicRef, unevaluatedProperties, a $ref to elsewhere, a
 * pattern with look-ahead, …), and a name that looks like a misspelt keyword, refuses the schema, so that no
 * rule is ever ignored in silence. Ceilings (size, depth, nodes, work) refuse as well. The result can be read
 * as a graph: tools/schema_graph.h. [any-thread] */
#ifndef TOOLS_SCHEMA_H
#define TOOLS_SCHEMA_H

#include "base/err.h"
#include "tools/value.h"

#include <stdbool.h>
#include <stddef.h>

struct schema;

enum schema_draft {
    SCHEMA_DRAFT_2020_12,
    SCHEMA_DRAFT_2019_09,
    SCHEMA_DRAFT_07,
    SCHEMA_DRAFT_06,
    SCHEMA_DRAFT_04,
};

struct schema_options {
    enum schema_draft draft; /* of a schema without `$schema` */
    bool any_value;          /* also schemas of other things than objects; a tool's arguments are one */
    bool formats_are_notes;  /* `format` has no effect, as 2020-12 has it by default */
};

/* Compiles the schema of a tool's arguments, whose type must be "object". -EINVAL with a sentence that names
 * the place as a JSON pointer, and the keyword; -ENOMEM. *out is the caller's (schema_destroy). */
HX_MUST_CHECK int schema_compile(const char *text, size_t len, struct schema **out, char *err, size_t errlen);
/* The same for any schema. options NULL: as schema_compile(). `keyword` (may be NULL; room for
 * SCHEMA_KEYWORD_MAX bytes) gets the keyword that a refusal is about, "" when it is about none. */
#define SCHEMA_KEYWORD_MAX 64
HX_MUST_CHECK int schema_compile_with(const char *text, size_t len, const struct schema_options *options,
                                      struct schema **out, char *keyword, char *err, size_t errlen);
/* NULL is fine. */
void schema_destroy(struct schema *schema);

/* The limits for what is judged: json_limits_default, but numbers of any size (they are exact here). */
extern const struct json_limits schema_value_limits;

/* 0, or -EINVAL with a sentence for the model that names the place ("arguments.days") and what is expected
 * there; -E2BIG when the verdict would take more work than is allowed; -ENOMEM. */
HX_MUST_CHECK int schema_check(const struct schema *schema, const struct value *value, char *err,
                               size_t errlen);

#endif
