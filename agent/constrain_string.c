/* Strings: lengths, patterns and formats. A pattern is a tree of code points; here each becomes what JSON
 * writes for it. */
#include "agent/constrain_inner.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST_CODE_POINT 0x10FFFFu

/* ---- characters ---- */

static bool contains(const struct regex_range *ranges, size_t n, uint32_t c) {
    for (size_t i = 0; i < n; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}

/* The ranges less what must be escaped, into `out` (room for n + 3). */
static size_t unescaped(const struct regex_range *ranges, size_t n, struct grammar_range *out) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t first = ranges[i].first, last = ranges[i].last;
        if (last < 0x20)
            continue;
        first = first < 0x20 ? 0x20 : first;
        static const uint32_t escaped[] = {'"', '\\'};
        for (size_t k = 0; k < 2; k++) {
            if (first > escaped[k] || last < escaped[k])
                continue;
            if (first < escaped[k])
                out[count++] = (struct grammar_range){first, escaped[k] - 1};
            first = escaped[k] + 1;
        }
        if (first <= last)
            out[count++] = (struct grammar_range){first, last};
    }
    return count;
}

/* The escapes of these ranges: all behind one backslash, so that one place is open for them. \b, \f and DEL
 * have a code as well: base/json_write.h writes them so. */
static uint32_t escapes(struct constrain *c, const struct regex_range *ranges, size_t n) {
    static const char shorts[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    uint32_t items[sizeof shorts], codes[0x21];
    uint32_t n_items = 0, n_codes = 0;
    for (size_t i = 0; shorts[i] != '\0'; i++)
        if (contains(ranges, n, (unsigned char)shorts[i]))
            items[n_items++] = grammar_byte(c->b, (unsigned char)letters[i], (unsigned char)letters[i]);
    for (uint32_t control = 1; control < 0x80; control = control < 0x1F ? control + 1 : control + 0x60)
        if (contains(ranges, n, control) && strchr("\n\r\t", (int)control) == NULL) {
            char text[8];
            (void)snprintf(text, sizeof text, "%02x", control);
            codes[n_codes++] = constrain_text(c, text);
        }
    if (n_codes > 0)
        items[n_items++] = constrain_two(c, constrain_text(c, "u00"), grammar_choice(c->b, codes, n_codes));
    if (n_items == 0)
        return GRAMMAR_NONE;
    return constrain_two(c, constrain_text(c, "\\"), grammar_choice(c->b, items, n_items));
}

uint32_t constrain_escapes(struct constrain *c) {
    static const struct regex_range all[] = {{1, 0x1F}, {'"', '"'}, {'\\', '\\'}, {0x7F, 0x7F}};
    return escapes(c, all, 4);
}

uint32_t constrain_characters(struct constrain *c, const struct regex_range *ranges, size_t n) {
    struct grammar_range *plain = calloc(n + 4, sizeof *plain);
    uint32_t items[2];
    uint32_t count = 0;
    if (plain == NULL) {
        c->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    size_t n_plain = unescaped(ranges, n, plain);
    if (n_plain > 0)
        items[count++] = grammar_chars(c->b, plain, n_plain);
    free(plain);
    uint32_t escaped = escapes(c, ranges, n);
    if (escaped != GRAMMAR_NONE)
        items[count++] = escaped;
    return grammar_choice(c->b, items, count);
}

/* ---- patterns ---- */

struct span {
    uint64_t min, max; /* characters; UINT32_MAX and above: any number */
};

static uint64_t capped(uint64_t n) {
    return n < UINT32_MAX ? n : UINT32_MAX;
}

static struct span length_of(const struct regex_node *r, int depth) {
    struct span s = {0, 0};
    if (depth > 2 * REGEX_DEPTH_MAX)
        return (struct span){0, UINT32_MAX};
    switch (r->kind) {
    case REGEX_SET:
        return (struct span){1, 1};
    case REGEX_CAT:
        for (size_t i = 0; i < r->n_children; i++) {
            struct span x = length_of(r->children[i], depth + 1);
            s.min = capped(s.min + x.min);
            s.max = capped(s.max + x.max);
        }
        return s;
    case REGEX_ALT:
        s.min = UINT32_MAX;
        for (size_t i = 0; i < r->n_children; i++) {
            struct span x = length_of(r->children[i], depth + 1);
            s.min = x.min < s.min ? x.min : s.min;
            s.max = x.max > s.max ? x.max : s.max;
        }
        return s;
    case REGEX_REPEAT:
        s = length_of(r->children[0], depth + 1);
        if (r->max == REGEX_FOREVER)
            return (struct span){capped(s.min * r->min), s.max == 0 ? 0 : UINT32_MAX};
        return (struct span){capped(s.min * r->min), capped(s.max * r->max)};
    case REGEX_EMPTY:
    case REGEX_BEGIN:
    case REGEX_END:
    case REGEX_WORD:
    case REGEX_NOT_WORD:
        break;
    }
    return s;
}

/* A part of a pattern without anchors in it; false where there are some. */
static bool put(struct constrain *c, const struct regex_node *r, int depth, uint32_t *out) {
    uint32_t item = GRAMMAR_NONE;
    switch (r->kind) {
    case REGEX_EMPTY:
        *out = grammar_literal(c->b, "", 0);
        return true;
    case REGEX_SET:
        *out = constrain_characters(c, r->ranges, r->n_ranges);
        return true;
    case REGEX_REPEAT:
        if (depth > 100 || !put(c, r->children[0], depth + 1, &item))
            return false;
        *out = grammar_repeat(c->b, item, r->min, r->max == REGEX_FOREVER ? GRAMMAR_FOREVER : r->max);
        return true;
    case REGEX_CAT:
    case REGEX_ALT: {
        uint32_t *items = calloc(r->n_children + 1, sizeof *items);
        bool ok = items != NULL && depth <= 100;
        for (size_t i = 0; i < r->n_children && ok; i++)
            ok = put(c, r->children[i], depth + 1, &items[i]);
        if (ok)
            *out = r->kind == REGEX_CAT ? grammar_sequence(c->b, items, r->n_children)
                                        : grammar_choice(c->b, items, r->n_children);
        free(items);
        return ok;
    }
    case REGEX_BEGIN:
    case REGEX_END:
    case REGEX_WORD:
    case REGEX_NOT_WORD:
        break;
    }
    return false;
}

/* A pattern from its beginning to its end: what stands between the anchors. */
struct body {
    const struct regex_node *const *items;
    size_t n;
    bool begin, end; /* anchored there */
};

static struct body body_of(const struct regex_node *const *root) {
    struct body b = {root, 1, false, false};
    if ((*root)->kind == REGEX_CAT) {
        b.items = (*root)->children;
        b.n = (*root)->n_children;
    }
    while (b.n > 0 && b.items[0]->kind == REGEX_BEGIN) {
        b.items++;
        b.n--;
        b.begin = true;
    }
    while (b.n > 0 && b.items[b.n - 1]->kind == REGEX_END) {
        b.n--;
        b.end = true;
    }
    return b;
}

/* The only part whose length varies, a repetition of single characters, may carry the string's bounds.
 * Returns its index; n when the lengths fit anyway; SIZE_MAX when neither holds. */
static size_t counted_part(const struct body *b, size_t min, size_t max, struct span *bounds) {
    uint64_t fixed = 0, low = 0, high = 0;
    size_t part = b->n;
    bool one = true;
    for (size_t i = 0; i < b->n; i++) {
        struct span s = length_of(b->items[i], 0);
        low = capped(low + s.min);
        high = capped(high + s.max);
        if (s.min == s.max) {
            fixed += s.min;
            continue;
        }
        const struct regex_node *r = b->items[i];
        struct span unit = r->kind == REGEX_REPEAT ? length_of(r->children[0], 0) : (struct span){0, 0};
        one = one && part == b->n && unit.min == 1 && unit.max == 1;
        part = i;
    }
    bool whole = b->begin && b->end;
    bool low_fits = low >= min,
         high_fits = max == SCHEMA_NO_MAX || (whole && high <= max && high < UINT32_MAX);
    if (low_fits && high_fits)
        return b->n;
    if (!whole || !one || part == b->n)
        return SIZE_MAX;
    uint64_t most = max == SCHEMA_NO_MAX ? UINT32_MAX : max;
    *bounds = (struct span){min > fixed ? min - fixed : 0, most >= fixed ? capped(most - fixed) : 0};
    if (most < fixed)
        bounds->min = 1; /* more than fits: nothing does */
    return part;
}

static bool put_body(struct constrain *c, const struct body *b, size_t min, size_t max, uint32_t *out) {
    struct span bounds = {0, 0};
    size_t counted = counted_part(b, min, max, &bounds);
    uint32_t *items = counted != SIZE_MAX ? calloc(b->n + 2, sizeof *items) : NULL;
    bool ok = items != NULL;
    size_t n = 0;
    if (ok && !b->begin)
        items[n++] = grammar_string(c->b, 0, GRAMMAR_FOREVER);
    for (size_t i = 0; i < b->n && ok; i++, n++) {
        const struct regex_node *r = b->items[i];
        if (i != counted) {
            ok = put(c, r, 0, &items[n]);
            continue;
        }
        uint32_t unit, low = r->min > bounds.min ? r->min : (uint32_t)bounds.min;
        uint64_t high = r->max < bounds.max ? r->max : bounds.max;
        ok = put(c, r->children[0], 0, &unit);
        if (ok)
            items[n] = low > high ? constrain_nothing(c)
                                  : grammar_repeat(c->b, unit, low,
                                                   high >= UINT32_MAX ? GRAMMAR_FOREVER : (uint32_t)high);
    }
    if (ok && !b->end)
        items[n++] = grammar_string(c->b, 0, GRAMMAR_FOREVER);
    if (ok)
        *out = grammar_sequence(c->b, items, n);
    free(items);
    return ok;
}

uint32_t constrain_pattern(struct constrain *c, const struct regex *regex, size_t min, size_t max) {
    const struct regex_node *root = regex_tree(regex);
    const struct regex_node *const *forms = root->kind == REGEX_ALT ? root->children : &root;
    size_t n = root->kind == REGEX_ALT ? root->n_children : 1;
    uint32_t *ways = calloc(n + 1, sizeof *ways);
    bool ok = ways != NULL;
    for (size_t i = 0; i < n && ok; i++) {
        struct body b = body_of(&forms[i]);
        ok = put_body(c, &b, min, max, &ways[i]);
    }
    uint32_t e = ok ? grammar_choice(c->b, ways, n) : GRAMMAR_NONE;
    free(ways);
    return e;
}

/* ---- formats ---- */

#define HOUR "([01][0-9]|2[0-3])"
#define DATE                                                                                                 \
    "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-" \
    "9]|"                                                                                                    \
    "2[0-8]))|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
/* A leap second is spelled in UTC only. */
#define TIME                                                                                                 \
    "(" HOUR ":[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?([zZ]|[+\\-]" HOUR                                           \
    ":[0-5][0-9])|23:59:60(\\.[0-9]+)?([zZ]|[+\\-]"                                                          \
    "00:00))"
#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 BYTE "(\\." BYTE "){3}"
#define H    "[0-9a-fA-F]{1,4}"
#define IPV6                                                                                                 \
    "((" H ":){7}" H "|(" H ":){1,7}:|(" H ":){1,6}:" H "|(" H ":){1,5}(:" H "){1,2}|(" H ":){1,4}(:" H      \
    "){1,3}|(" H ":){1,3}(:" H "){1,4}|(" H ":){1,2}(:" H "){1,5}|" H ":(:" H "){1,6}|:((:" H                \
    "){1,7}|:)|(" H ":){6}" IPV4 "|(" H ":){1,5}:" IPV4 "|(" H ":){1,4}:" H ":" IPV4 "|(" H ":){1,3}(:" H    \
    "){2}:" IPV4 "|(" H ":){1,2}(:" H "){3}:" IPV4 "|" H ":(:" H "){4}:" IPV4 "|:(:" H "){0,5}:" IPV4 ")"
#define ATOM "[A-Za-z0-9!#$%&'*+\\-/=?^_`{|}~]"
#define AN   "[A-Za-z0-9]"
/* What every reader takes, and what is allowed. */
#define SHORT_LABEL AN "{1,18}(-" AN "{1,18})?"
#define SHORT_HOST  SHORT_LABEL "(\\." SHORT_LABEL "){0,5}"
#define LABEL       AN "+(-" AN "+)*"
#define HOST        LABEL "(\\." LABEL ")*"
#define URI_CHAR    "([A-Za-z0-9\\-._~!$&'()*+,;=]|%[0-9a-fA-F]{2})"
#define URI_PATH    "([A-Za-z0-9\\-._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})"
#define URI_MORE    "([A-Za-z0-9\\-._~!$&'()*+,;=:@/?]|%[0-9a-fA-F]{2})*"
#define AUTHORITY                                                                                            \
    "(([A-Za-z0-9\\-._~!$&'()*+,;=:]|%[0-9a-fA-F]{2})*@)?(" URI_CHAR "*|\\[" IPV6 "\\])(:[0-9]*)?"
#define BEHIND   "(\\?" URI_MORE ")?(#" URI_MORE ")?"
#define SEGMENTS "(/" URI_PATH "*)*"
#define URI                                                                                                  \
    "[A-Za-z][A-Za-z0-9+\\-.]*:(//" AUTHORITY SEGMENTS "|(" URI_PATH "+" SEGMENTS "|/(" URI_PATH             \
    "+" SEGMENTS ")?)?)" BEHIND
#define RELATIVE                                                                                             \
    "(//" AUTHORITY SEGMENTS "|([A-Za-z0-9\\-._~!$&'()*+,;=@]|%[0-9a-fA-F]{2})+" SEGMENTS "|/(" URI_PATH     \
    "+" SEGMENTS ")?)?" BEHIND
#define DAYS    "([0-9]+D|[0-9]+M([0-9]+D)?|[0-9]+Y([0-9]+M([0-9]+D)?)?)"
#define SECONDS "T([0-9]+S|[0-9]+M([0-9]+S)?|[0-9]+H([0-9]+M([0-9]+S)?)?)"

/* The format as a pattern; NULL for one that has none here. */
static const char *format_pattern(enum format format, bool whole) {
    switch (format) {
    case FORMAT_DATE:
        return "^" DATE "$";
    case FORMAT_TIME:
        return "^" TIME "$";
    case FORMAT_DATE_TIME:
        return "^" DATE "[tT]" TIME "$";
    case FORMAT_DURATION:
        return "^P(" DAYS "(" SECONDS ")?|" SECONDS "|[0-9]+W)$";
    case FORMAT_UUID:
        return "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";
    case FORMAT_EMAIL:
    case FORMAT_IDN_EMAIL:
        return whole ? "^" ATOM "+(\\." ATOM "+)*@" HOST "$"
                     : "^" ATOM "{1,20}(\\." ATOM "{1,20}){0,2}@" SHORT_HOST "$";
    case FORMAT_HOSTNAME:
        return whole ? "^" HOST "$" : "^" SHORT_HOST "$";
    case FORMAT_IPV4:
        return "^" IPV4 "$";
    case FORMAT_IPV6:
        return "^" IPV6 "$";
    case FORMAT_URI:
    case FORMAT_IRI:
        return "^" URI "$";
    case FORMAT_URI_REFERENCE:
    case FORMAT_IRI_REFERENCE:
        return "^(" URI "|" RELATIVE ")$";
    case FORMAT_JSON_POINTER:
        return "^(/([^~/]|~[01])*)*$";
    default: /* the rest has no pattern here */
        break;
    }
    return NULL;
}

/* Formats whose pattern is not all of it: quoted local parts, lengths of names, characters beyond ASCII. */
static bool is_rough(enum format format) {
    return format == FORMAT_EMAIL || format == FORMAT_IDN_EMAIL || format == FORMAT_HOSTNAME ||
           format == FORMAT_IRI || format == FORMAT_IRI_REFERENCE;
}

static uint32_t put_format(struct constrain *c, enum format format, size_t min, size_t max) {
    const char *pattern = format_pattern(format, c->whole);
    struct regex *regex = NULL;
    char err[200];
    bool plain = min == 0 && max == SCHEMA_NO_MAX;
    if (pattern == NULL)
        return GRAMMAR_NONE;
    if (c->whole && is_rough(format))
        constrain_note(c, "format with forms or lengths that are not said");
    if (plain && c->formats[format] != GRAMMAR_NONE)
        return c->formats[format];
    int rc = regex_compile(pattern, &regex, err, sizeof err);
    if (rc < 0) {
        c->status = rc == -ENOMEM ? rc : c->status;
        return GRAMMAR_NONE;
    }
    uint32_t e = constrain_pattern(c, regex, min, max);
    regex_destroy(regex);
    if (plain && e != GRAMMAR_NONE)
        e = c->formats[format] = constrain_once(c, e);
    return e;
}

/* ---- strings ---- */

struct asked {
    size_t min, max;
    const struct regex *pattern;
    enum format format;
};

static void gather(struct constrain *c, const struct unit *atoms, struct asked *out) {
    *out = (struct asked){.max = SCHEMA_NO_MAX};
    for (size_t i = 0; i < atoms->n; i++) {
        const struct schema_node *s = atoms->at[i];
        c->place = s->place;
        out->min = s->min_length > out->min ? s->min_length : out->min;
        out->max = s->max_length < out->max ? s->max_length : out->max;
        if (s->pattern != NULL && out->pattern != NULL &&
            strcmp(regex_source(s->pattern), regex_source(out->pattern)) != 0)
            constrain_note(c, "two patterns");
        out->pattern = s->pattern != NULL ? s->pattern : out->pattern;
        if (s->format != FORMAT_NONE && out->format != FORMAT_NONE && s->format != out->format)
            constrain_note(c, "two formats");
        out->format = s->format != FORMAT_NONE ? s->format : out->format;
    }
    if (out->pattern != NULL && out->format != FORMAT_NONE)
        constrain_note(c, "a pattern together with a format");
}

uint32_t constrain_string(struct constrain *c, const struct unit *atoms) {
    struct asked asked;
    gather(c, atoms, &asked);
    uint32_t quote = constrain_text(c, "\""), inside = GRAMMAR_NONE;
    if (asked.pattern != NULL) {
        inside = constrain_pattern(c, asked.pattern, asked.min, asked.max);
        if (inside == GRAMMAR_NONE) {
            constrain_note(c, "pattern with anchors or lengths that cannot be said");
            inside = constrain_pattern(c, asked.pattern, 0, SCHEMA_NO_MAX);
        }
    } else if (asked.format != FORMAT_NONE) {
        inside = put_format(c, asked.format, asked.min, asked.max);
        if (inside == GRAMMAR_NONE) {
            constrain_note(c, "format that cannot be said, or not with these lengths");
            inside = put_format(c, asked.format, 0, SCHEMA_NO_MAX);
        }
    }
    if (inside == GRAMMAR_NONE) {
        uint32_t max = asked.max > GRAMMAR_COUNT_MAX ? GRAMMAR_FOREVER : (uint32_t)asked.max;
        uint32_t min = asked.min > GRAMMAR_COUNT_MAX ? GRAMMAR_COUNT_MAX : (uint32_t)asked.min;
        inside = grammar_string(c->b, min, max);
    }
    return constrain_three(c, quote, inside, quote);
}
