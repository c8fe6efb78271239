#include "tools/schema.h"

#include "base/buf.h"
#include "base/json.h"
#include "tools/schema_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_MAX 1024

const char *const schema_type_names[SCHEMA_TYPES] = {"null",   "boolean", "integer", "number",
                                                     "string", "array",   "object"};

static const struct json_limits limits = {.max_bytes = 256u * 1024, .max_nodes = 20000, .max_depth = 40};

/* What is being compiled: where it is, for sentences, and where those go. */
struct compiler {
    struct buf place; /* a JSON pointer */
    char *err;
    size_t errlen;
};

static int compile(struct compiler *c, const cJSON *json, struct schema **out);

static const char *place(const struct compiler *c) {
    return c->place.len > 0 ? c->place.data : "the top";
}

static int refuse(struct compiler *c, const char *keyword, const char *why) {
    return err_set(c->err, c->errlen, -EINVAL, "at %s: keyword '%.64s' %s", place(c), keyword, why);
}

static int no_memory(struct compiler *c) {
    return err_set(c->err, c->errlen, -ENOMEM, "no memory for the schema");
}

/* Enters a member of the schema; the length to come back to. A place that is too long is only cut. */
static size_t descend(struct compiler *c, const char *name) {
    size_t before = c->place.len;
    int rc = buf_putc(&c->place, '/');
    for (; *name != '\0' && rc == 0; name++)
        rc = *name == '~'   ? buf_puts(&c->place, "~0")
             : *name == '/' ? buf_puts(&c->place, "~1")
                            : buf_putc(&c->place, *name);
    return before;
}

static void ascend(struct compiler *c, size_t before) {
    c->place.len = before;
    if (c->place.data != NULL)
        c->place.data[before] = '\0';
}

static int compile_at(struct compiler *c, const char *name, const cJSON *json, struct schema **out) {
    size_t before = descend(c, name);
    int rc = compile(c, json, out);
    ascend(c, before);
    return rc;
}

/* ---- one function per keyword ---- */

static unsigned type_named(const char *name) {
    for (unsigned i = 0; name != NULL && i < SCHEMA_TYPES; i++)
        if (strcmp(name, schema_type_names[i]) == 0)
            return 1u << i;
    return 0;
}

static int compile_type(struct compiler *c, const cJSON *value, struct schema *s) {
    const cJSON *one = cJSON_IsArray(value) ? value->child : value;
    s->types = 0;
    for (; one != NULL; one = cJSON_IsArray(value) ? one->next : NULL) {
        unsigned bit = type_named(cJSON_GetStringValue(one));
        if (bit == 0)
            return refuse(
                c, "type",
                "must be one of null, boolean, integer, number, string, array, object, or a list of them");
        s->types |= bit;
    }
    return s->types != 0 ? 0 : refuse(c, "type", "must name at least one type");
}

static struct schema_property *property_named(struct schema *s, const char *name) {
    for (size_t i = 0; i < s->property_count; i++)
        if (strcmp(s->properties[i].name, name) == 0)
            return &s->properties[i];
    struct schema_property *more = realloc(s->properties, (s->property_count + 1) * sizeof *more);
    if (more == NULL)
        return NULL;
    s->properties = more;
    char *copy = strdup(name);
    if (copy == NULL)
        return NULL;
    more[s->property_count] = (struct schema_property){.name = copy};
    return &more[s->property_count++];
}

static int compile_properties(struct compiler *c, const cJSON *value, struct schema *s) {
    if (!cJSON_IsObject(value))
        return refuse(c, "properties", "must be an object");
    size_t before = descend(c, "properties");
    int rc = 0;
    for (const cJSON *member = value->child; member != NULL && rc == 0; member = member->next) {
        struct schema *sub = NULL;
        struct schema_property *property = property_named(s, member->string);
        rc = property != NULL ? compile_at(c, member->string, member, &sub) : no_memory(c);
        if (rc == 0)
            property->schema = sub;
    }
    ascend(c, before);
    return rc;
}

static int compile_required(struct compiler *c, const cJSON *value, struct schema *s) {
    if (!cJSON_IsArray(value))
        return refuse(c, "required", "must be a list of names");
    for (const cJSON *name = value->child; name != NULL; name = name->next) {
        if (!cJSON_IsString(name))
            return refuse(c, "required", "must be a list of names");
        struct schema_property *property = property_named(s, name->valuestring);
        if (property == NULL)
            return no_memory(c);
        property->required = true;
    }
    return 0;
}

static int compile_additional(struct compiler *c, const cJSON *value, struct schema *s) {
    s->closed = cJSON_IsFalse(value) != 0;
    if (cJSON_IsBool(value))
        return 0;
    return compile_at(c, "additionalProperties", value, &s->additional);
}

static int compile_items(struct compiler *c, const cJSON *value, struct schema *s) {
    return compile_at(c, "items", value, &s->items);
}

static int compile_enum(struct compiler *c, const cJSON *value, struct schema *s) {
    if (!cJSON_IsArray(value) || value->child == NULL)
        return refuse(c, "enum", "must be a list that is not empty");
    s->choices = cJSON_Duplicate(value, 1);
    return s->choices != NULL ? 0 : no_memory(c);
}

static int compile_const(struct compiler *c, const cJSON *value, struct schema *s) {
    s->constant = cJSON_Duplicate(value, 1);
    return s->constant != NULL ? 0 : no_memory(c);
}

static int bound(struct compiler *c, const char *keyword, const cJSON *value, struct schema_bound *at,
                 bool count) {
    if (!cJSON_IsNumber(value))
        return refuse(c, keyword, "must be a number");
    if (count && (value->valuedouble < 0 || value->valuedouble > 1e9 ||
                  (double)(long)value->valuedouble < value->valuedouble))
        return refuse(c, keyword, "must be a whole number from 0 on");
    *at = (struct schema_bound){.value = value->valuedouble, .set = true};
    return 0;
}

#define BOUND(name, keyword, member, count)                                                                  \
    static int name(struct compiler *c, const cJSON *value, struct schema *s) {                              \
        return bound(c, keyword, value, &s->member, count);                                                  \
    }
BOUND(compile_minimum, "minimum", minimum, false)
BOUND(compile_maximum, "maximum", maximum, false)
BOUND(compile_above, "exclusiveMinimum", above, false)
BOUND(compile_below, "exclusiveMaximum", below, false)
BOUND(compile_min_length, "minLength", min_length, true)
BOUND(compile_max_length, "maxLength", max_length, true)
BOUND(compile_min_items, "minItems", min_items, true)
BOUND(compile_max_items, "maxItems", max_items, true)

static int annotation(struct compiler *c, const cJSON *value, struct schema *s) {
    (void)c, (void)value, (void)s;
    return 0;
}

static const struct {
    const char *keyword;
    int (*compile)(struct compiler *c, const cJSON *value, struct schema *s);
} keywords[] = {
    {"type", compile_type},
    {"properties", compile_properties},
    {"required", compile_required},
    {"additionalProperties", compile_additional},
    {"enum", compile_enum},
    {"const", compile_const},
    {"minimum", compile_minimum},
    {"maximum", compile_maximum},
    {"exclusiveMinimum", compile_above},
    {"exclusiveMaximum", compile_below},
    {"minLength", compile_min_length},
    {"maxLength", compile_max_length},
    {"minItems", compile_min_items},
    {"maxItems", compile_max_items},
    {"items", compile_items},
    {"title", annotation},
    {"description", annotation},
    {"default", annotation},
    {"examples", annotation},
    {"format", annotation},
    {"$schema", annotation},
};

static int compile_keyword(struct compiler *c, const cJSON *member, struct schema *s) {
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (strcmp(member->string, keywords[i].keyword) == 0)
            return keywords[i].compile(c, member, s);
    return refuse(c, member->string, "is not supported");
}

static int compile(struct compiler *c, const cJSON *json, struct schema **out) {
    if (!cJSON_IsObject(json))
        return err_set(c->err, c->errlen, -EINVAL, "at %s: a schema must be an object", place(c));
    struct schema *s = calloc(1, sizeof *s);
    if (s == NULL)
        return no_memory(c);
    int rc = 0;
    for (const cJSON *member = json->child; member != NULL && rc == 0; member = member->next)
        rc = compile_keyword(c, member, s);
    if (rc == 0)
        *out = s;
    else
        schema_destroy(s);
    return rc;
}

int schema_compile(const char *text, size_t len, struct schema **out, char *err, size_t errlen) {
    struct compiler c = {.err = err, .errlen = errlen};
    struct schema *s = NULL;
    cJSON *json = NULL;
    char why[256];
    int rc = json_parse(text, len, &limits, &json, why, sizeof why);
    if (rc != 0)
        return err_set(err, errlen, rc == -ENOMEM ? rc : -EINVAL, "not JSON: %s", why);
    buf_init(&c.place, PLACE_MAX);
    rc = compile(&c, json, &s);
    if (rc == 0 && s->types != SCHEMA_OBJECT)
        rc = refuse(&c, "type", "must be \"object\" for a tool's arguments");
    if (rc == 0)
        *out = s;
    else
        schema_destroy(s);
    buf_finish(&c.place);
    cJSON_Delete(json);
    return rc;
}

/* As deep as the schema's text, which is limited. */
void schema_destroy(struct schema *s) {
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->property_count; i++) {
        free(s->properties[i].name);
        schema_destroy(s->properties[i].schema);
    }
    free(s->properties);
    schema_destroy(s->additional);
    schema_destroy(s->items);
    cJSON_Delete(s->choices);
    cJSON_Delete(s->constant);
    free(s);
}
