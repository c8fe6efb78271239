/* A compiled schema, as schema.c builds it and schema_check.c reads it. */
#ifndef TOOLS_SCHEMA_TREE_H
#define TOOLS_SCHEMA_TREE_H

#include "tools/schema.h"

#include <stdbool.h>

enum schema_type {
    SCHEMA_NULL = 1,
    SCHEMA_BOOLEAN = 2,
    SCHEMA_INTEGER = 4,
    SCHEMA_NUMBER = 8,
    SCHEMA_STRING = 16,
    SCHEMA_ARRAY = 32,
    SCHEMA_OBJECT = 64,
};
#define SCHEMA_TYPES 7
/* "null", "boolean", … of the i-th bit. */
extern const char *const schema_type_names[SCHEMA_TYPES];

struct schema_property {
    char *name;
    struct schema *schema; /* NULL: only required, anything goes */
    bool required;
};

struct schema_bound {
    double value;
    bool set;
};

struct schema {
    unsigned types; /* bits of enum schema_type; 0: any */
    struct schema_property *properties;
    size_t property_count;
    bool closed;               /* additionalProperties: false */
    struct schema *additional; /* NULL: any */
    struct schema *items;      /* NULL: any */
    cJSON *choices;            /* enum: an array; NULL: none */
    cJSON *constant;
    struct schema_bound minimum, maximum, above, below; /* the last two exclusive */
    struct schema_bound min_length, max_length, min_items, max_items;
};

#endif
