/* What the model is told when a value fails its schema. [any-thread] */
#ifndef TOOLS_SCHEMA_SAY_H
#define TOOLS_SCHEMA_SAY_H

#include "tools/schema_graph.h"

/* Bits of enum schema_type that the value has: a whole number has two. */
unsigned schema_types_of(const struct value *value);
/* "a string", "an integer or null", cut at `size`. Returns `text`. */
const char *schema_say_types(unsigned types, char *text, size_t size);
/* "must be of format 'date', like 2024-02-29". Returns `text`. */
const char *schema_say_format(enum format format, char *text, size_t size);

/* Each writes one sentence about `place` and returns -EINVAL (-ENOMEM when there is none for it). */
int schema_say_type(const struct schema_node *node, const struct value *value, const char *place, char *err,
                    size_t errlen);
int schema_say_choices(const struct schema_node *node, const char *place, char *err, size_t errlen);
/* The object has a member `name` that the node does not take. */
int schema_say_property(const struct schema_node *node, const char *name, const char *place, char *err,
                        size_t errlen);
/* A required member is missing. */
int schema_say_missing(const struct schema_property *property, const char *place, char *err, size_t errlen);

#endif
