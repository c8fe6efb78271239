#include "agent/repair_json.h"

#include "agent/repair_string.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNIQUE_MAX 256 /* members of one object that are compared here; json_check() sees to larger ones */

struct repair_member {
    size_t key, key_len, value, value_len;
};

void repair_json_init(struct repair_json *r, const char *text, size_t len, struct buf *out,
                      struct shapes_set *repaired) {
    *r = (struct repair_json){.text = text, .len = len, .out = out, .repaired = repaired, .what = "call"};
}

void repair_json_finish(struct repair_json *r) {
    free(r->members);
    r->members = NULL;
    r->n_members = r->cap_members = 0;
}

static char peek(const struct repair_json *r) {
    return r->at < r->len ? r->text[r->at] : '\0';
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '$';
}

static int bad(struct repair_json *r, const char *what) {
    if (r->at >= r->len)
        return err_set(r->why, sizeof r->why, -EINVAL, "The JSON of the %s is not complete.", r->what);
    return err_set(r->why, sizeof r->why, -EINVAL, "The %s is not valid JSON (%s at byte %zu).", r->what,
                   what, r->at);
}

/* A comment at `at`: its length, 0 for none. */
static size_t comment_length(const struct repair_json *r) {
    const char *at = r->text + r->at, *end;
    size_t left = r->len - r->at;
    if (left < 2 || at[0] != '/')
        return 0;
    if (at[1] == '/') {
        end = memchr(at, '\n', left);
        return end != NULL ? (size_t)(end - at) : left;
    }
    end = at[1] == '*' ? memmem(at + 2, left - 2, "*/", 2) : NULL;
    return end != NULL ? (size_t)(end - at) + 2 : 0;
}

/* Space is copied when `out` is not NULL, comments are dropped. */
static int space(struct repair_json *r, struct buf *out) {
    for (;;) {
        size_t from = r->at;
        while (r->at < r->len && is_space(r->text[r->at]))
            r->at++;
        int rc = out != NULL && r->at > from ? buf_append(out, r->text + from, r->at - from) : 0;
        size_t comment = rc == 0 ? comment_length(r) : 0;
        if (comment == 0)
            return rc;
        shapes_add(r->repaired, SHAPE_KEYS_AND_COMMENTS);
        r->at += comment;
    }
}

void repair_json_skip(struct repair_json *r) {
    (void)!space(r, NULL); /* nothing is appended, so nothing fails */
}

static int quoted(struct repair_json *r) {
    const char *what = NULL;
    int rc = repair_string(r->text, r->len, &r->at, r->out, r->repaired, &what);
    return rc == -EINVAL ? bad(r, what) : rc;
}

static void skip_digits(struct repair_json *r) {
    while (is_digit(peek(r)))
        r->at++;
}

static int number(struct repair_json *r) {
    size_t from = r->at;
    r->at += peek(r) == '-';
    if (!is_digit(peek(r)))
        return bad(r, "a number was expected");
    if (peek(r) == '0')
        r->at++;
    else
        skip_digits(r);
    if (peek(r) == '.') {
        r->at++;
        if (!is_digit(peek(r)))
            return bad(r, "digits were expected");
        skip_digits(r);
    }
    if ((peek(r) | 0x20) == 'e') {
        r->at++;
        r->at += peek(r) == '-' || peek(r) == '+';
        if (!is_digit(peek(r)))
            return bad(r, "digits were expected");
        skip_digits(r);
    }
    if (is_word(peek(r)) || peek(r) == '.')
        return bad(r, peek(r) == 'j' ? "a complex number is no JSON" : "this is not a number");
    return buf_append(r->out, r->text + from, r->at - from);
}

static int word(struct repair_json *r) {
    static const struct {
        const char *text, *json;
    } words[] = {{"true", "true"}, {"false", "false"}, {"null", "null"},
                 {"True", "true"}, {"False", "false"}, {"None", "null"}};
    size_t n = 0;
    while (r->at + n < r->len && is_word(r->text[r->at + n]))
        n++;
    char next = r->at + n < r->len ? r->text[r->at + n] : '\0';
    if (n > 0 && (next == '"' || next == '\'' || next == '('))
        return bad(r, "only strings, numbers, true, false, null, objects and lists are JSON");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (n != strlen(words[i].text) || memcmp(r->text + r->at, words[i].text, n) != 0)
            continue;
        if (i >= 3)
            shapes_add(r->repaired, SHAPE_PYTHON_LITERAL);
        r->at += n;
        return buf_puts(r->out, words[i].json);
    }
    if (r->at + n >= r->len)
        r->at += n; /* the word may have been cut off */
    return bad(r, next == '(' ? "a tuple is no JSON" : "a value was expected");
}

/* ---- objects and lists ---- */

static bool same(const struct repair_json *r, size_t a, size_t a_len, size_t b, size_t b_len) {
    return a_len == b_len && memcmp(r->out->data + a, r->out->data + b, a_len) == 0;
}

/* The member just written, whose object's members start at `first`: kept, or dropped for an equal one. */
static int add_member(struct repair_json *r, size_t first, struct repair_member m, size_t mark) {
    for (size_t i = first; i < r->n_members && r->n_members - first <= UNIQUE_MAX; i++) {
        const struct repair_member *o = &r->members[i];
        if (!same(r, o->key, o->key_len, m.key, m.key_len))
            continue;
        if (!same(r, o->value, o->value_len, m.value, m.value_len))
            return err_set(r->why, sizeof r->why, -EINVAL,
                           "The %s has the key %.*s twice with different values.", r->what,
                           (int)(m.key_len < 60 ? m.key_len : 60), r->out->data + m.key);
        shapes_add(r->repaired, SHAPE_DUPLICATE_KEYS);
        r->out->len = mark;
        r->out->data[mark] = '\0';
        return 0;
    }
    if (r->n_members == r->cap_members) {
        size_t cap = r->cap_members == 0 ? 32 : r->cap_members * 2;
        struct repair_member *members = realloc(r->members, cap * sizeof *members);
        if (members == NULL)
            return -ENOMEM;
        r->members = members;
        r->cap_members = cap;
    }
    r->members[r->n_members++] = m;
    return 0;
}

static int key(struct repair_json *r) {
    char c = peek(r);
    if (c == '"' || c == '\'')
        return quoted(r);
    if (!is_word(c) || is_digit(c))
        return bad(r, "a key was expected");
    size_t from = r->at;
    while (is_word(peek(r)) || peek(r) == '-')
        r->at++;
    shapes_add(r->repaired, SHAPE_KEYS_AND_COMMENTS);
    int rc = buf_putc(r->out, '"');
    rc = rc ? rc : buf_append(r->out, r->text + from, r->at - from);
    return rc ? rc : buf_putc(r->out, '"');
}

/* {…}{…} as one value: the same object written twice is one. */
static int repeated(struct repair_json *r, struct repair_member *m) {
    size_t mark = r->out->len, at = r->at;
    int rc = repair_json_value(r);
    if (rc == 0 && !same(r, m->value, m->value_len, mark, r->out->len - mark)) {
        r->at = at;
        rc = bad(r, "',' or '}' was expected");
    }
    if (rc == 0) {
        shapes_add(r->repaired, SHAPE_SEVERAL_OBJECTS);
        r->out->len = mark;
        r->out->data[mark] = '\0';
    }
    return rc;
}

static int member(struct repair_json *r, size_t first, size_t mark) {
    struct repair_member m = {.key = r->out->len};
    int rc = key(r);
    m.key_len = r->out->len - m.key;
    rc = rc ? rc : space(r, r->out);
    if (rc == 0 && peek(r) != ':')
        rc = bad(r, peek(r) == ',' || peek(r) == '}' ? "a set is no JSON; ':' was expected"
                                                     : "':' was expected");
    r->at += rc == 0;
    rc = rc ? rc : buf_putc(r->out, ':');
    rc = rc ? rc : space(r, r->out);
    m.value = r->out->len;
    rc = rc ? rc : repair_json_value(r);
    m.value_len = r->out->len - m.value;
    size_t end = r->out->len;
    rc = rc ? rc : space(r, r->out);
    if (rc == 0 && peek(r) == '{' && r->out->data[m.value] == '{') {
        r->out->len = end;
        rc = repeated(r, &m);
        rc = rc ? rc : space(r, r->out);
    }
    return rc ? rc : add_member(r, first, m, mark);
}

static int element(struct repair_json *r) {
    int rc = repair_json_value(r);
    return rc ? rc : space(r, r->out);
}

/* What stands between the brackets, and the closing one. A comma is written once something follows it. */
static int members(struct repair_json *r, char close, size_t first) {
    int rc = space(r, r->out);
    if (rc == 0 && peek(r) == close) {
        r->at++;
        return buf_putc(r->out, close);
    }
    size_t mark = r->out->len;
    while (rc == 0) {
        rc = close == '}' ? member(r, first, mark) : element(r);
        char c = peek(r);
        if (rc < 0)
            return rc;
        if (c == '\0' && r->at >= r->len && r->may_close && r->depth == 1 && close == '}') {
            shapes_add(r->repaired, SHAPE_OUTER_BRACE_MISSING);
            return buf_putc(r->out, close);
        }
        if (c == close) {
            r->at++;
            return buf_putc(r->out, close);
        }
        if (c != ',')
            return bad(r, close == '}' ? "',' or '}' was expected; a quote inside a string is written \\\""
                                       : "',' or ']' was expected");
        r->at++;
        mark = r->out->len;
        rc = buf_putc(r->out, ',');
        rc = rc ? rc : space(r, r->out);
        if (rc == 0 && peek(r) == close) {
            shapes_add(r->repaired, SHAPE_TRAILING_COMMA);
            r->out->len = mark;
            r->at++;
            return buf_putc(r->out, close);
        }
    }
    return rc;
}

int repair_json_value(struct repair_json *r) {
    char c = peek(r);
    if (c == '"' || c == '\'')
        return quoted(r);
    if (c == '-' || is_digit(c))
        return number(r);
    if (c != '{' && c != '[')
        return word(r);
    if (r->depth >= REPAIR_JSON_DEPTH_MAX)
        return err_set(r->why, sizeof r->why, -EINVAL, "The %s is nested deeper than %d.", r->what,
                       REPAIR_JSON_DEPTH_MAX);
    size_t first = r->n_members;
    r->depth++;
    r->at++;
    int rc = buf_putc(r->out, c);
    rc = rc ? rc : members(r, c == '{' ? '}' : ']', first);
    r->depth--;
    r->n_members = first;
    return rc;
}
