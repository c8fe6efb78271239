#include "agent/repair_inner.h"
#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_type(struct rawjson schema, const char *type) {
    struct rawjson value;
    size_t n = strlen(type);
    return rawjson_type(schema) == '{' && rawjson_get(schema, "type", &value) && value.len == n + 2 &&
           memcmp(value.text + 1, type, n) == 0;
}

struct rawjson repair_property(struct rawjson schema, const char *key) {
    struct rawjson properties, value;
    if (rawjson_type(schema) == '{' && rawjson_get(schema, "properties", &properties) &&
        rawjson_get(properties, key, &value))
        return value;
    return (struct rawjson){NULL, 0};
}

/* Whether a text spells exactly one value of the schema's type. */
static bool spells(const char *text, struct rawjson schema) {
    if (is_type(schema, "boolean"))
        return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    bool integer = is_type(schema, "integer");
    if (!integer && !is_type(schema, "number"))
        return false;
    struct rawjson value = rawjson_of(text, strlen(text));
    if (rawjson_type(value) != 'd' || value.len != strlen(text))
        return false;
    return json_check(text, value.len, NULL, NULL, 0) == 0 && (!integer || strpbrk(text, ".eE") == NULL);
}

static int coerce_string(struct rawjson value, struct rawjson schema, struct buf *out, bool *changed) {
    char *text = rawjson_string(value);
    if (text == NULL)
        return -ENOMEM;
    bool other = spells(text, schema);
    *changed = *changed || other;
    int rc = other ? buf_puts(out, text) : buf_append(out, value.text, value.len);
    free(text);
    return rc;
}

int repair_coerce(struct rawjson value, struct rawjson schema, struct buf *out, bool *changed) {
    char type = rawjson_type(value);
    if (type == '"')
        return coerce_string(value, schema, out, changed);
    if ((type != '{' && type != '[') || rawjson_type(schema) != '{')
        return buf_append(out, value.text, value.len);
    struct rawjson key, item, items = {NULL, 0};
    size_t at = 0, copied = 0;
    int rc = 0;
    if (type == '[')
        (void)rawjson_get(schema, "items", &items);
    while (rc == 0 && rawjson_next(value, &at, &key, &item)) {
        struct rawjson inner = items;
        if (type == '{') {
            char *name = rawjson_string(key);
            if (name == NULL)
                return -ENOMEM;
            inner = repair_property(schema, name);
            free(name);
        }
        size_t from = (size_t)(item.text - value.text);
        rc = buf_append(out, value.text + copied, from - copied);
        rc = rc ? rc : repair_coerce(item, inner, out, changed);
        copied = from + item.len;
    }
    return rc ? rc : buf_append(out, value.text + copied, value.len - copied);
}
