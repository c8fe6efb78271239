#include "agent/rawjson.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct rawjson rawjson_of(const char *text, size_t len) {
    while (len > 0 && is_space(*text)) {
        text++;
        len--;
    }
    while (len > 0 && is_space(text[len - 1]))
        len--;
    return (struct rawjson){text, len};
}

char rawjson_type(struct rawjson value) {
    if (value.len == 0)
        return 0;
    char c = value.text[0];
    return c == '-' || (c >= '0' && c <= '9') ? 'd' : c;
}

/* End of the value that starts at `at`. */
static size_t value_end(struct rawjson whole, size_t at) {
    char c = whole.text[at];
    if (c == '{' || c == '[' || c == '"') {
        long span = json_value_span(whole.text + at, whole.len - at);
        return span > 0 ? at + (size_t)span : whole.len;
    }
    while (at < whole.len && !is_space(whole.text[at]) && strchr(",]}", whole.text[at]) == NULL)
        at++;
    return at;
}

static size_t skip(struct rawjson whole, size_t at, char also) {
    while (at < whole.len && (is_space(whole.text[at]) || whole.text[at] == also))
        at++;
    return at;
}

bool rawjson_next(struct rawjson value, size_t *at, struct rawjson *key, struct rawjson *item) {
    char type = rawjson_type(value);
    if (type != '{' && type != '[')
        return false;
    size_t i = skip(value, *at == 0 ? 1 : *at, ',');
    if (i + 1 >= value.len)
        return false;
    struct rawjson name = {value.text, 0};
    if (type == '{') {
        size_t end = value_end(value, i);
        name = (struct rawjson){value.text + i, end - i};
        i = skip(value, end, ':');
        if (i >= value.len)
            return false;
    }
    size_t end = value_end(value, i);
    if (key != NULL)
        *key = name;
    *item = (struct rawjson){value.text + i, end - i};
    *at = end;
    return true;
}

bool rawjson_get(struct rawjson object, const char *key, struct rawjson *item) {
    struct rawjson name, value;
    size_t at = 0, len = strlen(key);
    if (rawjson_type(object) != '{')
        return false;
    while (rawjson_next(object, &at, &name, &value)) {
        bool same;
        if (memchr(name.text, '\\', name.len) == NULL) {
            same = name.len == len + 2 && memcmp(name.text + 1, key, len) == 0;
        } else {
            char *decoded = rawjson_string(name);
            same = decoded != NULL && strcmp(decoded, key) == 0;
            free(decoded);
        }
        if (same) {
            *item = value;
            return true;
        }
    }
    return false;
}

char *rawjson_string(struct rawjson value) {
    if (rawjson_type(value) != '"')
        return NULL;
    cJSON *parsed = cJSON_ParseWithLength(value.text, value.len);
    const char *text = cJSON_GetStringValue(parsed);
    char *copy = text != NULL ? strdup(text) : NULL;
    cJSON_Delete(parsed);
    return copy;
}
