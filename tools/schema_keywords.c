#include "tools/schema_build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CLOSE_MAX 32 /* bytes of a name that is compared with keywords */

const char *const schema_type_names[SCHEMA_TYPES] = {"null",   "boolean", "integer", "number",
                                                     "string", "array",   "object"};

/* ---- any type ---- */

static unsigned type_named(const struct value *name) {
    if (name->kind == VALUE_STRING)
        for (unsigned i = 0; i < SCHEMA_TYPES; i++)
            if (strcmp(name->text, schema_type_names[i]) == 0)
                return 1u << i | ((1u << i) == SCHEMA_NUMBER ? (unsigned)SCHEMA_INTEGER : 0);
    return 0;
}

static int build_type(struct build *b, const struct value *member) {
    bool list = member->kind == VALUE_ARRAY;
    unsigned types = 0;
    for (const struct value *one = list ? member->child : member; one != NULL;
         one = list ? one->next : NULL) {
        unsigned bits = type_named(one);
        if (bits == 0)
            return build_refuse(
                b, "type",
                "must be one of null, boolean, integer, number, string, array, object, or a list of them");
        types |= bits;
    }
    if (types == 0)
        return build_refuse(b, "type", "must name at least one type");
    b->node->types = types;
    b->node->integers_as_written = b->draft == SCHEMA_DRAFT_04;
    return 0;
}

/* What of `list` is allowed so far; everything, when there was no list yet. */
static int keep_choices(struct build *b, const struct value *first, size_t count) {
    struct schema_node *node = b->node;
    const struct value **kept = build_keep(b, (count + 1) * sizeof(struct value *));
    const struct value **sorted = build_keep(b, (count + 1) * sizeof(struct value *));
    size_t n = 0;
    if (kept == NULL || sorted == NULL)
        return build_no_memory(b);
    for (const struct value *one = first; n < count && one != NULL; one = one->next)
        if (!node->has_choices || value_is_among(node->sorted_choices, node->n_choices, one, NULL))
            kept[n++] = one;
    memcpy(sorted, kept, n * sizeof(struct value *));
    value_sort(sorted, n);
    node->has_choices = true;
    node->choices = kept;
    node->sorted_choices = sorted;
    node->n_choices = n;
    return 0;
}

static int build_enum(struct build *b, const struct value *member) {
    if (member->kind != VALUE_ARRAY || member->child == NULL)
        return build_refuse(b, "enum", "must be a list that is not empty");
    return keep_choices(b, member->child, member->count);
}

static int build_const(struct build *b, const struct value *member) {
    return keep_choices(b, member, 1);
}

/* ---- numbers ---- */

/* Draft-04: `exclusiveMinimum: true` is about the minimum beside it. */
static bool is_flag(const struct build *b, const struct value *member) {
    return member != NULL && (member->kind == VALUE_TRUE || member->kind == VALUE_FALSE) &&
           (b->draft == SCHEMA_DRAFT_04 || !b->declared);
}

static int build_bound(struct build *b, const struct value *member, bool lower, bool exclusive) {
    struct schema_bound *bound = lower ? &b->node->lower : &b->node->upper;
    if (exclusive && is_flag(b, member))
        return 0;
    if (member->kind != VALUE_NUMBER || (exclusive && b->draft == SCHEMA_DRAFT_04))
        return build_refuse(b, member->name, "must be %s",
                            exclusive && b->draft == SCHEMA_DRAFT_04 ? "true or false in draft-04"
                                                                     : "a number");
    const struct value *flag =
        exclusive ? NULL : value_get(b->at, lower ? "exclusiveMinimum" : "exclusiveMaximum");
    if (is_flag(b, flag))
        exclusive = flag->kind == VALUE_TRUE;
    int order = bound->value != NULL ? decimal_compare(&member->number, bound->value) : 0;
    bool tighter = lower ? order > 0 : order < 0;
    if (bound->value == NULL || tighter || (order == 0 && exclusive))
        *bound = (struct schema_bound){.value = &member->number, .exclusive = exclusive};
    return 0;
}

static int build_minimum(struct build *b, const struct value *member) {
    return build_bound(b, member, true, false);
}

static int build_maximum(struct build *b, const struct value *member) {
    return build_bound(b, member, false, false);
}

static int build_above(struct build *b, const struct value *member) {
    return build_bound(b, member, true, true);
}

static int build_below(struct build *b, const struct value *member) {
    return build_bound(b, member, false, true);
}

static int build_multiple(struct build *b, const struct value *member) {
    if (member->kind != VALUE_NUMBER || member->number.negative || member->number.n_digits == 0)
        return build_refuse(b, "multipleOf", "must be a number above 0");
    if (member->number.n_digits > DECIMAL_DIVISOR_DIGITS)
        return build_refuse(b, "multipleOf", "must have at most %d digits", DECIMAL_DIVISOR_DIGITS);
    b->node->multiple_of = &member->number;
    return 0;
}

/* A number of things; one that is beyond all memory is as good as the largest. */
static int count_of(struct build *b, const struct value *member, size_t *out) {
    if (member->kind != VALUE_NUMBER || member->number.negative || !decimal_is_integer(&member->number))
        return build_refuse(b, member->name, "must be a whole number from 0 on");
    const struct decimal *d = &member->number;
    size_t count = 0;
    if ((long)d->n_digits + d->exponent > 15) {
        *out = SCHEMA_NO_MAX - 1;
        return 0;
    }
    for (size_t i = 0; i < d->n_digits; i++)
        count = count * 10 + (size_t)(d->digits[i] - '0');
    for (long i = 0; i < d->exponent && count > 0; i++)
        count *= 10;
    *out = count;
    return 0;
}

#define COUNT(function, member_of_node)                                                                      \
    static int function(struct build *b, const struct value *member) {                                       \
        return count_of(b, member, &b->node->member_of_node);                                                \
    }
COUNT(build_min_length, min_length)
COUNT(build_max_length, max_length)
COUNT(build_min_items, min_items)
COUNT(build_max_items, max_items)
COUNT(build_min_contains, min_contains)
COUNT(build_max_contains, max_contains)
COUNT(build_min_properties, min_properties)
COUNT(build_max_properties, max_properties)

/* ---- strings ---- */

static int build_string_pattern(struct build *b, const struct value *member) {
    if (member->kind != VALUE_STRING)
        return build_refuse(b, "pattern", "must be a string");
    return build_pattern(b, "pattern", member->text, &b->node->pattern);
}

static int build_format(struct build *b, const struct value *member) {
    if (member->kind != VALUE_STRING)
        return build_refuse(b, "format", "must be a string");
    if (b->formats_are_notes)
        return 0;
    enum format format = format_named(member->text);
    if (format == FORMAT_UNSUPPORTED)
        return build_refuse(b, "format", "'%s' is not supported", member->text);
    if (format != FORMAT_NONE)
        b->node->format = format;
    return 0;
}

/* Draft-07 lets content be checked; later dialects make notes of it. */
static int build_content(struct build *b, const struct value *member) {
    const struct value *encoding = value_get(b->at, "contentEncoding"),
                       *media = value_get(b->at, "contentMediaType"), *format = value_get(b->at, "format");
    (void)member;
    if (b->draft != SCHEMA_DRAFT_07 || b->formats_are_notes)
        return 0;
    bool base64 =
        encoding != NULL && encoding->kind == VALUE_STRING && strcasecmp(encoding->text, "base64") == 0;
    bool json = media != NULL && media->kind == VALUE_STRING && strcmp(media->text, "application/json") == 0;
    if (!json && !base64)
        return 0;
    if (json && encoding != NULL && !base64)
        return 0; /* JSON behind something that we cannot read */
    if (format != NULL && format->kind == VALUE_STRING && format_named(format->text) != FORMAT_NONE)
        return build_refuse(b, member->name, "is not supported beside 'format'");
    b->node->format = json && base64 ? FORMAT_BASE64_JSON : json ? FORMAT_JSON : FORMAT_BASE64;
    return 0;
}

/* ---- arrays and objects ---- */

static int build_unique(struct build *b, const struct value *member) {
    if (member->kind != VALUE_TRUE && member->kind != VALUE_FALSE)
        return build_refuse(b, "uniqueItems", "must be true or false");
    b->node->unique_items = member->kind == VALUE_TRUE;
    return 0;
}

static int build_contains(struct build *b, const struct value *member) {
    return build_node(b, member, "contains", NULL, &b->node->contains);
}

static int build_names(struct build *b, const struct value *member) {
    return build_node(b, member, "propertyNames", NULL, &b->node->names);
}

/* ---- in-place ---- */

static int build_all_of(struct build *b, const struct value *member) {
    return build_list(b, member, &b->node->all_of);
}

static int build_any_of(struct build *b, const struct value *member) {
    return build_list(b, member, &b->node->any_of);
}

static int build_one_of(struct build *b, const struct value *member) {
    return build_list(b, member, &b->node->one_of);
}

static int build_not(struct build *b, const struct value *member) {
    return build_node(b, member, "not", NULL, &b->node->negated);
}

static int build_if(struct build *b, const struct value *member) {
    const struct value *then_value = value_get(b->at, "then"), *else_value = value_get(b->at, "else");
    if (then_value == NULL && else_value == NULL)
        return 0;
    int rc = build_node(b, member, "if", NULL, &b->node->condition);
    if (rc == 0 && then_value != NULL)
        rc = build_node(b, then_value, "then", NULL, &b->node->then_schema);
    if (rc == 0 && else_value != NULL)
        rc = build_node(b, else_value, "else", NULL, &b->node->else_schema);
    return rc;
}

static int build_ref(struct build *b, const struct value *member) {
    const struct value *target = NULL;
    uint32_t resource = 0, here = b->resource_of[b->node->id];
    if (member->kind != VALUE_STRING)
        return build_refuse(b, "$ref", "must be a string");
    int rc = refs_resolve(b, here, member->text, &target, &resource);
    if (rc != 0)
        return rc;
    b->resource_of[b->node->id] = resource;
    const struct schema_node *node = NULL;
    rc = build_node(b, target, "$ref", member->text, &node);
    b->resource_of[b->node->id] = here;
    if (rc == 0) {
        b->node->ref = node;
        b->schema->nodes[node->id]->is_ref_target = true;
    }
    return rc;
}

/* ---- the rest ---- */

static int note(struct build *b, const struct value *member) {
    (void)b, (void)member;
    return 0;
}

/* Reads $dynamicRef and $recursiveRef: with one resource there is one scope, and they are a $ref. */
static int build_dynamic_ref(struct build *b, const struct value *member) {
    if (b->n_resources > 1)
        return build_refuse(b, member->name, "is not supported where schemas have identifiers of their own");
    return build_ref(b, member);
}

/* Whether other schemas have a say about the same value: then what is evaluated is only known while checking.
 */
static bool has_in_place(const struct value *schema) {
    static const char *const keywords[] = {"$ref",         "allOf",       "anyOf",
                                           "oneOf",        "not",         "if",
                                           "then",         "else",        "dependentSchemas",
                                           "dependencies", "$dynamicRef", "$recursiveRef"};
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (value_get(schema, keywords[i]) != NULL)
            return true;
    return false;
}

/* Alone in its schema, unevaluatedProperties means what additionalProperties means, unless that is there. */
static int build_unevaluated(struct build *b, const struct value *member) {
    bool properties = strcmp(member->name, "unevaluatedProperties") == 0;
    if (member->kind == VALUE_TRUE)
        return 0;
    if (has_in_place(b->at) || value_get(b->at, "contains") != NULL)
        return build_refuse(b, member->name, "is not supported beside allOf, anyOf, $ref and the like");
    if (value_get(b->at, properties ? "additionalProperties" : "items") != NULL)
        return 0;
    return build_node(b, member, member->name, NULL, properties ? &b->node->additional : &b->node->items);
}

static int build_unsupported(struct build *b, const struct value *member) {
    return build_refuse(b, member->name, "is not supported");
}

/* `$schema` means something at the top and in a document of its own; elsewhere it must not be, and does
 * nothing when it is. */
static int build_schema(struct build *b, const struct value *member) {
    const struct value *top = value_get(b->root, "$schema");
    if (b->at == b->root || b->resource_at[b->at->id] == 0 || (top != NULL && value_equal(top, member)))
        return 0;
    return build_refuse(b, "$schema", "changes the dialect inside the schema, which is not supported");
}

/* `since`: the first dialect that has it. */
static const struct {
    const char *keyword;
    int (*build)(struct build *b, const struct value *member);
    enum schema_draft since;
    bool is_note; /* nothing is lost when it is misspelt or comes from another dialect */
} keywords[] = {
    {"type", build_type, SCHEMA_DRAFT_04, false},
    {"enum", build_enum, SCHEMA_DRAFT_04, false},
    {"const", build_const, SCHEMA_DRAFT_06, false},
    {"minimum", build_minimum, SCHEMA_DRAFT_04, false},
    {"maximum", build_maximum, SCHEMA_DRAFT_04, false},
    {"exclusiveMinimum", build_above, SCHEMA_DRAFT_04, false},
    {"exclusiveMaximum", build_below, SCHEMA_DRAFT_04, false},
    {"multipleOf", build_multiple, SCHEMA_DRAFT_04, false},
    {"minLength", build_min_length, SCHEMA_DRAFT_04, false},
    {"maxLength", build_max_length, SCHEMA_DRAFT_04, false},
    {"pattern", build_string_pattern, SCHEMA_DRAFT_04, false},
    {"format", build_format, SCHEMA_DRAFT_04, false},
    {"contentEncoding", build_content, SCHEMA_DRAFT_04, true},
    {"contentMediaType", build_content, SCHEMA_DRAFT_04, true},
    {"items", build_items, SCHEMA_DRAFT_04, false},
    {"prefixItems", build_items, SCHEMA_DRAFT_2020_12, false},
    {"additionalItems", build_items, SCHEMA_DRAFT_04, false},
    {"minItems", build_min_items, SCHEMA_DRAFT_04, false},
    {"maxItems", build_max_items, SCHEMA_DRAFT_04, false},
    {"uniqueItems", build_unique, SCHEMA_DRAFT_04, false},
    {"contains", build_contains, SCHEMA_DRAFT_06, false},
    {"minContains", build_min_contains, SCHEMA_DRAFT_2019_09, false},
    {"maxContains", build_max_contains, SCHEMA_DRAFT_2019_09, false},
    {"properties", build_properties, SCHEMA_DRAFT_04, false},
    {"required", build_properties, SCHEMA_DRAFT_04, false},
    {"additionalProperties", build_patterns, SCHEMA_DRAFT_04, false},
    {"patternProperties", build_patterns, SCHEMA_DRAFT_04, false},
    {"propertyNames", build_names, SCHEMA_DRAFT_06, false},
    {"minProperties", build_min_properties, SCHEMA_DRAFT_04, false},
    {"maxProperties", build_max_properties, SCHEMA_DRAFT_04, false},
    {"dependencies", build_dependents, SCHEMA_DRAFT_04, false},
    {"dependentRequired", build_dependents, SCHEMA_DRAFT_2019_09, false},
    {"dependentSchemas", build_dependents, SCHEMA_DRAFT_2019_09, false},
    {"allOf", build_all_of, SCHEMA_DRAFT_04, false},
    {"anyOf", build_any_of, SCHEMA_DRAFT_04, false},
    {"oneOf", build_one_of, SCHEMA_DRAFT_04, false},
    {"not", build_not, SCHEMA_DRAFT_04, false},
    {"if", build_if, SCHEMA_DRAFT_07, false},
    {"then", note, SCHEMA_DRAFT_07, false},
    {"else", note, SCHEMA_DRAFT_07, false},
    {"$ref", build_ref, SCHEMA_DRAFT_04, false},
    {"$schema", build_schema, SCHEMA_DRAFT_04, true},
    {"unevaluatedProperties", build_unevaluated, SCHEMA_DRAFT_2019_09, false},
    {"unevaluatedItems", build_unevaluated, SCHEMA_DRAFT_2019_09, false},
    {"$dynamicRef", build_dynamic_ref, SCHEMA_DRAFT_2019_09, false},
    {"$recursiveRef", build_dynamic_ref, SCHEMA_DRAFT_2019_09, false},
    {"$vocabulary", build_unsupported, SCHEMA_DRAFT_2019_09, true},
};
#define KEYWORDS (sizeof keywords / sizeof keywords[0])

/* Letters to change, add or leave out to make one name of the other; names of CLOSE_MAX bytes at most. */
static size_t distance(const char *a, size_t n, const char *b, size_t m) {
    size_t row[CLOSE_MAX + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t above = row[j], best = corner + (a[i - 1] != b[j - 1]);
            best = above + 1 < best ? above + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            row[j] = best;
            corner = above;
        }
    }
    return row[m];
}

/* The rule that a name no dialect knows looks like: a slip of the pen must not switch it off. NULL: none, or
 * a name that is private on purpose (_format, x-…, @type). */
static const char *misspelt(const char *name) {
    size_t n = strlen(name);
    bool letter = (name[0] >= 'a' && name[0] <= 'z') || (name[0] >= 'A' && name[0] <= 'Z') ||
                  (name[0] == '$' && name[1] != '$');
    if (n > CLOSE_MAX || n < 4 || !letter || name[1] == '-')
        return NULL;
    for (size_t i = 0; i < KEYWORDS; i++) {
        size_t m = strlen(keywords[i].keyword), far = m >= 9 ? 2 : m >= 5 ? 1 : 0;
        if (!keywords[i].is_note &&
            (strcasecmp(name, keywords[i].keyword) == 0 || distance(name, n, keywords[i].keyword, m) <= far))
            return keywords[i].keyword;
    }
    return NULL;
}

int build_keyword(struct build *b, const struct value *member) {
    static const char *const dialects[] = {"2020-12", "2019-09", "draft-07", "draft-06", "draft-04"};
    for (size_t i = 0; i < KEYWORDS; i++) {
        if (strcmp(member->name, keywords[i].keyword) != 0)
            continue;
        if (b->declared && b->draft > keywords[i].since && !keywords[i].is_note)
            return build_refuse(b, member->name, "is not part of %s, which '$schema' names",
                                dialects[b->draft]);
        return keywords[i].build(b, member);
    }
    const char *rule = misspelt(member->name);
    if (rule != NULL)
        return build_refuse(b, member->name, "is not supported; did you mean '%s'?", rule);
    return 0;
}
