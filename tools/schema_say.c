#include "tools/schema_say.h"

#include "base/buf.h"
#include "tools/suggest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VALUES_MAX 200 /* bytes of allowed values that are quoted */

unsigned schema_types_of(const struct value *value) {
    switch (value->kind) {
    case VALUE_NULL:
        return SCHEMA_NULL;
    case VALUE_FALSE:
    case VALUE_TRUE:
        return SCHEMA_BOOLEAN;
    case VALUE_STRING:
        return SCHEMA_STRING;
    case VALUE_ARRAY:
        return SCHEMA_ARRAY;
    case VALUE_OBJECT:
        return SCHEMA_OBJECT;
    case VALUE_NUMBER:
        break;
    }
    return SCHEMA_NUMBER | (decimal_is_integer(&value->number) ? (unsigned)SCHEMA_INTEGER : 0);
}

const char *schema_say_types(unsigned types, char *text, size_t size) {
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
    return text;
}

const char *schema_say_format(enum format format, char *text, size_t size) {
    static const char *const examples[] = {
        [FORMAT_DATE] = "2024-02-29",
        [FORMAT_TIME] = "13:45:00Z",
        [FORMAT_DATE_TIME] = "2024-02-29T13:45:00Z",
        [FORMAT_DURATION] = "P1DT12H",
        [FORMAT_UUID] = "123e4567-e89b-12d3-a456-426614174000",
        [FORMAT_EMAIL] = "ada@example.org",
        [FORMAT_IDN_EMAIL] = "ada@example.org",
        [FORMAT_HOSTNAME] = "www.example.org",
        [FORMAT_IPV4] = "192.0.2.1",
        [FORMAT_IPV6] = "2001:db8::1",
        [FORMAT_URI] = "https://example.org/a",
        [FORMAT_URI_REFERENCE] = "../a?b=c",
        [FORMAT_IRI] = "https://example.org/a",
        [FORMAT_IRI_REFERENCE] = "../a?b=c",
        [FORMAT_URI_TEMPLATE] = "/users/{id}",
        [FORMAT_JSON_POINTER] = "/a/0",
        [FORMAT_RELATIVE_JSON_POINTER] = "1/a",
        [FORMAT_REGEX] = "^[a-z]+$",
        [FORMAT_BASE64] = "must be base64, like aGk=",
        [FORMAT_JSON] = "must be JSON as text, like {\"a\": 1}",
        [FORMAT_BASE64_JSON] = "must be JSON in base64, like eyJhIjogMX0=",
    };
    if (format_name(format)[0] == '\0') {
        snprintf(text, size, "%s", examples[format]);
        return text;
    }
    snprintf(text, size, "must be of format '%s', like %s", format_name(format),
             examples[format] != NULL ? examples[format] : "");
    return text;
}

int schema_say_type(const struct schema_node *node, const struct value *value, const char *place, char *err,
                    size_t errlen) {
    unsigned is = schema_types_of(value);
    char wanted[128], got[64];
    if (node->types == 0)
        return err_set(err, errlen, -EINVAL, "%s is not allowed", place);
    if (node->types == SCHEMA_INTEGER && value->kind == VALUE_NUMBER)
        return err_set(err, errlen, -EINVAL, "%s must be an integer, not %.40s", place, value->text);
    return err_set(err, errlen, -EINVAL, "%s must be %s, not %s", place,
                   schema_say_types(node->types, wanted, sizeof wanted),
                   schema_say_types(is, got, sizeof got));
}

int schema_say_choices(const struct schema_node *node, const char *place, char *err, size_t errlen) {
    struct buf text;
    bool one = node->n_choices == 1;
    int rc = 0;
    buf_init(&text, VALUES_MAX);
    if (!one)
        rc = buf_putc(&text, '[');
    for (size_t i = 0; i < node->n_choices && rc == 0; i++) {
        rc = i > 0 ? buf_putc(&text, ',') : 0;
        rc = rc ? rc : value_print(node->choices[i], &text);
    }
    if (rc == 0 && !one)
        rc = buf_putc(&text, ']');
    rc = rc == -ENOMEM ? rc : -EINVAL;
    err_set(err, errlen, rc, "%s must be %s%s%s", place, one ? "" : "one of ",
            text.data != NULL ? text.data : "what the schema lists", text.len >= VALUES_MAX - 8 ? "…" : "");
    buf_finish(&text);
    return rc;
}

static const char *property_name(const void *arg, size_t i) {
    const struct schema_node *node = arg;
    return node->properties[i].name;
}

int schema_say_property(const struct schema_node *node, const char *name, const char *place, char *err,
                        size_t errlen) {
    struct buf known;
    const char *close = suggest_name(name, node->n_properties, property_name, node);
    if (close != NULL)
        return err_set(err, errlen, -EINVAL, "%s has no property '%.64s'; did you mean '%s'?", place, name,
                       close);
    if (node->n_properties == 0 && node->n_patterns == 0)
        return err_set(err, errlen, -EINVAL, "%s takes no properties, but has '%.64s'", place, name);
    buf_init(&known, VALUES_MAX);
    for (size_t i = 0; i < node->n_properties; i++)
        if (buf_printf(&known, "%s%s", i > 0 ? ", " : "", node->properties[i].name) != 0)
            break;
    for (size_t i = 0; i < node->n_patterns; i++)
        if (buf_printf(&known, "%snames with %s", known.len > 0 ? ", " : "",
                       regex_source(node->patterns[i].pattern)) != 0)
            break;
    int rc = err_set(err, errlen, -EINVAL, "%s has no property '%.64s'; it takes %s", place, name,
                     known.len > 0 ? known.data : "others");
    buf_finish(&known);
    return rc;
}

int schema_say_missing(const struct schema_property *property, const char *place, char *err, size_t errlen) {
    char wanted[128] = "";
    const struct schema_node *schema = property->schema;
    if (schema != NULL && schema->types == SCHEMA_ANY && schema->ref != NULL)
        schema = schema->ref;
    if (schema != NULL && schema->types != SCHEMA_ANY)
        schema_say_types(schema->types, wanted, sizeof wanted);
    return err_set(err, errlen, -EINVAL, "%s.%.64s is missing%s%s", place, property->name,
                   wanted[0] != '\0' ? "; it must be " : "", wanted);
}
