#include "base/buf.h"
#include "tools/schema.h"
#include "tools/schema_tree.h"
#include "tools/suggest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PLACE_MAX 512
#define VALUE_MAX 200 /* bytes of an allowed value that are quoted */

/* What is being checked: where it is, for sentences, and where those go. */
struct checker {
    struct buf place; /* "arguments.days[2]" */
    char *err;
    size_t errlen;
};

static int check(struct checker *c, const struct schema *s, const cJSON *value);

static const char *place(const struct checker *c) {
    return c->place.data != NULL ? c->place.data : "arguments";
}

static void ascend(struct checker *c, size_t before) {
    c->place.len = before;
    if (c->place.data != NULL)
        c->place.data[before] = '\0';
}

/* Enters a member (`name`) or an item; the length to come back to. A place that is too long is left as it is.
 */
static size_t descend(struct checker *c, const char *name, size_t index) {
    size_t before = c->place.len;
    int rc = name != NULL ? buf_printf(&c->place, ".%.64s", name) : buf_printf(&c->place, "[%zu]", index);
    if (rc != 0)
        ascend(c, before);
    return before;
}

static unsigned type_of(const cJSON *value) {
    if (cJSON_IsNull(value))
        return SCHEMA_NULL;
    if (cJSON_IsBool(value))
        return SCHEMA_BOOLEAN;
    if (cJSON_IsString(value))
        return SCHEMA_STRING;
    if (cJSON_IsArray(value))
        return SCHEMA_ARRAY;
    if (cJSON_IsObject(value))
        return SCHEMA_OBJECT;
    double n = value->valuedouble; /* 2.0 is an integer; what is beyond 2^63 has no fraction */
    bool whole = n >= 9e18 || n <= -9e18 || !((double)(long long)n < n || (double)(long long)n > n);
    return whole ? SCHEMA_INTEGER | SCHEMA_NUMBER : SCHEMA_NUMBER;
}

/* "a string", "an integer or null". */
static void name_types(unsigned types, char *text, size_t size) {
    size_t len = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < SCHEMA_TYPES; i++) {
        if ((types >> i & 1u) == 0 || ((types & SCHEMA_NUMBER) != 0 && (1u << i) == SCHEMA_INTEGER))
            continue;
        const char *name = schema_type_names[i];
        const char *article = strcmp(name, "null") == 0 ? "" : strchr("aio", name[0]) != NULL ? "an " : "a ";
        int n = snprintf(text + len, size - len, "%s%s%s", len > 0 ? " or " : "", article, name);
        len += n > 0 && (size_t)n < size - len ? (size_t)n : 0;
    }
}

static int check_type(struct checker *c, const struct schema *s, const cJSON *value) {
    unsigned is = type_of(value);
    char wanted[128], got[64];
    if (s->types == 0 || (s->types & is) != 0)
        return 0;
    name_types(s->types, wanted, sizeof wanted);
    if (s->types == SCHEMA_INTEGER && (is & SCHEMA_NUMBER) != 0)
        return err_set(c->err, c->errlen, -EINVAL, "%s must be an integer, not %.15g", place(c),
                       value->valuedouble);
    name_types(is, got, sizeof got);
    return err_set(c->err, c->errlen, -EINVAL, "%s must be %s, not %s", place(c), wanted, got);
}

static int check_choices(struct checker *c, const struct schema *s, const cJSON *value) {
    if (s->constant != NULL && !cJSON_Compare(s->constant, value, 1)) {
        char *text = cJSON_PrintUnformatted(s->constant);
        int rc = err_set(c->err, c->errlen, -EINVAL, "%s must be %.*s", place(c), VALUE_MAX,
                         text != NULL ? text : "its constant");
        cJSON_free(text);
        return rc;
    }
    if (s->choices == NULL)
        return 0;
    for (const cJSON *choice = s->choices->child; choice != NULL; choice = choice->next)
        if (cJSON_Compare(choice, value, 1))
            return 0;
    char *text = cJSON_PrintUnformatted(s->choices);
    int rc = err_set(c->err, c->errlen, -EINVAL, "%s must be one of %.*s", place(c), VALUE_MAX,
                     text != NULL ? text : "its choices");
    cJSON_free(text);
    return rc;
}

static int check_number(struct checker *c, const struct schema *s, const cJSON *value) {
    double n = value->valuedouble;
    const struct {
        bool broken;
        const char *what;
        double than;
    } rules[] = {
        {s->minimum.set && n < s->minimum.value, "at least", s->minimum.value},
        {s->maximum.set && n > s->maximum.value, "at most", s->maximum.value},
        {s->above.set && n <= s->above.value, "more than", s->above.value},
        {s->below.set && n >= s->below.value, "less than", s->below.value},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].broken)
            return err_set(c->err, c->errlen, -EINVAL, "%s must be %s %.15g, not %.15g", place(c),
                           rules[i].what, rules[i].than, n);
    return 0;
}

/* min and max as counts of `unit`. */
static int check_count(struct checker *c, struct schema_bound min, struct schema_bound max, size_t count,
                       const char *unit) {
    if (min.set && (double)count < min.value)
        return err_set(c->err, c->errlen, -EINVAL, "%s must have at least %.0f %s, not %zu", place(c),
                       min.value, unit, count);
    if (max.set && (double)count > max.value)
        return err_set(c->err, c->errlen, -EINVAL, "%s must have at most %.0f %s, not %zu", place(c),
                       max.value, unit, count);
    return 0;
}

static int check_string(struct checker *c, const struct schema *s, const cJSON *value) {
    size_t count = 0;
    if (!s->min_length.set && !s->max_length.set)
        return 0;
    for (const char *p = value->valuestring; *p != '\0'; p++)
        count += ((unsigned char)*p & 0xc0) != 0x80;
    return check_count(c, s->min_length, s->max_length, count, "characters");
}

static int check_array(struct checker *c, const struct schema *s, const cJSON *value) {
    size_t i = 0;
    int rc = check_count(c, s->min_items, s->max_items, (size_t)cJSON_GetArraySize(value), "items");
    if (s->items == NULL)
        return rc;
    for (const cJSON *item = value->child; item != NULL && rc == 0; item = item->next, i++) {
        size_t before = descend(c, NULL, i);
        rc = check(c, s->items, item);
        ascend(c, before);
    }
    return rc;
}

/* ---- objects ---- */

static const char *property_name(const void *arg, size_t i) {
    const struct schema *s = arg;
    return s->properties[i].name;
}

static const struct schema_property *property_find(const struct schema *s, const char *name) {
    for (size_t i = 0; i < s->property_count; i++)
        if (strcmp(s->properties[i].name, name) == 0)
            return &s->properties[i];
    return NULL;
}

static int refuse_property(struct checker *c, const struct schema *s, const char *name) {
    struct buf known;
    const char *close = suggest_name(name, s->property_count, property_name, s);
    if (close != NULL)
        return err_set(c->err, c->errlen, -EINVAL, "%s has no property '%.64s'; did you mean '%s'?", place(c),
                       name, close);
    if (s->property_count == 0)
        return err_set(c->err, c->errlen, -EINVAL, "%s takes no properties, but has '%.64s'", place(c), name);
    buf_init(&known, VALUE_MAX);
    for (size_t i = 0; i < s->property_count; i++)
        if (buf_printf(&known, "%s%s", i > 0 ? ", " : "", s->properties[i].name) != 0)
            break;
    int rc = err_set(c->err, c->errlen, -EINVAL, "%s has no property '%.64s'; it takes %s", place(c), name,
                     known.data != NULL ? known.data : "others");
    buf_finish(&known);
    return rc;
}

static int check_missing(struct checker *c, const struct schema *s, const cJSON *value) {
    char wanted[128] = "";
    for (size_t i = 0; i < s->property_count; i++) {
        const struct schema_property *p = &s->properties[i];
        if (!p->required || cJSON_GetObjectItemCaseSensitive(value, p->name) != NULL)
            continue;
        if (p->schema != NULL)
            name_types(p->schema->types, wanted, sizeof wanted);
        return err_set(c->err, c->errlen, -EINVAL, "%s.%.64s is missing%s%s", place(c), p->name,
                       wanted[0] != '\0' ? "; it must be " : "", wanted);
    }
    return 0;
}

static int check_object(struct checker *c, const struct schema *s, const cJSON *value) {
    int rc = 0;
    for (const cJSON *member = value->child; member != NULL && rc == 0; member = member->next) {
        const struct schema_property *p = property_find(s, member->string);
        const struct schema *sub = p != NULL && p->schema != NULL ? p->schema : s->additional;
        if (s->closed && (p == NULL || p->schema == NULL))
            return refuse_property(c, s, member->string);
        if (sub == NULL)
            continue;
        size_t before = descend(c, member->string, 0);
        rc = check(c, sub, member);
        ascend(c, before);
    }
    return rc != 0 ? rc : check_missing(c, s, value);
}

static int check(struct checker *c, const struct schema *s, const cJSON *value) {
    unsigned is = type_of(value);
    int rc = check_type(c, s, value);
    if (rc == 0)
        rc = check_choices(c, s, value);
    if (rc == 0 && (is & SCHEMA_NUMBER) != 0)
        rc = check_number(c, s, value);
    if (rc == 0 && is == SCHEMA_STRING)
        rc = check_string(c, s, value);
    if (rc == 0 && is == SCHEMA_ARRAY)
        rc = check_array(c, s, value);
    if (rc == 0 && is == SCHEMA_OBJECT)
        rc = check_object(c, s, value);
    return rc;
}

int schema_check(const struct schema *schema, const cJSON *value, char *err, size_t errlen) {
    struct checker c = {.err = err, .errlen = errlen};
    buf_init(&c.place, PLACE_MAX);
    int rc = buf_puts(&c.place, "arguments");
    rc = rc != 0 ? err_set(err, errlen, rc, "no memory to check the arguments") : check(&c, schema, value);
    buf_finish(&c.place);
    return rc;
}
