/* JSON Schema, the part that tools use: compiled when a plugin is listed, applied to every call.
 *
 * Keywords: type, properties, required, additionalProperties, enum, const, minimum, maximum,
 * exclusiveMinimum, exclusiveMaximum, minLength, maxLength (in code points), minItems, maxItems, items; and
 * as annotations without effect title, description, default, examples, format, $schema. Any other keyword
 * refuses the schema, so that no rule is ever ignored in silence. Meaning as in JSON Schema 2020-12.
 * [any-thread] */
#ifndef TOOLS_SCHEMA_H
#define TOOLS_SCHEMA_H

#include "base/err.h"

#include <cjson/cJSON.h>
#include <stddef.h>

struct schema;

/* Compiles the schema of a tool's arguments, whose type must be "object". -EINVAL with a sentence that names
 * the place as a JSON pointer, and the keyword. *out is the caller's (schema_destroy). */
HX_MUST_CHECK int schema_compile(const char *text, size_t len, struct schema **out, char *err, size_t errlen);
void schema_destroy(struct schema *schema);

/* 0, or -EINVAL with a sentence for the model that names the place ("arguments.days") and what is expected
 * there. `value` was accepted by json_parse(). */
HX_MUST_CHECK int schema_check(const struct schema *schema, const cJSON *value, char *err, size_t errlen);

#endif
