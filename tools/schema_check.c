#include "base/buf.h"
#include "tools/schema.h"
#include "tools/schema_graph.h"
#include "tools/schema_memo.h"
#include "tools/schema_say.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_MAX  512
#define DEPTH_MAX  1500                 /* of calls: values inside values, times schemas for one value */
#define STEPS_MAX  ((uint64_t)20000000) /* what one verdict may cost */
#define NODE_STEPS 8                    /* what looking at one node costs */
#define NO_ID      UINT32_MAX           /* of a value that is only a member's name */

/* What is being checked: where it is, for sentences, and where those go. */
struct checker {
    struct buf place; /* "arguments.days[2]" */
    int quiet;        /* > 0: only the verdict is wanted, no sentence */
    int depth;
    uint64_t steps; /* left */
    struct schema_memo memo;
    char *err;
    size_t errlen;
};

static int check(struct checker *c, const struct schema_node *s, const struct value *value);

static const char *place(const struct checker *c) {
    return c->place.data != NULL ? c->place.data : "arguments";
}

static void ascend(struct checker *c, size_t before) {
    c->place.len = before;
    if (c->place.data != NULL)
        c->place.data[before] = '\0';
}

/* Checks a member (`name`) or an item. A place that is too long is left as it is. */
static int check_inside(struct checker *c, const struct schema_node *s, const struct value *value,
                        const char *name, size_t index) {
    if (c->quiet > 0)
        return check(c, s, value);
    size_t before = c->place.len;
    int rc = name != NULL ? buf_printf(&c->place, ".%.64s", name) : buf_printf(&c->place, "[%zu]", index);
    if (rc != 0)
        ascend(c, before);
    rc = check(c, s, value);
    ascend(c, before);
    return rc;
}

/* Only the verdict: 1, 0, or what went wrong. */
static int passes(struct checker *c, const struct schema_node *s, const struct value *value) {
    c->quiet++;
    int rc = check(c, s, value);
    c->quiet--;
    return rc == 0 ? 1 : rc == -EINVAL ? 0 : rc;
}

static int too_much(struct checker *c) {
    return err_set(c->err, c->errlen, -E2BIG,
                   "%s takes more work to check against its schema than is allowed", place(c));
}

static int spend(struct checker *c, uint64_t steps) {
    if (c->steps < steps) {
        c->steps = 0;
        return too_much(c);
    }
    c->steps -= steps;
    return 0;
}

/* -EINVAL, with a sentence when one is wanted. */
#define FAIL(c, ...) ((c)->quiet > 0 ? -EINVAL : err_set((c)->err, (c)->errlen, -EINVAL, __VA_ARGS__))

/* ---- any type ---- */

static int check_choices(struct checker *c, const struct schema_node *s, const struct value *value) {
    size_t looks = 0;
    bool found = value_is_among(s->sorted_choices, s->n_choices, value, &looks);
    int rc = spend(c, looks);
    if (rc == 0 && found)
        return 0;
    if (rc != 0 || c->quiet > 0)
        return rc ? rc : -EINVAL;
    return schema_say_choices(s, place(c), c->err, c->errlen);
}

static int check_number(struct checker *c, const struct schema_node *s, const struct value *value) {
    const struct decimal *n = &value->number;
    char limit[64], got[64];
    int low = s->lower.value != NULL ? decimal_compare(n, s->lower.value) : 1;
    int high = s->upper.value != NULL ? decimal_compare(n, s->upper.value) : -1;
    if (low < 0 || (low == 0 && s->lower.exclusive))
        return FAIL(c, "%s must be %s %s, not %s", place(c), s->lower.exclusive ? "more than" : "at least",
                    decimal_text(s->lower.value, limit, sizeof limit), decimal_text(n, got, sizeof got));
    if (high > 0 || (high == 0 && s->upper.exclusive))
        return FAIL(c, "%s must be %s %s, not %s", place(c), s->upper.exclusive ? "less than" : "at most",
                    decimal_text(s->upper.value, limit, sizeof limit), decimal_text(n, got, sizeof got));
    if (s->multiple_of != NULL && !decimal_is_multiple(n, s->multiple_of))
        return FAIL(c, "%s must be a multiple of %s, not %s", place(c),
                    decimal_text(s->multiple_of, limit, sizeof limit), decimal_text(n, got, sizeof got));
    return 0;
}

/* min and max as counts of `unit`. */
static int check_count(struct checker *c, size_t min, size_t max, size_t count, const char *unit) {
    if (count < min)
        return FAIL(c, "%s must have at least %zu %s, not %zu", place(c), min, unit, count);
    if (count > max)
        return FAIL(c, "%s must have at most %zu %s, not %zu", place(c), max, unit, count);
    return 0;
}

/* 1 or 0, or what went wrong. */
static int found(struct checker *c, const struct regex *pattern, const char *text, size_t len) {
    int rc = regex_search(pattern, text, len, &c->steps);
    return rc == -E2BIG    ? too_much(c)
           : rc == -ENOMEM ? err_set(c->err, c->errlen, rc, "no memory to check %s", place(c))
                           : rc;
}

static int check_string(struct checker *c, const struct schema_node *s, const struct value *value) {
    char text[160];
    int rc = 0;
    if (s->min_length > 0 || s->max_length != SCHEMA_NO_MAX) {
        size_t count = 0;
        for (const char *p = value->text; *p != '\0'; p++)
            count += ((unsigned char)*p & 0xc0) != 0x80;
        rc = check_count(c, s->min_length, s->max_length, count, "characters");
    }
    if (rc == 0 && s->format != FORMAT_NONE && (rc = spend(c, value->text_len)) == 0 &&
        !format_matches(s->format, value->text, value->text_len))
        return FAIL(c, "%s %s", place(c), schema_say_format(s->format, text, sizeof text));
    if (rc != 0 || s->pattern == NULL)
        return rc;
    rc = found(c, s->pattern, value->text, value->text_len);
    if (rc == 0)
        return FAIL(c, "%s must match the pattern %.200s", place(c), regex_source(s->pattern));
    return rc < 0 ? rc : 0;
}

/* ---- arrays ---- */

static int by_hash(const void *a, const void *b) {
    uint64_t x = (*(const struct value *const *)a)->hash, y = (*(const struct value *const *)b)->hash;
    return x < y ? -1 : x > y;
}

/* Equal values have equal hashes, so equals stand in one run once they are sorted. */
static int check_unique(struct checker *c, const struct value *array) {
    const struct value **sorted = malloc((array->count + 1) * sizeof(struct value *));
    size_t n = 0;
    int rc = sorted != NULL ? spend(c, array->count * 4)
                            : err_set(c->err, c->errlen, -ENOMEM, "no memory to check %s", place(c));
    if (rc == 0) {
        for (const struct value *item = array->child; item != NULL; item = item->next)
            sorted[n++] = item;
        qsort(sorted, n, sizeof(struct value *), by_hash);
    }
    for (size_t i = 0; i < n && rc == 0; i++)
        for (size_t j = i + 1; j < n && sorted[j]->hash == sorted[i]->hash && rc == 0; j++)
            rc = value_equal(sorted[i], sorted[j]) ? FAIL(c, "%s must not hold the same item twice", place(c))
                                                   : spend(c, 1);
    free(sorted);
    return rc;
}

static int check_contains(struct checker *c, const struct schema_node *s, const struct value *array) {
    size_t count = 0;
    for (const struct value *item = array->child; item != NULL; item = item->next) {
        int rc = passes(c, s->contains, item);
        if (rc < 0)
            return rc;
        count += rc == 1;
    }
    if (count < s->min_contains)
        return FAIL(c, "%s must hold at least %zu items of the kind that it has to contain, not %zu",
                    place(c), s->min_contains, count);
    if (count > s->max_contains)
        return FAIL(c, "%s must hold at most %zu items of the kind that it has to contain, not %zu", place(c),
                    s->max_contains, count);
    return 0;
}

static int check_array(struct checker *c, const struct schema_node *s, const struct value *value) {
    size_t i = 0;
    int rc = check_count(c, s->min_items, s->max_items, value->count, "items");
    for (const struct value *item = value->child; item != NULL && rc == 0; item = item->next, i++) {
        const struct schema_node *sub = i < s->prefix.count ? s->prefix.at[i] : s->items;
        if (sub != NULL)
            rc = check_inside(c, sub, item, NULL, i);
        else if (s->prefix.count == 0)
            break;
    }
    if (rc == 0 && s->unique_items && value->count > 1)
        rc = check_unique(c, value);
    return rc == 0 && s->contains != NULL ? check_contains(c, s, value) : rc;
}

/* ---- objects ---- */

static int check_name(struct checker *c, const struct schema_node *s, const char *name) {
    struct value text = {.kind = VALUE_STRING, .id = NO_ID, .text = name, .text_len = strlen(name)};
    text.hash = value_hash_string(name, text.text_len);
    int rc = passes(c, s->names, &text);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    return FAIL(c, "%s has a property '%.64s', whose name is not allowed", place(c), name);
}

static int check_patterns(struct checker *c, const struct schema_node *s, const struct value *member,
                          bool *known) {
    int rc = 0;
    for (size_t i = 0; i < s->n_patterns && rc == 0; i++) {
        rc = found(c, s->patterns[i].pattern, member->name, strlen(member->name));
        if (rc <= 0)
            continue;
        *known = true;
        rc = check_inside(c, s->patterns[i].schema, member, member->name, 0);
    }
    return rc;
}

static int check_member(struct checker *c, const struct schema_node *s, const struct value *member) {
    const struct schema_property *property = schema_property(s, member->name);
    bool known = property != NULL && property->schema != NULL;
    int rc = s->names != NULL ? check_name(c, s, member->name) : 0;
    if (rc == 0 && known)
        rc = check_inside(c, property->schema, member, member->name, 0);
    if (rc == 0)
        rc = check_patterns(c, s, member, &known);
    if (rc != 0 || known || s->additional == NULL)
        return rc;
    if (s->additional->types == 0)
        return c->quiet > 0 ? -EINVAL : schema_say_property(s, member->name, place(c), c->err, c->errlen);
    return check_inside(c, s->additional, member, member->name, 0);
}

static int check_missing(struct checker *c, const struct schema_node *s, const struct value *value) {
    for (size_t i = 0; i < s->n_properties; i++)
        if (s->properties[i].required && value_get(value, s->properties[i].name) == NULL)
            return c->quiet > 0 ? -EINVAL
                                : schema_say_missing(&s->properties[i], place(c), c->err, c->errlen);
    return spend(c, s->n_properties);
}

static int check_dependents(struct checker *c, const struct schema_node *s, const struct value *value) {
    int rc = 0;
    for (size_t i = 0; i < s->n_dependents && rc == 0; i++) {
        const struct schema_dependent *d = &s->dependents[i];
        if (value_get(value, d->name) == NULL)
            continue;
        for (size_t k = 0; k < d->n_required; k++)
            if (value_get(value, d->required[k]) == NULL)
                return FAIL(c, "%s.%.64s is missing; it must be there because %.64s is", place(c),
                            d->required[k], d->name);
        rc = spend(c, d->n_required);
        if (rc == 0 && d->schema != NULL)
            rc = check(c, d->schema, value);
    }
    return rc;
}

static int check_object(struct checker *c, const struct schema_node *s, const struct value *value) {
    int rc = check_count(c, s->min_properties, s->max_properties, value->count, "properties");
    bool members = s->n_properties > 0 || s->n_patterns > 0 || s->additional != NULL || s->names != NULL;
    for (const struct value *member = value->child; member != NULL && rc == 0 && members;
         member = member->next)
        rc = check_member(c, s, member);
    rc = rc ? rc : check_missing(c, s, value);
    return rc ? rc : check_dependents(c, s, value);
}

/* ---- the same value against other nodes ---- */

/* The types that a form takes, as far as they can be seen from outside. */
static unsigned types_of_form(const struct schema_node *form) {
    while (form->types == SCHEMA_ANY && form->ref != NULL)
        form = form->ref;
    return form->types;
}

/* Whether the members that can only have listed values (such as "kind") have one of them. */
static bool discriminates(const struct schema_node *form, const struct value *value) {
    while (form->n_properties == 0 && form->ref != NULL)
        form = form->ref;
    for (size_t i = 0; i < form->n_properties; i++) {
        const struct schema_node *s = form->properties[i].schema;
        const struct value *member =
            s != NULL && s->has_choices ? value_get(value, form->properties[i].name) : NULL;
        if (member != NULL && !value_is_among(s->sorted_choices, s->n_choices, member, NULL))
            return false;
    }
    return true;
}

/* The value fits none of the forms: says what the one it was probably meant to be lacks. */
static int say_forms(struct checker *c, struct schema_list forms, const struct value *value) {
    const struct schema_node *nearest = NULL;
    unsigned is = schema_types_of(value), types = 0;
    char why[400] = "", wanted[128], got[64];
    for (size_t i = 0; i < forms.count; i++) {
        unsigned form_types = types_of_form(forms.at[i]);
        types |= form_types;
        if ((form_types & is) != 0 &&
            (nearest == NULL || (!discriminates(nearest, value) && discriminates(forms.at[i], value))))
            nearest = forms.at[i];
    }
    if (nearest == NULL)
        return err_set(c->err, c->errlen, -EINVAL, "%s must be %s, not %s", place(c),
                       schema_say_types(types, wanted, sizeof wanted), schema_say_types(is, got, sizeof got));
    char *err = c->err;
    size_t errlen = c->errlen;
    c->err = why;
    c->errlen = sizeof why;
    int rc = check(c, nearest, value);
    c->err = err;
    c->errlen = errlen;
    if (forms.count == 1 || rc != -EINVAL)
        return err_set(err, errlen, rc, "%s", why);
    return err_set(err, errlen, -EINVAL, "%s fits none of its %zu forms; the nearest: %s", place(c),
                   forms.count, why);
}

static int check_forms(struct checker *c, struct schema_list forms, const struct value *value, bool one) {
    size_t fits = 0;
    for (size_t i = 0; i < forms.count && (one ? fits < 2 : fits < 1); i++) {
        int rc = passes(c, forms.at[i], value);
        if (rc < 0)
            return rc;
        fits += rc == 1;
    }
    if (fits == 1)
        return 0;
    if (fits > 1)
        return FAIL(c, "%s fits more than one of its forms and must fit exactly one", place(c));
    return c->quiet > 0 ? -EINVAL : say_forms(c, forms, value);
}

static int check_condition(struct checker *c, const struct schema_node *s, const struct value *value) {
    int rc = passes(c, s->condition, value);
    const struct schema_node *branch = rc == 1 ? s->then_schema : s->else_schema;
    return rc < 0 ? rc : branch != NULL ? check(c, branch, value) : 0;
}

static int check_in_place(struct checker *c, const struct schema_node *s, const struct value *value) {
    int rc = s->ref != NULL ? check(c, s->ref, value) : 0;
    for (size_t i = 0; i < s->all_of.count && rc == 0; i++)
        rc = check(c, s->all_of.at[i], value);
    if (rc == 0 && s->any_of.count > 0)
        rc = check_forms(c, s->any_of, value, false);
    if (rc == 0 && s->one_of.count > 0)
        rc = check_forms(c, s->one_of, value, true);
    if (rc == 0 && s->negated != NULL) {
        rc = passes(c, s->negated, value);
        rc = rc == 1 ? FAIL(c, "%s is what the schema says it must not be", place(c)) : rc;
    }
    return rc == 0 && s->condition != NULL ? check_condition(c, s, value) : rc;
}

static int check_all(struct checker *c, const struct schema_node *s, const struct value *value) {
    unsigned is = schema_types_of(value);
    int rc = 0;
    if (s->integers_as_written && value->kind == VALUE_NUMBER && strpbrk(value->text, ".eE") != NULL)
        is &= ~(unsigned)SCHEMA_INTEGER;
    if ((s->types & is) == 0)
        return c->quiet > 0 ? -EINVAL : schema_say_type(s, value, place(c), c->err, c->errlen);
    if (s->has_choices)
        rc = check_choices(c, s, value);
    if (rc == 0 && value->kind == VALUE_NUMBER)
        rc = check_number(c, s, value);
    if (rc == 0 && value->kind == VALUE_STRING)
        rc = check_string(c, s, value);
    if (rc == 0 && value->kind == VALUE_ARRAY)
        rc = check_array(c, s, value);
    if (rc == 0 && value->kind == VALUE_OBJECT)
        rc = check_object(c, s, value);
    return rc ? rc : check_in_place(c, s, value);
}

/* Recursive, never deeper than DEPTH_MAX. What a $ref leads to can be asked about the same value from many
 * places, so its verdict is remembered: otherwise they could multiply. */
static int check(struct checker *c, const struct schema_node *s, const struct value *value) {
    int rc = spend(c, NODE_STEPS);
    bool remember = s->is_ref_target && value->id != NO_ID;
    if (rc == 0 && c->depth >= DEPTH_MAX)
        rc = too_much(c);
    if (rc != 0)
        return rc;
    if (remember) {
        int known = schema_memo_get(&c->memo, s->id, value->id);
        if (known == 1 || (known == 0 && c->quiet > 0))
            return known == 1 ? 0 : -EINVAL;
    }
    c->depth++;
    rc = check_all(c, s, value);
    c->depth--;
    if (remember && (rc == 0 || rc == -EINVAL))
        schema_memo_put(&c->memo, s->id, value->id, rc == 0);
    return rc;
}

int schema_check(const struct schema *schema, const struct value *value, char *err, size_t errlen) {
    struct checker c = {.steps = STEPS_MAX, .err = err, .errlen = errlen};
    buf_init(&c.place, PLACE_MAX);
    int rc = buf_puts(&c.place, "arguments");
    rc = rc != 0 ? err_set(err, errlen, rc, "no memory to check the arguments")
                 : check(&c, schema_root(schema), value);
    buf_finish(&c.place);
    schema_memo_finish(&c.memo);
    return rc;
}

int schema_passes(const struct schema_node *node, const struct value *value) {
    struct checker c = {.steps = STEPS_MAX};
    buf_init(&c.place, PLACE_MAX);
    int rc = passes(&c, node, value);
    buf_finish(&c.place);
    schema_memo_finish(&c.memo);
    return rc;
}

int schema_passes_text(const struct schema_node *node, const char *text) {
    struct value value = {.kind = VALUE_STRING, .id = NO_ID, .text = text, .text_len = strlen(text)};
    value.hash = value_hash_string(text, value.text_len);
    return schema_passes(node, &value);
}
