#include "tools/schema.h"

#include "tools/schema_build.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECENT_PATTERNS 64

static const struct json_limits schema_limits = {
    .max_bytes = 256u * 1024, .max_nodes = 40000, .max_depth = 64, .any_number = true};
const struct json_limits schema_value_limits = {
    .max_bytes = 1u << 20, .max_nodes = 100000, .max_depth = 64, .any_number = true};

/* ---- refusing ---- */

int build_refuse(struct build *b, const char *keyword, const char *why, ...) {
    char text[400];
    va_list args;
    va_start(args, why);
    vsnprintf(text, sizeof text, why, args);
    va_end(args);
    if (b->keyword != NULL)
        snprintf(b->keyword, SCHEMA_KEYWORD_MAX, "%s", keyword);
    return err_set(b->err, b->errlen, -EINVAL, "at %s: keyword '%.64s' %s",
                   b->node != NULL && b->node->place[0] != '\0' ? b->node->place : "the top", keyword, text);
}

int build_no_memory(struct build *b) {
    return err_set(b->err, b->errlen, -ENOMEM, "no memory for the schema");
}

/* ---- parts that live as long as the schema ---- */

void *build_keep(struct build *b, size_t size) {
    struct schema_kept *kept = calloc(1, sizeof *kept + size);
    if (kept == NULL)
        return NULL;
    kept->next = b->schema->kept;
    b->schema->kept = kept;
    return kept->bytes;
}

/* "parent/keyword/name" with ~ and / escaped; a reference's target is named by the reference itself. */
static const char *make_place(struct build *b, const char *keyword, const char *name) {
    struct buf text;
    const char *parts[] = {b->node->place, keyword, name};
    bool ref = strcmp(keyword, "$ref") == 0;
    int rc = 0;
    buf_init(&text, SCHEMA_PLACE_MAX);
    if (ref)
        rc = buf_puts(&text, name[0] == '#' ? name + 1 : name);
    for (size_t i = 0; i < 3 && rc == 0 && !ref && parts[i] != NULL; i++) {
        rc = i > 0 ? buf_putc(&text, '/') : 0;
        for (const char *p = parts[i]; *p != '\0' && rc == 0; p++)
            rc = i == 0      ? buf_putc(&text, *p)
                 : *p == '~' ? buf_puts(&text, "~0")
                 : *p == '/' ? buf_puts(&text, "~1")
                             : buf_putc(&text, *p);
    }
    char *kept = rc == -ENOMEM ? NULL : build_keep(b, text.len + 1);
    if (kept != NULL && text.len > 0)
        memcpy(kept, text.data, text.len);
    buf_finish(&text);
    return kept;
}

/* Makes room for one more node in the arrays by id. */
static int grow_nodes(struct build *b) {
    struct schema *s = b->schema;
    if (s->n_nodes < s->cap_nodes)
        return 0;
    size_t cap = s->cap_nodes == 0 ? 64 : s->cap_nodes * 2;
    struct schema_node **nodes = realloc(s->nodes, cap * sizeof *nodes);
    if (nodes != NULL)
        s->nodes = nodes;
    const struct value **values = realloc(b->value_of, cap * sizeof(struct value *));
    if (values != NULL)
        b->value_of = values;
    uint32_t *resources = realloc(b->resource_of, cap * sizeof *resources);
    if (resources != NULL)
        b->resource_of = resources;
    if (nodes == NULL || values == NULL || resources == NULL)
        return build_no_memory(b);
    s->cap_nodes = cap;
    return 0;
}

static int add_node(struct build *b, const struct value *value, const char *place, uint32_t resource,
                    struct schema_node **out) {
    if (b->schema->n_nodes == SCHEMA_NODES_MAX)
        return err_set(b->err, b->errlen, -EINVAL, "more than %d schemas inside one schema",
                       SCHEMA_NODES_MAX);
    struct schema_node *node = build_keep(b, sizeof *node);
    if (node == NULL || place == NULL || grow_nodes(b) != 0)
        return build_no_memory(b);
    *node = (struct schema_node){
        .id = (uint32_t)b->schema->n_nodes,
        .place = place,
        .types = SCHEMA_ANY,
        .max_length = SCHEMA_NO_MAX,
        .max_items = SCHEMA_NO_MAX,
        .min_contains = 1,
        .max_contains = SCHEMA_NO_MAX,
        .max_properties = SCHEMA_NO_MAX,
    };
    b->schema->nodes[node->id] = node;
    b->value_of[node->id] = value;
    b->resource_of[node->id] = b->resource_at[value->id] != 0 && !refs_stand_alone(b, value)
                                   ? b->resource_at[value->id] - 1
                                   : resource;
    b->node_of[value->id] = node;
    b->schema->n_nodes++;
    *out = node;
    return 0;
}

int build_node(struct build *b, const struct value *value, const char *keyword, const char *name,
               const struct schema_node **out) {
    struct schema_node *node = b->node_of[value->id];
    if (node == NULL) {
        if (value->kind != VALUE_OBJECT && value->kind != VALUE_TRUE && value->kind != VALUE_FALSE)
            return build_refuse(b, keyword, "must hold schemas: objects, true or false");
        int rc = add_node(b, value, make_place(b, keyword, name), b->resource_of[b->node->id], &node);
        if (rc != 0)
            return rc;
    }
    *out = node;
    return 0;
}

static int keep_pattern(struct build *b, struct regex *regex) {
    struct schema *s = b->schema;
    if (s->n_patterns == s->cap_patterns) {
        size_t cap = s->cap_patterns == 0 ? 8 : s->cap_patterns * 2;
        struct regex **more = realloc(s->patterns, cap * sizeof(struct regex *));
        if (more == NULL)
            return build_no_memory(b);
        s->patterns = more;
        s->cap_patterns = cap;
    }
    s->patterns[s->n_patterns++] = regex;
    s->n_states += regex_states(regex);
    return 0;
}

int build_pattern(struct build *b, const char *keyword, const char *source, const struct regex **out) {
    struct schema *s = b->schema;
    struct regex *regex = NULL;
    char why[200];
    for (size_t i = s->n_patterns; i > 0 && i + RECENT_PATTERNS > s->n_patterns; i--)
        if (strcmp(regex_source(s->patterns[i - 1]), source) == 0) {
            *out = s->patterns[i - 1];
            return 0;
        }
    int rc = regex_compile(source, &regex, why, sizeof why);
    if (rc == -ENOMEM)
        return build_no_memory(b);
    if (rc != 0)
        return build_refuse(b, keyword, "has '%.100s': %s", source, why);
    if (s->n_states + regex_states(regex) > SCHEMA_STATES_MAX)
        rc = build_refuse(b, keyword, "makes the schema's patterns need more than %d states together",
                          SCHEMA_STATES_MAX);
    rc = rc ? rc : keep_pattern(b, regex);
    if (rc == 0)
        *out = regex;
    else
        regex_destroy(regex);
    return rc;
}

/* ---- filling ---- */

static int fill_node(struct build *b, size_t id) {
    b->node = b->schema->nodes[id];
    b->at = b->value_of[id];
    if (b->at->kind != VALUE_OBJECT) {
        b->node->types = b->at->kind == VALUE_TRUE ? SCHEMA_ANY : 0;
        return 0;
    }
    if (refs_stand_alone(b, b->at))
        return build_keyword(b, value_get(b->at, "$ref"));
    int rc = 0;
    for (const struct value *member = b->at->child; member != NULL && rc == 0; member = member->next)
        rc = build_keyword(b, member);
    return rc;
}

/* The same value against other nodes: how many steps until that ends. `depth` steps led here. */
static int chain(struct build *b, const struct schema_node *node, unsigned depth, uint16_t *length);

static int chain_on(struct build *b, const struct schema_node *next, unsigned depth, uint16_t *length,
                    unsigned *longest) {
    if (next == NULL)
        return 0;
    int rc = chain(b, next, depth + 1, length);
    if (rc == 0 && length[next->id] + 1u > *longest)
        *longest = length[next->id] + 1u;
    return rc;
}

static int chain_list(struct build *b, struct schema_list list, unsigned depth, uint16_t *length,
                      unsigned *longest) {
    int rc = 0;
    for (size_t i = 0; i < list.count && rc == 0; i++)
        rc = chain_on(b, list.at[i], depth, length, longest);
    return rc;
}

#define CHAIN_OPEN UINT16_MAX

static int chain_edges(struct build *b, const struct schema_node *node, unsigned depth, uint16_t *length,
                       unsigned *longest) {
    const struct schema_node *single[] = {node->ref, node->negated, node->condition, node->then_schema,
                                          node->else_schema};
    int rc = 0;
    for (size_t i = 0; i < sizeof single / sizeof single[0] && rc == 0; i++)
        rc = chain_on(b, single[i], depth, length, longest);
    rc = rc ? rc : chain_list(b, node->all_of, depth, length, longest);
    rc = rc ? rc : chain_list(b, node->any_of, depth, length, longest);
    rc = rc ? rc : chain_list(b, node->one_of, depth, length, longest);
    for (size_t i = 0; i < node->n_dependents && rc == 0; i++)
        rc = chain_on(b, node->dependents[i].schema, depth, length, longest);
    return rc;
}

/* length: per node 0 unseen, CHAIN_OPEN on the way here, else 1 + the steps from it. Never deeper than
 * SCHEMA_CHAIN_MAX. */
static int chain(struct build *b, const struct schema_node *node, unsigned depth, uint16_t *length) {
    unsigned longest = 1;
    b->node = b->schema->nodes[node->id];
    if (length[node->id] == CHAIN_OPEN)
        return build_refuse(b, "$ref", "leads back to itself with the same value, which never ends");
    if (depth + (length[node->id] != 0 ? length[node->id] : 1) >= SCHEMA_CHAIN_MAX)
        return build_refuse(b, node->ref != NULL ? "$ref" : "allOf",
                            "is part of a chain of more than %d schemas for one value", SCHEMA_CHAIN_MAX);
    if (length[node->id] != 0)
        return 0;
    length[node->id] = CHAIN_OPEN;
    int rc = chain_edges(b, node, depth, length, &longest);
    if (rc == 0)
        length[node->id] = (uint16_t)longest;
    return rc;
}

static int check_chains(struct build *b) {
    uint16_t *length = calloc(b->schema->n_nodes, sizeof *length);
    if (length == NULL)
        return build_no_memory(b);
    int rc = 0;
    for (size_t i = 0; i < b->schema->n_nodes && rc == 0; i++)
        rc = chain(b, b->schema->nodes[i], 0, length);
    free(length);
    return rc;
}

/* ---- the dialect ---- */

static int read_dialect(struct build *b) {
    static const struct {
        const char *name;
        enum schema_draft draft;
    } dialects[] = {
        {"//json-schema.org/draft/2020-12/schema", SCHEMA_DRAFT_2020_12},
        {"//json-schema.org/draft/2019-09/schema", SCHEMA_DRAFT_2019_09},
        {"//json-schema.org/draft-07/schema", SCHEMA_DRAFT_07},
        {"//json-schema.org/draft-06/schema", SCHEMA_DRAFT_06},
        {"//json-schema.org/draft-04/schema", SCHEMA_DRAFT_04},
        {"//json-schema.org/schema", SCHEMA_DRAFT_2020_12},
    };
    const struct value *named = value_get(b->root, "$schema");
    if (named == NULL)
        return 0;
    const char *text = named->kind == VALUE_STRING ? strstr(named->text, "//") : NULL;
    size_t len = text != NULL ? strcspn(text, "#") : 0;
    bool web =
        text != NULL && (strncmp(named->text, "http://", 7) == 0 || strncmp(named->text, "https://", 8) == 0);
    for (size_t i = 0; i < sizeof dialects / sizeof dialects[0] && web; i++)
        if (strlen(dialects[i].name) == len && strncmp(dialects[i].name, text, len) == 0) {
            b->draft = dialects[i].draft;
            b->declared = strcmp(dialects[i].name, "//json-schema.org/schema") != 0;
            return 0;
        }
    return build_refuse(b, "$schema", "names a dialect that is not supported; 2020-12 and draft-07 are");
}

/* ---- the whole ---- */

static int build_all(struct build *b, const struct schema_options *options) {
    struct schema_node *root = NULL;
    int rc = read_dialect(b);
    rc = rc ? rc : refs_scan(b);
    rc = rc ? rc : add_node(b, b->root, build_keep(b, 1), 0, &root);
    for (size_t id = 0; rc == 0 && id < b->schema->n_nodes; id++)
        rc = fill_node(b, id);
    rc = rc ? rc : check_chains(b);
    b->node = root;
    if (rc == 0 && !options->any_value && root->types != SCHEMA_OBJECT)
        rc = build_refuse(b, "type", "must be \"object\" for a tool's arguments");
    return rc;
}

static void build_finish(struct build *b) {
    for (size_t i = 0; i < b->n_resources; i++)
        free(b->resources[i].uri);
    free(b->resources);
    free(b->anchors);
    free(b->node_of);
    free(b->value_of);
    free(b->resource_of);
    free(b->resource_at);
}

static int build_document(struct build *b, const struct schema_options *options) {
    size_t count = value_count(b->schema->document);
    b->root = value_root(b->schema->document);
    if (b->root->kind != VALUE_OBJECT &&
        !(options->any_value && (b->root->kind == VALUE_TRUE || b->root->kind == VALUE_FALSE)))
        return err_set(b->err, b->errlen, -EINVAL, "at the top: a schema must be an object");
    b->node_of = calloc(count, sizeof *b->node_of);
    b->resource_at = calloc(count, sizeof *b->resource_at);
    return b->node_of == NULL || b->resource_at == NULL ? build_no_memory(b) : build_all(b, options);
}

int schema_compile_with(const char *text, size_t len, const struct schema_options *options,
                        struct schema **out, char *keyword, char *err, size_t errlen) {
    static const struct schema_options tool = {0};
    char why[256];
    options = options != NULL ? options : &tool;
    struct build b = {.draft = options->draft,
                      .declared = options->draft != SCHEMA_DRAFT_2020_12,
                      .formats_are_notes = options->formats_are_notes,
                      .keyword = keyword,
                      .err = err,
                      .errlen = errlen};
    if (keyword != NULL)
        keyword[0] = '\0';
    b.schema = calloc(1, sizeof *b.schema);
    if (b.schema == NULL)
        return build_no_memory(&b);
    int rc = value_parse(text, len, &schema_limits, &b.schema->document, why, sizeof why);
    if (rc != 0)
        rc = err_set(err, errlen, rc == -ENOMEM ? rc : -EINVAL, "not JSON: %s", why);
    rc = rc ? rc : build_document(&b, options);
    build_finish(&b);
    if (rc == 0)
        *out = b.schema;
    else
        schema_destroy(b.schema);
    return rc;
}

int schema_compile(const char *text, size_t len, struct schema **out, char *err, size_t errlen) {
    return schema_compile_with(text, len, NULL, out, NULL, err, errlen);
}

void schema_destroy(struct schema *schema) {
    if (schema == NULL)
        return;
    for (size_t i = 0; i < schema->n_patterns; i++)
        regex_destroy(schema->patterns[i]);
    for (struct schema_kept *kept = schema->kept, *next; kept != NULL; kept = next) {
        next = kept->next;
        free(kept);
    }
    free(schema->patterns);
    free(schema->nodes);
    value_destroy(schema->document);
    free(schema);
}

/* ---- reading the graph ---- */

const struct schema_node *schema_root(const struct schema *schema) {
    return schema->nodes[0];
}

size_t schema_nodes(const struct schema *schema) {
    return schema->n_nodes;
}

const struct schema_property *schema_property(const struct schema_node *node, const char *name) {
    for (size_t low = 0, high = node->n_properties; low < high;) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, node->by_name[middle]->name);
        if (order == 0)
            return node->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
