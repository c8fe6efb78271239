#include "tools/schema_build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As build_node(), but true, which is no condition, gives no node. */
static int build_condition(struct build *b, const struct value *value, const char *keyword,
                           const struct schema_node **out) {
    return value->kind == VALUE_TRUE ? 0 : build_node(b, value, keyword, NULL, out);
}

int build_list(struct build *b, const struct value *member, struct schema_list *out) {
    size_t n = 0;
    char index[24];
    int rc = 0;
    if (member->kind != VALUE_ARRAY || member->child == NULL)
        return build_refuse(b, member->name, "must be a list of schemas that is not empty");
    const struct schema_node **list = build_keep(b, member->count * sizeof(struct schema_node *));
    if (list == NULL)
        return build_no_memory(b);
    for (const struct value *one = member->child; one != NULL && rc == 0; one = one->next, n++) {
        snprintf(index, sizeof index, "%zu", n);
        rc = build_node(b, one, member->name, index, &list[n]);
    }
    *out = (struct schema_list){.at = list, .count = n};
    return rc;
}

/* ---- properties and required ---- */

static int by_name(const void *a, const void *b) {
    return strcmp((*(const struct schema_property *const *)a)->name,
                  (*(const struct schema_property *const *)b)->name);
}

static struct schema_property *find(struct schema_property *const *sorted, size_t n, const char *name) {
    struct schema_property wanted = {.name = name}, *key = &wanted;
    struct schema_property *const *found = n > 0 ? bsearch(&key, sorted, n, sizeof *sorted, by_name) : NULL;
    return found != NULL ? *found : NULL;
}

static bool is_list_of_names(const struct value *list) {
    if (list->kind != VALUE_ARRAY)
        return false;
    const struct value *one = list->child;
    while (one != NULL && one->kind == VALUE_STRING)
        one = one->next;
    return one == NULL;
}

/* The required names that are not in `properties`, each once, behind those. */
static void add_required(struct schema_property *all, size_t *n, struct schema_property **sorted,
                         const struct value *required) {
    size_t known = *n;
    for (const struct value *one = required->child; one != NULL; one = one->next) {
        struct schema_property *property = find(sorted, known, one->text);
        if (property != NULL)
            property->required = true;
        else
            all[(*n)++] = (struct schema_property){.name = one->text, .required = true};
    }
    /* Equal names stand together once they are sorted; the later ones go. */
    for (size_t i = known; i < *n; i++)
        sorted[i] = &all[i];
    if (*n > known)
        qsort(sorted + known, *n - known, sizeof *sorted, by_name);
    for (size_t i = known; i + 1 < *n; i++)
        if (strcmp(sorted[i]->name, sorted[i + 1]->name) == 0)
            sorted[i + 1]->required = false, sorted[i + 1] = sorted[i];
    size_t kept = known;
    for (size_t i = known; i < *n; i++)
        if (all[i].required)
            all[kept++] = all[i];
    *n = kept;
}

static int fill_properties(struct build *b, const struct value *properties, const struct value *required,
                           struct schema_property *all, struct schema_property **sorted) {
    size_t n = 0;
    int rc = 0;
    for (const struct value *one = properties != NULL ? properties->child : NULL; one != NULL && rc == 0;
         one = one->next, n++) {
        all[n].name = one->name;
        sorted[n] = &all[n];
        rc = build_node(b, one, "properties", one->name, &all[n].schema);
    }
    if (rc != 0)
        return rc;
    if (n > 0)
        qsort(sorted, n, sizeof *sorted, by_name);
    if (required != NULL)
        add_required(all, &n, sorted, required);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &all[i];
    if (n > 0)
        qsort(sorted, n, sizeof *sorted, by_name);
    b->node->properties = all;
    b->node->n_properties = n;
    b->node->by_name = (const struct schema_property *const *)sorted;
    return 0;
}

int build_properties(struct build *b, const struct value *member) {
    const struct value *properties = value_get(b->at, "properties"), *required = value_get(b->at, "required");
    (void)member;
    if (b->node->by_name != NULL)
        return 0;
    if (properties != NULL && properties->kind != VALUE_OBJECT)
        return build_refuse(b, "properties", "must be an object");
    if (required != NULL && !is_list_of_names(required))
        return build_refuse(b, "required", "must be a list of names");
    size_t room = (properties != NULL ? properties->count : 0) + (required != NULL ? required->count : 0);
    struct schema_property *all = build_keep(b, (room + 1) * sizeof *all);
    struct schema_property **sorted = build_keep(b, (room + 1) * sizeof *sorted);
    if (all == NULL || sorted == NULL)
        return build_no_memory(b);
    return fill_properties(b, properties, required, all, sorted);
}

/* ---- patternProperties and additionalProperties ---- */

int build_patterns(struct build *b, const struct value *member) {
    struct schema_node *node = b->node;
    size_t n = 0;
    int rc = 0;
    if (strcmp(member->name, "additionalProperties") == 0)
        return build_condition(b, member, "additionalProperties", &node->additional);
    if (member->kind != VALUE_OBJECT)
        return build_refuse(b, "patternProperties", "must be an object");
    struct schema_pattern_property *patterns = build_keep(b, (member->count + 1) * sizeof *patterns);
    if (patterns == NULL)
        return build_no_memory(b);
    for (const struct value *one = member->child; one != NULL && rc == 0; one = one->next, n++) {
        rc = build_pattern(b, "patternProperties", one->name, &patterns[n].pattern);
        rc = rc ? rc : build_node(b, one, "patternProperties", one->name, &patterns[n].schema);
    }
    node->patterns = patterns;
    node->n_patterns = n;
    return rc;
}

/* ---- dependentRequired, dependentSchemas, dependencies ---- */

static int names_of(struct build *b, const struct value *list, struct schema_dependent *out) {
    const char **names = build_keep(b, (list->count + 1) * sizeof *names);
    size_t n = 0;
    if (names == NULL)
        return build_no_memory(b);
    for (const struct value *one = list->child; one != NULL; one = one->next)
        names[n++] = one->text;
    out->required = names;
    out->n_required = n;
    return 0;
}

static int add_dependents(struct build *b, const char *keyword, struct schema_dependent *all, size_t *n) {
    const struct value *member = value_get(b->at, keyword);
    int rc = 0;
    if (member == NULL)
        return 0;
    if (member->kind != VALUE_OBJECT)
        return build_refuse(b, keyword, "must be an object");
    for (const struct value *one = member->child; one != NULL && rc == 0; one = one->next) {
        struct schema_dependent *dependent = &all[(*n)++];
        bool names = is_list_of_names(one), schema = strcmp(keyword, "dependentRequired") != 0;
        dependent->name = one->name;
        if (names && strcmp(keyword, "dependentSchemas") != 0)
            rc = names_of(b, one, dependent);
        else if (schema)
            rc = build_node(b, one, keyword, one->name, &dependent->schema);
        else
            rc = build_refuse(b, keyword, "must hold lists of names");
    }
    return rc;
}

int build_dependents(struct build *b, const struct value *member) {
    static const char *const keywords[] = {"dependencies", "dependentRequired", "dependentSchemas"};
    size_t room = 1, n = 0;
    int rc = 0;
    (void)member;
    if (b->node->dependents != NULL)
        return 0;
    for (size_t i = 0; i < 3; i++) {
        const struct value *of = value_get(b->at, keywords[i]);
        room += of != NULL ? of->count : 0;
    }
    struct schema_dependent *all = build_keep(b, room * sizeof *all);
    if (all == NULL)
        return build_no_memory(b);
    for (size_t i = 0; i < 3 && rc == 0; i++)
        rc = add_dependents(b, keywords[i], all, &n);
    b->node->dependents = all;
    b->node->n_dependents = n;
    return rc;
}

/* ---- items, prefixItems, additionalItems ---- */

/* Up to 2019-09 a list of schemas stands in `items`, and `additionalItems` is for what follows; since then
 * they are called `prefixItems` and `items`. */
int build_items(struct build *b, const struct value *member) {
    const struct value *items = value_get(b->at, "items"), *rest = value_get(b->at, "additionalItems");
    bool list = items != NULL && items->kind == VALUE_ARRAY, is_items = strcmp(member->name, "items") == 0;
    if (strcmp(member->name, "prefixItems") == 0)
        return build_list(b, member, &b->node->prefix);
    if (!is_items)
        return 0;
    if (!list)
        return build_condition(b, member, "items", &b->node->items);
    if (b->declared && b->draft == SCHEMA_DRAFT_2020_12)
        return build_refuse(b, "items", "must be one schema in 2020-12; 'prefixItems' takes a list");
    if (value_get(b->at, "prefixItems") != NULL)
        return build_refuse(b, "items", "must be one schema beside 'prefixItems'");
    int rc = member->child != NULL ? build_list(b, member, &b->node->prefix) : 0;
    return rc == 0 && rest != NULL ? build_condition(b, rest, "additionalItems", &b->node->items) : rc;
}
