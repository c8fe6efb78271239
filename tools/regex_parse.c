#include "base/utf8.h"
#include "tools/regex_build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    struct regex *regex;
    const char *text;
    size_t len, at;
    int depth;
    char *err;
    size_t errlen;
};

/* Children of a node that grows. */
struct children {
    const struct regex_node **at;
    size_t n, cap;
};

static int parse_alternatives(struct parser *p, const struct regex_node **out);

static int bad(const struct parser *p, const char *what) {
    return err_set(p->err, p->errlen, -EINVAL, "%s at byte %zu of the pattern", what, p->at);
}

static int unsupported(const struct parser *p, const char *what) {
    return err_set(p->err, p->errlen, -ENOTSUP, "%s is not supported at byte %zu of the pattern", what,
                   p->at);
}

static int no_memory(const struct parser *p) {
    return err_set(p->err, p->errlen, -ENOMEM, "no memory for the pattern");
}

/* The byte `ahead` of the next, '\0' behind the end. */
static char peek(const struct parser *p, size_t ahead) {
    return p->at + ahead < p->len ? p->text[p->at + ahead] : '\0';
}

static int new_node(struct parser *p, enum regex_kind kind, struct regex_node **out) {
    struct regex_node *node = regex_keep(p->regex, sizeof *node);
    if (node == NULL)
        return no_memory(p);
    node->kind = kind;
    *out = node;
    return 0;
}

static int new_leaf(struct parser *p, enum regex_kind kind, const struct regex_node **out) {
    struct regex_node *node = NULL;
    int rc = new_node(p, kind, &node);
    if (rc == 0)
        *out = node;
    return rc;
}

static int push(struct parser *p, struct children *c, const struct regex_node *child) {
    if (c->n == c->cap) {
        size_t cap = c->cap == 0 ? 8 : c->cap * 2;
        const struct regex_node **at = realloc(c->at, cap * sizeof *at);
        if (at == NULL)
            return no_memory(p);
        c->at = at;
        c->cap = cap;
    }
    c->at[c->n++] = child;
    return 0;
}

/* The node of the children, or the only one of them; frees the list. */
static int gather(struct parser *p, enum regex_kind kind, struct children *c, const struct regex_node **out) {
    struct regex_node *node = NULL;
    int rc = 0;
    if (c->n == 1) {
        *out = c->at[0];
    } else if (c->n == 0) {
        rc = new_leaf(p, REGEX_EMPTY, out);
    } else if ((rc = new_node(p, kind, &node)) == 0) {
        const struct regex_node **kept = regex_keep(p->regex, c->n * sizeof *kept);
        if (kept == NULL)
            rc = no_memory(p);
        else
            memcpy(kept, c->at, c->n * sizeof *kept);
        node->children = kept;
        node->n_children = c->n;
        *out = node;
    }
    free(c->at);
    return rc;
}

/* The node of the set, which is freed. */
static int set_node(struct parser *p, struct regex_set *set, bool negate, const struct regex_node **out) {
    struct regex_node *node = NULL;
    regex_set_finish(set, negate);
    int rc = set->status != 0 ? no_memory(p) : new_node(p, REGEX_SET, &node);
    if (rc == 0) {
        struct regex_range *kept = regex_keep(p->regex, (set->n + 1) * sizeof *kept);
        if (kept == NULL) {
            rc = no_memory(p);
        } else {
            if (set->n > 0)
                memcpy(kept, set->ranges, set->n * sizeof *kept);
            node->ranges = kept;
            node->n_ranges = set->n;
            node->set_id = p->regex->n_sets++;
            *out = node;
        }
    }
    free(set->ranges);
    return rc;
}

/* ---- characters ---- */

/* The next code point of the pattern, which is valid UTF-8. */
static uint32_t take_code_point(struct parser *p) {
    static const unsigned char lead_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    size_t n = utf8_length(p->text + p->at, p->len - p->at);
    uint32_t c = (unsigned char)p->text[p->at] & lead_bits[n];
    for (size_t i = 1; i < n; i++)
        c = c << 6 | ((unsigned char)p->text[p->at + i] & 0x3fu);
    p->at += n;
    return c;
}

/* `n` hexadecimal digits at p->at; they are left where they are. */
static bool hex(const struct parser *p, size_t n, uint32_t *out) {
    uint32_t value = 0;
    for (size_t i = 0; i < n; i++) {
        char c = peek(p, i);
        if (c >= '0' && c <= '9')
            value = value * 16 + (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            value = value * 16 + (uint32_t)((c | 0x20) - 'a') + 10;
        else
            return false;
    }
    *out = value;
    return true;
}

/* \u{…}: behind the brace. */
static int braced_code_point(struct parser *p, uint32_t *out) {
    size_t n = 0;
    while (peek(p, n) != '}' && n < 6)
        n++;
    if (n == 0 || peek(p, n) != '}' || !hex(p, n, out) || *out > REGEX_LAST)
        return bad(p, "\\u{…} without a code point");
    p->at += n + 1;
    return 0;
}

/* \uXXXX, or two of them that are a surrogate pair: behind the u. */
static int unicode_escape(struct parser *p, uint32_t *out) {
    uint32_t low;
    if (peek(p, 0) == '{') {
        p->at++;
        return braced_code_point(p, out);
    }
    if (!hex(p, 4, out))
        return bad(p, "\\u without four hexadecimal digits");
    p->at += 4;
    if (*out < 0xD800 || *out > 0xDBFF || peek(p, 0) != '\\' || peek(p, 1) != 'u')
        return 0;
    p->at += 2;
    if (!hex(p, 4, &low) || low < 0xDC00 || low > 0xDFFF) {
        p->at -= 2;
        return 0;
    }
    p->at += 4;
    *out = 0x10000 + ((*out - 0xD800) << 10) + (low - 0xDC00);
    return 0;
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* An escape that is one character; p->at is behind the backslash. */
static int character_escape(struct parser *p, uint32_t *out) {
    static const char letters[] = "tnvfr", means[] = "\t\n\v\f\r";
    char c = peek(p, 0);
    const char *found = c != '\0' ? strchr(letters, c) : NULL;
    if (p->at >= p->len)
        return bad(p, "a backslash without a character");
    if (c == 'p' || c == 'P')
        return unsupported(p, "\\p{…} (a Unicode property)");
    if (c == 'k' || (c >= '1' && c <= '9'))
        return unsupported(p, "a back-reference");
    if (!is_letter(c) && c != '0') {
        *out = take_code_point(p);
        return 0;
    }
    p->at++;
    if (found != NULL) {
        *out = (uint32_t)means[found - letters];
    } else if (c == '0') {
        if (peek(p, 0) >= '0' && peek(p, 0) <= '9')
            return bad(p, "an octal escape");
        *out = 0;
    } else if (c == 'c' && is_letter(peek(p, 0))) {
        *out = (uint32_t)peek(p, 0) & 31u;
        p->at++;
    } else if (c == 'x' && hex(p, 2, out)) {
        p->at += 2;
    } else if (c == 'u') {
        return unicode_escape(p, out);
    } else {
        p->at--;
        return bad(p, "an escape that does not exist");
    }
    return 0;
}

/* ---- [ … ] ---- */

/* One member of a class: a character (*is_class false), or a class like \d, which is added at once. */
static int class_atom(struct parser *p, struct regex_set *set, uint32_t *c, bool *is_class) {
    *is_class = false;
    if (peek(p, 0) != '\\') {
        *c = take_code_point(p);
        return 0;
    }
    p->at++;
    if (peek(p, 0) == 'b') {
        p->at++;
        *c = '\b';
        return 0;
    }
    if (p->at < p->len && is_letter(peek(p, 0)) && regex_set_add_class(set, peek(p, 0))) {
        p->at++;
        *is_class = true;
        return 0;
    }
    return character_escape(p, c);
}

static int class_member(struct parser *p, struct regex_set *set) {
    uint32_t first, last;
    bool is_class, last_is_class;
    int rc = class_atom(p, set, &first, &is_class);
    if (rc != 0)
        return rc;
    if (is_class || peek(p, 0) != '-' || peek(p, 1) == ']' || p->at + 1 >= p->len) {
        if (!is_class)
            regex_set_add(set, first, first);
        return 0;
    }
    p->at++;
    rc = class_atom(p, set, &last, &last_is_class);
    if (rc != 0)
        return rc;
    if (last_is_class) { /* [a-\d]: three members */
        regex_set_add(set, first, first);
        regex_set_add(set, '-', '-');
        return 0;
    }
    if (last < first)
        return bad(p, "a range of characters that ends before it begins");
    regex_set_add(set, first, last);
    return 0;
}

static int parse_class(struct parser *p, const struct regex_node **out) {
    struct regex_set set = {0};
    int rc = 0;
    p->at++;
    bool negate = peek(p, 0) == '^';
    p->at += negate;
    while (rc == 0 && p->at < p->len && peek(p, 0) != ']')
        rc = class_member(p, &set);
    if (rc == 0 && p->at >= p->len)
        rc = bad(p, "a '[' that is not closed");
    if (rc != 0) {
        free(set.ranges);
        return rc;
    }
    p->at++;
    return set_node(p, &set, negate, out);
}

/* ---- atoms ---- */

static int parse_escape(struct parser *p, const struct regex_node **out) {
    struct regex_set set = {0};
    uint32_t c = 0;
    p->at++;
    if (peek(p, 0) == 'b' || peek(p, 0) == 'B') {
        p->at++;
        return new_leaf(p, p->text[p->at - 1] == 'b' ? REGEX_WORD : REGEX_NOT_WORD, out);
    }
    if (p->at < p->len && is_letter(peek(p, 0)) && regex_set_add_class(&set, peek(p, 0))) {
        p->at++;
        return set_node(p, &set, false, out);
    }
    int rc = character_escape(p, &c);
    if (rc != 0)
        return rc;
    regex_set_add(&set, c, c);
    return set_node(p, &set, false, out);
}

/* Behind "(?": a group that only groups, or has a name that nothing refers to. */
static int group_kind(struct parser *p) {
    if (peek(p, 0) == ':') {
        p->at++;
        return 0;
    }
    if (peek(p, 0) == '=' || peek(p, 0) == '!')
        return unsupported(p, "look-ahead");
    size_t flags = strspn(p->text + p->at, "ims-");
    if (flags > 0 && peek(p, flags) == ':')
        return unsupported(p, "a group with flags");
    if (peek(p, 0) != '<')
        return bad(p, "a kind of group that does not exist");
    if (peek(p, 1) == '=' || peek(p, 1) == '!')
        return unsupported(p, "look-behind");
    size_t n = 1;
    while (is_letter(peek(p, n)) || peek(p, n) == '_' || peek(p, n) == '$' ||
           (n > 1 && peek(p, n) >= '0' && peek(p, n) <= '9'))
        n++;
    if (n == 1 || peek(p, n) != '>')
        return bad(p, "a group whose name is none");
    p->at += n + 1;
    return 0;
}

static int parse_group(struct parser *p, const struct regex_node **out) {
    int rc = 0;
    p->at++;
    if (++p->depth > REGEX_DEPTH_MAX)
        return err_set(p->err, p->errlen, -E2BIG, "groups nested deeper than %d", REGEX_DEPTH_MAX);
    if (peek(p, 0) == '?') {
        p->at++;
        rc = group_kind(p);
    }
    rc = rc ? rc : parse_alternatives(p, out);
    if (rc == 0 && peek(p, 0) != ')')
        rc = bad(p, "a '(' that is not closed");
    p->at++;
    p->depth--;
    return rc;
}

/* Digits at p->at + *ahead; too many are as good as forever. False when there are none. */
static bool number(const struct parser *p, size_t *ahead, uint32_t *out) {
    size_t start = *ahead;
    uint32_t value = 0;
    for (; peek(p, *ahead) >= '0' && peek(p, *ahead) <= '9'; ++*ahead)
        if (value < 100000000)
            value = value * 10 + (uint32_t)(peek(p, *ahead) - '0');
    *out = value;
    return *ahead > start;
}

/* "{3}", "{3,}", "{3,5}" at p->at; anything else is no quantifier and a '{' like any character. */
static bool counted(struct parser *p, uint32_t *min, uint32_t *max) {
    size_t ahead = 1;
    if (peek(p, 0) != '{' || !number(p, &ahead, min))
        return false;
    *max = *min;
    if (peek(p, ahead) == ',') {
        ahead++;
        if (!number(p, &ahead, max))
            *max = REGEX_FOREVER;
    }
    if (peek(p, ahead) != '}')
        return false;
    p->at += ahead + 1;
    return true;
}

static bool quantifier(struct parser *p, uint32_t *min, uint32_t *max) {
    char c = peek(p, 0);
    if (c == '*' || c == '+' || c == '?') {
        *min = c == '+';
        *max = c == '?' ? 1 : REGEX_FOREVER;
        p->at++;
        return true;
    }
    return counted(p, min, max);
}

static int parse_literal(struct parser *p, const struct regex_node **out) {
    struct regex_set set = {0};
    uint32_t ignored;
    size_t before = p->at;
    if (quantifier(p, &ignored, &ignored)) {
        p->at = before;
        return bad(p, "nothing to repeat");
    }
    if (peek(p, 0) == '.') {
        p->at++;
        regex_set_add(&set, '\n', '\n');
        regex_set_add(&set, '\r', '\r');
        regex_set_add(&set, 0x2028, 0x2029);
        return set_node(p, &set, true, out);
    }
    uint32_t c = take_code_point(p);
    regex_set_add(&set, c, c);
    return set_node(p, &set, false, out);
}

static int parse_atom(struct parser *p, const struct regex_node **out) {
    char c = peek(p, 0);
    if (c == '(')
        return parse_group(p, out);
    if (c == '[')
        return parse_class(p, out);
    if (c == '\\')
        return parse_escape(p, out);
    if (c != '^' && c != '$')
        return parse_literal(p, out);
    p->at++;
    return new_leaf(p, c == '^' ? REGEX_BEGIN : REGEX_END, out);
}

/* An atom with what stands behind it. */
static int parse_term(struct parser *p, const struct regex_node **out) {
    const struct regex_node *atom = NULL;
    struct regex_node *repeat = NULL;
    uint32_t min, max;
    int rc = parse_atom(p, &atom);
    if (rc != 0)
        return rc;
    if (atom->kind >= REGEX_BEGIN || !quantifier(p, &min, &max)) {
        *out = atom;
        return 0;
    }
    if (max < min)
        return bad(p, "a repetition whose most is below its least");
    if (peek(p, 0) == '?') /* lazy: finds the same texts */
        p->at++;
    const struct regex_node **child = regex_keep(p->regex, sizeof *child);
    if (child == NULL || new_node(p, REGEX_REPEAT, &repeat) != 0)
        return no_memory(p);
    *child = atom;
    *repeat =
        (struct regex_node){.kind = REGEX_REPEAT, .children = child, .n_children = 1, .min = min, .max = max};
    *out = repeat;
    return 0;
}

static int parse_sequence(struct parser *p, const struct regex_node **out) {
    struct children terms = {0};
    int rc = 0;
    while (rc == 0 && p->at < p->len && peek(p, 0) != '|' && peek(p, 0) != ')') {
        const struct regex_node *term = NULL;
        rc = parse_term(p, &term);
        rc = rc ? rc : push(p, &terms, term);
    }
    if (rc == 0)
        return gather(p, REGEX_CAT, &terms, out);
    free(terms.at);
    return rc;
}

/* As deep as REGEX_DEPTH_MAX groups. */
static int parse_alternatives(struct parser *p, const struct regex_node **out) {
    struct children choices = {0};
    int rc;
    do {
        const struct regex_node *choice = NULL;
        rc = parse_sequence(p, &choice);
        rc = rc ? rc : push(p, &choices, choice);
    } while (rc == 0 && peek(p, 0) == '|' && p->at++ < p->len);
    if (rc == 0)
        return gather(p, REGEX_ALT, &choices, out);
    free(choices.at);
    return rc;
}

int regex_parse(struct regex *regex, char *err, size_t errlen) {
    struct parser p = {
        .regex = regex, .text = regex->source, .len = strlen(regex->source), .err = err, .errlen = errlen};
    if (p.len > REGEX_BYTES_MAX)
        return err_set(err, errlen, -E2BIG, "a pattern of more than %d bytes", REGEX_BYTES_MAX);
    int rc = parse_alternatives(&p, &regex->tree);
    if (rc == 0 && p.at < p.len)
        rc = bad(&p, "a ')' that was not opened");
    return rc;
}
