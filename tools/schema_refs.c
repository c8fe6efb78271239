#include "tools/schema_build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where schemas stand inside a schema. */
enum holds { HOLDS_NOTHING, HOLDS_SCHEMA, HOLDS_LIST, HOLDS_MAP, HOLDS_SCHEMA_OR_LIST };

static const struct {
    const char *keyword;
    enum holds holds;
} holders[] = {
    {"additionalProperties", HOLDS_SCHEMA},
    {"items", HOLDS_SCHEMA_OR_LIST},
    {"prefixItems", HOLDS_LIST},
    {"additionalItems", HOLDS_SCHEMA},
    {"contains", HOLDS_SCHEMA},
    {"propertyNames", HOLDS_SCHEMA},
    {"not", HOLDS_SCHEMA},
    {"if", HOLDS_SCHEMA},
    {"then", HOLDS_SCHEMA},
    {"else", HOLDS_SCHEMA},
    {"unevaluatedItems", HOLDS_SCHEMA},
    {"unevaluatedProperties", HOLDS_SCHEMA},
    {"contentSchema", HOLDS_SCHEMA},
    {"allOf", HOLDS_LIST},
    {"anyOf", HOLDS_LIST},
    {"oneOf", HOLDS_LIST},
    {"properties", HOLDS_MAP},
    {"patternProperties", HOLDS_MAP},
    {"$defs", HOLDS_MAP},
    {"definitions", HOLDS_MAP},
    {"dependentSchemas", HOLDS_MAP},
    {"dependencies", HOLDS_MAP},
};

static enum holds held_by(const char *keyword) {
    for (size_t i = 0; i < sizeof holders / sizeof holders[0]; i++)
        if (strcmp(holders[i].keyword, keyword) == 0)
            return holders[i].holds;
    return HOLDS_NOTHING;
}

bool refs_stand_alone(const struct build *b, const struct value *schema) {
    return b->draft >= SCHEMA_DRAFT_07 && value_get(schema, "$ref") != NULL;
}

/* ---- identifiers ---- */

static const char *string_member(const struct value *schema, const char *name) {
    const struct value *member = value_get(schema, name);
    return member != NULL && member->kind == VALUE_STRING ? member->text : NULL;
}

static int add_resource(struct build *b, const struct value *root, const char *base, const char *id) {
    if (b->n_resources == b->cap_resources) {
        size_t cap = b->cap_resources == 0 ? 8 : b->cap_resources * 2;
        struct build_resource *more = realloc(b->resources, cap * sizeof *more);
        if (more == NULL)
            return build_no_memory(b);
        b->resources = more;
        b->cap_resources = cap;
    }
    char *uri = schema_uri_resolve(base, id);
    if (uri == NULL)
        return build_no_memory(b);
    b->resources[b->n_resources++] = (struct build_resource){.root = root, .uri = uri};
    b->resource_at[root->id] = (uint32_t)b->n_resources;
    return 0;
}

static int add_anchor(struct build *b, uint32_t resource, const char *name, const struct value *target) {
    if (b->n_anchors == b->cap_anchors) {
        size_t cap = b->cap_anchors == 0 ? 8 : b->cap_anchors * 2;
        struct build_anchor *more = realloc(b->anchors, cap * sizeof *more);
        if (more == NULL)
            return build_no_memory(b);
        b->anchors = more;
        b->cap_anchors = cap;
    }
    b->anchors[b->n_anchors++] = (struct build_anchor){.resource = resource, .name = name, .target = target};
    return 0;
}

/* What the schema calls itself; *resource becomes its own when it has an identifier. */
static int scan_names(struct build *b, const struct value *schema, uint32_t *resource) {
    const char *id = string_member(schema, b->draft == SCHEMA_DRAFT_04 ? "id" : "$id");
    int rc = 0;
    if (refs_stand_alone(b, schema))
        return 0;
    if (id != NULL && id[0] == '#') {
        if (id[1] != '\0') /* before 2019 this is how an anchor is written */
            rc = add_anchor(b, *resource, id + 1, schema);
    } else if (id != NULL && schema != b->root) {
        rc = add_resource(b, schema, b->resources[*resource].uri, id);
        if (rc == 0)
            *resource = (uint32_t)b->n_resources - 1;
    }
    static const char *const anchors[] = {"$anchor", "$dynamicAnchor"};
    for (size_t i = 0; i < 2 && rc == 0; i++) {
        const char *name = string_member(schema, anchors[i]);
        if (name != NULL)
            rc = add_anchor(b, *resource, name, schema);
    }
    return rc;
}

/* As deep as the document, which is limited. */
static int scan(struct build *b, const struct value *schema, uint32_t resource) {
    if (schema->kind != VALUE_OBJECT)
        return 0;
    int rc = scan_names(b, schema, &resource);
    for (const struct value *member = schema->child; member != NULL && rc == 0; member = member->next) {
        enum holds holds = held_by(member->name);
        bool several = (holds == HOLDS_MAP && member->kind == VALUE_OBJECT) ||
                       (holds >= HOLDS_LIST && holds != HOLDS_MAP && member->kind == VALUE_ARRAY);
        if (several)
            for (const struct value *one = member->child; one != NULL && rc == 0; one = one->next)
                rc = scan(b, one, resource);
        else if (holds == HOLDS_SCHEMA || holds == HOLDS_SCHEMA_OR_LIST)
            rc = scan(b, member, resource);
    }
    return rc;
}

int refs_scan(struct build *b) {
    const char *id = string_member(b->root, b->draft == SCHEMA_DRAFT_04 ? "id" : "$id");
    int rc = add_resource(b, b->root, "", id != NULL && !refs_stand_alone(b, b->root) ? id : "");
    return rc ? rc : scan(b, b->root, 0);
}

/* ---- following a reference ---- */

static int hex_digit(char c) {
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

/* %41 becomes A, in place. */
static void unescape_percent(char *text) {
    char *to = text;
    for (; *text != '\0'; text++) {
        if (*text == '%' && hex_digit(text[1]) >= 0 && hex_digit(text[2]) >= 0) {
            *to++ = (char)(hex_digit(text[1]) * 16 + hex_digit(text[2]));
            text += 2;
        } else {
            *to++ = *text;
        }
    }
    *to = '\0';
}

/* ~1 becomes /, ~0 becomes ~, in place. */
static void unescape_tilde(char *text) {
    char *to = text;
    for (; *text != '\0'; text++) {
        bool escaped = *text == '~' && (text[1] == '0' || text[1] == '1');
        text += escaped;
        *to++ = escaped ? (*text == '0' ? '~' : '/') : *text;
    }
    *to = '\0';
}

static const struct value *step(const struct value *from, char *token) {
    unescape_tilde(token);
    if (from->kind != VALUE_ARRAY)
        return value_get(from, token);
    char *end;
    unsigned long index = strtoul(token, &end, 10);
    if (token[0] < '0' || token[0] > '9' || *end != '\0' || (token[0] == '0' && token[1] != '\0') ||
        index >= from->count)
        return NULL;
    const struct value *item = from->child;
    while (index-- > 0)
        item = item->next;
    return item;
}

/* Follows "/a/b" (changed on the way) from the resource's root. */
static const struct value *follow_pointer(const struct build *b, char *pointer, uint32_t *resource) {
    const struct value *at = b->resources[*resource].root;
    while (at != NULL && *pointer == '/') {
        if (b->resource_at[at->id] != 0)
            *resource = b->resource_at[at->id] - 1;
        char *token = pointer + 1, *end = strchr(token, '/');
        pointer = end != NULL ? end : token + strlen(token);
        char next = *pointer;
        *pointer = '\0';
        at = step(at, token);
        *pointer = next;
    }
    return at;
}

static const struct value *find_anchor(const struct build *b, const char *name, uint32_t resource) {
    for (size_t i = 0; i < b->n_anchors; i++)
        if (b->anchors[i].resource == resource && strcmp(b->anchors[i].name, name) == 0)
            return b->anchors[i].target;
    return NULL;
}

/* The resource that the reference without its fragment names. */
static int find_resource(struct build *b, const char *reference, uint32_t *resource) {
    if (reference[0] == '#' || reference[0] == '\0')
        return 0;
    char *uri = schema_uri_resolve(b->resources[*resource].uri, reference);
    if (uri == NULL)
        return build_no_memory(b);
    size_t i = 0;
    while (i < b->n_resources && strcmp(b->resources[i].uri, uri) != 0)
        i++;
    free(uri);
    if (i == b->n_resources)
        return build_refuse(b, "$ref", "leads to '%.200s', which is not in this schema", reference);
    *resource = (uint32_t)i;
    return 0;
}

int refs_resolve(struct build *b, uint32_t resource, const char *reference, const struct value **out,
                 uint32_t *out_resource) {
    int rc = find_resource(b, reference, &resource);
    if (rc != 0)
        return rc;
    const char *hash = strchr(reference, '#');
    char *fragment = strdup(hash != NULL ? hash + 1 : "");
    if (fragment == NULL)
        return build_no_memory(b);
    unescape_percent(fragment);
    const struct value *target = fragment[0] == '\0'  ? b->resources[resource].root
                                 : fragment[0] == '/' ? follow_pointer(b, fragment, &resource)
                                                      : find_anchor(b, fragment, resource);
    free(fragment);
    if (target == NULL)
        return build_refuse(b, "$ref", "leads to '%.200s', where nothing is", reference);
    *out = target;
    *out_resource = resource;
    return 0;
}
