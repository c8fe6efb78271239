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

static unsigned hex4(const char *text) {
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        value = value * 16 + (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

/* The bytes of the character an escape stands for; *at moves behind it. The text was checked. */
static size_t decode_escape(const char *text, size_t *at, char out[4]) {
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    char c = text[*at + 1];
    const char *found = strchr(from, c);
    *at += 2;
    if (c != 'u') {
        out[0] = found != NULL ? to[found - from] : c;
        return 1;
    }
    unsigned u = hex4(text + *at);
    *at += 4;
    if (u >= 0xD800 && u <= 0xDBFF) {
        u = 0x10000 + ((u - 0xD800) << 10) + (hex4(text + *at + 2) - 0xDC00);
        *at += 6;
    }
    size_t n = u < 0x80 ? 1 : u < 0x800 ? 2 : u < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; i-- > 1; u >>= 6)
        out[i] = (char)(0x80 | (u & 0x3F));
    out[0] = (char)(first[n] | u);
    return n;
}

/* Whether a string, quotes included, spells `key`. Without memory, so that it cannot fail. */
static bool spells(struct rawjson name, const char *key) {
    size_t len = strlen(key), at = 1, used = 0;
    while (at + 1 < name.len) {
        char bytes[4] = {name.text[at]};
        size_t n = 1;
        if (name.text[at] == '\\')
            n = decode_escape(name.text, &at, bytes);
        else
            at++;
        if (n > len - used || memcmp(bytes, key + used, n) != 0)
            return false;
        used += n;
    }
    return used == len;
}

bool rawjson_get(struct rawjson object, const char *key, struct rawjson *item) {
    struct rawjson name, value;
    size_t at = 0;
    if (rawjson_type(object) != '{')
        return false;
    while (rawjson_next(object, &at, &name, &value)) {
        if (spells(name, key)) {
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
