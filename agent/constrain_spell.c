/* A value as a grammar of its schema spells it. */
#include "agent/constrain_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64

/* Adds the node and what it has in place; of forms the first that the value passes. */
static void add_passed(struct constrain_nodes *nodes, const struct schema_node *s, const struct value *value,
                       int depth) {
    size_t i = 0;
    if (s == NULL || depth > SCHEMA_CHAIN_MAX)
        return;
    while (i < nodes->n && nodes->at[i]->id < s->id)
        i++;
    if ((i < nodes->n && nodes->at[i] == s) || nodes->n == CONSTRAIN_NODES_MAX)
        return;
    memmove(&nodes->at[i + 1], &nodes->at[i], (nodes->n - i) * sizeof nodes->at[0]);
    nodes->at[i] = s;
    nodes->n++;
    add_passed(nodes, s->ref, value, depth + 1);
    for (size_t k = 0; k < s->all_of.count; k++)
        add_passed(nodes, s->all_of.at[k], value, depth + 1);
    const struct schema_list *forms[] = {&s->any_of, &s->one_of};
    for (size_t l = 0; l < 2; l++) {
        size_t passed = 0;
        for (size_t k = 0; k < forms[l]->count; k++)
            if (schema_passes(forms[l]->at[k], value) == 1 && passed++ == 0)
                add_passed(nodes, forms[l]->at[k], value, depth + 1);
        nodes->several = nodes->several || passed > 1;
    }
}

static int spell(const struct constrain_nodes *nodes, const struct value *value, struct buf *out, int depth);

static int spell_number(const struct value *value, struct buf *out) {
    char text[512];
    if (value->number.n_digits + 40 > sizeof text)
        return buf_append(out, value->text, value->text_len);
    return buf_puts(out, decimal_text(&value->number, text, sizeof text));
}

void constrain_nodes_root(struct constrain_nodes *nodes, const struct schema *schema,
                          const struct value *value) {
    nodes->n = 0;
    nodes->several = false;
    add_passed(nodes, schema_root(schema), value, 0);
}

void constrain_nodes_child(struct constrain_nodes *nodes, const struct constrain_nodes *parent,
                           const struct value *child, const char *name, size_t index) {
    nodes->n = 0;
    nodes->several = parent->several;
    for (size_t i = 0; i < parent->n; i++) {
        const struct schema_node *s = parent->at[i];
        const struct schema_node *own;
        if (name == NULL) {
            own = index < s->prefix.count ? s->prefix.at[index] : s->items;
            add_passed(nodes, own, child, 0);
            continue;
        }
        const struct schema_property *p = schema_property(s, name);
        bool covered = p != NULL && p->schema != NULL;
        if (covered)
            add_passed(nodes, p->schema, child, 0);
        for (size_t k = 0; k < s->n_patterns; k++) {
            uint64_t steps = 1000000;
            if (regex_search(s->patterns[k].pattern, name, strlen(name), &steps) != 1)
                continue;
            covered = true;
            add_passed(nodes, s->patterns[k].schema, child, 0);
        }
        if (!covered)
            add_passed(nodes, s->additional, child, 0);
    }
}

size_t constrain_nodes_order(const struct constrain_nodes *nodes, const struct value *value,
                             const struct value **members) {
    size_t n = 0, declared;
    for (size_t i = 0; i < nodes->n; i++)
        for (size_t p = 0; p < nodes->at[i]->n_properties; p++) {
            const struct value *m = value_get(value, nodes->at[i]->properties[p].name);
            for (size_t k = 0; k < n && m != NULL; k++)
                m = members[k] == m ? NULL : m;
            if (m != NULL)
                members[n++] = m;
        }
    declared = n;
    for (const struct value *m = value->child; m != NULL; m = m->next) {
        bool there = false;
        for (size_t k = 0; k < declared; k++)
            there = there || members[k] == m;
        if (!there)
            members[n++] = m;
    }
    return declared;
}

static int spell_child(const struct constrain_nodes *parent, const struct value *child, const char *name,
                       size_t index, struct buf *out, int depth) {
    struct constrain_nodes *nodes = malloc(sizeof *nodes);
    if (nodes == NULL)
        return -ENOMEM;
    constrain_nodes_child(nodes, parent, child, name, index);
    int rc = spell(nodes, child, out, depth + 1);
    free(nodes);
    return rc;
}

static int spell_member(const struct constrain_nodes *nodes, const struct value *member, bool *some,
                        struct buf *out, int depth) {
    int rc = *some ? buf_puts(out, ", ") : 0;
    *some = true;
    rc = rc ? rc : json_quote(out, member->name, strlen(member->name), false);
    rc = rc ? rc : buf_puts(out, ": ");
    return rc ? rc : spell_child(nodes, member, member->name, 0, out, depth);
}

/* Members that a node declares, node by node, then the others. */
static int spell_object(const struct constrain_nodes *nodes, const struct value *value, struct buf *out,
                        int depth) {
    const struct value **members = calloc(value->count + 1, sizeof *members);
    bool some = false;
    int rc = members == NULL ? -ENOMEM : buf_putc(out, '{');
    if (rc == 0)
        (void)constrain_nodes_order(nodes, value, members);
    for (size_t i = 0; i < value->count && rc == 0; i++)
        rc = spell_member(nodes, members[i], &some, out, depth);
    free(members);
    return rc ? rc : buf_putc(out, '}');
}

static int spell(const struct constrain_nodes *nodes, const struct value *value, struct buf *out, int depth) {
    size_t index = 0;
    int rc;
    if (depth > DEPTH_MAX)
        return -E2BIG;
    switch (value->kind) {
    case VALUE_NULL:
        return buf_puts(out, "null");
    case VALUE_FALSE:
        return buf_puts(out, "false");
    case VALUE_TRUE:
        return buf_puts(out, "true");
    case VALUE_NUMBER:
        return spell_number(value, out);
    case VALUE_STRING:
        return json_quote(out, value->text, value->text_len, false);
    case VALUE_OBJECT:
        return spell_object(nodes, value, out, depth);
    case VALUE_ARRAY:
        rc = buf_putc(out, '[');
        for (const struct value *v = value->child; v != NULL && rc == 0; v = v->next, index++) {
            rc = index > 0 ? buf_puts(out, ", ") : 0;
            rc = rc ? rc : spell_child(nodes, v, NULL, index, out, depth);
        }
        return rc ? rc : buf_putc(out, ']');
    }
    return -EINVAL;
}

int constrain_spell_alone(const struct value *value, struct buf *out) {
    struct constrain_nodes *none = calloc(1, sizeof *none);
    if (none == NULL)
        return -ENOMEM;
    int rc = spell(none, value, out, 0);
    free(none);
    return rc;
}

int constrain_spell(const struct schema *schema, const struct value *value, struct buf *out) {
    struct constrain_nodes *nodes = malloc(sizeof *nodes);
    if (nodes == NULL)
        return -ENOMEM;
    constrain_nodes_root(nodes, schema, value);
    int rc = spell(nodes, value, out, 0);
    free(nodes);
    return rc;
}
