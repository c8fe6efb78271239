#include "base/json.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_CAP 128

const struct json_limits json_limits_default = {.max_bytes = 1u << 20, .max_nodes = 100000, .max_depth = 64};

/* One key of an object that is still open; the decoded bytes lie in scan.names. */
struct key {
    uint64_t hash;
    size_t at, len;
};

struct scan {
    const char *text;
    size_t len, at;
    size_t nodes;
    int depth;
    const struct json_limits *limits;
    struct key *keys;
    size_t n_keys, cap_keys;
    struct buf names;
    char *err;
    size_t errlen;
};

static int bad(const struct scan *s, const char *what) {
    return err_set(s->err, s->errlen, -EINVAL, "JSON: %s at byte %zu", what, s->at);
}

static void skip_space(struct scan *s) {
    while (s->at < s->len && (s->text[s->at] == ' ' || s->text[s->at] == '\t' || s->text[s->at] == '\n' ||
                              s->text[s->at] == '\r'))
        s->at++;
}

static int hex4(const char *p, unsigned *value) {
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (unsigned)((c | 0x20) - 'a') + 10;
        else
            return -EINVAL;
        v = v * 16 + digit;
    }
    *value = v;
    return 0;
}

/* The escape behind a backslash at s->at; the decoded character goes to `out` when that is not NULL. */
static int scan_escape(struct scan *s, struct buf *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->at + 1 >= s->len)
        return bad(s, "unfinished escape");
    char c = s->text[s->at + 1];
    const char *found = c != '\0' ? strchr(from, c) : NULL;
    if (found != NULL) {
        s->at += 2;
        return out == NULL ? 0 : buf_putc(out, to[found - from]);
    }
    unsigned u, low;
    if (c != 'u' || s->at + 6 > s->len || hex4(s->text + s->at + 2, &u) < 0)
        return bad(s, "invalid escape");
    if (u == 0)
        return bad(s, "the character U+0000 is not allowed");
    if (u >= 0xDC00 && u <= 0xDFFF)
        return bad(s, "lone low surrogate");
    if (u >= 0xD800 && u <= 0xDBFF) {
        if (s->at + 12 > s->len || s->text[s->at + 6] != '\\' || s->text[s->at + 7] != 'u' ||
            hex4(s->text + s->at + 8, &low) < 0 || low < 0xDC00 || low > 0xDFFF)
            return bad(s, "lone high surrogate");
        u = 0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00);
        s->at += 6;
    }
    s->at += 6;
    return out == NULL ? 0 : utf8_append(out, u);
}

static int scan_string(struct scan *s, struct buf *out) {
    s->at++;
    while (s->at < s->len) {
        unsigned char c = (unsigned char)s->text[s->at];
        if (c == '"') {
            s->at++;
            return 0;
        }
        int rc;
        if (c == '\\') {
            rc = scan_escape(s, out);
        } else if (c < 0x20) {
            return bad(s, "unescaped control character in a string");
        } else {
            size_t n = utf8_length(s->text + s->at, s->len - s->at);
            if (n == 0)
                return bad(s, "invalid UTF-8");
            rc = out == NULL ? 0 : buf_append(out, s->text + s->at, n);
            s->at += n;
        }
        if (rc < 0)
            return rc;
    }
    return bad(s, "unfinished string");
}

static bool is_digit(const struct scan *s) {
    return s->at < s->len && s->text[s->at] >= '0' && s->text[s->at] <= '9';
}

static void skip_digits(struct scan *s) {
    while (is_digit(s))
        s->at++;
}

static int scan_number(struct scan *s) {
    size_t start = s->at;
    bool integer = true;
    if (s->text[s->at] == '-')
        s->at++;
    if (!is_digit(s))
        return bad(s, "invalid number");
    if (s->text[s->at] == '0')
        s->at++;
    else
        skip_digits(s);
    if (s->at < s->len && s->text[s->at] == '.') {
        integer = false;
        s->at++;
        if (!is_digit(s))
            return bad(s, "invalid number");
        skip_digits(s);
    }
    if (s->at < s->len && (s->text[s->at] | 0x20) == 'e') {
        integer = false;
        s->at++;
        if (s->at < s->len && (s->text[s->at] == '+' || s->text[s->at] == '-'))
            s->at++;
        if (!is_digit(s))
            return bad(s, "invalid number");
        skip_digits(s);
    }
    char copy[512];
    size_t n = s->at - start;
    if (s->limits->any_number)
        return 0;
    if (n >= sizeof copy)
        return bad(s, "a number of more than 511 characters");
    memcpy(copy, s->text + start, n);
    copy[n] = '\0';
    if (!isfinite(strtod(copy, NULL)))
        return bad(s, "a number outside the range of doubles");
    long long value = strtoll(copy, NULL, 10); /* saturates, which is refused as well */
    if (integer && (value > 9007199254740992 || value < -9007199254740992))
        return bad(s, "an integer that a double cannot hold exactly");
    return 0;
}

static int by_hash(const void *a, const void *b) {
    uint64_t x = ((const struct key *)a)->hash, y = ((const struct key *)b)->hash;
    return x < y ? -1 : x > y;
}

/* Equal keys of the object whose keys start at `first`; forgets them. */
static int check_unique(struct scan *s, size_t first, size_t names) {
    size_t n = s->n_keys - first;
    const char *text = s->names.data != NULL ? s->names.data : ""; /* no bytes at all: every key is empty */
    if (n > 1)
        qsort(s->keys + first, n, sizeof *s->keys, by_hash);
    for (size_t i = first; i + 1 < s->n_keys; i++) {
        /* Equal hashes stand together; compare within the run. */
        for (size_t j = i + 1; j < s->n_keys && s->keys[j].hash == s->keys[i].hash; j++) {
            const struct key *a = &s->keys[i], *b = &s->keys[j];
            if (a->len == b->len && memcmp(text + a->at, text + b->at, a->len) == 0)
                return err_set(s->err, s->errlen, -EINVAL, "JSON: the key '%.*s' stands twice in one object",
                               (int)(a->len < 80 ? a->len : 80), text + a->at);
        }
    }
    s->n_keys = first;
    s->names.len = names;
    return 0;
}

static int add_key(struct scan *s) {
    if (s->n_keys == s->cap_keys) {
        size_t cap = s->cap_keys == 0 ? 32 : s->cap_keys * 2;
        struct key *keys = realloc(s->keys, cap * sizeof *keys);
        if (keys == NULL)
            return err_set(s->err, s->errlen, -ENOMEM, "JSON: out of memory");
        s->keys = keys;
        s->cap_keys = cap;
    }
    size_t at = s->names.len;
    int rc = scan_string(s, &s->names);
    if (rc < 0)
        return rc;
    uint64_t hash = 14695981039346656037u; /* FNV-1a, 64 bits */
    for (size_t i = at; i < s->names.len; i++)
        hash = (hash ^ (unsigned char)s->names.data[i]) * 1099511628211u;
    s->keys[s->n_keys++] = (struct key){hash, at, s->names.len - at};
    return 0;
}

static int scan_value(struct scan *s);

static int scan_members(struct scan *s, bool object) {
    char close = object ? '}' : ']';
    size_t first = s->n_keys, names = s->names.len;
    s->at++;
    skip_space(s);
    if (s->at < s->len && s->text[s->at] == close) {
        s->at++;
        return 0;
    }
    for (;;) {
        skip_space(s);
        if (object) {
            if (s->at >= s->len || s->text[s->at] != '"')
                return bad(s, "a key in quotes was expected");
            s->nodes++;
            int rc = add_key(s);
            if (rc < 0)
                return rc;
            skip_space(s);
            if (s->at >= s->len || s->text[s->at] != ':')
                return bad(s, "':' was expected");
            s->at++;
        }
        int rc = scan_value(s);
        if (rc < 0)
            return rc;
        skip_space(s);
        if (s->at < s->len && s->text[s->at] == ',') {
            s->at++;
            continue;
        }
        if (s->at >= s->len || s->text[s->at] != close)
            return bad(s, object ? "',' or '}' was expected" : "',' or ']' was expected");
        s->at++;
        return object ? check_unique(s, first, names) : 0;
    }
}

static int scan_word(struct scan *s, const char *word) {
    size_t n = strlen(word);
    if (s->len - s->at < n || memcmp(s->text + s->at, word, n) != 0)
        return bad(s, "a value was expected");
    s->at += n;
    return 0;
}

/* Recursive, but never deeper than DEPTH_CAP. */
static int scan_value(struct scan *s) {
    skip_space(s);
    if (s->at >= s->len)
        return bad(s, "the text ends where a value was expected");
    if (++s->nodes > s->limits->max_nodes)
        return err_set(s->err, s->errlen, -E2BIG, "JSON: more than %zu values", s->limits->max_nodes);
    char c = s->text[s->at];
    if (c == '{' || c == '[') {
        if (s->depth >= s->limits->max_depth || s->depth >= DEPTH_CAP)
            return err_set(s->err, s->errlen, -E2BIG, "JSON: nested deeper than %d at byte %zu", s->depth,
                           s->at);
        s->depth++;
        int rc = scan_members(s, c == '{');
        s->depth--;
        return rc;
    }
    if (c == '"')
        return scan_string(s, NULL);
    if (c == '-' || (c >= '0' && c <= '9'))
        return scan_number(s);
    return scan_word(s, c == 't' ? "true" : c == 'f' ? "false" : "null");
}

int json_check(const char *text, size_t len, const struct json_limits *limits, char *err, size_t errlen) {
    if (limits == NULL)
        limits = &json_limits_default;
    if (len > limits->max_bytes)
        return err_set(err, errlen, -E2BIG, "JSON: %zu bytes, the limit is %zu", len, limits->max_bytes);
    struct scan s = {.text = text, .len = len, .limits = limits, .err = err, .errlen = errlen};
    buf_init(&s.names, limits->max_bytes);
    int rc = scan_value(&s);
    if (rc == 0) {
        skip_space(&s);
        if (s.at < s.len)
            rc = bad(&s, "text after the value");
    }
    free(s.keys);
    buf_finish(&s.names);
    return rc;
}

int json_parse(const char *text, size_t len, const struct json_limits *limits, cJSON **out, char *err,
               size_t errlen) {
    int rc = json_check(text, len, limits, err, errlen);
    if (rc < 0)
        return rc;
    cJSON *value = cJSON_ParseWithLength(text, len);
    if (value == NULL)
        return err_set(err, errlen, -ENOMEM, "JSON: out of memory");
    *out = value;
    return 0;
}

long json_value_span(const char *text, size_t len) {
    size_t at = 0;
    int depth = 0;
    while (at < len && strchr(" \t\r\n", text[at]) != NULL && text[at] != '\0')
        at++;
    if (at == len)
        return 0;
    if (text[at] != '{' && text[at] != '[' && text[at] != '"')
        return -EINVAL;
    bool in_string = false;
    for (; at < len; at++) {
        char c = text[at];
        if (in_string) {
            if (c == '\\')
                at++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        }
        if (depth == 0 && !in_string && at < len)
            return (long)at + 1;
    }
    return 0;
}

const char *json_get_string(const cJSON *object, const char *key) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}
